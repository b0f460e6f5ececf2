"""Index of the games in a folder of shards, for the detection of duplicates.

`.games.sqlite` in the folder is a cache: it may be deleted at any time and is rebuilt from the
shards. A game is identified by 8 bytes of a SHA-256: among 10^7 games the collision probability
is 10^-5.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ringrift_cli.data.shard import read_entry
from ringrift_cli.errors import OutputError, RecordError
from ringrift_cli.game.container import Header
from ringrift_cli.game.record import compact_decisions
from ringrift_cli.game.topology import IntArray
from ringrift_cli.game.version import codec_hash, rules_hash
from ringrift_cli.store.files import stamp
from ringrift_cli.store.locks import locked
from ringrift_cli.store.manifest import COMPACT, MANIFEST, ShardEntry, read_manifest

Hashes = npt.NDArray[np.uint64]
Kind = tuple[object, ...]  # board, players, pie rule, and what distinguishes games with equal moves

FILE = ".games.sqlite"
FORMER = ".games.index"  # of the first version
TIMEOUT_S = 60.0  # wait for transactions of other processes
SCHEMA = """
CREATE TABLE shards (number INTEGER PRIMARY KEY, sha256 TEXT UNIQUE, file TEXT);
CREATE TABLE games (hash INTEGER, shard INTEGER, PRIMARY KEY (hash, shard)) WITHOUT ROWID;
"""
MATCHING = "games JOIN shards ON number = shard WHERE hash IN (SELECT value FROM json_each(?))"


def hashes_of(kind: Kind, games: Iterable[bytes]) -> Hashes:
    """Hashes of the decisions of each game and of `kind`, [games]."""
    salt = hashlib.sha256(repr(kind).encode())
    found = []
    for game in games:
        one = salt.copy()
        one.update(game)
        found.append(one.digest()[:8])
    return np.frombuffer(b"".join(found), "<u8").astype(np.uint64)


def hashes_of_decisions(
    header: Header, actions: IntArray, offsets: npt.NDArray[np.int64]
) -> Hashes:
    """Hashes of G games: concatenated `actions`, [n], with `offsets` into them, [G + 1].

    Games that a model searched again differ from the same games in their source.
    """
    data = actions.astype("<i4").tobytes()
    kind: Kind = (header.board, header.players, header.pie_rule)
    if "reanalysed" in header.made:
        kind += (header.made["reanalysed"], header.made.get("model"))
    bounds = (4 * offsets).tolist()
    return hashes_of(kind, (data[first:end] for first, end in pairwise(bounds)))


def hashes_of_entry(folder: Path, entry: ShardEntry) -> Hashes:
    """Hashes of the games in a verified file; `RecordError` if it cannot be read."""
    path = folder / entry.file
    if entry.is_searched:
        shard = read_entry(folder, entry)
        return hashes_of_decisions(shard.header, shard.columns.actions, shard.columns.game_offsets)
    if path.name.endswith(COMPACT):
        return hashes_of_decisions(*compact_decisions(path))
    return hashes_of_documents(readable_documents(path))


def readable_documents(path: Path) -> list[dict[str, Any]]:
    """Parses a file of readable games; `RecordError` for an invalid line."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise RecordError(f"{path}: {error.strerror}.") from error
    documents = []
    for number, line in enumerate(lines, 1):
        try:
            document = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise RecordError(f"{path}, line {number} is not valid JSON.") from error
        moves = document.get("moves") if isinstance(document, dict) else None
        if not isinstance(moves, list) or not all(isinstance(move, str) for move in moves):
            raise RecordError(f"{path}, line {number} holds no game with moves.")
        documents.append(document)
    return documents


def hashes_of_documents(documents: Iterable[dict[str, Any]]) -> Hashes:
    """Hashes of readable games, from their move texts."""
    parts = [
        hashes_of(
            (one.get("board", ""), one.get("players", 0), one.get("pie_rule", False)),
            ["\n".join(one["moves"]).encode()],
        )
        for one in documents
    ]
    return np.concatenate([np.zeros(0, np.uint64), *parts])


