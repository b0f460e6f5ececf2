"""Features of the heuristic: an integer for each feature and seat.

Compiled for every board. `X` holds the counts, [players, N] int32; `Z` is scratch of `SCRATCH`
words. Rows of the board are processed as bit masks where possible (layout.py, row words): lines of
sight, runs of markers, gaps in a border.

The unit of a feature normalises its count, so that a weight has about the same meaning on every
board:

    flat      the count itself
    rings     as many per 18 rings of a player
    cells     as many per 61 cells
    threshold per ring or cell that wins, times 18
    milli     thousandths
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ringrift_cli.game import layout as L
from ringrift_cli.game import movement, territory, victory
from ringrift_cli.game import state as st
from ringrift_cli.game.jit import lowest, popcount, rule
from ringrift_cli.game.topology import IntArray

# name, unit, what is counted for a seat
FEATURES = (
    ("stacks", "rings", "stacks it controls"),
    ("height", "rings", "rings in them"),
    ("caps", "rings", "rings of their caps"),
    ("thin", "rings", "of them, those higher than a cap of 1: one capture turns them over"),
    ("buried", "rings", "its rings on the board outside caps of its own"),
    ("hand", "rings", "rings in hand"),
    ("eliminated", "elimination", "eliminated rings credited to it"),
    ("territory", "territory", "cells collapsed to it"),
    ("markers", "cells", "its markers"),
    ("centre", "rings", "steps from the edge, over its stacks"),
    ("moves", "cells", "landings of plain moves of its stacks"),
    ("blocked", "rings", "stacks that can neither move nor capture"),
    ("captures", "rings", "captures of other players' stacks: stack and direction"),
    ("threatened", "rings", "its stacks that another player can capture"),
    ("overtakes", "rings", "stacks in sight that its cap suffices for, but it cannot land behind"),
    ("reach", "cells", "cells in sight of its stacks"),
    ("harvest", "cells", "its markers in sight of its stacks: passing over makes them territory"),
    ("exposed", "cells", "its markers in sight of other players' stacks, who can flip them"),
    ("pairs", "cells", "its markers next to each other along an axis"),
    ("triples", "cells", "the same of three"),
    ("gaps", "cells", "places for a line that lack one marker"),
    ("anchored", "cells", "its markers at territory or the edge of the board"),
    ("closing", "cells", "open cells where one more marker of it would close a passage"),
    ("closable", "cells", "most cells it could take after closing a single one"),
    ("enclosed", "cells", "cells it could take after closing them all"),
    ("caught", "rings", "stacks of others there"),
    ("endangered", "rings", "its stacks in what others would cut off in this way"),
    ("regions", "cells", "cells of disconnected regions that it could take"),
    ("near_elimination", "milli", "square of the share of the eliminated rings that win"),
    ("near_territory", "milli", "square of the share of the cells that win"),
    ("leader", "milli", "the greatest of these squares among the others"),
    ("last_standing", "milli", "others without placement, move or capture, and its streak"),
    ("forced", "flat", "stacks, none of which can move, and no ring in hand"),
    ("stranded", "flat", "alive without a stack and without a ring in hand"),
    ("recovery", "flat", "then: markers and buried rings to recover with, up to 3"),
    ("tempo", "flat", "it is its turn"),
    ("debt", "flat", "and it owes a ring, a cap or an extraction"),
    ("next_captures", "rings", "captures, counted on its own turn only"),
    ("next_threatened", "rings", "threatened, the same"),
    ("next_gaps", "cells", "gaps, the same"),
    ("next_closing", "cells", "closing, the same"),
    ("next_closable", "cells", "closable, the same"),
    ("next_caught", "rings", "caught, the same"),
    ("next_regions", "cells", "regions, the same"),
)
NAMES = tuple(name for name, _, _ in FEATURES)
N = len(FEATURES)
(
    STACKS, HEIGHT, CAPS, THIN, BURIED, HAND, ELIMINATED, TERRITORY, MARKERS, CENTRE, MOVES,
    BLOCKED, CAPTURES, THREATENED, OVERTAKES, REACH, HARVEST, EXPOSED, PAIRS, TRIPLES, GAPS,
    ANCHORED, CLOSING, CLOSABLE, ENCLOSED, CAUGHT, ENDANGERED, REGIONS, NEAR_ELIMINATION,
    NEAR_TERRITORY, LEADER, LAST_STANDING, FORCED, STRANDED, RECOVERY, TEMPO, DEBT, NEXT_CAPTURES,
    NEXT_THREATENED, NEXT_GAPS, NEXT_CLOSING, NEXT_CLOSABLE, NEXT_CAUGHT, NEXT_REGIONS,
) = range(N)  # fmt: skip

PLANE = 40  # words of a plane of row words in Z
Z_THREAT = 0  # stacks that someone can capture
Z_SEEN = PLANE  # [4 planes] cells in sight of each player's stacks
Z_GAPS = 5 * PLANE  # cells whose closing would part what is around them
Z_MOBILE = 6 * PLANE  # [4] stacks that can move or capture
SCRATCH = 6 * PLANE + 8


def units(T: IntArray) -> npt.NDArray[np.float64]:
    """Factor of each feature's count, [N]."""
    by_unit = {
        "flat": 1.0,
        "rings": 18 / T[L.T_RINGS],
        "cells": 61 / T[L.T_CELLS],
        "elimination": 18 / T[L.T_ELIMINATION],
        "territory": 31 / T[L.T_TERRITORY],
        "milli": 0.001,
    }
    return np.array([by_unit[unit] for _, unit, _ in FEATURES])


