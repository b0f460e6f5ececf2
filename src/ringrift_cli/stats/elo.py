"""Elo differences with confidence intervals.

A block is one opening played with every seating; its score is the share of games won. The games of
a block share the opening and are not independent, so all intervals except `wilson_interval` are
based on blocks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from ringrift_cli.errors import UsageError
from ringrift_cli.stats.multinomial import FloatArray, likeliest_with_mean_zero

NORMAL = NormalDist()
Z95 = NORMAL.inv_cdf(0.975)
HALVINGS = 42


def fair_share(players: int = 2, seats: int = 1) -> float:
    """Expected share of games won by a player of equal strength with `seats` seats.

    Raises `UsageError` unless 1 <= seats < players.
    """
    if not 1 <= seats < players:
        raise UsageError(
            f"{seats} of {players} seats leave no match between two sides.",
            hint="Give each side at least one seat.",
        )
    return seats / players


def elo_of_score(score: float, players: int = 2, seats: int = 1) -> float:
    """Elo difference for a share of the games won; the fair share is 0, shares 0 and 1 infinite.

    It is 400·log10(odds of the score / odds of the fair share): for two players the usual formula
    (A. E. Elo, The Rating of Chessplayers, 1978, 8.4), and for more the difference between a player
    and equal others at which the first-place model of bradley_terry.py expects that score. Raises
    `UsageError` outside 0 to 1.
    """
    fair = fair_share(players, seats)
    if not 0 <= score <= 1:
        raise UsageError(
            f"A score of {score:g} is no share of games.", hint="Scores go from 0 to 1."
        )
    if score in (0, 1):
        return math.inf if score else -math.inf
    return 400 * math.log10(score * (1 - fair) / ((1 - score) * fair))


def score_of_elo(elo: float, players: int = 2, seats: int = 1) -> float:
    """The expected share of the games won at an Elo difference: the inverse of `elo_of_score`."""
    fair = fair_share(players, seats)
    if elo > 0:  # so that the power stays below 1 and cannot overflow
        return fair / (fair + (1 - fair) * 10 ** (-elo / 400))
    power = 10 ** (elo / 400)
    return fair * power / (fair * power + (1 - fair))


def wilson_interval(won: float, games: int, z: float = Z95) -> tuple[float, float]:
    """Bounds of a win rate if games were independent of each other.

    `won` of `games`, draws as halves; `z` standard deviations to each side, 95 % by default.
    Sources: E. B. Wilson, Probable Inference, JASA 22 (1927); R. G. Newcombe, Two-sided confidence
    intervals for the single proportion, Statistics in Medicine 17 (1998), method 3.
    """
    if games < 1 or not 0 <= won <= games:
        raise UsageError(
            f"{won:g} of {games} games is no win rate.", hint="Play at least one game."
        )
    middle = won + z**2 / 2
    reach = z * math.sqrt(won * (games - won) / games + z**2 / 4)
    low, high = (middle - reach) / (games + z**2), (middle + reach) / (games + z**2)
    # At the ends the formula is exact but its rounding is not.
    return (0.0 if won == 0 else low), (1.0 if won == games else high)


def bounds_of_mean(
    shares: FloatArray, values: FloatArray, strictness: float | FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Score interval of the mean of a distribution on `values` [C]: lower and upper bounds [...].

    `shares` [..., C] are observed frequencies; `values` ascend from 0 to 1. A mean m is inside if
    (m - observed mean)² <= strictness·V(m), where V(m) is the variance of the likeliest
    distribution of mean m, so the interval is valid for a sample without spread too.

    With strictness z²/n this is Wilson's interval if only 0 and 1 occur, and T. Tango's for paired
    proportions (Statistics in Medicine 17, 1998, 891-908) if 0, 1/2 and 1 do.
    """
    strict = np.asarray(strictness, np.float64)[..., None]
    low = 1 - _upper_bound(shares[..., ::-1], 1 - values[::-1], strict)
    return low, _upper_bound(shares, values, strict)


def _upper_bound(shares: FloatArray, values: FloatArray, strictness: FloatArray) -> FloatArray:
    mean = (shares * values).sum(-1, keepdims=True)
    inside, outside = mean, np.ones(mean.shape)
    for _ in range(HALVINGS):
        middle = (inside + outside) / 2
        accepted = (middle - mean) ** 2 <= strictness * variance_at(shares, values, middle)
        inside = np.where(accepted, middle, inside)
        outside = np.where(accepted, outside, middle)
    return np.asarray(outside[..., 0])


def variance_at(shares: FloatArray, values: FloatArray, mean: float | FloatArray) -> FloatArray:
    """Variance [..., 1] of the likeliest distribution on `values` with that mean [..., 1]."""
    within = np.clip(mean, 1e-12, 1 - 1e-12)  # at 0 and 1 nothing is left to be likeliest
    centred = values - within
    p = likeliest_with_mean_zero(shares, centred)
    return np.asarray((p * centred**2).sum(-1, keepdims=True))


