"""Disconnected regions (rules section 8).

A border is 0 for none (only collapsed cells separate) or 1 + the player whose markers separate. A
region is named by its border and its lowest cell; a set of cells that several borders cut off goes
by the lowest of them.

Looking for regions is a flood fill for each border, so the row remembers in JOINED which borders
are known to cut nothing off. A cell that becomes a wall keeps the rest in one piece if the open
cells around it touch each other without it, and one that opens if it touches an open cell: eight
neighbours and a table tell (state.wall_up, state.wall_down). Only where they cannot, the flood is
asked, and its answer remembered.
"""

from __future__ import annotations

from ringrift_cli.game import layout as L
from ringrift_cli.game import state as st
from ringrift_cli.game.jit import lowest, njit, rule
from ringrift_cli.game.placement import marked, occupied
from ringrift_cli.game.topology import IntArray


@rule()
def barrier(T: IntArray, S: IntArray, border: int, i: int) -> int:
    """Row word of the cells that separate, for a padded row; bits off the board are set."""
    bits = S[T[L.T_S_COLLAPSED] + i]
    if border > 0:
        bits |= S[T[L.T_S_MARKER] + (border - 1) * T[L.T_STRIDE] + i]
    return bits


@njit()
def fill_row(seeds: int, mask: int) -> int:
    """The runs of `mask` that contain a seed. Upward by carry, downward by doubling."""
    full = ((mask + seeds) ^ mask | seeds) & mask
    full |= mask & full >> 1
    mask &= mask >> 1
    full |= mask & full >> 2
    mask &= mask >> 2
    full |= mask & full >> 4
    mask &= mask >> 4
    full |= mask & full >> 8
    mask &= mask >> 8
    return full | mask & full >> 16


@rule()
def to_row_above(T: IntArray, bits: int) -> int:
    """Cells of the next higher row that touch these."""
    return bits | bits >> 1 if T[L.T_HEX] else bits


@rule()
def to_row_below(T: IntArray, bits: int) -> int:
    """Cells of the next lower row that touch these."""
    return bits | bits << 1 if T[L.T_HEX] else bits


@rule()
def grow_row(W: IntArray, i: int, touched: int) -> bool:
    """Adds the runs that `touched` reaches in row `i` of the component; whether there are any."""
    fresh = touched & W[L.W_PASS + i] & ~W[L.W_FOUND + i]
    if fresh == 0:
        return False
    W[L.W_FOUND + i] |= fill_row(fresh, W[L.W_PASS + i])
    return True


@rule()
def flood(T: IntArray, W: IntArray, seed_row: int, seed_bit: int) -> tuple[int, int]:
    """Fills W_FOUND with the component of W_PASS that holds the seed (a padded row, one bit).

    Returns its first and last padded row.
    """
    for i in range(T[L.T_STRIDE]):
        W[L.W_FOUND + i] = 0
    W[L.W_FOUND + seed_row] = fill_row(seed_bit, W[L.W_PASS + seed_row])
    first, last = seed_row, seed_row
    growing = True
    while growing:
        growing = False
        i = first + 1
        while i <= last + 1:
            if grow_row(W, i, to_row_above(T, W[L.W_FOUND + i - 1])):
                growing = True
                last = max(last, i)
            i += 1
        i = last - 1
        while i >= first - 1:
            if grow_row(W, i, to_row_below(T, W[L.W_FOUND + i + 1])):
                growing = True
                first = min(first, i)
            i -= 1
    return first, last


@rule()
def open_border(T: IntArray, S: IntArray, W: IntArray, border: int) -> None:
    """Fills W_PASS and W_REST for a border."""
    for i in range(T[L.T_STRIDE]):
        passable = ~barrier(T, S, border, i) & T[L.T_ROW_MASK + i]
        W[L.W_PASS + i] = passable
        W[L.W_REST + i] = passable


