"""Groups of worker processes whose lifetime is a `with` block."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any, Self

from ringrift_cli.game.playout import THREADS_VARIABLE, available_threads

SHUTDOWN_S = 5.0  # grace period after a failure, seconds


class ProcessGroup:
    """Worker processes that share the cores evenly; none outlives the `with` block.

    Within it SIGTERM raises `SystemExit`, unless it already has a handler.
    """

    def __init__(self, context: SpawnContext, count: int) -> None:
        self._context, self._threads = context, max(1, available_threads() // count)
        self.processes: list[SpawnProcess] = []
        self.patience = SHUTDOWN_S  # grace period on exit for all processes together, seconds

    def __enter__(self) -> Self:
        in_main = threading.current_thread() is threading.main_thread()
        self._ends = in_main and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        if self._ends:
            signal.signal(signal.SIGTERM, _end)
        return self

    def start(self, work: Callable[..., None], *args: Any, name: str) -> None:
        """Starts a process that calls `work`; SIGINT and SIGTERM are blocked in it."""
        process = self._context.Process(target=work, args=args, name=name)
        with threads_limited(self._threads), signals_held():
            process.start()
        self.processes.append(process)

    def __exit__(self, *_error: object) -> None:
        deadline = time.monotonic() + self.patience
        for process in self.processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
        if self._ends:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


@contextmanager
def signals_held() -> Iterator[None]:
    """Blocks SIGINT and SIGTERM, also in processes started within.

    Otherwise a signal to the process group would end them during their imports.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def threads_limited(threads: int) -> Iterator[None]:
    """Limits the threads of this process and of those started within."""
    before = os.environ.get(THREADS_VARIABLE)
    os.environ[THREADS_VARIABLE] = str(threads)
    try:
        yield
    finally:
        if before is None:
            del os.environ[THREADS_VARIABLE]
        else:
            os.environ[THREADS_VARIABLE] = before
