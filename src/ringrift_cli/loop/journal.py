"""Crash-safe files of a run of the learning loop.

    lock            held by the process at work, with its pid and start time
    journal.jsonl   one line per event: cycles and steps begun, stopped and done, with outcomes;
                    synced to disk before anything depends on it
    cycles.jsonl    one line per finished cycle; derived from the journal

A step is marked done only after its output on disk has been verified. A step that was begun and not
done is resumed.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ringrift_cli.errors import RecordError, RingriftError
from ringrift_cli.store.files import write_whole
from ringrift_cli.store.hashes import sha256
from ringrift_cli.store.journal import JournalFile
from ringrift_cli.store.locks import is_locked, locked

if TYPE_CHECKING:
    from ringrift_cli.data.retention import Origin
from ringrift_cli.text import now

LOCK, JOURNAL, CYCLES = "lock", "journal.jsonl", "cycles.jsonl"
HINT = "lines are only ever appended: restore the file, or --set run.folder=ANOTHER"
CYCLE = "cycle"  # the step that contains all others
BEGUN, STOPPED, DONE = "begun", "stopped", "done"


@dataclass
class Journal:
    """Events of a run; use `opened` for writing."""

    folder: Path
    lines: list[dict[str, Any]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def add(self, cycle: int, step: str, event: str, **facts: Any) -> None:
        """Appends an event durably; thread-safe.

        `OutputError` if that fails, as on a full disk; no partial line is left.
        """
        line = {"time": now(), "cycle": cycle, "step": step, "event": event, **facts}
        with self._lock:
            _file(self.folder).append(line)
            self.lines.append(json.loads(json.dumps(line)))

    def find(self, cycle: int, step: str, event: str) -> dict[str, Any] | None:
        """The last line of an event of a step in a cycle."""
        wanted = (cycle, step, event)
        found = (
            line
            for line in reversed(self.lines)
            if (line["cycle"], line["step"], line["event"]) == wanted
        )
        return next(found, None)

    def outcome(self, cycle: int, step: str) -> dict[str, Any] | None:
        """The outcome of a step; None while it is not done."""
        line = self.find(cycle, step, DONE)
        return None if line is None else dict(line["outcome"])

    def seconds(self, cycle: int, step: str) -> float:
        """Time spent on a step, without killed attempts."""
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
        """The number of the cycle in progress, or the next one; from 1."""
        return len(self.finished) + 1

    @property
    def identity(self) -> str:
        """Identity of the run, 16 hexadecimal digits: random, recorded with each cycle.

        For a run that was begun without one it is the hash of the first line.
        """
        if not self.lines:
            return secrets.token_hex(8)
        first = self.lines[0]
        return str(first.get("run") or sha256(json.dumps(first, sort_keys=True).encode())[:16])

    @property
    def origins(self) -> dict[int, Origin]:
        """The origin of the games of each cycle."""
        return {
            line["cycle"]: (line.get("run"), line["plan"]["model"]["identity"])
            for line in self.lines
            if "plan" in line
        }

    def write_cycles(self) -> None:
        """Rewrites `cycles.jsonl` from the journal if it differs."""
        data = "".join(json.dumps(record) + "\n" for record in self.finished).encode()
        path = self.folder / CYCLES
        if (path.read_bytes() if path.exists() else b"") != data:
            write_whole(path, data)


def read(folder: Path) -> Journal:
    """The current journal of a run; `RecordError` if it is damaged."""
    return Journal(folder, _checked(folder, _file(folder).read()))


@contextmanager
def opened(folder: Path) -> Iterator[Journal]:
    """Locks a run and opens its journal for writing; creates it if needed.

    `RingriftError` if another process works on the run, `RecordError` if the journal is damaged. An
    incomplete last line is removed: nothing depends on it.
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
    """Description of the process that holds the lock of a run."""
    try:
        found = json.loads((folder / LOCK).read_text())
        return f"Process {found['pid']} on {found['host']}, since {found['since']},"
    except (OSError, ValueError, KeyError, TypeError):
        return "Another process"  # it has not written the file yet


def at_work(folder: Path) -> str | None:
    """Description of the process that works on a run; None if there is none."""
    return holder(folder).rstrip(",") if is_locked(folder / LOCK) else None


def _file(folder: Path) -> JournalFile[dict[str, Any]]:
    return JournalFile(folder / JOURNAL, dict[str, Any], HINT)


def _checked(folder: Path, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Checks the required fields of every line; `RecordError` if one is missing."""
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
