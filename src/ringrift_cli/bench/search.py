"""How fast many games are searched at once: with a network, and with a judge that costs nothing.

The second is the speed of the trees alone. Rounds of both take turns within the same seconds. Only
simulations that end in an evaluated position are counted, not those to the end of a game.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from ringrift_cli.bench.subject import FREE, Rates, Round, Setting, Subject
from ringrift_cli.game import layout as L
from ringrift_cli.game.playout import LongArray
from ringrift_cli.game.topology import IntArray, tables
from ringrift_cli.search.forest import Searches
from ringrift_cli.search.gumbel import considered_actions
from ringrift_cli.search.tree import FloatArray
from ringrift_cli.selfplay.forests import on_cpu, on_gpu
from ringrift_cli.selfplay.mid_game import positions_under_way
from ringrift_cli.settings import SelfPlay

if TYPE_CHECKING:
    from ringrift_cli.search.cuda.forest import DeviceForest

SEED = 2026
WARM_STEPS = 40  # a search of 32 simulations ends in fewer


class Uniform:
    """Says the same of everything, at no cost; see search/forest.py, `Evaluator`."""

    def __init__(self, players: int) -> None:
        self._players = players

    def evaluate(
        self, rows: IntArray, actions: IntArray, _offsets: LongArray
    ) -> tuple[FloatArray, FloatArray]:
        return np.zeros(len(actions)), np.full((len(rows), self._players), 1 / self._players)


class Searching:
    """Games that search all their decisions with the same number of simulations, and play the best.

    A game that ends makes room for another position. The first searches are of different lengths,
    so that decisions do not fall into the same steps.
    """

    def __init__(self, forest: Searches, rows: IntArray, setting: SelfPlay) -> None:
        """`rows`, [N, row size], are positions with two legal actions or more, N a game or more."""
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
        """One batch for the judge, and the decisions that it settles."""
        slots = self._forest.step()
        if not len(slots):
            return
        self.decisions += len(slots)
        self._forest.play(slots, self._forest.best(slots))
        over = self._forest.heads[slots, L.PHASE] == L.OVER
        for slot, ended in zip(slots.tolist(), over.tolist(), strict=True):
            (self._place if ended else self._begin)(slot)

    def rates(self, seconds: float) -> tuple[float, float]:
        """Simulations and decisions a second."""
        evaluated, decisions = self._forest.evaluated, self.decisions
        start = time.perf_counter()
        while time.perf_counter() - start < seconds:
            self.step()
        spent = time.perf_counter() - start
        return (self._forest.evaluated - evaluated) / spent, (self.decisions - decisions) / spent


@contextmanager
def prepared(subject: Subject, setting: Setting) -> Iterator[Round]:
    """A round of so many seconds; torch.OutOfMemoryError if a GPU has too little memory."""
    play = SelfPlay()
    rows = positions_under_way(subject.board, subject.players, setting.batch, SEED)
    searching = [Searching(forest, rows, play) for forest in _forests(subject, setting.batch, play)]
    for one in searching:
        for _ in range(WARM_STEPS):
            one.step()

    def one_round(seconds: float) -> Rates:
        (simulations, decisions), (free, free_decisions) = (
            one.rates(seconds / 2) for one in searching
        )
        return {
            "simulations": simulations,
            "decisions": decisions,
            FREE: free,
            "free_decisions": free_decisions,
        }

    yield one_round


def _forests(subject: Subject, games: int, play: SelfPlay) -> list[Searches]:
    """Trees that a network evaluates, and trees whose judge costs nothing."""
    from ringrift_cli.bench.selfplay import evaluator_for

    board, players, device = subject.board, subject.players, subject.device
    evaluator = evaluator_for(board, players, subject.size, subject.model, device)
    if device == "cpu":
        evaluates = (evaluator, Uniform(players))
        return [on_cpu(board, players, play, judge, games) for judge in evaluates]
    with_network = on_gpu(board, players, play, evaluator.network, games, device)
    return [with_network, free_on_gpu(board, players, play, games, device)]


def free_on_gpu(board: str, players: int, play: SelfPlay, games: int, device: str) -> DeviceForest:
    """Trees of so many games on a GPU whose judge costs nothing.

    torch.OutOfMemoryError if there is too little memory.
    """
    from ringrift_cli.bench.gpu import Indifferent
    from ringrift_cli.game.cuda.device import Device
    from ringrift_cli.search.cuda.forest import DeviceForest

    T, there = tables(board, players), Device(device)
    return DeviceForest(
        T,
        games,
        Indifferent(board, players, games, there),
        there,
        simulations=play.sims,
        exploration=play.exploration,
        value_scale=play.value_scale,
        considered=considered_actions(play.sims, play.considered),
    )
