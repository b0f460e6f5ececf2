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

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from ringrift_cli.data import shard_checks
from ringrift_cli.data.shard_checks import RESIGNED, Columns, SmallFloats, offsets_of
from ringrift_cli.errors import RecordError, RulesMismatch
from ringrift_cli.game import layout as L
from ringrift_cli.game.container import Count, Header, check_setting, located, pack, unpack
from ringrift_cli.game.playout import LongArray
from ringrift_cli.game.record import GameRecord
from ringrift_cli.game.result import result_of
from ringrift_cli.game.topology import IntArray, tables
from ringrift_cli.game.version import codec_hash, rules_hash
from ringrift_cli.store.files import write_whole
from ringrift_cli.store.hashes import sha256
from ringrift_cli.store.manifest import SEARCHED, ShardEntry, add_to_manifest, new_entry

MAGIC = b"RINGRIFT-SEARCHED 1\n"
ENDING = SEARCHED


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


class ShardHeader(Header, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The header of a shard."""

    positions: Count  # decisions with a policy target
    choices: Count  # their actions

    @property
    def body_bytes(self) -> int:
        """Size of the columns before compression."""
        position = 12 + 4 * self.players
        return 10 * self.games + 4 * self.decisions + position * self.positions + 6 * self.choices


@dataclass(frozen=True)
class Shard:
    """A shard that was read; `read_searched` and `read_entry` say what was checked."""

    header: ShardHeader
    sha256: str  # of the file
    columns: Columns

    @cached_property
    def ends(self) -> IntArray:
        """Where each game's decisions lead, [games, row size]; `RecordError` for an illegal one."""
        header = self.header
        return shard_checks.replayed(self.columns, header.board, header.players, header.pie_rule)

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
        kind = (header.board, header.players, header.pie_rule)
        T = tables(header.board, header.players)
        for game, end in zip(self.games, self.ends, strict=True):
            last = end.copy()
            last[L.WINNER] = game.winner
            result = result_of(T, last)
            if game.reason == RESIGNED:
                result = replace(result, reason="resignation")
            actions = tuple(game.actions.tolist())
            found.append(GameRecord(*kind, actions, result, dict(header.made)))
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
    check_setting(board, players, pie_rule=pie_rule)
    columns = _columns(games, players)
    shard_checks.check(columns, board, players, pie_rule)
    columns = columns.rounded()
    header = ShardHeader(
        rules=rules_hash(),
        codec=codec_hash(),
        board=board,
        players=players,
        pie_rule=pie_rule,
        made=made,
        games=len(games),
        decisions=len(columns.actions),
        positions=len(columns.plies),
        choices=len(columns.choices),
    )
    data = pack(MAGIC, header, _body(columns))
    digest = sha256(data)
    path = folder / f"{digest[:16]}{ENDING}"
    write_whole(path, data)
    facts = msgspec.structs.asdict(header)
    del facts["choices"]
    add_to_manifest(folder, new_entry(sha256=digest, file=path.name, **facts))
    return path


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
    """A shard from anywhere: its hash compared, every game replayed, every choice checked.

    `RecordError` names the file and what is wrong with it: bytes that do not hash to its name, or
    to `expected`, the SHA-256 that a manifest has for it; a game that is not right. `RulesMismatch`
    for one made under other rules. With `most_choices` only about that many choices are checked,
    those of games all over the shard; everything else is checked as ever.
    """
    shard = _read(path, expected)
    header = shard.header
    kind = (header.board, header.players, header.pie_rule)
    with located(path):
        shard_checks.check(shard.columns, *kind, most_choices=most_choices)
    return replace(shard, columns=shard.columns.normalised())


def read_entry(folder: Path, entry: ShardEntry) -> Shard:
    """A shard that was checked in full where it was made, or where it came in: by its hash alone.

    Errors as `read_searched`, of what can be seen without the rules of the game; `RecordError` too
    if its manifest entry contradicts it.
    """
    path = folder / entry.file
    shard = _read(path, entry.sha256)
    compare(path, entry, shard.header)
    return replace(shard, columns=shard.columns.normalised())


def compare(place: object, entry: ShardEntry, header: ShardHeader) -> None:
    """`RecordError` unless a manifest entry says the same as the header of its file."""
    for key in ("board", "players", "pie_rule", "made", "games", "decisions", "positions"):
        found, said = getattr(header, key), getattr(entry, key)
        if found != said:
            raise RecordError(
                f"{place}: its {key} is {found!r:.80}, but its manifest entry says {said!r:.80}.",
                hint="delete the manifest line and the file, or copy both again",
            )


def _read(path: Path, expected: str | None) -> Shard:
    with located(path):
        data = path.read_bytes()
        digest = sha256(data)
        if data.startswith(MAGIC) and (path.stem != digest[:16] or (expected or digest) != digest):
            raise RecordError(
                f"its bytes hash to {digest[:16]}…, which is neither its name nor what its manifest"
                " says: the file is damaged or was changed.",
                hint="copy it again from where it was made, or delete it and its manifest line",
            )
        header, body = unpack(data, MAGIC, ShardHeader, is_verified=expected is not None)
        if header.rules != rules_hash():
            raise RulesMismatch(
                f"made under the rules {header.rules}, but these are {rules_hash()}.",
                hint="games made by this version of ringrift",
            )
        check_setting(header.board, header.players, pie_rule=header.pie_rule)
        return Shard(header, digest, _from_body(body, header))


def _from_body(body: bytes, header: ShardHeader) -> Columns:
    games, decisions, players = header.games, header.decisions, header.players
    positions, choices = header.positions, header.choices
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
