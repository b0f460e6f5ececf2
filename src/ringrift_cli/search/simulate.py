"""Operations on one tree: simulate to a leaf, expand it, and move to the next root.

They allocate nothing. The CPU calls them in loops over games (forest.py), a GPU in one thread per
game (cuda/kernels.py).
"""

from __future__ import annotations

from ringrift_cli.game import layout as L
from ringrift_cli.game import state as st
from ringrift_cli.game import turn
from ringrift_cli.game.jit import pointer, rule, wide
from ringrift_cli.game.topology import IntArray
from ringrift_cli.search import gumbel, tree
from ringrift_cli.search.gumbel import Plans
from ringrift_cli.search.tree import NEVER, FloatArray, Trees


@rule()
def simulate(
    T: IntArray,
    t: Trees,
    plans: Plans,
    g: int,
    root: IntArray,
    exploration: float,
    scale: float,
    leaf: IntArray,
    nodes: IntArray,
    path: IntArray,
    ends: IntArray,
    work: IntArray,
    room: IntArray,
) -> int:
    """Simulates in game `g` until one needs evaluation or the search is over.

    Writes the position to `leaf` and its legal actions to `room`; returns their number, 0 if the
    search is over. Writes the path to `nodes` and `path`, [DEEPEST], and to `ends`, [4], its depth,
    the number of legal actions, the final node, and the forced actions before the leaf.
    """
    if t.nodes[g] == 0:
        st.copy(wide(T[L.T_ROW_SIZE]), pointer(root), pointer(leaf))
        n = turn.legal(pointer(T), pointer(leaf), pointer(work), pointer(room))
        ends[0], ends[1], ends[2], ends[3] = 0, n, NEVER, 0
        return wide(n)
    while plans.done[g] < plans.budget[g] and t.proven[g, 0] == NEVER:
        e = gumbel.root_edge(t, plans, g, exploration, scale)
        st.copy(wide(T[L.T_ROW_SIZE]), pointer(root), pointer(leaf))
        tree.descend(T, t, g, e, exploration, leaf, work, room, ends[3:], nodes, path, ends)
        node = wide(ends[2])
        if node == NEVER and ends[1] > 0:
            return wide(ends[1])
        if node == NEVER:  # a new terminal position
            node = tree.add_node(t, g, leaf, wide(ends[3]), room, 0)
            t.child[g, path[ends[0] - 1]] = node
        tree.backward(t, g, wide(ends[0]), nodes, path, node)
        plans.done[g] += 1
    return wide(0)


@rule()
def expand(
    t: Trees,
    plans: Plans,
    g: int,
    leaf: IntArray,
    nodes: IntArray,
    path: IntArray,
    ends: IntArray,
    actions: IntArray,
    n: int,
    logits: FloatArray,
    offset: int,
    values: FloatArray,
) -> None:
    """Adds the evaluated leaf of game `g` to its tree and backs up its value.

    The leaf has `n` legal `actions`, their `logits` from `offset` on, and `values`, [players].
    """
    node = tree.add_node(t, g, leaf, wide(ends[3]), actions, n)
    tree.store_evaluation(t, g, node, leaf, logits, offset, values)
    depth = wide(ends[0])
    if depth > 0:
        t.child[g, path[depth - 1]] = node
        tree.backward(t, g, depth, nodes, path, node)
        plans.done[g] += 1


@rule()
def play_on(
    T: IntArray,
    t: Trees,
    g: int,
    row: IntArray,
    action: int,
    work: IntArray,
    room: IntArray,
    log: IntArray,
    to: IntArray,
) -> int:
    """Plays an action and following forced ones, and keeps the subtree.

    Writes the played actions to `log` and returns their number. Stops when `log` is full, even
    before a forced action. `to` is scratch for tree.keep_subtree.
    """
    log[0] = action
    played = 1
    turn.apply(pointer(T), pointer(row), pointer(work), action)
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
        tree.keep_subtree(t, g, node, to)
    return played
