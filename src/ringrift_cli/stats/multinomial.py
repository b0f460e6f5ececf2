"""Maximum-likelihood distribution of block scores with a given mean, vectorised over rows.

Used by the sequential test (sprt.py) and the intervals (elo.py).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

STEPS = 200  # more halvings than a double has bits
PRECISION = 1e-14  # of a step of Newton's


def likeliest_with_mean_zero(shares: FloatArray, values: FloatArray) -> FloatArray:
    """Maximum-likelihood probabilities [..., C] on `values` [..., C] with mean zero.

    `shares` [..., C] are the observed frequencies, with sum 1; some may be zero. Some value must be
    negative and some positive.

    The maximum of Σ share·log p under Σ p = 1 and Σ p·value = 0 is p = share / (1 + x·value), with
    x the root of Σ share·value / (1 + x·value), which falls steadily between the poles -1/max and
    -1/min. Sources: M. Van den Bergh, Fishtest's support_MLE_multinomial.pdf, proposition 1.1;
    A. B. Owen, Empirical Likelihood (2001), section 2.9.

    Where the outermost value was never observed there is no pole, and there may be no root: then x
    is at that end, and that value has the probability missing from Σ p.
    """
    shares, values = np.broadcast_arrays(shares, values)
    top, bottom = values.argmax(-1)[..., None], values.argmin(-1)[..., None]
    low = -1 / np.take_along_axis(values, top, -1)
    high = -1 / np.take_along_axis(values, bottom, -1)
    # Ends without a pole, with the root at or beyond them: the bracket shrinks to them.
    no_low_pole = np.take_along_axis(shares, top, -1) == 0
    no_high_pole = np.take_along_axis(shares, bottom, -1) == 0
    at_low = no_low_pole & (_secular(shares, values, np.where(no_low_pole, low, 0))[0] <= 0)
    at_high = no_high_pole & (_secular(shares, values, np.where(no_high_pole, high, 0))[0] >= 0)
    low, high = np.where(at_high, high, low), np.where(at_low, low, high)
    x = _root(shares, values, low, high)
    p = shares * _reciprocal(shares, values, x)
    outermost = np.where(x < 0, top, bottom)
    rest = np.take_along_axis(p, outermost, -1) + (1 - p.sum(-1, keepdims=True))
    np.put_along_axis(p, outermost, np.maximum(rest, 0), -1)
    return p


def _reciprocal(shares: FloatArray, values: FloatArray, x: FloatArray) -> FloatArray:
    """1 / (1 + x·value) [..., C]; 0 for values that were not observed, which may be poles."""
    return np.divide(1, 1 + x * values, out=np.zeros(shares.shape), where=shares > 0)


def _secular(
    shares: FloatArray, values: FloatArray, x: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Σ share·value / (1 + x·value) [..., 1], and its slope, which is negative."""
    terms = values * _reciprocal(shares, values, x)
    f = (shares * terms).sum(-1, keepdims=True)
    return f, -(shares * terms**2).sum(-1, keepdims=True)


def _root(shares: FloatArray, values: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """The x [..., 1] in [low, high] where the function of `_secular` is zero."""
    close = PRECISION * np.minimum(np.abs(low), np.abs(high))
    x = np.clip(np.zeros(low.shape), low, high)
    for _ in range(STEPS):
        f, slope = _secular(shares, values, x)
        low, high = np.where(f >= 0, x, low), np.where(f <= 0, x, high)
        newton = x - np.divide(f, slope, out=np.full(f.shape, np.inf), where=slope < 0)
        settled = np.abs(newton - x) <= close + PRECISION * np.abs(x)
        # Newton's step where it stays inside the bracket, and the middle of the bracket elsewhere.
        following = np.where((newton > low) & (newton < high), newton, (low + high) / 2)
        following = np.where(settled, x, following)
        if np.all(np.abs(following - x) <= close):
            break
        x = following
    return x
