"""PUCT search over a batch of games: the trees go down and up together, the evaluator sees a batch.

The evaluator is handed in; nothing here knows what it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ringrift_cli.game import layout as L
from ringrift_cli.game.playout import LongArray, spread
from ringrift_cli.game.topology import IntArray
from ringrift_cli.search import tree
from ringrift_cli.search.tree import DEEPEST, FloatArray, Trees

VERSION = 1  # grows when a search with the same numbers may find something else
EXPLORATION = 0.5
SMALLEST_BLOCK = 8  # trees that a thread takes


class Evaluator(Protocol):
    """What judges positions."""

    def evaluate(
        self, rows: IntArray, actions: IntArray, offsets: LongArray
    ) -> tuple[FloatArray, FloatArray]:
        """Logits of the legal actions, [M], and chances to win by seat, [N, players].

        Row i may play `actions[offsets[i] : offsets[i + 1]]`.
        """


@dataclass(frozen=True)
class Found:
    """What a search found at one root, over its legal actions."""

    actions: IntArray  # [n]
    priors: FloatArray  # [n]
    visits: LongArray  # [n]
    values: FloatArray  # [n, players] mean values; of the root where an action has no visit
    root_values: FloatArray  # [players] chances to win, visits weighed

    def best(self) -> int:
        """Index of the most visited action; between equals the one with the greater prior."""
        return int(np.lexsort((self.priors, self.visits))[-1])


def search(
    T: IntArray,
    roots: IntArray,
    evaluator: Evaluator,
    simulations: int,
    *,
    exploration: float = EXPLORATION,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[Found]:
    """Searches from `roots`, [G, row size], in each of which there are two legal actions or more.

    Each tree makes `simulations` walks, or fewer if `should_stop` says so after at least one.
    """
    batch = _Batch(T, roots, evaluator, exploration)
    batch.simulate()  # makes the roots
    for done in range(simulations):
        if done > 0 and should_stop():
            break
        batch.simulate()
    return [batch.found(g) for g in range(len(roots))]


class _Batch:
    def __init__(
        self, T: IntArray, roots: IntArray, evaluator: Evaluator, exploration: float
    ) -> None:
        self._T, self._roots, self._evaluator = T, roots, evaluator
        self._exploration = exploration
        self._players = int(T[L.T_PLAYERS])
        self._trees = Trees.empty(len(roots), 32, 1024, self._players)
        games = len(roots)
        self._games = np.arange(games)
        self._rows = np.empty_like(roots)
        self._paths = np.zeros((games, DEEPEST), np.int32)
        self._depths, self._known = np.zeros(games, np.int64), np.zeros(games, np.int64)

    def simulate(self) -> None:
        """One walk in every tree."""
        actions, offsets = self._select()
        self._make_room(int(np.diff(offsets).max()))
        fresh = np.flatnonzero((self._known == tree.NEVER) & (np.diff(offsets) > 0))
        logits = np.zeros(len(actions))
        values = np.zeros((len(self._rows), self._players))
        if len(fresh):
            # rows without actions add nothing to the list: the offsets of the fresh ones cover it
            ends = np.append(offsets[fresh], len(actions))
            logits, values[fresh] = self._evaluator.evaluate(self._rows[fresh], actions, ends)
        self._expand(actions, offsets, logits, values)

    def _select(self) -> tuple[IntArray, LongArray]:
        t, most = self._trees, int(self._T[L.T_MAX_LEGAL])
        counts = np.zeros(len(self._rows), np.int64)
        parts: dict[int, IntArray] = {}

        def work(a: int, b: int) -> None:
            room = np.empty((b - a) * most, np.int32)
            tree.select(
                self._T, self._roots[a:b], self._games[a:b], t.nodes, t.first, t.count, t.seat,
                t.value, t.action, t.prior, t.child, t.visits, t.worth, self._exploration,
                self._rows[a:b], counts[a:b], self._paths[a:b], self._depths[a:b],
                self._known[a:b], room,
            )  # fmt: skip
            parts[a] = room[: counts[a:b].sum()]

        spread(work, len(self._rows), smallest=SMALLEST_BLOCK)
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        return np.concatenate([parts[a] for a in sorted(parts)]), offsets

    def _make_room(self, legal: int) -> None:
        t = self._trees
        nodes, edges = int(t.nodes.max()) + 1, int(t.edges.max()) + legal
        if nodes > t.first.shape[1] or edges > t.action.shape[1]:
            t.grow(max(nodes, 2 * t.first.shape[1]), max(edges, 2 * t.action.shape[1]))

    def _expand(
        self, actions: IntArray, offsets: LongArray, logits: FloatArray, values: FloatArray
    ) -> None:
        t = self._trees
        spread(
            lambda a, b: tree.expand(
                self._rows[a:b], self._games[a:b], t.nodes, t.edges, t.first, t.count, t.seat,
                t.value, t.action, t.prior, t.child, t.visits, t.worth, self._paths[a:b],
                self._depths[a:b], self._known[a:b], actions, offsets[a : b + 1], logits,
                values[a:b],
            ),
            len(self._rows),
            smallest=SMALLEST_BLOCK,
        )  # fmt: skip

    def found(self, g: int) -> Found:
        t = self._trees
        edges = slice(int(t.first[g, 0]), int(t.first[g, 0] + t.count[g, 0]))
        visits = t.visits[g, edges].astype(np.int64)
        sums = t.worth[g, edges].astype(np.float64)
        own = t.value[g, 0].astype(np.float64)
        values = np.where(visits[:, None] > 0, sums / np.maximum(visits, 1)[:, None], own)
        root = (own + sums.sum(axis=0)) / (1 + visits.sum())
        priors = t.prior[g, edges].astype(np.float64)
        return Found(t.action[g, edges].copy(), priors, visits, values, root)
