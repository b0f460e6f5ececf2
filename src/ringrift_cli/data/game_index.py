"""Which games a folder of shards holds, so that a game that comes a second time is noticed.

Beside the shards lies `.games.sqlite`. It is a cache: it may be deleted at any time, and what it
lacks is read from the shards again. A game is a number: 8 bytes of a SHA-256, so that among 10^7
games the chance that two agree is 10^-5.
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
from ringrift_cli.store.locks import locked
from ringrift_cli.store.manifest import ShardEntry, read_manifest, stamp

Hashes = npt.NDArray[np.uint64]
Kind = tuple[str, int, bool]  # board, players, pie rule

FILE = ".games.sqlite"
FORMER = ".games.index"  # of the first version
COMPACT, READABLE = ".rrg", ".games.jsonl"
TIMEOUT_S = 60.0  # to wait for transactions of other processes
SCHEMA = """
CREATE TABLE shards (number INTEGER PRIMARY KEY, sha256 TEXT UNIQUE, file TEXT);
CREATE TABLE games (hash INTEGER, shard INTEGER, PRIMARY KEY (hash, shard)) WITHOUT ROWID;
"""
ASKED = "games JOIN shards ON number = shard WHERE hash IN (SELECT value FROM json_each(?))"


def hashes_of(kind: Kind, games: Iterable[bytes]) -> Hashes:
    """A number for each game, of its board, players, pie rule and decisions."""
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
    """The same of games side by side: decisions of all, and where each game's begin, [G + 1]."""
    data = actions.astype("<i4").tobytes()
    kind, bounds = (header.board, header.players, header.pie_rule), (4 * offsets).tolist()
    return hashes_of(kind, (data[first:end] for first, end in pairwise(bounds)))


def hashes_of_entry(folder: Path, entry: ShardEntry) -> Hashes:
    """The same of a file of games that was checked before; `RecordError` if it cannot be read."""
    path = folder / entry.file
    if entry.is_searched:
        shard = read_entry(folder, entry)
        return hashes_of_decisions(shard.header, shard.columns.actions, shard.columns.game_offsets)
    if path.name.endswith(COMPACT):
        return hashes_of_decisions(*compact_decisions(path))
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
    parts = [
        hashes_of(
            (one.get("board", ""), one.get("players", 0), one.get("pie_rule", False)),
            ["\n".join(one["moves"]).encode()],
        )
        for one in documents
    ]
    return np.concatenate([np.zeros(0, np.uint64), *parts])


class GameIndex:
    """The games of a folder's shards, as a context manager, for one thread at a time.

    On entry it is brought in line with the folder's manifest. `OutputError` if the database cannot
    be written; `RecordError` if it is damaged: then it is deleted, and made anew the next time.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / FILE
        self.unread: dict[str, str] = {}  # files of the manifest that cannot be read, and why
        self._pending: set[str] = set()  # files added here that the manifest need not list yet
        self._seen: tuple[int, int] | None = None  # of the manifest

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
                hint="run the same command again: it is made anew from the shards",
            ) from error

    def holders(self, hashes: Hashes) -> tuple[int, str | None]:
        """How many of these games the folder has, and the file that holds most of them.

        A game that is several times among `hashes` counts as held all but the first time; then
        the file may be None.
        """
        unique = np.unique(hashes)
        asked = [json.dumps(unique.astype(np.int64).tolist())]
        held = self._ask(f"SELECT COUNT(DISTINCT hash) FROM {ASKED}", asked)
        most = self._ask(f"SELECT file FROM {ASKED} GROUP BY shard ORDER BY -COUNT(*)", asked)
        return len(hashes) - len(unique) + held[0], None if most is None else most[0]

    def knows(self, sha256: str) -> bool:
        """Whether the games of a file are known."""
        return self._ask("SELECT 1 FROM shards WHERE sha256 = ?", [sha256]) is not None

    def add(self, sha256: str, file: str, hashes: Hashes) -> None:
        """Adds the games of a file that is about to be entered in the manifest."""
        self._pending.add(sha256)
        self._insert(sha256, file, hashes)

    # ---- database -------------------------------------------------------------------------------

    def _open(self) -> None:
        """Connects, to a new database if there is none, or one that is damaged or out of date."""
        name = f"2 {rules_hash()} {codec_hash()}"  # other rules or codec make other hashes
        version = int(hashlib.sha256(name.encode()).hexdigest()[:7], 16)
        try:
            self._connect()
            if self._ask("PRAGMA user_version", [])[0] == version:
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

    def _ask(self, query: str, values: list[str]) -> Any:
        """The first row of an answer; None if there is none."""
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
        """Reads the shards that the manifest lists and the database lacks, drops deleted ones."""
        seen = stamp(self.folder)
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
            except RecordError as error:  # ours, so no fault of what is checked against it
                self.unread[entry.file] = error.message
        self._seen = seen