@rule()
def controllers(T: IntArray, S: IntArray, W: IntArray) -> int:
    """How many players control a stack in W_FOUND."""
    count = 0
    for p in range(T[L.T_PLAYERS]):
        plane = T[L.T_S_CONTROL] + p * T[L.T_STRIDE]
        for i in range(L.PAD, L.PAD + T[L.T_ROWS]):
            if S[plane + i] & W[L.W_FOUND + i]:
                count += 1
                break
    return count


@rule()
def ring_owners(T: IntArray, S: IntArray) -> int:
    """How many players have a ring on the board."""
    count = 0
    for p in range(T[L.T_PLAYERS]):
        if S[L.RINGS + p] > 0:
            count += 1
    return count


@rule()
def pays_outside(T: IntArray, S: IntArray, W: IntArray, p: int) -> bool:
    """Whether `p` has outside W_FOUND what entitles it to the region."""
    own = T[L.T_S_CONTROL] + p * T[L.T_STRIDE]
    for row in range(T[L.T_ROWS]):
        i = L.PAD + row
        if S[L.RECOVERED] == 0:
            if S[own + i] & ~W[L.W_FOUND + i]:
                return True
            continue
        bits = occupied(T, S, i) & ~W[L.W_FOUND + i]
        while bits != 0:
            if st.has_buried(T, S, st.cell_at(T, lowest(bits) - 1, row), p):
                return True
            bits &= bits - 1
    return False


@rule()
def is_cut_off(T: IntArray, S: IntArray, W: IntArray, border: int) -> bool:
    """Whether the component W_FOUND of this border is a disconnected region."""
    inside = controllers(T, S, W)
    return inside < ring_owners(T, S) and (border > 0 or inside == 1)


@rule()
def is_component_of(T: IntArray, S: IntArray, W: IntArray, border: int) -> bool:
    """Whether the cells of W_FOUND are a component under another border too."""
    if border > 0 and S[L.MARKERS + border - 1] == 0:
        return False
    for i in range(L.PAD, L.PAD + T[L.T_ROWS]):
        walls = barrier(T, S, border, i)
        if W[L.W_FOUND + i] & walls or edge(T, W, i) & ~walls & T[L.T_ROW_MASK + i]:
            return False
    return True


@rule()
def edge(T: IntArray, W: IntArray, i: int) -> int:
    """Cells of a padded row that touch W_FOUND from outside."""
    found = W[L.W_FOUND + i]
    touching = found << 1 | found >> 1
    touching |= to_row_above(T, W[L.W_FOUND + i - 1]) | to_row_below(T, W[L.W_FOUND + i + 1])
    return touching & ~found


@rule()
def is_known(T: IntArray, S: IntArray, W: IntArray, border: int) -> bool:
    """Whether a lower border names the same region."""
    for lower in range(border):
        if is_component_of(T, S, W, lower) and is_cut_off(T, S, W, lower):
            return True
    return False


@rule()
def may_separate(S: IntArray, border: int) -> bool:
    """Whether a border may cut something off; one without markers is no border."""
    if S[L.JOINED] >> border & 1:
        return False
    return border == 0 or S[L.MARKERS + border - 1] > 0


@rule()
def may_take(T: IntArray, S: IntArray, W: IntArray, p: int, border: int) -> bool:
    """Whether W_FOUND, a component of the border, is a region that `p` may process."""
    return pays_outside(T, S, W, p) and is_cut_off(T, S, W, border)


@rule()
def emit_border(
    T: IntArray, S: IntArray, W: IntArray, p: int, border: int, out: IntArray, n: int
) -> int:
    """Appends the regions of one border that no lower border names; returns the new count."""
    open_border(T, S, W, border)
    for row in range(T[L.T_ROWS]):
        i = L.PAD + row
        while W[L.W_REST + i] != 0:
            bits = W[L.W_REST + i]
            first, last = flood(T, W, i, bits & -bits)
            for j in range(first, last + 1):
                W[L.W_REST + j] &= ~W[L.W_FOUND + j]
            if may_take(T, S, W, p, border) and not is_known(T, S, W, border):
                cell = st.cell_at(T, lowest(bits) - 1, row)
                out[n] = T[L.T_REGION] + border * T[L.T_CELLS] + cell
                n += 1
    return n


