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
HELD = (signal.SIGINT, signal.SIGTERM)


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
        with signals_held(), threads_limited(self._threads):
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
    """Defers SIGINT and SIGTERM, and blocks them in processes started within.

    Otherwise one sent to the process group would end these during their imports, and one that ends
    this process would leave them without what it was about to send. A blocked signal can still be
    delivered to another thread, and Python then handles it in the main thread: so the handlers
    wait, too.
    """
    received: list[int] = []
    handlers = {}
    if threading.current_thread() is threading.main_thread():
        for number in HELD:
            if callable(signal.getsignal(number)):
                handlers[number] = signal.signal(number, lambda of, _frame: received.append(of))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for first in received[:1]:
            signal.raise_signal(first)


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
