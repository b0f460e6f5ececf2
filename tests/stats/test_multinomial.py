"""The likeliest distribution of a given mean, against a general optimiser."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from ringrift_cli.stats.multinomial import FloatArray, likeliest_with_mean_zero

SCORES = {2: np.array([0, 0.5, 1]), 3: np.linspace(0, 1, 4), 4: np.linspace(0, 1, 5)}


def found_by_scipy(shares: FloatArray, values: FloatArray) -> FloatArray:
    found = optimize.minimize(
        lambda p: -(shares * np.log(p)).sum(),
        np.full(len(shares), 1 / len(shares)),
        jac=lambda p: -shares / p,
        method="SLSQP",
        bounds=[(1e-9, 1)] * len(shares),
        constraints=[
            {"type": "eq", "fun": lambda p: p.sum() - 1},
            {"type": "eq", "fun": lambda p: p @ values},
        ],
        options={"ftol": 1e-15, "maxiter": 1000},
    )
    return np.asarray(found.x)


@pytest.mark.parametrize("players", SCORES)
@pytest.mark.parametrize("mean", [0.1, 0.42, 0.5, 0.85])
def test_agrees_with_a_general_optimiser(players: int, mean: float) -> None:
    shares = np.random.default_rng(players).dirichlet(np.full(players + 1, 2.0))
    values = SCORES[players] - mean
    p = likeliest_with_mean_zero(shares, values)
    other = found_by_scipy(shares, values)
    assert (shares * np.log(p)).sum() == pytest.approx((shares * np.log(other)).sum(), abs=1e-8)
    assert p == pytest.approx(other, abs=1e-4)


@given(
    counts=st.lists(st.integers(0, 1000), min_size=2, max_size=9).filter(any),
    mean=st.floats(0.001, 0.999),
)
@settings(deadline=None)
def test_gives_probabilities_with_the_mean(counts: list[int], mean: float) -> None:
    values = np.linspace(0, 1, len(counts)) - mean
    p = likeliest_with_mean_zero(np.array(counts) / sum(counts), values)
    assert (p >= 0).all()
    assert p.sum() == pytest.approx(1, abs=1e-9)
    assert p @ values == pytest.approx(0, abs=1e-9)


@given(
    counts=st.lists(st.integers(1, 1000), min_size=3, max_size=9),
    mean=st.floats(0.05, 0.95),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None)
def test_no_neighbour_is_likelier(counts: list[int], mean: float, seed: int) -> None:
    shares, values = np.array(counts) / sum(counts), np.linspace(0, 1, len(counts)) - mean
    p = likeliest_with_mean_zero(shares, values)
    kept = np.vstack([np.ones(len(counts)), values])
    direction = np.random.default_rng(seed).normal(size=len(counts))
    direction -= np.linalg.pinv(kept) @ (kept @ direction)  # changes neither sum nor mean
    direction *= 0.1 * p.min() / np.abs(direction).max()
    best = (shares * np.log(p)).sum()
    assert (shares * np.log(p + direction)).sum() <= best + 1e-12
    assert (shares * np.log(p - direction)).sum() <= best + 1e-12


@pytest.mark.parametrize(
    ("shares", "mean", "expected"),
    [
        ([0, 1, 0], 0.5, [0, 1, 0]),
        ([0, 1, 0], 0.6, [0, 0.8, 0.2]),
        ([0, 0, 1], 0.6, [0.4, 0, 0.6]),
        ([0.5, 0.5, 0], 0.6, [0.2, 0.4, 0.4]),
    ],
)
def test_the_outermost_score_takes_what_no_observed_one_can(
    shares: list[float], mean: float, expected: list[float]
) -> None:
    p = likeliest_with_mean_zero(np.array(shares, np.float64), SCORES[2] - mean)
    assert p == pytest.approx(expected, abs=1e-12)


def test_rows_are_independent() -> None:
    shares = np.random.default_rng(0).dirichlet(np.ones(5), size=20)
    together = likeliest_with_mean_zero(shares, SCORES[4] - 0.3)
    for row, p in zip(shares, together, strict=True):
        assert p == pytest.approx(likeliest_with_mean_zero(row, SCORES[4] - 0.3), abs=1e-12)