class GameIndex:
    """The index of a folder, a context manager; not thread-safe.

    Entering synchronises it with the manifest. `OutputError` if the database cannot be written;
    `RecordError` if it is damaged: it is then deleted, and rebuilt the next time.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / FILE
        self.unread: dict[str, str] = {}  # unreadable files of the manifest: reason by name
        self._pending: set[str] = set()  # files added here before their manifest entry
        self._seen: tuple[int, int] | None = None  # stamp of the manifest

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with locked(self.folder / f"{FILE}.lock"):
                self._open()
        except sqlite3.OperationalError as error:
            raise OutputError(f"Cannot write {self.path}: {error}.", hint="df -h") from error
        try:
            self._refresh()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._database.close()
        if isinstance(error, sqlite3.OperationalError):
            raise OutputError(f"Cannot write {self.path}: {error}.", hint="df -h") from error
        if isinstance(error, sqlite3.DatabaseError):
            self._discard()
            raise RecordError(
                f"{self.path} was damaged ({error}) and has been deleted.",
                hint="run the same command again: it is rebuilt from the shards",
            ) from error

    def holders(self, hashes: Hashes) -> tuple[int, str | None]:
        """Number of duplicates among `hashes`, and the file that contains most of them.

        Repetitions within `hashes` count as duplicates too; if these are the only ones, the file
        is None.
        """
        unique = np.unique(hashes)
        hash_list = [json.dumps(unique.astype(np.int64).tolist())]
        held = self._first_row(f"SELECT COUNT(DISTINCT hash) FROM {MATCHING}", hash_list)
        most = self._first_row(
            f"SELECT file FROM {MATCHING} GROUP BY shard ORDER BY -COUNT(*)", hash_list
        )
        return len(hashes) - len(unique) + held[0], None if most is None else most[0]

    def knows(self, sha256: str) -> bool:
        """Whether the games of a file are indexed."""
        return self._first_row("SELECT 1 FROM shards WHERE sha256 = ?", [sha256]) is not None

    def add(self, sha256: str, file: str, hashes: Hashes) -> None:
        """Adds the games of a file whose manifest entry is about to be written."""
        self._pending.add(sha256)
        self._insert(sha256, file, hashes)

    # ---- database -------------------------------------------------------------------------------

    def _open(self) -> None:
        """Connects; replaces a missing, damaged or outdated database by an empty one."""
        name = f"2 {rules_hash()} {codec_hash()}"  # other rules or codec make other hashes
        version = int(hashlib.sha256(name.encode()).hexdigest()[:7], 16)
        try:
            self._connect()
            if self._first_row("PRAGMA user_version", [])[0] == version:
                return
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:  # it is a cache
            pass
        self._discard()
        self._connect()
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.executescript(
            f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {version}; COMMIT;"
        )

    def _connect(self) -> None:
        self._database = sqlite3.connect(
            self.path, TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        for setting in (
            "synchronous = NORMAL",
            "wal_autocheckpoint = 20000",
            "cache_size = -65536",
        ):
            self._database.execute(f"PRAGMA {setting}")

    def _discard(self) -> None:
        self._database.close()
        self._seen = None
        for name in (FILE, f"{FILE}-wal", f"{FILE}-shm", FORMER):
            (self.folder / name).unlink(missing_ok=True)

    def _first_row(self, query: str, values: list[str]) -> Any:
        return self._database.execute(query, values).fetchone()

    def _insert(self, sha256: str, file: str, hashes: Hashes) -> None:
        database = self._database
        database.execute("BEGIN IMMEDIATE")
        entered = database.execute(
            "INSERT OR IGNORE INTO shards (sha256, file) VALUES (?, ?)", (sha256, file)
        )
        if entered.rowcount:
            values = np.sort(hashes.astype(np.int64)).tolist()
            rows = ((value, entered.lastrowid) for value in values)
            database.executemany("INSERT OR IGNORE INTO games VALUES (?, ?)", rows)
        database.execute("COMMIT")

    def _refresh(self) -> None:
        """Indexes new shards of the manifest and drops removed ones."""
        seen = stamp(self.folder / MANIFEST)
        if seen == self._seen:
            return
        listed = {entry.sha256: entry for entry in read_manifest(self.folder)}
        known = dict(self._database.execute("SELECT sha256, number FROM shards"))
        gone = [(known[name],) for name in known.keys() - listed.keys() - self._pending]
        if gone:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany("DELETE FROM shards WHERE number = ?", gone)
            self._database.execute(
                "DELETE FROM games WHERE shard NOT IN (SELECT number FROM shards)"
            )
            self._database.execute("COMMIT")
        self.unread = {}
        for sha256 in listed.keys() - known.keys():
            entry = listed[sha256]
            try:
                self._insert(sha256, entry.file, hashes_of_entry(self.folder, entry))
            except RecordError as error:  # does not invalidate the file being checked
                self.unread[entry.file] = error.message
        self._seen = seen
