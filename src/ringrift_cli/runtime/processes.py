"""Groups of worker processes on this machine, which end with the block that started them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any, Self

from ringrift_cli.game.playout import THREADS_VARIABLE, available_threads

SOON = 5.0  # seconds that processes may take to end when something went wrong


class ProcessGroup:
    """Processes of a block of code, each with its share of the cores; none outlives the block."""

    def __init__(self, context: SpawnContext, count: int) -> None:
        self._context, self._threads = context, max(1, available_threads() // count)
        self.processes: list[SpawnProcess] = []
        self.patience = SOON  # seconds that all of them together may take to end

    def __enter__(self) -> Self:
        return self

    def start(self, work: Callable[..., None], *args: Any, name: str) -> None:
        """Starts a process that calls `work`, and that Ctrl-C in a terminal does not reach."""
        process = self._context.Process(target=work, args=args, name=name)
        with _threads_limited(self._threads), signals_held():
            process.start()
        self.processes.append(process)

    def __exit__(self, *_error: object) -> None:
        deadline = time.monotonic() + self.patience
        for process in self.processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()


@contextmanager
def signals_held() -> Iterator[None]:
    """Blocks SIGINT and SIGTERM; a process that is started here keeps them blocked.

    Otherwise a signal to the whole group would end it while it imports.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _threads_limited(threads: int) -> Iterator[None]:
    """Limits the threads of a process that is started here."""
    before = os.environ.get(THREADS_VARIABLE)
    os.environ[THREADS_VARIABLE] = str(threads)
    try:
        yield
    finally:
        if before is None:
            del os.environ[THREADS_VARIABLE]
        else:
            os.environ[THREADS_VARIABLE] = before
