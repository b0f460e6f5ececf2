"""Records of games: a compact form for machines and a readable one for people.

Compact (`.rrg`), any number of games of one board and player count: a container (container.py) with

    "RINGRIFT-GAMES 1\\n"
    columns: lengths uint32 [games], winners uint8, reasons uint8, ranks uint8 [games, players],
             actions uint32 [decisions]

Readable (`.jsonl`, also gzipped), a game a line:

    {"format": "ringrift-game", "version": 1, "rules": …, "board": …, "players": …, "pie_rule": …,
     "made": {…}, "moves": ["place 0,0 2", …], "result": {"winner": 1, "reason": …, "ranks": […]}}

Reading either one replays every game, checks every move, and compares the result. The games of
tests/conformance, which have a position at every step, can be read as well.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from ringrift_cli.errors import RecordError, RingriftError, RulesMismatch
from ringrift_cli.game import layout as L
from ringrift_cli.game import playout
from ringrift_cli.game.actions import action_space
from ringrift_cli.game.container import Arrays, Header, Layout, check_setting, located, pack, unpack
from ringrift_cli.game.notation import REASONS
from ringrift_cli.game.playout import LongArray
from ringrift_cli.game.position import Position
from ringrift_cli.game.result import Result, result_of
from ringrift_cli.game.topology import IntArray, tables
from ringrift_cli.game.version import codec_hash, rules_hash, rules_version
from ringrift_cli.store.files import write_whole
from ringrift_cli.store.journal import decode_lines
from ringrift_cli.store.manifest import COMPACT

MAGIC = b"RINGRIFT-GAMES 1\n"
FORMAT = "ringrift-game"
VERSION = 1
GZIP_MAGIC = b"\x1f\x8b"


class ReadableGame(msgspec.Struct):
    """A line of a readable record."""

    format: Literal["ringrift-game"]
    version: int
    rules: str
    board: str
    players: int
    pie_rule: bool
    moves: list[str]
    result: Any  # compared with that of the moves
    made: dict[str, Any] = {}


class RecordedStep(msgspec.Struct):
    """A position and the move played there; other keys are ignored."""

    move: str
    position_sha1: str
    legal_count: int
    legal_sha1: str
    position: str | UnsetType = UNSET
    legal: list[str] | UnsetType = UNSET


class RecordedResult(msgspec.Struct):
    """Winner, reason and ranks of a finished game."""

    winner: int
    reason: str
    ranks: list[int]


class RecordedGame(msgspec.Struct):
    """A line of a file of conformance games (tests/conformance/README.md)."""

    board: str
    players: Annotated[int, msgspec.Meta(ge=2, le=4)]
    pie_rule: bool
    seed: int
    steps: list[RecordedStep]
    final: str
    result: RecordedResult


@dataclass(frozen=True)
class GameRecord:
    """A finished game; `made` is its origin: policy, seed, number, whatever applies."""

    board: str
    players: int
    pie_rule: bool
    actions: tuple[int, ...]
    result: Result
    made: dict[str, Any] = field(default_factory=dict)
    rules: int = L.RULES  # version

    def positions(self) -> Iterator[tuple[Position, int | None]]:
        """Every position with the action taken there, None at the end.

        Raises `IllegalMove` where an action is not legal.
        """
        position = Position.initial(
            self.board, self.players, pie_rule=self.pie_rule, rules=self.rules
        )
        for action in self.actions:
            yield position, action
            position = position.play(action)
        yield position, None

    def moves(self) -> list[str]:
        """Texts of the moves."""
        return [at.move(action) for at, action in self.positions() if action is not None]


def _layout(header: Header) -> Layout:
    """The columns of a compact file: lengths, winners, reasons, ranks, actions."""
    games = header.games
    bytes_ = [("u1", games), ("u1", games), ("u1", games * header.players)]
    return [("<u4", games), *bytes_, ("<u4", header.decisions)]


def _result_json(result: Result) -> dict[str, Any]:
    return {"winner": result.winner, "reason": result.reason, "ranks": list(result.ranks)}


# ---- writing ------------------------------------------------------------------------------------


def to_compact(records: Sequence[GameRecord]) -> bytes:
    """A compact file of games; `RecordError` unless they share what is in its header."""
    first = records[0]
    kind = (first.board, first.players, first.pie_rule, first.rules)
    if any((r.board, r.players, r.pie_rule, r.rules) != kind for r in records):
        raise RecordError(
            "A compact record holds games of one board, player count, pie rule and version of the"
            " rules."
        )
    columns: Arrays = [
        np.array([len(r.actions) for r in records]),
        np.array([r.result.winner for r in records]),
        np.array([REASONS.index(r.result.reason) for r in records]),
        np.array([r.result.ranks for r in records]),
        np.concatenate([np.array(r.actions) for r in records]),
    ]
    header = Header(
        rules=rules_hash(first.rules),
        codec=codec_hash(),
        board=first.board,
        players=first.players,
        pie_rule=first.pie_rule,
        made=_shared_made(records),
        games=len(records),
        decisions=len(columns[-1]),
    )
    return pack(MAGIC, header, _layout(header), columns)


def _shared_made(records: Sequence[GameRecord]) -> dict[str, Any]:
    """The common origin of the games; consecutive numbers become the `first` of them."""
    made = dict(records[0].made)
    start = made.pop("number", None)
    if "first" in made or not (start is None or type(start) is int):
        raise RecordError("In a compact record, 'number' is an integer, and 'first' is reserved.")
    for i, record in enumerate(records):
        if record.made != (made if start is None else {**made, "number": start + i}):
            raise RecordError(
                f"A compact record holds games of one origin and consecutive numbers: game {i + 1}"
                " differs.",
                hint="a readable record, .jsonl, holds any games",
            )
    return made if start is None else {**made, "first": start}


def to_readable(record: GameRecord) -> dict[str, Any]:
    """The JSON document of a game in the readable form."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "rules": rules_hash(record.rules),
        "board": record.board,
        "players": record.players,
        "pie_rule": record.pie_rule,
        "made": record.made,
        "moves": record.moves(),
        "result": _result_json(record.result),
    }


