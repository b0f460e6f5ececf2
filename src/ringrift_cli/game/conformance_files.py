"""Verifies files of recorded games on several cores.

Games are distributed one at a time, and outcomes collected, in the order of the files: the first
fault does not depend on the number of processes.
"""

from __future__ import annotations

import gzip
import multiprocessing
import signal
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ringrift_cli.errors import RecordError, RingriftError
from ringrift_cli.game import layout as L
from ringrift_cli.game.conformance import Fault, StepCheck, check_compact, check_game
from ringrift_cli.game.record import GZIP_MAGIC, is_compact

LONGEST_LINE = 1 << 26  # bytes; the longest games seen take less than 1 MB
WAITING_GAMES = 4  # per process: enough to keep it busy, little enough to hold in memory


@dataclass
class FileReport:
    """Result of the check of one file."""

    path: Path
    games: int = 0  # that agree
    steps: int = 0  # that agree
    earlier: int = 0  # games that were played, and agree, under earlier rules
    faults: int = 0
    first: Fault | None = None
    first_line: int = 0  # 0 where the whole file is at fault
    hashes: int = 0  # of the files of a manifest, that agree


@dataclass(frozen=True)
class Report:
    """Result of the check of all files, in their order."""

    files: Sequence[FileReport]

    @property
    def games(self) -> int:
        return sum(file.games for file in self.files)

    @property
    def steps(self) -> int:
        return sum(file.steps for file in self.files)

    @property
    def hashes(self) -> int:
        return sum(file.hashes for file in self.files)

    @property
    def earlier(self) -> int:
        return sum(file.earlier for file in self.files)

    @property
    def faults(self) -> int:
        return sum(file.faults for file in self.files)

    @property
    def first_faulty(self) -> FileReport | None:
        """The first file with a fault, None if all agree."""
        return next((file for file in self.files if file.faults), None)


@dataclass(frozen=True)
class _Task:
    """A line or a compact file to check, or the fault in its place.

    `read` is how far its file has been read.
    """

    file: int
    number: int
    line: bytes
    read: int
    fault: Fault | None = None
    compact: Path | None = None


def total_size(paths: Sequence[Path]) -> int:
    """Bytes of all files; `RecordError` for one that is missing or not a regular file."""
    for path in paths:
        if not path.exists():
            raise RecordError(f"{path}: there is no such file.")
        if not path.is_file():
            raise RecordError(f"{path} is not a regular file.")
    return sum(path.stat().st_size for path in paths)


def verify(paths: Sequence[Path], *, jobs: int, advance: Callable[[int, str], None]) -> Report:
    """Replays every game of the files with `jobs` processes.

    `advance` receives the number of bytes done since its last call, and the games done as text.
    """
    report = Report([FileReport(path) for path in paths])
    read = [0] * len(paths)
    for task, check in _in_order(_tasks(paths), jobs):
        _enter(report.files[task.file], task.number, check)
        games = report.games + report.faults
        advance(task.read - read[task.file], f"{games} games")
        read[task.file] = task.read
    return report


def _enter(file: FileReport, number: int, check: StepCheck) -> None:
    file.steps += check.steps
    if check.fault is None:
        file.games += check.games
        file.earlier += check.games * (check.rules != L.RULES)
        return
    file.faults += 1
    if file.first is None:
        file.first, file.first_line = check.fault, number


# ---- reading ------------------------------------------------------------------------------------


def _tasks(paths: Sequence[Path]) -> Iterator[_Task]:
    """All lines of all files; a file that cannot be read to its end ends with a fault."""
    for file, path in enumerate(paths):
        number = 0
        size = path.stat().st_size
        if is_compact(path):
            yield _Task(file, 0, b"", size, compact=path)  # the fault of a whole file
            continue
        try:
            for line, read in _lines(path):
                number += 1
                yield _Task(file, number, line, read)
            if number == 0:
                raise RecordError("the file holds no games")
        except RecordError as error:
            yield _Task(file, number + 1, b"", size, Fault("file", error.message))


def _lines(path: Path) -> Iterator[tuple[bytes, int]]:
    """Lines of a file, gzip or not, each with the bytes of the file read so far."""
    with path.open("rb") as raw:
        packed = raw.peek(2)[:2] == GZIP_MAGIC
        stream: BinaryIO | gzip.GzipFile = gzip.GzipFile(fileobj=raw) if packed else raw
        try:
            while line := stream.readline(LONGEST_LINE):
                if len(line) == LONGEST_LINE:
                    raise RecordError(f"the line is longer than {LONGEST_LINE >> 20} MiB")
                yield line, raw.tell()
        except EOFError as error:
            raise RecordError("the compressed file is truncated here") from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise RecordError(f"the compressed file is damaged here ({error})") from error


# ---- working ------------------------------------------------------------------------------------


def _check(task: _Task) -> StepCheck:
    if task.fault is not None:
        return StepCheck(0, task.fault)
    return check_game(task.line) if task.compact is None else check_compact(task.compact)


def _in_order(tasks: Iterable[_Task], jobs: int) -> Iterator[tuple[_Task, StepCheck]]:
    """Every task with its outcome, in the order of the tasks."""
    if jobs == 1:
        yield from ((task, _check(task)) for task in tasks)
        return
    # Spawned, not forked: numba's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_leave_interrupts_to_parent)
    waiting: deque[tuple[_Task, Future[StepCheck]]] = deque()
    try:
        for task in tasks:
            waiting.append((task, pool.submit(_check, task)))
            if len(waiting) > WAITING_GAMES * jobs:
                first, outcome = waiting.popleft()
                yield first, outcome.result()
        while waiting:
            first, outcome = waiting.popleft()
            yield first, outcome.result()
    except BrokenProcessPool as error:
        raise RingriftError(
            "A process that replayed games was killed, perhaps for lack of memory.",
            hint="ringrift verify --jobs 1 FILE",
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _leave_interrupts_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
