"""Placing rings, and the rule against dead placements (rules section 4).

A ring placed on an empty cell makes a stack of 1, 2 or 3, which only looks at the four nearest
cells of each direction: farther away there is a plain move. So the empty cells are decided all at
once, a row word at a time. With `f(k)` "the cell k steps away is free" and `t(n, k)` "a stack with a
cap of at most n stands there", some direction must have

    n = 1:  f1                  or  t(1,1) f2
    n = 2:  f1 f2               or  t(2,1) f2      or  f1 t(2,2) f3
    n = 3:  f1 f2 f3            or  t(3,1) f2 f3   or  f1 t(3,2) f3   or  f1 f2 t(3,3) f4

Placements on a stack are decided one by one.
"""

from __future__ import annotations

from ringrift_cli.game import layout as L
from ringrift_cli.game import movement
from ringrift_cli.game import state as st
from ringrift_cli.game.jit import lowest, njit
from ringrift_cli.game.topology import IntArray


@njit()
def occupied(T: IntArray, S: IntArray, row: int) -> int:
    """Row word of all stacks, for a padded row."""
    bits = 0
    for p in range(T[L.T_PLAYERS]):
        bits |= S[T[L.T_S_CONTROL] + p * T[L.T_STRIDE] + row]
    return bits


@njit()
def marked(T: IntArray, S: IntArray, row: int) -> int:
    """Row word of all markers, for a padded row."""
    bits = 0
    for p in range(T[L.T_PLAYERS]):
        bits |= S[T[L.T_S_MARKER] + p * T[L.T_STRIDE] + row]
    return bits


@njit()
def may_stack(T: IntArray, S: IntArray, cell: int, p: int) -> bool:
    """Whether one ring of `p` on top of the stack on `cell` is no dead placement."""
    word = st.cell_word(T, S, cell)
    c = st.cap(word) + 1 if st.owner(word) == p else 1
    return movement.can_move(T, S, cell, st.height(word) + 1, c)


@njit()
def find_empty(T: IntArray, S: IntArray, W: IntArray) -> None:
    """Fills W_ONE, W_TWO and W_THREE with the cells where so many rings could move or capture."""
    rows, stride = T[L.T_ROWS], T[L.T_STRIDE]
    blocked, caps = T[L.T_S_BLOCK], T[L.T_S_CAP]
    for i in range(stride):
        W[L.W_FREE + i] = S[blocked + i] ^ L.FULL
        W[L.W_ONE + i] = 0
        W[L.W_TWO + i] = 0
        W[L.W_THREE + i] = 0
    for direction in range(2 * T[L.T_AXES]):
        dx, dy = T[L.T_DX + direction], T[L.T_DY + direction]
        left, right = 1 if dx < 0 else 0, 1 if dx > 0 else 0
        for i in range(L.PAD, L.PAD + rows):
            free, cap = L.W_FREE + i, caps + i
            f1 = W[free + dy] << left >> right
            f2 = W[free + 2 * dy] << 2 * left >> 2 * right
            f3 = W[free + 3 * dy] << 3 * left >> 3 * right
            f4 = W[free + 4 * dy] << 4 * left >> 4 * right
            one1 = S[cap + dy] << left >> right
            two1 = S[cap + stride + dy] << left >> right
            two2 = S[cap + stride + 2 * dy] << 2 * left >> 2 * right
            three1 = S[cap + 2 * stride + dy] << left >> right
            three2 = S[cap + 2 * stride + 2 * dy] << 2 * left >> 2 * right
            three3 = S[cap + 2 * stride + 3 * dy] << 3 * left >> 3 * right
            W[L.W_ONE + i] |= f1 | one1 & f2
            W[L.W_TWO + i] |= f2 & (f1 | two1) | f1 & f3 & two2
            W[L.W_THREE + i] |= f3 & (f2 & (f1 | three1) | f1 & three2) | f1 & f2 & f4 & three3


@njit()
def has_placement(T: IntArray, S: IntArray, W: IntArray, p: int) -> bool:
    """Whether `p` has a legal placement."""
    hand = S[L.HAND + p]
    if hand == 0:
        return False
    find_empty(T, S, W)
    for row in range(T[L.T_ROWS]):
        i = L.PAD + row
        ok = W[L.W_ONE + i]
        if hand > 1:
            ok |= W[L.W_TWO + i]
        if hand > 2:
            ok |= W[L.W_THREE + i]
        if ok & ~S[T[L.T_S_BLOCK] + i] & ~marked(T, S, i) & T[L.T_ROW_MASK + i]:
            return True
    for row in range(T[L.T_ROWS]):
        bits = occupied(T, S, L.PAD + row)
        while bits != 0:
            if may_stack(T, S, st.cell_at(T, lowest(bits) - 1, row), p):
                return True
            bits &= bits - 1
    return False


@njit()
def emit(T: IntArray, S: IntArray, W: IntArray, p: int, out: IntArray, n: int) -> int:
    """Appends `p`'s placements to `out`, which holds `n` actions; returns the new count."""
    hand, rows = S[L.HAND + p], T[L.T_ROWS]
    if hand == 0:
        return n
    find_empty(T, S, W)
    for row in range(rows):
        i = L.PAD + row
        empty = T[L.T_ROW_MASK + i] & ~S[T[L.T_S_BLOCK] + i] & ~marked(T, S, i)
        W[L.W_ONE + i] &= empty
        W[L.W_TWO + i] &= empty
        W[L.W_THREE + i] &= empty
        bits = occupied(T, S, i)
        while bits != 0:
            if may_stack(T, S, st.cell_at(T, lowest(bits) - 1, row), p):
                W[L.W_ONE + i] |= bits & -bits
            bits &= bits - 1
    for rings in range(min(hand, 3)):
        first = T[L.T_PLACE] + rings * T[L.T_CELLS]
        for row in range(rows):
            bits = W[L.W_ONE + 40 * rings + L.PAD + row]
            base = first + T[L.T_ROW_BASE + row] - 1
            while bits != 0:
                out[n] = base + lowest(bits)
                n += 1
                bits &= bits - 1
    return n


@njit()
def place(T: IntArray, S: IntArray, cell: int, count: int) -> None:
    """The mover places `count` rings on an empty cell, or one on a stack."""
    p = S[L.SEAT]
    word = st.cell_word(T, S, cell)
    ring = p * T[L.T_RINGS] + T[L.T_RINGS] - S[L.HAND + p]  # the next one in hand
    S[L.HAND + p] -= count
    S[L.RINGS + p] += count
    links = T[L.T_S_BELOW]
    if st.kind(word) == L.STACK:
        ends = S[T[L.T_S_ENDS] + cell]
        S[links + ring] = ends & 0xFFFF
        c = st.cap(word) + 1 if st.owner(word) == p else 1
        st.hide(T, S, cell)
        st.show(T, S, cell, ring, ends >> 16, st.height(word) + 1, c)
        return
    for i in range(count):
        S[links + ring + i] = ring + i - 1 if i > 0 else -1
    st.drop(T, S, cell, ring + count - 1, ring, count, count)
