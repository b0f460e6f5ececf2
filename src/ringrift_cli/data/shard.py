"""Shards: games that a search played, with what it found, as training reads them.

A file, `<first 16 digits of its SHA-256>.shard`, holds games of one board, player count and pie
rule that were made alike:

    "RINGRIFT-SEARCHED 1\\n"
    header as one line of JSON: rules, codec, board, players, pie_rule, made, and how many games,
    decisions, positions (decisions with a policy target) and choices (their actions) follow
    zlib of the columns of `Columns` one after the other, all little-endian:
          of each game      decisions uint32, positions uint32, winner uint8, reason int8
          of each decision  action uint32
          of each position  ply uint32, choices uint32, surprise float32, values float32 [players]
          of each choice    action uint32, probability float16
    SHA-256 of everything before it, 32 bytes

A shard is never changed. Games, not features: positions are replayed when they are read, so that
what a network sees can change without new games. Writing and reading make the same checks: every
move is replayed, every probability must be one of a legal action (shard_checks.py).
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ringrift_cli.data import shard_checks
from ringrift_cli.data.shard_checks import RESIGNED, Columns, SmallFloats, offsets_of
from ringrift_cli.errors import RecordError, RingriftError, RulesMismatch
from ringrift_cli.game import layout as L
from ringrift_cli.game.playout import LongArray
from ringrift_cli.game.record import GameRecord, unpacked
from ringrift_cli.game.result import result_of
from ringrift_cli.game.topology import BOARD_NAMES, PLAYER_COUNTS, IntArray, tables
from ringrift_cli.game.version import codec_hash, rules_hash
from ringrift_cli.store.files import write_whole
from ringrift_cli.store.hashes import sha256
from ringrift_cli.store.manifest import SEARCHED, add_to_manifest, new_entry

MAGIC = b"RINGRIFT-SEARCHED 1\n"
ENDING = SEARCHED
DIGEST = 32
COUNTS = ("games", "decisions", "positions", "choices")
GAME_BYTES, DECISION_BYTES, CHOICE_BYTES = 10, 4, 6  # and 12 + 4 * players of a position


@dataclass(frozen=True)
class SearchedGame:
    """One game, n decisions; k of them, the positions, were searched in full, m choices in all."""

    actions: IntArray  # [n] every decision
    plies: IntArray  # [k] decisions with a policy target, rising
    offsets: LongArray  # [k + 1] into choices and targets
    choices: IntArray  # [m] legal actions with a target above 0
    targets: SmallFloats  # [m] probabilities; their sum is 1 in each position
    surprise: SmallFloats  # [k] KL(target || the network's prior), nats
    values: SmallFloats  # [k, players] chances to win by seat that the search found
    winner: int  # seat from 0
    reason: int  # one of layout.py; RESIGNED


@dataclass(frozen=True)
class Shard:
    """A shard that was read and found right."""

    header: dict[str, Any]
    sha256: str  # of the file
    columns: Columns
    ends: IntArray  # [games, row size] where each game's decisions lead

    @property
    def games(self) -> list[SearchedGame]:
        """The games as they were written, but for the precision of the targets."""
        c = self.columns
        found = []
        for i in range(len(c.winners)):
            decisions = slice(c.game_offsets[i], c.game_offsets[i + 1])
            positions = slice(c.position_offsets[i], c.position_offsets[i + 1])
            offsets = c.choice_offsets[positions.start : positions.stop + 1]
            choices = slice(offsets[0], offsets[-1])
            game = SearchedGame(
                c.actions[decisions],
                c.plies[positions],
                offsets - offsets[0],
                c.choices[choices],
                c.targets[choices],
                c.surprise[positions],
                c.values[positions],
                int(c.winners[i]),
                int(c.reasons[i]),
            )
            found.append(game)
        return found

    def records(self) -> list[GameRecord]:
        """The games without what the search found, as other commands take them."""
        header, found = self.header, []
        T = tables(header["board"], header["players"])
        for game, end in zip(self.games, self.ends, strict=True):
            last = end.copy()
            last[L.WINNER] = game.winner
            result = result_of(T, last)
            if game.reason == RESIGNED:
                result = replace(result, reason="resignation")
            actions = tuple(game.actions.tolist())
            board, players, pie_rule = header["board"], header["players"], header["pie_rule"]
            found.append(
                GameRecord(board, players, pie_rule, actions, result, dict(header["made"]))
            )
        return found


# ---- writing ------------------------------------------------------------------------------------


def write_searched(
    folder: Path,
    made: dict[str, Any],
    games: Sequence[SearchedGame],
    board: str,
    players: int,
    pie_rule: bool,
) -> Path:
    """Writes a shard and its line in the folder's manifest; its path.

    `made` says what made all of the games: model, search, seed, generation. A probability that is
    0 as float16, below 3e-8, is left out. `RecordError` names the first game that is not right and
    what is wrong with it; nothing is written then.
    """
    if not games:
        raise RecordError(f"{folder}: there are no games to write a shard of.")
    _check_setting(board, players, pie_rule)
    columns = _columns(games, players)
    shard_checks.check(columns, board, players, pie_rule)
    columns = columns.rounded()
    header = {
        "rules": rules_hash(),
        "codec": codec_hash(),
        "board": board,
        "players": players,
        "pie_rule": pie_rule,
        "made": made,
        "games": len(games),
        "decisions": len(columns.actions),
        "positions": len(columns.plies),
        "choices": len(columns.choices),
    }
    data = MAGIC + json.dumps(header).encode() + b"\n" + zlib.compress(_body(columns))
    data += hashlib.sha256(data).digest()
    digest = sha256(data)
    path = folder / f"{digest[:16]}{ENDING}"
    write_whole(path, data)
    told: dict[str, Any] = {key: value for key, value in header.items() if key != "choices"}
    add_to_manifest(folder, new_entry(sha256=digest, file=path.name, **told))
    return path


def _check_setting(board: object, players: object, pie_rule: object) -> None:
    """`RecordError` if there are no such games."""
    known = board in BOARD_NAMES and type(players) is int and players in PLAYER_COUNTS
    if not known or not isinstance(pie_rule, bool) or (pie_rule and players != 2):
        raise RecordError(
            f"board {board!r}, players {players!r} and pie_rule {pie_rule!r} are no game."
        )


def _columns(games: Sequence[SearchedGame], players: int) -> Columns:
    """The games side by side; `RecordError` where lengths do not fit each other."""
    for number, game in enumerate(games, 1):
        k = len(game.plies)
        shapes = (game.offsets.shape, game.surprise.shape, game.values.shape)
        if shapes != ((k + 1,), (k,), (k, players)):
            raise RecordError(
                f"game {number}: offsets, surprise and values of shapes {shapes} do not belong to"
                f" {k} plies and {players} players."
            )
        steps = np.diff(game.offsets)
        covered = game.offsets[0] == 0 and (steps > 0).all()
        if not covered or not game.offsets[-1] == len(game.choices) == len(game.targets):
            raise RecordError(
                f"game {number}: its offsets do not divide {len(game.choices)} choices and"
                f" {len(game.targets)} targets into positions with one choice or more."
            )

    def join(arrays: list[npt.NDArray[Any]], dtype: Any) -> npt.NDArray[Any]:
        return np.concatenate(arrays).astype(dtype)

    return Columns(
        offsets_of(np.array([len(g.actions) for g in games])),
        offsets_of(np.array([len(g.plies) for g in games])),
        np.array([g.winner for g in games], np.int64),
        np.array([g.reason for g in games], np.int64),
        join([g.actions for g in games], np.int32),
        join([g.plies for g in games], np.int32),
        offsets_of(join([np.diff(g.offsets) for g in games], np.int64)),
        join([g.choices for g in games], np.int32),
        join([g.targets for g in games], np.float32),
        join([g.surprise for g in games], np.float32),
        join([g.values for g in games], np.float32),
    )


def _body(c: Columns) -> bytes:
    """The columns as the file has them."""
    parts: tuple[tuple[npt.NDArray[Any], str], ...] = (
        (np.diff(c.game_offsets), "<u4"),
        (np.diff(c.position_offsets), "<u4"),
        (c.winners, "u1"),
        (c.reasons, "i1"),
        (c.actions, "<u4"),
        (c.plies, "<u4"),
        (np.diff(c.choice_offsets), "<u4"),
        (c.surprise, "<f4"),
        (c.values, "<f4"),
        (c.choices, "<u4"),
        (c.targets, "<f2"),
    )
    return b"".join(array.astype(dtype).tobytes() for array, dtype in parts)


# ---- reading ------------------------------------------------------------------------------------


def read_searched(
    path: Path, expected: str | None = None, *, most_choices: int | None = None
) -> Shard:
    """A shard, every game of it replayed and checked.

    `RecordError` names the file and what is wrong with it: bytes that do not hash to its name, or
    to `expected`, the SHA-256 that a manifest has for it; a game that is not right. `RulesMismatch`
    for one made under other rules. With `most_choices` no more choices than about that are held
    against the rules, those of games all over the shard; the rest is checked as ever.
    """
    digest, data = _bytes_of(path, expected)
    try:
        header, columns = _unpack(data)
        kind = (header["board"], header["players"], header["pie_rule"])
        ends = shard_checks.check(columns, *kind, most_choices=most_choices)
    except RingriftError as error:
        raise type(error)(f"{path}: {error.message}", error.hint) from error
    return Shard(header, digest, columns.normalised(), ends)


def read_decisions(path: Path, expected: str | None = None) -> tuple[dict[str, Any], Columns]:
    """Header and columns of a shard that was checked before: nothing is replayed.

    Errors as `read_searched`, of what can be seen without the rules of the game.
    """
    _, data = _bytes_of(path, expected)
    try:
        return _unpack(data)
    except RingriftError as error:
        raise type(error)(f"{path}: {error.message}", error.hint) from error


def _bytes_of(path: Path, expected: str | None) -> tuple[str, bytes]:
    """SHA-256 and bytes of a file that is what its name, its checksum and `expected` say."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecordError(f"{path}: {error.strerror}.") from error
    digest = sha256(data)
    if not data.startswith(MAGIC):
        if data.startswith(MAGIC.split(b" ", maxsplit=1)[0]):
            raise RulesMismatch(f"{path}: a shard of another version than 1.")
        raise RecordError(f"{path}: no shard of searched games.")
    if path.stem != digest[:16] or (expected or digest) != digest:
        raise RecordError(
            f"{path}: its bytes hash to {digest[:16]}…, which is neither its name nor what its"
            " manifest says: the file is damaged or was changed.",
            hint="copy it again from where it was made, or delete it and its manifest line",
        )
    if hashlib.sha256(data[:-DIGEST]).digest() != data[-DIGEST:]:
        raise RecordError(f"{path}: the checksum does not fit: the file is cut short or damaged.")
    return digest, data


