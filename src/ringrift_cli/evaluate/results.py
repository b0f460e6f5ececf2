"""Results of games in SQLite: one row per game, safe with concurrent writers and kill -9.

A *match* is determined by its setting (match.py): the same command has the same id and finds the
games of an earlier one. Games come in blocks: one opening, played with every seating. `UNIQUE
(match, block, rotation)` drops what two processes both played.

Which games count is decided when they are read, from the first block on, so that it depends on the
games and not on the order in which they ended.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np

from ringrift_cli.errors import OutputError, RecordError, RulesMismatch
from ringrift_cli.game.position import Position
from ringrift_cli.game.record import GameRecord
from ringrift_cli.game.version import rules_hash, rules_version
from ringrift_cli.nn.registry import pool_name
from ringrift_cli.text import now

VERSION = 1
MAGIC = b"SQLite format 3\0"
BUSY = 60.0  # seconds to wait for another writer

SCHEMA = """
CREATE TABLE matches (
    id       TEXT PRIMARY KEY,          -- hash of the setting
    setting  TEXT NOT NULL,             -- JSON
    specs    TEXT NOT NULL,             -- what the user called each identity, JSON
    begun    TEXT NOT NULL
) STRICT;
CREATE TABLE games (
    id        INTEGER PRIMARY KEY,
    board     TEXT NOT NULL,            -- board, players, pie_rule and rules are the pool
    players   INTEGER NOT NULL,
    pie_rule  INTEGER NOT NULL,
    rules     TEXT NOT NULL,
    match     TEXT NOT NULL REFERENCES matches (id),
    block     INTEGER NOT NULL,         -- from 0: which opening
    rotation  INTEGER NOT NULL,         -- from 0: which seating
    seats     TEXT NOT NULL,            -- identities by seat at the end, JSON
    winner    INTEGER NOT NULL,         -- seat, from 0
    entrant   INTEGER NOT NULL,         -- who won, from 0
    reason    TEXT NOT NULL,
    decisions INTEGER NOT NULL,
    moves     TEXT NOT NULL,            -- hash of the actions
    actions   BLOB NOT NULL,            -- uint32, little-endian, zlib
    played    TEXT NOT NULL,
    UNIQUE (match, block, rotation)
) STRICT;
CREATE INDEX games_by_pool ON games (board, players, pie_rule, rules);
"""

POOL = "board = ? AND players = ? AND pie_rule = ? AND rules = ?"
Row = tuple[Any, ...]  # match, block, seats, winner, entrant, moves


class Pool(msgspec.Struct, frozen=True):
    """Board, number of players and pie rule: results of different pools are never mixed."""

    board: str
    players: int
    pie_rule: bool = False

    @property
    def name(self) -> str:
        """As in the registry: `hex8-2p`."""
        return pool_name(self.board, self.players, self.pie_rule)

    @property
    def key(self) -> tuple[str, int, int, str]:
        return self.board, self.players, int(self.pie_rule), rules_hash()

    def __str__(self) -> str:
        return f"{self.board}, {self.players} players{', pie rule' * self.pie_rule}"


@dataclass(frozen=True)
class PlayedGame:
    """A finished game of a match."""

    block: int
    rotation: int
    seats: tuple[str, ...]  # identities by seat, after a swap
    winner: int  # seat, from 0
    entrant: int  # index of the winner in the match
    reason: str
    actions: tuple[int, ...]

    @property
    def moves_hash(self) -> str:
        return hashlib.sha256(np.array(self.actions, "<u4").tobytes()).hexdigest()[:32]


@dataclass(frozen=True)
class Blocks:
    """The counting blocks of a match, in order, and numbers of those that do not count."""

    numbers: list[int]
    winners: list[tuple[int, ...]]  # [blocks][rotations] entrant
    complete: int  # blocks from the first on without a gap, repeated ones among them
    duplicates: int  # games of these that repeat an earlier one
    games: int  # all that were played


@dataclass(frozen=True)
class RatedGame:
    """A counting game for the ratings."""

    seats: tuple[str, ...]  # identities
    winner: int  # seat, from 0
    opening: str  # games with the same one are not independent


class ListedGame(msgspec.Struct, frozen=True):
    """A recorded game of a match; `seats` are the names of the players at its end."""

    number: int  # in the results file
    match: str
    opening: int  # from 1
    seats: tuple[str, ...]
    winner: int  # seat, from 1
    reason: str
    decisions: int
    played: str


def counting_blocks(
    rows: Iterable[Row], rotations: int, seen: set[tuple[str, str]]
) -> Iterator[tuple[int, list[Row], int]]:
    """Blocks of one match up to its first gap: number, games, and number of repeated games.

    `rows` are sorted by block and rotation. `seen` holds (moves, seats) of the games that count so
    far; those of each counting block are added.
    """
    for expected, (block, group) in enumerate(groupby(rows, key=lambda row: row[1])):
        games = list(group)
        if block != expected or len(games) != rotations:
            return
        keys = {(moves, seats) for _, _, seats, _, _, moves in games}
        repeats = len(games) - len(keys - seen)
        if not repeats:
            seen |= keys
        yield block, games, repeats


class Results:
    """The results file, a context manager; `RecordError` if it is not one or cannot be read.

    With `read_only` nothing is created or changed; `OutputError` if there is no file.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        with self._errors():
            if read_only:
                uri = f"{path.absolute().as_uri()}?mode=ro"
                self._db = sqlite3.connect(uri, timeout=BUSY, isolation_level=None, uri=True)
                if self._is_new():  # another process is creating the file
                    self._db.close()
                    self._db = sqlite3.connect(":memory:", isolation_level=None)
                self._prepare()
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=BUSY, isolation_level=None)
            self._use_wal()
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute("PRAGMA foreign_keys = ON")
            with self._transaction():
                self._prepare()

    def _use_wal(self) -> None:
        """Enables WAL, with retries while another process does so."""
        deadline = time.monotonic() + BUSY
        while True:
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() >= deadline:
                    raise
                time.sleep(0.01)

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def _tables(self) -> set[str]:
        return {name for (name,) in self._db.execute("SELECT name FROM sqlite_schema")}

    def _is_new(self) -> bool:
        return self._version() == 0 and not self._tables()

    def _prepare(self) -> None:
        if self._is_new():
            for statement in SCHEMA.split(";\n"):
                self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {VERSION}")
        elif (version := self._version()) != VERSION or not {"matches", "games"} <= self._tables():
            raise RecordError(
                f"{self.path} is a database of something else, or of version {version} where this"
                f" program writes version {VERSION}.",
                hint="--results ANOTHER_FILE",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.OperationalError) as error:
            raise OutputError(
                f"Cannot use the results file {self.path}: {getattr(error, 'strerror', error)}.",
                hint="df -h, or --results FILE",
            ) from error
        except sqlite3.DatabaseError as error:
            raise RecordError(
                f"{self.path} is not a results file: {error}.", hint="--results FILE"
            ) from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Atomic transaction that waits for other writers."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def begin(self, setting: dict[str, Any], specs: dict[str, str]) -> str:
        """Enters a match if it is new; its id. `specs` are the user's names of the identities."""
        match = match_id(setting)
        with self._errors(), self._transaction():
            self._db.execute(
                "INSERT OR IGNORE INTO matches VALUES (?, ?, ?, ?)",
                (match, _canonical(setting), json.dumps(specs), now()),
            )
        return match

    def add(self, match: str, pool: Pool, games: Sequence[PlayedGame]) -> None:
        """Enters finished games in one transaction; one that already exists stays as it is."""
        with self._errors(), self._transaction():
            self._db.executemany(
                "INSERT OR IGNORE INTO games (board, players, pie_rule, rules, match, block,"
                " rotation, seats, winner, entrant, reason, decisions, moves, actions, played)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        *pool.key,
                        match,
                        game.block,
                        game.rotation,
                        json.dumps(game.seats),
                        game.winner,
                        game.entrant,
                        game.reason,
                        len(game.actions),
                        game.moves_hash,
                        zlib.compress(np.array(game.actions, "<u4").tobytes()),
                        now(),
                    )
                    for game in games
                ],
            )

    def played(self, match: str) -> set[tuple[int, int]]:
        """(block, rotation) of all games of a match."""
        with self._errors():
            rows = self._db.execute("SELECT block, rotation FROM games WHERE match = ?", (match,))
            return {(block, rotation) for block, rotation in rows}

    def blocks(self, match: str, rotations: int) -> Blocks:
        """The blocks of a match.

        A block in which a game repeats an earlier one, move for move between the same players in
        the same seats, does not count: the rest of it would favour a seat. Only blocks before the
        first gap count, since short games finish first.
        """
        with self._errors():
            rows = self._db.execute(
                "SELECT match, block, seats, winner, entrant, moves FROM games WHERE match = ?"
                " ORDER BY block, rotation",
                (match,),
            ).fetchall()
        found = list(counting_blocks(rows, rotations, set()))
        counted = [(block, games) for block, games, repeats in found if not repeats]
        return Blocks(
            [block for block, _ in counted],
            [tuple(game[4] for game in games) for _, games in counted],
            len(found),
            sum(repeats for *_, repeats in found),
            len(rows),
        )

    def pools(self) -> list[tuple[Pool, int]]:
        """The pools under the present rules, with their numbers of games."""
        with self._errors():
            rows = self._db.execute(
                "SELECT board, players, pie_rule, COUNT(*) FROM games WHERE rules = ?"
                " GROUP BY board, players, pie_rule ORDER BY board, players, pie_rule",
                (rules_hash(),),
            ).fetchall()
        return [(Pool(board, players, bool(pie)), games) for board, players, pie, games in rows]

    def rated_games(self, pool: Pool) -> list[RatedGame]:
        """The counting games of a pool: those of `blocks`, without repeats of other matches."""
        with self._errors():
            settings = {
                match: json.loads(setting)
                for match, setting in self._db.execute("SELECT id, setting FROM matches")
            }
            rows = self._db.execute(
                "SELECT match, block, seats, winner, entrant, moves FROM games"
                f" JOIN matches ON matches.id = match WHERE {POOL}"
                " ORDER BY matches.rowid, block, rotation",
                pool.key,
            ).fetchall()
        seen: set[tuple[str, str]] = set()
        rated = []
        for match, group in groupby(rows, key=lambda row: row[0]):
            opening = f"{settings[match].get('seed')}/{settings[match].get('opening_turns')}"
            for block, games, repeats in counting_blocks(group, pool.players, seen):
                if not repeats:
                    rated += [
                        RatedGame(tuple(json.loads(seats)), winner, f"{opening}/{block}")
                        for _, _, seats, winner, _, _ in games
                    ]
        return rated

    def games(self, pool: Pool, match: str = "", player: str = "") -> list[ListedGame]:
        """The games of a pool, oldest first, under any rules.

        `match` is the beginning of an id, `player` a part of a player's name, or its identity.
        """
        with self._errors():
            rows = self._db.execute(
                "SELECT games.id, match, block, seats, winner, reason, decisions, played, specs"
                " FROM games JOIN matches ON matches.id = match WHERE board = ? AND players = ?"
                " AND pie_rule = ? AND substr(match, 1, ?) = ? ORDER BY games.id",
                (*pool.key[:3], len(match), match),
            ).fetchall()
        found = []
        for number, key, block, seats, winner, reason, decisions, played, specs in rows:
            identities, known = json.loads(seats), json.loads(specs)
            names = tuple(known.get(one, one) for one in identities)
            if not player or player in identities or any(player in name for name in names):
                game = ListedGame(
                    number, key, block + 1, names, winner + 1, reason, decisions, played
                )
                found.append(game)
        return found

    def record(self, number: int) -> GameRecord | None:
        """A game by its number in the file, replayed; None if there is none."""
        with self._errors():
            row = self._db.execute(
                "SELECT board, players, pie_rule, games.rules, seats, specs, match, block, actions,"
                " winner, reason FROM games JOIN matches ON matches.id = match WHERE games.id = ?",
                (number,),
            ).fetchone()
        if row is None:
            return None
        board, players, pie_rule, rules, seats, specs, match, block, packed, won, reason = row
        actions = tuple(np.frombuffer(zlib.decompress(packed), "<u4").tolist())
        known, version = json.loads(specs), rules_version(rules)
        if version is None:
            raise RulesMismatch(f"{self.path}: game {number} has unknown rules, {rules}.")
        position = Position.initial(board, players, pie_rule=bool(pie_rule), rules=version)
        for action in actions:
            position = position.play(action)
        result = position.result()
        if result is None:
            raise RecordError(f"{self.path}: the moves of game {number} do not end it.")
        if (won + 1, reason) != (result.winner, result.reason):
            raise RecordError(
                f"{self.path}: game {number} has the winner {won + 1} by {reason}, but its moves"
                f" lead to the winner {result.winner} by {result.reason}."
            )
        names = [known.get(one, one) for one in json.loads(seats)]
        made = {"match": match, "opening": block + 1, "seats": names}
        return GameRecord(board, players, bool(pie_rule), actions, result, made, version)

    def numbers(self) -> list[int]:
        """The numbers of all games, oldest first."""
        with self._errors():
            return [number for (number,) in self._db.execute("SELECT id FROM games ORDER BY id")]

    def specs(self, pool: Pool) -> dict[str, str]:
        """The first name of each identity of a pool."""
        with self._errors():
            rows = self._db.execute(
                "SELECT specs FROM matches WHERE id IN"
                f" (SELECT match FROM games WHERE {POOL}) ORDER BY rowid DESC",
                pool.key,
            ).fetchall()
        named: dict[str, str] = {}
        for (specs,) in rows:
            named.update(json.loads(specs))
        return named


def is_results(path: Path) -> bool:
    """Whether a database is a results file that this program can read."""
    try:
        with Results(path, read_only=True):
            return True
    except RecordError:
        return False


def match_id(setting: dict[str, Any]) -> str:
    """The id of the match with this setting, 16 hexadecimal digits."""
    return hashlib.sha256(_canonical(setting).encode()).hexdigest()[:16]


def _canonical(setting: dict[str, Any]) -> str:
    return json.dumps(setting, sort_keys=True, separators=(",", ":"))
