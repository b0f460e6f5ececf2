"""Which games a folder of shards holds, so that a game that comes a second time is noticed.

Beside the shards lies `.games.index`, a cache that may be deleted at any time:

    "RINGRIFT-GAME-INDEX 1 RULES CODEC\\n"
    for each file   SHA-256 of the file [32 bytes], games n uint32, hash of each game uint64 [n],
                    CRC-32 of these uint32; all little-endian

A record that was cut off ends what is believed of it, and shards that it lacks are read again.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ringrift_cli.data.shard import ENDING, read_decisions
from ringrift_cli.errors import RecordError
from ringrift_cli.game.record import compact_decisions
from ringrift_cli.game.topology import IntArray
from ringrift_cli.game.version import codec_hash, rules_hash
from ringrift_cli.store.files import write_whole
from ringrift_cli.store.manifest import read_manifest, stamp

Hashes = npt.NDArray[
    np.uint64
]  # 8 bytes of a SHA-256: 10^7 games, a chance of 10^-5 that two agree
Kind = tuple[str, int, bool]  # board, players, pie rule

FILE = ".games.index"
COMPACT, READABLE = ".rrg", ".games.jsonl"
NAME, COUNT = 32, 4  # bytes
MOST_LOOSE = 200_000  # games that are looked up one by one before they are sorted in


def head() -> bytes:
    """The first line: other rules or codec make other numbers of the same game."""
    return f"RINGRIFT-GAME-INDEX 1 {rules_hash()} {codec_hash()}\n".encode()


def kind_of(header: Mapping[str, Any]) -> Kind:
    """Board, players and pie rule of a header, a readable game or a manifest entry."""
    return header.get("board", ""), header.get("players", 0), header.get("pie_rule", False)


def hashes_of(kind: Kind, games: Iterable[bytes]) -> Hashes:
    """A number for each game, of its board, players, pie rule and decisions."""
    salt = hashlib.sha256(repr(kind).encode())
    found = []
    for game in games:
        one = salt.copy()
        one.update(game)
        found.append(one.digest()[:8])
    return np.frombuffer(b"".join(found), "<u8").astype(np.uint64)


def hashes_of_decisions(kind: Kind, actions: IntArray, offsets: npt.NDArray[np.int64]) -> Hashes:
    """The same of games side by side: decisions of all, and where each game's begin, [G + 1]."""
    data = actions.astype("<i4").tobytes()
    bounds = (4 * offsets).tolist()
    return hashes_of(kind, (data[first:end] for first, end in pairwise(bounds)))


def hashes_of_file(path: Path, expected: str | None = None) -> Hashes:
    """The same of a file of games that was checked before; `RecordError` if it cannot be read."""
    if path.name.endswith(ENDING):
        header, columns = read_decisions(path, expected)
        return hashes_of_decisions(kind_of(header), columns.actions, columns.game_offsets)
    if path.name.endswith(COMPACT):
        header, actions, offsets = compact_decisions(path)
        return hashes_of_decisions(kind_of(header), actions, offsets)
    return hashes_of_documents(readable_documents(path))


