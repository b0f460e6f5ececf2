"""Games and positions from files of the command line, and from text that a browser sent."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from ringrift_cli.data import shard
from ringrift_cli.data.shard import read_searched
from ringrift_cli.errors import NotationError, RecordError
from ringrift_cli.evaluate.results import MAGIC, Results, is_results
from ringrift_cli.game import saved
from ringrift_cli.game.conformance_files import LONGEST_LINE
from ringrift_cli.game.position import Position
from ringrift_cli.game.record import (
    FORMAT,
    GZIP_MAGIC,
    GameRecord,
    from_document,
    is_compact,
    read_records,
)
from ringrift_cli.play import session
from ringrift_cli.play.session import SavedGame, Seat, parse_game, read_game, start_of
from ringrift_cli.players import protocol
from ringrift_cli.store.manifest import MANIFEST, SEARCHED, SUFFIXES
from ringrift_cli.text import counted

MAX_TEXT_MOVES = 20_000


FileKind = Literal["manifest", "results", "saved game", "shard", "record"]
HEAD = 64  # bytes, within which a file that this program wrote names its format


class _LineKeys(msgspec.Struct):
    """Keys of a line by which games are recognised."""

    format: object = None
    steps: object = None


def kind_of(path: Path) -> FileKind | None:
    """What a file is, by its name and beginning, damaged or not; None if it holds no games."""
    with path.open("rb") as file:
        head = file.read(HEAD)
    if path.name == MANIFEST:
        return "manifest"
    if head.startswith(MAGIC):
        return "results" if is_results(path) else None
    if f'"{session.FORMAT}"'.encode() in head:
        return "saved game"
    if path.suffix == SEARCHED or head.startswith(shard.MAGIC.split(b" ", maxsplit=1)[0]):
        return "shard"
    is_record = path.name.endswith(SUFFIXES) or is_compact(path) or _begins_with_game(path)
    return "record" if is_record else None


def _begins_with_game(path: Path) -> bool:
    """Whether the first line is a game, or what damage left of a file of JSON lines."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == GZIP_MAGIC
        with gzip.open(path) if packed else path.open("rb") as file:
            line = file.readline(LONGEST_LINE) if file.peek(1)[:1] in (b"{", b"") else b"-"
        keys = msgspec.json.decode(line, type=_LineKeys)
    except (msgspec.DecodeError, EOFError, gzip.BadGzipFile, zlib.error, UnicodeDecodeError):
        return path.name.endswith((".jsonl", ".jsonl.gz"))
    return keys.format == FORMAT or keys.steps is not None


class GameFile:
    """A file of games: record, shard, results file or saved game. Numbers count from 1."""

    def __init__(self, path: Path) -> None:
        """`RecordError` if it holds no games, or is damaged; everything is checked."""
        self.path = path
        self._records: Sequence[GameRecord] = ()
        self._saved: SavedGame | None = None
        try:
            kind = kind_of(path)
        except OSError as error:
            raise RecordError(f"{path}: {error.strerror}.") from error
        self._is_results = kind == "results"
        if kind == "results":
            self.numbers()
        elif kind == "saved game":
            self._saved = read_game(path)
        elif kind == "shard":
            self._records = read_searched(path).records()
        elif kind == "record":
            self._records = read_records(path)
        else:
            raise RecordError(
                f"{path} holds no games: expected a record, shard, results file or saved game.",
                hint="ringrift verify FOLDER finds the game files of a folder",
            )

    def numbers(self) -> Sequence[int]:
        """The numbers of the games, oldest first."""
        if self._is_results:
            with Results(self.path, read_only=True) as results:
                return results.numbers()
        return range(1, len(self._records) + (self._saved is not None) + 1)

    def record(self, number: int | None = None) -> tuple[GameRecord, str | None]:
        """A game, by default the first, and how a saved one ended; `RecordError` without it."""
        if self._saved is not None and number in (None, 1):
            return self._saved.replayed()
        wanted = 1 if number is None else number
        if self._is_results:
            with Results(self.path, read_only=True) as results:
                numbers = results.numbers()
                wanted = next(iter(numbers), 1) if number is None else number
                found = results.record(wanted)
            if found is None:
                known = f"numbers up to {numbers[-1]}" if numbers else "no game"
                raise RecordError(f"{self.path} has {known}: there is no game {wanted}.")
            return found, None
        if not 1 <= wanted <= len(self._records):
            holds = counted(len(self.numbers()), "game")
            raise RecordError(f"{self.path} holds {holds}: there is no game {wanted}.")
        return self._records[wanted - 1], None

    def game(self, number: int | None = None) -> LoadedGame:
        """A game as `record` finds it, or a saved one from wherever it began."""
        if self._saved is not None and number in (None, 1):
            return LoadedGame.of_saved(self._saved)
        return LoadedGame.of_record(self.record(number)[0])


