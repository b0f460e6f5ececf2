"""Tasks spread over workers: lost ones are repeated, stragglers played twice.

A task is a pure function of its bytes, so it does not matter who performs it, or how often. When no
worker is left its tasks are performed here.
"""

from __future__ import annotations

import queue
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, Self, TypeVar

from ringrift_cli.errors import BadOutput, HostKeyError, HostUnreachable, RemoteError, RingriftError

T = TypeVar("T")
R = TypeVar("R")
Given_contra = TypeVar("Given_contra", contravariant=True)
Made_co = TypeVar("Made_co", covariant=True)
TICK_S = 0.1
WAITS_S = (1.0, 5.0, 15.0, 30.0)  # after consecutive failures of a worker; the last one repeats
MOST_FAILURES = 3  # consecutive failed tasks before a worker that can be reached is given up
UNFIT = ("bare", "version", "start")  # kinds of `RemoteError` that no retry cures
SLOW, SLOW_S = 2.0, 2.0  # a task is late after this many medians, and at least this many seconds
LATE_HERE_S = 60.0  # after which a late task is performed here, too


@dataclass(frozen=True)
class Task:
    """What a worker needs: the bytes, and the files that these name, by their path there."""

    payload: bytes
    files: dict[str, Path] = field(default_factory=dict)


class TaskWorker(Protocol):
    """Performs tasks elsewhere, one at a time; every call but `close` comes from one thread."""

    name: str

    def open(self) -> None:
        """Connects, if it is not connected; `RingriftError` if that fails."""

    def perform(self, task: Task) -> bytes:
        """The result of a task; `RingriftError` if it failed or the worker was lost."""

    def close(self) -> None:
        """Ends it with what it performs; thread-safe."""


class TaskKind(Protocol[Given_contra, Made_co]):
    """What is spread, and how a result becomes known."""

    def task(self, item: Given_contra) -> Task:
        """The task of an item."""

    def check(self, item: Given_contra, result: bytes) -> Made_co:
        """The result of an item; `BadOutput` unless it is one."""

    def here(self, item: Given_contra) -> Made_co:
        """Performs an item on this machine."""


@dataclass
class _Running(Generic[T]):
    item: T
    began: float
    by: set[str]  # workers that perform it now


class _Round(Generic[T]):
    """The items of one `TaskPool.map`; guarded by the lock of the pool."""

    def __init__(self, items: Iterable[T], task: Callable[[T], Task]) -> None:
        self.task = task
        self.arrived: queue.SimpleQueue[tuple[_Member, int, bytes] | BaseException] = (
            queue.SimpleQueue()
        )
        self._items = enumerate(items)
        self._again: deque[tuple[int, T]] = deque()
        self.running: dict[int, _Running[T]] = {}
        self.times: list[float] = []  # of performed items, in seconds

    def take(self, name: str) -> tuple[int, T] | None:
        """An item to perform: a new one, a lost one, or one that is late elsewhere."""
        found = self._again.popleft() if self._again else next(self._items, None)
        if found is not None:
            self.running[found[0]] = _Running(found[1], time.monotonic(), {name})
            return found
        for number in self.late(SLOW_S):
            if len(self.running[number].by) < 2 and name not in self.running[number].by:
                self.running[number].by.add(name)
                return number, self.running[number].item
        return None

    def late(self, least: float) -> list[int]:
        """Items that take long compared with the others, the longest first."""
        usual = statistics.median(self.times) if self.times else float("inf")
        now = time.monotonic()
        ages = {number: now - one.began for number, one in self.running.items()}
        late = [number for number, age in ages.items() if age > max(SLOW * usual, least)]
        return sorted(late, key=lambda number: -ages[number])

    def lose(self, number: int, name: str) -> None:
        """A worker does not perform an item any more; it is given to another."""
        one = self.running.get(number)
        if one is not None:
            one.by.discard(name)
            if not one.by:
                del self.running[number]
                self._again.append((number, one.item))

    def end(self, number: int) -> bool:
        """An item is performed; False if it was before."""
        one = self.running.pop(number, None)
        if one is not None:
            self.times.append(time.monotonic() - one.began)
        return one is not None


@dataclass(eq=False)
class _Member:
    worker: TaskWorker
    state: str = "connecting"  # or ready, lost, refused
    failures: int = 0


