"""Files of the work folder: listing, hashing, sending, removing."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from ringrift_cli.fleet import messages
from ringrift_cli.fleet.agent import slots
from ringrift_cli.fleet.agent.context import Context, Refusal, open_plain
from ringrift_cli.fleet.agent.layout import HASHES, INNER, JOBS, OF_A_JOB, PARTIAL
from ringrift_cli.system import read_from_disk

ROWS = 2000  # per frame
PIECE = 1 << 20
SETTLED = 2_000_000_000  # ns: what was written later than that may be again, at the same time


def encoded(row: messages.Record) -> msgspec.Raw:
    """A row of a list, for a frame that holds rows as they are."""
    return msgspec.Raw(msgspec.json.encode(row))


def walk(
    context: Context, root: str, unread: Callable[[str, str], object] = lambda *_: None
) -> Iterator[tuple[str, list[str]]]:
    """Folders below a path and their entries that are no folders, without whatever is hidden.

    Links to folders are not followed; they are entries. `unread` gets what cannot be read, and
    names that are no UTF-8, each with the reason.
    """

    def fail(error: OSError) -> None:
        if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
            unread(context.relative(error.filename), f"it cannot be read: {error.strerror}")

    for place, folders, names in os.walk(root, onerror=fail):
        context.alive()
        for found in (folders, names):
            for name in [name for name in found if not _is_text(name)]:
                found.remove(name)
                unread(ascii(name), "its name is no UTF-8")
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        folders[:] = sorted(n for n in folders if not n.startswith(".") and n not in links)
        yield place, sorted(name for name in (*names, *links) if not name.startswith("."))


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def files(context: Context, request: messages.Files) -> messages.Done:
    """Sends the plain files below `root`, but parts of files."""
    root = context.path(request.root)
    known = HashCache(context)
    rows: list[msgspec.Raw] = []
    for place, names in walk(context, root):
        for name in names:
            path = os.path.join(place, name)
            if name.endswith(".part"):
                continue
            with contextlib.suppress(FileNotFoundError):  # it was there a moment ago
                status = os.lstat(path)
                relative = context.relative(path)
                if not stat.S_ISREG(status.st_mode):
                    continue
                digest = known.of(path, status) if request.hash else None
                row = messages.FileRow(path=relative, size=status.st_size, sha256=digest)
                rows.append(encoded(row))
            if len(rows) >= ROWS:
                context.send(messages.FileRows(files=rows))
                rows = []
    if rows:
        context.send(messages.FileRows(files=rows))
    if request.hash:
        known.keep(context.relative(root))
    return messages.Done()


def send(context: Context, request: messages.Send) -> messages.SentBytes:
    """Sends a file from `offset` on, after its size."""
    name, offset = request.path, request.offset
    descriptor = open_plain(context.path(name), name)
    try:
        size = os.fstat(descriptor).st_size
        if offset > size:
            raise Refusal(
                "offset", f"{name!r} has {size} bytes: there is nothing from {offset} on."
            )
        context.send(messages.Size(size=size))
        if context.send_file(descriptor, offset, size) < size:
            raise Refusal("changed", f"{name!r} became shorter while it was sent.")
    finally:
        os.close(descriptor)
    return messages.SentBytes(sent=size - offset)


def remove(context: Context, request: messages.Remove) -> messages.Done:
    """Removes what jobs have made, or parts of what never came whole; what is gone is no error.

    The files that record the state of a job stay.
    """
    import shutil

    paths = [(name, context.path(name)) for name in request.paths]
    for name, _path in paths:
        parts = name.split("/")
        of_job = (
            parts[0] == JOBS and len(parts) > 2 and (len(parts) > 3 or parts[2] not in OF_A_JOB)
        )
        if not (of_job or (parts[:2] == [INNER, PARTIAL] and len(parts) > 2)):
            raise Refusal("path", f"{name!r} may not be removed: expected something of a job's.")
    for _name, path in paths:
        context.alive()
        with contextlib.suppress(FileNotFoundError):
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)
    return messages.Done()


# ---- hashes --------------------------------------------------------------------------------------


def hash_files(context: Context, request: messages.Hash) -> messages.Hashes:
    """SHA-256 of files, computed now; None if it is not a regular file."""
    found: dict[str, str | None] = {}
    for name in request.paths:
        found[name] = None
        path = context.path(name)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if stat.S_ISREG(os.lstat(path).st_mode):
                found[name] = hash_file(context, path)
    return messages.Hashes(sha256=found)


def hash_descriptor(context: Context, descriptor: int, cached: bool = False) -> str:
    """Hex digest of a whole file, read from the disk as far as the system lets us.

    With `cached` what the system holds of it in memory will do, which is ten times as fast.
    """
    if not cached:
        read_from_disk(descriptor)
    found, at = hashlib.sha256(), 0
    while data := os.pread(descriptor, PIECE, at):
        found.update(data)
        at += len(data)
        context.alive()
    return found.hexdigest()


def hash_file(context: Context, path: str) -> str:
    """Hex digest of a file; `Refusal` if it is not a regular file."""
    descriptor = open_plain(path, context.relative(path))
    try:
        return hash_descriptor(context, descriptor)
    finally:
        os.close(descriptor)


class HashCache:
    """SHA-256 of files, remembered for as long as a file is what it was.

    It may be lost or damaged at any time.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self.place = context.inner(HASHES)
        self.known: dict[str, Any] = slots.read_cache(self.place)
        self.seen: set[str] = set()
        self.changed = False

    def of(self, path: str, status: os.stat_result) -> str:
        """The hash of a file whose lstat was just taken."""
        name = self.context.relative(path)
        self.seen.add(name)
        mark = [status.st_size, status.st_mtime_ns, status.st_ino]
        row = self.known.get(name)
        if isinstance(row, list) and row[:3] == mark:
            return str(row[3])
        found = hash_file(self.context, path)
        if 0 <= time.time_ns() - status.st_mtime_ns < SETTLED:
            self.known.pop(name, None)
        else:
            self.known[name] = [*mark, found]
        self.changed = True
        return found

    def keep(self, root: str) -> None:
        """Remembers them; files below `root` (relative) that were not seen are forgotten."""
        below = f"{root}/"
        gone = [n for n in self.known if n.startswith(below) and n not in self.seen]
        for name in gone:
            del self.known[name]
        if self.changed or gone:
            slots.write_cache(self.place, self.known)