@rule()
def count(T: IntArray, S: IntArray, W: IntArray, Z: IntArray, X: IntArray) -> None:
    """Writes the features of all seats to `X`."""
    players = T[L.T_PLAYERS]
    for i in range(players * N):
        X[i] = 0
    for i in range(T[L.T_STRIDE]):
        Z[Z_THREAT + i] = 0
    for p in range(players):
        count_stacks(T, S, Z, X, p)
        count_sight(T, S, Z, p)
    for p in range(players):
        count_held(T, S, X, p)
        count_seen(T, S, Z, X, p)
        count_lines(T, S, X, p)
        if S[L.MARKERS + p] > 1:
            count_closing(T, S, W, Z, X, p)
    for border in range(players + 1):
        if territory.may_separate(S, border):
            count_regions(T, S, W, X, border)
    for p in range(players):
        count_prospects(T, S, Z, X, p)
    count_turn(S, X)


@rule()
def count_turn(S: IntArray, X: IntArray) -> None:
    """Features of the seat to move."""
    x = S[L.SEAT] * N
    X[x + TEMPO] = 1
    X[x + DEBT] = 1 if S[L.PENDING] != L.NOTHING else 0
    X[x + NEXT_CAPTURES] = X[x + CAPTURES]
    X[x + NEXT_THREATENED] = X[x + THREATENED]
    X[x + NEXT_GAPS] = X[x + GAPS]
    X[x + NEXT_CLOSING] = X[x + CLOSING]
    X[x + NEXT_CLOSABLE] = X[x + CLOSABLE]
    X[x + NEXT_CAUGHT] = X[x + CAUGHT]
    X[x + NEXT_REGIONS] = X[x + REGIONS]


@rule()
def count_held(T: IntArray, S: IntArray, X: IntArray, p: int) -> None:
    """Features of a seat from the row header."""
    x = p * N
    X[x + STACKS] = S[L.STACKS + p]
    X[x + BURIED] = S[L.RINGS + p] - X[x + CAPS]
    X[x + HAND] = S[L.HAND + p]
    X[x + ELIMINATED] = S[L.ELIMINATED + p]
    X[x + TERRITORY] = S[L.TERRITORY + p]
    X[x + MARKERS] = S[L.MARKERS + p]


@rule()
def count_stacks(T: IntArray, S: IntArray, Z: IntArray, X: IntArray, p: int) -> None:
    """Counts the stacks of a seat and marks in Z_THREAT what they can capture."""
    x = p * N
    control = T[L.T_S_CONTROL] + p * T[L.T_STRIDE] + L.PAD
    mobile = 0
    for row in range(T[L.T_ROWS]):
        bits = S[control + row]
        while bits != 0:
            cell = st.cell_at(T, lowest(bits) - 1, row)
            bits &= bits - 1
            word = st.cell_word(T, S, cell)
            h, c = st.height(word), st.cap(word)
            X[x + HEIGHT] += h
            X[x + CAPS] += c
            if c == 1 and h > 1:
                X[x + THIN] += 1
            if count_rays(T, S, Z, X, p, cell, h, c):
                mobile += 1
            else:
                X[x + BLOCKED] += 1
    Z[Z_MOBILE + p] = mobile


