"""Positions from all parts of random games: what measurements begin with.

Games that all begin together see the same part of a game at the same time, and a short measurement
sees no other.
"""

from __future__ import annotations

import numpy as np

from ringrift_cli.game import layout as L
from ringrift_cli.game import playout
from ringrift_cli.game.topology import IntArray, tables

PART = 0.75  # decisions played at most, for every cell of the board


def positions_under_way(board: str, players: int, count: int, seed: int) -> IntArray:
    """Positions with two legal actions or more, [count, row size], each at its own ply.

    A game that is over by then, or has no choice there, is back at its start.
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
