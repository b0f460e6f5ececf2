"""Games and fits that the tests of ratings share."""

from __future__ import annotations

import numpy as np

from ringrift_cli.stats.bradley_terry import ELO, Fit, GameResult
from ringrift_cli.stats.elo import Z95
from ringrift_cli.stats.multinomial import FloatArray


def duels(one: int, other: int, won: int, lost: int) -> list[GameResult]:
    both = ((0, won), (1, lost))
    return [GameResult((one, other), winner, count) for winner, count in both if count]


def random_games(
    rng: np.random.Generator, worth: FloatArray, seats: int, games: int, *, repeats: bool = False
) -> list[GameResult]:
    """Games between random players; with `repeats` a player may hold several seats."""
    played = []
    for _ in range(games):
        at = tuple(int(p) for p in rng.choice(len(worth), seats, replace=repeats))
        weights = np.exp(worth[list(at)])
        played.append(GameResult(at, int(rng.choice(seats, p=weights / weights.sum()))))
    return played


def worths(found: Fit) -> list[float]:
    """θ of each player: 0 for the anchor, and the natural logarithm of the worth for the others."""
    anchor = next(r.rating for r in found.ratings if r.status == "anchor")
    return [(rating.rating - anchor) / ELO for rating in found.ratings]


def standard_errors(found: Fit) -> list[float]:
    return [(rating.error or 0) / Z95 / ELO for rating in found.ratings]