@dataclass(frozen=True)
class Estimate:
    """Strength estimate of a player from a match. All intervals are 95 %."""

    games: int
    blocks: int
    score: float  # share of the games won
    score_low: float  # from the spread between blocks
    score_high: float
    wilson_low: float  # as if games were independent
    wilson_high: float
    elo: float  # difference to the others; infinite if every game was won or lost
    elo_low: float  # the bounds of the score as Elo
    elo_high: float
    elo_error: float | None  # half the width of the usual ± interval of other programs
    nelo: float | None  # normalized Elo; None if all blocks have the same score
    nelo_error: float | None
    los: float  # likelihood of superiority


def estimate(
    scores: npt.ArrayLike,
    counts: npt.ArrayLike | None = None,
    *,
    players: int = 2,
    seats: int = 1,
    games: int | None = None,
) -> Estimate:
    """Elo difference and its uncertainty from the `scores` [B] of blocks, each from 0 to 1.

    `counts` [B] is the number of blocks with each score (default 1), `games` the number of games of
    a block (default `players`), `seats` the number of seats of the player in a game.

    The 95 % bounds are those of `bounds_of_mean` with strictness z²/(blocks - 1). For many blocks
    that is score ± 1.96 standard errors, as Fishtest has it, from the between-block ("pentanomial")
    variance. For few it remains valid: identical blocks do not give certainty (when all were won,
    no score is excluded at which that happens in 5 % of matches or more), and a single block gives
    no information. Like Wilson's interval it covers the truth in 95 % of matches on average
    over true scores, not at each of them. `los` belongs to it: it exceeds 97.5 % just where the
    lower bound exceeds the fair share.

    `elo_error` is half of Elo(score + 1.96 se) - Elo(score - 1.96 se), as in Fishtest's
    stat_util.py; None where that is no number above 0. `nelo` is the score's distance from the fair
    share f in standard deviations of a game, times 400 / (ln 10·√(f(1-f))), which for two players
    is the 800 / ln 10 of M. Van den Bergh, Fishtest's normalized_elo.pdf; its error is 1.96
    standard errors.

    Raises `UsageError` for no blocks, scores outside 0 to 1, negative counts, impossible seats.
    """
    fair = fair_share(players, seats)
    values, weights = _tally(scores, counts)
    per_block = players if games is None else games
    if per_block < 1:
        raise UsageError(
            f"A block needs 1 or more games, not {per_block}.", hint="Use 1 or more games."
        )
    blocks = int(weights.sum())
    shares = weights / blocks
    score = float(np.clip(shares @ values, 0, 1))
    variance = float(shares @ (values - score) ** 2)
    low, high, los = 0.0, 1.0, 0.5
    if blocks > 1:
        lows, highs = bounds_of_mean(shares, values, Z95**2 / (blocks - 1))
        low, high = float(lows), float(highs)
        spread = float(variance_at(shares, values, fair)[0])
        los = NORMAL.cdf((score - fair) / math.sqrt(spread / (blocks - 1))) if spread else 0.5
    total = blocks * per_block
    wilson_low, wilson_high = wilson_interval(score * total, total)
    unit = 400 / (math.log(10) * math.sqrt(fair * (1 - fair)))
    return Estimate(
        games=total,
        blocks=blocks,
        score=score,
        score_low=low,
        score_high=high,
        wilson_low=wilson_low,
        wilson_high=wilson_high,
        elo=elo_of_score(score, players, seats),
        elo_low=elo_of_score(low, players, seats),
        elo_high=elo_of_score(high, players, seats),
        elo_error=_plain_error(score, math.sqrt(variance / blocks), players, seats),
        nelo=unit * (score - fair) / math.sqrt(per_block * variance) if variance else None,
        nelo_error=unit * Z95 / math.sqrt(total) if variance else None,
        los=los,
    )


def _tally(scores: npt.ArrayLike, counts: npt.ArrayLike | None) -> tuple[FloatArray, FloatArray]:
    """Distinct scores, ascending from 0 to 1, and number of blocks with each: [C], [C]."""
    given = np.asarray(scores, np.float64)
    weights = np.ones(given.shape) if counts is None else np.asarray(counts, np.float64)
    if given.ndim != 1 or weights.shape != given.shape:
        raise UsageError(
            f"Scores of shape {given.shape} and counts of shape {weights.shape} do not belong "
            "together.",
            hint="Give one list of scores, and one count for each.",
        )
    wrong = given[~((given >= 0) & (given <= 1))]
    if wrong.size:
        raise UsageError(
            f"A block score of {wrong[0]:g} is no share of games.", hint="Scores go from 0 to 1."
        )
    if not (np.isfinite(weights) & (weights >= 0)).all() or weights.sum() < 1:
        raise UsageError("There is no block to estimate from.", hint="Play at least one block.")
    values, place = np.unique(np.concatenate([[0.0, 1.0], given]), return_inverse=True)
    return values, np.bincount(place[2:], weights, len(values)).astype(np.float64)


def _plain_error(score: float, error: float, players: int, seats: int) -> float | None:
    low, high = score - Z95 * error, score + Z95 * error
    if error == 0 or low <= 0 or high >= 1:
        return None
    return (elo_of_score(high, players, seats) - elo_of_score(low, players, seats)) / 2
