"""Lines of markers (rules section 7)."""

from __future__ import annotations

from ringrift_cli.game import layout as L
from ringrift_cli.game import state as st
from ringrift_cli.game.jit import lowest, rule
from ringrift_cli.game.topology import IntArray


@rule()
def marker_at(T: IntArray, S: IntArray, p: int, column: int, row: int) -> int:
    """1 if a marker of `p` stands there; columns and rows one off the board are allowed."""
    word = S[T[L.T_S_MARKER] + p * T[L.T_STRIDE] + L.PAD + row]
    return word >> (column + 1) & 1


@rule()
def has_line(T: IntArray, S: IntArray, p: int) -> bool:
    """Whether `p` has a line, by words: a run of `line length` markers along some axis."""
    length = T[L.T_LINE]
    if S[L.MARKERS + p] < length:
        return False
    plane = T[L.T_S_MARKER] + p * T[L.T_STRIDE]
    found = 0
    for axis in range(T[L.T_AXES]):
        dx, dy = T[L.T_DX + axis], T[L.T_DY + axis]  # dx is never negative along an axis
        for i in range(plane + L.PAD, plane + L.PAD + T[L.T_ROWS]):
            run = S[i] & S[i + dy] >> dx & S[i + 2 * dy] >> 2 * dx
            if length == 4:
                run &= S[i + 3 * dy] >> 3 * dx
            found |= run
    return found != 0


@rule()
def run_ahead(T: IntArray, S: IntArray, p: int, cell: int, direction: int) -> int:
    """Markers of `p` that follow each other from the cell next to `cell` on."""
    dx, dy = T[L.T_DX + direction], T[L.T_DY + direction]
    column, row = T[L.T_COLUMN + cell] + dx, T[L.T_ROW + cell] + dy
    run = 0
    while marker_at(T, S, p, column, row):
        run += 1
        column += dx
        row += dy
    return run


@rule()
def emit_line(
    T: IntArray, S: IntArray, p: int, first: int, axis: int, out: IntArray, n: int
) -> int:
    """Appends the ways to collapse the maximal run that begins at `first`, if it is a line."""
    cells, length = T[L.T_CELLS], T[L.T_LINE]
    run = 1 + run_ahead(T, S, p, first, axis)
    if run < length:
        return n
    out[n] = T[L.T_LINE_ALL] + axis * cells + first
    n += 1
    if run > length:
        for k in range(run - length + 1):
            out[n] = T[L.T_LINE_PART] + axis * cells + st.step(T, first, axis, k)
            n += 1
    return n


@rule()
def emit(T: IntArray, S: IntArray, p: int, out: IntArray, n: int) -> int:
    """Appends the choices of every line of `p`; returns the new count."""
    axes = T[L.T_AXES]
    plane = T[L.T_S_MARKER] + p * T[L.T_STRIDE] + L.PAD
    for axis in range(axes):
        for row in range(T[L.T_ROWS]):
            bits = S[plane + row]
            while bits != 0:
                cell = st.cell_at(T, lowest(bits) - 1, row)
                bits &= bits - 1
                if run_ahead(T, S, p, cell, axis + axes) == 0:
                    n = emit_line(T, S, p, cell, axis, out, n)
    return n


@rule()
def emit_through(T: IntArray, S: IntArray, p: int, cell: int, out: IntArray, n: int) -> int:
    """Appends the choices of the lines of `p` that contain `cell`; returns the new count."""
    axes = T[L.T_AXES]
    for axis in range(axes):
        back = run_ahead(T, S, p, cell, axis + axes)
        first = st.step(T, cell, axis + axes, back)
        n = emit_line(T, S, p, first, axis, out, n)
    return n


@rule()
def collapse_run(T: IntArray, S: IntArray, p: int, first: int, axis: int, count: int) -> None:
    """Turns `count` markers of `p` from `first` on into territory of `p`."""
    for k in range(count):
        st.collapse(T, S, st.step(T, first, axis, k), p)
