"""Atomic and durable file writes: temporary file in the same folder, fsync, rename."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from pathlib import Path

from ringrift_cli.errors import OutputError

UMASK = os.umask(0o077)  # reading it sets it for all threads, so it is read once, at import
os.umask(UMASK)

FULL = (errno.ENOSPC, errno.EDQUOT)  # errors of a full disk


def write_whole(path: Path, data: bytes) -> None:
    """Replaces a file atomically: readers see the old content or the complete new one.

    Raises `OutputError` if it cannot be written; no temporary file is left then.
    """
    temporary: str | None = None
    try:
        if path.exists() and not path.is_file():  # do not replace a device or a pipe
            raise OSError(errno.EEXIST, "it exists and is not a regular file")
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
            f"Cannot write {path}: {reason(path, error)}; no partial file was left.",
            hint="df -h" if error.errno in FULL else "another path",
        ) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def reason(path: Path, error: OSError) -> str:
    """Why a file or folder cannot be written; a file in the place of a folder is named."""
    if isinstance(error, FileExistsError | NotADirectoryError):
        for parent in (path, *path.parents):
            if parent.is_file():
                return f"{parent} is a file, not a folder"
    return error.strerror or str(error)


def write_json(path: Path, document: object) -> None:
    """Writes a document as indented JSON; errors as `write_whole`."""
    write_whole(path, (json.dumps(document, indent=1) + "\n").encode())


def append(path: Path, data: bytes) -> None:
    """Appends bytes durably to a file, which is created if missing.

    Raises `OutputError` on failure (full disk); the file is then unchanged.
    """
    try:
        with path.open("ab", buffering=0) as file:
            before = file.seek(0, os.SEEK_END)
            try:
                written = 0
                while written < len(data):  # partial writes occur on a nearly full disk
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
    """Flushes the directory entries of a folder to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def stamp(path: Path) -> tuple[int, int]:
    """Modification time (ns) and size of a file, to detect changes; zeros if it is missing."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0, 0
    return status.st_mtime_ns, status.st_size
