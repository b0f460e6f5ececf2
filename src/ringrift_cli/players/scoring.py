"""Heuristic scores of legal actions, for batches of positions, on all cores.

The score of an action is the mover's advantage in the resulting position: the weighted sum of the
mover's features minus the mean of the others' sums.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ringrift_cli.game import layout as L
from ringrift_cli.game import state as st
from ringrift_cli.game import turn
from ringrift_cli.game.jit import njit, pointer, product, rule, wide
from ringrift_cli.game.playout import BoolArray, LongArray, Seeds, draw, spread
from ringrift_cli.game.topology import IntArray
from ringrift_cli.players.features import SCRATCH, N, count

FloatArray = npt.NDArray[np.float64]

MIN_BLOCK = 2  # rows per thread; a row costs far more than its dispatch
WON = 1e6  # the sum of a seat that has won


@rule()
def weigh(
    T: IntArray,
    S: IntArray,
    W: IntArray,
    Z: IntArray,
    X: IntArray,
    weights: FloatArray,
    sums: FloatArray,
) -> None:
    """Writes the weighted sum of each seat to `sums`, [players]."""
    players = T[L.T_PLAYERS]
    if S[L.PHASE] == L.OVER:
        for p in range(players):
            sums[p] = WON if S[L.WINNER] == p else 0.0
        return
    count(T, S, W, Z, X)
    for p in range(players):
        total = 0.0
        for f in range(N):
            total += product(weights[f], X[p * N + f])
        sums[p] = total


@rule()
def advantage(players: int, sums: FloatArray, p: int) -> float:
    """The sum of a seat minus the mean of the others'."""
    others = 0.0
    for q in range(players):
        if q != p:
            others += sums[q]
    return sums[p] - others / (players - 1)


@rule()
def in_turn(row: IntArray, p: int, number: int) -> bool:
    """Whether turn `number` of seat `p` is unfinished."""
    return row[L.PHASE] != L.OVER and row[L.SEAT] == p and row[L.TURN] == number


@rule()
def complete(
    T: IntArray,
    S: IntArray,
    R: IntArray,
    W: IntArray,
    Z: IntArray,
    X: IntArray,
    out: IntArray,
    weights: FloatArray,
    sums: FloatArray,
) -> float:
    """Plays the mover's turn in `S` to its end greedily; returns the final advantage.

    `R` is scratch for a row, `out` for the legal actions. Writes the final sums to `sums`.
    """
    players, p, number = T[L.T_PLAYERS], S[L.SEAT], S[L.TURN]
    best = -math.inf
    while in_turn(S, p, number):
        n = turn.legal(T, S, W, out)
        best, chosen = -math.inf, out[0]
        for k in range(n):
            st.copy(T[L.T_ROW_SIZE], S, R)
            turn.apply(T, R, W, out[k])
            weigh(T, R, W, Z, X, weights, sums)
            score = advantage(players, sums, p)
            if score > best:
                best, chosen = score, out[k]
        turn.apply(T, S, W, chosen)
    weigh(T, S, W, Z, X, weights, sums)
    return best


@rule()
def keep_sums(players: int, now: FloatArray, sums: FloatArray) -> None:
    for q in range(players):
        sums[q] = now[q]


@rule()
def score_row(
    T: IntArray,
    start: IntArray,
    R: IntArray,
    R2: IntArray,
    W: IntArray,
    Z: IntArray,
    X: IntArray,
    out: IntArray,
    actions: IntArray,
    weights: FloatArray,
    width: int,
    now: FloatArray,
    waiting: BoolArray,
    scores: FloatArray,
    sums: FloatArray,
) -> None:
    """Scores the actions of one position; see `score_all`."""
    size, players = T[L.T_ROW_SIZE], T[L.T_PLAYERS]
    p, number, best = start[L.SEAT], start[L.TURN], -math.inf
    for k in range(len(actions)):
        st.copy(size, start, R)
        turn.apply(T, R, W, wide(actions[k]))
        weigh(T, R, W, Z, X, weights, now)
        scores[k] = advantage(players, now, p)
        waiting[k] = width > 0 and in_turn(R, p, number)
        if not waiting[k] and scores[k] > best:
            best = scores[k]
            keep_sums(players, now, sums)
    for _ in range(width):
        chosen = -1
        for k in range(len(actions)):
            if waiting[k] and (chosen < 0 or scores[k] > scores[chosen]):
                chosen = k
        if chosen < 0:
            break
        waiting[chosen] = False
        st.copy(size, start, R)
        turn.apply(T, R, W, wide(actions[chosen]))
        scores[chosen] = complete(T, R, R2, W, Z, X, out, weights, now)
        if scores[chosen] > best:
            best = scores[chosen]
            keep_sums(players, now, sums)
    for k in range(len(actions)):
        if waiting[k]:
            scores[k] = -math.inf


