"""Generalised sequential probability ratio test (GSPRT) between two Elo differences.

A Wald test on the logarithm of the ratio of the maximum likelihoods of the block scores under the
two hypotheses. Sources: X. Li, J. Liu, Z. Ying, Generalized Sequential Probability Ratio Test for
Separate Families of Hypotheses, Sequential Analysis 33 (2014); Fishtest's LLRcalc.py, with
identical results.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ringrift_cli.errors import UsageError
from ringrift_cli.settings import Gate
from ringrift_cli.stats.elo import fair_share, score_of_elo
from ringrift_cli.stats.multinomial import FloatArray, likeliest_with_mean_zero

Decision = Literal["H0", "H1"]

# In place of a count of zero, so that a score not seen yet is rare rather than impossible.
PSEUDO_COUNT = 1e-3
MAX_ELO = 1000.0  # beyond, scores are indistinguishable from 0 or 1


@dataclass(frozen=True)
class Sprt:
    """Tests H0, the player is `elo0` stronger, against H1, it is `elo1` stronger.

    `alpha` is the probability to accept H1 if H0 is true, `beta` to accept H0 if H1 is true; if the
    difference lies outside both, errors are rarer. The player holds one of the `players` seats;
    Elo is as in `elo_of_score`.

    It is stateless: all results depend on `counts` [C], the numbers of blocks with the scores 0,
    1/(C-1), 2/(C-1), …, 1. Without draws C is the games of a block + 1, with draws twice the games
    + 1 (pentanomial for pairs, trinomial for single games).

    Raises `UsageError` unless elo0 < elo1, both within ±1000, and alpha and beta are between 0 and
    0.5.
    """

    elo0: float
    elo1: float
    alpha: float = Gate.alpha
    beta: float = Gate.beta
    players: int = 2

    def __post_init__(self) -> None:
        fair_share(self.players)
        for name, elo in (("elo0", self.elo0), ("elo1", self.elo1)):
            if not abs(elo) <= MAX_ELO:
                raise UsageError(
                    f"{name} is {elo:g}, too far from equality to be tested.",
                    hint=f"Use Elo between -{MAX_ELO:.0f} and {MAX_ELO:.0f}.",
                )
        if self.elo0 >= self.elo1:
            raise UsageError(
                f"elo0 must be less than elo1, but {self.elo0:g} is not less than {self.elo1:g}.",
                hint="For example elo0 = 0 and elo1 = 30.",
            )
        for name, error in (("alpha", self.alpha), ("beta", self.beta)):
            if not 0 < error < 0.5:
                raise UsageError(
                    f"{name} is {error:g}, but an error probability is between 0 and 0.5.",
                    hint="0.05 is usual.",
                )

    @property
    def lower(self) -> float:
        """H0 is accepted at this log-likelihood ratio or less (A. Wald, Sequential Analysis)."""
        return math.log(self.beta / (1 - self.alpha))

    @property
    def upper(self) -> float:
        """H1 is accepted at this log-likelihood ratio or more."""
        return math.log((1 - self.beta) / self.alpha)

    def llr(self, counts: npt.ArrayLike) -> float:
        """The log-likelihood ratio of H1 to H0 after blocks with these `counts` [C]."""
        return float(self.llrs(np.asarray(counts, np.float64)[None])[0])

    def llrs(self, counts: npt.ArrayLike) -> FloatArray:
        """Log-likelihood ratios [N] for counts [N, C], for example one row after each block."""
        table = _checked(counts)
        score0, score1 = (score_of_elo(elo, self.players) for elo in (self.elo0, self.elo1))
        ratios = exact_llr(table, score0, score1)
        return np.where(table.sum(-1) > 0, ratios, 0.0)

    def decision(self, counts: npt.ArrayLike) -> Decision | None:
        """The hypothesis accepted for `counts` [C], or None."""
        llr = self.llr(counts)
        if llr >= self.upper:
            return "H1"
        return "H0" if llr <= self.lower else None


def _checked(counts: npt.ArrayLike) -> FloatArray:
    table = np.asarray(counts, np.float64)
    if table.ndim != 2 or table.shape[1] < 2:
        raise UsageError(
            "A match needs a count for every block score from 0 to 1.",
            hint="For pairs without draws: both lost, one of two won, both won.",
        )
    if not (np.isfinite(table) & (table >= 0)).all():
        raise UsageError("A count of blocks cannot be negative.", hint="Count blocks from 0.")
    return table


def exact_llr(counts: FloatArray, score0: float, score1: float) -> FloatArray:
    """Log-likelihood ratio [...] of mean block score `score1` to `score0`, given `counts` [..., C].

    Each likelihood is the greatest of all distributions on the C scores with that mean. Source: M.
    Van den Bergh, support_MLE_multinomial.pdf.
    """
    regular = np.where(counts == 0, PSEUDO_COUNT, counts)  # as Fishtest does
    total = regular.sum(-1, keepdims=True)
    shares, values = regular / total, np.linspace(0, 1, counts.shape[-1])
    p0 = likeliest_with_mean_zero(shares, values - score0)
    p1 = likeliest_with_mean_zero(shares, values - score1)
    return np.asarray((total * shares * np.log(p1 / p0)).sum(-1))