@rule()
def count_rays(
    T: IntArray, S: IntArray, Z: IntArray, X: IntArray, p: int, cell: int, h: int, c: int
) -> bool:
    """Scans all directions from a stack of height `h` and cap `c`; returns whether it is mobile."""
    x, free, edge = p * N, False, T[L.T_MAX_DISTANCE]
    for direction in range(2 * T[L.T_AXES]):
        reach = T[L.T_REACH + cell * 8 + direction]
        edge = min(edge, reach)
        first = movement.first_block(T, S, cell, direction)
        if first > h:
            X[x + MOVES] += first - h
            free = True
        if first > reach:
            continue
        target = st.step(T, cell, direction, first)
        word = st.cell_word(T, S, target)
        if st.kind(word) != L.STACK or st.cap(word) > c:
            continue
        near, far = movement.capture_span(T, S, cell, direction, first, h, c)
        if near <= far:
            free = True
        if st.owner(word) != p:
            if near <= far:
                X[x + CAPTURES] += 1
                Z[Z_THREAT + st.padded_row(T, target)] |= st.row_bit(T, target)
            else:
                X[x + OVERTAKES] += 1
    X[x + CENTRE] += edge
    return free


@rule()
def count_sight(T: IntArray, S: IntArray, Z: IntArray, p: int) -> None:
    """Fills the Z_SEEN plane of a seat: cells in sight of its stacks, up to obstacles."""
    rows = T[L.T_ROWS]
    control = T[L.T_S_CONTROL] + p * T[L.T_STRIDE] + L.PAD
    block = T[L.T_S_BLOCK] + L.PAD  # line words of axis 0 are row words
    seen = Z_SEEN + p * PLANE + L.PAD
    for row in range(rows):
        open_cells = S[block + row] ^ L.FULL
        own = S[control + row]
        Z[seen + row] = territory.fill_row((own << 1 | own >> 1) & open_cells, open_cells)
    for direction in range(2 * T[L.T_AXES]):
        dx, dy = T[L.T_DX + direction], T[L.T_DY + direction]
        if dy == 0:
            continue
        left, right = dx > 0, dx < 0
        row = 0 if dy > 0 else rows - 1
        ray = 0
        for _ in range(rows):
            ray &= S[block + row] ^ L.FULL
            Z[seen + row] |= ray
            ray = (ray | S[control + row]) << left >> right
            row += dy


@rule()
def count_seen(T: IntArray, S: IntArray, Z: IntArray, X: IntArray, p: int) -> None:
    """Counts cells in sight of a seat, and its markers in sight of others."""
    x, players = p * N, T[L.T_PLAYERS]
    seen = Z_SEEN + p * PLANE + L.PAD
    markers = T[L.T_S_MARKER] + p * T[L.T_STRIDE] + L.PAD
    control = T[L.T_S_CONTROL] + p * T[L.T_STRIDE] + L.PAD
    for row in range(T[L.T_ROWS]):
        own, others = S[markers + row], 0
        for q in range(players):
            if q != p:
                others |= Z[Z_SEEN + q * PLANE + L.PAD + row]
        X[x + REACH] += popcount(Z[seen + row])
        X[x + HARVEST] += popcount(own & Z[seen + row])
        X[x + EXPOSED] += popcount(own & others)
        X[x + THREATENED] += popcount(S[control + row] & Z[Z_THREAT + L.PAD + row])


