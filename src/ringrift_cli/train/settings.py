"""Parameters of a training run: the section `train`, and those that are not settings."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ringrift_cli.data.window import WindowSetting
from ringrift_cli.errors import UsageError
from ringrift_cli.settings import Train

# Settings that may differ when a run is resumed, since they do not affect the weights.
FREE = ("max_age", "max_generations_behind", "generation", "checkpoint_minutes", "device")


@dataclass(frozen=True)
class TrainSetting:
    """A training run; equal settings on equal shards give equal weights on one CPU thread."""

    board: str
    players: int
    pie_rule: bool
    seed: int
    train: Train = field(default_factory=Train)
    size: str | None = None  # of the network; None: as the checkpoint, or small for a new one
    generation: int | None = None  # of the model in training
    steps: int | None = None  # instead of train.samples_per_position
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise UsageError(f"steps is {self.steps}, expected 1 or more.")

    def window_setting(self) -> WindowSetting:
        """Setting of the window. Without a generation only the age of shards is checked."""
        behind = None if self.generation is None else self.train.max_generations_behind
        return WindowSetting(
            self.board,
            self.players,
            self.pie_rule,
            self.train.window,
            self.train.max_age,
            behind,
            self.generation,
        )

    def document(self) -> dict[str, Any]:
        """All parameters as flat JSON."""
        own = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "train"}
        return {**own, **asdict(self.train)}

    def check_same(self, before: dict[str, Any], folder: Path) -> None:
        """`UsageError` if a run started with the document `before` cannot be resumed with this."""
        for name, new in self.document().items():
            old = before.get(name)
            unspecified = name == "size" and None in (old, new)  # the run keeps its network
            if name not in FREE and old != new and not unspecified:
                raise UsageError(
                    f"The run in {folder} was started with {old!r} as {name.replace('_', ' ')}, not"
                    f" {new!r}.",
                    hint="the options it was started with, or another --out",
                )
