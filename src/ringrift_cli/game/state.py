"""The game row: its start, and the few operations through which every rule reads and changes it."""

from __future__ import annotations

import numpy as np

from ringrift_cli.game import layout as L
from ringrift_cli.game.jit import highest, lowest, njit, rule
from ringrift_cli.game.topology import IntArray


@rule()
def reset(T: IntArray, S: IntArray, pie: bool) -> None:
    """Makes `S` the start of a game: an empty board, all rings in hand, seat 0 to place."""
    players = T[L.T_PLAYERS]
    for i in range(T[L.T_ROW_SIZE]):
        S[i] = 0
    S[L.TURN] = 1
    S[L.FOCUS] = -1
    S[L.PIE] = L.PIE_ON if pie and players == 2 else L.PIE_OFF
    S[L.FIRST] = -1
    S[L.HOLDER] = -1
    S[L.WINNER] = -1
    S[L.LAST_ACTOR] = -1
    S[L.JOINED] = (2 << players) - 1
    for p in range(players):
        S[L.HAND + p] = T[L.T_RINGS]
    block = T[L.T_S_BLOCK]
    for i in range(T[L.T_WORDS]):
        S[block + i] = L.FULL
    collapsed = T[L.T_S_COLLAPSED]
    for i in range(T[L.T_STRIDE]):
        S[collapsed + i] = ~T[L.T_ROW_MASK + i] & L.FULL
    for cell in range(T[L.T_CELLS]):
        unblock(T, S, cell)


@rule()
def copy(size: int, source: IntArray, target: IntArray) -> None:
    """Copies `size` words of a row to another."""
    for i in range(size):
        target[i] = source[i]


# ---- reading a cell -----------------------------------------------------------------------------


@njit()
def kind(word: int) -> int:
    """EMPTY, MARKER, COLLAPSED or STACK."""
    return (word >> 2) & 3


@njit()
def owner(word: int) -> int:
    """Seat of the marker, the territory or the top ring."""
    return word & 3


@njit()
def cap(word: int) -> int:
    """Rings in the run of the top colour."""
    return (word >> 4) & 255


@njit()
def height(word: int) -> int:
    """Rings in the stack."""
    return word >> 12


@rule()
def cell_word(T: IntArray, S: IntArray, cell: int) -> int:
    return S[T[L.T_S_CELL] + cell]


@rule()
def top_ring(T: IntArray, S: IntArray, cell: int) -> int:
    return S[T[L.T_S_ENDS] + cell] & 0xFFFF


@rule()
def below(T: IntArray, S: IntArray, ring: int) -> int:
    """The ring under `ring`, -1 under the lowest."""
    return S[T[L.T_S_BELOW] + ring]


@rule()
def ring_owner(T: IntArray, ring: int) -> int:
    return T[L.T_RING_OWNER + ring]


@rule()
def cell_at(T: IntArray, column: int, row: int) -> int:
    """Cell of a column and row that are on the board."""
    return T[L.T_ROW_BASE + row] + column


@rule()
def step(T: IntArray, cell: int, direction: int, distance: int) -> int:
    """The cell `distance` steps away; it must be on the board."""
    row = T[L.T_ROW + cell] + distance * T[L.T_DY + direction]
    column = T[L.T_COLUMN + cell] + distance * T[L.T_DX + direction]
    return T[L.T_ROW_BASE + row] + column


# ---- rays ---------------------------------------------------------------------------------------


@rule()
def to_block(word: int, bit: int, forward: bool) -> int:
    """Steps from `bit` to the next blocker or edge in a line word."""
    if forward:
        return lowest(word >> (bit + 1)) + 1
    return bit - highest(word & ((1 << bit) - 1))


@rule()
def line_word(T: IntArray, S: IntArray, cell: int, axis: int) -> int:
    """Blockers of the cell's line along `axis`."""
    return S[T[L.T_S_BLOCK] + T[L.T_WORD + cell * 4 + axis]]


# ---- changing the board -------------------------------------------------------------------------


@rule()
def row_bit(T: IntArray, cell: int) -> int:
    return 1 << (T[L.T_COLUMN + cell] + 1)


@rule()
def padded_row(T: IntArray, cell: int) -> int:
    return T[L.T_ROW + cell] + L.PAD


@rule()
def block(T: IntArray, S: IntArray, cell: int) -> None:
    for axis in range(T[L.T_AXES]):
        at = cell * 4 + axis
        S[T[L.T_S_BLOCK] + T[L.T_WORD + at]] |= 1 << T[L.T_BIT + at]


