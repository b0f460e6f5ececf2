"""Perft: how many sequences of decisions a position allows, a fingerprint of the rules.

A sequence that ends the game early counts at the depths it reaches, and at none beyond. Two
implementations that agree on the counts agree on every legal move on the way.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ringrift_cli.game import engine, notation, state
from ringrift_cli.game import layout as L
from ringrift_cli.game.jit import njit, wide
from ringrift_cli.game.topology import IntArray, board_named, check_pie, tables

DEEPEST = 3  # decisions in one compiled call, which no signal interrupts


@njit()
def _leaves(T: IntArray, rows: IntArray, W: IntArray, lists: IntArray, depth: int) -> int:
    """Sequences of `depth` decisions, at least 1, from `rows[0]`.

    `rows`, [depth, row size], and `lists`, [depth, max legal], are the stack: level k holds the
    position after k decisions and its legal actions. The last decision is counted, not carried out.
    """
    sizes = np.zeros(depth, np.int32)
    taken = np.zeros(depth, np.int32)
    sizes[0] = engine.legal(T, rows[0], W, lists[0])
    if depth == 1:
        return sizes[0]
    total, level = 0, 0
    while level >= 0:
        if taken[level] == sizes[level]:
            level -= 1
            continue
        for at in range(rows.shape[1]):
            rows[level + 1, at] = rows[level, at]
        engine.apply(T, rows[level + 1], W, wide(lists[level, taken[level]]))
        taken[level] += 1
        count = engine.legal(T, rows[level + 1], W, lists[level + 1])
        if level + 2 == depth:
            total += count
        else:
            level += 1
            sizes[level] = count
            taken[level] = 0
    return total


class Perft:
    """Counts from the start of a game.

    `UsageError` for an unknown board, another number of players than 2 to 4, or the pie rule with
    more than 2.
    """

    def __init__(self, board: str, players: int, *, pie: bool = False) -> None:
        self._board = board_named(board)
        self._T = tables(board, players)
        self._S = state.new_row(self._T)
        self._W = state.new_workspace()
        engine.new_game(self._T, self._S, check_pie(players, pie))
        out = np.zeros(int(self._T[L.T_MAX_LEGAL]), np.int32)
        self._actions = out[: engine.legal(self._T, self._S, self._W, out)]

    @property
    def first_moves(self) -> int:
        """Legal first moves."""
        return len(self._actions)

    def divide(self, depth: int) -> Iterator[tuple[str, int]]:
        """Text of each first move, and how many sequences of `depth` decisions begin with it."""
        texts = notation.legal_texts(self._board, self._T, self._S, self._actions)
        for text, action in zip(texts, self._actions.tolist(), strict=True):
            yield text, self._below(self._S, action, depth - 1)

    def count(self, depth: int) -> int:
        """Sequences of `depth` decisions, at least 1."""
        return sum(count for _, count in self.divide(depth))

    def _below(self, row: IntArray, action: int, depth: int) -> int:
        """Sequences of `depth` further decisions after an action."""
        if depth == 0:
            return 1
        at_once = min(depth, DEEPEST)
        rows = np.zeros((at_once, len(row)), np.int32)
        lists = np.zeros((at_once, int(self._T[L.T_MAX_LEGAL])), np.int32)
        rows[0] = row
        engine.apply(self._T, rows[0], self._W, action)
        if depth <= DEEPEST:
            return int(_leaves(self._T, rows, self._W, lists, depth))
        legal = lists[0, : engine.legal(self._T, rows[0], self._W, lists[0])].tolist()
        return sum(self._below(rows[0], one, depth - 1) for one in legal)
