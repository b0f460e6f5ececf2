"""Batched symmetries of positions and actions, for training (game/symmetry.py)."""

from __future__ import annotations

from functools import cache

import numpy as np

from ringrift_cli.game import layout as L
from ringrift_cli.game import lines, territory
from ringrift_cli.game import state as st
from ringrift_cli.game.jit import lowest, njit, pointer, rule, wide
from ringrift_cli.game.playout import LongArray, spread
from ringrift_cli.game.symmetry import symmetries, transform_row
from ringrift_cli.game.topology import IntArray, board_named, tables


@cache
def exact_symmetries(board: str) -> list[int]:
    """Indices in `symmetries` of the exact ones, the identity first."""
    return [i for i, by in enumerate(symmetries(board_named(board))) if by.exact]


@cache
def _maps(board: str) -> tuple[IntArray, IntArray]:
    """Maps of cells, [symmetries, cells], and of directions, [symmetries, 2 axes]."""
    every = symmetries(board_named(board))
    cells = np.array([by.cells for by in every], np.int32)
    return cells, np.array([by.directions for by in every], np.int32)


def transform_all(
    board: str,
    players: int,
    rows: IntArray,
    actions: IntArray,
    offsets: LongArray,
    which: LongArray,
) -> tuple[IntArray, IntArray]:
    """Transforms row i, [N, row size], and its actions `actions[offsets[i] : offsets[i + 1]]`.

    `which`, [N], are indices in `symmetries`. The actions must be legal in their rows.
    """
    T = tables(board, players)
    cells, directions = _maps(board)
    turned, numbers = np.empty_like(rows), np.empty_like(actions)
    spread(
        lambda a, b: _transform(
            T, rows[a:b], actions, offsets[a : b + 1], which[a:b], cells, directions,
            turned[a:b], numbers,
        ),
        len(rows),
    )  # fmt: skip
    return turned, numbers


# ---- compiled -----------------------------------------------------------------------------------


@njit()
def _transform(
    T: IntArray,
    rows: IntArray,
    actions: IntArray,
    offsets: LongArray,
    which: LongArray,
    cells: IntArray,
    directions: IntArray,
    turned: IntArray,
    numbers: IntArray,
) -> None:
    work = np.empty(L.WORK, np.int32)
    for i in range(len(rows)):
        to, ways = cells[which[i]], directions[which[i]]
        transform_row(T, rows[i], to, turned[i])
        for k in range(offsets[i], offsets[i + 1]):
            numbers[k] = transform_action(
                pointer(T), pointer(rows[i]), pointer(work), wide(actions[k]), pointer(to),
                pointer(ways),
            )  # fmt: skip


@rule()
def transform_action(
    T: IntArray, S: IntArray, W: IntArray, action: int, to: IntArray, ways: IntArray
) -> int:
    """The action in the transformed position that corresponds to a legal one in row `S`.

    Maps cell c to `to[c]` and direction d to `ways[d]`.
    """
    cells, directions = T[L.T_CELLS], 2 * T[L.T_AXES]
    cell = action % cells
    if action >= T[L.T_GLOBAL]:
        return action
    if T[L.T_MOVE] <= action < T[L.T_LINE_ALL]:
        kind, reach = T[L.T_RECOVER], 1
        if action < T[L.T_CAPTURE]:
            kind, reach = T[L.T_MOVE], T[L.T_MAX_DISTANCE]
        elif action < T[L.T_RECOVER]:
            kind, reach = T[L.T_CAPTURE], T[L.T_MAX_DISTANCE] - 1
        plane = (action - kind) // cells
        turns, rest = plane // reach, plane % reach
        option = turns // directions * directions
        return kind + ((option + ways[turns - option]) * reach + rest) * cells + to[cell]
    if T[L.T_LINE_ALL] <= action < T[L.T_ELIMINATE]:
        return transform_line(T, S, action, to, ways)
    if T[L.T_REGION] <= action < T[L.T_FORCED]:
        border = (action - T[L.T_REGION]) // cells
        territory.find_region(T, S, W, border, cell)
        return action - cell + lowest_of_region(T, W, to)
    return action - cell + to[cell]


@rule()
def transform_line(T: IntArray, S: IntArray, action: int, to: IntArray, ways: IntArray) -> int:
    """`transform_action` of a line, which is identified by its first cell."""
    cells, axes = T[L.T_CELLS], T[L.T_AXES]
    cell, whole = action % cells, action < T[L.T_LINE_PART]
    kind = T[L.T_LINE_ALL] if whole else T[L.T_LINE_PART]
    axis = (action - kind) // cells
    turned = ways[axis]
    if turned >= axes:  # the direction is reversed: the last cell becomes the first
        ahead = T[L.T_LINE] - 1
        if whole:
            ahead = lines.run_ahead(T, S, S[L.SEAT], cell, axis)
        cell = st.step(T, cell, axis, ahead)
        turned -= axes
    return kind + turned * cells + to[cell]


@rule()
def lowest_of_region(T: IntArray, W: IntArray, to: IntArray) -> int:
    """The lowest image of the cells of W_FOUND."""
    best = T[L.T_CELLS]
    for row in range(T[L.T_ROWS]):
        bits = W[L.W_FOUND + L.PAD + row]
        while bits != 0:
            best = min(best, to[st.cell_at(T, lowest(bits) - 1, row)])
            bits &= bits - 1
    return best
