"""Columnar form of the games of a shard, and its validation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ringrift_cli.errors import RecordError
from ringrift_cli.game import layout as L
from ringrift_cli.game import playout
from ringrift_cli.game.playout import BoolArray, LongArray
from ringrift_cli.game.replay import rows_at
from ringrift_cli.game.topology import IntArray

SmallFloats = npt.NDArray[np.float32]

RESIGNED = -1  # reason of a resigned game
MAX_INT32 = 0x7FFFFFFF
SUM_TOLERANCE = 0.002  # float16 has a relative rounding error up to 1 / 2048
ROW_BYTES = 1 << 26  # of positions checked at once


def offsets_of(lengths: npt.NDArray[Any]) -> LongArray:
    """Offsets of consecutive parts, [N + 1]."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def small(numbers: npt.NDArray[Any]) -> IntArray:
    """Unsigned numbers as int32, clipped to MAX_INT32, which is not an action."""
    kept: IntArray = np.minimum(numbers, MAX_INT32).astype(np.int32)
    return kept


@dataclass(frozen=True)
class Columns:
    """G games: n decisions, k positions with a policy target, m choices in total."""

    game_offsets: LongArray  # [G + 1] into the decisions
    position_offsets: LongArray  # [G + 1] into the positions
    winners: LongArray  # [G] seats from 0
    reasons: LongArray  # [G] of layout.py, or RESIGNED
    actions: IntArray  # [n]
    plies: IntArray  # [k] within the game, ascending
    choice_offsets: LongArray  # [k + 1] into the choices
    choices: IntArray  # [m] actions
    targets: SmallFloats  # [m] probabilities
    surprise: SmallFloats  # [k] nats
    values: SmallFloats  # [k, players] win probabilities by seat

    def game_of_position(self) -> LongArray:
        """The game of each position, [k]."""
        return np.repeat(np.arange(len(self.winners)), np.diff(self.position_offsets))

    def rounded(self) -> Columns:
        """Rounds the targets to float16 and drops choices that become 0."""
        if not len(self.plies):
            return self
        targets = self.targets.astype(np.float16)
        kept = targets > 0
        counts = np.add.reduceat(kept, self.choice_offsets[:-1], dtype=np.int64)
        return replace(
            self,
            choice_offsets=offsets_of(counts),
            choices=self.choices[kept],
            targets=targets[kept].astype(np.float32),
        )

    def normalised(self) -> Columns:
        """Scales the targets to sum 1 in each position."""
        if not len(self.plies):
            return self
        sums = np.add.reduceat(self.targets, self.choice_offsets[:-1], dtype=np.float64)
        each = np.repeat(sums, np.diff(self.choice_offsets))
        return replace(self, targets=(self.targets / each).astype(np.float32))


def joined(parts: list[Columns]) -> Columns:
    """Concatenates the games of several shards."""

    def together(name: str) -> npt.NDArray[Any]:
        return np.concatenate([getattr(part, name) for part in parts])

    def offsets(name: str) -> LongArray:
        return offsets_of(np.concatenate([np.diff(getattr(part, name)) for part in parts]))

    return Columns(
        offsets("game_offsets"),
        offsets("position_offsets"),
        together("winners"),
        together("reasons"),
        together("actions"),
        together("plies"),
        offsets("choice_offsets"),
        together("choices"),
        together("targets"),
        together("surprise"),
        together("values"),
    )


def place_targets(
    legal: IntArray,
    legal_offsets: LongArray,
    choices: IntArray,
    choice_offsets: LongArray,
    targets: SmallFloats,
    actions: int,
) -> tuple[SmallFloats, LongArray]:
    """Expands the targets of P positions to their legal actions; `actions` is the action count.

    Returns the target of each legal action, [M], 0 where it is not a choice, and the indices of
    choices that are illegal or repeated.
    """
    where = np.repeat(np.arange(len(legal_offsets) - 1), np.diff(legal_offsets))
    keys = where * actions + legal
    order = np.argsort(keys)
    where = np.repeat(np.arange(len(choice_offsets) - 1), np.diff(choice_offsets))
    wanted = where * actions + choices
    found = order[np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)]
    wrong = keys[found] != wanted
    seen = np.zeros(len(keys), np.int64)
    np.add.at(seen, found[~wrong], 1)
    wrong |= seen[found] > 1
    placed = np.zeros(len(legal), np.float32)
    placed[found] = np.where(wrong, placed[found], targets)
    return placed, np.flatnonzero(wrong)


# ---- checks -------------------------------------------------------------------------------------


