"""Likelihood of game winners and its maximisation.

In a game with one winner a player wins with probability exp(θ) / Σ exp(θ of each seat): Bradley and
Terry's model for two seats, the first place of Plackett and Luce's for more. θ is the natural
logarithm of a player's worth; only differences matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

STEPS = 200
CLOSE = 1e-8  # of a step; the next one would be about its square
FLAT = 1e-17  # predicted increase of the log-likelihood by a step
ENOUGH = 1e-4  # minimum share of the predicted increase
ROUNDING = 1e-12  # relative, of the log-likelihood
RIDGE = 1e-12
LONGEST = 5.0  # maximum step: beyond, the quadratic approximation is invalid


@dataclass(frozen=True)
class OutcomeTable:
    """Results of games among players 0 to `size` - 1; the number `size` marks an empty seat."""

    seats: IntArray  # [R, S]
    winner: IntArray  # [R] a player
    count: FloatArray  # [R] number of games with this result
    block: IntArray  # [R] games of a block are dependent; -1: independent
    size: int

    def among(self, members: IntArray) -> OutcomeTable:
        """The games relevant to `members` if all others are infinitely better or worse.

        Games won by others are dropped; in games won by a member, the other players count as empty
        seats. Members are renumbered in their order.
        """
        number = np.full(self.size + 1, len(members))
        number[members] = np.arange(len(members))
        rows = number[self.winner] < len(members)
        return OutcomeTable(
            number[self.seats[rows]],
            number[self.winner[rows]],
            self.count[rows],
            self.block[rows],
            len(members),
        )

    def without_blocks(self) -> OutcomeTable:
        """The same games merged by set of seats and winner."""
        keys = np.column_stack([np.sort(self.seats, axis=1), self.winner])
        rows, place = np.unique(keys, axis=0, return_inverse=True)
        count = np.bincount(place.ravel(), self.count, len(rows)).astype(np.float64)
        return OutcomeTable(rows[:, :-1], rows[:, -1], count, np.full(len(rows), -1), self.size)

    def beats(self) -> BoolArray:
        """[size, size] whether player i won a game in which player j took part."""
        table = np.zeros((self.size + 1, self.size + 1), np.bool_)
        table[self.winner[:, None], self.seats] = True
        return table[:-1, :-1]

    def log_likelihood(self, worth: FloatArray) -> float:
        logits = np.append(worth, -np.inf)[self.seats]
        top = logits.max(1)
        norm = top + np.log(np.exp(logits - top[:, None]).sum(1))
        return float(self.count @ (worth[self.winner] - norm))

    def gradient(self, worth: FloatArray) -> FloatArray:
        """Gradient of the log-likelihood by θ [size]: wins minus expected wins."""
        expected = self.count[:, None] * chances(self.seats, worth)
        lost = np.bincount(self.seats.ravel(), expected.ravel(), self.size + 1)[:-1]
        return np.asarray(np.bincount(self.winner, self.count, self.size) - lost)

    def information(self, worth: FloatArray) -> FloatArray:
        """Observed information [size, size]: minus the second derivative of the log-likelihood."""
        shares = chances(self.seats, worth)
        side = self.size + 1
        flat = np.zeros(side * side)
        for a in range(self.seats.shape[1]):
            weight = self.count * shares[:, a]
            flat += np.bincount(self.seats[:, a] * (side + 1), weight, side * side)
            for b in range(self.seats.shape[1]):
                cells = self.seats[:, a] * side + self.seats[:, b]
                flat -= np.bincount(cells, weight * shares[:, b], side * side)
        return flat.reshape(side, side)[:-1, :-1]


def chances(seats: IntArray, worth: FloatArray) -> FloatArray:
    """Win probability of each seat [R, S] for θ [N]; player N is an empty seat."""
    logits = np.append(worth, -np.inf)[seats]
    weights = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(weights / weights.sum(1, keepdims=True))


def maximum(table: OutcomeTable, start: FloatArray, free: IntArray) -> FloatArray:
    """θ [size] of maximum likelihood over the players `free`, the others fixed as in `start`.

    Newton's method with a line search. The likelihood is concave; the caller must ensure a finite
    maximum (L. R. Ford, Solution of a Ranking Problem from Binary Comparisons,
    American Mathematical Monthly 64, 1957; D. R. Hunter, MM algorithms for generalized
    Bradley-Terry models, Annals of Statistics 32, 2004, assumption 1).
    """
    worth = start.copy()
    if not len(free):
        return worth
    value = table.log_likelihood(worth)
    for _ in range(STEPS):
        slope = table.gradient(worth)[free]
        information = table.information(worth)[np.ix_(free, free)]
        # Far from the maximum the information may vanish; the ridge does not move the maximum.
        information[np.diag_indices(len(free))] += RIDGE * table.count.sum()
        step = np.linalg.solve(information, slope)
        step *= min(1.0, LONGEST / np.abs(step).max(initial=LONGEST))
        promised = float(slope @ step)
        last = promised < FLAT
        while True:
            tried = worth.copy()
            tried[free] += step
            if last or np.abs(step).max() < CLOSE:
                return tried
            risen = table.log_likelihood(tried)
            if risen >= value + ENOUGH * promised + ROUNDING * value:  # values are negative
                break
            step, promised = step / 2, promised / 2
        worth, value = tried, risen
    raise ArithmeticError(f"no maximum of the likelihood found in {STEPS} steps")


def reachable(beats: BoolArray) -> BoolArray:
    """[N, N] whether a chain of wins (possibly empty) leads from player i to player j."""
    reach = beats | np.eye(len(beats), dtype=np.bool_)
    while True:
        wider = (reach.astype(np.float32) @ reach.astype(np.float32)) > 0
        if (wider == reach).all():
            return reach
        reach = wider
