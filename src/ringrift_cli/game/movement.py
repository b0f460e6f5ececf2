"""Moves and captures (rules section 5)."""

from __future__ import annotations

from ringrift_cli.game import layout as L
from ringrift_cli.game import state as st
from ringrift_cli.game.jit import lowest, rule
from ringrift_cli.game.topology import IntArray


@rule()
def first_block(T: IntArray, S: IntArray, cell: int, direction: int) -> int:
    """Steps from `cell` to the first stack, collapsed cell or edge."""
    axes = T[L.T_AXES]
    axis = direction if direction < axes else direction - axes
    bit = T[L.T_BIT + cell * 4 + axis]
    return st.to_block(st.line_word(T, S, cell, axis), bit, direction < axes)


@rule()
def capture_span(
    T: IntArray, S: IntArray, cell: int, direction: int, first: int, h: int, c: int
) -> tuple[int, int]:
    """Nearest and farthest landing of a capture over the blocker `first` steps away.

    The capturing stack has height `h` and cap `c`. Nearest > farthest when there is none.
    """
    if first > T[L.T_REACH + cell * 8 + direction]:
        return 1, 0
    word = st.cell_word(T, S, st.step(T, cell, direction, first))
    if st.kind(word) != L.STACK or st.cap(word) > c:
        return 1, 0
    axes = T[L.T_AXES]
    forward = direction < axes
    axis = direction if forward else direction - axes
    bit = T[L.T_BIT + cell * 4 + axis] + (first if forward else -first)
    second = st.to_block(st.line_word(T, S, cell, axis), bit, forward)
    return max(first + 1, h), first + second - 1


@rule()
def can_capture(T: IntArray, S: IntArray, cell: int, h: int, c: int) -> bool:
    """Whether a stack of height `h` and cap `c` on `cell` has a capture."""
    for direction in range(2 * T[L.T_AXES]):
        first = first_block(T, S, cell, direction)
        near, far = capture_span(T, S, cell, direction, first, h, c)
        if near <= far:
            return True
    return False


@rule()
def can_move(T: IntArray, S: IntArray, cell: int, h: int, c: int) -> bool:
    """Whether a stack of height `h` and cap `c` on `cell` has a move or a capture."""
    for direction in range(2 * T[L.T_AXES]):
        first = first_block(T, S, cell, direction)
        if first > h:
            return True
        near, far = capture_span(T, S, cell, direction, first, h, c)
        if near <= far:
            return True
    return False


@rule()
def stack_can_capture(T: IntArray, S: IntArray, cell: int) -> bool:
    word = st.cell_word(T, S, cell)
    return can_capture(T, S, cell, st.height(word), st.cap(word))


@rule()
def any_stack_can_move(T: IntArray, S: IntArray, p: int) -> bool:
    """Whether some stack `p` controls has a move or a capture."""
    if S[L.STACKS + p] == 0:
        return False
    control = T[L.T_S_CONTROL] + p * T[L.T_STRIDE] + L.PAD
    for row in range(T[L.T_ROWS]):
        bits = S[control + row]
        while bits != 0:
            cell = st.cell_at(T, lowest(bits) - 1, row)
            bits &= bits - 1
            word = st.cell_word(T, S, cell)
            if can_move(T, S, cell, st.height(word), st.cap(word)):
                return True
    return False


@rule()
def emit_captures(T: IntArray, S: IntArray, cell: int, out: IntArray, n: int) -> int:
    """Appends the captures of one stack to `out`, at `n`; returns the new count."""
    word = st.cell_word(T, S, cell)
    h, c, cells = st.height(word), st.cap(word), T[L.T_CELLS]
    for direction in range(2 * T[L.T_AXES]):
        first = first_block(T, S, cell, direction)
        near, far = capture_span(T, S, cell, direction, first, h, c)
        action = T[L.T_CAPTURE] + (direction * (T[L.T_MAX_DISTANCE] - 1) + near - 2) * cells + cell
        for _ in range(far - near + 1):
            out[n] = action
            action += cells
            n += 1
    return n


@rule()
def emit_stack(T: IntArray, S: IntArray, cell: int, out: IntArray, n: int) -> int:
    """Appends the moves and captures of one stack to `out`; returns the new count."""
    word = st.cell_word(T, S, cell)
    h, c, cells = st.height(word), st.cap(word), T[L.T_CELLS]
    longest = T[L.T_MAX_DISTANCE]
    for direction in range(2 * T[L.T_AXES]):
        first = first_block(T, S, cell, direction)
        action = T[L.T_MOVE] + (direction * longest + h - 1) * cells + cell
        for _ in range(first - h):
            out[n] = action
            action += cells
            n += 1
        near, far = capture_span(T, S, cell, direction, first, h, c)
        action = T[L.T_CAPTURE] + (direction * (longest - 1) + near - 2) * cells + cell
        for _ in range(far - near + 1):
            out[n] = action
            action += cells
            n += 1
    return n


@rule()
def emit_all(T: IntArray, S: IntArray, p: int, out: IntArray, n: int) -> int:
    """Appends the moves and captures of every stack `p` controls; returns the new count."""
    control = T[L.T_S_CONTROL] + p * T[L.T_STRIDE] + L.PAD
    for row in range(T[L.T_ROWS]):
        bits = S[control + row]
        while bits != 0:
            cell = st.cell_at(T, lowest(bits) - 1, row)
            bits &= bits - 1
            n = emit_stack(T, S, cell, out, n)
    return n


@rule()
def travel(T: IntArray, S: IntArray, start: int, direction: int, distance: int) -> int:
    """Moves the mover's stack, capturing from the stack on its way if any; returns where it lands.

    The stack may vanish or change hands on landing: the caller looks at the cell.
    """
    p = S[L.SEAT]
    word, ends = st.cell_word(T, S, start), S[T[L.T_S_ENDS] + start]
    h, c, top, bottom = st.height(word), st.cap(word), ends & 0xFFFF, ends >> 16
    st.lift(T, S, start)
    st.add_marker(T, S, start, p)
    for i in range(1, distance):
        cell = st.step(T, start, direction, i)
        between = st.cell_word(T, S, cell)
        if st.kind(between) == L.MARKER:
            if st.owner(between) == p:
                st.collapse(T, S, cell, p)
            else:
                st.remove_marker(T, S, cell)
                st.add_marker(T, S, cell, p)
        elif st.kind(between) == L.STACK:
            ring = st.pop_top(T, S, cell)
            S[T[L.T_S_BELOW] + bottom] = ring
            S[T[L.T_S_BELOW] + ring] = -1
            bottom = ring
            if c == h and st.ring_owner(T, ring) == p:
                c += 1
            h += 1
    landing = st.step(T, start, direction, distance)
    marked = st.kind(st.cell_word(T, S, landing)) == L.MARKER
    if marked:
        st.remove_marker(T, S, landing)
    st.drop(T, S, landing, top, bottom, h, c)
    if marked:
        st.eliminate_top(T, S, landing, 1, p)
    return landing
