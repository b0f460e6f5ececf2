"""Search trees of many games in flat arrays, and the compiled operations on them.

A node is a position with at least two legal actions, or the end of the game; forced actions are
passed through. Its edges are its legal actions only, so memory does not grow with the action space.

A node is *proven* if its winner is certain: the end of a game; a node with an action to a node
proven for its mover; a node whose actions all lead to nodes proven for the same seat. Proven nodes
have exact values, 1 for the winner and 0 for the others, and are not searched further.

A swap under the pie rule exchanges the seats of the players, so trees index players by their
starting seat (`starter`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ringrift_cli.game import layout as L
from ringrift_cli.game import turn
from ringrift_cli.game.jit import pointer, product, rule, wide
from ringrift_cli.game.topology import IntArray

FloatArray = npt.NDArray[np.float64]
SmallFloats = npt.NDArray[np.float32]

NEVER = -1  # an edge without a node; a node that is not proven
DEEPEST = 256  # maximum edges of a path


class Trees(NamedTuple):
    """G trees with capacity for M nodes and E edges each; node 0 is the root.

    The edges of a node are consecutive. Nodes and their edges are in order of creation: a child
    comes after its parent.
    """

    nodes: IntArray  # [G] in use
    edges: IntArray  # [G] in use
    first: IntArray  # [G, M] first edge of a node
    degree: IntArray  # [G, M] number of edges; 0 at the end of a game
    seat: IntArray  # [G, M] starter to move
    forced: IntArray  # [G, M] forced actions between the parent's action and the node
    proven: IntArray  # [G, M] proven winner (starter), or NEVER
    value: SmallFloats  # [G, M, players] evaluation of a node, by starter
    action: IntArray  # [G, E]
    child: IntArray  # [G, E] node or NEVER
    visits: IntArray  # [G, E]
    prior: SmallFloats  # [G, E]
    worth: SmallFloats  # [G, E, players] sum of backed-up values by starter


OF_NODES = ("first", "degree", "seat", "forced", "proven", "value")
OF_EDGES = ("action", "child", "visits", "prior", "worth")


def empty_trees(games: int, nodes: int, edges: int, players: int) -> Trees:
    """`games` empty trees with capacity for `nodes` and `edges` each."""

    def numbers(*shape: int) -> IntArray:
        return np.zeros(shape, np.int32)

    of_nodes = {name: numbers(games, nodes) for name in OF_NODES if name != "value"}
    of_edges = {name: numbers(games, edges) for name in ("action", "child", "visits")}
    return Trees(
        nodes=numbers(games),
        edges=numbers(games),
        **of_nodes,
        value=np.zeros((games, nodes, players), np.float32),
        **of_edges,
        prior=np.zeros((games, edges), np.float32),
        worth=np.zeros((games, edges, players), np.float32),
    )


def grown(trees: Trees, nodes: int, edges: int) -> Trees:
    """The trees with capacity for at least `nodes` and `edges`; contents are kept."""
    longer = {}
    for names, size in ((OF_NODES, nodes), (OF_EDGES, edges)):
        for name in names:
            array = getattr(trees, name)
            if array.shape[1] < size:
                longer[name] = np.zeros((array.shape[0], size, *array.shape[2:]), array.dtype)
                longer[name][:, : array.shape[1]] = array
    return trees._replace(**longer)


@rule()
def starter(row: IntArray, seat: int) -> int:
    """The starting seat of the player now in `seat`."""
    return 1 - seat if row[L.PIE] == L.PIE_SWAPPED else seat


@rule()
def pass_through(T: IntArray, S: IntArray, W: IntArray, out: IntArray, passed: IntArray) -> int:
    """Plays forced actions until there is a choice; returns its size, 0 at the end of the game.

    Writes the number of forced actions to `passed`, [1].
    """
    n = turn.legal(T, S, W, out)
    passed[0] = 0
    while n == 1:
        turn.apply(T, S, W, out[0])
        passed[0] += 1
        n = turn.legal(T, S, W, out)
    return n


@rule()
def mean(t: Trees, g: int, e: int, p: int) -> float:
    """Mean value of a visited edge for starter `p`; exact if its node is proven."""
    node = t.child[g, e]
    if node != NEVER and t.proven[g, node] != NEVER:
        return 1.0 if t.proven[g, node] == p else 0.0
    return t.worth[g, e, p] / t.visits[g, e]


@rule()
def is_lost(t: Trees, g: int, e: int, p: int) -> bool:
    """Whether an edge is a proven loss for starter `p`."""
    node = t.child[g, e]
    return node != NEVER and t.proven[g, node] != NEVER and t.proven[g, node] != p


@rule()
def best_edge(t: Trees, g: int, node: int, exploration: float) -> int:
    """PUCT (Silver et al. 2017): the edge with the greatest Q + c P sqrt(N) / (1 + n).

    Q is the mean value for the mover. An unvisited edge has the value of the node minus 0.2 times
    the root of the visited prior mass (first-play urgency, as in KataGo). A proven loss is chosen
    only if there is no other edge.
    """
    first, end = t.first[g, node], t.first[g, node] + t.degree[g, node]
    p = t.seat[g, node]
    total, seen = 0, 0.0
    for e in range(first, end):
        total += t.visits[g, e]
        if t.visits[g, e] > 0:
            seen += t.prior[g, e]
    unseen = max(0.0, t.value[g, node, p] - product(0.2, math.sqrt(seen)))
    root = exploration * math.sqrt(max(1.0, float(total)))
    best, chosen = -math.inf, first
    for e in range(first, end):
        n, score = t.visits[g, e], unseen
        if n > 0:
            score = mean(t, g, e, p)
            if is_lost(t, g, e, p):
                score -= 1e9
        score += root * t.prior[g, e] / (1 + n)
        if score > best:
            best, chosen = score, e
    return wide(chosen)


@rule()
def descend(
    T: IntArray,
    t: Trees,
    g: int,
    edge: int,
    exploration: float,
    row: IntArray,
    work: IntArray,
    out: IntArray,
    passed: IntArray,
    nodes: IntArray,
    path: IntArray,
    ends: IntArray,
) -> None:
    """Descends from the root along `edge` and then by PUCT to a leaf; `row` becomes its position.

    Writes the traversed nodes and edges to `nodes` and `path`, [DEEPEST]; to `ends`, [3], their
    number, the number of legal actions of a new leaf (in `out`), and the final node, NEVER for a
    new leaf.
    """
    node, e, depth, n = 0, edge, 0, 0
    while True:
        nodes[depth], path[depth] = node, e
        depth += 1
        turn.apply(pointer(T), pointer(row), pointer(work), wide(t.action[g, e]))
        node = wide(t.child[g, e])
        if node == NEVER:
            n = pass_through(pointer(T), pointer(row), pointer(work), pointer(out), passed)
            break
        for _ in range(t.forced[g, node]):
            turn.legal(pointer(T), pointer(row), pointer(work), pointer(out))
            turn.apply(pointer(T), pointer(row), pointer(work), wide(out[0]))
        if t.proven[g, node] != NEVER or depth == DEEPEST:
            break
        e = best_edge(t, g, node, exploration)
    ends[0], ends[1], ends[2] = depth, n, node


@rule()
def add_node(t: Trees, g: int, row: IntArray, forced: int, actions: IntArray, n: int) -> int:
    """Adds a node for a position with `n` legal actions; returns its index."""
    node, at = t.nodes[g], t.edges[g]
    t.nodes[g] += 1
    t.edges[g] += n
    t.first[g, node], t.degree[g, node] = at, n
    t.seat[g, node], t.forced[g, node] = starter(row, row[L.SEAT]), forced
    t.proven[g, node] = starter(row, row[L.WINNER]) if row[L.PHASE] == L.OVER else NEVER
    for i in range(n):
        e = at + i
        t.action[g, e], t.child[g, e], t.visits[g, e] = actions[i], NEVER, 0
        for q in range(t.worth.shape[2]):
            t.worth[g, e, q] = 0.0
    return wide(node)


@rule()
def store_evaluation(
    t: Trees,
    g: int,
    node: int,
    row: IntArray,
    logits: FloatArray,
    offset: int,
    values: FloatArray,
) -> None:
    """Stores an evaluation: priors, a softmax of the logits from `offset`, and values.

    `values`, [players], are by seat in `row`.
    """
    first, n = t.first[g, node], t.degree[g, node]
    top, total = -math.inf, 0.0
    for i in range(n):
        top = max(top, logits[offset + i])
    for i in range(n):
        t.prior[g, first + i] = math.exp(logits[offset + i] - top)
        total += t.prior[g, first + i]
    for e in range(first, first + n):
        t.prior[g, e] /= total
    for q in range(len(values)):
        t.value[g, node, starter(row, q)] = values[q]


@rule()
def prove(t: Trees, g: int, node: int) -> None:
    """Marks a node as proven if its edges prove it."""
    first, end = t.first[g, node], t.first[g, node] + t.degree[g, node]
    p, common = t.seat[g, node], NEVER
    certain = True
    for e in range(first, end):
        child = t.child[g, e]
        winner = NEVER if child == NEVER else t.proven[g, child]
        if winner == p:
            t.proven[g, node] = p
            return
        if e == first:
            common = winner
        certain = certain and winner != NEVER and winner == common
    if certain:
        t.proven[g, node] = common


@rule()
def backward(t: Trees, g: int, depth: int, nodes: IntArray, path: IntArray, leaf: int) -> None:
    """Backs up a simulation that ended at node `leaf`, and proves nodes on its path."""
    players = t.worth.shape[2]
    below = leaf
    for i in range(depth - 1, -1, -1):
        e = path[i]
        t.visits[g, e] += 1
        winner = t.proven[g, below]
        for q in range(players):
            if t.proven[g, leaf] != NEVER:
                t.worth[g, e, q] += 1.0 if q == t.proven[g, leaf] else 0.0
            else:
                t.worth[g, e, q] += t.value[g, leaf, q]
        below = nodes[i]
        if winner != NEVER and t.proven[g, below] == NEVER:
            prove(t, g, below)


@rule()
def keep_subtree(t: Trees, g: int, node: int, to: IntArray) -> None:
    """Makes `node` the root of tree `g` and discards everything outside its subtree.

    `to` is scratch with one entry per node.
    """
    old = t.nodes[g]
    for v in range(node, old):
        to[v] = NEVER
    to[node] = 0
    for v in range(node, old):  # children come after parents, so one pass suffices
        if to[v] != NEVER:
            for e in range(t.first[g, v], t.first[g, v] + t.degree[g, v]):
                if t.child[g, e] != NEVER:
                    to[t.child[g, e]] = 0
    kept = 0
    for v in range(node, old):
        if to[v] != NEVER:
            to[v] = kept
            kept += 1
    at = 0
    for v in range(node, old):
        u = to[v]
        if u == NEVER:
            continue
        first, n = t.first[g, v], t.degree[g, v]
        for i in range(n):
            a, b = at + i, first + i
            t.action[g, a], t.visits[g, a] = t.action[g, b], t.visits[g, b]
            t.prior[g, a] = t.prior[g, b]
            child = t.child[g, b]
            t.child[g, a] = NEVER if child == NEVER else to[child]
            for q in range(t.worth.shape[2]):
                t.worth[g, a, q] = t.worth[g, b, q]
        t.first[g, u], t.degree[g, u] = at, n
        t.seat[g, u], t.forced[g, u] = t.seat[g, v], t.forced[g, v]
        t.proven[g, u] = t.proven[g, v]
        for q in range(t.value.shape[2]):
            t.value[g, u, q] = t.value[g, v, q]
        at += n
    t.nodes[g], t.edges[g] = kept, at
