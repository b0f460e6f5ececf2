"""The four boards: geometry and numbers of rules section 1, and the tables the rules read.

Cells are numbered row by row: rising y, then rising x. Directions come in opposite pairs: direction
`d` and direction `d + axes`. The first `axes` directions are the axes in the order of the notation.

    square8, square19 (8 directions)        hex8, hexagonal (6 directions)

        y                                      y
        ^   7  1  2      0 (1,0)  4 (-1,0)      ^   5  1        0 (1,0)   3 (-1,0)
        |    \\ | /       1 (0,1)  5 (0,-1)      |    \\ |        1 (0,1)   4 (0,-1)
        |  4 - o - 0     2 (1,1)  6 (-1,-1)     |  3 - o - 0    2 (1,-1)  5 (-1,1)
        |    / | \\       3 (1,-1) 7 (-1,1)      |      | \\
        |   6  5  3                             |      4  2
        +----------> x                          +----------> x

Words. A *row word* holds one row: bit `column + 1` is the cell of that column (bit 0 and the bits
past the last cell are off the board). A *line word* holds one line of an axis the same way, by
column, or by row for axis (0, 1). All words fit 27 bits. Row words are kept with `PAD` extra rows
below and above, so that shifted reads need no bounds check.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from ringrift_cli.errors import UsageError
from ringrift_cli.game import layout as L

IntArray = npt.NDArray[np.int32]

SQUARE_AXES = ((1, 0), (0, 1), (1, 1), (1, -1))
HEX_AXES = ((1, 0), (0, 1), (1, -1))
BOARD_NAMES = ("square8", "square19", "hex8", "hexagonal")
PLAYER_COUNTS = (2, 3, 4)


@dataclass(frozen=True)
class Board:
    """One board of rules section 1. `origin` turns coordinates into columns and rows from 0."""

    name: str
    hexagonal: bool
    width: int  # columns, and rows
    origin: int  # column 0 is x = -origin, row 0 is y = -origin
    rings: int  # per player
    short_lines: bool  # lines of 3 with 3 or 4 players
    border_grows: bool  # section 8, step 1

    @property
    def axes(self) -> tuple[tuple[int, int], ...]:
        return HEX_AXES if self.hexagonal else SQUARE_AXES

    @property
    def directions(self) -> tuple[tuple[int, int], ...]:
        return self.axes + tuple((-dx, -dy) for dx, dy in self.axes)

    @property
    def max_distance(self) -> int:
        return self.width - 1

    def contains(self, column: int, row: int) -> bool:
        if not (0 <= column < self.width and 0 <= row < self.width):
            return False
        return not self.hexagonal or abs(column + row - 2 * self.origin) <= self.origin

    @property
    def cells(self) -> tuple[tuple[int, int], ...]:
        """(column, row) of each cell, in cell order."""
        return _cells(self)

    @property
    def index(self) -> dict[tuple[int, int], int]:
        """Cell by (column, row)."""
        return _index(self)

    def coordinates(self, cell: int) -> tuple[int, int]:
        """The x, y by which players name a cell."""
        column, row = self.cells[cell]
        return column - self.origin, row - self.origin

    def cell(self, x: int, y: int) -> int | None:
        """Cell of the players' x, y; None off the board."""
        return self.index.get((x + self.origin, y + self.origin))

    def line_length(self, players: int) -> int:
        """Section 1: 4, but 3 on the small boards with 3 or 4 players."""
        return 3 if players > 2 and self.short_lines else 4

    def elimination_threshold(self, players: int) -> int:
        """Section 10.1: round(rings * (2/3 + (players - 1)/3)); rings is a multiple of 3."""
        return self.rings * (players + 1) // 3

    def territory_threshold(self, players: int) -> int:
        """Section 10.2: one cell more than a fair share, cells // players + 1."""
        return len(self.cells) // players + 1


@cache
def _cells(board: Board) -> tuple[tuple[int, int], ...]:
    span = range(board.width)
    return tuple((c, r) for r in span for c in span if board.contains(c, r))


@cache
def _index(board: Board) -> dict[tuple[int, int], int]:
    return {cell: i for i, cell in enumerate(board.cells)}


BOARDS = {
    board.name: board
    for board in (
        Board("square8", False, 8, 0, 18, True, True),
        Board("square19", False, 19, 0, 72, False, True),
        Board("hex8", True, 9, 4, 18, True, True),
        Board("hexagonal", True, 25, 12, 96, False, False),
    )
}


def board_named(name: str) -> Board:
    """The board of that name; `UsageError` names the four."""
    if name not in BOARDS:
        raise UsageError(
            f"Unknown board {name!r}: expected one of {', '.join(BOARD_NAMES)}.",
            hint="ringrift perft --board hex8 --players 2 --depth 2",
        )
    return BOARDS[name]


def check_players(players: int) -> int:
    """`players` if the game allows it; `UsageError` otherwise."""
    if players not in PLAYER_COUNTS:
        raise UsageError(f"RingRift has 2, 3 or 4 players, not {players}.")
    return players


def check_pie(players: int, pie_rule: bool) -> bool:
    """`pie_rule` if the game has one; `UsageError` with more than two players."""
    if pie_rule and players != 2:
        raise UsageError(f"The pie rule is for 2 players, not {players}.")
    return pie_rule


