"""Start positions of benchmarks, drawn from all phases of random games, and the length of these.

Games that start together are in the same phase, which a short measurement would not leave.
"""

from __future__ import annotations

import numpy as np

from ringrift_cli.game import layout as L
from ringrift_cli.game import playout
from ringrift_cli.game.topology import IntArray, tables

PART = 0.75  # maximum decisions played, per cell of the board


def positions_under_way(board: str, players: int, count: int, seed: int) -> IntArray:
    """Positions with two or more legal actions at random plies, [count, row size].

    The start position replaces games that are over, or have a single legal action, at that ply.
    """
    T = tables(board, players)
    rows = np.zeros((count, int(T[L.T_ROW_SIZE])), np.int32)
    playout.start_all(T, rows, np.ones(count, np.bool_), False)
    start = rows[0].copy()
    seeds = playout.game_seeds(seed, 0, count)
    most = int(PART * int(T[L.T_CELLS]))
    plies = np.random.default_rng(seed).integers(0, most + 1, count)
    for ply in range(most):
        going = np.flatnonzero((plies > ply) & (rows[:, L.PHASE] != L.OVER))
        after, numbers = rows[going], seeds[going]
        log, lengths = np.zeros((len(going), 1), np.int32), np.zeros(len(going), np.int64)
        playout.play_random(T, after, numbers, log, lengths)
        rows[going], seeds[going] = after, numbers
    rows[rows[:, L.PHASE] == L.OVER] = start
    _, offsets = playout.list_all(T, rows)
    rows[np.diff(offsets) < 2] = start
    return rows


def mean_decisions(board: str, players: int, games: int = 256) -> float:
    """Mean decisions of a random game."""
    T = tables(board, players)
    rows = np.zeros((games, int(T[L.T_ROW_SIZE])), np.int32)
    playout.start_all(T, rows, np.ones(games, np.bool_), False)
    lengths, uncounted = np.zeros(games, np.int64), np.zeros((games, 0), np.int32)
    playout.play_random(T, rows, playout.game_seeds(0, 0, games), uncounted, lengths)
    return float(lengths.mean())
