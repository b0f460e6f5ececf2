"""The sequential test: published log-likelihood ratios, an independent solver, error rates."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from ringrift_cli.errors import UsageError
from ringrift_cli.stats.elo import score_of_elo
from ringrift_cli.stats.multinomial import FloatArray, likeliest_with_mean_zero
from ringrift_cli.stats.sprt import Sprt, exact_llr

COUNTS = st.lists(st.integers(0, 300), min_size=3, max_size=5).filter(any)

# ---- published numbers --------------------------------------------------------------------------

# A page of raw statistics of a Fishtest server, on pairs: montytest.muzhen.org/tests/stats/
# 69d3c8dc7c5b3724e29d2712. elo0 is 0, elo1 4 in normalized Elo, which it gives as score 0.50391.
PAGE = np.array([13, 37, 50, 25, 3], np.float64)
PAGE_SCORE = 0.5 + 4 / (800 / math.log(10)) * math.sqrt(2 * 0.0576171875)


def test_pentanomial_ratios_are_as_a_fishtest_page_prints_them() -> None:
    assert round(PAGE_SCORE, 5) == 0.50391
    assert float(exact_llr(PAGE, 0.5, PAGE_SCORE)) == pytest.approx(-0.53772, abs=5e-6)


def test_jumps_of_the_ratio_are_as_the_page_prints_them() -> None:
    values = np.linspace(0, 1, 5)
    shares = PAGE / PAGE.sum()
    p0, p1 = (likeliest_with_mean_zero(shares, values - s) for s in (0.5, PAGE_SCORE))
    printed = [-0.022039, -0.015047, -0.004307, 0.014302, 0.054441]
    assert np.log(p1 / p0) == pytest.approx(printed, abs=1e-6)


@pytest.mark.parametrize(
    ("elo0", "elo1", "counts", "printed", "fishtest"),
    [
        # Disservin/fastchess, app/tests/sprt_test.cpp: logistic trinomial 1, 2; pentanomial 1, 2.
        (0.5, 2.5, [21184, 40708, 21404], -1.57, -1.5718887926943381),
        (0, 2, [57030, 106593, 57433], -2.59, -2.593024163515815),
        (0.5, 2.5, [223, 9863, 21279, 10037, 246], -3.07, -3.0741264395890813),
        (0, 2, [871, 26175, 55983, 26678, 821], -4.98, -4.978672863444156),
        # cutechess issue 543, "SPRT: llr 2.95 (100.2%), lbound -2.94, ubound 2.94".
        (0, 5, [759, 1863, 880], 2.95, 2.947224113731151),
        # The examples in Fishtest's stat_util.py.
        (-3, 1, [10789, 19328, 33806, 19402, 10543], None, 2.1310678117940807),
        (0.2, 0.9, [39, 2226, 31451, 2412, 40], None, 2.1625425800483593),
    ],
)
def test_exact_ratios_are_those_of_fishtest(
    elo0: float, elo1: float, counts: list[int], printed: float | None, fishtest: float
) -> None:
    """`fishtest` is LLR_logistic of official-stockfish/fishtest (LLRcalc.py, 0753fcc)."""
    llr = Sprt(elo0, elo1).llr(counts)
    assert llr == pytest.approx(fishtest, abs=1e-6)
    assert printed is None or round(llr, 2) == printed


def test_bounds_are_walds() -> None:
    test = Sprt(0, 5, alpha=0.05, beta=0.05)
    assert (round(test.lower, 2), round(test.upper, 2)) == (-2.94, 2.94)
    test = Sprt(0, 5, alpha=0.05, beta=0.10)  # fastchess prints (-2.25, 2.89), pull request 222
    assert (round(test.lower, 2), round(test.upper, 2)) == (-2.25, 2.89)


# ---- an independent solver ----------------------------------------------------------------------


def greatest_likelihood(shares: FloatArray, values: FloatArray) -> float:
    """Σ shares·log p where the mean is zero, by SLSQP over logits."""

    def p(logits: FloatArray) -> FloatArray:
        weights = np.exp(logits - logits.max())
        return np.asarray(weights / weights.sum())

    def violation(logits: FloatArray) -> float:
        return float(p(logits) @ values)

    found = optimize.minimize(
        lambda logits: -(shares * np.log(p(logits))).sum(),
        np.log(shares),
        method="SLSQP",
        constraints=[{"type": "eq", "fun": violation}],
        options={"ftol": 1e-15, "maxiter": 1000},
    )
    assert abs(violation(found.x)) < 1e-9
    return float(-found.fun)


@pytest.mark.parametrize("counts", [[30, 52, 18], [40, 35, 20, 5], [25, 40, 22, 10, 3]])
def test_exact_ratio_agrees_with_a_general_optimiser(counts: list[int]) -> None:
    players = len(counts) - 1
    shares, values = np.array(counts) / 100, np.linspace(0, 1, len(counts))
    scores = [score_of_elo(elo, players) for elo in (-20, 25)]
    at0, at1 = (greatest_likelihood(shares, values - score) for score in scores)
    found = Sprt(-20, 25, players=players).llr(counts)
    assert found == pytest.approx(100 * (at1 - at0), abs=1e-6)


# ---- what must hold -----------------------------------------------------------------------------


@given(counts=COUNTS)
@settings(deadline=None, max_examples=60)
def test_swapping_players_and_hypotheses_negates_the_ratio(counts: list[int]) -> None:
    one = Sprt(-5, 30).llr(counts)
    assert one == pytest.approx(-Sprt(-30, 5).llr(counts[::-1]), abs=1e-7)


@given(counts=COUNTS)
@settings(deadline=None, max_examples=60)
def test_another_win_never_speaks_for_weakness(counts: list[int]) -> None:
    better = [*counts[:-1], counts[-1] + 1]
    test = Sprt(0, 30)
    # A first win lowers it a trifle, for it replaces the pseudo-count of Fishtest's.
    assert test.llr(better) > test.llr(counts) - 1e-2


@given(counts=COUNTS, players=st.integers(2, 4))
@settings(deadline=None, max_examples=60)
def test_ratio_grows_with_the_games_in_proportion(counts: list[int], players: int) -> None:
    full = [count + 1 for count in counts]  # no pseudo-counts
    test = Sprt(0, 40, players=players)
    assert test.llr([7 * count for count in full]) == pytest.approx(7 * test.llr(full), abs=1e-6)


def test_many_rows_are_computed_as_one_by_one() -> None:
    rows = np.random.default_rng(3).multinomial(40, [0.2, 0.5, 0.2, 0.1], size=30)
    rows[0] = 0
    test = Sprt(0, 20, players=3)
    assert test.llrs(rows) == pytest.approx([test.llr(row) for row in rows], abs=1e-9)
    assert test.llrs(rows)[0] == 0


@pytest.mark.parametrize("players", [2, 3, 4])
def test_decides_by_the_bounds(players: int) -> None:
    fair, strong = np.zeros(players + 1), np.zeros(players + 1)
    fair[1] = strong[2] = 1  # each block won once, the fair share, or twice
    test = Sprt(0, 100, players=players)
    assert [test.decision(n * fair) for n in (0, 1, 100)] == [None, None, "H0"]
    assert [test.decision(n * strong) for n in (0, 1, 100)] == [None, None, "H1"]
    first = next(n for n in range(1, 100) if test.decision(n * strong))
    assert test.llr((first - 1) * strong) < test.upper <= test.llr(first * strong)


# ---- error rates --------------------------------------------------------------------------------


def share_accepted(test: Sprt, truth: FloatArray, runs: int, seed: int) -> float:
    """How often H1 is accepted where blocks come with these probabilities [C]."""
    rng = np.random.default_rng(seed)
    counts = np.zeros((runs, len(truth)))
    accepted = 0
    for _ in range(5000):
        counts += rng.multinomial(1, truth, size=len(counts))
        llrs = test.llrs(counts)
        accepted += int((llrs >= test.upper).sum())
        counts = counts[(llrs > test.lower) & (llrs < test.upper)]
        if not len(counts):
            return accepted / runs
    raise AssertionError(f"{len(counts)} of {runs} tests did not end")


def with_elo(shape: npt.ArrayLike, elo: float, players: int) -> FloatArray:
    """Probabilities [C] most like `shape` at which the player is `elo` stronger."""
    shares = np.asarray(shape, np.float64)
    values = np.linspace(0, 1, len(shares)) - score_of_elo(elo, players)
    return likeliest_with_mean_zero(shares / shares.sum(), values)


PAIRS = [0.25, 0.5, 0.25]
OPENINGS_DECIDE = [0.1, 0.8, 0.1]
PENTANOMIAL = [0.05, 0.2, 0.5, 0.2, 0.05]
THREE = [8, 12, 6, 1]
FOUR = [81, 108, 54, 12, 1]


def assert_errors_are_rare(test: Sprt, shape: npt.ArrayLike, runs: int) -> None:
    for elo, error in ((test.elo0, test.alpha), (test.elo1, test.beta)):
        truth = with_elo(shape, elo, test.players)
        accepted = share_accepted(test, truth, runs, seed=11)
        wrong = accepted if elo == test.elo0 else 1 - accepted
        assert wrong <= error + 3 * math.sqrt(error * (1 - error) / runs), f"at {elo:g} Elo"


@pytest.mark.parametrize(
    ("test", "shape"),
    [
        (Sprt(0, 60), PAIRS),
        (Sprt(0, 80, alpha=0.1, beta=0.02), PAIRS),
        (Sprt(0, 60), OPENINGS_DECIDE),
        (Sprt(-40, 40), PENTANOMIAL),
        (Sprt(0, 60, players=3), THREE),
        (Sprt(0, 80, players=4), FOUR),
    ],
    ids=str,
)
def test_errors_are_no_more_frequent_than_promised(test: Sprt, shape: list[float]) -> None:
    assert_errors_are_rare(test, shape, runs=2000)


@pytest.mark.long
@pytest.mark.parametrize(
    ("players", "shape"),
    [(2, PAIRS), (2, OPENINGS_DECIDE), (2, PENTANOMIAL), (3, THREE), (4, FOUR)],
)
def test_errors_of_the_usual_test_are_no_more_frequent_than_promised(
    players: int, shape: list[float]
) -> None:
    assert_errors_are_rare(Sprt(0, 30, players=players), shape, runs=6000)


# ---- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"elo0": 30, "elo1": 30}, "elo0 must be less than elo1"),
        ({"elo0": 30, "elo1": 0}, "30 is not less than 0"),
        ({"elo0": math.nan, "elo1": 5}, "elo0 is nan"),
        ({"elo0": 0, "elo1": 2000}, "elo1 is 2000"),
        ({"elo0": 0, "elo1": 5, "alpha": 0}, "alpha is 0"),
        ({"elo0": 0, "elo1": 5, "alpha": 0.5}, "alpha is 0.5"),
        ({"elo0": 0, "elo1": 5, "beta": -0.1}, "beta is -0.1"),
        ({"elo0": 0, "elo1": 5, "beta": math.nan}, "beta is nan"),
        ({"elo0": 0, "elo1": 5, "players": 1}, "1 of 1 seats"),
    ],
)
def test_says_which_parameter_is_wrong(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        Sprt(**arguments)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([3], "a count for every block score"),
        ([[1, 2], [3, 4]], "a count for every block score"),
        ([1, -1, 2], "cannot be negative"),
        ([1, math.nan, 2], "cannot be negative"),
    ],
)
def test_says_what_is_wrong_with_counts(counts: Any, message: str) -> None:
    for ask in (Sprt(0, 5).llr, Sprt(0, 5).decision):
        with pytest.raises(UsageError, match=message) as caught:
            ask(counts)
        assert caught.value.hint
