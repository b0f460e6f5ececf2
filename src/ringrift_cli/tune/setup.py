"""What decides a tuning run, and how weights and the optimiser's numbers correspond.

The optimiser sees x, one number for each feature, all about equally important:

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
LEAST_SCALE = 0.02  # the least weight that the default uses; so a weight of 0 is not stuck there

# What random numbers are for: each kind has a path of its own from the seed of the run, so that
# no opening or game of one is that of another.
SAMPLES, TRAINING, AGAIN, PERSONAS, HELD_OUT, HELD_OUT_PERSONAS, TEST, SCALE = range(8)


@dataclass(frozen=True)
class TuningSetup:
    """A run of the optimiser and the test that follows; equal settings give equal runs."""

    board: str
    players: int
    start: Profile
    default: Profile
    population: int
    games: int  # of a candidate in a generation, before the noise handler asks for more
    sigma: float  # standard deviation of x at the start
    seed: int
    elo0: float = Tune.elo0
    elo1: float = Tune.elo1
    test_games: int = Tune.test_games  # maximum

    def __post_init__(self) -> None:
        """`UsageError` for impossible numbers."""
        Tune(self.population, self.games, self.sigma, self.elo0, self.elo1, self.test_games)
        Sprt(self.elo0, self.elo1, players=self.players)

    @property
    def sprt(self) -> Sprt:
        """The test of the result against the start, the player in question in one seat."""
        return Sprt(self.elo0, self.elo1, players=self.players)

    @property
    def openings(self) -> int:
        """Openings that make up the games of a candidate."""
        return -(-self.games // self.players)

    @property
    def units(self) -> FloatArray:
        """What weights are multiplied by before they meet counts, [features]."""
        return units(tables(self.board, self.players))

    @property
    def scales(self) -> FloatArray:
        """What a change of x by 1 changes in each weight, [features]."""
        return np.maximum(np.abs(self.default.array), LEAST_SCALE)

    def weights(self, x: FloatArray) -> FloatArray:
        """Weights as a profile has them, [..., features], of the optimiser's numbers."""
        return self.start.array + self.scales * x

    def profile(self, name: str, weights: FloatArray, about: str = "") -> Profile:
        """The profile with these weights, [features]."""
        named = dict(zip(NAMES, weights.tolist(), strict=True))
        return Profile(name, self.board, self.players, named, about)

    def document(self) -> dict[str, Any]:
        """All that decides the run, as JSON: a run goes on only under the very same."""
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
