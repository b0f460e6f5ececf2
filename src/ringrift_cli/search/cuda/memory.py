"""How large the trees of a search on a GPU are, and where they lie.

Trees on a GPU cannot grow while kernels run, so their size is fixed when they are made, from the
simulations of a search. A simulation makes a node at most, and the subtree of a played action
stays. So a tree has room for the nodes of four searches (where little is left to decide, nearly all
of a tree stays), and for 3 legal actions for every cell at the nodes of two of them: as many as
there are while rings are placed, and on average far fewer later. Where that is not enough, a tree
that was kept is forgotten before a search, or a search ends early; both are counted as cramped
(kernels.py).

Bytes of a game of N simulations, with M = 4 (N + 1) nodes and E = 6 (N + 1) cells edges, P players,
L most legal actions of a position, R words of a row:

    nodes     M (24 + 4 P)         first, degree, seat, forced, proven, new numbers; value
    edges     E (16 + 4 P)         action, child, visits, prior; worth
    lists     L (4 + 4)            legal actions of the leaf, their logits
    rows      2 (4 R)              root, leaf
    the rest  about 4 KB           the simulation under way, workspace, plans, what was played

1,024 games of 64 simulations on hexagonal with 2 players: M = 260, E = 182,910, L = 25,976,
R = 1,525, which is 4.4 MB for edges and 0.2 MB for all else: 4.7 GB in all, 6.2 GB with 4 players.
The features of the leaves are 1,024 * 25 * 25 * 53 bytes = 34 MB there; the rest of 16 GB is the
network's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from ringrift_cli.game import layout as L
from ringrift_cli.game.cuda.device import Device
from ringrift_cli.game.topology import IntArray
from ringrift_cli.search.gumbel import Plans, new_plans
from ringrift_cli.search.tree import DEEPEST, Trees, empty_trees

NODES, EDGES = 4, 2  # searches for whose nodes, and edges, a tree has room
ACTIONS_PER_CELL = 3


@dataclass(frozen=True)
class TreeMemory:
    """Size of a tree."""

    nodes: int
    edges: int


def room_for(T: IntArray, simulations: int) -> TreeMemory:
    """Capacity for searches with `simulations`; sufficient for any position."""
    at_a_node = ACTIONS_PER_CELL * int(T[L.T_CELLS])
    edges = max(EDGES * (simulations + 1) * at_a_node, 2 * int(T[L.T_MAX_LEGAL]))
    return TreeMemory(NODES * (simulations + 1), edges)


class Memory(NamedTuple):
    """What a forest of G games keeps on its device: tensors, or the views that kernels take."""

    trees: Any  # Trees
    plans: Any  # Plans
    rows: Any  # [G, row size] the roots
    leaves: Any  # [G, row size]
    nodes: Any  # [G, DEEPEST] of the simulation under way
    paths: Any  # [G, DEEPEST]
    ends: Any  # [G, 4] depth, legal actions, node, passed
    works: Any  # [G, WORK]
    lists: Any  # [G, max legal] legal actions of the leaf
    counts: Any  # [G] how many, where it is to be evaluated
    status: Any  # [G] see kernels.py
    cramped: Any  # [G] how often a tree had too little room
    orders: Any  # [3, G] searches to begin: whether, simulations, considered
    noise: Any  # [G] of these
    actions: Any  # [G] to play
    logs: Any  # [G, DEEPEST] what was played
    lengths: Any  # [G] how many
    numbers: Any  # [G, M] room for tree.keep_subtree


def allocate(T: IntArray, games: int, room: TreeMemory, considered: int, device: Device) -> Memory:
    """The memory of `games` games, all zeros; torch.OutOfMemoryError if there is too little."""
    row, most = int(T[L.T_ROW_SIZE]), int(T[L.T_MAX_LEGAL])
    sample = empty_trees(1, room.nodes, room.edges, int(T[L.T_PLAYERS]))
    plan = new_plans(1, max(1, considered))

    def like(array: np.ndarray) -> Any:  # a tensor
        kind = torch.int64 if array.dtype == np.uint64 else torch.from_numpy(array).dtype
        return device.zeros(games, *array.shape[1:], of=kind)

    return Memory(
        trees=Trees(*(like(array) for array in sample)),
        plans=Plans(*(like(array) for array in plan)),
        rows=device.zeros(games, row),
        leaves=device.zeros(games, row),
        nodes=device.zeros(games, DEEPEST),
        paths=device.zeros(games, DEEPEST),
        ends=device.zeros(games, 4),
        works=device.zeros(games, L.WORK),
        lists=device.zeros(games, most),
        counts=device.zeros(games),
        status=device.zeros(games),
        cramped=device.zeros(games),
        orders=device.zeros(3, games),
        noise=device.zeros(games, of=torch.float32),
        actions=device.zeros(games) - 1,
        logs=device.zeros(games, DEEPEST),
        lengths=device.zeros(games),
        numbers=device.zeros(games, room.nodes),
    )


def views(memory: Memory, device: Device) -> Memory:
    """The same memory for kernels."""
    trees = Trees(*(device.view(tensor) for tensor in memory.trees))
    plans = {
        name: device.view(tensor, np.uint64 if name == "seeds" else None)
        for name, tensor in memory.plans._asdict().items()
    }
    rest = {name: device.view(getattr(memory, name)) for name in Memory._fields[2:]}
    return Memory(trees, Plans(**plans), **rest)


def bytes_needed(T: IntArray, games: int, room: TreeMemory, considered: int = 16) -> int:
    """Bytes of `allocate`, and of the logits of a network (nn/cuda/evaluator.py)."""
    players, most = int(T[L.T_PLAYERS]), int(T[L.T_MAX_LEGAL])
    nodes = room.nodes * (6 * 4 + 4 * players)
    edges = room.edges * (4 * 4 + 4 * players)
    plans = 5 * 8 + 4 + 12 * max(1, considered)
    others = 4 * (2 * int(T[L.T_ROW_SIZE]) + 3 * DEEPEST + 4 + L.WORK + most + 11)
    return games * (nodes + edges + plans + others + 4 * most)
