"""Shards: files of self-play games with their search results, the input of training.

A file, `<first 16 digits of its SHA-256>.shard`, holds games of one board, player count and pie
rule, played with one model and search setting, in a container (game/container.py):

    "RINGRIFT-SEARCHED 1\\n"
    header with the numbers of games, decisions, positions (decisions with a policy target) and
    choices (their actions)
    columns:
          per game      decisions uint32, positions uint32, winner uint8, reason int8
          per decision  action uint32
          per position  ply uint32, choices uint32, surprise float32, values float32 [players]
          per choice    action uint32, probability float16

Shards are immutable. They store games rather than features: positions are replayed on reading, so
network inputs can change without new games. Writing and reading make the same checks: every move is
replayed, every probability must belong to a legal action (shard_checks.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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
from ringrift_cli.game.container import (
    Arrays,
    Count,
    Header,
    Layout,
    check_setting,
    located,
    pack,
    unpack,
)
from ringrift_cli.game.playout import LongArray
from ringrift_cli.game.record import GameRecord
from ringrift_cli.game.result import result_of
from ringrift_cli.game.topology import IntArray, tables
from ringrift_cli.game.version import codec_hash, rules_hash, rules_version
from ringrift_cli.store.files import write_whole
from ringrift_cli.store.hashes import sha256
from ringrift_cli.store.manifest import SEARCHED, ShardEntry, add_to_manifest, new_entry

MAGIC = b"RINGRIFT-SEARCHED 1\n"
HINT = "use games made by this version of ringrift"


@dataclass(frozen=True)
class SearchedGame:
    """A game with n decisions, k of them with a full search (positions), m choices in total."""

    actions: IntArray  # [n] all decisions
    plies: IntArray  # [k] decisions with a policy target, ascending
    offsets: LongArray  # [k + 1] into choices and targets
    choices: IntArray  # [m] legal actions with a target above 0
    targets: SmallFloats  # [m] probabilities, sum 1 per position
    surprise: SmallFloats  # [k] KL(target || network prior), nats
    values: SmallFloats  # [k, players] win probabilities by seat, from the search
    winner: int  # seat from 0
    reason: int  # of layout.py, or RESIGNED


class ShardHeader(Header, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Header of a shard."""

    positions: Count  # decisions with a policy target
    choices: Count  # their actions

    @property
    def facts(self) -> dict[str, Any]:
        """The fields that the manifest entry has too."""
        facts = msgspec.structs.asdict(self)
        del facts["choices"]
        return facts

    @property
    def layout(self) -> Layout:
        """Types and lengths of the columns."""
        positions, choices = self.positions, self.choices
        return [
            ("<u4", self.games),
            ("<u4", self.games),
            ("u1", self.games),
            ("i1", self.games),
            ("<u4", self.decisions),
            ("<u4", positions),
            ("<u4", positions),
            ("<f4", positions),
            ("<f4", positions * self.players),
            ("<u4", choices),
            ("<f2", choices),
        ]


@dataclass(frozen=True)
class Shard:
    """A shard in memory; see `read_searched` and `read_entry` for the checks."""

    header: ShardHeader
    sha256: str  # of the file
    columns: Columns

    @property
    def origin(self) -> str:
        """Hash of the shard in which the games were played: its own, or that of its source."""
        return str(self.header.made.get("reanalysed", self.sha256))

    @property
    def rules(self) -> int:
        """Version of the rules of the games."""
        version = rules_version(self.header.rules)
        assert version is not None
        return version

    @property
    def T(self) -> IntArray:
        """The table row of the games."""
        return tables(self.header.board, self.header.players, self.rules)

    @cached_property
    def ends(self) -> IntArray:
        """Final row of each game, [games, row size]; `RecordError` for an illegal decision."""
        return shard_checks.replayed(self.columns, self.T, self.header.pie_rule)

    @property
    def games(self) -> list[SearchedGame]:
        """The games as written, except for rounding of the targets."""
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
        """The games without search results."""
        header, found = self.header, []
        kind = (header.board, header.players, header.pie_rule)
        T = self.T
        for game, end in zip(self.games, self.ends, strict=True):
            last = end.copy()
            last[L.WINNER] = game.winner
            result = result_of(T, last)
            if game.reason == RESIGNED:
                result = replace(result, reason="resignation")
            actions = tuple(game.actions.tolist())
            found.append(GameRecord(*kind, actions, result, dict(header.made), self.rules))
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
    """Writes a shard and its manifest entry; returns the path.

    `made` is the origin of all games: model, search, seed, generation. Probabilities that round to
    0 in float16 (below 3e-8) are omitted. `RecordError` names the first invalid game and the
    reason; nothing is written then.
    """
    if not games:
        raise RecordError(f"{folder}: there are no games to write a shard of.")
    check_setting(board, players, pie_rule)
    c = _columns(games, players)
    shard_checks.check(c, tables(board, players), pie_rule)
    c = c.rounded()
    header = ShardHeader(
        rules=rules_hash(),
        codec=codec_hash(),
        board=board,
        players=players,
        pie_rule=pie_rule,
        made=made,
        games=len(games),
        decisions=len(c.actions),
        positions=len(c.plies),
        choices=len(c.choices),
    )
    columns = [
        np.diff(c.game_offsets),
        np.diff(c.position_offsets),
        c.winners,
        c.reasons,
        c.actions,
        c.plies,
        np.diff(c.choice_offsets),
        c.surprise,
        c.values,
        c.choices,
        c.targets,
    ]
    data = pack(MAGIC, header, header.layout, columns)
    digest = sha256(data)
    path = folder / f"{digest[:16]}{SEARCHED}"
    write_whole(path, data)
    add_to_manifest(folder, new_entry(sha256=digest, file=path.name, **header.facts))
    return path


