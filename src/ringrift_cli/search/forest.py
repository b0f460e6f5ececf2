"""Searches in many games at once, each at its own pace; the evaluator sees their leaves as a batch.

The evaluator is handed in; nothing here knows what it is. A step takes every game that searches on
to its next leaf: simulations that end where the winner is certain cost nothing and are made in
between. So a batch has a row for every game, and no game waits for another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from ringrift_cli.game import layout as L
from ringrift_cli.game.jit import njit, wide
from ringrift_cli.game.playout import BoolArray, LongArray, spread
from ringrift_cli.game.topology import IntArray
from ringrift_cli.search import gumbel, results, tree
from ringrift_cli.search.gumbel import Plans
from ringrift_cli.search.results import SearchResult
from ringrift_cli.search.simulate import expand, play_on, simulate
from ringrift_cli.search.tree import DEEPEST, NEVER, FloatArray, Trees
from ringrift_cli.settings import SelfPlay

VERSION = 2  # grows when a search with the same numbers may find something else
EXPLORATION, VALUE_SCALE = SelfPlay.exploration, SelfPlay.value_scale  # docs/lab-notes.md
SMALLEST_BLOCK = 8  # trees that a thread takes
FIRST_NODES, FIRST_EDGES = 32, 1024  # of a tree; more when they are needed


class Evaluator(Protocol):
    """What evaluates positions."""

    def evaluate(
        self, rows: IntArray, actions: IntArray, offsets: LongArray
    ) -> tuple[FloatArray, FloatArray]:
        """Logits of the legal actions, [M], and chances to win by seat, [N, players].

        Row i may play `actions[offsets[i] : offsets[i + 1]]`, of which there are two or more.
        """


class Searches(Protocol):
    """What `Forest` can, for who does not care where the trees are; [K] games at a time."""

    evaluated: int  # positions that the evaluator saw

    @property
    def heads(self) -> IntArray:
        """The headers of the roots, [G, HEADER]; see game/layout.py."""

    def __len__(self) -> int: ...

    def place(self, g: int, row: IntArray, seed: int = 0) -> None: ...

    def begin(self, g: int, simulations: int, considered: int, noise: float = 0.0) -> None: ...

    def step(self) -> LongArray: ...

    def results(self, games: LongArray) -> list[SearchResult]: ...

    def best(self, games: LongArray) -> IntArray: ...

    def root_values(self, games: LongArray) -> FloatArray: ...

    def play(self, games: LongArray, actions: IntArray) -> list[list[int]]: ...


class Forest:
    """The trees of G games of one board and number of players.

    `place` sets a game, `begin` starts a search of it, `step` takes all searches on and tells which
    are over, `results` says what came out, and `play` moves on to the next position.
    """

    def __init__(
        self,
        T: IntArray,
        games: int,
        evaluator: Evaluator,
        *,
        exploration: float = EXPLORATION,
        value_scale: float = VALUE_SCALE,
        considered: int = 16,
    ) -> None:
        """`considered` bounds what a search may consider."""
        self._T, self.evaluator = T, evaluator
        self._exploration, self._scale = exploration, value_scale
        self._players = int(T[L.T_PLAYERS])
        self.rows: IntArray = np.zeros((games, int(T[L.T_ROW_SIZE])), np.int32)  # the roots
        self._trees = tree.empty_trees(games, FIRST_NODES, FIRST_EDGES, self._players)
        self._plans = gumbel.new_plans(games, max(1, considered))
        self._leaves = np.zeros_like(self.rows)
        self._nodes = np.zeros((games, DEEPEST), np.int32)
        self._paths = np.zeros((games, DEEPEST), np.int32)
        self._ends = np.zeros((games, 4), np.int32)  # depth, legal actions, node, passed
        self.evaluated = 0  # positions that the evaluator saw

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def heads(self) -> IntArray:
        """The headers of the roots, [G, HEADER]; see game/layout.py."""
        return self.rows[:, : L.HEADER]

    def place(self, g: int, row: IntArray, seed: int = 0) -> None:
        """Puts game `g` at a position with two legal actions or more, and forgets its tree.

        `seed`, below 2^64, is what the noise of its searches comes from.
        """
        self.rows[g] = row
        self._plans.seeds[g] = seed
        self._trees.nodes[g] = self._trees.edges[g] = 0
        self._plans.budget[g] = 0

    def begin(self, g: int, simulations: int, considered: int, noise: float = 0.0) -> None:
        """Starts a search (gumbel.py); what the tree knows already counts."""
        plans = self._plans
        plans.budget[g], plans.done[g] = simulations, 0
        plans.width[g], plans.drawn[g], plans.noise[g] = considered, NEVER, noise

    def step(self) -> LongArray:
        """One evaluated position for every game that searches; the games whose search is over."""
        plans = self._plans
        games = np.flatnonzero(plans.budget > 0)
        actions, offsets = self._advance(games)
        legal = np.diff(offsets)
        asking = np.flatnonzero(legal > 0)
        over = games[legal == 0]
        plans.budget[over] = 0
        if len(asking):
            ends = np.append(offsets[asking], len(actions))  # rows that do not ask add nothing
            rows = self._leaves[games[asking]]
            self.evaluated += len(rows)
            logits, values = self.evaluator.evaluate(rows, actions, ends)
            self._expand(games[asking], actions, ends, logits, values)
        return over

    def _advance(self, games: LongArray) -> tuple[IntArray, LongArray]:
        """Simulates to the next leaves; legal actions and offsets, none where a search ended."""
        most = int(self._T[L.T_MAX_LEGAL])
        self._make_room()
        counts = np.zeros(len(games), np.int64)
        parts: dict[int, IntArray] = {}

        def work(a: int, b: int) -> None:
            room = np.empty((b - a) * most, np.int32)
            _simulate(
                self._T, self._trees, self._plans, self.rows, games[a:b], self._exploration,
                self._scale, self._leaves, self._nodes, self._paths, self._ends, counts[a:b], room,
            )  # fmt: skip
            parts[a] = room[: counts[a:b].sum()].copy()

        if len(games):
            spread(work, len(games), smallest=SMALLEST_BLOCK)
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        lists = [parts[a] for a in sorted(parts)] or [np.empty(0, np.int32)]
        return np.concatenate(lists), offsets

    def _expand(
        self,
        games: LongArray,
        actions: IntArray,
        offsets: LongArray,
        logits: FloatArray,
        values: FloatArray,
    ) -> None:
        self._make_room(int(np.diff(offsets).max()))
        spread(
            lambda a, b: _expand(
                self._trees, self._plans, self._leaves, games[a:b], self._nodes, self._paths,
                self._ends, actions, offsets[a : b + 1], logits, values[a:b],
            ),
            len(games),
            smallest=SMALLEST_BLOCK,
        )  # fmt: skip

    def _make_room(self, legal: int = 0) -> None:
        """Room for a node with so many actions in every tree, and for ends of games beside it."""
        t = self._trees
        spare = int(self._plans.budget.max()) + 1
        nodes, edges = int(t.nodes.max()) + spare, int(t.edges.max()) + legal
        if nodes > t.first.shape[1] or edges > t.action.shape[1]:
            self._trees = tree.grown(
                t,
                nodes if nodes <= t.first.shape[1] else max(nodes, 2 * t.first.shape[1]),
                edges if edges <= t.action.shape[1] else max(edges, 2 * t.action.shape[1]),
            )

    def results(self, games: LongArray) -> list[SearchResult]:
        """What the searches of `games`, [K], found; their roots must have been evaluated."""
        return results.search_results(
            self._trees, self._plans, games, self._scale, self._swapped(games)
        )

    def best(self, games: LongArray) -> IntArray:
        """The action that each search of `games` prefers, [K]: `actions[best]` of `results`."""
        return results.best_actions(self._trees, self._plans, games, self._scale)

    def root_values(self, games: LongArray) -> FloatArray:
        """Each seat's chance to win, [K, players]: visits weighed, or what is certain."""
        return results.root_values(self._trees, games, self._swapped(games))

    def _swapped(self, games: LongArray) -> BoolArray:
        swapped: BoolArray = self.rows[games, L.PIE] == L.PIE_SWAPPED
        return swapped

    def play(self, games: LongArray, actions: IntArray) -> list[list[int]]:
        """Plays a legal action in each of `games`, and single legal actions behind it.

        Returns what was played. The part of the trees below stays. At the end of a game its row
        says so.
        """
        logs = np.zeros((len(games), DEEPEST), np.int32)
        counts = np.zeros(len(games), np.int64)
        spread(
            lambda a, b: _play(
                self._T, self._trees, games[a:b], self.rows, actions[a:b], logs[a:b], counts[a:b]
            ),
            len(games),
            smallest=SMALLEST_BLOCK,
        )
        return [log[:n].tolist() for log, n in zip(logs, counts.tolist(), strict=True)]


