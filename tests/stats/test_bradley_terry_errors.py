"""Errors of joint ratings: what counting blocks does, and whether intervals hold the truth."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from ringrift_cli.stats.bradley_terry import ELO, GameResult, Rating, fit
from ringrift_cli.stats.elo import Z95, estimate
from tests.stats.games import duels, random_games, standard_errors

# ---- blocks -------------------------------------------------------------------------------------


def pairs(scores: list[int], *, marked: bool = True) -> list[GameResult]:
    """Two games with changed seats for each score: how many of them player 1 won."""
    games = []
    for number, score in enumerate(scores):
        block = number if marked else None
        games.append(GameResult((0, 1), int(score > 0), 1, block))
        games.append(GameResult((1, 0), int(score < 2), 1, block))
    return games


def test_errors_count_blocks_as_the_estimate_of_a_match_does() -> None:
    scores = [0] * 10 + [1] * 70 + [2] * 20
    rating = fit(pairs(scores), 2).ratings[1]
    match = estimate(np.array(scores) / 2)
    assert rating.by_blocks
    assert rating.rating - 1200 == pytest.approx(match.elo)
    assert match.elo_error is not None
    assert rating.error == pytest.approx(match.elo_error * math.sqrt(100 / 99), rel=0.01)


def test_opening_luck_that_cancels_makes_errors_smaller_and_repetition_greater() -> None:
    cancels, repeats = [0] * 10 + [1] * 80 + [2] * 10, [0] * 50 + [2] * 50
    plain = fit(pairs(cancels, marked=False), 2).ratings[1]
    assert not plain.by_blocks
    assert plain.error is not None
    for scores, factor in ((cancels, math.sqrt(0.2)), (repeats, 1)):
        found = fit(pairs(scores), 2).ratings[1]
        assert found.rating == pytest.approx(1200)
        # Half as many independent results as games, and each with this share of the spread.
        expected = plain.error * math.sqrt(2) * factor * math.sqrt(100 / 99)
        assert found.error == pytest.approx(expected)


def test_few_blocks_have_the_greater_of_both_errors() -> None:
    few_split, few_repeated = [0] + [1] * 10 + [2], [0] * 6 + [2] * 6
    plain = fit(pairs(few_split, marked=False), 2).ratings[1]
    split, repeated = (fit(pairs(s), 2).ratings[1] for s in (few_split, few_repeated))
    assert (split.by_blocks, split.error) == (False, plain.error)
    assert repeated.by_blocks
    assert repeated.error is not None
    assert plain.error is not None
    assert repeated.error > 1.4 * plain.error


def test_independent_games_beside_blocks_count_one_by_one() -> None:
    """The sandwich of single games is that of the information, where the model holds exactly."""
    blocks = pairs([0] * 25 + [1] * 50 + [2] * 25)
    loose = fit([*blocks, *duels(0, 1, 400, 400)], 2).ratings[1]
    single = [GameResult((0, 1), w) for w in (0, 1) for _ in range(400)]
    assert loose.by_blocks
    assert loose.error == pytest.approx(fit([*blocks, *single], 2).ratings[1].error)
    assert loose.error == pytest.approx(Z95 * ELO * math.sqrt(4 / 1000), rel=0.01)


def test_blocks_may_be_many_and_named_by_anything() -> None:
    rng = np.random.default_rng(1)
    games: list[GameResult] = []
    for number in range(3000):
        played = random_games(rng, np.array([0, 0.5, 1.0]), 3, 3)
        games += [GameResult(g.seats, g.winner, 1, ("opening", number)) for g in played]
    by_name = fit(games, 3)
    reordered = [games[int(i)] for i in rng.permutation(len(games))]
    assert standard_errors(fit(reordered, 3)) == pytest.approx(standard_errors(by_name))
    # These games are in truth independent.
    plain = fit([GameResult(g.seats, g.winner) for g in games], 3)
    assert standard_errors(by_name) == pytest.approx(standard_errors(plain), rel=0.1)


# ---- coverage -----------------------------------------------------------------------------------


def assert_covers(ratings: list[Rating], truth: list[float], least: float) -> None:
    inside = [r.low <= t <= r.high for r, t in zip(ratings, truth, strict=True)]
    noise = 3 * math.sqrt(least * (1 - least) / len(inside))
    assert np.mean(inside) > least - noise


@pytest.mark.parametrize("games", [4, 10, 40])
@pytest.mark.parametrize("worth", [0.0, 0.8, 2.5])
def test_95_percent_of_two_players_intervals_and_bounds_hold_the_truth(
    games: int, worth: float
) -> None:
    """Exactly: every outcome, with its probability.

    A bound misses with up to 5 % to one side, and finite intervals with 2.5 % to the other.
    """
    chance = 1 / (1 + math.exp(-worth))
    covered = 0.0
    for won in range(games + 1):
        rating = fit(duels(1, 0, won, games - won), 2, anchor_rating=0).ratings[1]
        if rating.low <= ELO * worth <= rating.high:
            covered += float(stats.binom.pmf(won, games, chance))
    assert covered > (0.925 if worth > 2 else 0.95)


def test_95_percent_of_intervals_of_a_pool_hold_the_truth() -> None:
    rng, worth = np.random.default_rng(2), np.array([0, 0.6, -0.5, 1.2])
    ratings: list[Rating] = []
    for _ in range(250):
        games = [g for seats in (2, 3, 4) for g in random_games(rng, worth, seats, 25)]
        ratings += fit(games, 4, anchor_rating=0).ratings[1:]
    assert_covers(ratings, 250 * [float(ELO * w) for w in worth[1:]], 0.95)


@pytest.mark.parametrize(
    ("luck", "repetition", "blocks"), [(2.0, 0.0, 12), (0.0, 0.6, 12), (2.0, 0.0, 40)]
)
def test_95_percent_of_intervals_by_blocks_hold_the_truth(
    luck: float, repetition: float, blocks: int
) -> None:
    """Four players, each pair plays `blocks` openings with both seatings. An opening favours a seat
    by ±`luck`, and with probability `repetition` the second game ends as the first."""
    rng, worth = np.random.default_rng(4), np.array([0, 0.5, -0.4, 1.0])

    def chance(one: int, other: int) -> tuple[float, float]:
        difference = worth[one] - worth[other]
        return 1 / (1 + math.exp(-difference - luck)), 1 / (1 + math.exp(-difference + luck))

    meetings = list(itertools.combinations(range(4), 2))
    # What ratings tend to: luck flattens the curve, so that differences look smaller.
    exact: list[GameResult] = []
    for i, j in meetings:
        won = round(5e8 * sum(chance(i, j)))
        exact += duels(i, j, won, 10**9 - won)
    truth = [rating.rating for rating in fit(exact, 4).ratings[1:]]
    ratings: list[Rating] = []
    for _ in range(200):
        games = []
        for number, (i, j) in enumerate(meetings * blocks):
            lucky, unlucky = chance(i, j)
            first, second = rng.random() < lucky, rng.random() < unlucky
            second = first if rng.random() < repetition else second
            games.append(GameResult((i, j), int(not first), 1, number))
            games.append(GameResult((j, i), int(second), 1, number))
        ratings += fit(games, 4).ratings[1:]
    assert_covers(ratings, 200 * truth, 0.945)
