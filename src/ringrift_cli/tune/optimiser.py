"""CMA-ES with noise handling, deterministic in its seed and the reported fitness.

Source: N. Hansen, The CMA Evolution Strategy: A Tutorial, arXiv:1604.00772, by pycma; noise after
N. Hansen, A. S. P. Niederberger, L. Guzzella, P. Koumoutsakos, A Method for Handling Uncertainty in
Evolutionary Optimization, IEEE Transactions on Evolutionary Computation 13 (2009), by its
NoiseHandler: some candidates are evaluated again with fresh games. If that changes their ranks by
more than chance in the ranking itself would, all candidates play more games from then on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from ringrift_cli.players.scoring import FloatArray
from ringrift_cli.plotting import no_backend

with no_backend():  # pycma imports pyplot
    import cma

MOST_EFFORT = 4.0  # maximum factor of the initial games per candidate


class Optimiser:
    """Minimises over `dimensions` numbers, from 0 with initial standard deviation `sigma`."""

    def __init__(self, dimensions: int, sigma: float, population: int, seed: int) -> None:
        # Without its own generator pycma would draw from numpy's global state.
        self._random = np.random.Generator(np.random.PCG64(seed))
        options = {
            "popsize": population,
            "randn": lambda *shape: self._random.standard_normal(shape),
            "seed": np.nan,
            "verbose": -9,
            "signals_filename": "",
        }
        self._strategy: Any = cma.CMAEvolutionStrategy([0.0] * dimensions, sigma, options)
        self._noise: Any = cma.NoiseHandler(
            dimensions,
            maxevals=[1, 1, MOST_EFFORT],
            aggregate=None,  # one value per candidate, already a mean over games
            reevals=2 + population // 20,
            epsilon=0,  # re-evaluate the same candidate
        )
        self._asked: list[Any] = []

    @property
    def mean(self) -> FloatArray:
        """The centre of the search, [dimensions]."""
        return np.array(self._strategy.mean)

    @property
    def sigma(self) -> float:
        """The overall step size."""
        return float(self._strategy.sigma)

    @property
    def effort(self) -> float:
        """Games per candidate as a multiple of the initial number, 1 to `MOST_EFFORT`."""
        return float(self._noise.evaluations)

    @property
    def noise(self) -> float:
        """Noise measure: rank changes on re-evaluation beyond the tolerance; > 0 is too noisy."""
        return float(self._noise.noiseS)

    def ask(self) -> FloatArray:
        """A new population, [population, dimensions], to be followed by `tell`."""
        self._asked = self._strategy.ask()
        return np.array(self._asked)

    def again(self, fitness: Sequence[float]) -> list[int]:
        """Indices of the candidates to re-evaluate."""
        return [int(k) for k in self._noise.indices(list(fitness))]

    def tell(self, fitness: Sequence[float], second: Sequence[float]) -> None:
        """Reports the fitness of the population, and the second one of those in `again`.

        `ValueError` if a number is not finite.
        """
        if not (np.isfinite(fitness).all() and np.isfinite(second).all()):
            raise ValueError("a fitness is not finite")
        self._strategy.tell(self._asked, list(fitness))
        values = iter(second)
        # The handler also proposes a larger sigma under noise. Only the number of games is raised:
        # in 44 dimensions sigma would grow without bound (docs/tuning.md).
        self._noise(self._asked, list(fitness), lambda _: next(values))

    def digest(self) -> str:
        """Hash of the complete state between `tell` and `ask`, 16 hexadecimal digits."""
        strategy = self._strategy
        digest = hashlib.sha256(json.dumps(self._random.bit_generator.state).encode())
        parts = (
            strategy.mean,
            strategy.sigma,
            strategy.C,
            strategy.pc,
            strategy.adapt_sigma.ps,
            self.effort,
            self.noise,
        )
        for part in parts:
            digest.update(np.asarray(part, np.float64).tobytes())
        return digest.hexdigest()[:16]