@rule()
def emit(T: IntArray, S: IntArray, W: IntArray, p: int, out: IntArray, n: int) -> int:
    """Appends the regions `p` may process to `out`; returns the new count."""
    for border in range(T[L.T_PLAYERS] + 1):
        if may_separate(S, border):
            n = emit_border(T, S, W, p, border, out, n)
    return n


@rule()
def border_has_region(T: IntArray, S: IntArray, W: IntArray, p: int, border: int) -> bool:
    """Whether `p` may process a region of one border; notes if the border cuts nothing off."""
    open_border(T, S, W, border)
    components = 0
    for row in range(T[L.T_ROWS]):
        i = L.PAD + row
        while W[L.W_REST + i] != 0:
            bits = W[L.W_REST + i]
            first, last = flood(T, W, i, bits & -bits)
            for j in range(first, last + 1):
                W[L.W_REST + j] &= ~W[L.W_FOUND + j]
            components += 1
            if may_take(T, S, W, p, border):
                return True
    if components <= 1:
        S[L.JOINED] |= 1 << border
    return False


@rule()
def has_region(T: IntArray, S: IntArray, W: IntArray, p: int) -> bool:
    """Whether `p` may process a region."""
    if S[L.RINGS + p] == 0 or (S[L.RECOVERED] == 0 and S[L.STACKS + p] == 0):
        return False
    for border in range(T[L.T_PLAYERS] + 1):
        if may_separate(S, border) and border_has_region(T, S, W, p, border):
            return True
    return False


@rule()
def find_region(T: IntArray, S: IntArray, W: IntArray, border: int, cell: int) -> None:
    """Fills W_FOUND with the region that an action names."""
    open_border(T, S, W, border)
    flood(T, W, st.padded_row(T, cell), st.row_bit(T, cell))


@rule()
def find_border(T: IntArray, S: IntArray, W: IntArray) -> None:
    """Fills W_BORDER with the markers that fall with the region W_FOUND."""
    for i in range(T[L.T_STRIDE]):
        W[L.W_BORDER + i] = 0
    first, last = L.PAD, L.PAD + T[L.T_ROWS]
    for i in range(first, last):
        W[L.W_BORDER + i] = edge(T, W, i) & marked(T, S, i)
    growing = T[L.T_GROWS] != 0
    while growing:
        growing = False
        for i in range(first, last):
            near = W[L.W_BORDER + i - 1] | W[L.W_BORDER + i] | W[L.W_BORDER + i + 1]
            near |= near << 1 | near >> 1
            fresh = near & marked(T, S, i) & ~W[L.W_FOUND + i] & ~W[L.W_BORDER + i]
            if fresh != 0:
                W[L.W_BORDER + i] |= fresh
                growing = True


@rule()
def take(T: IntArray, S: IntArray, W: IntArray, border: int, cell: int) -> None:
    """The mover takes a region; what it owes is left in PENDING."""
    p = S[L.SEAT]
    find_region(T, S, W, border, cell)
    find_border(T, S, W)
    for row in range(T[L.T_ROWS]):
        bits = W[L.W_FOUND + L.PAD + row] | W[L.W_BORDER + L.PAD + row]
        while bits != 0:
            at = st.cell_at(T, lowest(bits) - 1, row)
            bits &= bits - 1
            what = st.kind(st.cell_word(T, S, at))
            if what == L.STACK:
                ring = st.top_ring(T, S, at)
                st.lift(T, S, at)
                while ring >= 0:
                    st.credit(T, S, ring, p)
                    ring = st.below(T, S, ring)
            st.collapse(T, S, at, p)
    S[L.PENDING] = L.BURIED_EXTRACTION if S[L.RECOVERED] else L.CAP_PRICE