@dataclass(frozen=True)
class LoadedGame:
    """Moves from a position on; `occupants` as at the start, if the source has them."""

    start: Position
    actions: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    saved: SavedGame | None = None

    @classmethod
    def of_record(cls, record: GameRecord) -> LoadedGame:
        start, _ = next(record.positions())
        seats = record.made.get("seats", ())
        names = tuple(map(str, seats)) if isinstance(seats, list | tuple) else ()
        return cls(start, record.actions, names if len(names) == record.players else ())

    @classmethod
    def of_saved(cls, game: SavedGame) -> LoadedGame:
        return cls(game.first(), game.actions, tuple(seat.name for seat in game.seats), game)

    @property
    def as_saved(self) -> SavedGame:
        """The game to be continued; people sit where the source names nobody."""
        if self.saved is not None:
            return self.saved
        document, seats = self.start.to_json(), (Seat(),) * self.start.players
        pie = document["pie_rule"] != "off"
        begins = self.start == Position.initial(
            self.start.board_name, self.start.players, pie_rule=pie
        )
        return SavedGame(
            self.start.board_name,
            seats,
            0,
            pie,
            self.actions,
            start=None if begins else document,
        )

    def position(self, ply: int) -> Position:
        """The position after `ply` decisions, or after the last."""
        position = self.start
        for action in self.actions[: max(0, ply)]:
            position = position.play(action)
        return position

    def positions(self) -> list[Position]:
        """All positions, the start first; `IllegalMove` for an action that is not legal."""
        found = [self.start]
        for action in self.actions:
            found.append(found[-1].play(action))
        return found


def parse_text(text: str) -> LoadedGame:
    """A game or position from text: position text, a saved position, a saved game, a line of a
    readable record, or the lines `newgame` and `position` of the engine protocol.

    `NotationError`, `RecordError`, `RulesMismatch` or `IllegalMove` if it is none of these.
    """
    text = text.strip()
    if text.startswith("{"):
        return _from_json(text)
    if text.startswith("newgame"):
        return _from_lines(text.splitlines())
    if " | " not in text:
        raise NotationError(
            "This is neither a position (ROWS | SEAT PHASE | …) nor a game that this program wrote."
        )
    return LoadedGame(Position.from_json(start_of(text)))


def _from_json(text: str) -> LoadedGame:
    try:
        document: Any = msgspec.json.decode(text)
    except (ValueError, RecursionError):
        try:  # a record of several games: the first
            document = msgspec.json.decode(text.splitlines()[0])
        except (ValueError, RecursionError) as error:
            raise NotationError(f"The text is not valid JSON: {error}.") from error
    kind = document.get("format") if isinstance(document, dict) else None
    if kind == saved.FORMAT:
        return LoadedGame(Position.from_json(document))
    moves = document.get("moves", document.get("steps")) if isinstance(document, dict) else ()
    if isinstance(moves, list) and len(moves) > MAX_TEXT_MOVES:
        raise RecordError(f"A game has at most {MAX_TEXT_MOVES:,} moves here.")
    if kind == session.FORMAT:
        return LoadedGame.of_saved(parse_game(document))
    return LoadedGame.of_record(from_document(document))


def _from_lines(lines: Sequence[str]) -> LoadedGame:
    """A game from lines of the engine protocol."""
    course = protocol.Course.begin(protocol.parse_game(lines[0].partition(" ")[2]))
    for line in filter(str.strip, lines[1:]):
        word, _, rest = line.strip().partition(" ")
        if word != "position":
            raise NotationError(f"After newgame, expected position start moves …, not {word!r}.")
        course = course.to(protocol.parse_place(rest))
        if len(course.moves) > MAX_TEXT_MOVES:
            raise RecordError(f"A game has at most {MAX_TEXT_MOVES:,} moves here.")
    start = protocol.Course.begin(course.game, course.state).position
    return LoadedGame(start, course.actions)


def as_lines(game: SavedGame, moves: Sequence[str]) -> str:
    """The text that `parse_text` reads, of a game without its players."""
    head = protocol.Game(game.board, game.players, game.pie_rule)
    return f"{head}\n{protocol.place_line(protocol.Place(game.start, tuple(moves)))}\n"
