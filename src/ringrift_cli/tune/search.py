"""Tuning of the heuristic's weights, generation by generation.

Every number of a run follows from its setting and from the fitness that was measured, which the
journal keeps (tune_journal.py). A generation that was not finished leaves no trace: it is played
again, with the same openings and random numbers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ringrift_cli.errors import RecordError
from ringrift_cli.players.features import N
from ringrift_cli.players.scoring import FloatArray
from ringrift_cli.tune import panel as tune_panel
from ringrift_cli.tune.games import Asked, Round, derived, never
from ringrift_cli.tune.journal import Generation, Journal
from ringrift_cli.tune.optimiser import Optimiser
from ringrift_cli.tune.panel import Winner
from ringrift_cli.tune.settings import AGAIN, PERSONAS, SAMPLES, TRAINING, Setting


@dataclass(frozen=True)
class Seen:
    """The best of the candidates of a generation that were evaluated twice."""

    generation: int
    lead: float  # share of the games won beyond the mean of its generation, over both evaluations
    weights: FloatArray  # [features]


@dataclass
class Search:
    """Where a run stands between two generations."""

    setting: Setting
    optimiser: Optimiser
    means: list[FloatArray] = field(default_factory=list)  # weights after each generation
    winners: list[Winner] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)

    @property
    def generations(self) -> int:
        return len(self.means)

    def learn(
        self, x: FloatArray, fitness: list[float], again: list[int], second: list[float]
    ) -> None:
        """Takes what a population, `x` of [population, features], was worth."""
        self.optimiser.tell(fitness, second)
        number = self.generations + 1
        self.means.append(self.setting.weights(self.optimiser.mean))
        if number % tune_panel.WINNER_EVERY == 0:
            self.winners.append(Winner(number, self.means[-1]))
        twice = {k: (fitness[k] + value) / 2 for k, value in zip(again, second, strict=True)}
        best = min(twice, key=lambda k: twice[k])
        lead = float(np.mean(fitness)) - twice[best]
        self.seen.append(Seen(number, lead, self.setting.weights(x[best])))


def begin(setting: Setting) -> Search:
    """A run before its first generation."""
    seed = derived(setting.seed, SAMPLES)
    return Search(setting, Optimiser(N, setting.sigma, setting.population, seed))


def bring_back(setting: Setting, journal: Journal) -> Search:
    """The run as it was after the last generation of its journal.

    `RecordError` if the optimiser, told the same, does not come to the same state.
    """
    search = begin(setting)
    for entry in journal.entries:
        x = search.optimiser.ask()
        if len(entry.fitness) != len(x) or search.optimiser.again(entry.fitness) != entry.again:
            raise _other_state(journal, entry)
        search.learn(x, entry.fitness, entry.again, entry.second)
        if search.optimiser.digest() != entry.digest:
            raise _other_state(journal, entry)
    return search


def _other_state(journal: Journal, entry: Generation) -> RecordError:
    return RecordError(
        f"The run in {journal.folder} cannot go on bit for bit: told the same, the optimiser is not"
        f" where it was after generation {entry.generation} (a damaged journal, or numpy computes"
        " otherwise on this machine).",
        hint="another --out",
    )


def run(
    search: Search,
    journal: Journal,
    *,
    generations: int | None = None,
    seconds: float | None = None,
    advance: Callable[[Generation], None] = lambda entry: None,
    should_stop: Asked = never,
) -> None:
    """Plays until there are so many generations, or until they took so many seconds in all.

    `advance` is told of each. `Stopped` if `should_stop` says so: the generation in hand is lost.
    """
    while (generations is None or search.generations < generations) and (
        seconds is None or journal.seconds < seconds
    ):
        entry = _next(search, should_stop)
        journal.add(entry)
        advance(entry)


def _next(search: Search, should_stop: Asked) -> Generation:
    """Plays a generation and tells the optimiser."""
    setting, optimiser, began = search.setting, search.optimiser, time.monotonic()
    number = search.generations + 1
    x = optimiser.ask()
    candidates = setting.weights(x) * setting.units
    personas = derived(setting.seed, PERSONAS, number)
    met = tune_panel.panel(setting, search.winners, tune_panel.PERSONAS_EACH, personas)
    effort = optimiser.effort
    openings = round(setting.openings * effort)
    seed = derived(setting.seed, TRAINING, number)
    meets = met.deal(openings, np.random.default_rng(seed).random())
    board, players, opponents = setting.board, setting.players, met.weights * setting.units
    won = Round(board, players, seed, opponents, meets).play(candidates, should_stop)
    fitness: list[float] = (1 / players - won.mean(axis=(1, 2))).tolist()
    again = optimiser.again(fitness)
    seed = derived(setting.seed, AGAIN, number)
    rewon = Round(board, players, seed, opponents, meets).play(candidates[again], should_stop)
    second: list[float] = (1 / players - rewon.mean(axis=(1, 2))).tolist()
    search.learn(x, fitness, again, second)
    kinds = np.array([met.kind(opponent) for opponent in meets.tolist()])
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
