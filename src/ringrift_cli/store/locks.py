"""Locks between processes of one machine; the kernel releases them when the holder exits."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ringrift_cli.errors import OutputError, RingriftError
from ringrift_cli.store.files import reason

ATTEMPTS, PAUSE_S = 5, 0.05  # before a lock counts as busy: `is_locked` holds it briefly


@contextmanager
def locked(
    path: Path,
    *,
    busy: Callable[[], RingriftError] | None = None,
    on_wait: Callable[[], None] = lambda: None,
) -> Iterator[IO[str]]:
    """Holds an exclusive lock on a file, which is created if missing; yields the open file.

    If another process or thread holds it, raises `busy()` if given; otherwise calls `on_wait` and
    waits. `OutputError` if the file cannot be created.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    except OSError as error:
        raise OutputError(f"Cannot write to {path.parent}: {reason(path, error)}.") from error
    with file:
        for attempt in range(ATTEMPTS if busy else 1):
            time.sleep(PAUSE_S if attempt else 0)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                continue
        else:
            if busy:
                raise busy()
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def is_locked(path: Path) -> bool:
    """Whether another process holds the lock on a file."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
