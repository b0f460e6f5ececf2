"""The game row: its start, and the few operations through which every rule reads and changes it."""

from __future__ import annotations

import numpy as np

from ringrift_cli.game import layout as L
from ringrift_cli.game.jit import highest, lowest, njit
from ringrift_cli.game.topology import IntArray


@njit()
def reset(T: IntArray, S: IntArray, pie: bool) -> None:
    """Makes `S` the start of a game: an empty board, all rings in hand, seat 0 to place."""
    players = T[L.T_PLAYERS]
    S[: T[L.T_ROW_SIZE]] = 0
    S[L.TURN] = 1
    S[L.FOCUS] = -1
    S[L.PIE] = L.PIE_ON if pie and players == 2 else L.PIE_OFF
    S[L.FIRST] = -1
    S[L.HOLDER] = -1
    S[L.WINNER] = -1
    S[L.LAST_ACTOR] = -1
    for p in range(players):
        S[L.HAND + p] = T[L.T_RINGS]
    block = T[L.T_S_BLOCK]
    for i in range(T[L.T_WORDS]):
        S[block + i] = L.FULL
    for cell in range(T[L.T_CELLS]):
        unblock(T, S, cell)


# ---- reading a cell ----------------------------------------------------------------------------


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


@njit()
def cell_word(T: IntArray, S: IntArray, cell: int) -> int:
    return S[T[L.T_S_CELL] + cell]  # type: ignore[no-any-return]


@njit()
def top_ring(T: IntArray, S: IntArray, cell: int) -> int:
    return S[T[L.T_S_ENDS] + cell] & 0xFFFF  # type: ignore[no-any-return]


@njit()
def below(T: IntArray, S: IntArray, ring: int) -> int:
    """The ring under `ring`, -1 under the lowest."""
    return S[T[L.T_S_BELOW] + ring]  # type: ignore[no-any-return]


@njit()
def ring_owner(T: IntArray, ring: int) -> int:
    return T[L.T_RING_OWNER + ring]  # type: ignore[no-any-return]


@njit()
def cell_at(T: IntArray, column: int, row: int) -> int:
    """Cell of a column and row that are on the board."""
    return T[L.T_ROW_BASE + row] + column  # type: ignore[no-any-return]


@njit()
def step(T: IntArray, cell: int, direction: int, distance: int) -> int:
    """The cell `distance` steps away; it must be on the board."""
    row = T[L.T_ROW + cell] + distance * T[L.T_DY + direction]
    column = T[L.T_COLUMN + cell] + distance * T[L.T_DX + direction]
    return T[L.T_ROW_BASE + row] + column  # type: ignore[no-any-return]


# ---- rays --------------------------------------------------------------------------------------


@njit()
def to_block(word: int, bit: int, forward: bool) -> int:
    """Steps from `bit` to the next blocker or edge in a line word."""
    if forward:
        return lowest(word >> (bit + 1)) + 1
    return bit - highest(word & ((1 << bit) - 1))


@njit()
def line_word(T: IntArray, S: IntArray, cell: int, axis: int) -> int:
    """Blockers of the cell's line along `axis`."""
    return S[T[L.T_S_BLOCK] + T[L.T_WORD + cell * 4 + axis]]  # type: ignore[no-any-return]


# ---- changing the board --------------------------------------------------------------------------


@njit()
def row_bit(T: IntArray, cell: int) -> int:
    return 1 << (T[L.T_COLUMN + cell] + 1)


@njit()
def padded_row(T: IntArray, cell: int) -> int:
    return T[L.T_ROW + cell] + L.PAD  # type: ignore[no-any-return]


@njit()
def block(T: IntArray, S: IntArray, cell: int) -> None:
    for axis in range(T[L.T_AXES]):
        at = cell * 4 + axis
        S[T[L.T_S_BLOCK] + T[L.T_WORD + at]] |= 1 << T[L.T_BIT + at]


@njit()
def unblock(T: IntArray, S: IntArray, cell: int) -> None:
    for axis in range(T[L.T_AXES]):
        at = cell * 4 + axis
        S[T[L.T_S_BLOCK] + T[L.T_WORD + at]] &= ~(1 << T[L.T_BIT + at])


@njit()
def add_marker(T: IntArray, S: IntArray, cell: int, p: int) -> None:
    """A marker of `p` on an empty cell."""
    S[T[L.T_S_CELL] + cell] = L.MARKER << 2 | p
    S[T[L.T_S_MARKER] + p * T[L.T_STRIDE] + padded_row(T, cell)] |= row_bit(T, cell)
    S[L.MARKERS + p] += 1


