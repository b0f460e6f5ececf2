"""Input features of the network: planes of the board and scalars, relative to the mover.

Relative seat r is seat (mover + r) % players. Planes are `T_ROWS` x `T_ROWS` (rows, columns); cells
outside a hexagonal board are 0.

Planes, uint8, channels last:

    each relative seat (10)   controls a stack; has a marker; has territory; owns the ring 1, 2, 3,
                              4, 5 below the top; owns the ring at the bottom; rings in the stack
    shared (13)               on the board; height 1, 2, 3, 4, 5+; height; cap 1, 2, 3, 4+; cap;
                              the cell of FOCUS

Scalars, float32:

    each relative seat (13)   rings in hand, eliminated, territory, rings on the board, stacks,
                              markers (as shares of what there is or what wins); alive; first of
                              the round; recorded in it; active in it; holds the streak; its length
                              (of the 3 that win; more is the same); was the last to act
    shared (21 + players)     phase (7), what is owed (6), CHANGED, RECOVERED, MOBILE, pie rule (3),
                              a swap may still come, turn, absolute seat of the mover

Rings more than 5 below the top are encoded only by counts and by the ring at the bottom. Counts of
rings are capped at 255. Not encoded: the ply, the turns on which players lost their last ring (they
rank the losers), and cached values of the row.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ringrift_cli.game import layout as L
from ringrift_cli.game import state as st
from ringrift_cli.game import victory
from ringrift_cli.game.jit import njit, pointer, rule
from ringrift_cli.game.playout import spread
from ringrift_cli.game.topology import IntArray

ByteArray = npt.NDArray[np.uint8]
SingleArray = npt.NDArray[np.float32]

FEATURES_VERSION = 1  # incremented when planes or scalars of a row change

DEPTHS = 5  # rings below the top with a plane each

# planes of a relative seat
CONTROL = 0
MARK = 1
LAND = 2
RING = 3  # + depth below the top - 1
BOTTOM = 8
COUNT = 9
SEAT_PLANES = 10
# shared planes, after those of all seats
BOARD = 0
HEIGHT = 1  # + min(height, 5) - 1
HEIGHT_COUNT = 6
CAP = 7  # + min(cap, 4) - 1
CAP_COUNT = 11
FOCUSED = 12
SHARED_PLANES = 13

# scalars of a relative seat
IN_HAND = 0
GONE = 1
HELD = 2
ON_BOARD = 3
STACK_SHARE = 4
MARKER_SHARE = 5
ALIVE = 6
BEGAN = 7
RECORDED = 8
ACTED = 9
HOLDS = 10
STREAK_LENGTH = 11
ACTED_LAST = 12
SEAT_SCALARS = 13
# shared scalars, after those of all seats
PHASES = 0  # 7; none if the game is over
OWED = 7  # 6
HAS_CHANGED = 13
HAS_RECOVERED = 14
IS_MOBILE = 15
PIE_STATE = 16  # 3
SWAP_OPEN = 19
TURNS = 20
MOVER = 21
SHARED_SCALARS = 21  # and one for each seat

COUNT_SCALE = 0.125  # scale of ring counts in the network
MIN_BLOCK = 16  # rows per thread


def plane_count(players: int) -> int:
    """Number of planes for `players` players."""
    return SEAT_PLANES * players + SHARED_PLANES


def global_count(players: int) -> int:
    """Number of scalars for `players` players."""
    return SEAT_SCALARS * players + SHARED_SCALARS + players


def plane_scales(players: int) -> SingleArray:
    """Scale of each plane in the network, [C]: about 1 for ring counts, 1 for bits."""
    scales = np.ones(plane_count(players), np.float32)
    scales[COUNT : SEAT_PLANES * players : SEAT_PLANES] = COUNT_SCALE
    shared = SEAT_PLANES * players
    scales[shared + HEIGHT_COUNT] = scales[shared + CAP_COUNT] = COUNT_SCALE
    return scales


def encode_all(T: IntArray, rows: IntArray) -> tuple[ByteArray, SingleArray]:
    """Planes, [N, W, W, C], and scalars, [N, K], of game rows, [N, row size], on all cores."""
    return encode_padded(T, rows, len(rows))


def encode_padded(
    T: IntArray, rows: IntArray, count: int, threads: int | None = None
) -> tuple[ByteArray, SingleArray]:
    """As `encode_all`, padded with zeros to `count`; on `threads` (default all cores)."""
    players, width = int(T[L.T_PLAYERS]), int(T[L.T_ROWS])
    planes = np.zeros((count, width, width, plane_count(players)), np.uint8)
    scalars = np.zeros((count, global_count(players)), np.float32)
    spread(
        lambda a, b: _encode(T, rows[a:b], planes[a:b], scalars[a:b]),
        len(rows),
        threads,
        smallest=MIN_BLOCK,
    )
    return planes, scalars


# ---- compiled -----------------------------------------------------------------------------------


@njit()
def _encode(T: IntArray, rows: IntArray, planes: ByteArray, scalars: SingleArray) -> None:
    for i in range(len(rows)):
        encode_planes(pointer(T), pointer(rows[i]), planes[i])
        encode_scalars(pointer(T), pointer(rows[i]), scalars[i])


@rule()
def relative(T: IntArray, S: IntArray, p: int) -> int:
    """The relative seat of a player."""
    r = p - S[L.SEAT]
    return r if r >= 0 else r + T[L.T_PLAYERS]


@rule()
def encode_planes(T: IntArray, S: IntArray, planes: ByteArray) -> None:
    """Writes the planes of a row to a zeroed array, [W, W, C]."""
    for cell in range(T[L.T_CELLS]):
        encode_cell(T, S, cell, planes)


@rule()
def encode_cell(T: IntArray, S: IntArray, cell: int, planes: ByteArray) -> None:
    """Writes the planes of one cell of a row to a zeroed array, [W, W, C]."""
    shared = SEAT_PLANES * T[L.T_PLAYERS]
    at = planes[T[L.T_ROW + cell], T[L.T_COLUMN + cell]]
    at[shared + BOARD] = 1
    if cell == S[L.FOCUS]:
        at[shared + FOCUSED] = 1
    word = st.cell_word(T, S, cell)
    if word == 0:
        return
    what, own = st.kind(word), relative(T, S, st.owner(word)) * SEAT_PLANES
    if what == L.STACK:
        at[own + CONTROL] = 1
        encode_stack(T, S, cell, word, at)
    elif what == L.MARKER:
        at[own + MARK] = 1
    else:
        at[own + LAND] = 1


@rule()
def encode_stack(T: IntArray, S: IntArray, cell: int, word: int, at: ByteArray) -> None:
    """Writes the stack planes of a cell, [C]."""
    shared = SEAT_PLANES * T[L.T_PLAYERS]
    height, cap = st.height(word), st.cap(word)
    at[shared + HEIGHT + min(height, 5) - 1] = 1
    at[shared + HEIGHT_COUNT] = min(height, 255)
    at[shared + CAP + min(cap, 4) - 1] = 1
    at[shared + CAP_COUNT] = min(cap, 255)
    depth, ring, own = 0, st.top_ring(T, S, cell), 0
    while ring >= 0:
        own = relative(T, S, st.ring_owner(T, ring)) * SEAT_PLANES
        if 1 <= depth <= DEPTHS:
            at[own + RING + depth - 1] = 1
        at[own + COUNT] = min(at[own + COUNT] + 1, 255)
        depth += 1
        ring = st.below(T, S, ring)
    at[own + BOTTOM] = 1


@rule()
def encode_scalars(T: IntArray, S: IntArray, scalars: SingleArray) -> None:
    """Writes the scalars of a row to a zeroed array, [K]."""
    players = T[L.T_PLAYERS]
    for p in range(players):
        encode_seat(T, S, p, scalars[relative(T, S, p) * SEAT_SCALARS :])
    at = players * SEAT_SCALARS
    if S[L.PHASE] != L.OVER:
        scalars[at + PHASES + S[L.PHASE]] = 1
    scalars[at + OWED + S[L.PENDING]] = 1
    scalars[at + HAS_CHANGED] = S[L.CHANGED]
    scalars[at + HAS_RECOVERED] = S[L.RECOVERED]
    scalars[at + IS_MOBILE] = S[L.MOBILE]
    scalars[at + PIE_STATE + S[L.PIE]] = 1
    if S[L.PIE] == L.PIE_ON and S[L.TURN] <= 2:
        scalars[at + SWAP_OPEN] = 1
    scalars[at + TURNS] = S[L.TURN] / T[L.T_CELLS]
    scalars[at + MOVER + S[L.SEAT]] = 1


@rule()
def encode_seat(T: IntArray, S: IntArray, p: int, own: SingleArray) -> None:
    """Writes the scalars of one player to the start of `own`."""
    own[IN_HAND] = S[L.HAND + p] / T[L.T_RINGS]
    own[GONE] = S[L.ELIMINATED + p] / T[L.T_ELIMINATION]
    own[HELD] = S[L.TERRITORY + p] / T[L.T_TERRITORY]
    own[ON_BOARD] = S[L.RINGS + p] / T[L.T_RINGS]
    own[STACK_SHARE] = S[L.STACKS + p] / T[L.T_CELLS]
    own[MARKER_SHARE] = S[L.MARKERS + p] / T[L.T_CELLS]
    own[ALIVE] = victory.is_alive(S, p)
    own[BEGAN] = S[L.FIRST] == p
    own[RECORDED] = S[L.SEEN] >> p & 1
    own[ACTED] = S[L.ACTIVE] >> p & 1
    if S[L.HOLDER] == p:
        own[HOLDS] = 1
        own[STREAK_LENGTH] = min(S[L.STREAK], 3) / 3
    own[ACTED_LAST] = S[L.LAST_ACTOR] == p