@rule()
def unblock(T: IntArray, S: IntArray, cell: int) -> None:
    for axis in range(T[L.T_AXES]):
        at = cell * 4 + axis
        S[T[L.T_S_BLOCK] + T[L.T_WORD + at]] &= ~(1 << T[L.T_BIT + at])


@rule()
def around(T: IntArray, S: IntArray, cell: int, border: int) -> int:
    """What T_AROUND says of a cell under a border (territory.py)."""
    low, i = T[L.T_COLUMN + cell], padded_row(T, cell)
    at = T[L.T_S_COLLAPSED] + i
    under, beside, over = S[at - 1], S[at], S[at + 1]
    if border > 0:
        at = T[L.T_S_MARKER] + (border - 1) * T[L.T_STRIDE] + i
        under |= S[at - 1]
        beside |= S[at]
        over |= S[at + 1]
    closed = under >> low & 7 | (beside >> low & 1) << 3 | (beside >> low & 4) << 2
    return T[L.T_AROUND + (closed | (over >> low & 7) << 5)]


@rule()
def wall_up(T: IntArray, S: IntArray, cell: int, border: int) -> None:
    """Notes that `cell` now separates under a border: does it still cut nothing off?"""
    if S[L.JOINED] >> border & 1 and not around(T, S, cell, border) & L.KEEPS_JOINED:
        S[L.JOINED] &= ~(1 << border)


@rule()
def wall_down(T: IntArray, S: IntArray, cell: int, border: int) -> None:
    """Notes that `cell` no longer separates under a border."""
    if S[L.JOINED] >> border & 1 and not around(T, S, cell, border) & L.TOUCHES:
        S[L.JOINED] &= ~(1 << border)


@rule()
def add_marker(T: IntArray, S: IntArray, cell: int, p: int) -> None:
    """A marker of `p` on an empty cell."""
    S[T[L.T_S_CELL] + cell] = L.MARKER << 2 | p
    S[T[L.T_S_MARKER] + p * T[L.T_STRIDE] + padded_row(T, cell)] |= row_bit(T, cell)
    S[L.MARKERS + p] += 1
    wall_up(T, S, cell, 1 + p)


@rule()
def erase_marker(T: IntArray, S: IntArray, cell: int) -> int:
    """Empties the cell of a marker, without a look at the borders; returns its owner."""
    p = owner(cell_word(T, S, cell))
    S[T[L.T_S_CELL] + cell] = 0
    S[T[L.T_S_MARKER] + p * T[L.T_STRIDE] + padded_row(T, cell)] &= ~row_bit(T, cell)
    S[L.MARKERS + p] -= 1
    return p


@rule()
def remove_marker(T: IntArray, S: IntArray, cell: int) -> None:
    """Empties the cell of a marker."""
    wall_down(T, S, cell, 1 + erase_marker(T, S, cell))


@rule()
def collapse(T: IntArray, S: IntArray, cell: int, p: int) -> None:
    """An empty cell or a marker becomes territory of `p`."""
    wall = 0
    if kind(cell_word(T, S, cell)) == L.MARKER:
        wall = 1 + erase_marker(T, S, cell)
    S[T[L.T_S_CELL] + cell] = L.COLLAPSED << 2 | p
    S[L.TERRITORY + p] += 1
    S[T[L.T_S_COLLAPSED] + padded_row(T, cell)] |= row_bit(T, cell)
    block(T, S, cell)
    for border in range(T[L.T_PLAYERS] + 1):
        if border == 0 or border != wall:
            wall_up(T, S, cell, border)


@rule()
def lift(T: IntArray, S: IntArray, cell: int) -> None:
    """Takes a stack off its cell, which becomes empty; its rings stay linked."""
    hide(T, S, cell)
    S[T[L.T_S_CELL] + cell] = 0
    unblock(T, S, cell)


@rule()
def hide(T: IntArray, S: IntArray, cell: int) -> None:
    """Takes a stack out of the words that depend on its cap and its owner."""
    word = cell_word(T, S, cell)
    p, h = owner(word), cap(word)
    row, bit, stride = padded_row(T, cell), row_bit(T, cell), T[L.T_STRIDE]
    S[T[L.T_S_CONTROL] + p * stride + row] &= ~bit
    S[L.STACKS + p] -= 1
    for n in range(max(h - 1, 0), 3):
        S[T[L.T_S_CAP] + n * stride + row] &= ~bit


