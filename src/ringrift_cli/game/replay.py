"""Positions in the middle of recorded games, many at once: replayed, nothing checked again."""

from __future__ import annotations

import numpy as np

from ringrift_cli.game import layout as L
from ringrift_cli.game import turn
from ringrift_cli.game.jit import njit, pointer, wide
from ringrift_cli.game.playout import LongArray, spread
from ringrift_cli.game.topology import IntArray


@njit()
def _rows_at(
    T: IntArray,
    pie: bool,
    actions: IntArray,
    first: LongArray,
    offsets: LongArray,
    plies: IntArray,
    out: IntArray,
) -> None:
    """The loop of `rows_at` for a block of games; `out` begins where its first game does."""
    row, work = np.empty(T[L.T_ROW_SIZE], np.int32), np.empty(L.WORK, np.int32)
    for i in range(len(first)):
        turn.start(pointer(T), pointer(row), pie)
        done = 0
        for k in range(offsets[i], offsets[i + 1]):
            while done < plies[k]:
                action = wide(actions[first[i] + done])
                turn.apply(pointer(T), pointer(row), pointer(work), action)
                done += 1
            out[k - offsets[0]] = row


def rows_at(
    T: IntArray,
    actions: IntArray,
    first: LongArray,
    offsets: LongArray,
    plies: IntArray,
    *,
    pie_rule: bool,
) -> IntArray:
    """The positions of G games before the decisions asked for, [P, row size].

    The decisions of game i are `actions[first[i] :]`, and asked for are its positions after
    `plies[offsets[i] : offsets[i + 1]]` decisions, numbers that do not fall. The actions must be
    legal: the rules would write anywhere (`playout.replay_all` finds out).
    """
    out = np.empty((len(plies), int(T[L.T_ROW_SIZE])), np.int32)
    spread(
        lambda a, b: _rows_at(
            T,
            pie_rule,
            actions,
            first[a:b],
            offsets[a : b + 1],
            plies,
            out[offsets[a] : offsets[b]],
        ),
        len(first),
    )
    return out
