"""Elo differences and intervals: published numbers, properties, coverage."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from ringrift_cli.errors import UsageError
from ringrift_cli.stats.elo import (
    Z95,
    Estimate,
    bounds_of_mean,
    elo_of_score,
    estimate,
    fair_share,
    score_of_elo,
    wilson_interval,
)
from ringrift_cli.stats.multinomial import FloatArray

COUNTS = st.lists(st.integers(0, 60), min_size=3, max_size=5).filter(lambda counts: sum(counts) > 1)


def from_counts(counts: list[int], **options: Any) -> Estimate:
    """Of blocks whose scores are spaced evenly; games with draws unless told otherwise."""
    options.setdefault("games", (len(counts) - 1) // 2)
    return estimate(np.linspace(0, 1, len(counts)), counts, **options)


# ---- Elo and score ------------------------------------------------------------------------------


@pytest.mark.parametrize(("players", "seats"), [(2, 1), (3, 1), (3, 2), (4, 1), (4, 2), (4, 3)])
def test_the_fair_share_is_zero(players: int, seats: int) -> None:
    assert fair_share(players, seats) == seats / players
    assert elo_of_score(seats / players, players, seats) == pytest.approx(0, abs=1e-9)
    assert score_of_elo(0, players, seats) == pytest.approx(seats / players)


def test_two_players_have_the_usual_formula() -> None:
    """Elo (1978): 400 points are odds of ten to one, 200 a score of 0.76 (his table, 2.11)."""
    assert elo_of_score(10 / 11) == pytest.approx(400)
    assert round(score_of_elo(200), 2) == 0.76
    assert elo_of_score(0.25) == -elo_of_score(0.75)


@pytest.mark.parametrize("players", [2, 3, 4])
def test_elo_is_the_worth_against_equal_others(players: int) -> None:
    worth = 10 ** (120 / 400)
    assert elo_of_score(worth / (worth + players - 1), players) == pytest.approx(120)


def test_certain_scores_are_infinite() -> None:
    assert (elo_of_score(0, 3), elo_of_score(1, 3)) == (-math.inf, math.inf)
    assert (score_of_elo(-math.inf), score_of_elo(math.inf)) == (0, 1)
    assert (score_of_elo(-1e9), score_of_elo(1e9)) == (0, 1)


@given(elo=st.floats(-3000, 3000), players=st.integers(2, 4))
def test_score_and_elo_are_inverse(elo: float, players: int) -> None:
    assert elo_of_score(score_of_elo(elo, players), players) == pytest.approx(elo, abs=1e-5)


# ---- published numbers --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("won", "games", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_is_as_published(won: int, games: int, low: float, high: float) -> None:
    """R. G. Newcombe, Statistics in Medicine 17 (1998), table I, method 3."""
    assert wilson_interval(won, games) == pytest.approx((low, high), abs=5e-5)
    other = stats.binomtest(won, games).proportion_ci(method="wilson")
    assert wilson_interval(won, games) == pytest.approx((other.low, other.high), abs=1e-9)


def test_interval_of_pairs_is_as_published_for_paired_proportions() -> None:
    """Tango's interval of M. Cavo's table (59, 6, 16, 80), -0.1240 to -0.0054.

    From M. W. Fagerland, S. Lydersen, P. Laake, Statistical Analysis of Contingency Tables (2017),
    chapter 8, as tested in R's contingencytables. A difference of proportions is twice the distance
    of our score from a half.
    """
    shares = np.array([16, 59 + 80, 6]) / 161
    low, high = bounds_of_mean(shares, np.array([0, 0.5, 1]), Z95**2 / 161)
    assert 2 * float(low) - 1 == pytest.approx(-0.1240, abs=5e-5)
    assert 2 * float(high) - 1 == pytest.approx(-0.0054, abs=5e-5)


@pytest.mark.parametrize(
    ("counts", "printed", "fishtest"),
    [
        # Disservin/fastchess, app/tests/elo_test.cpp: EloWDL 2, EloPentanomial 1 and 2.
        ([96, 111, 136], (40.70, 30.43), (40.702458186527075, 30.42721794360099)),
        ([34, 54, 63, 64, 75], (55.58, 27.65), (55.57978042044588, 27.65342950639345)),
        ([332, 433, 498, 333, 334], (-8.64, 10.33), (-8.64266726796901, 10.334194424393056)),
        # cutechess issue 543: 880 - 759 - 1863, "Elo difference: 12.0 +/- 7.9".
        ([759, 1863, 880], (12.0, 7.9), (12.009265307507148, 7.872895516981643)),
        # From the examples in Fishtest's stat_util.py, which print no error.
        ([10789, 19328, 33806, 19402, 10543], None, (-0.7735773359165423, 1.2775797280218)),
        ([39, 2226, 31451, 2412, 40], None, (0.902981048809024, 0.6625314859816553)),
    ],
)
def test_elo_error_is_as_other_programs_print_it(
    counts: list[int], printed: tuple[float, float] | None, fishtest: tuple[float, float]
) -> None:
    """`fishtest` is what get_elo of official-stockfish/fishtest (stat_util.py, 1054c5a) returns."""
    found = from_counts(counts)
    assert (found.elo, found.elo_error) == pytest.approx(fishtest, abs=1e-6)
    if printed:
        digits = 1 if printed[1] == 7.9 else 2
        assert (round(found.elo, digits), round(found.elo_error or 0, digits)) == printed


@pytest.mark.parametrize(
    ("counts", "nelo", "error"),
    [
        # Disservin/fastchess, app/tests/elo_test.cpp; the last from its pull request 783.
        ([89, 123, 76], -20.76, 40.13),
        ([96, 111, 136], 49.77, 36.77),
        ([34, 54, 63, 64, 75], 57.94, 28.28),
        ([332, 433, 498, 333, 334], -9.17, 10.96),
        ([379, 10170, 21828, 10640, 343], 3.05, 2.31),
    ],
)
def test_normalized_elo_is_as_fastchess_prints_it(
    counts: list[int], nelo: float, error: float
) -> None:
    found = from_counts(counts)
    assert (found.nelo, found.nelo_error) == pytest.approx((nelo, error), abs=0.006)


def test_likelihood_of_superiority_is_nearly_that_of_fastchess() -> None:
    """Its variance is that at equality, not the observed one: equal but for small counts."""
    for counts, los in (([89, 123, 76], 0.1553), ([332, 433, 498, 333, 334], 0.0505)):
        assert from_counts(counts).los == pytest.approx(los, abs=1e-3)


# ---- an independent solver ----------------------------------------------------------------------


def tango_bounds(won: int, split: int, lost: int, z2: float) -> tuple[float, float]:
    """T. Tango's interval as a score: root of his statistic with its closed-form nuisance."""
    n = won + split + lost

    def excess(delta: float) -> float:
        b = -won - lost + (2 * n - won + lost) * delta
        q = (math.sqrt(b * b + 8 * n * lost * delta * (1 - delta)) - b) / (4 * n)
        variance = n * (2 * q + delta * (1 - delta))
        return float((won - lost - n * delta) ** 2 - z2 * variance)

    middle, end = (won - lost) / n, 1 - 1e-12
    low = optimize.brentq(excess, -end, middle, xtol=1e-14) if middle > -1 else -1
    high = optimize.brentq(excess, middle, end, xtol=1e-14) if middle < 1 else 1
    return (1 + low) / 2, (1 + high) / 2


