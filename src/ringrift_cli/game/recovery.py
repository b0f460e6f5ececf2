"""Recovery: a player without a stack slides a marker (rules section 6)."""

from __future__ import annotations

from ringrift_cli.game import layout as L
from ringrift_cli.game import state as st
from ringrift_cli.game.jit import lowest, rule
from ringrift_cli.game.lines import run_ahead
from ringrift_cli.game.topology import IntArray


@rule()
def slide_option(T: IntArray, S: IntArray, p: int, start: int, direction: int) -> int:
    """LINE_SLIDE, FALLBACK or STRIKE by where the marker would go; -1 if it cannot."""
    if T[L.T_REACH + start * 8 + direction] == 0:
        return -1
    end = st.step(T, start, direction, 1)
    what = st.kind(st.cell_word(T, S, end))
    if what == L.STACK:
        return L.STRIKE
    if what != L.EMPTY:
        return -1
    axes = T[L.T_AXES]
    for axis in range(axes):
        ahead = run_ahead(T, S, p, end, axis)
        behind = run_ahead(T, S, p, end, axis + axes)
        if direction == axis:  # the marker leaves the cell behind
            behind = 0
        elif direction == axis + axes:
            ahead = 0
        if 1 + ahead + behind >= T[L.T_LINE]:
            return L.LINE_SLIDE
    return L.FALLBACK


@rule()
def may_recover(T: IntArray, S: IntArray, p: int) -> bool:
    """Whether `p` has no stack, but a marker and a buried ring to pay with.

    Under version 1 of the rules a marker must be able to slide, too.
    """
    if S[L.STACKS + p] > 0 or S[L.MARKERS + p] == 0 or S[L.RINGS + p] == 0:
        return False
    if T[L.T_RULES] > 1:
        return True
    plane = T[L.T_S_MARKER] + p * T[L.T_STRIDE] + L.PAD
    for row in range(T[L.T_ROWS]):
        bits = S[plane + row]
        while bits != 0:
            cell = st.cell_at(T, lowest(bits) - 1, row)
            bits &= bits - 1
            for direction in range(2 * T[L.T_AXES]):
                if slide_option(T, S, p, cell, direction) >= 0:
                    return True
    return False


@rule()
def emit_slides(T: IntArray, S: IntArray, p: int, lines: bool, out: IntArray, n: int) -> int:
    """Appends the line slides of `p`, or all its other slides; returns the new count."""
    directions = 2 * T[L.T_AXES]
    plane = T[L.T_S_MARKER] + p * T[L.T_STRIDE] + L.PAD
    for row in range(T[L.T_ROWS]):
        bits = S[plane + row]
        while bits != 0:
            cell = st.cell_at(T, lowest(bits) - 1, row)
            bits &= bits - 1
            for direction in range(directions):
                option = slide_option(T, S, p, cell, direction)
                if option >= 0 and (option == L.LINE_SLIDE) == lines:
                    slide = option * directions + direction
                    out[n] = T[L.T_RECOVER] + slide * T[L.T_CELLS] + cell
                    n += 1
    return n


@rule()
def emit(T: IntArray, S: IntArray, p: int, out: IntArray, n: int) -> int:
    """Appends the recoveries of `p`: the line slides, or without any the others."""
    after = emit_slides(T, S, p, True, out, n)
    if after == n:
        after = emit_slides(T, S, p, False, out, n)
    return after


@rule()
def slide(T: IntArray, S: IntArray, start: int, direction: int, option: int) -> None:
    """The mover recovers; what it owes is left in PENDING."""
    p = S[L.SEAT]
    end = st.step(T, start, direction, 1)
    st.remove_marker(T, S, start)
    S[L.RECOVERED] = 1
    S[L.PENDING] = L.EXTRACTION
    if option == L.STRIKE:
        st.eliminate_top(T, S, end, 1, p)
        return
    st.add_marker(T, S, end, p)
    if option == L.LINE_SLIDE:
        S[L.PENDING] = L.LINE_CHOICE
        S[L.FOCUS] = end


@rule()
def can_extract(T: IntArray, S: IntArray, cell: int, p: int, buried: bool) -> bool:
    """Whether the stack on `cell` may pay: with any ring of `p`, or only with a buried one."""
    if buried:
        return st.has_buried(T, S, cell, p)
    return st.lowest_ring_of(T, S, cell, p) >= 0
