"""Plot of a tuning run."""

from __future__ import annotations

from typing import Any

import numpy as np

from ringrift_cli.players.features import NAMES
from ringrift_cli.players.scoring import FloatArray
from ringrift_cli.plotting import new_figure, picture
from ringrift_cli.tune.journal import TuningJournal

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#999999"  # distinguishable by the colour-blind


def draw(journal: TuningJournal, change: FloatArray, title: str, form: str) -> bytes:
    """Plot (`png` or `svg`) of fitness and step size by generation, and of the weight changes.

    `change`, [features], is the optimiser's x: (weight - start weight) / scale.
    """
    figure = new_figure(12, 8)
    figure.suptitle(title)
    halves: Any = figure.subfigures(1, 2, width_ratios=(3, 2))
    left, right = halves
    fitness, steps = left.subplots(2, 1, sharex=True)
    numbers = [entry.generation for entry in journal.entries]
    best = [100 * (journal.fair - min(entry.fitness)) for entry in journal.entries]
    mean = [100 * (journal.fair - entry.mean) for entry in journal.entries]
    fitness.plot(numbers, best, color=ORANGE, label="best candidate")
    fitness.plot(numbers, mean, color=BLUE, label="all candidates")
    fitness.axhline(100 * journal.fair, color=GREY, linestyle=":", label="fair share")
    fitness.set_ylabel("games won against the panel, %")
    fitness.legend(loc="lower right")
    steps.plot(numbers, [entry.sigma for entry in journal.entries], color=BLUE, label="sigma")
    steps.plot(numbers, [entry.effort for entry in journal.entries], color=GREY, label="effort")
    steps.set_yscale("log")
    steps.set_xlabel("generation")
    steps.legend(loc="best")
    weights = right.subplots()
    weights.barh(np.arange(len(NAMES)), change, color=[BLUE if c > 0 else ORANGE for c in change])
    weights.set_yticks(np.arange(len(NAMES)), NAMES, fontsize=7)
    weights.invert_yaxis()
    weights.axvline(0, color=GREY, linewidth=0.8)
    weights.set_xlabel("last mean less start, in scales")
    return picture(figure, form)
