"""Logs of a training run: CSV and TensorBoard."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from ringrift_cli.store.files import write_whole
from ringrift_cli.train.loss import PARTS

LOG = "log.csv"
TENSORBOARD = "tensorboard"
MEASURED = (*PARTS, "loss", "policy_accuracy", "value_accuracy", "calibration")
COLUMNS = (
    *("step", "samples", "seconds", "learning_rate", *PARTS, "samples_per_second"),
    *(f"validation_{name}" for name in MEASURED),
)


class Log:
    """Logs of a run from `step` on; later rows, left by a killed process, are removed."""

    def __init__(self, folder: Path, step: int, began: int) -> None:
        self._path, self._began = folder / LOG, began
        known = io.StringIO(self._path.read_text() if self._path.exists() else "")
        self._rows = [row for row in csv.DictReader(known) if int(row["step"]) <= began + step]
        self._writer = SummaryWriter(str(folder / TENSORBOARD), purge_step=began + step + 1)

    def close(self) -> None:
        self._writer.close()

    def add(self, step: int, numbers: dict[str, float], measured: dict[str, float] | None) -> None:
        """Writes a row of `COLUMNS`, with the validation metrics in `measured` if given."""
        row = {name: f"{value:.6g}" for name, value in numbers.items()}
        row["step"] = str(self._began + step)
        for name, value in numbers.items():
            self._writer.add_scalar(f"train/{name}", value, self._began + step)
        for name, value in (measured or {}).items():
            self._writer.add_scalar(f"validation/{name}", value, self._began + step)
            row[f"validation_{name}"] = f"{value:.6g}"
        self._rows.append(row)
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        write_whole(self._path, text.getvalue().encode())
        self._writer.flush()