def readable_documents(path: Path) -> list[dict[str, Any]]:
    """The lines of a file of readable games; `RecordError` where one is none."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise RecordError(f"{path}: {error.strerror}.") from error
    documents = []
    for number, line in enumerate(lines, 1):
        try:
            document = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise RecordError(f"{path}, line {number} is no JSON.") from error
        moves = document.get("moves") if isinstance(document, dict) else None
        if not isinstance(moves, list) or not all(isinstance(move, str) for move in moves):
            raise RecordError(f"{path}, line {number} holds no game with moves.")
        documents.append(document)
    return documents


def hashes_of_documents(documents: Iterable[dict[str, Any]]) -> Hashes:
    """The same of readable games, by the text of their moves."""
    parts = [hashes_of(kind_of(one), ["\n".join(one["moves"]).encode()]) for one in documents]
    return np.concatenate([np.zeros(0, np.uint64), *parts])


class KnownGames:
    """The games of a folder's shards. One thread at a time may use it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.unread: dict[str, str] = {}  # files of the manifest that cannot be read, and why
        self._hashes: dict[str, Hashes] = {}  # by SHA-256 of the file
        self._own: set[str] = set()  # files added here that the manifest need not list yet
        self._seen: tuple[int, int] | None = None  # of the manifest
        self._files: dict[str, str] = {}
        self._names: list[str] = []
        self._sorted: Hashes = np.zeros(0, np.uint64)
        self._owners: npt.NDArray[np.int32] = np.zeros(0, np.int32)
        self._loose: dict[int, str] = {}
        self._stale = False

    def holders(self, hashes: Hashes) -> tuple[int, str | None]:
        """How many of these games shards hold that are here, and the file that holds most of them.

        A game that stands several times among `hashes` counts as held but for the first time; then
        the file may be none.
        """
        self._refresh()
        found: dict[str, int] = {}
        held = 0
        unique = np.unique(hashes)
        if len(self._sorted):
            at = np.minimum(np.searchsorted(self._sorted, unique), len(self._sorted) - 1)
            same = self._sorted[at] == unique
            held += int(same.sum())
            for owner, count in zip(
                *np.unique(self._owners[at[same]], return_counts=True), strict=True
            ):
                found[self._names[owner]] = int(count)
            unique = unique[~same]
        for key in unique.tolist() if self._loose else ():
            if key in self._loose:
                held += 1
                found[self._loose[key]] = found.get(self._loose[key], 0) + 1
        repeated = len(hashes) - len(np.unique(hashes))
        most = max(found, key=lambda name: found[name]) if found else None
        return held + repeated, None if most is None else self._files.get(most, most)

    def knows(self, sha256: str) -> bool:
        """Whether a file was added, or is listed in the manifest, and its games are known."""
        self._refresh()
        return sha256 in self._hashes

    def add(self, sha256: str, file: str, hashes: Hashes) -> None:
        """Takes the games of a file in that is about to be entered in the manifest."""
        self._refresh()
        if sha256 in self._hashes:
            return
        self._own.add(sha256)
        self._files[sha256] = file
        self._take(sha256, hashes)
        self._append([(sha256, hashes)])

    # ---- within ---------------------------------------------------------------------------------

    def _refresh(self) -> None:
        """Brings it in line with the manifest, if that has changed."""
        seen = stamp(self.folder)
        if seen != self._seen:
            listed = {entry.sha256: entry.file for entry in read_manifest(self.folder)}
            cached = self._load() if self._seen is None else {}
            gone = self._hashes.keys() - listed.keys() - self._own
            for sha256 in gone:
                del self._hashes[sha256]
            self._stale |= bool(gone)
            self._files = {name: self._files[name] for name in self._own} | listed
            self._read(listed, cached)
            self._seen = seen
        if self._stale or len(self._loose) > MOST_LOOSE:
            self._sort()

    def _read(self, listed: dict[str, str], cached: dict[str, Hashes]) -> None:
        """Takes in what the manifest lists and is not known yet."""
        new = []
        self.unread = {}
        for sha256, file in listed.items():
            if sha256 in self._hashes:
                continue
            if (hashes := cached.get(sha256)) is None:
                try:
                    hashes = hashes_of_file(self.folder / Path(file).name, sha256)
                except RecordError as error:  # ours, so no fault of what is checked against it
                    self.unread[file] = error.message
                    continue
                new.append((sha256, hashes))
            self._take(sha256, hashes)
        if cached.keys() - listed.keys():  # deleted since
            self._write()
        elif new:
            self._append(new)

    def _take(self, sha256: str, hashes: Hashes) -> None:
        self._hashes[sha256] = hashes
        if not self._stale:
            self._loose.update(dict.fromkeys(hashes.tolist(), sha256))
            self._stale = len(self._loose) > MOST_LOOSE

    def _sort(self) -> None:
        self._names = list(self._hashes)
        parts = list(self._hashes.values())
        keys = np.concatenate([np.zeros(0, np.uint64), *parts])
        owners = np.repeat(np.arange(len(parts), dtype=np.int32), [len(part) for part in parts])
        order = np.argsort(keys, kind="stable")
        self._sorted, self._owners = keys[order], owners[order]
        self._loose, self._stale = {}, False

    def _load(self) -> dict[str, Hashes]:
        """What the cache holds, by SHA-256 of the file; nothing where it is of no use."""
        path = self.folder / FILE
        data = path.read_bytes() if path.exists() else b""
        if not data.startswith(head()):
            path.unlink(missing_ok=True)
            return {}
        found, at = {}, len(head())
        while at < len(data):
            count = int.from_bytes(data[at + NAME : at + NAME + COUNT], "little")
            end = at + NAME + COUNT + 8 * count
            if data[end : end + 4] != struct.pack("<I", zlib.crc32(data[at:end])):
                os.truncate(path, at)
                break
            hashes = np.frombuffer(data, "<u8", count, at + NAME + COUNT).astype(np.uint64)
            found[data[at : at + NAME].hex()] = hashes
            at = end + 4
        return found

    def _append(self, more: Sequence[tuple[str, Hashes]]) -> None:
        path = self.folder / FILE
        self.folder.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            if not file.tell():
                file.write(head())
            file.write(b"".join(_record(sha256, hashes) for sha256, hashes in more))

    def _write(self) -> None:
        records = (_record(sha256, hashes) for sha256, hashes in self._hashes.items())
        write_whole(self.folder / FILE, head() + b"".join(records))


def _record(sha256: str, hashes: Hashes) -> bytes:
    data = bytes.fromhex(sha256) + struct.pack("<I", len(hashes)) + hashes.astype("<u8").tobytes()
    return data + struct.pack("<I", zlib.crc32(data))