@rule()
def show(T: IntArray, S: IntArray, cell: int, top: int, bottom: int, h: int, c: int) -> None:
    """Writes a stack of height `h` and cap `c`, the opposite of `hide`."""
    p = ring_owner(T, top)
    S[T[L.T_S_CELL] + cell] = h << 12 | c << 4 | L.STACK << 2 | p
    S[T[L.T_S_ENDS] + cell] = top | bottom << 16
    row, bit, stride = padded_row(T, cell), row_bit(T, cell), T[L.T_STRIDE]
    S[T[L.T_S_CONTROL] + p * stride + row] |= bit
    S[L.STACKS + p] += 1
    for n in range(c - 1, 3):
        S[T[L.T_S_CAP] + n * stride + row] |= bit


@rule()
def drop(T: IntArray, S: IntArray, cell: int, top: int, bottom: int, h: int, c: int) -> None:
    """Puts a stack on an empty cell."""
    block(T, S, cell)
    show(T, S, cell, top, bottom, h, c)


@rule()
def run_below(T: IntArray, S: IntArray, ring: int) -> int:
    """Length of the run of one colour that starts with `ring` and goes down."""
    p, run = ring_owner(T, ring), 1
    ring = below(T, S, ring)
    while ring >= 0 and ring_owner(T, ring) == p:
        run += 1
        ring = below(T, S, ring)
    return run


@rule()
def credit(T: IntArray, S: IntArray, ring: int, p: int) -> None:
    """Eliminates a ring that has left its stack, credited to `p`."""
    S[L.ELIMINATED + p] += 1
    S[L.RINGS + ring_owner(T, ring)] -= 1


@rule()
def pop_top(T: IntArray, S: IntArray, cell: int) -> int:
    """Takes the top ring off a stack and returns it; an emptied cell becomes empty."""
    word, ends = cell_word(T, S, cell), S[T[L.T_S_ENDS] + cell]
    top, bottom = ends & 0xFFFF, ends >> 16
    if height(word) == 1:
        lift(T, S, cell)
        return top
    hide(T, S, cell)
    under = below(T, S, top)
    c = cap(word) - 1 if cap(word) > 1 else run_below(T, S, under)
    show(T, S, cell, under, bottom, height(word) - 1, c)
    return top


@rule()
def eliminate_top(T: IntArray, S: IntArray, cell: int, count: int, p: int) -> None:
    """Eliminates the `count` top rings of a stack, credited to `p`."""
    for _ in range(count):
        credit(T, S, pop_top(T, S, cell), p)


@rule()
def lowest_ring_of(T: IntArray, S: IntArray, cell: int, p: int) -> int:
    """How many rings lie above `p`'s bottommost ring in a stack; -1 without one."""
    found, depth, ring = -1, 0, top_ring(T, S, cell)
    while ring >= 0:
        if ring_owner(T, ring) == p:
            found = depth
        depth += 1
        ring = below(T, S, ring)
    return found


@rule()
def has_buried(T: IntArray, S: IntArray, cell: int, p: int) -> bool:
    """Whether `p` has a ring in the stack below its cap run."""
    word = cell_word(T, S, cell)
    return lowest_ring_of(T, S, cell, p) >= cap(word)


@rule()
def extract(T: IntArray, S: IntArray, cell: int, p: int) -> None:
    """Eliminates `p`'s bottommost ring in a stack, credited to `p`."""
    depth = lowest_ring_of(T, S, cell, p)
    if depth == 0:
        eliminate_top(T, S, cell, 1, p)
        return
    word, ends = cell_word(T, S, cell), S[T[L.T_S_ENDS] + cell]
    top, bottom = ends & 0xFFFF, ends >> 16
    over = top
    for _ in range(depth - 1):
        over = below(T, S, over)
    ring = below(T, S, over)
    S[T[L.T_S_BELOW] + over] = below(T, S, ring)
    if ring == bottom:
        bottom = over
    hide(T, S, cell)
    show(T, S, cell, top, bottom, height(word) - 1, run_below(T, S, top))
    credit(T, S, ring, p)


def new_row(T: IntArray) -> IntArray:
    """A game row of zeros, [row size] int32: `reset` makes it a game."""
    return np.zeros(int(T[L.T_ROW_SIZE]), np.int32)


def new_workspace() -> IntArray:
    return np.zeros(L.WORK, np.int32)