@rule()
def count_lines(T: IntArray, S: IntArray, X: IntArray, p: int) -> None:
    """Counts pairs, triples, lines that lack one marker, and markers at a wall."""
    x, length = p * N, T[L.T_LINE]
    if S[L.MARKERS + p] == 0:
        return
    plane = T[L.T_S_MARKER] + p * T[L.T_STRIDE]
    walls = T[L.T_S_COLLAPSED]
    pairs, triples, gaps, anchored = 0, 0, 0, 0
    for i in range(L.PAD, L.PAD + T[L.T_ROWS]):
        beside = S[walls + i] << 1 | S[walls + i] >> 1
        beside |= territory.to_row_above(T, S[walls + i - 1])
        beside |= territory.to_row_below(T, S[walls + i + 1])
        anchored += popcount(S[plane + i] & beside)
    for axis in range(T[L.T_AXES]):
        dx, dy = T[L.T_DX + axis], T[L.T_DY + axis]
        for i in range(plane + L.PAD, plane + L.PAD + T[L.T_ROWS]):
            a, b, c = S[i], S[i + dy] >> dx, S[i + 2 * dy] >> 2 * dx
            pairs += popcount(a & b)
            triples += popcount(a & b & c)
            j = i - plane + walls
            wa, wb, wc = S[j], S[j + dy] >> dx, S[j + 2 * dy] >> 2 * dx
            if length == 3:
                lacking = (a & b & ~c & ~wc) | (a & c & ~b & ~wb) | (b & c & ~a & ~wa)
            else:
                d, wd = S[i + 3 * dy] >> 3 * dx, S[j + 3 * dy] >> 3 * dx
                lacking = (a & b & c & ~d & ~wd) | (a & b & d & ~c & ~wc)
                lacking |= (a & c & d & ~b & ~wb) | (b & c & d & ~a & ~wa)
            gaps += popcount(lacking & L.FULL)
    X[x + PAIRS] = pairs
    X[x + TRIPLES] = triples
    X[x + GAPS] = gaps
    X[x + ANCHORED] = anchored


@rule()
def passages(T: IntArray, W: IntArray, i: int) -> int:
    """Cells of a row of W_PASS whose closing would part the open cells around them.

    Going round such a cell, its open neighbours make more than one group. On a square board the
    neighbours are orthogonal, and an open cell at the corner joins two of them.
    """
    under, beside, over = W[L.W_PASS + i - 1], W[L.W_PASS + i], W[L.W_PASS + i + 1]
    east, west = beside >> 1, beside << 1
    if T[L.T_HEX]:  # the six neighbours in a circle; a group ends where a closed one follows
        ne, nw, sw, se = over, over << 1, under, under >> 1
        once, twice = east & ~ne, 0
        for end in (ne & ~nw, nw & ~west, west & ~sw, sw & ~se, se & ~east):
            twice |= once & end
            once |= end
    else:
        once, twice = east & ~(over >> 1 & over), 0
        for end in (
            over & ~(over << 1 & west),
            west & ~(under << 1 & under),
            under & ~(under >> 1 & east),
        ):
            twice |= once & end
            once |= end
    return twice & beside


@rule()
def count_closing(T: IntArray, S: IntArray, W: IntArray, Z: IntArray, X: IntArray, p: int) -> None:
    """Closes all passages in the border of a seat and evaluates the resulting parts."""
    x, rows = p * N, T[L.T_ROWS]
    territory.open_border(T, S, W, p + 1)
    closing, cells = 0, 0
    for row in range(rows):
        gaps = passages(T, W, L.PAD + row)
        Z[Z_GAPS + L.PAD + row] = gaps
        closing += popcount(gaps)
        cells += popcount(W[L.W_PASS + L.PAD + row])
    if closing == 0 and S[L.JOINED] >> (p + 1) & 1:
        return
    X[x + CLOSING] = closing
    for row in range(rows):
        W[L.W_REST + L.PAD + row] &= ~Z[Z_GAPS + L.PAD + row]
        W[L.W_PASS + L.PAD + row] = W[L.W_REST + L.PAD + row]
    for row in range(rows):
        i = L.PAD + row
        while W[L.W_REST + i] != 0:
            bits = W[L.W_REST + i]
            first, last = territory.flood(T, W, i, bits & -bits)
            weigh_part(T, S, W, Z, X, p, first, last, cells)


