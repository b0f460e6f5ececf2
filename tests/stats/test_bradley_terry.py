"""Joint ratings: published fits, an independent solver, truth about what cannot be known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from ringrift_cli.errors import UsageError
from ringrift_cli.stats.bradley_terry import ELO, GameResult, fit
from ringrift_cli.stats.elo import Z95
from ringrift_cli.stats.multinomial import FloatArray
from tests.stats.games import duels, random_games, standard_errors, worths

# ---- published fits -----------------------------------------------------------------------------

TEAMS = ("Baltimore", "Boston", "Cleveland", "Detroit", "Milwaukee", "New York", "Toronto")
# American League, Eastern Division, 1987; home team, visitors, wins of each. A. Agresti,
# Categorical Data Analysis (2nd ed., 2002), table 10.10; as in R's BradleyTerry2, baseball.csv.
BASEBALL = """
    Milwaukee: Detroit 4-3, Toronto 4-2, New York 4-3, Boston 6-1, Cleveland 4-2, Baltimore 6-0
    Detroit: Milwaukee 3-3, Toronto 4-2, New York 4-3, Boston 6-0, Cleveland 6-1, Baltimore 4-3
    Toronto: Milwaukee 2-5, Detroit 4-3, New York 2-4, Boston 4-3, Cleveland 4-2, Baltimore 6-0
    New York: Milwaukee 3-3, Detroit 5-1, Toronto 2-5, Boston 4-3, Cleveland 4-2, Baltimore 6-1
    Boston: Milwaukee 5-1, Detroit 2-5, Toronto 3-3, New York 4-2, Cleveland 5-2, Baltimore 6-0
    Cleveland: Milwaukee 2-5, Detroit 3-3, Toronto 3-4, New York 4-3, Boston 4-2, Baltimore 2-4
    Baltimore: Milwaukee 2-5, Detroit 1-5, Toronto 1-6, New York 2-4, Boston 1-6, Cleveland 3-4
"""


def baseball() -> list[GameResult]:
    games = []
    for line in BASEBALL.strip().splitlines():
        home, visitors = line.strip().split(": ")
        for entry in visitors.split(", "):
            team, wins = entry.rsplit(" ", 1)
            won, lost = map(int, wins.split("-"))
            games += duels(TEAMS.index(home), TEAMS.index(team), won, lost)
    return games


def test_baseball_is_as_published() -> None:
    """Agresti, table 10.11, without home advantage; all digits from R's BradleyTerry2 1.0
    (tests/baseball.Rout.save). Agresti gives 15 degrees of freedom."""
    found = fit(baseball(), 7)
    coefficients = [0, 1.1077, 0.6839, 1.4364, 1.5814, 1.2476, 1.2945]
    errors = [0, 0.3339, 0.3319, 0.3396, 0.3433, 0.3359, 0.3367]
    assert worths(found) == pytest.approx(coefficients, abs=5.1e-5)
    assert standard_errors(found) == pytest.approx(errors, abs=5.1e-5)
    assert found.goodness.freedom == 15


@pytest.mark.parametrize(
    ("anchor", "coefficients", "errors"),
    [
        (0, (0, -2.9490725, -0.4795698, 0.2689541), (0, 0.10254534, 0.06058873, 0.07082997)),
        (2, (0.4795698, -2.4695027, 0, 0.7485238), (0.06058873, 0.09817049, 0, 0.07294356)),
    ],
)
def test_citations_are_as_published(
    anchor: int, coefficients: tuple[float, ...], errors: tuple[float, ...]
) -> None:
    """S. M. Stigler's citations among Biometrika, Communications in Statistics, JASA, JRSS-B, 1994;
    numbers from R's BradleyTerry2 (tests/BTabilities.Rout.save)."""
    table = [(0, 1, 730, 33), (0, 2, 498, 320), (0, 3, 221, 284)]
    table += [(1, 2, 68, 813), (1, 3, 17, 276), (2, 3, 142, 325)]
    found = fit([game for row in table for game in duels(*row)], 4, anchor=anchor)
    assert worths(found) == pytest.approx(coefficients, abs=1e-6)
    assert standard_errors(found) == pytest.approx(errors, abs=1e-6)


# ---- an independent solver ----------------------------------------------------------------------