def readable_lines(records: Sequence[GameRecord]) -> bytes:
    """A readable file of games."""
    return b"".join(json.dumps(to_readable(r)).encode() + b"\n" for r in records)


def write_records(path: Path, records: Sequence[GameRecord]) -> None:
    """Writes games, at least one: compact for `.rrg`, readable for `.jsonl` and `.jsonl.gz`."""
    if not records:
        raise RecordError(f"{path}: there are no games to record.")
    if path.suffix == COMPACT:
        write_whole(path, to_compact(records))
    elif path.name.endswith(".jsonl.gz"):
        write_whole(path, gzip.compress(readable_lines(records), mtime=0))
    elif path.suffix == ".jsonl":
        write_whole(path, readable_lines(records))
    else:
        raise RecordError(f"{path}: a record ends in .rrg, .jsonl or .jsonl.gz.")


# ---- reading ------------------------------------------------------------------------------------


def read_records(path: Path) -> list[GameRecord]:
    """Reads all games of a file in either form; every move is replayed and checked.

    `RecordError` for a damaged file or a game that does not replay, `RulesMismatch` for one of
    unknown rules; both name the file and the place.
    """
    with located(path):
        data = path.read_bytes()
        if data.startswith(GZIP_MAGIC):
            try:
                data = gzip.decompress(data)
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise RecordError("the compressed file is truncated or damaged.") from error
        if data.startswith(MAGIC.split(b" ", maxsplit=1)[0]):
            return _from_compact(data)
    records = []
    for number, document in enumerate(decode_lines(data.splitlines(), object, path), 1):
        with located(f"{path}, line {number}"):
            records.append(from_document(document))
    if not records:
        raise RecordError(f"{path}: the file holds no games.")
    return records


def is_compact(path: Path) -> bool:
    """Whether a file, gzip or not, begins like a compact record of any version."""
    with path.open("rb") as file:
        packed = file.read(2) == GZIP_MAGIC
    try:
        with gzip.open(path) if packed else path.open("rb") as file:
            return file.read(len(MAGIC)).startswith(MAGIC.split(b" ", maxsplit=1)[0])
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return False


def compact_decisions(path: Path) -> tuple[Header, IntArray, LongArray]:
    """Header, decisions of all games, and their offsets, [games + 1], of a compact file.

    For files that were checked before: nothing is replayed. Errors as `read_records`.
    """
    with located(path):
        header, columns = unpack(path.read_bytes(), MAGIC, Header, _layout)
        return header, *_decisions(header, columns)


