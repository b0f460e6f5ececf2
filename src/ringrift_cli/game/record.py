"""Records of games: a compact form for machines and a readable one for people.

Compact (`.rrg`), any number of games of one board and player count:

    "RINGRIFT-GAMES 1\\n"
    header as one line of JSON: rules, codec, board, players, pie_rule, made, games, decisions
    zlib: lengths uint32 [games], winners uint8, reasons uint8, ranks uint8 [games, players],
          actions uint32 [decisions]; all little-endian
    SHA-256 of everything before it, 32 bytes

Readable (`.jsonl`, also gzipped), a game a line:

    {"format": "ringrift-game", "version": 1, "rules": …, "board": …, "players": …, "pie_rule": …,
     "made": {…}, "moves": ["place 0,0 2", …], "result": {"winner": 1, "reason": …, "ranks": […]}}

Reading either one back replays every game, checks every move, and compares the result. The lines
of the conformance games (conformance.py) can be read as well.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ringrift_cli.errors import RecordError, RingriftError, RulesMismatch
from ringrift_cli.game import layout as L
from ringrift_cli.game import playout
from ringrift_cli.game.actions import action_space
from ringrift_cli.game.container import Header, located, pack, unpack
from ringrift_cli.game.notation import REASONS
from ringrift_cli.game.position import Position
from ringrift_cli.game.result import Result, result_of
from ringrift_cli.game.topology import BOARD_NAMES, PLAYER_COUNTS, IntArray, tables
from ringrift_cli.game.version import codec_hash, rules_hash, rules_version
from ringrift_cli.store.files import write_whole

MAGIC = b"RINGRIFT-GAMES 1\n"
READABLE = "ringrift-game"
VERSION = 1


@dataclass(frozen=True)
class GameRecord:
    """One finished game. `made` says what made it: policy, seed, number, whatever applies."""

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


class CompactHeader(Header, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The header of a compact file."""

    @property
    def body_bytes(self) -> int:
        """Size of the columns before compression."""
        return (6 + self.players) * self.games + 4 * self.decisions


def _result_json(result: Result) -> dict[str, Any]:
    return {"winner": result.winner, "reason": result.reason, "ranks": list(result.ranks)}


# ---- writing ------------------------------------------------------------------------------------


def to_compact(records: Sequence[GameRecord]) -> bytes:
    """A compact file of games; `RecordError` if they do not share all that its header says."""
    first = records[0]
    kind = (first.board, first.players, first.pie_rule, first.rules)
    if any((r.board, r.players, r.pie_rule, r.rules) != kind for r in records):
        raise RecordError(
            "A compact record holds games of one board, player count, pie rule and version of the"
            " rules."
        )
    made = _shared_made(records)
    lengths = np.array([len(r.actions) for r in records], "<u4")
    header = CompactHeader(
        rules=rules_hash(first.rules),
        codec=codec_hash(),
        board=first.board,
        players=first.players,
        pie_rule=first.pie_rule,
        made=made,
        games=len(records),
        decisions=int(lengths.sum()),
    )
    body = b"".join(
        (
            lengths.tobytes(),
            bytes(r.result.winner for r in records),
            bytes(REASONS.index(r.result.reason) for r in records),
            bytes(rank for r in records for rank in r.result.ranks),
            np.concatenate([np.array(r.actions, "<u4") for r in records]).tobytes(),
        )
    )
    return pack(MAGIC, header, body)


def _shared_made(records: Sequence[GameRecord]) -> dict[str, Any]:
    """What made all the games; numbers that count up become the `first` of them."""
    made = dict(records[0].made)
    start = made.pop("number", None)
    if "first" in made or not (start is None or type(start) is int):
        raise RecordError("A compact record holds whole numbers of games, and names none 'first'.")
    for i, record in enumerate(records):
        if record.made != (made if start is None else {**made, "number": start + i}):
            raise RecordError(
                "A compact record holds games made alike, with numbers that count up; "
                f"game {i + 1} differs.",
                hint="a readable record, .jsonl, holds any games",
            )
    return made if start is None else {**made, "first": start}


