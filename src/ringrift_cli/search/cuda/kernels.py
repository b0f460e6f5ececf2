"""The search on a GPU: the functions of the CPU's search, a thread for each game."""

from __future__ import annotations

from numba import cuda

from ringrift_cli.game.jit import wide
from ringrift_cli.game.topology import IntArray
from ringrift_cli.search.gumbel import Plans
from ringrift_cli.search.simulate import expand, play_on, simulate
from ringrift_cli.search.tree import NEVER, FloatArray, SmallFloats, Trees

IDLE = 0  # status of a game without a search; above: legal actions of the leaf to be evaluated
OVER = -1  # less the actions of its root: its search is over


def begin_kernel(
    t: Trees, plans: Plans, orders: IntArray, noise: SmallFloats, cramped: IntArray
) -> None:
    """Starts the searches of `orders`, [3, G]: whether, simulations, considered; noise [G].

    A tree that might have too little room is forgotten first, and counted in `cramped`, [G].
    Forgets every order.
    """
    g = cuda.grid(1)
    if g >= orders.shape[1] or orders[0, g] == 0:
        return
    orders[0, g] = 0
    plans.budget[g], plans.done[g] = orders[1, g], 0
    plans.width[g], plans.drawn[g], plans.noise[g] = orders[2, g], NEVER, noise[g]
    nodes, edges = t.first.shape[1], t.action.shape[1]
    if t.nodes[g] + orders[1, g] + 1 > nodes or 2 * t.edges[g] > edges:
        cramped[g] += 1
        t.nodes[g], t.edges[g] = 0, 0


def simulate_kernel(
    T: IntArray,
    t: Trees,
    plans: Plans,
    roots: IntArray,
    exploration: float,
    scale: float,
    leaves: IntArray,
    nodes: IntArray,
    paths: IntArray,
    ends: IntArray,
    works: IntArray,
    lists: IntArray,
    counts: IntArray,
    status: IntArray,
    cramped: IntArray,
) -> None:
    """Takes every search to its next leaf, or to its end.

    `counts`, [G], take the numbers of legal actions of the leaves that are to be evaluated, and the
    actions go to `lists`, [G, max legal]; `status`, [G], says the same, or IDLE or OVER. A search
    whose tree has no room for the leaf is over, and counted in `cramped`, [G].
    """
    g = cuda.grid(1)
    if g >= counts.shape[0]:
        return
    counts[g], status[g] = 0, IDLE
    if plans.budget[g] == 0:
        return
    n = simulate(
        T, t, plans, g, roots[g], exploration, scale, leaves[g], nodes[g], paths[g], ends[g],
        works[g], lists[g],
    )  # fmt: skip
    if n > 0 and t.edges[g] + n > t.action.shape[1]:
        cramped[g] += 1
        n = 0
    if n > 0:
        counts[g], status[g] = n, n
    else:
        plans.budget[g], status[g] = 0, OVER - t.degree[g, 0]


def expand_kernel(
    t: Trees,
    plans: Plans,
    leaves: IntArray,
    nodes: IntArray,
    paths: IntArray,
    ends: IntArray,
    lists: IntArray,
    counts: IntArray,
    logits: FloatArray,
    values: FloatArray,
) -> None:
    """Adds the evaluated leaves to their trees; logits [G, max legal], values [G, players]."""
    g = cuda.grid(1)
    if g < counts.shape[0] and counts[g] > 0:
        expand(
            t, plans, g, leaves[g], nodes[g], paths[g], ends[g], lists[g], wide(counts[g]),
            logits[g], 0, values[g],
        )  # fmt: skip


def play_kernel(
    T: IntArray,
    t: Trees,
    rows: IntArray,
    actions: IntArray,
    works: IntArray,
    lists: IntArray,
    logs: IntArray,
    lengths: IntArray,
    to: IntArray,
) -> None:
    """Plays `actions`, [G], where they are not below 0; what is played goes to `logs`, [G, K].

    `lengths`, [G], take how many. `to`, [G, M], is room for the numbers of nodes.
    """
    g = cuda.grid(1)
    if g < lengths.shape[0] and actions[g] >= 0:
        lengths[g] = play_on(T, t, g, rows[g], wide(actions[g]), works[g], lists[g], logs[g], to[g])