def _columns(games: Sequence[SearchedGame], players: int) -> Columns:
    """Concatenates the games; `RecordError` for inconsistent lengths."""
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


# ---- reading ------------------------------------------------------------------------------------


def read_searched(
    path: Path, expected: str | None = None, *, max_choices: int | None = None
) -> Shard:
    """Reads a shard from an untrusted source: verifies hash, replays games, checks choices.

    `RecordError` names the file and the reason: a hash that differs from its name or from
    `expected`, the SHA-256 of its manifest entry, or an invalid game. `RulesMismatch` for unknown
    rules; games of earlier ones are replayed under these. `max_choices` limits the choices that
    are checked to about that number, from games spread over the shard; all other checks are
    complete.
    """
    shard = _read(path, expected)
    with located(path):
        pie_rule = shard.header.pie_rule
        shard_checks.check(shard.columns, shard.T, pie_rule, max_choices=max_choices)
    return replace(shard, columns=shard.columns.normalised())


def read_entry(folder: Path, entry: ShardEntry) -> Shard:
    """Reads a shard that was checked in full when written or received; verifies only its hash.

    Errors as `read_searched`, without replay; `RecordError` too if its manifest entry differs.
    """
    path = folder / entry.file
    shard = _read(path, entry.sha256)
    check_entry(path, entry, shard.header.facts)
    return replace(shard, columns=shard.columns.normalised())


def check_entry(place: object, entry: ShardEntry, found: Mapping[str, Any]) -> None:
    """`RecordError` if a field of a manifest entry differs from what was found in its file."""
    for key, value in found.items():
        listed = getattr(entry, key)
        if json.dumps(listed, sort_keys=True) != json.dumps(value, sort_keys=True):
            raise RecordError(
                f"{place}: its {key} is {value!r:.80}, but {listed!r:.80} in its manifest entry.",
                hint="delete the manifest line and the file, or copy both again",
            )


def _read(path: Path, expected: str | None) -> Shard:
    with located(path):
        data = path.read_bytes()
        digest = sha256(data)
        if data.startswith(MAGIC) and (path.stem != digest[:16] or (expected or digest) != digest):
            raise RecordError(
                f"its SHA-256 hash is {digest[:16]}…, which differs from its name or from its"
                " manifest entry: the file is damaged or was changed.",
                hint="copy it again from its origin, or delete it and its manifest line",
            )
        header, columns = unpack(
            data,
            MAGIC,
            ShardHeader,
            lambda header: header.layout,
            is_verified=expected is not None,
        )
        if rules_version(header.rules) is None:
            raise RulesMismatch(
                f"made under the unknown rules {header.rules!r:.40}; these are {rules_hash()!r}.",
                HINT,
            )
        return Shard(header, digest, _from_file(columns, header))


def _from_file(found: Arrays, header: ShardHeader) -> Columns:
    """The columns of a file in memory; `RecordError` if their lengths contradict the header."""
    lengths, searched, winners, reasons, actions, plies, chosen, surprise, values, *rest = found
    choices, targets = rest
    for what, parts, whole in (
        ("decisions", lengths, header.decisions),
        ("positions", searched, header.positions),
        ("choices", chosen, header.choices),
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
        shard_checks.small(choices),
        targets.astype(np.float32),
        surprise.astype(np.float32),
        values.astype(np.float32).reshape(-1, header.players),
    )
