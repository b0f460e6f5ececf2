"""Results of games, kept in SQLite: a row for each game, safe beside other writers and kill -9.

A *match* is a comparison that its setting decides (match.py): the same command has the same id, and
finds what an earlier one played. Its games come in blocks: one opening, played with every seating.
A game counts once: `UNIQUE (match, block, rotation)` holds back what two processes both played, and
a game with the moves of an earlier one between the same players in the same seats is a duplicate.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from ringrift_cli.errors import OutputError, RecordError
from ringrift_cli.game.version import rules_hash

VERSION = 1
BUSY = 60.0  # seconds to wait for another writer

SCHEMA = """
CREATE TABLE players (
    identity TEXT PRIMARY KEY,          -- content hash
    spec     TEXT NOT NULL              -- as the user first called it
) STRICT;
CREATE TABLE matches (
    id       TEXT PRIMARY KEY,          -- hash of the setting
    setting  TEXT NOT NULL,             -- JSON
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
    duplicate INTEGER NOT NULL,         -- 1: has the moves of an earlier game of the same seats
    played    TEXT NOT NULL,
    UNIQUE (match, block, rotation)
) STRICT;
CREATE INDEX games_by_pool ON games (board, players, pie_rule, rules);
CREATE INDEX games_by_moves ON games (moves, seats);
"""


@dataclass(frozen=True)
class Pool:
    """What is rated together: results of different pools are never mixed."""

    board: str
    players: int
    pie_rule: bool = False

    @property
    def key(self) -> tuple[str, int, int, str]:
        return self.board, self.players, int(self.pie_rule), rules_hash()


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
    """The complete blocks of a match that count, in order, and what does not count."""

    numbers: list[int]
    winners: list[tuple[int, ...]]  # [blocks][rotations] entrant
    complete: int  # blocks from the first on without a gap, duplicates among them
    duplicates: int  # games
    games: int  # all that were played


class Results:
    """The results file; a context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=BUSY, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute("PRAGMA foreign_keys = ON")
            with self._writing():
                self._prepare()
        except sqlite3.DatabaseError as error:
            raise RecordError(
                f"{path} is no results file that can be used: {error}.", hint="--results FILE"
            ) from error

    def _prepare(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            for statement in SCHEMA.split(";\n"):
                self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {VERSION}")
        elif version != VERSION:
            raise RecordError(
                f"{self.path} is of version {version}, this program writes version {VERSION}.",
                hint="--results FILE",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """A transaction that waits for other writers, and is whole or not there."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def begin(self, setting: dict[str, Any], players: dict[str, str]) -> str:
        """The id of the match with this setting, entered if it is new.

        `players` are the specs by identity.
        """
        text = json.dumps(setting, sort_keys=True, separators=(",", ":"))
        match = hashlib.sha256(text.encode()).hexdigest()[:16]
        with self._writing():
            for identity, spec in players.items():
                self._db.execute("INSERT OR IGNORE INTO players VALUES (?, ?)", (identity, spec))
            self._db.execute(
                "INSERT OR IGNORE INTO matches VALUES (?, ?, ?)", (match, text, _now())
            )
        return match

    def add(self, match: str, pool: Pool, games: Sequence[PlayedGame]) -> None:
        """Enters finished games at once; one that is there already stays as it is."""
        try:
            with self._writing():
                for game in games:
                    self._add(match, pool, game)
        except sqlite3.OperationalError as error:
            raise OutputError(f"Cannot write to {self.path}: {error}.", hint="df -h") from error

    def _add(self, match: str, pool: Pool, game: PlayedGame) -> None:
        seats = json.dumps(game.seats)
        seen = self._db.execute(
            "SELECT 1 FROM games WHERE moves = ? AND seats = ? AND board = ? AND players = ?"
            " AND pie_rule = ? AND rules = ? AND NOT (match = ? AND block = ? AND rotation = ?)",
            (game.moves_hash, seats, *pool.key, match, game.block, game.rotation),
        ).fetchone()
        self._db.execute(
            "INSERT OR IGNORE INTO games (board, players, pie_rule, rules, match, block, rotation,"
            " seats, winner, entrant, reason, decisions, moves, actions, duplicate, played)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *pool.key,
                match,
                game.block,
                game.rotation,
                seats,
                game.winner,
                game.entrant,
                game.reason,
                len(game.actions),
                game.moves_hash,
                zlib.compress(np.array(game.actions, "<u4").tobytes()),
                int(seen is not None),
                _now(),
            ),
        )

    def played(self, match: str) -> set[tuple[int, int]]:
        """(block, rotation) of all games of a match."""
        rows = self._db.execute("SELECT block, rotation FROM games WHERE match = ?", (match,))
        return {(block, rotation) for block, rotation in rows}

    def blocks(self, match: str, rotations: int) -> Blocks:
        """The blocks of a match.

        A block with a duplicate does not count, for what is left of it would favour a seat. Only
        blocks before the first gap count: short games finish early, and must not be heard first.
        """
        rows = self._db.execute(
            "SELECT block, rotation, entrant, duplicate FROM games WHERE match = ?"
            " ORDER BY block, rotation",
            (match,),
        ).fetchall()
        by_block: dict[int, list[tuple[int, int]]] = {}
        for block, _, entrant, duplicate in rows:
            by_block.setdefault(block, []).append((entrant, duplicate))
        numbers: list[int] = []
        winners: list[tuple[int, ...]] = []
        complete = 0
        while len(by_block.get(complete, ())) == rotations:
            games = by_block[complete]
            if not any(duplicate for _, duplicate in games):
                numbers.append(complete)
                winners.append(tuple(entrant for entrant, _ in games))
            complete += 1
        duplicates = sum(duplicate for *_, duplicate in rows)
        return Blocks(numbers, winners, complete, duplicates, len(rows))

    def pools(self) -> list[tuple[Pool, int]]:
        """The pools under the rules of this program, with their games."""
        rows = self._db.execute(
            "SELECT board, players, pie_rule, COUNT(*) FROM games WHERE rules = ?"
            " GROUP BY board, players, pie_rule ORDER BY board, players, pie_rule",
            (rules_hash(),),
        )
        return [(Pool(board, players, bool(pie)), games) for board, players, pie, games in rows]

    def rated_games(self, pool: Pool) -> list[tuple[tuple[str, ...], int, str]]:
        """Identities by seat, winning seat and block of every game of a pool that counts."""
        rows = self._db.execute(
            "SELECT seats, winner, match, block FROM games WHERE board = ? AND players = ?"
            " AND pie_rule = ? AND rules = ? AND duplicate = 0 ORDER BY id",
            pool.key,
        )
        return [
            (tuple(json.loads(seats)), winner, f"{match}/{block}")
            for seats, winner, match, block in rows
        ]

    def specs(self) -> dict[str, str]:
        """What each identity was first called."""
        return dict(self._db.execute("SELECT identity, spec FROM players"))


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
