"""Symmetries of the boards, acting on positions and on actions alike.

A square board has 8 and a hexagonal one 12: rotations and reflections about the centre. The rules
commute with all of them, with one exception: on `hex8` the border of a region grows to cells within
one step in x and y (rules section 8), a square in the coordinates that only 4 of the 12 keep.
`exact` tells them apart.

Numbers are not positions: a line is named by its first cell and a region by its lowest, and which
cell that is may change under a symmetry. So `transform_action` looks at the position.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from ringrift_cli.game import engine
from ringrift_cli.game import layout as L
from ringrift_cli.game import state as st
from ringrift_cli.game.jit import njit, pointer
from ringrift_cli.game.notation import region_cells
from ringrift_cli.game.topology import Board, IntArray

Matrix = tuple[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class Symmetry:
    """`cells[c]` is where cell c goes, `directions[d]` where direction d turns to."""

    matrix: Matrix
    cells: tuple[int, ...]
    directions: tuple[int, ...]
    exact: bool


def _turn(m: Matrix, x: int, y: int) -> tuple[int, int]:
    return m[0][0] * x + m[0][1] * y, m[1][0] * x + m[1][1] * y


def _matrices(board: Board) -> list[Matrix]:
    """All integer maps that permute the directions of moves, and on squares the adjacency too."""
    entries = (-1, 0, 1)
    every = [((a, b), (c, d)) for a in entries for b in entries for c in entries for d in entries]
    directions = set(board.directions)
    keeps = [m for m in every if {_turn(m, *d) for d in directions} == directions]
    if not board.hexagonal:
        orthogonal = {d for d in directions if 0 in d}
        keeps = [m for m in keeps if {_turn(m, *d) for d in orthogonal} == orthogonal]
    identity = ((1, 0), (0, 1))
    return sorted(keeps, key=lambda m: (m != identity, m))


@cache
def symmetries(board: Board) -> tuple[Symmetry, ...]:
    """The symmetries of a board, the identity first."""
    square = {(dx, dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1)}
    found = []
    for m in _matrices(board):
        cells = []
        for column, row in board.cells:
            x, y = _turn(m, 2 * column - board.width + 1, 2 * row - board.width + 1)
            cells.append(board.index[(x + board.width - 1) // 2, (y + board.width - 1) // 2])
        directions = tuple(board.directions.index(_turn(m, *d)) for d in board.directions)
        exact = not board.border_grows or {_turn(m, *d) for d in square} == square
        found.append(Symmetry(m, tuple(cells), directions, exact))
    return tuple(found)


@njit()
def transform_row(T: IntArray, S: IntArray, cells: IntArray, out: IntArray) -> None:
    """Writes to `out` the row with every cell c moved to `cells[c]`, [cells]."""
    T_, S_, out_ = pointer(T), pointer(S), pointer(out)
    st.reset(T_, out_, False)
    links = T[L.T_S_BELOW]
    for ring in range(T[L.T_PLAYERS] * T[L.T_RINGS]):
        out[links + ring] = S[links + ring]
    for cell in range(T[L.T_CELLS]):
        word, to = st.cell_word(T_, S_, cell), cells[cell]
        if st.kind(word) == L.MARKER:
            st.add_marker(T_, out_, to, st.owner(word))
        elif st.kind(word) == L.COLLAPSED:
            st.collapse(T_, out_, to, st.owner(word))
        elif st.kind(word) == L.STACK:
            ends = S[T[L.T_S_ENDS] + cell]
            st.drop(T_, out_, to, ends & 0xFFFF, ends >> 16, st.height(word), st.cap(word))
    for at in range(L.HEADER):
        if at != L.JOINED:
            out[at] = S[at]
    if S[L.FOCUS] >= 0:
        out[L.FOCUS] = cells[S[L.FOCUS]]


def transform_action(board: Board, T: IntArray, S: IntArray, action: int, by: Symmetry) -> int:
    """The number, in the transformed position, of an action legal in the row `S`."""
    if action >= T[L.T_GLOBAL]:
        return action
    count, axes = len(board.cells), len(board.axes)
    plane, cell = divmod(action, count)
    if T[L.T_MOVE] <= action < T[L.T_LINE_ALL]:
        kind, reach = int(T[L.T_RECOVER]), 1
        if action < T[L.T_CAPTURE]:
            kind, reach = int(T[L.T_MOVE]), board.max_distance
        elif action < T[L.T_RECOVER]:
            kind, reach = int(T[L.T_CAPTURE]), board.max_distance - 1
        turns, rest = divmod(plane - kind // count, reach)
        option, direction = divmod(turns, 2 * axes)
        turned = (option * 2 * axes + by.directions[direction]) * reach + rest
        return kind + turned * count + by.cells[cell]
    if T[L.T_LINE_ALL] <= action < T[L.T_ELIMINATE]:
        whole = action < T[L.T_LINE_PART]
        kind = int(T[L.T_LINE_ALL] if whole else T[L.T_LINE_PART])
        axis = plane - kind // count
        turned = by.directions[axis]
        if turned >= axes:  # the line now runs the other way: its last cell comes first
            length = int(T[L.T_LINE]) - 1
            if whole:
                length = engine.run_ahead(T, S, int(S[L.SEAT]), cell, axis)
            (column, row), (dx, dy) = board.cells[cell], board.directions[axis]
            cell = board.index[column + length * dx, row + length * dy]
            turned -= axes
        return kind + turned * count + by.cells[cell]
    if T[L.T_REGION] <= action < T[L.T_FORCED]:
        return plane * count + min(by.cells[c] for c in region_cells(board, T, S, action))
    return plane * count + by.cells[cell]


def cells_array(by: Symmetry) -> IntArray:
    """`by.cells` as the rules take it, [cells] int32."""
    return np.array(by.cells, np.int32)
