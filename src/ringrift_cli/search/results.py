"""Search results of many games."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ringrift_cli.game.jit import njit, rule, wide
from ringrift_cli.game.playout import BoolArray, LongArray, spread
from ringrift_cli.game.topology import IntArray
from ringrift_cli.search import gumbel
from ringrift_cli.search.gumbel import Plans
from ringrift_cli.search.tree import NEVER, FloatArray, SmallFloats, Trees

MIN_BLOCK = 8  # games per thread


@dataclass(frozen=True)
class SearchResult:
    """Result of a search at one root with n legal actions."""

    actions: IntArray  # [n]
    priors: FloatArray  # [n]
    visits: LongArray  # [n]
    values: FloatArray  # [n, players] mean values; of the root for unvisited actions
    policy: FloatArray  # [n] the improved policy (gumbel.improved_policy)
    root_values: FloatArray  # [players] win probabilities, visit-weighted
    best: int  # index of the action to play


def search_results(
    t: Trees, plans: Plans, games: LongArray, scale: float, swapped: BoolArray
) -> list[SearchResult]:
    """Results of the searches of `games`, [K]; requires evaluated roots.

    `swapped`, [K], marks games after a swap of seats: trees index players by starting seat.
    """
    players, most = t.worth.shape[2], int(t.degree[games, 0].max(initial=0))
    policy = np.zeros((len(games), most), np.float32)
    values = np.zeros((len(games), most, players))
    best = np.zeros(len(games), np.int64)
    spread(
        lambda a, b: _conclude(t, plans, games[a:b], scale, policy[a:b], values[a:b], best[a:b]),
        len(games),
        smallest=MIN_BLOCK,
    )
    roots = root_values(t, games, swapped)
    values[swapped] = values[swapped, :, ::-1]
    results = []
    for k, g in enumerate(games.tolist()):
        n, first = int(t.degree[g, 0]), int(t.first[g, 0])
        edges = slice(first, first + n)
        results.append(
            SearchResult(
                t.action[g, edges].copy(),
                t.prior[g, edges].astype(np.float64),
                t.visits[g, edges].astype(np.int64),
                values[k, :n],
                policy[k, :n].astype(np.float64),
                roots[k],
                int(best[k]),
            )
        )
    return results


def best_actions(t: Trees, plans: Plans, games: LongArray, scale: float) -> IntArray:
    """The best action of each search of `games`, [K]."""
    actions = np.zeros(len(games), np.int32)
    _best(t, plans, games, scale, actions)
    return actions


def root_values(t: Trees, games: LongArray, swapped: BoolArray) -> FloatArray:
    """Win probabilities by seat, [K, players]: visit-weighted, exact if proven."""
    values = np.zeros((len(games), t.worth.shape[2]))
    _root_values(t, games, values)
    values[swapped] = values[swapped, ::-1]
    return values


@njit()
def _conclude(
    t: Trees,
    plans: Plans,
    games: LongArray,
    scale: float,
    policy: SmallFloats,
    values: FloatArray,
    best: LongArray,
) -> None:
    for k in range(len(games)):
        g = wide(games[k])
        gumbel.improved_policy(t, g, scale, policy[k])
        best[k] = gumbel.final_edge(t, plans, g, scale) - t.first[g, 0]
        for i in range(t.degree[g, 0]):
            edge_values(t, g, wide(t.first[g, 0] + i), values[k, i])


@rule()
def edge_values(t: Trees, g: int, e: int, values: FloatArray) -> None:
    """Writes the values of a root edge by starter, [players]."""
    child, visits = t.child[g, e], t.visits[g, e]
    winner = NEVER if child == NEVER else t.proven[g, child]
    for q in range(len(values)):
        if winner != NEVER:
            values[q] = 1.0 if q == winner else 0.0
        elif visits > 0:
            values[q] = t.worth[g, e, q] / visits
        else:
            values[q] = t.value[g, 0, q]


@njit()
def _best(t: Trees, plans: Plans, games: LongArray, scale: float, actions: IntArray) -> None:
    for k in range(len(games)):
        g = wide(games[k])
        actions[k] = t.action[g, gumbel.final_edge(t, plans, g, scale)]


@njit()
def _root_values(t: Trees, games: LongArray, values: FloatArray) -> None:
    for k in range(len(games)):
        g = wide(games[k])
        first, end = t.first[g, 0], t.first[g, 0] + t.degree[g, 0]
        visits = 1
        for e in range(first, end):
            visits += t.visits[g, e]
        for q in range(values.shape[1]):
            total = 0.0
            for e in range(first, end):
                total += t.worth[g, e, q]
            values[k, q] = (t.value[g, 0, q] + total) / visits
            if t.proven[g, 0] != NEVER:
                values[k, q] = 1.0 if q == t.proven[g, 0] else 0.0


def best_line(t: Trees, g: int, edge: int, most: int) -> list[int]:
    """Actions of at most `most` most visited edges of tree `g`, from edge number `edge` of its
    root on. Forced actions, which have no edges, are left out.
    """
    at, actions = int(t.first[g, 0]) + edge, []
    while True:
        actions.append(int(t.action[g, at]))
        node = int(t.child[g, at])
        if node == NEVER or not t.degree[g, node] or len(actions) == most:
            return actions
        first = int(t.first[g, node])
        visits = t.visits[g, first : first + t.degree[g, node]]
        if not visits.max():
            return actions
        at = first + int(visits.argmax())