def fitted_by_scipy(games: list[GameResult], players: int) -> tuple[FloatArray, FloatArray]:
    """θ relative to player 0, and their standard errors by differences of the gradient."""

    def minus_log_likelihood(free: FloatArray) -> float:
        worth = [0.0, *map(float, free)]
        return -sum(
            game.count
            * (
                worth[game.seats[game.winner]]
                - math.log(sum(math.exp(worth[p]) for p in game.seats))
            )
            for game in games
        )

    def gradient(free: FloatArray) -> FloatArray:
        worth, slope = [0.0, *free], np.zeros(players)
        for game in games:
            total = sum(math.exp(worth[p]) for p in game.seats)
            slope[game.seats[game.winner]] -= game.count
            for p in game.seats:
                slope[p] += game.count * math.exp(worth[p]) / total
        return slope[1:]

    start = np.zeros(players - 1)
    found = optimize.minimize(
        minus_log_likelihood, start, jac=gradient, method="BFGS", options={"gtol": 1e-9}
    )
    curvature = [
        (gradient(found.x + step) - gradient(found.x - step)) / 2e-5
        for step in 1e-5 * np.eye(players - 1)
    ]
    return found.x, np.sqrt(np.linalg.inv(curvature).diagonal())


@pytest.mark.parametrize("repeats", [False, True])
@pytest.mark.parametrize("seats", [2, 3, 4])
def test_agrees_with_a_general_optimiser(seats: int, repeats: bool) -> None:
    rng = np.random.default_rng(10 * seats + repeats)
    worth = np.array([0, 0.4, -0.8, 1.1, 0.2])
    games = random_games(rng, worth, seats, 120, repeats=repeats)
    found = fit(games, 5)
    expected, errors = fitted_by_scipy(games, 5)
    assert worths(found)[1:] == pytest.approx(expected, abs=1e-6)
    assert standard_errors(found)[1:] == pytest.approx(errors, rel=1e-5)


def test_two_players_have_closed_forms() -> None:
    found = fit(duels(0, 1, 30, 70), 2, anchor_rating=1200).ratings[1]
    assert found.rating == pytest.approx(1200 + 400 * math.log10(70 / 30))
    error = Z95 * ELO * math.sqrt(1 / 30 + 1 / 70)
    assert found.error == pytest.approx(error)
    assert (found.low, found.high) == pytest.approx((found.rating - error, found.rating + error))
    assert (found.games, found.wins, found.by_blocks) == (100, 70, False)


def test_a_player_in_several_seats_wins_with_any_of_them() -> None:
    """Equal players, one of them in three of four seats, wins three quarters."""
    games = [GameResult((0, 1, 1, 1), 0, 25), GameResult((0, 1, 1, 1), 2, 75)]
    found = fit(games, 2)
    assert found.ratings[1].rating == pytest.approx(1200)
    assert (found.ratings[1].games, found.ratings[1].wins) == (100, 75)


def test_games_of_one_player_alone_say_nothing() -> None:
    games = duels(0, 1, 3, 5)
    alone = [*games, GameResult((1, 1), 0, 50)]
    assert fit(alone, 2).ratings[1].rating == pytest.approx(fit(games, 2).ratings[1].rating)


# ---- what must hold -----------------------------------------------------------------------------


@given(seed=st.integers(0, 10_000), seats=st.integers(2, 4))
@settings(deadline=None, max_examples=25)
def test_names_of_the_players_do_not_matter(seed: int, seats: int) -> None:
    rng = np.random.default_rng(seed)
    games = random_games(rng, rng.normal(0, 1, 5), seats, int(rng.integers(5, 60)))
    name = [int(p) for p in rng.permutation(5)]
    renamed = [GameResult(tuple(name[p] for p in g.seats), g.winner) for g in games]
    one, other = fit(games, 5, anchor=2), fit(renamed[::-1], 5, anchor=name[2])
    for rating in one.ratings:
        same = other.ratings[name[rating.player]]
        assert same.status == rating.status
        assert (same.rating, same.low, same.high) == pytest.approx(
            (rating.rating, rating.low, rating.high), abs=1e-4, nan_ok=True
        )


