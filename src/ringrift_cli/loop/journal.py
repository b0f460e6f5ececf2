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
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from ringrift_cli.errors import OutputError, RecordError, RingriftError
from ringrift_cli.store.files import write_whole

LOCK, JOURNAL, CYCLES = "lock", "journal.jsonl", "cycles.jsonl"
LOOKS = 5  # attempts to take the lock
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
        data = (json.dumps(line) + "\n").encode()
        path = self.folder / JOURNAL
        with path.open("ab", buffering=0) as file:
            before = file.seek(0, os.SEEK_END)
            try:
                written = 0
                while written < len(data):  # a disk that is nearly full takes a part of it
                    written += file.write(data[written:])
                os.fsync(file.fileno())
            except OSError as error:
                file.truncate(before)
                raise OutputError(
                    f"Cannot write to {path}: {error.strerror}.",
                    hint="free some space, then the same command: it goes on where it is",
                ) from error
        self.lines.append(json.loads(data))

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
    """The journal of a run as it stands, for looking at; `RecordError` if it is damaged."""
    return Journal(folder, [line for line, _ in _lines(folder / JOURNAL)])


@contextmanager
def opened(folder: Path) -> Iterator[Journal]:
    """The journal of a run to go on with, begun if there is none; nobody else works on it then.

    `RingriftError` if another process does, `RecordError` if the journal is damaged. A line that
    was cut off while it was written is dropped: what it would have said was not built upon.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+") as lock:
        if not _locked(lock):
            raise RingriftError(
                f"{holder(folder)} works on {folder}; nothing was done.",
                hint="wait for it: ringrift status shows how far it is; or another run.folder",
            )
        lock.truncate(0)
        lock.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": now()}))
        lock.flush()
        path = folder / JOURNAL
        lines = _lines(path)
        if path.exists():
            end = lines[-1][1] if lines else 0
            if end < path.stat().st_size:
                os.truncate(path, end)
        journal = Journal(folder, [line for line, _ in lines])
        journal.write_cycles()
        try:
            yield journal
        finally:
            lock.truncate(0)


def _locked(lock: IO[str]) -> bool:
    """Takes the lock unless another process works; whoever only looks has it for a moment."""
    for _ in range(LOOKS):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
        else:
            return True
    return False


def holder(folder: Path) -> str:
    """Who has the lock of a run, in words."""
    try:
        said = json.loads((folder / LOCK).read_text())
        return f"Process {said['pid']} on {said['host']}, since {said['since']},"
    except (OSError, ValueError, KeyError, TypeError):
        return "Another process"  # that has the lock, and has not yet said more


def at_work(folder: Path) -> str | None:
    """Who works on a run, in words; None if nobody does."""
    try:
        lock = (folder / LOCK).open()
    except OSError:
        return None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return holder(folder).rstrip(",")
    return None


def _lines(path: Path) -> list[tuple[dict[str, Any], int]]:
    """The whole lines of a journal, and the offset behind each."""
    if not path.exists():
        return []
    data = path.read_bytes()
    lines: list[tuple[dict[str, Any], int]] = []
    end = 0
    for number, text in enumerate(data[: data.rfind(b"\n") + 1].splitlines(keepends=True), 1):
        end += len(text)
        lines.append((_line(text, f"{path}, line {number}"), end))
    return lines


def _line(text: bytes, where: str) -> dict[str, Any]:
    try:
        line = json.loads(text)
        if type(line["cycle"]) is not int or not all(
            type(line[name]) is str for name in ("time", "step", "event")
        ):
            raise ValueError("a cycle, step or event that is none")
        if line["event"] == DONE and not isinstance(line["outcome"], dict):
            raise ValueError("a step that is done without an outcome")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise RecordError(
            f"{where} is no line of a journal ({error}).",
            hint="the file is only ever added to: restore it, or --set run.folder=ANOTHER",
        ) from error
    return dict(line)
