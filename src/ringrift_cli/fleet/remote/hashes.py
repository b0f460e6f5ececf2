"""SHA-256 of files, remembered for as long as a file is what it was.

The memory is a cache and nothing more: it may be lost or damaged at any time.
"""

from __future__ import annotations

import hashlib
import os
import time
from typing import Any

from ringrift_cli.fleet.remote import slots
from ringrift_cli.fleet.remote.base import Half, open_plain
from ringrift_cli.fleet.remote.layout import HASHES

PIECE = 1 << 20
SETTLED = 2_000_000_000  # ns: what was written later than that may be again, at the same time


def of_descriptor(half: Half, descriptor: int, cached: bool = False) -> str:
    """Hex digest of a whole file, read from the disk as far as the system lets us.

    With `cached` what the system holds of it in memory will do, which is ten times as fast.
    """
    if not cached:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    found, at = hashlib.sha256(), 0
    while True:
        data = os.pread(descriptor, PIECE, at)
        if not data:
            return found.hexdigest()
        found.update(data)
        at += len(data)
        half.alive()


def of_file(half: Half, path: str) -> str:
    """Hex digest of a file; `Refusal` if it is no plain file."""
    descriptor = open_plain(path, half.relative(path))
    try:
        return of_descriptor(half, descriptor)
    finally:
        os.close(descriptor)


class Hashes:
    """The hashes of files in the work folder."""

    def __init__(self, half: Half, fresh: bool = False) -> None:
        self.half = half
        self.place = half.inner(HASHES)
        self.known: dict[str, list[Any]] = {} if fresh else slots.read(self.place) or {}
        self.seen: set[str] = set()
        self.changed = False

    def of(self, path: str, status: os.stat_result) -> str:
        """The hash of a file whose lstat was just taken."""
        name = self.half.relative(path)
        self.seen.add(name)
        mark = [status.st_size, status.st_mtime_ns, status.st_ino]
        row = self.known.get(name)
        if isinstance(row, list) and row[:3] == mark:
            return str(row[3])
        found = of_file(self.half, path)
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
