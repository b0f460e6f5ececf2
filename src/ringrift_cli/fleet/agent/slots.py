"""Small JSON files whose room on the disk is taken beforehand, so that a full one cannot stop them.

A job fills the disk; then it must still be possible to ask it to stop, to see that it lives, and to
note how it ended.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ringrift_cli.errors import OutputError
from ringrift_cli.store.files import write_whole

ROOM = 4096
MOST = 16 << 20  # bytes of such a file; a job has a command line and an environment
ATTEMPTS, PAUSE = 5, 0.002  # s

T = TypeVar("T")


def reserve(path: str) -> None:
    """Takes the room: a file of spaces, which reads as nothing."""
    with open(path, "xb") as file:
        file.write(b" " * ROOM)
        file.flush()
        os.fsync(file.fileno())


def fill(path: str, record: msgspec.Struct, sync: bool = True) -> None:
    """Writes an object over what is there.

    `OSError` if the file is not there or the disk fails.
    """
    data = msgspec.json.encode(record).ljust(ROOM - 1) + b"\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.pwrite(descriptor, data, 0)
        if sync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fill_and_rename(path: str, target: str, record: msgspec.Struct) -> None:
    """Writes an object into reserved room and gives it its name: whole, or not there."""
    fill(path, record)
    os.replace(path, target)


def read(path: str, kind: type[T]) -> T | None:
    """The object in a file; None if there is no file, or no JSON in it.

    `msgspec.ValidationError` if it holds something else.
    """
    for _ in range(ATTEMPTS):
        try:
            with open(path, "rb") as file:
                data = file.read(MOST)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not data.strip():
            return None
        try:
            return msgspec.json.decode(data, type=kind)
        except msgspec.ValidationError:
            raise
        except (msgspec.DecodeError, RecursionError):
            time.sleep(PAUSE)  # it may have been read while it was written
    return None


def read_cache(path: str) -> dict[str, Any]:
    """What `write_cache` kept; empty if that is lost or damaged."""
    with contextlib.suppress(msgspec.ValidationError):
        return read(path, dict[str, Any]) or {}
    return {}


def write_cache(path: str, document: dict[str, Any]) -> None:
    """Keeps what can be found out again; without room on the disk it is not kept."""
    with contextlib.suppress(OutputError):
        write_whole(Path(path), msgspec.json.encode(document))