@given(seed=st.integers(0, 10_000))
@settings(deadline=None, max_examples=25)
def test_swapping_winner_and_loser_mirrors_the_ratings(seed: int) -> None:
    rng = np.random.default_rng(seed)
    games = random_games(rng, rng.normal(0, 1, 4), 2, int(rng.integers(3, 40)))
    mirrored = [GameResult(g.seats, 1 - g.winner) for g in games]
    for one, other in zip(
        fit(games, 4, anchor_rating=0).ratings,
        fit(mirrored, 4, anchor_rating=0).ratings,
        strict=True,
    ):
        assert (one.rating, one.low, one.high) == pytest.approx(
            (-other.rating, -other.high, -other.low), abs=1e-4, nan_ok=True
        )


def test_counts_are_games_one_by_one() -> None:
    many = fit([GameResult((0, 1, 2), w, 20 + w) for w in range(3)], 3)
    single = fit([GameResult((0, 1, 2), w) for w in range(3) for _ in range(20 + w)], 3)
    assert worths(many) == pytest.approx(worths(single))
    assert standard_errors(many) == pytest.approx(standard_errors(single))


def test_the_anchor_only_shifts() -> None:
    games = baseball()
    low, high = fit(games, 7, anchor=3, anchor_rating=0), fit(games, 7, anchor=3)
    assert high.ratings[3].rating == high.ratings[3].low == 1200
    for one, other in zip(low.ratings, high.ratings, strict=True):
        assert other.rating == pytest.approx(one.rating + 1200)
        assert other.error == pytest.approx(one.error)


# ---- ratings that do not exist ------------------------------------------------------------------


def clopper_pearson(wins: int) -> float:
    """Elo of the exact lower 95 % bound for a player who won `wins` of `wins`."""
    low = stats.binomtest(wins, wins).proportion_ci(0.90, method="exact").low
    return 400 * math.log10(low / (1 - low))


@pytest.mark.parametrize("wins", [1, 2, 10, 300])
def test_who_won_all_has_a_lower_bound_and_who_lost_all_an_upper_one(wins: int) -> None:
    winner, loser = fit([*duels(1, 0, wins, 0), *duels(0, 2, wins, 0)], 3).ratings[1:]
    assert (winner.status, winner.rating, winner.high) == ("above", math.inf, math.inf)
    assert (loser.status, loser.rating, loser.low) == ("below", -math.inf, -math.inf)
    assert winner.low == pytest.approx(1200 + clopper_pearson(wins), abs=1e-4)
    assert loser.high == pytest.approx(1200 - clopper_pearson(wins), abs=1e-4)
    assert (winner.error, loser.error) == (None, None)


def test_bound_of_a_chain_of_wins_is_the_profile_likelihood() -> None:
    """2 beat 1 six times and 1 beat 0 eight times: 1 is free to lie where that is likeliest."""
    found = fit([*duels(2, 1, 6, 0), *duels(1, 0, 8, 0)], 3)

    def log_likelihood(difference: float) -> float:
        best = optimize.minimize_scalar(
            lambda middle: 6 * np.logaddexp(0, middle - difference) + 8 * np.logaddexp(0, -middle),
            bounds=(-20, 20),
            options={"xatol": 1e-12},
        )
        return -float(best.fun)

    bound = optimize.brentq(lambda d: log_likelihood(d) - math.log(0.05), -10, 20, xtol=1e-12)
    assert found.ratings[2].low == pytest.approx(1200 + ELO * bound, abs=1e-4)
    assert found.ratings[1].low == pytest.approx(1200 + clopper_pearson(8), abs=1e-4)


def test_bound_uses_all_that_lies_between() -> None:
    """0 and 1 are comparable; 2 beat each of them, so that its bound lies above 0 and near 1."""
    games = [*duels(0, 1, 10, 30), *duels(2, 0, 5, 0), *duels(2, 1, 5, 0)]
    found = fit(games, 3).ratings
    alone = fit([*duels(0, 1, 10, 30), *duels(2, 0, 5, 0)], 3).ratings[2].low

    def loss(d: float) -> float:
        def minus(middle: float) -> float:
            wins = 10 * np.logaddexp(0, middle) + 30 * np.logaddexp(0, -middle)
            return float(wins + 5 * np.logaddexp(0, -d) + 5 * np.logaddexp(0, middle - d))

        best = optimize.minimize_scalar(minus, bounds=(-20, 20), options={"xatol": 1e-12})
        supremum = -(10 * math.log(0.25) + 30 * math.log(0.75))
        return float(best.fun - supremum)

    bound = optimize.brentq(lambda d: loss(d) - math.log(20), -5, 15, xtol=1e-12)
    assert found[2].low == pytest.approx(1200 + ELO * bound, abs=1e-4)
    assert found[2].low > alone


