"""`ringrift selfplay` with a model: progress, and what came out."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ringrift_cli.cli.output import Output, Progress, counted, stop_requested, stopped

if TYPE_CHECKING:
    from ringrift_cli.runtime.profiles import Say
    from ringrift_cli.selfplay.actor import Counts
    from ringrift_cli.selfplay.generate import Generated
    from ringrift_cli.selfplay.worker import GenerateSetting
    from ringrift_cli.settings import SelfPlay

HEURISTIC = "heuristic"  # the name of the model that is none
GPU_EVERY = 5.0  # seconds between two looks at the use of the GPUs


def gpu_use() -> str:
    """Use of the GPUs as nvidia-smi tells it, `GPU 97 %`; empty where there is none to ask."""
    query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = told.stdout.split() if told.returncode == 0 else []
    return f"GPU {' '.join(f'{use} %' for use in found)}" if found else ""


class _Meter:
    """Turns what a run reports into a progress bar."""

    def __init__(self, progress: Progress, setting: GenerateSetting, hours: float | None) -> None:
        self._progress, self._hours = progress, hours
        self._gpus = any(device.startswith("cuda") for device in setting.devices)
        self._use, self._looked, self._seconds = "", -GPU_EVERY, 0.0

    def advance(self, more: Counts, so_far: Generated) -> None:
        seconds = max(so_far.seconds, 1e-9)
        now = time.monotonic()
        if self._gpus and now - self._looked >= GPU_EVERY:
            self._use, self._looked = gpu_use(), now
        parts = [
            counted(so_far.counts.games, "game"),
            f"{so_far.counts.games / seconds:.1f} games/s",
            f"{so_far.counts.evaluations / seconds:,.0f} evals/s",
            self._use,
        ]
        amount = more.games
        if self._hours is not None:
            amount = int(so_far.seconds) - int(self._seconds)
            self._seconds = so_far.seconds
        self._progress.advance(amount, ", ".join(filter(None, parts)))


def setting_of(
    model: str,
    board: str,
    players: int,
    pie_rule: bool,
    seed: int,
    gpus: str,
    section: SelfPlay,
    generation: int | None,
    say: Say,
) -> GenerateSetting:
    """What a command line asks for; `UsageError` if there is no such model or GPU.

    `say` is told how many games at once that is, and why.
    """
    from ringrift_cli.nn.checkpoint import generation_of, read_about
    from ringrift_cli.players.model import checkpoint_named
    from ringrift_cli.players.spec import teacher
    from ringrift_cli.selfplay.generate import TEACHER, devices_named, of_section

    devices = devices_named(gpus)
    path: Path | None = None
    if model == HEURISTIC:
        identity, own = teacher(TEACHER, board, players).identity, 0
    else:
        path, identity = checkpoint_named(model, board, players, pie_rule)
        own = generation_of(read_about(path)["about"])
    return of_section(
        section,
        board,
        players,
        path,
        identity,
        pie_rule=pie_rule,
        seed=seed,
        generation=own if generation is None else generation,
        devices=devices,
        say=say,
    )


def play(
    out: Output, setting: GenerateSetting, folder: Path, games: int | None, hours: float | None
) -> None:
    """Plays, prints what came out, and ends as a signal says that came meanwhile."""
    from ringrift_cli.selfplay.generate import generate

    title = f"Self-play {setting.board} {setting.players}p, {setting.identity[:8]}"
    total = games if games is not None else int(3600 * (hours or 0))
    with out.progress(title, total) as progress, stop_requested() as stop:
        summary = generate(
            setting,
            folder,
            games=games,
            seconds=None if hours is None else 3600 * hours,
            advance=_Meter(progress, setting, hours).advance,
            should_stop=lambda: stop() != 0,
        )
    for note in summary.notes:
        out.note(note)
    out.result(*_told(setting, summary, folder))
    if summary.stopped:
        out.note("Stopped: the games that were over are in shards, the same command goes on there.")
        raise stopped(stop())


def _told(setting: GenerateSetting, summary: Generated, folder: Path) -> tuple[dict[str, Any], str]:
    counts, seconds = summary.counts, max(summary.seconds, 1e-9)
    document = {
        "board": setting.board,
        "players": setting.players,
        "pie_rule": setting.pie_rule,
        "model": setting.identity,
        "devices": list(setting.devices),
        "folder": str(folder),
        **summary.document(),
    }
    text = (
        f"{counted(counts.games, 'game')}, {counted(counts.positions, 'training position')} in "
        f"{seconds:.1f} s ({counts.games / seconds:.1f} games/s, "
        f"{counts.evaluations / seconds:,.0f} evals/s): "
        f"{counted(len(summary.shards), 'shard')} in {folder}"
    )
    if summary.known:
        text += f"\n{counted(summary.known, 'game')} of this setting were there already"
    if counts.resign_checked:
        text += (
            f"\nOf {counted(counts.resign_checked, 'played-through game')} that would have been "
            f"resigned, the seat that would have given up won {counts.resign_wrong}"
        )
    return document, text