@njit()
def remove_marker(T: IntArray, S: IntArray, cell: int) -> None:
    p = owner(cell_word(T, S, cell))
    S[T[L.T_S_CELL] + cell] = 0
    S[T[L.T_S_MARKER] + p * T[L.T_STRIDE] + padded_row(T, cell)] &= ~row_bit(T, cell)
    S[L.MARKERS + p] -= 1


@njit()
def collapse(T: IntArray, S: IntArray, cell: int, p: int) -> None:
    """An empty cell becomes territory of `p`."""
    S[T[L.T_S_CELL] + cell] = L.COLLAPSED << 2 | p
    S[L.TERRITORY + p] += 1
    block(T, S, cell)


@njit()
def lift(T: IntArray, S: IntArray, cell: int) -> None:
    """Takes a stack off its cell, which becomes empty; its rings stay linked."""
    hide(T, S, cell)
    S[T[L.T_S_CELL] + cell] = 0
    unblock(T, S, cell)


@njit()
def hide(T: IntArray, S: IntArray, cell: int) -> None:
    """Takes a stack out of the words that depend on its cap and its owner."""
    word = cell_word(T, S, cell)
    p, h = owner(word), cap(word)
    row, bit, stride = padded_row(T, cell), row_bit(T, cell), T[L.T_STRIDE]
    S[T[L.T_S_CONTROL] + p * stride + row] &= ~bit
    S[L.STACKS + p] -= 1
    for n in range(max(h - 1, 0), 3):
        S[T[L.T_S_CAP] + n * stride + row] &= ~bit


@njit()
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


@njit()
def drop(T: IntArray, S: IntArray, cell: int, top: int, bottom: int, h: int, c: int) -> None:
    """Puts a stack on an empty cell."""
    block(T, S, cell)
    show(T, S, cell, top, bottom, h, c)


@njit()
def run_below(T: IntArray, S: IntArray, ring: int) -> int:
    """Length of the run of one colour that starts with `ring` and goes down."""
    p, run = ring_owner(T, ring), 1
    ring = below(T, S, ring)
    while ring >= 0 and ring_owner(T, ring) == p:
        run += 1
        ring = below(T, S, ring)
    return run


@njit()
def credit(T: IntArray, S: IntArray, ring: int, p: int) -> None:
    """Eliminates a ring that has left its stack, credited to `p`."""
    S[L.ELIMINATED + p] += 1
    S[L.RINGS + ring_owner(T, ring)] -= 1


@njit()
def pop_top(T: IntArray, S: IntArray, cell: int) -> int:
    """Takes the top ring off a stack and returns it; an emptied cell becomes empty."""
    word, ends = cell_word(T, S, cell), S[T[L.T_S_ENDS] + cell]
    top, bottom = ends & 0xFFFF, ends >> 16
    if height(word) == 1:
        lift(T, S, cell)
        return top  # type: ignore[no-any-return]
    hide(T, S, cell)
    under = below(T, S, top)
    c = cap(word) - 1 if cap(word) > 1 else run_below(T, S, under)
    show(T, S, cell, under, bottom, height(word) - 1, c)
    return top  # type: ignore[no-any-return]


@njit()
def eliminate_top(T: IntArray, S: IntArray, cell: int, count: int, p: int) -> None:
    """Eliminates the `count` top rings of a stack, credited to `p`."""
    for _ in range(count):
        credit(T, S, pop_top(T, S, cell), p)


@njit()
def lowest_ring_of(T: IntArray, S: IntArray, cell: int, p: int) -> int:
    """How many rings lie above `p`'s bottommost ring in a stack; -1 without one."""
    found, depth, ring = -1, 0, top_ring(T, S, cell)
    while ring >= 0:
        if ring_owner(T, ring) == p:
            found = depth
        depth += 1
        ring = below(T, S, ring)
    return found


@njit()
def has_buried(T: IntArray, S: IntArray, cell: int, p: int) -> bool:
    """Whether `p` has a ring in the stack below its cap run."""
    word = cell_word(T, S, cell)
    return lowest_ring_of(T, S, cell, p) >= cap(word)


@njit()
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
    """An uninitialised game row, [row size] int32."""
    return np.zeros(int(T[L.T_ROW_SIZE]), np.int32)


def new_workspace() -> IntArray:
    return np.zeros(L.WORK, np.int32)
