"""Search trees of many games, and the compiled walks over them.

Every game has its own tree, kept in flat arrays. A node is a position with at least two legal
actions, or the end of the game; positions with a single one are passed through. Its edges are its
legal actions and nothing else, so memory grows with what is legal, not with the action space.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ringrift_cli.game import layout as L
from ringrift_cli.game import turn
from ringrift_cli.game.jit import njit, pointer, rule, wide
from ringrift_cli.game.playout import LongArray
from ringrift_cli.game.topology import IntArray

FloatArray = npt.NDArray[np.float64]
SmallFloats = npt.NDArray[np.float32]

NEVER = -1  # an edge that leads to no node yet
DEEPEST = 256  # edges of a path


@dataclass
class Trees:
    """G trees with room for M nodes and E edges each; node 0 is the root."""

    nodes: IntArray  # [G] in use
    edges: IntArray  # [G] in use
    first: IntArray  # [G, M] first edge of a node
    count: IntArray  # [G, M] its edges; 0 at the end of a game
    seat: IntArray  # [G, M] who decides
    action: IntArray  # [G, E]
    prior: SmallFloats  # [G, E]
    child: IntArray  # [G, E] node or NEVER
    visits: IntArray  # [G, E]
    worth: SmallFloats  # [G, E, players] sum of the backed-up values of each seat
    value: SmallFloats  # [G, M, players] what the evaluator said of a node

    @classmethod
    def empty(cls, games: int, nodes: int, edges: int, players: int) -> Trees:
        return cls(
            np.zeros(games, np.int32),
            np.zeros(games, np.int32),
            np.zeros((games, nodes), np.int32),
            np.zeros((games, nodes), np.int32),
            np.zeros((games, nodes), np.int32),
            np.zeros((games, edges), np.int32),
            np.zeros((games, edges), np.float32),
            np.zeros((games, edges), np.int32),
            np.zeros((games, edges), np.int32),
            np.zeros((games, edges, players), np.float32),
            np.zeros((games, nodes, players), np.float32),
        )

    def grow(self, nodes: int, edges: int) -> None:
        """Makes room for so many nodes and edges; what is there stays."""
        for name in ("first", "count", "seat", "value"):
            setattr(self, name, _longer(getattr(self, name), nodes))
        for name in ("action", "prior", "child", "visits", "worth"):
            setattr(self, name, _longer(getattr(self, name), edges))


def _longer(array: npt.NDArray[np.generic], size: int) -> npt.NDArray[np.generic]:
    if array.shape[1] >= size:
        return array
    longer = np.zeros((array.shape[0], size, *array.shape[2:]), array.dtype)
    longer[:, : array.shape[1]] = array
    return longer


@rule()
def pass_through(T: IntArray, S: IntArray, W: IntArray, out: IntArray) -> int:
    """Plays single legal actions until there is a choice; returns how many, 0 at the end."""
    n = turn.legal(T, S, W, out)
    while n == 1:
        turn.apply(T, S, W, out[0])
        n = turn.legal(T, S, W, out)
    return n


@rule()
def best_edge(
    first: int,
    count: int,
    seat: int,
    prior: SmallFloats,
    visits: IntArray,
    worth: SmallFloats,
    own: float,
    exploration: float,
) -> int:
    """PUCT (Silver et al. 2017): the edge with the greatest Q + c P sqrt(N) / (1 + n).

    Q is the mean value of the deciding seat. An edge without visits counts as the node itself,
    `own`, less 0.2 times the root of the prior mass seen so far (first-play urgency, as in KataGo).
    """
    total, seen = 0, 0.0
    for e in range(first, first + count):
        total += visits[e]
        if visits[e] > 0:
            seen += prior[e]
    unseen = max(0.0, own - 0.2 * np.sqrt(seen))
    root = exploration * np.sqrt(max(1.0, float(total)))
    best, chosen = -np.inf, first
    for e in range(first, first + count):
        n = visits[e]
        score = worth[e, seat] / n if n > 0 else unseen
        score += root * prior[e] / (1 + n)
        if score > best:
            best, chosen = score, e
    return chosen


@njit()
def select(
    T: IntArray,
    roots: IntArray,
    games: LongArray,
    nodes: IntArray,
    first: IntArray,
    count: IntArray,
    seat: IntArray,
    value: SmallFloats,
    action: IntArray,
    prior: SmallFloats,
    child: IntArray,
    visits: IntArray,
    worth: SmallFloats,
    exploration: float,
    rows: IntArray,
    legal: LongArray,
    paths: IntArray,
    depths: LongArray,
    known: LongArray,
    room: IntArray,
) -> None:
    """Walks down the tree of each of `games`, [K], to a leaf.

    `rows`, [K, row size], take the positions of the leaves and `legal`, [K], their numbers of legal
    actions, which follow each other in `room`; `paths`, [K, DEEPEST], the edges that led there and
    `depths`, [K], how many. `known`, [K], is NEVER, or the node where a walk ended that needs no
    judgement: an end of the game that was met before, or the last node of the deepest path. In a
    tree without nodes the root itself is the leaf.
    """
    work = np.empty(L.WORK, np.int32)
    at = 0
    for k in range(len(games)):
        g = games[k]
        rows[k] = roots[k]
        node, depth, n = 0, 0, 0
        known[k] = NEVER
        if nodes[g] == 0:
            node = NEVER
            n = turn.legal(pointer(T), pointer(rows[k]), pointer(work), pointer(room[at:]))
        while node != NEVER:
            if count[g, node] == 0 or depth == DEEPEST:
                known[k] = node
                n = 0
                break
            p = seat[g, node]
            e = best_edge(
                first[g, node],
                count[g, node],
                p,
                prior[g],
                visits[g],
                worth[g],
                value[g, node, p],
                exploration,
            )
            turn.apply(pointer(T), pointer(rows[k]), pointer(work), wide(action[g, e]))
            n = pass_through(pointer(T), pointer(rows[k]), pointer(work), pointer(room[at:]))
            paths[k, depth] = e
            depth += 1
            node = child[g, e]
        depths[k] = depth
        legal[k] = n
        at += n


@njit()
def expand(
    rows: IntArray,
    games: LongArray,
    nodes: IntArray,
    edges: IntArray,
    first: IntArray,
    count: IntArray,
    seat: IntArray,
    value: SmallFloats,
    action: IntArray,
    prior: SmallFloats,
    child: IntArray,
    visits: IntArray,
    worth: SmallFloats,
    paths: IntArray,
    depths: LongArray,
    known: LongArray,
    actions: IntArray,
    offsets: LongArray,
    logits: FloatArray,
    values: FloatArray,
) -> None:
    """Adds the leaf of each walk as a node and backs its value up.

    `actions`, `logits`, [M], are those of leaf k from `offsets[k]` to `offsets[k + 1]`, and
    `values`, [K, players], what the evaluator says; a game that is over is worth 1 to its winner.
    """
    players = values.shape[1]
    for k in range(len(games)):
        g = games[k]
        node = known[k]
        if node == NEVER:
            node = nodes[g]
            nodes[g] += 1
            a, n = offsets[k], offsets[k + 1] - offsets[k]
            first[g, node], count[g, node] = edges[g], n
            seat[g, node] = rows[k, L.SEAT]
            over = rows[k, L.PHASE] == L.OVER
            for q in range(players):
                value[g, node, q] = values[k, q]
                if over:
                    value[g, node, q] = 1.0 if rows[k, L.WINNER] == q else 0.0
            top, total = -np.inf, 0.0
            for i in range(a, a + n):
                top = max(top, logits[i])
            for i in range(n):
                e = edges[g] + i
                action[g, e] = actions[a + i]
                prior[g, e] = np.exp(logits[a + i] - top)
                total += prior[g, e]
                child[g, e] = NEVER
                visits[g, e] = 0
                for q in range(players):
                    worth[g, e, q] = 0.0
            for e in range(edges[g], edges[g] + n):
                prior[g, e] /= total
            edges[g] += n
            if depths[k] > 0:
                child[g, paths[k, depths[k] - 1]] = node
        for i in range(depths[k]):
            e = paths[k, i]
            visits[g, e] += 1
            for q in range(players):
                worth[g, e, q] += value[g, node, q]