@rule()
def weigh_part(
    T: IntArray,
    S: IntArray,
    W: IntArray,
    Z: IntArray,
    X: IntArray,
    p: int,
    first: int,
    last: int,
    cells: int,
) -> None:
    """Counts one part, W_FOUND, that closed passages leave of `cells` open cells."""
    x, size, gaps = p * N, 0, 0
    for j in range(first, last + 1):
        size += popcount(W[L.W_FOUND + j])
        W[L.W_REST + j] &= ~W[L.W_FOUND + j]
    for j in range(max(first - 1, L.PAD), min(last + 2, L.PAD + T[L.T_ROWS])):
        gaps += popcount(territory.edge(T, W, j) & Z[Z_GAPS + j])
    inside, outside, caught = 0, 0, 0  # players who control a stack there; stacks of others
    own = found_stacks(T, S, W, p, first, last)
    for q in range(T[L.T_PLAYERS]):
        stacks = found_stacks(T, S, W, q, first, last)
        if stacks > 0:
            inside += 1
        if S[L.STACKS + q] > stacks:
            outside += 1
        if q != p:
            caught += stacks
            if 2 * size < cells:
                X[q * N + ENDANGERED] += stacks
    owners = territory.ring_owners(T, S)
    if inside < owners and own < S[L.STACKS + p]:
        X[x + ENCLOSED] += size
        X[x + CAUGHT] += caught
        if gaps == 1:
            X[x + CLOSABLE] = max(X[x + CLOSABLE], size)
    if gaps == 1 and outside < owners and own > 0:
        X[x + CLOSABLE] = max(X[x + CLOSABLE], cells - size)


@rule()
def found_stacks(T: IntArray, S: IntArray, W: IntArray, q: int, first: int, last: int) -> int:
    """Stacks of a seat in W_FOUND, whose padded rows are `first` to `last`."""
    control, stacks = T[L.T_S_CONTROL] + q * T[L.T_STRIDE], 0
    for j in range(first, last + 1):
        stacks += popcount(S[control + j] & W[L.W_FOUND + j])
    return stacks


@rule()
def count_regions(T: IntArray, S: IntArray, W: IntArray, X: IntArray, border: int) -> None:
    """Credits the disconnected regions of a border to all seats with a stack outside."""
    territory.open_border(T, S, W, border)
    for row in range(T[L.T_ROWS]):
        i = L.PAD + row
        while W[L.W_REST + i] != 0:
            bits = W[L.W_REST + i]
            first, last = territory.flood(T, W, i, bits & -bits)
            cells = 0
            for j in range(first, last + 1):
                cells += popcount(W[L.W_FOUND + j])
                W[L.W_REST + j] &= ~W[L.W_FOUND + j]
            if territory.is_cut_off(T, S, W, border):
                for q in range(T[L.T_PLAYERS]):
                    if found_stacks(T, S, W, q, first, last) < S[L.STACKS + q]:
                        X[q * N + REGIONS] += cells


@rule()
def squared_share(part: int, whole: int) -> int:
    """Square of a share, in thousandths."""
    share = part * 1000 // whole
    return share * share // 1000


@rule()
def count_prospects(T: IntArray, S: IntArray, Z: IntArray, X: IntArray, p: int) -> None:
    """Progress towards the three victories, of a seat and of the others."""
    x, players = p * N, T[L.T_PLAYERS]
    X[x + NEAR_ELIMINATION] = squared_share(S[L.ELIMINATED + p], T[L.T_ELIMINATION])
    X[x + NEAR_TERRITORY] = squared_share(S[L.TERRITORY + p], T[L.T_TERRITORY])
    active = S[L.HAND + p] + Z[Z_MOBILE + p] > 0
    leader, idle = 0, 0
    for q in range(players):
        if q == p:
            continue
        leader = max(leader, squared_share(S[L.ELIMINATED + q], T[L.T_ELIMINATION]))
        leader = max(leader, squared_share(S[L.TERRITORY + q], T[L.T_TERRITORY]))
        if S[L.HAND + q] + Z[Z_MOBILE + q] == 0:
            idle += 1
    X[x + LEADER] = leader
    if active:
        X[x + LAST_STANDING] = 1000 * idle // (players - 1)
        if S[L.HOLDER] == p:
            X[x + LAST_STANDING] += 333 * S[L.STREAK]
    elif S[L.STACKS + p] > 0:
        X[x + FORCED] = 1
    elif victory.is_alive(S, p):
        X[x + STRANDED] = 1
        X[x + RECOVERY] = min(3, S[L.MARKERS + p], S[L.RINGS + p])
