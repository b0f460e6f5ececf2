"""Processes that work side by side on the cores of this machine, and end with what began them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

from ringrift_cli.game.playout import THREADS_VARIABLE, available_threads

SOON = 5.0  # seconds that processes may take to end when something went wrong


class Crew:
    """Processes of a block of code; each of `count` has its share of the cores."""

    def __init__(self, context: SpawnContext, count: int) -> None:
        self._context, self._threads = context, max(1, available_threads() // count)
        self.processes: list[SpawnProcess] = []
        self.patience = SOON  # seconds that all of them together may take to end

    def start(self, work: Callable[..., None], *args: Any, name: str) -> None:
        """Begins a process that calls `work`, and that Ctrl-C in a terminal does not reach."""
        process = self._context.Process(target=work, args=args, name=name)
        with _threads_limited(self._threads), signals_held():
            process.start()
        self.processes.append(process)

    def end(self) -> None:
        """Waits for the processes as long as `patience` says, then kills those that are left."""
        deadline = time.monotonic() + self.patience
        for process in self.processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()


@contextmanager
def crew_of(context: SpawnContext, count: int) -> Iterator[Crew]:
    """A crew for `count` processes; whatever happens, none is left when this ends."""
    crew = Crew(context, count)
    try:
        yield crew
    finally:
        crew.end()


@contextmanager
def signals_held() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait until this ends; a process that is begun here never has them.

    It would die of a signal to the whole group while it imports, before it can ignore any.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _threads_limited(threads: int) -> Iterator[None]:
    """A process that is begun here computes in so many threads."""
    before = os.environ.get(THREADS_VARIABLE)
    os.environ[THREADS_VARIABLE] = str(threads)
    try:
        yield
    finally:
        if before is None:
            del os.environ[THREADS_VARIABLE]
        else:
            os.environ[THREADS_VARIABLE] = before
