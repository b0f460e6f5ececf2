"""Batched games of many weight vectors: the fitness of tuning.

A *round* is a set of openings. Every candidate plays every opening in every seat against one
opponent per opening in the other seats. Openings, opponents and random numbers are common to all
candidates (common random numbers).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ringrift_cli.game import layout as L
from ringrift_cli.game import playout
from ringrift_cli.game.playout import BoolArray, LongArray, Seeds
from ringrift_cli.game.topology import IntArray, tables
from ringrift_cli.players import scoring
from ringrift_cli.players.heuristic import WIDTH
from ringrift_cli.players.scoring import FloatArray
from ringrift_cli.selfplay.openings import play_openings

OPENING, PLAY = 0, 1  # seed paths of a round
StopCheck = Callable[[], bool]


class TuningStopped(Exception):
    """A stop was requested; games in progress are discarded."""


def never() -> bool:
    """A `StopCheck` that never stops."""
    return False


def derived(seed: int, *path: int) -> int:
    """Independent seed for a path below a run's seed."""
    return int(np.random.SeedSequence(seed, spawn_key=path).generate_state(1, np.uint64)[0])


def opening_rows(board: str, players: int, seed: int, first: int, count: int) -> IntArray:
    """Openings `first` to `first + count - 1` of a seed, two random turns per player.

    Rows, [count, row size].
    """
    seeds = playout.game_seeds(derived(seed, OPENING), first, count)
    return play_openings(board, players, seeds, 2 * players)[0]


def play_out(
    board: str,
    players: int,
    rows: IntArray,
    seats: LongArray,
    weights: FloatArray,
    seeds: Seeds,
    should_stop: StopCheck = never,
    watch: Callable[[IntArray], None] = lambda rows: None,
) -> LongArray:
    """Plays a batch of games to the end; returns the winning seats, [N].

    `rows`, [N, row size], are the start positions; `seats`, [N, players], index the `weights`,
    [K, features], of each seat; `seeds`, [N], break ties. The arguments are not modified. `watch`
    receives the rows before every decision. `TuningStopped` if `should_stop` returns true.
    """
    T = tables(board, players)
    rows, seeds = rows.copy(), seeds.copy()
    winners = np.full(len(rows), -1, np.int64)
    games = np.arange(len(rows))
    while len(games):
        if should_stop():
            raise TuningStopped
        watch(rows)
        which = seats[games, rows[:, L.SEAT]]
        actions, offsets = playout.list_all(T, rows)
        scores, _ = scoring.score_all(T, rows, actions, offsets, weights, which, WIDTH)
        none = np.zeros(len(games))
        chosen = scoring.pick_all(scores, offsets, seeds, none, none)
        playout.apply_all(T, rows, actions[chosen])
        over = rows[:, L.PHASE] == L.OVER
        if over.any():
            winners[games[over]] = rows[over, L.WINNER]
            games, rows, seeds = games[~over], rows[~over], seeds[~over]
    return winners


@dataclass(frozen=True)
class GameRound:
    """Openings and opponents of a round, common to all candidates."""

    board: str
    players: int
    seed: int
    opponents: FloatArray  # [P, features]
    meets: LongArray  # [J] opponent of each opening
    first: int = 0  # number of the first opening

    def play(self, candidates: FloatArray, should_stop: StopCheck = never) -> BoolArray:
        """Which games each candidate, [K, features], won: [K, J, seats]."""
        n, J, K = self.players, len(self.meets), len(candidates)
        starts = opening_rows(self.board, n, self.seed, self.first, J)
        seeds = playout.game_seeds(derived(self.seed, PLAY), self.first * n, J * n)
        k, j, r = (axis.ravel() for axis in np.indices((K, J, n)))
        seats = np.repeat(K + self.meets[j][:, None], n, axis=1)
        seats[np.arange(len(r)), r] = k
        weights = np.concatenate([candidates, self.opponents])
        seeds = seeds[j * n + r]
        winners = play_out(self.board, n, starts[j], seats, weights, seeds, should_stop)
        won: BoolArray = (winners == r).reshape(K, J, n)
        return won
