"""Files that are whole or not there: written beside their place, flushed, then renamed."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from pathlib import Path

from ringrift_cli.errors import OutputError

UMASK = os.umask(0o077)  # it can only be read by setting it, for all threads: so once, at the start
os.umask(UMASK)


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file in one step: whoever looks sees the old one, or the new one complete.

    Raises `OutputError` if it cannot be written; then nothing is left behind.
    """
    temporary: str | None = None
    try:
        if path.exists() and not path.is_file():  # a device or pipe would be replaced by a file
            raise OSError(errno.EEXIST, "something that is no plain file is there")
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o666 & ~UMASK)
        Path(temporary).replace(path)
        temporary = None
        sync_folder(path.parent)
    except OSError as error:
        raise OutputError(
            f"Cannot write {path}: {error.strerror}; nothing of it was left there.",
            hint="df -h, or another place",
        ) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def write_json(path: Path, document: object) -> None:
    """Writes a document as indented JSON; as `write_whole`."""
    write_whole(path, (json.dumps(document, indent=1) + "\n").encode())


def append(path: Path, data: bytes) -> None:
    """Adds bytes to a file, which is created if missing; they are on the disk when this returns.

    `OutputError` if that fails, as on a full disk; then the file is as it was.
    """
    try:
        with path.open("ab", buffering=0) as file:
            before = file.seek(0, os.SEEK_END)
            try:
                written = 0
                while written < len(data):  # a disk that is nearly full takes a part of it
                    written += file.write(data[written:])
                os.fsync(file.fileno())
            except OSError:
                file.truncate(before)
                raise
        if not before:
            sync_folder(path.parent)
    except OSError as error:
        raise OutputError(
            f"Cannot write to {path}: {error.strerror}.",
            hint="free some space, then run the same command again",
        ) from error


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