@njit()
def _score(
    T: IntArray,
    rows: IntArray,
    actions: IntArray,
    offsets: LongArray,
    weights: FloatArray,
    which: LongArray,
    width: int,
    scores: FloatArray,
    sums: FloatArray,
) -> None:
    row, room = np.empty(T[L.T_ROW_SIZE], np.int32), np.empty(T[L.T_ROW_SIZE], np.int32)
    work, scratch = np.empty(L.WORK, np.int32), np.empty(SCRATCH, np.int32)
    counts, out = np.empty(L.MAX_PLAYERS * N, np.int32), np.empty(T[L.T_MAX_LEGAL], np.int32)
    now, waiting = np.empty(L.MAX_PLAYERS, np.float64), np.empty(T[L.T_MAX_LEGAL], np.bool_)
    for i in range(len(rows)):
        score_row(
            pointer(T),
            pointer(rows[i]),
            pointer(row),
            pointer(room),
            pointer(work),
            pointer(scratch),
            pointer(counts),
            pointer(out),
            actions[offsets[i] : offsets[i + 1]],
            weights[which[i]],
            width,
            now,
            waiting,
            scores[offsets[i] : offsets[i + 1]],
            sums[i],
        )


@rule()
def pick(
    scores: FloatArray, first: int, end: int, seeds: Seeds, i: int, noise: float, blunder: float
) -> int:
    """The index of the action to play, of `scores[first:end]`; see `pick_all`."""
    unit = 1 << 30
    if blunder > 0 and draw(seeds, i, unit) < blunder * unit:
        return first + int(draw(seeds, i, end - first))
    best, ties, chosen = -math.inf, 0, first
    for k in range(first, end):
        score = scores[k]
        if noise > 0:
            u = (draw(seeds, i, unit) + 0.5) / unit
            score += product(noise, math.log(u / (1 - u)))
        if score > best:
            best, ties, chosen = score, 1, k
        elif score == best:
            ties += 1
            if draw(seeds, i, ties) == 0:
                chosen = k
    return chosen


@njit()
def _pick(
    scores: FloatArray,
    offsets: LongArray,
    seeds: Seeds,
    noise: FloatArray,
    blunder: FloatArray,
    chosen: LongArray,
) -> None:
    for i in range(len(chosen)):
        chosen[i] = pick(scores, offsets[i], offsets[i + 1], seeds, i, noise[i], blunder[i])


@njit()
def _count(T: IntArray, rows: IntArray, counts: IntArray) -> None:
    work, scratch = np.empty(L.WORK, np.int32), np.empty(SCRATCH, np.int32)
    for i in range(len(rows)):
        count(pointer(T), pointer(rows[i]), pointer(work), pointer(scratch), pointer(counts[i]))


def score_all(
    T: IntArray,
    rows: IntArray,
    actions: IntArray,
    offsets: LongArray,
    weights: FloatArray,
    which: LongArray,
    width: int = 0,
) -> tuple[FloatArray, FloatArray]:
    """Scores of the actions, [M], and sums by seat after the best one of each row, [N, players].

    Row i has the legal actions `actions[offsets[i] : offsets[i + 1]]` and uses `weights[which[i]]`,
    of [K, features], units included. With `width` above 0, the best `width` actions that leave the
    turn unfinished are scored at its end, the others as -inf.
    """
    scores = np.empty(len(actions))
    sums = np.zeros((len(rows), int(T[L.T_PLAYERS])))
    spread(
        lambda a, b: _score(
            T, rows[a:b], actions, offsets[a : b + 1], weights, which[a:b], width, scores, sums[a:b]
        ),
        len(rows),
        smallest=MIN_BLOCK,
    )
    return scores, sums


def pick_all(
    scores: FloatArray, offsets: LongArray, seeds: Seeds, noise: FloatArray, blunder: FloatArray
) -> LongArray:
    """Index of the best action of each row, [N]; ties are broken at random.

    `noise`, [N], is the scale of logistic noise on the scores, `blunder`, [N], the probability of
    a uniformly random action.
    """
    chosen = np.zeros(len(seeds), np.int64)
    _pick(scores, offsets, seeds, noise, blunder, chosen)
    return chosen


def count_all(T: IntArray, rows: IntArray) -> IntArray:
    """Integer features of rows, [N, players, features]."""
    counts = np.zeros((len(rows), int(T[L.T_PLAYERS]) * N), np.int32)
    spread(lambda a, b: _count(T, rows[a:b], counts[a:b]), len(rows))
    return counts.reshape(len(rows), int(T[L.T_PLAYERS]), N)