class TaskPool:
    """Workers for a `with` block; `on_notice` receives lost and refused ones."""

    def __init__(
        self, workers: Sequence[TaskWorker], on_notice: Callable[[str], None] = lambda _: None
    ) -> None:
        self._members = [_Member(worker) for worker in workers]
        self._on_notice = on_notice
        self._notices: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._round: _Round[object] | None = None
        self._closed = threading.Event()

    def __enter__(self) -> Self:
        for member in self._members:
            name = f"worker {member.worker.name}"
            threading.Thread(target=self._serve, args=(member,), name=name, daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._closed.set()
        with self._changed:
            self._changed.notify_all()
        for member in self._members:
            member.worker.close()

    @property
    def size(self) -> int:
        """Workers that were not refused, and at least 1."""
        return max(1, sum(member.state != "refused" for member in self._members))

    def map(
        self, items: Iterable[T], work: TaskKind[T, R], should_stop: Callable[[], bool]
    ) -> Generator[tuple[T, R]]:
        """Performs all items and yields each with its result, in the order of their arrival.

        Ends early when `should_stop` returns true or the generator is closed. Errors of this
        machine are raised, those of workers are not: what they leave is performed by others.
        """
        of: _Round[T] = _Round(items, work.task)
        with self._changed:
            self._round = of  # type: ignore[assignment]
            self._changed.notify_all()
        try:
            while not should_stop():
                self._tell()
                found = self._next(of, work)
                if found is not None:
                    yield found
                elif self._over(of):
                    return
        finally:
            self._tell()
            with self._changed:
                if self._round is of:
                    self._round = None

    def _tell(self) -> None:
        """Passes notices of the threads on."""
        while not self._notices.empty():
            self._on_notice(self._notices.get())

    def _next(self, of: _Round[T], work: TaskKind[T, R]) -> tuple[T, R] | None:
        """The next result, from a worker or made here; None if there is none yet."""
        try:
            arrived = of.arrived.get(timeout=TICK_S)
        except queue.Empty:
            return self._here(of, work)
        if isinstance(arrived, BaseException):
            raise arrived
        member, number, result = arrived
        with self._changed:
            if number not in of.running:
                return None
            item = of.running[number].item
        try:
            checked = work.check(item, result)
        except BadOutput as error:
            with self._changed:
                of.lose(number, member.worker.name)
                self._refuse(member, error)
            return None
        with self._changed:
            return (item, checked) if of.end(number) else None

    def _here(self, of: _Round[T], work: TaskKind[T, R]) -> tuple[T, R] | None:
        """Performs an item on this machine if the workers do not."""
        with self._changed:
            if any(member.state in ("connecting", "ready") for member in self._members):
                late = of.late(LATE_HERE_S)
                found = (late[0], of.running[late[0]].item) if late else None
            else:
                found = of.take("")
        if found is None:
            return None
        number, item = found
        made = work.here(item)
        with self._changed:
            return (item, made) if of.end(number) else None

    def _over(self, of: _Round[T]) -> bool:
        with self._changed:
            if of.running:
                return False
            found = of.take("")  # a source of items without end is asked when one is needed
            if found is None:
                return True
            of.lose(found[0], "")
            return False

    # ---- threads --------------------------------------------------------------------------------

    def _serve(self, member: _Member) -> None:
        """The thread of a worker."""
        worker = member.worker
        while not self._closed.is_set() and member.state != "refused":
            try:
                worker.open()
            except RingriftError as error:
                self._failed(member, error)
                continue
            if not member.failures:  # one that failed must perform something first
                self._ready(member)
            with self._changed:
                of = self._round
                taken = None if of is None else of.take(worker.name)
                if of is None or taken is None:
                    self._changed.wait(TICK_S)
                    continue
            number, item = taken
            try:
                result = worker.perform(of.task(item))
            except RingriftError as error:
                with self._changed:
                    of.lose(number, worker.name)
                self._failed(member, error)
            except BaseException as error:  # noqa: BLE001  raised in the caller's thread
                of.arrived.put(error)
                return
            else:
                member.failures = 0
                self._ready(member)
                of.arrived.put((member, number, result))

    def _ready(self, member: _Member) -> None:
        with self._changed:  # its last result may just have been refused
            if member.state != "refused":
                member.state = "ready"

    def _failed(self, member: _Member, error: RingriftError) -> None:
        """Pauses after a failure, or refuses the worker."""
        if self._closed.is_set():
            return
        gone = isinstance(error, HostUnreachable)
        unfit = isinstance(error, BadOutput | HostKeyError) or (
            isinstance(error, RemoteError) and error.kind in UNFIT
        )
        member.failures += 1
        if unfit or (not gone and member.failures >= MOST_FAILURES):
            self._refuse(member, error)
            return
        if member.failures == 1:
            self._notices.put(f"{member.worker.name} is lost: {error.message}")
        with self._changed:
            if member.state != "refused":
                member.state = "lost"
        self._closed.wait(WAITS_S[min(member.failures, len(WAITS_S)) - 1])

    def _refuse(self, member: _Member, error: RingriftError) -> None:
        if member.state != "refused":
            self._notices.put(f"{member.worker.name} gets no more work: {error.message}")
            member.state = "refused"
            member.worker.close()
