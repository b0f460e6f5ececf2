"""Placing rings, and the rule against dead placements (rules section 4).

A ring placed on an empty cell makes a stack of 1, 2 or 3, which only looks at the four nearest
cells of each direction: farther away there is a plain move. So the empty cells of a row are decided
at once, by row words. With f(k) "the cell k steps away is free" and t(n, k) "a stack with a cap of
at most n stands there", some direction must have

    n = 1:  f1                  or  t(1,1) f2
    n = 2:  f1 f2               or  t(2,1) f2      or  f1 t(2,2) f3
    n = 3:  f1 f2 f3            or  t(3,1) f2 f3   or  f1 t(3,2) f3   or  f1 f2 t(3,3) f4

The captures are looked at only in rows where moves alone leave some cell undecided. Placements on
a stack are decided one by one.
"""

from __future__ import annotations

from ringrift_cli.game import layout as L
from ringrift_cli.game import movement
from ringrift_cli.game import state as st
from ringrift_cli.game.jit import lowest, rule
from ringrift_cli.game.topology import IntArray


@rule()
def occupied(T: IntArray, S: IntArray, row: int) -> int:
    """Row word of all stacks, for a padded row."""
    bits, at = 0, T[L.T_S_CONTROL] + row
    for _ in range(T[L.T_PLAYERS]):
        bits |= S[at]
        at += T[L.T_STRIDE]
    return bits


@rule()
def marked(T: IntArray, S: IntArray, row: int) -> int:
    """Row word of all markers, for a padded row."""
    bits, at = 0, T[L.T_S_MARKER] + row
    for _ in range(T[L.T_PLAYERS]):
        bits |= S[at]
        at += T[L.T_STRIDE]
    return bits


@rule()
def may_stack(T: IntArray, S: IntArray, cell: int, p: int) -> bool:
    """Whether one ring of `p` on top of the stack on `cell` is no dead placement."""
    word = st.cell_word(T, S, cell)
    c = st.cap(word) + 1 if st.owner(word) == p else 1
    return movement.can_move(T, S, cell, st.height(word) + 1, c)


@rule()
def free_ahead(S: IntArray, at: int, dy: int, left: int, right: int, k: int) -> int:
    """f(k) for the row whose blockers are at `at`."""
    return (S[at + k * dy] ^ L.FULL) << k * left >> k * right


@rule()
def stack_ahead(S: IntArray, at: int, dy: int, left: int, right: int, k: int) -> int:
    """t(n, k) for the row whose stacks with a cap of at most n are at `at`."""
    return S[at + k * dy] << k * left >> k * right


@rule()
def placeable(T: IntArray, S: IntArray, i: int) -> tuple[int, int, int]:
    """Row words of the empty cells of a padded row that take 1, 2 and 3 rings."""
    at = T[L.T_S_BLOCK] + i
    empty = (S[at] ^ L.FULL) & ~marked(T, S, i)
    if empty == 0:
        return 0, 0, 0
    one, two, three = 0, 0, 0
    for direction in range(2 * T[L.T_AXES]):
        dx, dy = T[L.T_DX + direction], T[L.T_DY + direction]
        left, right = dx < 0, dx > 0
        run = free_ahead(S, at, dy, left, right, 1)
        one |= run
        run &= free_ahead(S, at, dy, left, right, 2)
        two |= run
        three |= run & free_ahead(S, at, dy, left, right, 3)
        if empty & ~three == 0:
            return empty, empty, empty
    stride, cap1 = T[L.T_STRIDE], T[L.T_S_CAP] + i
    cap2, cap3 = cap1 + stride, cap1 + 2 * stride
    for direction in range(2 * T[L.T_AXES]):
        dx, dy = T[L.T_DX + direction], T[L.T_DY + direction]
        left, right = dx < 0, dx > 0
        f1 = free_ahead(S, at, dy, left, right, 1)
        f2 = free_ahead(S, at, dy, left, right, 2)
        f3 = free_ahead(S, at, dy, left, right, 3)
        f4 = free_ahead(S, at, dy, left, right, 4)
        one |= f2 & stack_ahead(S, cap1, dy, left, right, 1)
        two |= f2 & stack_ahead(S, cap2, dy, left, right, 1)
        two |= f1 & f3 & stack_ahead(S, cap2, dy, left, right, 2)
        near = f2 & stack_ahead(S, cap3, dy, left, right, 1)
        near |= f1 & stack_ahead(S, cap3, dy, left, right, 2)
        three |= near & f3 | f1 & f2 & f4 & stack_ahead(S, cap3, dy, left, right, 3)
        if empty & ~(one & two & three) == 0:
            break
    return one & empty, two & empty, three & empty


@rule()
def has_placement(T: IntArray, S: IntArray, p: int) -> bool:
    """Whether `p` has a legal placement."""
    hand = S[L.HAND + p]
    if hand == 0:
        return False
    for row in range(T[L.T_ROWS]):
        one, two, three = placeable(T, S, L.PAD + row)
        if one or (hand > 1 and two) or (hand > 2 and three):
            return True
    for row in range(T[L.T_ROWS]):
        bits = occupied(T, S, L.PAD + row)
        while bits != 0:
            if may_stack(T, S, st.cell_at(T, lowest(bits) - 1, row), p):
                return True
            bits &= bits - 1
    return False


@rule()
def emit_bits(bits: int, first: int, out: IntArray, n: int) -> int:
    """Appends `first` + index of each set bit; returns the new count."""
    while bits != 0:
        out[n] = first + lowest(bits)
        n += 1
        bits &= bits - 1
    return n


@rule()
def emit(T: IntArray, S: IntArray, p: int, out: IntArray, n: int) -> int:
    """Appends `p`'s placements to `out`, which holds `n` actions; returns the new count."""
    hand = S[L.HAND + p]
    if hand == 0:
        return n
    for row in range(T[L.T_ROWS]):
        i = L.PAD + row
        one, two, three = placeable(T, S, i)
        bits = occupied(T, S, i)
        while bits != 0:
            if may_stack(T, S, st.cell_at(T, lowest(bits) - 1, row), p):
                one |= bits & -bits
            bits &= bits - 1
        first = T[L.T_PLACE] + T[L.T_ROW_BASE + row] - 1
        n = emit_bits(one, first, out, n)
        if hand > 1:
            n = emit_bits(two, first + T[L.T_CELLS], out, n)
        if hand > 2:
            n = emit_bits(three, first + 2 * T[L.T_CELLS], out, n)
    return n


@rule()
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