def _unpack(data: bytes) -> tuple[dict[str, Any], Columns]:
    """Header and columns. The checksum vouches for the bytes, but not for who wrote them."""
    line, _, packed = data[len(MAGIC) : -DIGEST].partition(b"\n")
    try:
        header = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RecordError("its header is no JSON.") from error
    if not isinstance(header, dict) or not isinstance(header.get("made"), dict):
        raise RecordError("its header is no JSON object that says what made it.")
    for key, own in (("rules", rules_hash()), ("codec", codec_hash())):
        if header.get(key) != own:
            raise RulesMismatch(
                f"made under the {key} {header.get(key)}, but these are {own}.",
                hint="games made by this version of ringrift",
            )
    players: Any = header.get("players")
    _check_setting(header.get("board"), players, header.get("pie_rule"))
    counts: list[Any] = [header.get(key) for key in COUNTS]
    if not all(type(n) is int and n >= 0 for n in counts) or counts[0] == 0:
        raise RecordError(f"its header counts {dict(zip(COUNTS, counts, strict=True))}.")
    sizes = (GAME_BYTES, DECISION_BYTES, 12 + 4 * players, CHOICE_BYTES)
    size = sum(n * each for n, each in zip(counts, sizes, strict=True))
    return header, _from_body(unpacked(packed, size), counts, players)


