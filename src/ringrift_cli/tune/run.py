"""Tuning of the heuristic's weights, generation by generation.

A run is determined by its setup and the measured fitness in the journal. An unfinished generation
is discarded and played again with the same openings and random numbers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ringrift_cli.errors import RecordError
from ringrift_cli.evaluate.rounds import GameRound, StopCheck, derived, never
from ringrift_cli.evaluate.runner import HERE, GameRunner
from ringrift_cli.players.features import N
from ringrift_cli.players.scoring import FloatArray
from ringrift_cli.tune import panel as tune_panel
from ringrift_cli.tune.journal import Generation, TuningJournal
from ringrift_cli.tune.optimiser import Optimiser
from ringrift_cli.tune.panel import Winner
from ringrift_cli.tune.setup import AGAIN, PERSONAS, SAMPLES, TRAINING, TuningSetup


@dataclass(frozen=True)
class BestCandidate:
    """Best re-evaluated candidate of a generation."""

    generation: int
    lead: float  # share won minus the mean of its generation, over both evaluations
    weights: FloatArray  # [features]


@dataclass
class TuningRun:
    """State of a run between generations."""

    setup: TuningSetup
    optimiser: Optimiser
    means: list[FloatArray] = field(default_factory=list)  # weights after each generation
    winners: list[Winner] = field(default_factory=list)
    best: list[BestCandidate] = field(default_factory=list)

    @property
    def generations(self) -> int:
        return len(self.means)

    def learn(
        self, x: FloatArray, fitness: list[float], again: list[int], second: list[float]
    ) -> None:
        """Updates the state with the fitness of a population `x`, [population, features]."""
        self.optimiser.tell(fitness, second)
        number = self.generations + 1
        self.means.append(self.setup.weights(self.optimiser.mean))
        if number % tune_panel.WINNER_EVERY == 0:
            self.winners.append(Winner(number, self.means[-1]))
        twice = {k: (fitness[k] + value) / 2 for k, value in zip(again, second, strict=True)}
        best = min(twice, key=lambda k: twice[k])
        lead = float(np.mean(fitness)) - twice[best]
        self.best.append(BestCandidate(number, lead, self.setup.weights(x[best])))


def restore(setup: TuningSetup, journal: TuningJournal) -> TuningRun:
    """Restores a run from its journal.

    `RecordError` if replaying the fitness gives another state of the optimiser.
    """
    seed = derived(setup.seed, SAMPLES)
    run = TuningRun(setup, Optimiser(N, setup.sigma, setup.population, seed))
    for entry in journal.entries:
        x = run.optimiser.ask()
        same = len(entry.fitness) == len(x) and run.optimiser.again(entry.fitness) == entry.again
        if same:
            run.learn(x, entry.fitness, entry.again, entry.second)
            same = run.optimiser.digest() == entry.digest
        if not same:
            raise RecordError(
                f"The run in {journal.folder} cannot be resumed exactly: replaying the journal"
                f" gives another state of the optimiser after generation {entry.generation}"
                " (a damaged journal, or different numerics of numpy on this machine).",
                hint="another --out",
            )
    return run


def advance(
    run: TuningRun,
    journal: TuningJournal,
    *,
    generations: int | None = None,
    seconds: float | None = None,
    runner: GameRunner = HERE,
    on_generation: Callable[[Generation], None] = lambda entry: None,
    should_stop: StopCheck = never,
) -> None:
    """Plays up to a number of generations, or for `seconds` in total.

    `TuningStopped` if `should_stop` returns true; the current generation is discarded.
    """
    while (generations is None or run.generations < generations) and (
        seconds is None or journal.seconds < seconds
    ):
        entry = _next(run, runner, should_stop)
        journal.add(entry)
        on_generation(entry)


def _next(run: TuningRun, runner: GameRunner, should_stop: StopCheck) -> Generation:
    """Plays a generation and updates the optimiser."""
    setup, optimiser, began = run.setup, run.optimiser, time.monotonic()
    number = run.generations + 1
    x = optimiser.ask()
    candidates = setup.weights(x) * setup.units
    personas = derived(setup.seed, PERSONAS, number)
    panel = tune_panel.panel(setup, run.winners, tune_panel.PERSONAS_EACH, personas)
    effort = optimiser.effort
    seed = derived(setup.seed, TRAINING, number)
    meets = panel.deal(round(setup.openings * effort), np.random.default_rng(seed).random())
    board, players, opponents = setup.board, setup.players, panel.weights * setup.units
    first = GameRound(board, players, seed, opponents, meets)
    won = runner.round(first, candidates, should_stop)
    fitness: list[float] = (1 / players - won.mean(axis=(1, 2))).tolist()
    again = optimiser.again(fitness)
    seed = derived(setup.seed, AGAIN, number)
    repeat = GameRound(board, players, seed, opponents, meets)
    rewon = runner.round(repeat, candidates[again], should_stop)
    second: list[float] = (1 / players - rewon.mean(axis=(1, 2))).tolist()
    run.learn(x, fitness, again, second)
    kinds = np.array([panel.kind(opponent) for opponent in meets.tolist()])
    return Generation(
        number,
        fitness,
        again,
        second,
        won.size + rewon.size,
        time.monotonic() - began,
        {str(kind): float(won[:, kinds == kind].mean()) for kind in np.unique(kinds)},
        optimiser.sigma,
        effort,
        optimiser.noise,
        optimiser.digest(),
    )
