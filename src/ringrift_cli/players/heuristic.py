"""The heuristic player: one-ply search over weighted features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ringrift_cli.game import playout
from ringrift_cli.game.playout import LongArray
from ringrift_cli.game.topology import IntArray, tables
from ringrift_cli.players import scoring
from ringrift_cli.players.features import units
from ringrift_cli.players.player import Choices, Decisions, identity_of
from ringrift_cli.players.profiles import FEATURES_VERSION, Profile
from ringrift_cli.players.scoring import FloatArray

WIDTH = 24  # unfinished turns that are played to their end; docs/lab-notes.md
CHANCE_SCALE = 24.0  # advantage that multiplies the odds by e; docs/lab-notes.md


@dataclass(frozen=True)
class Handicap:
    """Handicap of a weaker player: score noise and random moves."""

    noise: float = 0.0  # scale of the logistic noise
    blunder: float = 0.0  # probability of a uniformly random action


class HeuristicPlayer:
    """Plays the action with the best score under a profile (scoring.py)."""

    def __init__(self, spec: str, profile: Profile, handicap: Handicap, width: int) -> None:
        self.spec = spec
        self.profile = profile
        self._handicap = handicap
        self._width = width
        self._weights = effective_weights(profile)[None]
        self.identity = identity_of(
            {
                "kind": "heuristic",
                "features": FEATURES_VERSION,
                "weights": profile.array.tolist(),
                "noise": handicap.noise,
                "blunder": handicap.blunder,
                "width": width,
            }
        )

    def choose(self, asked: Decisions) -> Choices:
        actions, offsets = playout.list_all(asked.T, asked.rows)
        which = np.zeros(len(asked), np.int64)
        scores, sums = scoring.score_all(
            asked.T, asked.rows, actions, offsets, self._weights, which, self._width
        )
        noise = np.full(len(asked), self._handicap.noise)
        blunder = np.full(len(asked), self._handicap.blunder)
        chosen = scoring.pick_all(scores, offsets, asked.seeds, noise, blunder)
        return Choices(actions[chosen], chances(sums))

    def close(self) -> None:
        pass


def effective_weights(profile: Profile) -> FloatArray:
    """Weights multiplied by the feature units, [features]."""
    return profile.array * units(tables(profile.board, profile.players))


def chances(sums: FloatArray) -> FloatArray:
    """Win probabilities by seat, [N, players]: a softmax of the weighted sums."""
    scaled = sums / CHANCE_SCALE
    odds = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    shares: FloatArray = odds / odds.sum(axis=1, keepdims=True)
    return shares


class HeuristicEvaluator:
    """Search evaluator: scores as policy logits, win probabilities as values."""

    def __init__(self, profile: Profile, temperature: float, width: int) -> None:
        self._T = tables(profile.board, profile.players)
        self._weights = effective_weights(profile)[None]
        self._temperature = temperature
        self._width = width
        self.identity = identity_of(
            {
                "kind": "heuristic",
                "features": FEATURES_VERSION,
                "weights": profile.array.tolist(),
                "chance_scale": CHANCE_SCALE,
                "temperature": temperature,
                "width": width,
            }
        )

    def evaluate(
        self, rows: IntArray, actions: IntArray, offsets: LongArray
    ) -> tuple[FloatArray, FloatArray]:
        """Logits of the legal actions, [M], and win probabilities by seat, [N, players]."""
        which = np.zeros(len(rows), np.int64)
        scores, sums = scoring.score_all(
            self._T, rows, actions, offsets, self._weights, which, self._width
        )
        return scores / self._temperature, chances(sums)
