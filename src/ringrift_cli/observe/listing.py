"""The runs of a folder, and what each does now."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from ringrift_cli.errors import UsageError
from ringrift_cli.loop import journal as cycle_journal
from ringrift_cli.observe.runs import journal_of
from ringrift_cli.store import control
from ringrift_cli.store.journal import JournalFile
from ringrift_cli.store.locks import is_locked
from ringrift_cli.tune import journal as tuning_journal

LOCKS = {"cycle": cycle_journal.LOCK, "cmaes": tuning_journal.LOCK}  # by kind of run


class RunRow(msgspec.Struct, frozen=True):
    """A run that can be controlled."""

    folder: str
    kind: str  # cycle or cmaes
    state: str  # working, pausing, paused, stopping or idle
    done: int  # finished cycles or generations
    step: str  # of the last line of the journal
    time: str | None  # of that line


def kind_of(folder: Path) -> str:
    """`cycle` or `cmaes`; `UsageError` for a folder without such a run."""
    if (folder / cycle_journal.LOCK).exists() or (folder / "settings.yaml").exists():
        return "cycle"
    if (folder / tuning_journal.SETTINGS).exists():
        return "cmaes"
    raise UsageError(f"{folder} is no run of cycle or cmaes.", hint="ringrift runs list")


def row_of(folder: Path) -> RunRow:
    """The present state of a run; `RecordError` if its files are damaged."""
    kind, path = kind_of(folder), journal_of(folder)
    lines = JournalFile(path, dict).read() if path is not None else []
    last = lines[-1] if lines else {}
    working, wanted = is_locked(folder / LOCKS[kind]), control.asked(folder)
    if kind == "cmaes":
        done, step, stopped = len(lines), f"generation {len(lines)}", True
    else:
        done = sum(line["step"] == "cycle" and line["event"] == "done" for line in lines)
        step = f"cycle {last['cycle']}, {last['step']}: {last['event']}" if last else ""
        stopped = last.get("event") == cycle_journal.STOPPED
    state = "working" if working else "idle"
    if wanted == control.PAUSE:
        state = "paused" if stopped or not working else "pausing"
    elif wanted == control.STOP and working:
        state = "stopping"
    return RunRow(str(folder), kind, state, done, step, last.get("time"))


def runs_in(folder: Path) -> Iterator[Path]:
    """The runs of the learning loop and of cmaes in a folder of runs, by name."""
    for path in sorted([*folder.glob("*/"), *folder.glob("cmaes/*/")]):
        if journal_of(path) is not None and journal_of(path) != path / "log.csv":
            yield path
