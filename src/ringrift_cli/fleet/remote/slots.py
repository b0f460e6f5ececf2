"""Small JSON files whose room on the disk is taken beforehand, so that a full one cannot stop them.

A job fills the disk; then it must still be possible to ask it to stop, to see that it lives, and to
note how it ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import Any

ROOM = 4096
MOST = 16 << 20  # bytes of such a file; a job has a command line and an environment
ATTEMPTS, PAUSE = 5, 0.002  # s


def reserve(path: str) -> None:
    """Takes the room: a file of spaces, which reads as nothing."""
    with open(path, "xb") as file:
        file.write(b" " * ROOM)
        file.flush()
        os.fsync(file.fileno())


def fill(path: str, document: dict[str, Any], sync: bool = True) -> None:
    """Writes an object over what is there.

    `OSError` if the file is not there or the disk fails.
    """
    data = json.dumps(document).encode("ascii").ljust(ROOM - 1) + b"\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.pwrite(descriptor, data, 0)
        if sync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fill_and_rename(path: str, target: str, document: dict[str, Any]) -> None:
    """Writes an object into reserved room and gives it its name: whole, or not there."""
    fill(path, document)
    os.replace(path, target)


def read(path: str) -> dict[str, Any] | None:
    """The object in a file; None if there is no file, or no object in it."""
    for _ in range(ATTEMPTS):
        try:
            with open(path, "rb") as file:
                data = file.read(MOST)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not data.strip():
            return None
        found = _object(data)
        if found is not None:
            return found
        time.sleep(PAUSE)  # it may have been read while it was written
    return None


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def write_cache(path: str, document: dict[str, Any]) -> None:
    """Keeps what can be found out again; without room on the disk it is not kept."""
    from pathlib import Path

    from ringrift_cli.errors import OutputError
    from ringrift_cli.store.files import write_whole

    with contextlib.suppress(OutputError):
        write_whole(Path(path), json.dumps(document).encode("ascii"))