@pytest.mark.parametrize("counts", [(3, 4, 9), (40, 100, 60), (1, 30, 2), (5, 0, 7), (2, 9, 1)])
def test_bounds_of_pairs_agree_with_tango(counts: tuple[int, int, int]) -> None:
    lost, split, won = counts
    found = estimate([0, 0.5, 1], counts)
    n = sum(counts)
    expected = tango_bounds(won, split, lost, Z95**2 * n / (n - 1))
    assert (found.score_low, found.score_high) == pytest.approx(expected, abs=1e-6)


def test_bounds_of_single_games_agree_with_wilson() -> None:
    low, high = bounds_of_mean(np.array([13, 29]) / 42, np.array([0.0, 1.0]), Z95**2 / 42)
    assert (float(low), float(high)) == pytest.approx(wilson_interval(29, 42), abs=1e-9)


# ---- what must hold -----------------------------------------------------------------------------


@given(counts=COUNTS)
@settings(deadline=None, max_examples=25)
def test_swapping_the_players_mirrors_everything(counts: list[int]) -> None:
    one, other = from_counts(counts), from_counts(counts[::-1])
    assert one.elo == pytest.approx(-other.elo, abs=1e-6)
    assert one.elo_low == pytest.approx(-other.elo_high, abs=1e-4)
    assert one.elo_high == pytest.approx(-other.elo_low, abs=1e-4)
    assert one.los == pytest.approx(1 - other.los, abs=1e-9)
    assert one.wilson_low == pytest.approx(1 - other.wilson_high, abs=1e-9)
    assert (one.elo_error is None) == (other.elo_error is None)


