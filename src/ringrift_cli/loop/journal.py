"""The files of a run of the learning loop, written so that kill -9 at any moment costs little.

    lock            held by the process at work; says which, and since when
    journal.jsonl   a line for each thing that happened: cycles and steps begun, stopped and done,
                    with their outcomes; on the disk before anything builds on it
    cycles.jsonl    a line for each finished cycle; made from the journal

A step counts as done when the journal says so, and the journal says so only after what the step
made has been checked where it lies. What was begun and not done is gone on with.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ringrift_cli.errors import RecordError, RingriftError
from ringrift_cli.store.files import write_whole
from ringrift_cli.store.journal import JournalFile
from ringrift_cli.store.locks import is_locked, locked

LOCK, JOURNAL, CYCLES = "lock", "journal.jsonl", "cycles.jsonl"
HINT = "lines are only ever appended: restore the file, or --set run.folder=ANOTHER"
CYCLE = "cycle"  # the step that all others are part of
BEGUN, STOPPED, DONE = "begun", "stopped", "done"


def now() -> str:
    """The time, as every file of a run says it."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


@dataclass
class Journal:
    """What has happened in a run; `opened` gives one that can be written to."""

    folder: Path
    lines: list[dict[str, Any]] = field(default_factory=list)

    def add(self, cycle: int, step: str, event: str, **facts: Any) -> None:
        """Enters what happened; it is on the disk when this returns.

        `OutputError` if it cannot be, as on a full disk; then nothing of it is left there.
        """
        line = {"time": now(), "cycle": cycle, "step": step, "event": event, **facts}
        _file(self.folder).append(line)
        self.lines.append(json.loads(json.dumps(line)))

    def find(self, cycle: int, step: str, event: str) -> dict[str, Any] | None:
        """The last line that says so of a step of a cycle."""
        wanted = (cycle, step, event)
        found = (
            line
            for line in reversed(self.lines)
            if (line["cycle"], line["step"], line["event"]) == wanted
        )
        return next(found, None)

    def outcome(self, cycle: int, step: str) -> dict[str, Any] | None:
        """What a finished step came to; None while it is not done."""
        line = self.find(cycle, step, DONE)
        return None if line is None else dict(line["outcome"])

    def seconds(self, cycle: int, step: str) -> float:
        """Time spent on a step, less that of attempts that were killed."""
        spent: list[float] = [
            line["seconds"]
            for line in self.lines
            if (line["cycle"], line["step"]) == (cycle, step) and "seconds" in line
        ]
        return round(sum(spent), 3)

    @property
    def finished(self) -> list[dict[str, Any]]:
        """The records of the finished cycles, in order."""
        return [
            line["outcome"]
            for line in self.lines
            if line["step"] == CYCLE and line["event"] == DONE
        ]

    @property
    def current(self) -> int:
        """The number of the cycle that is under way, or comes next; from 1."""
        return len(self.finished) + 1

    def write_cycles(self) -> None:
        """Makes `cycles.jsonl` say what the journal says."""
        data = "".join(json.dumps(record) + "\n" for record in self.finished).encode()
        path = self.folder / CYCLES
        if (path.read_bytes() if path.exists() else b"") != data:
            write_whole(path, data)


def read(folder: Path) -> Journal:
    """The journal of a run as it stands; `RecordError` if it is damaged."""
    return Journal(folder, _checked(folder, _file(folder).read()))


@contextmanager
def opened(folder: Path) -> Iterator[Journal]:
    """The journal of a run to continue, created if there is none, for this process alone.

    `RingriftError` if another process works on the run, `RecordError` if the journal is damaged. A
    line that was cut off while it was written is removed: nothing was built upon it.
    """

    def busy() -> RingriftError:
        return RingriftError(
            f"{holder(folder)} works on {folder}; nothing was done.",
            hint="wait for it: ringrift status shows how far it is; or another run.folder",
        )

    with locked(folder / LOCK, busy=busy) as lock:
        lock.truncate(0)
        lock.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": now()}))
        lock.flush()
        journal = Journal(folder, _checked(folder, _file(folder).recover()))
        journal.write_cycles()
        try:
            yield journal
        finally:
            lock.truncate(0)


def holder(folder: Path) -> str:
    """Who has the lock of a run, in words."""
    try:
        said = json.loads((folder / LOCK).read_text())
        return f"Process {said['pid']} on {said['host']}, since {said['since']},"
    except (OSError, ValueError, KeyError, TypeError):
        return "Another process"  # that has the lock, and has not yet said more


def at_work(folder: Path) -> str | None:
    """The process that works on a run, in words; None if there is none."""
    return holder(folder).rstrip(",") if is_locked(folder / LOCK) else None


def _file(folder: Path) -> JournalFile[dict[str, Any]]:
    return JournalFile(folder / JOURNAL, dict[str, Any], HINT)


def _checked(folder: Path, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines, each with the fields that its readers need, otherwise `RecordError`."""
    for number, line in enumerate(lines, 1):
        whole = type(line.get("cycle")) is int and all(
            type(line.get(name)) is str for name in ("time", "step", "event")
        )
        if not whole or (line["event"] == DONE and not isinstance(line.get("outcome"), dict)):
            raise RecordError(
                f"{folder / JOURNAL}, line {number} lacks a cycle, time, step or event, or it"
                " is done without an outcome.",
                HINT,
            )
    return lines
