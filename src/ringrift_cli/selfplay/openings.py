"""Random legal openings, the start positions of blocks."""

from __future__ import annotations

import numpy as np

from ringrift_cli.game import layout as L
from ringrift_cli.game import playout
from ringrift_cli.game.playout import Seeds
from ringrift_cli.game.topology import IntArray, tables


def play_openings(
    board: str, players: int, seeds: Seeds, turns: int, *, pie_rule: bool = False
) -> tuple[IntArray, list[list[int]]]:
    """Rows after `turns` random turns, [N, row size], and the actions of each.

    `seeds`, [N], are the generators of the openings and are advanced. An opening that would end
    the game stops one decision earlier.
    """
    T = tables(board, players)
    rows = np.zeros((len(seeds), int(T[L.T_ROW_SIZE])), np.int32)
    playout.start_all(T, rows, np.ones(len(seeds), np.bool_), pie_rule)
    actions: list[list[int]] = [[] for _ in seeds]
    going = np.flatnonzero(rows[:, L.TURN] <= turns)
    while len(going):
        after, numbers = rows[going], seeds[going]
        log, lengths = np.zeros((len(going), 1), np.int32), np.zeros(len(going), np.int64)
        playout.play_random(T, after, numbers, log, lengths)
        on = after[:, L.PHASE] != L.OVER
        seeds[going] = numbers
        going, after = going[on], after[on]
        rows[going] = after
        for i, action in zip(going.tolist(), log[on, 0].tolist(), strict=True):
            actions[i].append(action)
        going = going[after[:, L.TURN] <= turns]
    return rows, actions