def from_document(document: object) -> GameRecord:
    """Replays the game of a line in either readable form; `RecordError` for an invalid one."""
    kind: type[RecordedGame | ReadableGame]
    kind = RecordedGame if isinstance(document, dict) and "steps" in document else ReadableGame
    try:
        game = msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise RecordError(f"not a record of a game: {error}.") from error
    if isinstance(game, RecordedGame):
        rules, made, moves = L.RULES, {"seed": game.seed}, [step.move for step in game.steps]
    elif game.version != VERSION:
        raise RulesMismatch(f"a record of version {game.version}, expected {VERSION}.")
    else:
        rules, made, moves = _rules(game.rules), game.made, game.moves
    pie_rule = game.pie_rule and game.players == 2  # the rule is for two players
    check_setting(game.board, game.players, pie_rule)
    position = Position.initial(game.board, game.players, pie_rule=pie_rule, rules=rules)
    actions = []
    for ply, move in enumerate(moves):
        if position.is_over:
            raise RecordError(f"it has the move {move!r} after the end of the game.")
        try:
            actions.append(position.action(move))
        except RingriftError as error:
            raise RecordError(f"decision {ply + 1}: {error.message}", error.hint) from error
        position = position.play(actions[-1])
    result, recorded = position.result(), msgspec.to_builtins(game.result)
    if result is None:
        raise RecordError("its moves end before the game does: the record is truncated.")
    if recorded != _result_json(result):
        raise RecordError(f"its result is {recorded}, but the moves give {_result_json(result)}.")
    return GameRecord(game.board, game.players, pie_rule, tuple(actions), result, made, rules)


def _rules(digits: str) -> int:
    """The version of the rules with a hash; `RulesMismatch` for an unknown one."""
    version = rules_version(digits)
    if version is None:
        raise RulesMismatch(f"played under the unknown rules {digits}; these are {rules_hash()}.")
    return version


def _from_compact(data: bytes) -> list[GameRecord]:
    """Replays the games of a compact file on all cores."""
    header, columns = unpack(data, MAGIC, Header, _layout)
    board, players, pie_rule = header.board, header.players, header.pie_rule
    rules = _rules(header.rules)
    _, winners, reasons, ranks, _ = columns
    ranks = ranks.reshape(-1, players)
    actions, offsets = _decisions(header, columns)
    T = tables(board, players, rules)
    rows = _replay(T, pie_rule, offsets, actions)
    shared = dict(header.made)
    start = shared.pop("first", None)
    if type(start) not in (int, type(None)):
        raise RecordError(f"its 'made' names the first game {start!r}.")
    records = []
    for i in range(header.games):
        result = result_of(T, rows[i])
        reason = REASONS[reasons[i]] if reasons[i] < len(REASONS) else str(reasons[i])
        recorded = Result(int(winners[i]), reason, tuple(ranks[i].tolist()))
        if recorded != result:
            raise RecordError(f"game {i + 1}: its result is {recorded}, the moves give {result}.")
        moves = tuple(actions[offsets[i] : offsets[i + 1]].tolist())
        made = shared if start is None else {**shared, "number": start + i}
        records.append(GameRecord(board, players, pie_rule, moves, result, made, rules))
    return records


def _decisions(header: Header, columns: Arrays) -> tuple[IntArray, LongArray]:
    """Decisions of all games, and their offsets, [games + 1]."""
    lengths, *_, actions = columns
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
    if offsets[-1] != len(actions) or actions.max() >= action_space(header.board).size:
        raise RecordError("its lengths do not add up, or a number is not an action.")
    return actions.astype(np.int32), offsets


def _replay(T: IntArray, pie_rule: bool, offsets: LongArray, actions: IntArray) -> IntArray:
    """Final rows of the games, [games, row size]; `RecordError` for one that does not replay."""
    rows = np.zeros((len(offsets) - 1, int(T[L.T_ROW_SIZE])), np.int32)
    playout.start_all(T, rows, np.ones(len(rows), np.bool_), pie_rule)
    failed = playout.replay_all(T, rows, offsets, actions)
    for i in np.flatnonzero(failed >= 0).tolist():
        ply, length = int(failed[i]), int(offsets[i + 1] - offsets[i])
        if ply == length:
            raise RecordError(f"game {i + 1}: it stops after {length} decisions, unfinished.")
        raise RecordError(f"game {i + 1}: decision {ply + 1} is not legal.")
    return rows