@njit()
def _simulate(
    T: IntArray,
    t: Trees,
    plans: Plans,
    roots: IntArray,
    games: LongArray,
    exploration: float,
    scale: float,
    leaves: IntArray,
    nodes: IntArray,
    paths: IntArray,
    ends: IntArray,
    legal: LongArray,
    room: IntArray,
) -> None:
    """Simulates in each of `games`, [K], until one needs evaluation or the search is over.

    `leaves`, [G, row size], take the positions and `legal`, [K], their numbers of legal actions,
    which follow each other in `room`: 0 where the search is over. `ends`, [G, 4]: the depth of the
    leaf, its legal actions, the node where the simulation ended, the single actions passed before.
    """
    work = np.empty(L.WORK, np.int32)
    at = 0
    for k in range(len(games)):
        g = wide(games[k])
        n = simulate(
            T, t, plans, g, roots[g], exploration, scale, leaves[g], nodes[g], paths[g], ends[g],
            work, room[at:],
        )  # fmt: skip
        legal[k] = n
        at += n


@njit()
def _expand(
    t: Trees,
    plans: Plans,
    leaves: IntArray,
    games: LongArray,
    nodes: IntArray,
    paths: IntArray,
    ends: IntArray,
    actions: IntArray,
    offsets: LongArray,
    logits: FloatArray,
    values: FloatArray,
) -> None:
    """Adds the evaluated leaf of each of `games`, [K], to its tree and counts its simulation.

    Leaf k has `actions` and `logits` from `offsets[k]` to `offsets[k + 1]`; `values` [K, players].
    """
    for k in range(len(games)):
        g = wide(games[k])
        a, n = offsets[k], offsets[k + 1] - offsets[k]
        expand(
            t, plans, g, leaves[g], nodes[g], paths[g], ends[g], actions[a:], n, logits, a,
            values[k],
        )  # fmt: skip