@cache
def tables(name: str, players: int, rules: int = L.RULES) -> IntArray:
    """The table row `T` of a board, player count and version of the rules, read-only.

    [layout.TABLE_SIZE] int32.
    """
    board = board_named(name)
    check_players(players)
    t = np.zeros(L.TABLE_SIZE, np.int32)
    t[L.T_RULES] = rules
    _numbers(t, board, players)
    words = _words(t, board)
    _offsets(t, board, players, words)
    _planes(t, board)
    _surroundings(t, board)
    t.setflags(write=False)
    return t


def _numbers(t: IntArray, board: Board, players: int) -> None:
    t[L.T_CELLS] = len(board.cells)
    t[L.T_PLAYERS] = players
    t[L.T_RINGS] = board.rings
    t[L.T_LINE] = board.line_length(players)
    t[L.T_AXES] = len(board.axes)
    t[L.T_ROWS] = board.width
    t[L.T_MAX_DISTANCE] = board.max_distance
    t[L.T_HEX] = board.hexagonal
    t[L.T_GROWS] = board.border_grows
    t[L.T_ELIMINATION] = board.elimination_threshold(players)
    t[L.T_TERRITORY] = board.territory_threshold(players)
    for ring in range(players * board.rings):
        t[L.T_RING_OWNER + ring] = ring // board.rings


def _words(t: IntArray, board: Board) -> int:
    """Fills the cell and line tables; returns how many line words the board has."""
    rows = board.width + 2 * L.PAD
    lines: list[dict[int, int]] = [{} for _ in board.axes]
    count = rows  # the lines of axis (1, 0) are the padded rows
    for cell, (column, row) in enumerate(board.cells):
        t[L.T_COLUMN + cell] = column
        t[L.T_ROW + cell] = row
        for axis, (dx, dy) in enumerate(board.axes):
            if axis == 0:
                word = row + L.PAD
            else:
                key = column * dy - row * dx
                if key not in lines[axis]:
                    lines[axis][key] = count
                    count += 1
                word = lines[axis][key]
            t[L.T_WORD + cell * 4 + axis] = word
            t[L.T_BIT + cell * 4 + axis] = (column if dx else row) + 1
        for direction, (dx, dy) in enumerate(board.directions):
            reach = 0
            while board.contains(column + (reach + 1) * dx, row + (reach + 1) * dy):
                reach += 1
            t[L.T_REACH + cell * 8 + direction] = reach
        t[L.T_ROW_MASK + L.PAD + row] |= 1 << (column + 1)
    for direction, (dx, dy) in enumerate(board.directions):
        t[L.T_DX + direction] = dx
        t[L.T_DY + direction] = dy
    for row in range(board.width):
        first = min(c for c, r in board.cells if r == row)
        t[L.T_ROW_BASE + row] = board.index[first, row] - first
    return count


def _offsets(t: IntArray, board: Board, players: int, words: int) -> None:
    rows = board.width + 2 * L.PAD
    sizes = (
        (L.T_S_CELL, len(board.cells)),
        (L.T_S_BLOCK, words),
        (L.T_S_COLLAPSED, rows),
        (L.T_S_MARKER, players * rows),
        (L.T_S_CONTROL, players * rows),
        (L.T_S_CAP, 3 * rows),
        (L.T_S_ENDS, len(board.cells)),
        (L.T_S_BELOW, players * board.rings),
    )
    offset = L.HEADER
    for slot, size in sizes:
        t[slot] = offset
        offset += size
    t[L.T_STRIDE] = rows
    t[L.T_WORDS] = words
    t[L.T_ROW_SIZE] = offset
    reach = t[L.T_REACH : L.T_REACH + 8 * len(board.cells)]
    t[L.T_MAX_LEGAL] = max(int(reach.sum()), 3 * len(board.cells)) + 8


def _planes(t: IntArray, board: Board) -> None:
    directions, axes = len(board.directions), len(board.axes)
    planes = (
        (L.T_PLACE, 3),
        (L.T_MOVE, directions * board.max_distance),
        (L.T_CAPTURE, directions * (board.max_distance - 1)),
        (L.T_RECOVER, 3 * directions),
        (L.T_LINE_ALL, axes),
        (L.T_LINE_PART, axes),
        (L.T_ELIMINATE, 1),
        (L.T_EXTRACT, 1),
        (L.T_REGION, 1 + L.MAX_PLAYERS),
        (L.T_FORCED, 1),
    )
    plane = 0
    for slot, count in planes:
        t[slot] = plane * len(board.cells)
        plane += count
    t[L.T_PLANES] = plane
    t[L.T_GLOBAL] = plane * len(board.cells)
    t[L.T_ACTIONS] = plane * len(board.cells) + L.GLOBALS


def _surroundings(t: IntArray, board: Board) -> None:
    """Fills T_AROUND. Bit k of an index tells whether the k-th cell of `around` is closed."""
    around = [(dx, dy) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dx, dy) != (0, 0)]
    sides = [d for d in board.directions if board.hexagonal or 0 in d]
    for closed in range(256):
        left = {cell for k, cell in enumerate(around) if not closed >> k & 1}
        if board.hexagonal:
            left &= set(sides)
        groups = 0
        neighbours = [cell for cell in sides if cell in left]
        for start in neighbours:
            if start in left:
                groups += 1
                stack = [start]
                left.discard(start)
                while stack:
                    x, y = stack.pop()
                    near = {(x + dx, y + dy) for dx, dy in sides} & left
                    left -= near
                    stack.extend(near)
        t[L.T_AROUND + closed] = (groups <= 1) * L.KEEPS_JOINED | (groups > 0) * L.TOUCHES
