"""Parallel tree search in many games; their leaves are evaluated as one batch.

A step advances every searching game to its next leaf. Simulations that end in a proven node need no
evaluation and are made in between, so each batch has a row for every game.
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

VERSION = 2  # incremented when results for equal settings may change
EXPLORATION = SelfPlay.exploration
VALUE_SCALE = 0.3  # in play; self-play has selfplay.value_scale (docs/lab-notes.md)
MIN_BLOCK = 8  # trees per thread
FIRST_NODES, FIRST_EDGES = 32, 1024  # initial capacity of a tree


class Evaluator(Protocol):
    """Evaluates batches of positions."""

    def evaluate(
        self, rows: IntArray, actions: IntArray, offsets: LongArray
    ) -> tuple[FloatArray, FloatArray]:
        """Logits of the legal actions, [M], and win probabilities by seat, [N, players].

        Row i has the legal actions `actions[offsets[i] : offsets[i + 1]]`, two or more.
        """


class Searches(Protocol):
    """Interface of `Forest`, independent of the device; `games` are [K] indices."""

    evaluated: int  # evaluated positions

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

    `place` sets the root of a game, `begin` starts a search, `step` advances all searches and
    returns the finished ones, `results` gives their results, `play` moves to the next root.
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
        """`considered` is the maximum number of considered actions."""
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
        self.evaluated = 0  # evaluated positions

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def heads(self) -> IntArray:
        """The headers of the roots, [G, HEADER]; see game/layout.py."""
        return self.rows[:, : L.HEADER]

    def place(self, g: int, row: IntArray, seed: int = 0) -> None:
        """Sets the root of game `g`, with two or more legal actions, and clears its tree.

        `seed`, below 2^64, seeds the noise of its searches.
        """
        self.rows[g] = row
        self._plans.seeds[g] = seed
        self._trees.nodes[g] = self._trees.edges[g] = 0
        self._plans.budget[g] = 0

    def begin(self, g: int, simulations: int, considered: int, noise: float = 0.0) -> None:
        """Starts a search (gumbel.py) that reuses the tree."""
        plans = self._plans
        plans.budget[g], plans.done[g] = simulations, 0
        plans.width[g], plans.drawn[g], plans.noise[g] = considered, NEVER, noise

    def step(self) -> LongArray:
        """Evaluates one position of every searching game; returns the games that finished."""
        plans = self._plans
        games = np.flatnonzero(plans.budget > 0)
        actions, offsets = self._advance(games)
        legal = np.diff(offsets)
        pending = np.flatnonzero(legal > 0)
        over = games[legal == 0]
        plans.budget[over] = 0
        if len(pending):
            ends = np.append(offsets[pending], len(actions))  # finished games have no actions
            rows = self._leaves[games[pending]]
            self.evaluated += len(rows)
            logits, values = self.evaluator.evaluate(rows, actions, ends)
            self._expand(games[pending], actions, ends, logits, values)
        return over

    def _advance(self, games: LongArray) -> tuple[IntArray, LongArray]:
        """Simulates to the next leaves; legal actions and offsets, none for ended searches."""
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
            spread(work, len(games), smallest=MIN_BLOCK)
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
            smallest=MIN_BLOCK,
        )  # fmt: skip

    def _make_room(self, legal: int = 0) -> None:
        """Grows the trees for a node with `legal` actions and for terminal nodes."""
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
        """Results of the searches of `games`, [K]; requires evaluated roots."""
        return results.search_results(
            self._trees, self._plans, games, self._scale, self._swapped(games)
        )

    def line(self, g: int, edge: int, most: int) -> list[int]:
        """The expected continuation of a root action; see `results.best_line`."""
        return results.best_line(self._trees, g, edge, most)

    @property
    def size(self) -> int:
        """Bytes of the trees."""
        return sum(array.nbytes for array in self._trees)

    def best(self, games: LongArray) -> IntArray:
        """The best action of each search of `games`, [K]: `actions[best]` of `results`."""
        return results.best_actions(self._trees, self._plans, games, self._scale)

    def root_values(self, games: LongArray) -> FloatArray:
        """Win probabilities by seat, [K, players]: visit-weighted, exact if proven."""
        return results.root_values(self._trees, games, self._swapped(games))

    def _swapped(self, games: LongArray) -> BoolArray:
        swapped: BoolArray = self.rows[games, L.PIE] == L.PIE_SWAPPED
        return swapped

    def play(self, games: LongArray, actions: IntArray) -> list[list[int]]:
        """Plays a legal action in each of `games`, and following forced actions.

        Returns the played actions. The subtrees are kept.
        """
        logs = np.zeros((len(games), DEEPEST), np.int32)
        counts = np.zeros(len(games), np.int64)
        spread(
            lambda a, b: _play(
                self._T, self._trees, games[a:b], self.rows, actions[a:b], logs[a:b], counts[a:b]
            ),
            len(games),
            smallest=MIN_BLOCK,
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

    Writes the positions to `leaves`, [G, row size], and their numbers of legal actions, 0 if the
    search is over, to `legal`, [K]; the actions are consecutive in `room`. `ends`, [G, 4]: depth of
    the leaf, legal actions, final node of the simulation, forced actions before the leaf.
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
    """Adds the evaluated leaf of each of `games`, [K], to its tree and backs up its value.

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
    """Plays `actions`, [K], in `games`; writes the played actions to `logs`, [K, DEEPEST]."""
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
    """Searches from `roots`, [G, row size], each with two or more legal actions.

    Each tree gets `simulations`, fewer if the root is proven or `should_stop` returns True after at
    least one. The root uses PUCT if `considered` is 0, else sequential halving without noise.
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
