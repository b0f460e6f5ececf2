"""Threads for whatever takes long, shared fairly between clients.

A client has a limited number of jobs at work and waiting. The next job is one of the client that
waited longest for a turn. Jobs have a deadline, and an earlier one while others wait.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from ringrift_cli.errors import RingriftError

SLOTS = 8  # jobs at work, in all
AT_WORK_OF_CLIENT, WAITING_OF_CLIENT, WAITING = 2, 4, 64
TURN_S = 3.0  # after which a job ends early while others wait

Result = TypeVar("Result")
StopCheck = Callable[[], bool]


class BusyError(RingriftError):
    """Too many jobs wait."""


class SearchQueue:
    """Runs jobs in threads; used from one event loop. See the module."""

    def __init__(self, slots: int = SLOTS) -> None:
        self._slots = slots
        self._threads = ThreadPoolExecutor(slots, thread_name_prefix="search")
        self._at_work: Counter[str] = Counter()  # jobs by client
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._is_crowded = self._is_closed = False  # read by threads

    async def run(self, client: str, job: Callable[[StopCheck], Result], seconds: float) -> Result:
        """The result of a job, which is handed a check whether to end early.

        `BusyError` if the client, or all together, have too many. A cancelled caller stops the job.
        """
        async with self._turn(client):
            stop = threading.Event()
            loop = asyncio.get_running_loop()
            running = loop.run_in_executor(self._threads, job, self._check(stop, seconds))
            try:
                return await asyncio.shield(running)
            finally:
                stop.set()  # and the slot is in use until the thread is free
                await asyncio.gather(running, return_exceptions=True)

    async def stream(
        self, client: str, job: Callable[[StopCheck], Iterator[Result]], seconds: float
    ) -> AsyncIterator[Result]:
        """The results of a job as they come; closing the iterator stops the job."""
        found: asyncio.Queue[Result | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def work(should_stop: StopCheck) -> None:
            for result in job(should_stop):
                loop.call_soon_threadsafe(found.put_nowait, result)

        async def finish() -> None:
            try:
                await self.run(client, work, seconds)
            finally:
                found.put_nowait(None)

        task = asyncio.create_task(finish())
        try:
            while (result := await found.get()) is not None:
                yield result
            await task
        finally:
            task.cancel()

    def _check(self, stop: threading.Event, seconds: float) -> StopCheck:
        begun = time.monotonic()

        def should_stop() -> bool:
            passed = time.monotonic() - begun
            late = passed > seconds or (passed > TURN_S and self._is_crowded)
            return late or stop.is_set() or self._is_closed

        return should_stop

    @asynccontextmanager
    async def _turn(self, client: str) -> AsyncIterator[None]:
        """Holds one of the slots."""
        mine = self._waiting.get(client, ())
        if len(mine) >= WAITING_OF_CLIENT or sum(map(len, self._waiting.values())) >= WAITING:
            raise BusyError("The server is busy: too many searches wait.", hint="try again soon")
        ticket = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append(ticket)
        self._admit()
        try:
            await ticket
        except asyncio.CancelledError:
            if not ticket.cancelled() and ticket.done():
                self._leave(client)
            else:
                self._forget(client, ticket)
            raise
        try:
            yield
        finally:
            self._leave(client)

    def _admit(self) -> None:
        """Gives free slots to waiting clients in turn."""
        for client in list(self._waiting):
            if self._at_work.total() < self._slots and self._at_work[client] < AT_WORK_OF_CLIENT:
                ticket = self._waiting[client].popleft()
                self._waiting.move_to_end(client)
                if not self._waiting[client]:
                    del self._waiting[client]
                if not ticket.cancelled():
                    self._at_work[client] += 1
                    ticket.set_result(None)
        self._is_crowded = bool(self._waiting) and self._at_work.total() >= self._slots

    def _leave(self, client: str) -> None:
        self._at_work[client] -= 1
        if not self._at_work[client]:
            del self._at_work[client]
        self._admit()

    def _forget(self, client: str, ticket: asyncio.Future[None]) -> None:
        waiting = self._waiting.get(client)
        if waiting and ticket in waiting:
            waiting.remove(ticket)
            if not waiting:
                del self._waiting[client]

    def close(self) -> None:
        """Asks all jobs to end, and waits for none."""
        self._is_closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