def _from_body(body: bytes, counts: list[Any], players: int) -> Columns:
    games, decisions, positions, choices = counts
    at = 0

    def take(dtype: str, count: int) -> npt.NDArray[Any]:
        nonlocal at
        found = np.frombuffer(body, dtype, count, at)
        at += found.nbytes
        return found

    lengths, searched = take("<u4", games), take("<u4", games)
    winners, reasons = take("u1", games), take("i1", games)
    actions, plies = take("<u4", decisions), take("<u4", positions)
    chosen = take("<u4", positions)
    surprise, values = take("<f4", positions), take("<f4", positions * players)
    numbers, targets = take("<u4", choices), take("<f2", choices)
    for what, parts, whole in (
        ("decisions", lengths, decisions),
        ("positions", searched, positions),
        ("choices", chosen, choices),
    ):
        if parts.sum(dtype=np.int64) != whole:
            raise RecordError(f"its {what} are {parts.sum(dtype=np.int64)} in all, not {whole}.")
    if (chosen == 0).any():
        raise RecordError("a position has no choice.")
    return Columns(
        offsets_of(lengths),
        offsets_of(searched),
        winners.astype(np.int64),
        reasons.astype(np.int64),
        shard_checks.small(actions),
        shard_checks.small(plies),
        offsets_of(chosen),
        shard_checks.small(numbers),
        targets.astype(np.float32),
        surprise.astype(np.float32),
        values.astype(np.float32).reshape(positions, players),
    )
