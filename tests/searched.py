"""Games as a search would leave them, made without one: random play, policies made up."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ringrift_cli.data.shard import SearchedGame
from ringrift_cli.data.shard_checks import RESIGNED, SmallFloats, offsets_of
from ringrift_cli.game import layout as L
from ringrift_cli.game import playout
from ringrift_cli.game.replay import rows_at
from ringrift_cli.game.topology import IntArray, tables

LONGEST = 1 << 13  # decisions of a game
Policy = Callable[[IntArray, npt.NDArray[np.int32]], SmallFloats]


def uniform(_row: IntArray, legal: IntArray) -> SmallFloats:
    """The same chance for every legal action."""
    return np.full(len(legal), 1 / len(legal), np.float32)


def lowest(_row: IntArray, legal: IntArray) -> SmallFloats:
    """Nearly all for the legal action with the lowest number."""
    target = np.full(len(legal), 0.1 / len(legal), np.float32)
    target[legal.argmin()] += 0.9
    return target


def random_games(
    board: str, players: int, games: int, seed: int, *, pie_rule: bool = False
) -> tuple[list[IntArray], IntArray]:
    """The decisions of random games, and where they end, [games, row size]."""
    T = tables(board, players)
    rows = np.zeros((games, int(T[L.T_ROW_SIZE])), np.int32)
    playout.start_all(T, rows, np.ones(games, np.bool_), pie_rule)
    log, lengths = np.zeros((games, LONGEST), np.int32), np.zeros(games, np.int64)
    playout.play_random(T, rows, playout.game_seeds(seed, 0, games), log, lengths)
    assert (rows[:, L.PHASE] == L.OVER).all()
    return [log[i, : lengths[i]].copy() for i in range(games)], rows


def searched_games(
    board: str,
    players: int,
    games: int,
    seed: int,
    *,
    pie_rule: bool = False,
    share: float = 0.25,
    policy: Policy = uniform,
    resigned: int = 0,
    winner: Callable[[IntArray], int] | None = None,
) -> list[SearchedGame]:
    """Random games with targets by `policy` at a `share` of the decisions; the first are resigned.

    A resigned game lacks its last third; `winner` says who wins it, given the row it stops at.
    """
    T, rng = tables(board, players), np.random.default_rng(seed)
    logs, ends = random_games(board, players, games, seed, pie_rule=pie_rule)
    found = []
    for i, log in enumerate(logs):
        actions = log[: max(1, 2 * len(log) // 3)] if i < resigned else log
        last = ends[i]
        if i < resigned:
            last = positions_of(T, actions, np.array([len(actions)], np.int32), pie_rule)[0]
        k = max(1, math.ceil(share * len(actions)))
        plies = np.sort(rng.choice(len(actions), k, replace=False)).astype(np.int32)
        at = positions_of(T, actions, plies, pie_rule)
        legal, offsets = playout.list_all(T, at)
        targets = [policy(at[j], legal[offsets[j] : offsets[j + 1]]) for j in range(k)]
        won = int(ends[i, L.WINNER]) if i >= resigned or winner is None else winner(last)
        values = np.full((k, players), 0.5 / players, np.float32)
        values[:, won] += 0.5
        surprise = rng.exponential(0.5, k).astype(np.float32)
        reason = RESIGNED if i < resigned else int(ends[i, L.REASON])
        found.append(
            SearchedGame(
                actions,
                plies,
                offsets_of(np.array([len(t) for t in targets])),
                legal,
                np.concatenate(targets),
                surprise,
                values,
                won,
                reason,
            )
        )
    return found


def positions_of(T: IntArray, actions: IntArray, plies: IntArray, pie_rule: bool) -> IntArray:
    """The positions of one game at some plies, [k, row size]."""
    none, offsets = np.zeros(1, np.int64), np.array([0, len(plies)])
    return rows_at(T, actions, none, offsets, plies, pie_rule=pie_rule)


def total_positions(games: list[SearchedGame]) -> int:
    return sum(len(game.plies) for game in games)
