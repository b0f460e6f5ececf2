"""Files out of the work folder, and away with them: listing, hashing, sending, removing."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Any, Callable, Iterator

from ringrift_cli.fleet.remote import hashes
from ringrift_cli.fleet.remote.base import (
    Ask,
    Half,
    Refusal,
    flag,
    open_plain,
    text,
    texts,
    whole,
)
from ringrift_cli.fleet.remote.layout import INNER, JOBS, OF_A_JOB, PARTIAL
from ringrift_cli.fleet.remote.wire import MOST_BYTES

ROWS = 2000  # of a frame


def walk(
    half: Half, root: str, unread: Callable[[str, str], object]
) -> Iterator[tuple[str, list[str]]]:
    """Folders below a path and their entries that are no folders, without whatever is hidden.

    Links to folders are not followed; they are entries. `unread` gets the names of folders that
    cannot be read, and why.
    """

    def fail(error: OSError) -> None:
        if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
            unread(half.relative(error.filename), f"it cannot be read: {error.strerror}")

    for place, folders, names in os.walk(root, onerror=fail):
        half.alive()
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        folders[:] = sorted(n for n in folders if not n.startswith(".") and n not in links)
        yield place, sorted(name for name in (*names, *links) if not name.startswith("."))


def files(half: Half, ask: Ask) -> Ask:
    """Sends what is below `root`; files that are no plain ones are named at the end.

    With `hash` each has its SHA-256, else null; with `fresh` no remembered one is believed.
    """
    root, hashed = half.path(text(ask, "root")), flag(ask, "hash", True)
    known = hashes.Hashes(half, flag(ask, "fresh"))
    rows: list[list[Any]] = []
    left_out: list[list[str]] = []
    for place, names in walk(half, root, lambda *row: left_out.append([*row])):
        for name in names:
            path = os.path.join(place, name)
            if name.endswith(".part"):
                continue
            with contextlib.suppress(FileNotFoundError):  # it was there a moment ago
                status = os.lstat(path)
                if not stat.S_ISREG(status.st_mode):
                    kind = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "no plain file"
                    left_out.append([half.relative(path), kind])
                    continue
                found = known.of(path, status) if hashed else None
                rows.append([half.relative(path), status.st_size, found])
            if len(rows) >= ROWS:
                half.send({"files": rows})
                rows = []
    if rows:
        half.send({"files": rows})
    if hashed:
        known.keep(half.relative(root))
    return {"left_out": left_out[:ROWS]}


def hash_files(half: Half, ask: Ask) -> Ask:
    """SHA-256 of the bytes that are on the disk now; null for what is no plain file there."""
    found: dict[str, Any] = {}
    for name in texts(ask, "paths"):
        found[name] = None
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, Missing):
            found[name] = _hash(half, name)
    return {"sha256": found}


class Missing(Exception):
    """A name that names no plain file."""


def _hash(half: Half, name: str) -> str:
    path = half.path(name)
    if not stat.S_ISREG(os.lstat(path).st_mode):
        raise Missing
    return hashes.of_file(half, path)


def send(half: Half, ask: Ask) -> Ask:
    """Sends a file from `offset` on, after its size."""
    name, offset = text(ask, "path"), whole(ask, "offset", 0)
    descriptor = open_plain(half.path(name), name)
    try:
        size = os.fstat(descriptor).st_size
        if offset > size:
            raise Refusal(
                "offset", f"{name!r} has {size} bytes: there is nothing from {offset} on."
            )
        half.send({"size": size})
        at = offset
        while at < size:
            data = os.pread(descriptor, min(size - at, MOST_BYTES), at)
            if not data:
                raise Refusal("changed", f"{name!r} became shorter while it was sent.")
            half.send_bytes(data)
            at += len(data)
    finally:
        os.close(descriptor)
    return {"sent": size - offset}


def remove(half: Half, ask: Ask) -> Ask:
    """Removes what jobs have made, or parts of what never came whole; what is gone is no error.

    The files that say what became of a job stay.
    """
    import shutil

    paths = [(name, half.path(name)) for name in texts(ask, "paths")]
    for name, _path in paths:
        parts = name.split("/")
        of_job = (
            parts[0] == JOBS and len(parts) > 2 and (len(parts) > 3 or parts[2] not in OF_A_JOB)
        )
        if not (of_job or (parts[:2] == [INNER, PARTIAL] and len(parts) > 2)):
            raise Refusal("path", f"{name!r} may not be removed: expected something of a job's.")
    count = 0
    for _name, path in paths:
        half.alive()
        with contextlib.suppress(FileNotFoundError):
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)
            count += 1
    return {"removed": count}
