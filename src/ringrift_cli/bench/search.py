"""Workload: concurrent searches, with a network and with a free evaluator.

The free evaluator gives the speed of the tree search alone. Both alternate within a round. Only
simulations that end in an evaluated position count, not those that reach the end of a game.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from ringrift_cli.bench.measure import FREE, BenchJob, BenchSubject, Rates, Workload
from ringrift_cli.game import layout as L
from ringrift_cli.game.playout import LongArray
from ringrift_cli.game.topology import IntArray
from ringrift_cli.search.forest import Searches
from ringrift_cli.search.gumbel import considered_actions
from ringrift_cli.search.tree import FloatArray
from ringrift_cli.selfplay.forests import on_cpu, on_gpu
from ringrift_cli.selfplay.mid_game import positions_under_way
from ringrift_cli.settings import SelfPlay

SEED = 2026
WARM_STEPS = 40  # more than a search of 32 simulations takes


class Uniform:
    """Constant evaluator of negligible cost (search/forest.py, `Evaluator`)."""

    def __init__(self, players: int) -> None:
        self._players = players

    def evaluate(
        self, rows: IntArray, actions: IntArray, _offsets: LongArray
    ) -> tuple[FloatArray, FloatArray]:
        return np.zeros(len(actions)), np.full((len(rows), self._players), 1 / self._players)


class Searching:
    """Games that search every decision with equal simulations and play the best action.

    A finished game is replaced by another position. The first searches differ in length, so that
    decisions spread over the steps.
    """

    def __init__(self, forest: Searches, rows: IntArray, setting: SelfPlay) -> None:
        """`rows`, [N, row size], are positions with two or more legal actions, N >= 1 per game."""
        self._forest, self._rows, self._setting = forest, rows, setting
        self._placed = self.decisions = 0
        self._considered = considered_actions(setting.sims, setting.considered)
        for slot in range(len(forest)):
            self._place(slot)
            forest.begin(slot, 1 + slot % setting.sims, self._considered, noise=1.0)

    def _place(self, slot: int) -> None:
        row = self._rows[self._placed % len(self._rows)]
        self._forest.place(slot, row, SEED + self._placed)
        self._placed += 1
        self._begin(slot)

    def _begin(self, slot: int) -> None:
        self._forest.begin(slot, self._setting.sims, self._considered, noise=1.0)

    def step(self) -> None:
        """Evaluates one batch and plays the decisions it completes."""
        slots = self._forest.step()
        if not len(slots):
            return
        self.decisions += len(slots)
        self._forest.play(slots, self._forest.best(slots))
        over = self._forest.heads[slots, L.PHASE] == L.OVER
        for slot, ended in zip(slots.tolist(), over.tolist(), strict=True):
            (self._place if ended else self._begin)(slot)

    def rates(self, seconds: float) -> tuple[float, float]:
        """Simulations and decisions per second."""
        evaluated, decisions = self._forest.evaluated, self.decisions
        start = time.perf_counter()
        while time.perf_counter() - start < seconds:
            self.step()
        spent = time.perf_counter() - start
        return (self._forest.evaluated - evaluated) / spent, (self.decisions - decisions) / spent


@contextmanager
def prepared(job: BenchJob) -> Iterator[Workload]:
    """See `SubjectModule`."""
    subject, setting = job.subject, job.setting
    play = SelfPlay()
    rows = positions_under_way(subject.board, subject.players, setting.batch, SEED)
    both = [Searching(forest, rows, play) for forest in _forests(subject, setting.batch, play)]
    for one in both:
        for _ in range(WARM_STEPS):
            one.step()

    def run(seconds: float) -> Rates:
        (simulations, decisions), (free, free_decisions) = (one.rates(seconds / 2) for one in both)
        return {
            "simulations": simulations,
            "decisions": decisions,
            FREE: free,
            "free_decisions": free_decisions,
        }

    yield Workload(run)


def _forests(subject: BenchSubject, games: int, play: SelfPlay) -> list[Searches]:
    """Trees with a network, and trees with the free evaluator."""
    from ringrift_cli.bench.selfplay import evaluator_for

    board, players, device = subject.board, subject.players, subject.device
    evaluator = evaluator_for(subject)
    if device == "cpu":
        evaluators = (evaluator, Uniform(players))
        return [on_cpu(board, players, play, one, games) for one in evaluators]
    from ringrift_cli.bench.gpu import free_forest

    with_network = on_gpu(board, players, play, evaluator.network, games, device)
    return [with_network, free_forest(board, players, play, games, device)]
