"""The course of a turn (rules section 3): what may be decided, and what a decision leads to.

A row always rests at a decision or at the end of the game: `apply` passes through every phase in
which there is nothing to decide.
"""

from __future__ import annotations

from ringrift_cli.game import layout as L
from ringrift_cli.game import lines, movement, placement, recovery, territory, victory
from ringrift_cli.game import state as st
from ringrift_cli.game.jit import lowest, rule
from ringrift_cli.game.topology import IntArray


@rule()
def start(T: IntArray, S: IntArray, pie: bool) -> None:
    """Makes `S` a new game at its first decision."""
    st.reset(T, S, pie)
    victory.begin_turn(T, S)


@rule()
def may_swap(S: IntArray) -> bool:
    """Section 11: at the start of seat 2's first turn, once."""
    return S[L.PIE] == L.PIE_ON and S[L.TURN] == 2 and S[L.SEAT] == 1


@rule()
def may_skip_placement(T: IntArray, S: IntArray, p: int) -> bool:
    return S[L.MOBILE] != 0 or recovery.may_recover(T, S, p)


@rule()
def emit_controlled(T: IntArray, S: IntArray, p: int, first: int, out: IntArray, n: int) -> int:
    """Appends `first` + cell for each stack `p` controls; returns the new count."""
    plane = T[L.T_S_CONTROL] + p * T[L.T_STRIDE] + L.PAD
    for row in range(T[L.T_ROWS]):
        bits = S[plane + row]
        while bits != 0:
            out[n] = first + st.cell_at(T, lowest(bits) - 1, row)
            n += 1
            bits &= bits - 1
    return n


@rule()
def emit_extractions(T: IntArray, S: IntArray, p: int, buried: bool, out: IntArray, n: int) -> int:
    """Appends the stacks that may pay an extraction; returns the new count."""
    for row in range(T[L.T_ROWS]):
        bits = placement.occupied(T, S, L.PAD + row)
        while bits != 0:
            cell = st.cell_at(T, lowest(bits) - 1, row)
            bits &= bits - 1
            if recovery.can_extract(T, S, cell, p, buried):
                out[n] = T[L.T_EXTRACT] + cell
                n += 1
    return n


@rule()
def legal_prices(T: IntArray, S: IntArray, p: int, out: IntArray) -> int:
    """The legal actions while something is pending."""
    pending = S[L.PENDING]
    if pending == L.LINE_CHOICE:
        return lines.emit_through(T, S, p, S[L.FOCUS], out, 0)
    if pending == L.EXTRACTION or pending == L.BURIED_EXTRACTION:
        return emit_extractions(T, S, p, pending == L.BURIED_EXTRACTION, out, 0)
    return emit_controlled(T, S, p, T[L.T_ELIMINATE], out, 0)


@rule()
def legal_placement(T: IntArray, S: IntArray, p: int, out: IntArray) -> int:
    n = placement.emit(T, S, p, out, 0)
    if may_skip_placement(T, S, p):
        out[n] = T[L.T_GLOBAL] + L.SKIP_PLACEMENT
        n += 1
    if may_swap(S):
        out[n] = T[L.T_GLOBAL] + L.SWAP
        n += 1
    return n


@rule()
def legal_movement(T: IntArray, S: IntArray, p: int, out: IntArray) -> int:
    if S[L.FOCUS] >= 0:
        return movement.emit_stack(T, S, S[L.FOCUS], out, 0)
    if S[L.STACKS + p] > 0:
        return movement.emit_all(T, S, p, out, 0)
    n = recovery.emit(T, S, p, out, 0)
    out[n] = T[L.T_GLOBAL] + L.SKIP_RECOVERY
    return n + 1


@rule()
def legal(T: IntArray, S: IntArray, W: IntArray, out: IntArray) -> int:
    """Writes the legal actions to `out`, [max legal], and returns how many; 0 only when over."""
    phase, p = S[L.PHASE], S[L.SEAT]
    if S[L.PENDING] != L.NOTHING:
        return legal_prices(T, S, p, out)
    if phase == L.PLACEMENT:
        return legal_placement(T, S, p, out)
    if phase == L.MOVEMENT:
        return legal_movement(T, S, p, out)
    if phase == L.CAPTURE or phase == L.CHAIN:
        n = movement.emit_captures(T, S, S[L.FOCUS], out, 0)
        if phase == L.CAPTURE:
            out[n] = T[L.T_GLOBAL] + L.SKIP_CAPTURE
            n += 1
        return n
    if phase == L.LINES:
        return lines.emit(T, S, p, out, 0)
    if phase == L.REGIONS:
        n = territory.emit(T, S, W, p, out, 0)
        out[n] = T[L.T_GLOBAL] + L.SKIP_TERRITORY
        return n + 1
    if phase == L.FORCED:
        return emit_controlled(T, S, p, T[L.T_FORCED], out, 0)
    return 0


@rule()
def has_decision(T: IntArray, S: IntArray, W: IntArray) -> bool:
    """Whether the mover has something to decide in the phase of the row."""
    phase, p = S[L.PHASE], S[L.SEAT]
    if S[L.PENDING] != L.NOTHING:
        return True
    if phase == L.PLACEMENT:
        if S[L.HAND + p] == 0:
            return False
        return may_skip_placement(T, S, p) or placement.has_placement(T, S, p)
    if phase == L.MOVEMENT:
        if S[L.FOCUS] >= 0 or S[L.MOBILE] != 0:
            return True
        return recovery.may_recover(T, S, p)
    if phase == L.LINES:
        return lines.has_line(T, S, p)
    if phase == L.REGIONS:
        return territory.has_region(T, S, W, p)
    if phase == L.FORCED:
        return S[L.CHANGED] == 0 and S[L.STACKS + p] > 0
    return True


