"""Searches in many games at once, each at its own pace; the evaluator sees their leaves as a batch.

The evaluator is handed in; nothing here knows what it is. A step takes every game that searches on
to its next position that needs judgement: walks that end where the winner is certain cost nothing
and are made in between. So a batch has a row for every game, and no game waits for another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ringrift_cli.game import layout as L
from ringrift_cli.game import turn
from ringrift_cli.game.jit import njit, pointer, wide
from ringrift_cli.game.playout import LongArray, spread
from ringrift_cli.game.topology import IntArray
from ringrift_cli.search import gumbel, tree
from ringrift_cli.search.gumbel import Plans
from ringrift_cli.search.tree import DEEPEST, NEVER, FloatArray, Trees

VERSION = 2  # grows when a search with the same numbers may find something else
EXPLORATION = 0.5
VALUE_SCALE = 0.3  # docs/lab-notes.md
SMALLEST_BLOCK = 8  # trees that a thread takes
FIRST_NODES, FIRST_EDGES = 32, 1024  # of a tree; more when they are needed


class Evaluator(Protocol):
    """What judges positions."""

    def evaluate(
        self, rows: IntArray, actions: IntArray, offsets: LongArray
    ) -> tuple[FloatArray, FloatArray]:
        """Logits of the legal actions, [M], and chances to win by seat, [N, players].

        Row i may play `actions[offsets[i] : offsets[i + 1]]`, of which there are two or more.
        """


@dataclass(frozen=True)
class Found:
    """What a search found at one root, over its legal actions."""

    actions: IntArray  # [n]
    priors: FloatArray  # [n]
    visits: LongArray  # [n]
    values: FloatArray  # [n, players] mean values; of the root where an action has no visit
    policy: FloatArray  # [n] the improved policy (gumbel.improved_policy)
    root_values: FloatArray  # [players] chances to win, visits weighed
    best: int  # index of the action to play


class Forest:
    """The trees of G games of one board and number of players.

    `place` sets a game, `begin` starts a search of it, `step` takes all searches on and tells which
    are over, `found` says what came out, and `play` moves on to the next position.
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
        self._room = np.empty(int(T[L.T_MAX_LEGAL]), np.int32)
        self._log = np.empty(DEEPEST, np.int32)
        self.judged = 0  # positions that the evaluator saw

    def __len__(self) -> int:
        return len(self.rows)

    def place(self, g: int, row: IntArray, seed: int = 0) -> None:
        """Puts game `g` at a position with two legal actions or more, and forgets its tree.

        `seed`, below 2^64, is what the noise of its searches comes from.
        """
        self.rows[g] = row
        self._plans.seeds[g] = seed
        self._trees.nodes[g] = self._trees.edges[g] = 0
        self._plans.budget[g] = 0

    def begin(self, g: int, walks: int, considered: int, noise: float = 0.0) -> None:
        """Starts a search of `walks` walks; see gumbel.py. What the tree knows already counts."""
        plans = self._plans
        plans.budget[g], plans.done[g] = walks, 0
        plans.width[g], plans.drawn[g], plans.noise[g] = considered, NEVER, noise

    def step(self) -> LongArray:
        """One judged position for every game that searches; the games whose search is over."""
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
            self.judged += len(rows)
            logits, values = self.evaluator.evaluate(rows, actions, ends)
            self._expand(games[asking], actions, ends, logits, values)
        return over

    def _advance(self, games: LongArray) -> tuple[IntArray, LongArray]:
        """Walks to the next leaves; their legal actions and offsets, none where a search ended."""
        most = int(self._T[L.T_MAX_LEGAL])
        self._make_room()
        counts = np.zeros(len(games), np.int64)
        parts: dict[int, IntArray] = {}

        def work(a: int, b: int) -> None:
            room = np.empty((b - a) * most, np.int32)
            _walk(
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

    def found(self, g: int) -> Found:
        """What the search of game `g` found; the root must have been judged."""
        t = self._trees
        edges = slice(int(t.first[g, 0]), int(t.first[g, 0] + t.degree[g, 0]))
        policy = np.empty(int(t.degree[g, 0]), np.float32)
        gumbel.improved_policy(t, g, self._scale, policy)
        visits = t.visits[g, edges].astype(np.int64)
        sums = t.worth[g, edges].astype(np.float64)
        own = t.value[g, 0].astype(np.float64)
        values = np.where(visits[:, None] > 0, sums / np.maximum(visits, 1)[:, None], own)
        children = t.child[g, edges]
        winners = np.where(children == NEVER, NEVER, t.proven[g, children])
        known = np.flatnonzero(winners != NEVER)
        values[known] = np.eye(self._players)[winners[known]]
        return Found(
            t.action[g, edges].copy(),
            t.prior[g, edges].astype(np.float64),
            visits,
            self._by_seat(g, values),
            policy.astype(np.float64),
            self.root_values(g),
            gumbel.final_edge(t, self._plans, g, self._scale) - edges.start,
        )

    def best(self, g: int) -> int:
        """The action that the search of game `g` prefers, `found(g).actions[found(g).best]`."""
        edge = gumbel.final_edge(self._trees, self._plans, g, self._scale)
        return int(self._trees.action[g, edge])

    def root_values(self, g: int) -> FloatArray:
        """Each seat's chance to win game `g`, [players]: visits weighed, or what is certain."""
        t = self._trees
        if t.proven[g, 0] != NEVER:
            return self._by_seat(g, np.eye(self._players)[t.proven[g, 0]])
        edges = slice(int(t.first[g, 0]), int(t.first[g, 0] + t.degree[g, 0]))
        sums = t.worth[g, edges].sum(axis=0, dtype=np.float64)
        return self._by_seat(g, (t.value[g, 0] + sums) / (1 + int(t.visits[g, edges].sum())))

    def _by_seat(self, g: int, by_starter: FloatArray) -> FloatArray:
        """What a tree says by starter, [..., players], for the seats of its root."""
        swapped = self.rows[g, L.PIE] == L.PIE_SWAPPED
        return by_starter[..., ::-1] if swapped else by_starter

    def play(self, g: int, action: int) -> list[int]:
        """Plays a legal action in game `g`, and single legal actions behind it; the actions played.

        The part of the tree below stays. At the end of the game the row says so.
        """
        n = _play(self._T, self._trees, g, self.rows[g], action, self._room, self._log)
        played: list[int] = self._log[:n].tolist()
        return played


@njit()
def _walk(
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
    """Makes walks in each of `games`, [K], until one needs judgement or the search is over.

    `leaves`, [G, row size], take the positions and `legal`, [K], their numbers of legal actions,
    which follow each other in `room`: 0 where the search is over. `ends`, [G, 4]: the depth of the
    walk, the legal actions, the node where it ended, the single actions passed before the leaf.
    """
    work = np.empty(L.WORK, np.int32)
    at = 0
    for k in range(len(games)):
        g = wide(games[k])
        legal[k] = 0
        if t.nodes[g] == 0:
            leaves[g] = roots[g]
            legal[k] = turn.legal(pointer(T), pointer(leaves[g]), pointer(work), pointer(room[at:]))
            ends[g, 0], ends[g, 1], ends[g, 2], ends[g, 3] = 0, legal[k], NEVER, 0
            at += legal[k]
            continue
        while plans.done[g] < plans.budget[g] and t.proven[g, 0] == NEVER:
            e = gumbel.root_edge(t, plans, g, exploration, scale)
            leaves[g] = roots[g]
            tree.descend(
                T, t, g, e, exploration, leaves[g], work, room[at:], ends[g, 3:], nodes[g],
                paths[g], ends[g],
            )  # fmt: skip
            node = wide(ends[g, 2])
            if node == NEVER and ends[g, 1] > 0:
                legal[k] = ends[g, 1]
                at += legal[k]
                break
            if node == NEVER:  # an end of the game that was not met before
                node = tree.add_node(t, g, leaves[g], ends[g, 3], room[at:], 0)
                t.child[g, paths[g, ends[g, 0] - 1]] = node
            tree.back_up(t, g, ends[g, 0], nodes[g], paths[g], node)
            plans.done[g] += 1


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
    """Adds the judged leaf of each of `games`, [K], to its tree and counts its walk.

    Leaf k has `actions` and `logits` from `offsets[k]` to `offsets[k + 1]`; `values` [K, players].
    """
    for k in range(len(games)):
        g = wide(games[k])
        a, n = offsets[k], offsets[k + 1] - offsets[k]
        node = tree.add_node(t, g, leaves[g], ends[g, 3], actions[a:], n)
        tree.judge(t, g, node, leaves[g], logits, a, values[k])
        depth = ends[g, 0]
        if depth > 0:
            t.child[g, paths[g, depth - 1]] = node
            tree.back_up(t, g, depth, nodes[g], paths[g], node)
            plans.done[g] += 1


@njit()
def _play(
    T: IntArray, t: Trees, g: int, row: IntArray, action: int, room: IntArray, log: IntArray
) -> int:
    """Plays an action and the single legal ones behind it, and keeps what the tree knows of it.

    Writes what is played to `log` and returns how many. A game that passes more than `log` holds
    stays where it is then: its root has a single action.
    """
    work = np.empty(L.WORK, np.int32)
    log[0] = action
    played = 1
    turn.apply(pointer(T), pointer(row), pointer(work), wide(action))
    n = turn.legal(pointer(T), pointer(row), pointer(work), pointer(room))
    while n == 1 and played < len(log):
        log[played] = room[0]
        played += 1
        turn.apply(pointer(T), pointer(row), pointer(work), wide(room[0]))
        n = turn.legal(pointer(T), pointer(row), pointer(work), pointer(room))
    node = NEVER
    if t.nodes[g] > 0:
        for e in range(t.first[g, 0], t.first[g, 0] + t.degree[g, 0]):
            if t.action[g, e] == action:
                node = wide(t.child[g, e])
    if node == NEVER:
        t.nodes[g], t.edges[g] = 0, 0
    else:
        tree.keep_subtree(t, g, node)
    return played


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
) -> list[Found]:
    """Searches from `roots`, [G, row size], in each of which there are two legal actions or more.

    Each tree makes `simulations` walks, fewer where the winner becomes certain or `should_stop`
    says so after at least one. With `considered` 0 the root decides by PUCT, else by sequential
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
    return [forest.found(g) for g in range(games)]
