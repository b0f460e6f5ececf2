"""Parameters of a tuning run, and the mapping between weights and optimiser variables.

The optimiser works on x, one variable of comparable scale per feature:

    weight = start weight + scale · x,   scale = max(|default weight|, LEAST_SCALE)
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from ringrift_cli.game.topology import tables
from ringrift_cli.game.version import rules_hash
from ringrift_cli.players.features import NAMES, units
from ringrift_cli.players.heuristic import WIDTH
from ringrift_cli.players.profiles import FEATURES_VERSION, Profile
from ringrift_cli.players.scoring import FloatArray
from ringrift_cli.settings import Tune
from ringrift_cli.stats.sprt import Sprt

FORMAT = 1
LEAST_SCALE = 0.02  # smallest default weight; lets zero weights change

# Seed paths by purpose, so that no openings or games are shared between them.
SAMPLES, TRAINING, AGAIN, PERSONAS, HELD_OUT, HELD_OUT_PERSONAS, TEST, SCALE = range(8)


@dataclass(frozen=True)
class TuningSetup:
    """Parameters of search and test; equal parameters give equal runs."""

    board: str
    players: int
    start: Profile
    default: Profile
    population: int
    games: int  # initial games per candidate and generation
    sigma: float  # initial standard deviation of x
    seed: int
    elo0: float = Tune.elo0
    elo1: float = Tune.elo1
    test_games: int = Tune.test_games  # maximum

    def __post_init__(self) -> None:
        """`UsageError` for invalid values."""
        Tune(self.population, self.games, self.sigma, self.elo0, self.elo1, self.test_games)
        Sprt(self.elo0, self.elo1, players=self.players)

    @property
    def sprt(self) -> Sprt:
        """Test of the result, in one seat, against the start."""
        return Sprt(self.elo0, self.elo1, players=self.players)

    @property
    def openings(self) -> int:
        """Number of openings for the games of a candidate."""
        return -(-self.games // self.players)

    @property
    def units(self) -> FloatArray:
        """Factors from weights to feature counts, [features]."""
        return units(tables(self.board, self.players))

    @property
    def scales(self) -> FloatArray:
        """Change of each weight per unit of x, [features]."""
        return np.maximum(np.abs(self.default.array), LEAST_SCALE)

    def weights(self, x: FloatArray) -> FloatArray:
        """Profile weights, [..., features], of optimiser variables `x`."""
        return self.start.array + self.scales * x

    def profile(self, name: str, weights: FloatArray, about: str = "") -> Profile:
        """Profile with the given weights, [features]."""
        named = dict(zip(NAMES, weights.tolist(), strict=True))
        return Profile(name, self.board, self.players, named, about)

    def document(self) -> dict[str, Any]:
        """All parameters as JSON; a run can be resumed only with equal ones."""
        return {
            "format": FORMAT,
            "board": self.board,
            "players": self.players,
            "seed": self.seed,
            "population": self.population,
            "games": self.games,
            "sigma": self.sigma,
            "elo0": self.elo0,
            "elo1": self.elo1,
            "test_games": self.test_games,
            "start": self.start.name,
            "start_weights": dict(self.start.weights),
            "default_weights": dict(self.default.weights),
            "features": FEATURES_VERSION,
            "width": WIDTH,
            "rules": rules_hash(),
            "pycma": version("cma"),
            "numpy": version("numpy"),
        }