@njit()
def _play(
    T: IntArray,
    t: Trees,
    games: LongArray,
    rows: IntArray,
    actions: IntArray,
    logs: IntArray,
    counts: LongArray,
) -> None:
    """Plays `actions`, [K], in `games`; `logs`, [K, DEEPEST], take what is played."""
    work, room = np.empty(L.WORK, np.int32), np.empty(T[L.T_MAX_LEGAL], np.int32)
    to = np.empty(t.first.shape[1], np.int32)
    for k in range(len(games)):
        g = wide(games[k])
        counts[k] = play_on(T, t, g, rows[g], wide(actions[k]), work, room, logs[k], to)


def search(
    T: IntArray,
    roots: IntArray,
    evaluator: Evaluator,
    simulations: int,
    *,
    considered: int = 0,
    exploration: float = EXPLORATION,
    value_scale: float = VALUE_SCALE,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[SearchResult]:
    """Searches from `roots`, [G, row size], in each of which there are two legal actions or more.

    Each tree gets `simulations`, fewer where the winner becomes certain or `should_stop` says so
    after at least one. With `considered` 0 the root decides by PUCT, else by sequential
    halving without noise.
    """
    games = len(roots)
    forest = Forest(
        T,
        games,
        evaluator,
        exploration=exploration,
        value_scale=value_scale,
        considered=considered,
    )
    for g in range(games):
        forest.place(g, roots[g])
        forest.begin(g, simulations, considered)
    over, steps = 0, 0
    while over < games and not (steps > 1 and should_stop()):
        over += len(forest.step())
        steps += 1
    return forest.results(np.arange(games))
