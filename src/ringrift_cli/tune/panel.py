"""Panel of opponents, to avoid overfitting to a single one.

    start      initial weights of the run      share 2
    default    the default weights             share 2
    winner-G   the mean after generation G     share 1 each, at most `MOST_WINNERS`, the newest
    persona-I  default weights, each times a   share 1 each, `PERSONAS_EACH` new ones per generation
               log-normal factor

Identical opponents are merged and their shares added. Each opening has one opponent; openings are
distributed in proportion to the shares, so the mean over all games is the weighted mean over the
panel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ringrift_cli.game.playout import LongArray
from ringrift_cli.players.scoring import FloatArray
from ringrift_cli.tune.setup import TuningSetup

WINNER_EVERY = 10  # generations
MOST_WINNERS = 4
PERSONAS_EACH = 2
HELD_OUT_PERSONAS_EACH = 8
PERSONA_SPREAD = 0.5  # standard deviation of the logarithm of a factor
ANCHOR_SHARE, GUEST_SHARE = 2, 1
KINDS = ("start", "default", "winner", "persona")


@dataclass(frozen=True)
class Winner:
    """The mean after a generation, [features]."""

    generation: int
    weights: FloatArray


@dataclass(frozen=True)
class Panel:
    """Opponents with their shares."""

    names: tuple[str, ...]
    weights: FloatArray  # [P, features] profile weights
    shares: FloatArray  # [P] sum to 1

    def deal(self, openings: int, offset: float) -> LongArray:
        """The opponent of each opening, [openings].

        Systematic sampling: each gets its share to within one opening; `offset`, in [0, 1),
        distributes the remainder.
        """
        points = (np.arange(openings) + offset) / openings
        found = np.searchsorted(np.cumsum(self.shares), points, side="right")
        return np.minimum(found, len(self.names) - 1)

    def kind(self, opponent: int) -> str:
        """Kind of an opponent, of `KINDS`."""
        return self.names[opponent].partition("-")[0]


def panel(setup: TuningSetup, winners: Sequence[Winner], personas: int, seed: int) -> Panel:
    """Panel with the newest winners and `personas` personas drawn from `seed`."""
    default = setup.default.array
    members = [
        ("start", setup.start.array, ANCHOR_SHARE),
        ("default", default, ANCHOR_SHARE),
        *((f"winner-{w.generation}", w.weights, GUEST_SHARE) for w in winners[-MOST_WINNERS:]),
    ]
    factors = np.exp(
        PERSONA_SPREAD * np.random.default_rng(seed).standard_normal((personas, len(default)))
    )
    members += [(f"persona-{i + 1}", default * f, GUEST_SHARE) for i, f in enumerate(factors)]
    if np.array_equal(setup.start.array, default):
        members[:2] = [("default", default, 2 * ANCHOR_SHARE)]
    shares = np.array([share for *_, share in members], np.float64)
    return Panel(
        tuple(name for name, *_ in members),
        np.array([weights for _, weights, _ in members]),
        shares / shares.sum(),
    )