@given(counts=COUNTS, players=st.integers(2, 4))
@settings(deadline=None, max_examples=25)
def test_bounds_enclose_and_superiority_goes_with_them(counts: list[int], players: int) -> None:
    found = from_counts(counts, players=players)
    assert 0 <= found.score_low <= found.score <= found.score_high <= 1
    assert found.elo_low <= found.elo <= found.elo_high
    if abs(found.los - 0.975) > 1e-6:
        assert (found.los > 0.975) == (found.score_low > 1 / players)


@given(counts=COUNTS, times=st.integers(2, 9))
@settings(deadline=None, max_examples=25)
def test_more_of_the_same_is_surer(counts: list[int], times: int) -> None:
    once, often = from_counts(counts), from_counts([times * count for count in counts])
    assert often.elo == pytest.approx(once.elo)
    assert often.score_high - often.score_low < once.score_high - once.score_low


def test_scores_may_come_one_by_one() -> None:
    assert estimate([0, 0.5, 0.5, 1, 1, 1]) == estimate([0, 0.5, 1], [1, 2, 3])


def test_many_blocks_have_the_usual_error_bars() -> None:
    found = estimate([0, 1 / 3, 2 / 3, 1], [30000, 44000, 20000, 6000], players=3)
    assert found.elo_error is not None
    assert found.elo_high - found.elo == pytest.approx(found.elo_error, rel=0.01)
    assert found.elo - found.elo_low == pytest.approx(found.elo_error, rel=0.01)
    assert (found.games, found.blocks) == (300_000, 100_000)


def test_pairing_counts_blocks_and_not_games() -> None:
    """Pairs that are always split tell more than the same wins one by one, doubled games less."""
    split = estimate([0, 0.5, 1], [5, 90, 5])
    doubled = estimate([0, 0.5, 1], [50, 0, 50])
    assert (split.wilson_low, split.wilson_high) == (doubled.wilson_low, doubled.wilson_high)
    assert split.wilson_low < split.score_low
    assert doubled.score_low < doubled.wilson_low


@pytest.mark.parametrize("score", [0.0, 0.5, 1.0])
def test_one_block_says_nothing(score: float) -> None:
    found = estimate([score])
    assert (found.score_low, found.score_high, found.los) == (0, 1, 0.5)
    assert (found.elo_low, found.elo_high) == (-math.inf, math.inf)
    assert (found.elo_error, found.nelo) == (None, None)


@pytest.mark.parametrize("blocks", [2, 3, 5, 10, 100, 1000])
def test_blocks_that_are_all_alike_are_not_certain(blocks: int) -> None:
    won, split = estimate(np.ones(blocks)), estimate(np.full(blocks, 0.5))
    assert (won.elo, won.elo_high, won.elo_error) == (math.inf, math.inf, None)
    assert won.score_low**blocks < 0.05  # such luck is rare below the bound
    assert (won.score_low + 0.5 / blocks) ** blocks > 0.025  # but the bound is no idle one
    assert 0.5 < won.los < 1 or blocks > 50
    # If neither outcome but the split one has been seen, either may still have a chance of 3 / n.
    assert split.score_high - 0.5 > 0.5 * (1 - 0.05 ** (1 / blocks))
    assert (split.elo, split.los, split.nelo) == (0, 0.5, None)


