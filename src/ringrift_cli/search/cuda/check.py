"""Whether a GPU searches as the CPU does: the same decisions by both, evaluated by whole numbers.

A network has slightly different outputs on a GPU. `Arithmetic` has identical ones: what differs
then is the search's.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from ringrift_cli.game import layout as L
from ringrift_cli.game.cuda.device import Device
from ringrift_cli.game.playout import LongArray, Seeds
from ringrift_cli.game.topology import IntArray
from ringrift_cli.search.forest import Searches
from ringrift_cli.search.tree import FloatArray

PRIME, STEPS, SCALE, PARTS = 7919, 1009, 200.0, 17


class Arithmetic:
    """Evaluates by remainders of sums over the position: no two processors differ on these."""

    def __init__(self, players: int) -> None:
        self._seats = np.arange(1, players + 1)

    def evaluate(
        self, rows: IntArray, actions: IntArray, offsets: LongArray
    ) -> tuple[FloatArray, FloatArray]:
        """See search/forest.py, `Evaluator`."""
        sums = rows[:, L.HEADER :].astype(np.int64).sum(axis=1)
        each = np.repeat(sums, np.diff(offsets))
        raw = 1.0 + sums[:, None] * self._seats % PARTS
        return (actions * PRIME + each) % STEPS / SCALE, raw / raw.sum(axis=1, keepdims=True)


class DeviceArithmetic:
    """The same of positions on a device; see search/cuda/forest.py, `DeviceEvaluator`."""

    def __init__(self, players: int, device: Device) -> None:
        self._seats = device.moved(np.arange(1, players + 1))
        self.wrong = device.zeros(1)

    def evaluate(self, rows: Tensor, lists: Tensor, _counts: Tensor) -> tuple[Tensor, Tensor]:
        sums = rows[:, L.HEADER :].sum(dim=1, dtype=torch.int64)[:, None]
        logits = ((lists.long() * PRIME + sums) % STEPS).double() / SCALE
        raw = 1.0 + (sums * self._seats % PARTS).double()
        total = raw[:, 0].clone()
        for seat in range(1, raw.shape[1]):
            total += raw[:, seat]
        return logits, raw / total[:, None]


@dataclass(frozen=True)
class Trace:
    """What the searches of some games found, game after game, decision after decision."""

    games: LongArray  # [D] of each decision
    best: IntArray  # [D] the action preferred
    sizes: LongArray  # [D] legal actions
    actions: IntArray  # [M] legal actions of all decisions
    visits: LongArray  # [M]
    policy: FloatArray  # [M]
    values: FloatArray  # [M, players]
    roots: FloatArray  # [D, players] win probabilities

    def differing(self, other: Trace, near: float = 1e-5) -> int:
        """Games whose decisions are not the same: other visits or moves, or numbers not near."""
        if len(self.games) != len(other.games) or (self.games != other.games).any():
            return len(set(self.games.tolist()) | set(other.games.tolist()))
        owner = np.repeat(self.games, self.sizes)
        same = (self.best == other.best) & (self.sizes == other.sizes)
        same &= (abs(self.roots - other.roots) < near).all(axis=1)
        bad = set(self.games[~same].tolist())
        if len(self.actions) != len(other.actions):
            return max(len(bad), 1)
        alike = (self.actions == other.actions) & (self.visits == other.visits)
        alike &= abs(self.policy - other.policy) < near
        alike &= (abs(self.values - other.values) < near).all(axis=1)
        return len(bad | set(owner[~alike].tolist()))

    def arrays(self) -> dict[str, np.ndarray]:
        """The fields by name."""
        return {field.name: getattr(self, field.name) for field in fields(Trace)}


def trace(
    forest: Searches,
    rows: IntArray,
    seeds: Seeds,
    decisions: int,
    simulations: int,
    considered: int,
) -> Trace:
    """Searches and plays up to `decisions` decisions from each of `rows`, [G, row size].

    In each of them there are two legal actions or more. Every other game halves with noise, the
    rest goes by PUCT.
    """
    for g in range(len(rows)):
        forest.place(g, rows[g], int(seeds[g]))
    playing, parts = np.arange(len(rows)), []
    for _ in range(decisions):
        for g in playing.tolist():
            forest.begin(g, simulations, considered if g % 2 else 0, float(g % 2))
        over = 0
        while over < len(playing):
            over += len(forest.step())
        found = forest.results(playing)
        parts += [(g, f) for g, f in zip(playing.tolist(), found, strict=True)]
        forest.play(playing, np.array([f.actions[f.best] for f in found], np.int32))
        playing = playing[forest.heads[playing, L.PHASE] != L.OVER]
        if len(playing) == 0:
            break
    return Trace(
        np.array([g for g, _ in parts]),
        np.array([f.actions[f.best] for _, f in parts], np.int32),
        np.array([len(f.actions) for _, f in parts]),
        np.concatenate([f.actions for _, f in parts]),
        np.concatenate([f.visits for _, f in parts]),
        np.concatenate([f.policy for _, f in parts]),
        np.concatenate([f.values for _, f in parts]),
        np.stack([f.root_values for _, f in parts]),
    )
