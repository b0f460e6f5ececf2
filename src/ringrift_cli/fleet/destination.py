"""What this machine holds of the files that hosts make, and where more of them would go."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from ringrift_cli.store.manifest import ShardEntry, read_manifest, removed_from_manifest, stamp


class Destination:
    """Where files of games go here, and what is there already. Any thread may use it.

    `folders` are all those with a manifest; `place` is the folder of an entry and `check` looks at
    a file, under its name, that may go there: both raise `RecordError` with what is wrong.
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
        """SHA-256 of all that is here, or was and was deleted on purpose."""
        with self._lock:
            return set().union(*(self._of(folder) for folder in self.folders()))

    def holds(self, sha256: str) -> bool:
        """Whether one file is among them."""
        with self._lock:
            return any(sha256 in self._of(folder) for folder in self.folders())

    def _of(self, folder: Path) -> set[str]:
        now = stamp(folder)
        if folder not in self._read or self._read[folder][0] != now:
            names = {entry.sha256 for entry in read_manifest(folder)}
            self._read[folder] = (now, names | removed_from_manifest(folder))
        return self._read[folder][1]

    def claim(self, sha256: str) -> bool:
        """Whether the caller is the one to enter a file that several hosts may have sent."""
        with self._lock:
            if sha256 in self._claimed:
                return False
            self._claimed.add(sha256)
            return True

    def release(self, sha256: str) -> None:
        """It was not entered after all."""
        with self._lock:
            self._claimed.discard(sha256)