def to_readable(record: GameRecord) -> dict[str, Any]:
    """The JSON document of a game in the readable form."""
    return {
        "format": READABLE,
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
    if path.suffix == ".rrg":
        write_whole(path, to_compact(records))
    elif path.name.endswith(".jsonl.gz"):
        write_whole(path, gzip.compress(readable_lines(records), mtime=0))
    elif path.suffix == ".jsonl":
        write_whole(path, readable_lines(records))
    else:
        raise RecordError(f"{path}: a record ends in .rrg, .jsonl or .jsonl.gz.")


# ---- reading ------------------------------------------------------------------------------------


def read_records(path: Path) -> list[GameRecord]:
    """All games of a file in either form, every move replayed and checked.

    Raises `RecordError` for a damaged file or a game that does not replay, `RulesMismatch` for one
    made under other rules; both name the file and the place.
    """
    with located(path):
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            try:
                data = gzip.decompress(data)
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise RecordError("the compressed file is cut short or damaged.") from error
        if data.startswith(MAGIC.split(b" ", maxsplit=1)[0]):
            return _from_compact(data)
    return _from_lines(path, data)


def is_compact(path: Path) -> bool:
    """Whether a file, gzip or not, begins like a compact record of whatever version."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path) if packed else path.open("rb") as file:
            return file.read(len(MAGIC)).startswith(MAGIC.split(b" ", maxsplit=1)[0])
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return False


def compact_decisions(path: Path) -> tuple[CompactHeader, IntArray, Any]:
    """Header, decisions of all games and where each game's begin, [games + 1], of a compact file.

    For files that were checked before: nothing is replayed. Errors as `read_records`.
    """
    with located(path):
        header, body = unpack(path.read_bytes(), MAGIC, CompactHeader)
        return header, *_decisions(header, body)


def _from_lines(path: Path, data: bytes) -> list[GameRecord]:
    records = []
    for number, line in enumerate(data.splitlines(), 1):
        where = f"{path}, line {number}"
        try:
            document = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise RecordError(f"{where} is no JSON: the file is cut short or damaged.") from error
        try:
            records.append(from_document(document))
        except RingriftError as error:
            kind = RulesMismatch if isinstance(error, RulesMismatch) else RecordError
            raise kind(f"{where}: {error.message}", error.hint) from error
    if not records:
        raise RecordError(f"{path}: the file holds no games.")
    return records


def from_document(document: Any) -> GameRecord:
    """The game of a line of either readable form, replayed; `RecordError` says what is wrong."""
    if not isinstance(document, dict):
        raise RecordError("not a JSON object.")
    if "steps" in document:
        made: dict[str, Any] = {"seed": document.get("seed")}
        rules = L.RULES
        steps = document["steps"] if isinstance(document["steps"], list) else [None]
        moves: Any = [step.get("move") if isinstance(step, dict) else None for step in steps]
    else:
        if document.get("format") != READABLE:
            raise RecordError(f"neither a record of the format {READABLE!r} nor one with 'steps'.")
        if document.get("version") != VERSION:
            raise RulesMismatch(f"a record of version {document.get('version')}, not {VERSION}.")
        rules = _rules(document.get("rules"))
        moves, made = document.get("moves"), document.get("made", {})
    board, players, pie = _setting(document)
    if not isinstance(made, dict):
        raise RecordError("its 'made' is no JSON object.")
    if not isinstance(moves, list) or not all(isinstance(move, str) for move in moves):
        raise RecordError("its moves are no list of texts.")
    position = Position.initial(board, players, pie_rule=pie, rules=rules)
    actions = []
    for ply, move in enumerate(moves):
        if position.is_over:
            raise RecordError(f"it goes on with {move!r}, but the game is over.")
        try:
            actions.append(position.action(move))
        except RingriftError as error:
            raise RecordError(f"decision {ply + 1}: {error.message}", error.hint) from error
        position = position.play(actions[-1])
    result = _settle(position, document)
    return GameRecord(board, players, pie, tuple(actions), result, made, rules)


def _setting(document: dict[str, Any]) -> tuple[str, int, bool]:
    """Board, number of players and pie rule; `RecordError` if there are no such games."""
    board, players, pie = (document.get(key) for key in ("board", "players", "pie_rule"))
    known = board in BOARD_NAMES and players in PLAYER_COUNTS
    if known and isinstance(board, str) and type(players) is int and isinstance(pie, bool):
        return board, players, pie and players == 2  # the rule is for two players
    raise RecordError(f"board {board!r}, players {players!r} or pie_rule {pie!r} is not valid.")


def _rules(digits: object) -> int:
    """The version of the rules with a hash; `RulesMismatch` if this program does not know it."""
    version = rules_version(digits)
    if version is None:
        raise RulesMismatch(f"made under the rules {digits}, but these are {rules_hash()}.")
    return version


def _settle(position: Position, document: dict[str, Any]) -> Result:
    """The result of a replayed game, which must be the recorded one."""
    result = position.result()
    if result is None:
        raise RecordError("its moves end before the game does: the record is cut short.")
    recorded = document.get("result")
    if recorded != _result_json(result):
        raise RecordError(f"its result is {recorded}, but the moves give {_result_json(result)}.")
    return result


def _from_compact(data: bytes) -> list[GameRecord]:
    """The games of a compact file, replayed on all cores."""
    header, body = unpack(data, MAGIC, CompactHeader)
    count, players, pie_rule = header.games, header.players, header.pie_rule and header.players == 2
    rules = _rules(header.rules)
    actions, offsets = _decisions(header, body)
    at = 4 * count
    winners, reasons = (np.frombuffer(body, np.uint8, count, at + k * count) for k in range(2))
    ranks = np.frombuffer(body, np.uint8, players * count, at + 2 * count).reshape(count, players)
    T = tables(header.board, players, rules)
    rows = _replay(T, pie_rule, offsets, actions)
    shared = dict(header.made)
    start = shared.pop("first", None)
    if type(start) not in (int, type(None)):
        raise RecordError(f"its 'made' names the first game {start!r}.")
    records = []
    for i in range(count):
        result = result_of(T, rows[i])
        reason = REASONS[reasons[i]] if reasons[i] < len(REASONS) else str(reasons[i])
        recorded = Result(int(winners[i]), reason, tuple(ranks[i].tolist()))
        if recorded != result:
            raise RecordError(f"game {i + 1}: its result is {recorded}, the moves give {result}.")
        moves = tuple(actions[offsets[i] : offsets[i + 1]].tolist())
        made = shared if start is None else {**shared, "number": start + i}
        records.append(GameRecord(header.board, players, pie_rule, moves, result, made, rules))
    return records


def _decisions(header: CompactHeader, body: bytes) -> tuple[IntArray, Any]:
    """Decisions of all games, and where each game's begin, [games + 1]."""
    lengths = np.frombuffer(body, "<u4", header.games)
    actions = np.frombuffer(body, "<u4", header.decisions, (6 + header.players) * header.games)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
    if offsets[-1] != len(actions) or actions.max() >= action_space(header.board).size:
        raise RecordError("its games have other lengths in all, or a number is no action.")
    return actions.astype(np.int32), offsets


def _replay(T: IntArray, pie_rule: bool, offsets: Any, actions: IntArray) -> IntArray:
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
