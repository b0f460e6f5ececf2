"""Files that are whole or not there: written beside their place, flushed, then renamed."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ringrift_cli.errors import OutputError, RecordError

MANIFEST = "manifest.jsonl"
REMOVED = f".{MANIFEST}.removed"
UMASK = os.umask(0o077)  # it can only be read by setting it, for all threads: so once, at the start
os.umask(UMASK)


def sha256(data: bytes) -> str:
    """Hex digest of the bytes."""
    return hashlib.sha256(data).hexdigest()


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
        _sync_folder(path.parent)
    except OSError as error:
        raise OutputError(
            f"Cannot write {path}: {error.strerror}; nothing of it was left there.",
            hint="df -h, or another place",
        ) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_manifest(folder: Path) -> list[dict[str, Any]]:
    """The lines of a folder's manifest; empty if it has none. `RecordError` for a damaged line."""
    path = folder / MANIFEST
    if not path.exists():
        return []
    entries = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise RecordError(f"{path}, line {number} is no JSON ({error}).") from error
        if not isinstance(entry, dict) or not isinstance(entry.get("sha256"), str):
            raise RecordError(f"{path}, line {number} has no 'sha256'.")
        entries.append(entry)
    return entries


def add_to_manifest(folder: Path, *entries: dict[str, Any]) -> None:
    """Adds entries, each named by its `sha256`, but for those that are there; all in one step.

    Safe beside other writers of the same folder.
    """
    with _alone(folder):
        known = read_manifest(folder)
        names = {entry["sha256"] for entry in known}
        new = {entry["sha256"]: entry for entry in entries if entry["sha256"] not in names}
        if new:
            _write_manifest(folder, [*known, *new.values()])


def remove_from_manifest(folder: Path, names: Collection[str]) -> None:
    """Takes the entries with these `sha256` out; those that are not there are no error.

    Safe beside other writers of the same folder. The files stay. `removed_from_manifest` then
    knows them, so that copies elsewhere do not bring them back.
    """
    with _alone(folder):
        entries = read_manifest(folder)
        left = [entry for entry in entries if entry["sha256"] not in names]
        if len(left) < len(entries):
            gone = [entry["sha256"] for entry in entries if entry["sha256"] in names]
            write_whole(
                folder / REMOVED, "".join(f"{n}\n" for n in [*_removed(folder), *gone]).encode()
            )
            _write_manifest(folder, left)


def removed_from_manifest(folder: Path) -> set[str]:
    """The `sha256` of all entries that were ever taken out of a folder's manifest."""
    return set(_removed(folder))


def _removed(folder: Path) -> list[str]:
    path = folder / REMOVED
    return path.read_text().split() if path.exists() else []


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """The only one to write to a folder's manifest."""
    with (folder / f".{MANIFEST}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write_manifest(folder: Path, entries: Iterable[dict[str, Any]]) -> None:
    write_whole(folder / MANIFEST, "".join(json.dumps(e) + "\n" for e in entries).encode())