def test_a_player_may_hold_several_seats() -> None:
    found = estimate([0.25, 0.5, 0.75], [10, 20, 10], players=4, seats=2)
    assert found.elo == pytest.approx(0)
    assert found.los == pytest.approx(0.5)
    assert (found.games, found.blocks) == (160, 40)


# ---- coverage -----------------------------------------------------------------------------------

TRUTHS = {
    "even pairs": [0.25, 0.5, 0.25],
    "split pairs": [0.05, 0.9, 0.05],
    "strong": [0.02, 0.2, 0.78],
    "one-sided": [0.0, 0.8, 0.2],
    "with draws": [0.05, 0.2, 0.5, 0.2, 0.05],
    "three players": [0.3, 0.45, 0.2, 0.05],
    "four players": [0.32, 0.42, 0.21, 0.045, 0.005],
    "four players, strong": [0.02, 0.08, 0.3, 0.4, 0.2],
}


def covered(tables: FloatArray, truth: FloatArray) -> FloatArray:
    """[N] whether the interval from each table [N, C] holds the mean of the truth [N, C]."""
    values, blocks = np.linspace(0, 1, tables.shape[1]), tables.sum(1)
    low, high = bounds_of_mean(tables / blocks[:, None], values, Z95**2 / (blocks - 1))
    mean = truth @ values
    return np.asarray((low <= mean + 1e-9) & (mean - 1e-9 <= high), np.float64)


@pytest.mark.parametrize("blocks", [20, 60, 200])
@pytest.mark.parametrize("name", TRUTHS)
def test_95_percent_of_the_intervals_hold_the_truth(name: str, blocks: int) -> None:
    truth, runs = np.array(TRUTHS[name]), 4000
    tables, times = np.unique(
        np.random.default_rng(7).multinomial(blocks, truth, size=runs), axis=0, return_counts=True
    )
    rate = times @ covered(tables.astype(np.float64), truth) / runs
    # Counts are whole, so that coverage swings a little around 95 % with the truth, as Wilson's.
    assert rate > 0.95 - 0.008 - 3 * math.sqrt(0.95 * 0.05 / runs)


@pytest.mark.parametrize("categories", [2, 3, 4, 5])
@pytest.mark.parametrize("blocks", [2, 3, 5, 8, 12])
def test_few_blocks_cover_95_percent_over_all_truths(blocks: int, categories: int) -> None:
    rng = np.random.default_rng(blocks)
    truths = rng.dirichlet(np.ones(categories), size=4000)
    tables = rng.multinomial(blocks, truths).astype(np.float64)
    assert covered(tables, truths).mean() > 0.95 - 3 * math.sqrt(0.95 * 0.05 / 4000)


def test_estimate_has_the_intervals_whose_coverage_is_tested() -> None:
    low, high = bounds_of_mean(np.array([3, 5, 4]) / 12, np.array([0, 0.5, 1]), Z95**2 / 11)
    found = estimate([0, 0.5, 1], [3, 5, 4])
    assert (found.score_low, found.score_high) == (float(low), float(high))
    assert found.elo_low == elo_of_score(float(low))


# ---- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "options", "message"),
    [
        ([], {}, "no block"),
        ([0.5], {"counts": [0]}, "no block"),
        ([0.5, 1], {"counts": [3, -1]}, "no block"),
        ([0.5, 1.5], {}, "A block score of 1.5"),
        ([0.5, math.nan], {}, "A block score of nan"),
        ([0.5, 1], {"counts": [1]}, "do not belong together"),
        ([[0.5]], {}, "do not belong together"),
        ([0.5], {"games": 0}, "A block needs 1 or more games, not 0"),
        ([0.5], {"players": 1}, "1 of 1 seats"),
        ([0.5], {"players": 4, "seats": 4}, "4 of 4 seats"),
    ],
)
def test_estimate_says_what_is_wrong(scores: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        estimate(scores, **options)
    assert caught.value.hint


def test_scores_and_win_rates_say_what_is_wrong() -> None:
    for score in (-0.1, 1.1, math.nan):
        with pytest.raises(UsageError, match="no share of games"):
            elo_of_score(score)
    for won, games in ((0, 0), (3, 2), (-1, 2)):
        with pytest.raises(UsageError, match="no win rate"):
            wilson_interval(won, games)
