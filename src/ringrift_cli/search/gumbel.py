"""Action selection at the root, as in Gumbel AlphaZero (Danihelka et al. 2022, "Policy improvement
by planning with Gumbel").

A search considers the `m` actions with the greatest g(a) + logit(a), where g is Gumbel noise or 0,
and divides its simulations among them by sequential halving: in each phase all remaining actions
get equally many, then the better half by g + logit + sigma(Q) remains.
Sigma(q) = (50 + max visits) * scale * q, for q in 0 .. 1. With 0 considered actions the root uses
PUCT, like every other node.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ringrift_cli.game.jit import njit, product, rule, wide
from ringrift_cli.game.playout import LongArray, Seeds, draw
from ringrift_cli.game.topology import IntArray
from ringrift_cli.search.tree import NEVER, SmallFloats, Trees, best_edge, is_lost, mean

VISIT_OFFSET = 50.0  # c_visit of the paper
MIN_PRIOR = 1e-30  # keeps logarithms finite
MIN_CONSIDERED, MAX_CONSIDERED = 2, 16  # if derived from the simulations


def considered_actions(simulations: int, wanted: int = 0) -> int:
    """Number of considered actions: `wanted` if above 0, else a quarter of the simulations.

    So the first phase of the halving searches beyond the next ply.
    """
    return wanted or min(max(simulations // 4, MIN_CONSIDERED), MAX_CONSIDERED)


class Plans(NamedTuple):
    """Search state of G games, with at most K considered actions per root."""

    budget: LongArray  # [G] simulations of the current search; 0 without one
    done: LongArray  # [G] completed simulations
    width: LongArray  # [G] number of actions to consider; 0: PUCT at the root
    drawn: LongArray  # [G] number of considered actions, NEVER before they are drawn
    noise: SmallFloats  # [G] scale of the Gumbel noise
    edge: IntArray  # [G, K] the considered edges, best first
    bonus: SmallFloats  # [G, K] their g + logit
    before: IntArray  # [G, K] their visits before the search
    seeds: Seeds  # [G] random generators of the noise


def new_plans(games: int, most: int) -> Plans:
    """Idle plans of `games` games, for at most `most` considered actions."""
    return Plans(
        budget=np.zeros(games, np.int64),
        done=np.zeros(games, np.int64),
        width=np.zeros(games, np.int64),
        drawn=np.full(games, NEVER, np.int64),
        noise=np.zeros(games, np.float32),
        edge=np.zeros((games, most), np.int32),
        bonus=np.zeros((games, most), np.float32),
        before=np.zeros((games, most), np.int32),
        seeds=np.zeros(games, np.uint64),
    )


@rule()
def logit(t: Trees, g: int, e: int) -> float:
    return math.log(max(t.prior[g, e], MIN_PRIOR))


@rule()
def gumbel(seeds: Seeds, i: int) -> float:
    """A sample of the standard Gumbel distribution."""
    u = (draw(seeds, i, 1 << 31) + 0.5) / (1 << 31)
    return -math.log(-math.log(u))


@rule()
def draw_considered(t: Trees, plans: Plans, g: int) -> None:
    """Selects the `width` best actions with fresh noise, by insertion."""
    most = min(plans.width[g], t.degree[g, 0])
    found = 0
    for e in range(t.first[g, 0], t.first[g, 0] + t.degree[g, 0]):
        score = logit(t, g, e)
        if plans.noise[g] > 0:
            score += product(plans.noise[g], gumbel(plans.seeds, g))
        at = found
        while at > 0 and plans.bonus[g, at - 1] < score:
            at -= 1
        if at < most:
            for i in range(min(found, most - 1), at, -1):
                plans.bonus[g, i] = plans.bonus[g, i - 1]
                plans.edge[g, i] = plans.edge[g, i - 1]
            plans.bonus[g, at], plans.edge[g, at] = score, e
            found = min(found + 1, most)
    for i in range(found):
        plans.before[g, i] = t.visits[g, plans.edge[g, i]]
    plans.drawn[g] = found


@rule()
def halving_visits(m: int, n: int, done: int) -> int:
    """Visit count of the actions due for the next simulation, in sequential halving of `n`
    simulations among `m` actions, after `done` of them.
    """
    phases = 0
    while 1 << phases < m:
        phases += 1
    left, visits = m, 0
    while left > 1:
        each = max(1, n // (phases * left))
        if done < each * left:
            return visits + done // left
        done -= each * left
        visits += each
        left = max(2, left // 2)
    return visits + done


@rule()
def sigma_factor(t: Trees, g: int, scale: float) -> float:
    """Factor of a value in sigma at the root."""
    most = 0
    for e in range(t.first[g, 0], t.first[g, 0] + t.degree[g, 0]):
        most = max(most, t.visits[g, e])
    return (VISIT_OFFSET + most) * scale


@rule()
def mixed_value(t: Trees, g: int) -> float:
    """Value of the root for its mover: the evaluator's value mixed with the prior-weighted
    values of visited actions (v_mix, appendix D of the paper).
    """
    p = t.seat[g, 0]
    total, mass, weighed = 0, 0.0, 0.0
    for e in range(t.first[g, 0], t.first[g, 0] + t.degree[g, 0]):
        n = t.visits[g, e]
        if n > 0:
            prior = max(t.prior[g, e], MIN_PRIOR)
            total += n
            mass += prior
            weighed += product(prior, mean(t, g, e, p))
    own = t.value[g, 0, p]
    if total == 0:
        return own
    return (own + total * weighed / mass) / (1 + total)


@rule()
def root_edge(t: Trees, plans: Plans, g: int, exploration: float, scale: float) -> int:
    """The root edge of the next simulation.

    The best action due in sequential halving that is not proven lost; else the best considered one
    not proven lost; else by PUCT.
    """
    if plans.width[g] == 0:
        return best_edge(t, g, 0, exploration)
    if plans.drawn[g] == NEVER:
        draw_considered(t, plans, g)
    p, drawn = t.seat[g, 0], plans.drawn[g]
    need = halving_visits(drawn, plans.budget[g], plans.done[g])
    factor, own = sigma_factor(t, g, scale), mixed_value(t, g)
    best, chosen, best_due, due = -math.inf, NEVER, -math.inf, NEVER
    for i in range(drawn):
        e = wide(plans.edge[g, i])
        if is_lost(t, g, e, p):
            continue
        q = mean(t, g, e, p) if t.visits[g, e] > 0 else own
        score = plans.bonus[g, i] + product(factor, q)
        if score > best:
            best, chosen = score, e
        if t.visits[g, e] - plans.before[g, i] == need and score > best_due:
            best_due, due = score, e
    if due != NEVER:
        return due
    return chosen if chosen != NEVER else best_edge(t, g, 0, exploration)


@njit()
def improved_policy(t: Trees, g: int, scale: float, out: SmallFloats) -> None:
    """softmax(logit + sigma(completed Q)) over the root's actions, into `out`, [degree].

    Unvisited actions have the mixed value of the root. If the root is proven won, only winning
    actions have weight; proven losses have none while there are other actions.
    """
    first, n = t.first[g, 0], t.degree[g, 0]
    p = t.seat[g, 0]
    factor, own = sigma_factor(t, g, scale), mixed_value(t, g)
    won, open_ = t.proven[g, 0] == p, False
    for e in range(first, first + n):
        open_ = open_ or not is_lost(t, g, wide(e), p)
    top, total = -math.inf, 0.0
    for i in range(n):
        e = wide(first + i)
        q = mean(t, g, e, p) if t.visits[g, e] > 0 else own
        out[i] = logit(t, g, e) + product(factor, q)
        child = t.child[g, e]
        wins = child != NEVER and t.proven[g, child] == p
        if (won and not wins) or (open_ and is_lost(t, g, e, p)):
            out[i] = -math.inf
        top = max(top, out[i])
    for i in range(n):
        out[i] = math.exp(out[i] - top)
        total += out[i]
    for i in range(n):
        out[i] /= total


@njit()
def final_edge(t: Trees, plans: Plans, g: int, scale: float) -> int:
    """The edge to play: the best of the considered ones with the most simulations; with PUCT the
    most visited one. Proven wins come first, proven losses last.
    """
    p = t.seat[g, 0]
    factor, own = sigma_factor(t, g, scale), mixed_value(t, g)
    best_class, best_visits, best, chosen = -1, -1, -math.inf, wide(t.first[g, 0])
    considered = plans.drawn[g] if plans.width[g] > 0 else t.degree[g, 0]
    for stage in range(2):
        every = stage == 1 or plans.width[g] == 0
        for i in range(t.degree[g, 0] if every else considered):
            e = wide(t.first[g, 0] + i if every else plans.edge[g, i])
            q = mean(t, g, e, p) if t.visits[g, e] > 0 else own
            child = t.child[g, e]
            wins = child != NEVER and t.proven[g, child] == p
            class_ = 2 if wins else (0 if is_lost(t, g, e, p) else 1)
            simulations = t.visits[g, e]
            score = (
                float(t.prior[g, e]) if plans.width[g] == 0 else logit(t, g, e) + product(factor, q)
            )
            if not every:
                simulations -= plans.before[g, i]
                score = plans.bonus[g, i] + product(factor, q)
            if (class_, simulations, score) > (best_class, best_visits, best):
                best_class, best_visits, best, chosen = class_, simulations, score, e
        if best_class > 0:
            break
    return chosen
