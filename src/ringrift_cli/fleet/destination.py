"""Local destination of shards fetched from hosts: index of known files and target folders."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from ringrift_cli.store.files import stamp
from ringrift_cli.store.manifest import (
    MANIFEST,
    ShardEntry,
    read_manifest,
    removed_from_manifest,
)


class Destination:
    """Index of known shards and their target folders. Thread-safe.

    `folders`: all folders with a manifest; `place`: target folder of an entry; `check`: validates a
    file for its folder. The last two raise `RecordError`.
    """

    def __init__(
        self,
        folders: Callable[[], Iterable[Path]],
        place: Callable[[ShardEntry], Path],
        check: Callable[[Path, ShardEntry, Path], None],
        endings: tuple[str, ...],
    ) -> None:
        self.folders, self.place, self.check, self.endings = folders, place, check, endings
        self._lock = threading.Lock()
        self._read: dict[Path, tuple[tuple[int, int], set[str]]] = {}
        self._claimed: set[str] = set()

    def known(self) -> set[str]:
        """SHA-256 of all shards that are here or were deleted on purpose."""
        with self._lock:
            return set().union(*(self._of(folder) for folder in self.folders()))

    def holds(self, sha256: str) -> bool:
        """Whether `known` contains a hash."""
        with self._lock:
            return any(sha256 in self._of(folder) for folder in self.folders())

    def _of(self, folder: Path) -> set[str]:
        now = stamp(folder / MANIFEST)
        if folder not in self._read or self._read[folder][0] != now:
            names = {entry.sha256 for entry in read_manifest(folder)}
            self._read[folder] = (now, names | removed_from_manifest(folder))
        return self._read[folder][1]

    def claim(self, sha256: str) -> bool:
        """Claims a file that several hosts may send; False if it is claimed already."""
        with self._lock:
            if sha256 in self._claimed:
                return False
            self._claimed.add(sha256)
            return True

    def release(self, sha256: str) -> None:
        """Gives a claim back."""
        with self._lock:
            self._claimed.discard(sha256)
