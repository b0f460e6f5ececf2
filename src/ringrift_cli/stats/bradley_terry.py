"""Joint ratings of many players from all their games.

    P(a seat wins) = g(its player) / Σ g(player) over the seats,   g = 10^(rating / 400)

Sources: R. A. Bradley, M. E. Terry, Rank Analysis of Incomplete Block Designs, Biometrika 39
(1952); for more than two players the first place of the Plackett-Luce model, D. R. Hunter, MM
algorithms for generalized Bradley-Terry models, Annals of Statistics 32 (2004). One player, the
anchor, has a given rating; every rating and error is relative to it.

A rating is finite only for players linked to the anchor by chains of wins in both directions. With
a chain in one direction only, the maximum-likelihood rating is infinite and there is a one-sided
bound; without any chain the rating is unknown.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from ringrift_cli.errors import UsageError
from ringrift_cli.stats.elo import NORMAL, Z95
from ringrift_cli.stats.first_place import (
    BoolArray,
    FloatArray,
    OutcomeTable,
    chances,
    maximum,
    reachable,
)

ELO = 400 / math.log(10)  # Elo points in a unit of θ
UNLIKELY = math.log(20)  # see `_least_difference`
ENOUGH_BLOCKS = 30  # see `_errors`
ROWS_AT_ONCE = 4096
STEPS = 200
PRECISION = 1e-9

Status = Literal["anchor", "finite", "above", "below", "unknown"]


@dataclass(frozen=True, slots=True)
class GameResult:
    """`count` games with the same `seats` (the player at each) and `winner` (a seat, from 0).

    Games with equal `block` depend on each other: they share an opening. Without one, every game
    is independent of all others.
    """

    seats: tuple[int, ...]
    winner: int
    count: int = 1
    block: Hashable = None


@dataclass(frozen=True)
class Rating:
    """Rating of one player, in Elo points.

    | status    | rating    | low            | high           |
    |-----------|-----------|----------------|----------------|
    | `anchor`  | as given  | rating         | rating         |
    | `finite`  | likeliest | rating - error | rating + error |
    | `above`   | infinite  | a bound        | infinite       |
    | `below`   | -infinite | -infinite      | a bound        |
    | `unknown` | NaN       | -infinite      | infinite       |

    `low` to `high` is a 95 % confidence interval, two-sided or one-sided.
    """

    player: int
    status: Status
    rating: float
    low: float
    high: float
    error: float | None  # half the width of the interval; None unless it is finite
    by_blocks: bool  # whether the error is based on blocks rather than games
    games: int
    wins: int

    def __str__(self) -> str:
        match self.status:
            case "anchor":
                return f"{self.rating:.0f}"
            case "finite":
                return f"{self.rating:.0f} ± {self.error:.0f}"
            case "above":
                return f"above {self.low:.0f}"
            case "below":
                return f"below {self.high:.0f}"
        return "unknown"


@dataclass(frozen=True)
class Goodness:
    """Goodness of fit for the wins of each pairing of rated players.

    Reliable if most pairings have several expected wins for each player.
    """

    pearson: float  # X² = Σ (wins - expected wins)² / expected wins
    freedom: int  # its degrees of freedom
    p_value: float | None  # of an X² at least this great under the model; None without freedom


@dataclass(frozen=True)
class Fit:
    """Ratings of all players, by index, and goodness of fit."""

    ratings: tuple[Rating, ...]
    goodness: Goodness


def fit(
    games: Iterable[GameResult], players: int, *, anchor: int = 0, anchor_rating: float = 1200.0
) -> Fit:
    """Maximum-likelihood ratings of `players` players, numbered from 0.

    Player `anchor` has the rating `anchor_rating`. Errors are 1.96 standard errors, from the
    observed information or counted by blocks where there are enough of these (`_errors`). Bounds
    of players without a finite rating are one-sided, with 95 % (`_least_difference`).

    Raises `UsageError` for inconsistent players, seats, winners or counts.
    """
    if not 0 <= anchor < players or not math.isfinite(anchor_rating):
        raise UsageError(
            f"Player {anchor} of {players} cannot be the anchor at a rating of {anchor_rating:g}.",
            hint="Anchor one of the players at a finite rating.",
        )
    table = _table(games, players)
    whole = table.without_blocks()
    reach = reachable(whole.beats())
    mutual = reach & reach.T
    worth = _worths(whole, mutual)
    worth[mutual[anchor]] -= worth[anchor]
    linked = np.flatnonzero(mutual[anchor])
    errors, by_blocks = _errors(table.among(linked), worth[linked], linked != anchor)

    def rate(player: int, games: int, wins: int) -> Rating:
        def rated(status: Status, rating: float, low: float, high: float) -> Rating:
            return Rating(player, status, rating, low, high, None, False, games, wins)

        if mutual[player, anchor]:
            place = int(np.searchsorted(linked, player))
            rating, error = anchor_rating + ELO * float(worth[player]), float(errors[place])
            bounds = (rating - error, rating + error, error, bool(by_blocks[place]))
            status: Status = "anchor" if player == anchor else "finite"
            return Rating(player, status, rating, *bounds, games, wins)
        if reach[player, anchor]:
            least = _least_difference(whole, mutual, reach, worth, player, anchor)
            return rated("above", math.inf, anchor_rating + ELO * least, math.inf)
        if reach[anchor, player]:
            least = _least_difference(whole, mutual, reach, worth, anchor, player)
            return rated("below", -math.inf, -math.inf, anchor_rating - ELO * least)
        return rated("unknown", math.nan, -math.inf, math.inf)

    ratings = tuple(rate(player, *tally) for player, tally in enumerate(_tallies(table)))
    return Fit(ratings, _goodness(whole.among(linked), worth[linked]))


def _table(games: Iterable[GameResult], players: int) -> OutcomeTable:
    results = list(games)
    blocks: dict[Hashable, int] = {}
    for game in results:
        if len(game.seats) < 2 or not all(0 <= player < players for player in game.seats):
            raise UsageError(
                f"Players {game.seats} are no seating of players 0 to {players - 1}.",
                hint="Name the player at each of two or more seats.",
            )
        if not 0 <= game.winner < len(game.seats):
            raise UsageError(
                f"Seat {game.winner} cannot win a game of {len(game.seats)} seats.",
                hint="Seats count from 0.",
            )
        if game.count < 1:
            raise UsageError(
                f"A result cannot have happened {game.count} times.", hint="Leave it out."
            )
        if game.block is not None:
            blocks.setdefault(game.block, len(blocks))
    blocks[None] = -1
    width = max((len(game.seats) for game in results), default=2)
    empty = (players,) * width
    rows = [(game.seats + empty)[:width] for game in results]
    return OutcomeTable(
        np.array(rows, np.int64).reshape(-1, width),
        np.array([game.seats[game.winner] for game in results], np.int64),
        np.array([game.count for game in results], np.float64),
        np.array([blocks[game.block] for game in results], np.int64),
        players,
    )


def _tallies(table: OutcomeTable) -> list[tuple[int, int]]:
    """Games and wins of each player; a game with several seats of a player counts once."""
    present = np.zeros((len(table.seats), table.size + 1), np.bool_)
    np.put_along_axis(present, table.seats, True, 1)
    games = table.count @ present[:, :-1]
    wins = np.bincount(table.winner, table.count, table.size)
    return [(int(g), int(w)) for g, w in zip(games, wins, strict=True)]


def _worths(table: OutcomeTable, mutual: BoolArray) -> FloatArray:
    """θ [N] of maximum likelihood within each component of mutually linked players."""
    worth = np.zeros(table.size)
    for player in range(table.size):
        members = np.flatnonzero(mutual[player])
        if members[0] == player:
            free = np.arange(1, len(members))
            worth[members] = maximum(table.among(members), np.zeros(len(members)), free)
    return worth


def _least_difference(
    table: OutcomeTable,
    mutual: BoolArray,
    reach: BoolArray,
    worth: FloatArray,
    upper: int,
    lower: int,
) -> float:
    """Lower bound of θ of `upper` minus θ of `lower`, whose maximum-likelihood value is infinite.

    Chains of wins lead only from `upper` to `lower`. The bound is where the profile likelihood is
    a 20th of its supremum. For a player who won all games against opponents of known strength that
    is where such a series has a probability of 5 %, the exact one-sided bound of C. J. Clopper and
    E. S. Pearson (Biometrika 26, 1934); the χ² limit of the likelihood ratio does not hold at
    infinity and would claim more.

    Games count as independent. Only players on chains from `upper` to `lower` matter: with the
    difference held, the others are still infinitely far.
    """
    between = np.flatnonzero(reach[upper] & reach[:, lower])
    ends = (np.searchsorted(between, upper), np.searchsorted(between, lower))
    free = np.setdiff1d(np.arange(len(between)), ends)
    games = table.among(between)
    supremum = 0.0
    for player in between:
        members = np.flatnonzero(mutual[player])
        if members[0] == player:
            supremum += table.among(members).log_likelihood(worth[members])
    state = np.zeros(len(between))

    def excess(difference: float) -> tuple[float, float]:
        """Loss of log-likelihood minus the plausible loss, and its rate of decrease."""
        nonlocal state
        state[ends[0]] = difference
        state = maximum(games, state, free)
        loss = supremum - games.log_likelihood(state)
        return loss - UNLIKELY, float(games.gradient(state)[ends[0]])

    # The loss is convex and decreasing, so Newton's method from the left converges.
    difference, stride = 0.0, 1.0
    while excess(difference)[0] < 0:
        difference, stride = difference - stride, 2 * stride
    for _ in range(STEPS):
        over, fall = excess(difference)
        difference += over / fall
        if abs(over / fall) < PRECISION:
            break
    return difference


def _errors(
    table: OutcomeTable, worth: FloatArray, free: BoolArray
) -> tuple[FloatArray, BoolArray]:
    """1.96 standard errors of each rating [N], in Elo, and which of them count blocks.

    From the observed information, as if all games were independent. Those of a block are not: where
    seats change, the luck of the opening cancels and the errors are smaller than that; players who
    repeat themselves make them greater. Counting blocks ("sandwich": K.-Y. Liang, S. L. Zeger,
    Longitudinal data analysis using generalized linear models, Biometrika 73, 1986) assumes nothing
    about the games of one, but such errors are too small if blocks are few, which means 20 to 50
    (A. C. Cameron, D. L. Miller, A Practitioner's Guide to Cluster-Robust Inference, Journal of
    Human Resources 50, 2015). What matters is how many there are in effect for a player: G = (Σ w)²
    / Σ w², w being the variance that a block brings (A. V. Carter, K. T. Schnepel, D. G.
    Steigerwald, Review of Economics and Statistics 99, 2017). From G = 30 on blocks are counted;
    below, the greater of both errors holds. G / (G - 1) corrects the variance for small G.
    """
    among = np.flatnonzero(free)
    covariance = np.zeros((table.size + 1, table.size + 1))
    if len(among):
        information = table.information(worth)[np.ix_(among, among)]
        covariance[np.ix_(among, among)] = np.linalg.inv(information)
    variance = covariance.diagonal()[:-1].copy()
    by_blocks = np.zeros(table.size, np.bool_)
    if len(among) and (table.block >= 0).any():
        squares, concentration = _spread_of_blocks(table, worth, covariance)
        effective = np.ones(table.size)
        np.divide(variance**2, concentration, out=effective, where=concentration > 0)
        counted = squares * (1 + 1 / (np.maximum(effective, 2) - 1))
        by_blocks = free & ((effective >= ENOUGH_BLOCKS) | (counted > variance))
        variance[by_blocks] = counted[by_blocks]
    return Z95 * ELO * np.sqrt(variance), by_blocks


def _spread_of_blocks(
    table: OutcomeTable, worth: FloatArray, covariance: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Σ over blocks of the squared influence on each θ [N], and of its squared expectation [N]."""
    order = np.argsort(table.block, kind="stable")
    block, winner, seats = table.block[order], table.winner[order], table.seats[order]
    share, count = chances(seats, worth), table.count[order]
    # Independent games come as many in a row, whose squares add up; those of a block do not.
    weight = np.where(block < 0, np.sqrt(count), count)[:, None]
    starts = np.flatnonzero((block < 0) | (np.diff(block, prepend=-2) != 0))
    cuts = np.searchsorted(starts, np.arange(ROWS_AT_ONCE, len(block), ROWS_AT_ONCE))
    edges = np.unique(np.concatenate([[0], starts[cuts[cuts < len(starts)]], [len(block)]]))
    squares, concentration = np.zeros(table.size), np.zeros(table.size)
    for first, last in pairwise(edges):
        rows = slice(first, last)
        own = starts[(starts >= first) & (starts < last)] - first
        lines = covariance[seats[rows], :-1]  # [rows, seats, N]
        mean = np.einsum("rs,rsn->rn", share[rows], lines)
        influence = weight[rows] * (covariance[winner[rows], :-1] - mean)
        expected = weight[rows] * (np.einsum("rs,rsn->rn", share[rows], lines**2) - mean**2)
        squares += (np.add.reduceat(influence, own) ** 2).sum(0)
        concentration += (np.add.reduceat(expected, own) ** 2).sum(0)
    return squares, concentration


def _goodness(table: OutcomeTable, worth: FloatArray) -> Goodness:
    pairings, place = np.unique(np.sort(table.seats, axis=1), axis=0, return_inverse=True)
    games = np.bincount(place.ravel(), table.count, len(pairings))
    wins = np.zeros((len(pairings), table.size + 1))
    np.add.at(wins, (place.ravel(), table.winner), table.count)
    expected = np.zeros(wins.shape)
    share = games[:, None] * chances(pairings, worth)
    np.add.at(expected, (np.arange(len(pairings))[:, None], pairings), share)
    seen = expected > 0
    observed, due = wins[seen], expected[seen]
    pearson = float(((observed - due) ** 2 / due).sum())
    freedom = int(seen.sum()) - len(pairings) - (table.size - 1)
    return Goodness(pearson, freedom, _chance_of(pearson, freedom))


def _chance_of(chi_square: float, freedom: int) -> float | None:
    """P-value of a χ², accurate to about 0.01: E. B. Wilson, M. M. Hilferty, PNAS 17 (1931)."""
    if freedom < 1:
        return None
    unit = 2 / (9 * freedom)
    return 1 - NORMAL.cdf(((chi_square / freedom) ** (1 / 3) - (1 - unit)) / math.sqrt(unit))