def check(columns: Columns, T: IntArray, pie_rule: bool, *, max_choices: int | None = None) -> None:
    """`RecordError` for the first game that is invalid under the rules of a table row `T`.

    All decisions must be legal and lead to the recorded result, or, in a resigned game, to an
    unfinished position; all choices must be legal. `max_choices` limits the latter check to
    evenly spaced games with about that many choices.
    """
    _check_numbers(columns, T)
    ends = replayed(columns, T, pie_rule)
    _check_results(columns, T, ends)
    most = max(1, ROW_BYTES // (4 * int(T[L.T_ROW_SIZE])))
    if max_choices is None or len(columns.choices) <= max_choices:
        for first, end in parts(columns.position_offsets, most):
            _check_choices(columns, T, pie_rule, first, end)
        return
    games = max(1, len(columns.winners) * max_choices // len(columns.choices))
    for game in np.linspace(0, len(columns.winners) - 1, games).astype(int).tolist():
        _check_choices(columns, T, pie_rule, game, game + 1)


def parts(position_offsets: LongArray, most: int) -> Iterator[tuple[int, int]]:
    """Yields ranges of games, `first` to `end` - 1, with at most `most` positions each.

    A game with more positions is a range of its own.
    """
    first, games = 0, len(position_offsets) - 1
    while first < games:
        limit = position_offsets[first] + most
        end = int(np.searchsorted(position_offsets, limit, side="right")) - 1
        end = max(end, first + 1)
        yield first, end
        first = end


def _check_numbers(c: Columns, T: IntArray) -> None:
    """Checks that need no replay."""
    lengths, size = np.diff(c.game_offsets), int(T[L.T_ACTIONS])
    games, players = c.game_of_position(), int(T[L.T_PLAYERS])
    _refuse_games(lengths < 1, "has no decisions")
    reasons = (L.RING_ELIMINATION, L.TERRITORY_CONTROL, L.LAST_PLAYER_STANDING, L.STALEMATE)
    _refuse_games(~np.isin(c.reasons, (*reasons, RESIGNED)), "has an unknown reason", c.reasons)
    _refuse_games((c.winners < 0) | (c.winners >= players), "has an unknown winner", c.winners)
    owners = np.repeat(np.arange(len(lengths)), lengths)
    _refuse(owners, (c.actions < 0) | (c.actions >= size), "an unknown action", c.actions)
    same = np.append(False, games[1:] == games[:-1])[: len(games)]
    falls = same & (c.plies <= np.append(0, c.plies[:-1])[: len(games)])
    _refuse(games, falls, "plies that do not increase:", c.plies)
    outside = (c.plies < 0) | (c.plies >= lengths[games])
    _refuse(games, outside, "a ply beyond its last decision:", c.plies)
    _refuse(games, ~(c.surprise >= 0) | np.isinf(c.surprise), "a surprise of", c.surprise)
    bad = ~((c.values >= 0) & (c.values <= 1)).all(axis=1)
    bad |= abs(c.values.sum(axis=1, dtype=np.float64) - 1) > SUM_TOLERANCE
    _refuse(games, bad, "values that are not win probabilities:", c.values)
    positions = np.repeat(games, np.diff(c.choice_offsets))
    _refuse(positions, ~(c.targets > 0) | (c.targets > 1.001), "a target of", c.targets)
    if len(c.plies):
        sums = np.add.reduceat(c.targets, c.choice_offsets[:-1], dtype=np.float64)
        _refuse(games, ~(abs(sums - 1) <= SUM_TOLERANCE), "targets whose sum is", sums)


def _refuse_games(bad: BoolArray, what: str, found: LongArray | None = None) -> None:
    for i in np.flatnonzero(bad)[:1].tolist():
        raise RecordError(f"game {i + 1} {what}" + ("." if found is None else f": {found[i]}."))


def _refuse(games: LongArray, bad: BoolArray, what: str, found: npt.NDArray[Any]) -> None:
    """`RecordError` for the first bad item; `games` are the games of the items."""
    for i in np.flatnonzero(bad)[:1].tolist():
        raise RecordError(f"game {games[i] + 1} has {what} {found[i]}.")


def replayed(c: Columns, T: IntArray, pie_rule: bool) -> IntArray:
    """Final rows, [G, row size]; `RecordError` for a game with an illegal decision."""
    rows = np.zeros((len(c.winners), int(T[L.T_ROW_SIZE])), np.int32)
    playout.start_all(T, rows, np.ones(len(rows), np.bool_), pie_rule)
    failed = playout.replay_all(T, rows, c.game_offsets, c.actions)
    illegal = (failed >= 0) & (failed < np.diff(c.game_offsets))
    for i in np.flatnonzero(illegal)[:1].tolist():
        raise RecordError(f"game {i + 1}: decision {failed[i] + 1} is not legal.")
    return rows


def _check_results(c: Columns, T: IntArray, ends: IntArray) -> None:
    over, resigned = ends[:, L.PHASE] == L.OVER, c.reasons == RESIGNED
    _refuse_games(over & resigned, "was resigned, but its decisions lead to its end")
    _refuse_games(~over & ~resigned, "stops after its last decision, unfinished")
    winners, reasons = ends[:, L.WINNER], ends[:, L.REASON]
    for i in np.flatnonzero(over & ((winners != c.winners) | (reasons != c.reasons)))[:1].tolist():
        raise RecordError(
            f"game {i + 1}: recorded winner {c.winners[i]} with reason {c.reasons[i]}, but its"
            f" decisions lead to winner {winners[i]} with reason {reasons[i]}."
        )


def _check_choices(c: Columns, T: IntArray, pie_rule: bool, first: int, end: int) -> None:
    """`RecordError` for the first choice of games `first` to `end` - 1 that is not legal."""
    positions = slice(int(c.position_offsets[first]), int(c.position_offsets[end]))
    if positions.start == positions.stop:
        return
    offsets = c.position_offsets[first : end + 1] - positions.start
    begin = c.game_offsets[first:end]
    rows = rows_at(T, c.actions, begin, offsets, c.plies[positions], pie_rule=pie_rule)
    legal, legal_offsets = playout.list_all(T, rows)
    choice_offsets = c.choice_offsets[positions.start : positions.stop + 1]
    chosen = slice(int(choice_offsets[0]), int(choice_offsets[-1]))
    choices, targets = c.choices[chosen], c.targets[chosen]
    choice_offsets = choice_offsets - chosen.start
    size = int(T[L.T_ACTIONS])
    _, wrong = place_targets(legal, legal_offsets, choices, choice_offsets, targets, size)
    for i in wrong[:1].tolist():
        position = int(np.searchsorted(choice_offsets, i, side="right")) - 1
        game = int(np.searchsorted(offsets, position, side="right"))
        raise RecordError(
            f"game {first + game}: choice {choices[i]} at decision"
            f" {c.plies[positions][position] + 1} is illegal or repeated."
        )