def test_without_a_chain_of_wins_nothing_is_known() -> None:
    games = [*duels(0, 1, 3, 4), *duels(2, 3, 2, 2), *duels(4, 0, 2, 0), *duels(4, 5, 3, 0)]
    found = fit(games, 7).ratings
    assert [rating.status for rating in found] == [
        "anchor",
        "finite",
        "unknown",  # never met the anchor's friends
        "unknown",
        "above",
        "unknown",  # lost to one who beat the anchor: may be anything
        "unknown",  # never played
    ]
    assert math.isnan(found[5].rating)
    assert (found[5].low, found[5].high) == (-math.inf, math.inf)
    assert found[6].games == 0


def test_one_who_never_wins_does_not_disturb_the_others() -> None:
    """With him infinitely weak, three are two: his games are as if he had not been there."""
    three = [GameResult((0, 1, 2), 0, 12), GameResult((0, 1, 2), 1, 20)]
    found = fit(three, 3).ratings
    two = fit(duels(0, 1, 12, 20), 2).ratings
    assert (found[1].rating, found[1].error) == pytest.approx((two[1].rating, two[1].error))
    assert found[2].status == "below"
    assert found[2].high < 1200


def test_ratings_say_in_words_what_is_known() -> None:
    games = [*duels(0, 1, 30, 70), *duels(2, 0, 10, 0), *duels(0, 3, 10, 0)]
    assert [str(rating) for rating in fit(games, 5).ratings] == [
        "1200",
        "1347 ± 74",
        "above 1383",
        "below 1017",
        "unknown",
    ]


def test_no_games_leave_all_but_the_anchor_unknown() -> None:
    assert [rating.status for rating in fit([], 3, anchor=1).ratings] == [
        "unknown",
        "anchor",
        "unknown",
    ]


# ---- goodness -----------------------------------------------------------------------------------


def test_p_value_is_nearly_that_of_the_chi_square_distribution() -> None:
    goodness = fit(baseball(), 7).goodness
    assert goodness.p_value == pytest.approx(stats.chi2.sf(goodness.pearson, 15), abs=2e-3)


def test_a_circle_of_players_does_not_fit() -> None:
    circle = [*duels(0, 1, 70, 30), *duels(1, 2, 70, 30), *duels(2, 0, 70, 30)]
    found = fit(circle, 3)
    assert worths(found) == pytest.approx([0, 0, 0], abs=1e-9)
    assert found.goodness.pearson == pytest.approx(3 * 2 * 20**2 / 50)
    assert found.goodness.p_value is not None
    assert found.goodness.p_value < 1e-6


def test_two_players_always_fit() -> None:
    goodness = fit(duels(0, 1, 5, 9), 2).goodness
    assert (goodness.freedom, goodness.p_value) == (0, None)
    assert goodness.pearson == pytest.approx(0, abs=1e-12)


# ---- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("games", "options", "message"),
    [
        ([], {"anchor": 3}, "Player 3 of 3 cannot be the anchor"),
        ([], {"anchor": -1}, "Player -1 of 3"),
        ([], {"anchor_rating": math.nan}, "at a rating of nan"),
        ([GameResult((0, 3), 0)], {}, r"Players \(0, 3\) are no seating of players 0 to 2"),
        ([GameResult((0, -1), 0)], {}, r"Players \(0, -1\)"),
        ([GameResult((0,), 0)], {}, r"Players \(0,\)"),
        ([GameResult((0, 1), 2)], {}, "Seat 2 cannot win a game of 2 seats"),
        ([GameResult((0, 1), -1)], {}, "Seat -1 cannot win"),
        ([GameResult((0, 1), 0, 0)], {}, "cannot have happened 0 times"),
    ],
)
def test_says_what_is_wrong(games: list[GameResult], options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        fit(games, 3, **options)
    assert caught.value.hint
