"""The heuristic's driver: scores of legal actions, over many positions, on all cores.

The score of an action is the advantage of the mover in the position that it leads to: the weighted
sum of the mover's features less the mean of the others' sums.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ringrift_cli.game import layout as L
from ringrift_cli.game import turn
from ringrift_cli.game.jit import njit, pointer, rule, wide
from ringrift_cli.game.playout import LongArray, Seeds, draw, spread
from ringrift_cli.game.topology import IntArray
from ringrift_cli.players.features import SCRATCH, N, count

FloatArray = npt.NDArray[np.float64]

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
            total += weights[f] * X[p * N + f]
        sums[p] = total


@rule()
def advantage(players: int, sums: FloatArray, p: int) -> float:
    """The sum of a seat less the mean of the others'."""
    others = 0.0
    for q in range(players):
        if q != p:
            others += sums[q]
    return sums[p] - others / (players - 1)


@njit()
def _score(
    T: IntArray,
    rows: IntArray,
    actions: IntArray,
    offsets: LongArray,
    weights: FloatArray,
    which: LongArray,
    scores: FloatArray,
    sums: FloatArray,
) -> None:
    size = T[L.T_ROW_SIZE]
    row = np.empty(size, np.int32)
    work, scratch = np.empty(L.WORK, np.int32), np.empty(SCRATCH, np.int32)
    counts = np.empty(L.MAX_PLAYERS * N, np.int32)
    now = np.empty(L.MAX_PLAYERS, np.float64)
    players = wide(T[L.T_PLAYERS])
    for i in range(len(rows)):
        p = wide(rows[i, L.SEAT])
        best = -np.inf
        for k in range(offsets[i], offsets[i + 1]):
            row[:] = rows[i]
            turn.apply(pointer(T), pointer(row), pointer(work), wide(actions[k]))
            weigh(
                pointer(T),
                pointer(row),
                pointer(work),
                pointer(scratch),
                pointer(counts),
                weights[which[i]],
                now,
            )
            scores[k] = advantage(players, now, p)
            if scores[k] > best:
                best = scores[k]
                for q in range(players):
                    sums[i, q] = now[q]


@njit()
def _pick(
    scores: FloatArray,
    offsets: LongArray,
    seeds: Seeds,
    noise: FloatArray,
    blunder: FloatArray,
    chosen: LongArray,
) -> None:
    unit = 1 << 30
    for i in range(len(chosen)):
        first, end = offsets[i], offsets[i + 1]
        if blunder[i] > 0 and draw(seeds, i, unit) < blunder[i] * unit:
            chosen[i] = first + draw(seeds, i, end - first)
            continue
        best, ties = -np.inf, 0
        for k in range(first, end):
            score = scores[k]
            if noise[i] > 0:
                u = (draw(seeds, i, unit) + 0.5) / unit
                score += noise[i] * np.log(u / (1 - u))
            if score > best:
                best, ties = score, 1
                chosen[i] = k
            elif score == best:
                ties += 1
                if draw(seeds, i, ties) == 0:
                    chosen[i] = k


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
) -> tuple[FloatArray, FloatArray]:
    """Scores of the actions, [M], and sums by seat after the best one of each row, [N, players].

    Row i may play `actions[offsets[i] : offsets[i + 1]]` and is weighed with `weights[which[i]]`,
    a row of [K, features] that already contains the units.
    """
    scores = np.empty(len(actions))
    sums = np.zeros((len(rows), int(T[L.T_PLAYERS])))
    spread(
        lambda a, b: _score(
            T, rows[a:b], actions, offsets[a : b + 1], weights, which[a:b], scores, sums[a:b]
        ),
        len(rows),
    )
    return scores, sums


def pick_all(
    scores: FloatArray, offsets: LongArray, seeds: Seeds, noise: FloatArray, blunder: FloatArray
) -> LongArray:
    """For each row the number of its best action, [N]; ties are drawn.

    `noise`, [N], is the scale of logistic noise on the scores, `blunder`, [N], the probability of
    a uniformly random action.
    """
    chosen = np.zeros(len(seeds), np.int64)
    _pick(scores, offsets, seeds, noise, blunder, chosen)
    return chosen


def count_all(T: IntArray, rows: IntArray) -> IntArray:
    """The features of rows, [N, players, features], in whole numbers."""
    counts = np.zeros((len(rows), int(T[L.T_PLAYERS]) * N), np.int32)
    spread(lambda a, b: _count(T, rows[a:b], counts[a:b]), len(rows))
    return counts.reshape(len(rows), int(T[L.T_PLAYERS]), N)