@rule()
def advance(T: IntArray, S: IntArray, W: IntArray) -> None:
    """Passes through the phases that hold no decision."""
    while not has_decision(T, S, W):
        phase = S[L.PHASE]
        if phase == L.PLACEMENT:
            S[L.PHASE] = L.MOVEMENT
        elif phase == L.MOVEMENT:
            S[L.PHASE] = L.LINES
        elif phase == L.LINES:
            S[L.PHASE] = L.REGIONS
        elif phase == L.REGIONS:
            S[L.PHASE] = L.FORCED
        else:
            victory.end_turn(T, S)


@rule()
def after_travel(T: IntArray, S: IntArray, landing: int, captured: bool) -> None:
    """Goes on with the stack that landed, or to the lines."""
    word = st.cell_word(T, S, landing)
    goes_on = st.kind(word) == L.STACK and st.owner(word) == S[L.SEAT]
    if goes_on and movement.stack_can_capture(T, S, landing):
        S[L.FOCUS] = landing
        S[L.PHASE] = L.CHAIN if captured else L.CAPTURE
    else:
        S[L.FOCUS] = -1
        S[L.PHASE] = L.LINES


@rule()
def apply_line(T: IntArray, S: IntArray, axis: int, first: int, whole: bool) -> None:
    """Collapses a line, or the line length of it from `first` on, and sets the price."""
    p = S[L.SEAT]
    recovering = S[L.PENDING] == L.LINE_CHOICE
    S[L.PENDING] = L.NOTHING
    if whole:
        count = 1 + lines.run_ahead(T, S, p, first, axis)
        if recovering:
            S[L.PENDING] = L.EXTRACTION
        elif S[L.STACKS + p] > 0:
            S[L.PENDING] = L.RING_PRICE
    else:
        count = T[L.T_LINE]
    lines.collapse_run(T, S, p, first, axis, count)
    if recovering:
        S[L.FOCUS] = -1
        if not whole:
            S[L.PHASE] = L.LINES


@rule()
def apply_price(T: IntArray, S: IntArray, cell: int) -> None:
    """Pays what is pending from the stack on `cell`."""
    p, pending = S[L.SEAT], S[L.PENDING]
    S[L.PENDING] = L.NOTHING
    if pending == L.RING_PRICE:
        st.eliminate_top(T, S, cell, 1, p)
    elif pending == L.CAP_PRICE:
        st.eliminate_top(T, S, cell, st.cap(st.cell_word(T, S, cell)), p)
    else:
        st.extract(T, S, cell, p)
        if pending == L.EXTRACTION:
            S[L.PHASE] = L.LINES


@rule()
def apply_global(T: IntArray, S: IntArray, which: int) -> None:
    """A skip moves on to the next phase; a swap leaves everything to seat 2."""
    if which == L.SKIP_PLACEMENT:
        S[L.PHASE] = L.MOVEMENT
    elif which == L.SKIP_CAPTURE or which == L.SKIP_RECOVERY:
        S[L.FOCUS] = -1
        S[L.PHASE] = L.LINES
    elif which == L.SKIP_TERRITORY:
        S[L.PHASE] = L.FORCED
    else:
        S[L.PIE] = L.PIE_SWAPPED


@rule()
def apply_cell(T: IntArray, S: IntArray, W: IntArray, action: int) -> None:
    """Carries out an action that has a cell."""
    cells = T[L.T_CELLS]
    cell = action % cells
    longest = T[L.T_MAX_DISTANCE]
    if action < T[L.T_MOVE]:
        placement.place(T, S, cell, 1 + action // cells)
        S[L.FOCUS] = cell
        S[L.PHASE] = L.MOVEMENT
    elif action < T[L.T_CAPTURE]:
        plane = (action - T[L.T_MOVE]) // cells
        landing = movement.travel(T, S, cell, plane // longest, plane % longest + 1)
        after_travel(T, S, landing, False)
    elif action < T[L.T_RECOVER]:
        plane = (action - T[L.T_CAPTURE]) // cells
        distance = plane % (longest - 1) + 2
        landing = movement.travel(T, S, cell, plane // (longest - 1), distance)
        after_travel(T, S, landing, True)
    elif action < T[L.T_LINE_ALL]:
        plane = (action - T[L.T_RECOVER]) // cells
        directions = 2 * T[L.T_AXES]
        recovery.slide(T, S, cell, plane % directions, plane // directions)
    elif action < T[L.T_LINE_PART]:
        apply_line(T, S, (action - T[L.T_LINE_ALL]) // cells, cell, True)
    elif action < T[L.T_ELIMINATE]:
        apply_line(T, S, (action - T[L.T_LINE_PART]) // cells, cell, False)
    elif action < T[L.T_REGION]:
        apply_price(T, S, cell)
    elif action < T[L.T_FORCED]:
        territory.take(T, S, W, (action - T[L.T_REGION]) // cells, cell)
    else:
        st.eliminate_top(T, S, cell, st.cap(st.cell_word(T, S, cell)), S[L.SEAT])
    if action < T[L.T_LINE_ALL] or action >= T[L.T_REGION]:  # section 9 names no line and no price
        S[L.CHANGED] = 1
    S[L.LAST_ACTOR] = S[L.SEAT]


@rule()
def apply(T: IntArray, S: IntArray, W: IntArray, action: int) -> None:
    """Carries out a legal action and goes on to the next decision or the end of the game."""
    S[L.PLY] += 1
    if action >= T[L.T_GLOBAL]:
        apply_global(T, S, action - T[L.T_GLOBAL])
    else:
        apply_cell(T, S, W, action)
    advance(T, S, W)
