"""Sequential test of two Elo differences against each other: play until one of them is refuted.

The generalised sequential probability ratio test: a Wald test on the logarithm of the ratio of the
greatest likelihoods that the block scores have under the two hypotheses, whatever else is true of
them. Sources: X. Li, J. Liu, Z. Ying, Generalized Sequential Probability Ratio Test for Separate
Families of Hypotheses, Sequential Analysis 33 (2014); Fishtest's LLRcalc.py, whose numbers these
are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ringrift_cli.errors import UsageError
from ringrift_cli.stats.elo import fair_share, score_of_elo
from ringrift_cli.stats.multinomial import FloatArray, likeliest_with_mean_zero

Decision = Literal["H0", "H1"]

# In place of a count of zero, so that a score not seen yet is rare rather than impossible.
PSEUDO_COUNT = 1e-3
GREATEST_ELO = 1000.0  # beyond, no match tells the score from 0 or 1
GREATEST_T_VALUE = 0.4  # beyond, the likeliest distribution is not always found
ROUNDS = 200
PRECISION = 1e-13


@dataclass(frozen=True)
class Sprt:
    """Tests H0, the player is `elo0` stronger, against H1, it is `elo1` stronger.

    `alpha` is the probability to accept H1 where H0 is true, `beta` to accept H0 where H1 is; if
    the truth lies outside both, the errors are rarer. The player holds `seats` of the `players`
    seats; an opening's block has `games` games (None: as many as players). `model` says what Elo
    is: `logistic` as in `elo_of_score`, `normalized` as in `Estimate.nelo`.

    It has no state: everything depends on `counts` [C], which says how many blocks had the score 0,
    1/(C-1), 2/(C-1), …, 1. Without draws C is `games` + 1, with draws 2·`games` + 1 (pentanomial
    for pairs, trinomial for single games).

    Raises `UsageError` unless elo0 < elo1, both within ±1000 (normalized: 0.4 standard deviations
    of a block's score, ±98 for pairs), and alpha and beta are between 0 and 0.5.
    """

    elo0: float
    elo1: float
    alpha: float = 0.05
    beta: float = 0.05
    players: int = 2
    seats: int = 1
    games: int | None = None
    model: Literal["logistic", "normalized"] = "logistic"

    def __post_init__(self) -> None:
        fair_share(self.players, self.seats)
        if self.games is not None and self.games < 1:
            raise UsageError(
                f"A block of {self.games} games says nothing.", hint="Use 1 or more games."
            )
        if self.model not in ("logistic", "normalized"):
            raise UsageError(
                f"There is no Elo model {self.model!r}.", hint="Use logistic or normalized."
            )
        normalized = self.model == "normalized"
        most = GREATEST_T_VALUE * self._unit() if normalized else GREATEST_ELO
        for name, elo in (("elo0", self.elo0), ("elo1", self.elo1)):
            if not abs(elo) <= most:
                raise UsageError(
                    f"{name} is {elo:g}, too far from equality to be tested.",
                    hint=f"Use {self.model} Elo between -{most:.0f} and {most:.0f}.",
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
        """Log-likelihood ratios [N] for many counts [N, C] at once, say one after each block."""
        table = _checked(counts)
        if self.model == "logistic":
            ratios = exact_llr(table, *self._scores())
        else:
            t0, t1 = self.elo0 / self._unit(), self.elo1 / self._unit()
            ratios = t_value_llr(table, t0, t1, fair_share(self.players, self.seats))
        return np.where(table.sum(-1) > 0, ratios, 0.0)

    def normal_llr(self, counts: npt.ArrayLike) -> float:
        """The same ratio by the normal approximation; see the function `normal_llr`."""
        table = _checked(np.asarray(counts, np.float64)[None])
        return float(normal_llr(table, *self._scores())[0]) if table.sum() > 0 else 0.0

    def decision(self, counts: npt.ArrayLike) -> Decision | None:
        """The hypothesis that is accepted after blocks with these `counts` [C], None if neither."""
        llr = self.llr(counts)
        if llr >= self.upper:
            return "H1"
        return "H0" if llr <= self.lower else None

    def _scores(self) -> tuple[float, float]:
        if self.model == "normalized":
            raise UsageError(
                "The normal approximation is made for logistic Elo.", hint="Use model logistic."
            )
        low, high = (score_of_elo(e, self.players, self.seats) for e in (self.elo0, self.elo1))
        return low, high

    def _unit(self) -> float:
        """Normalized Elo of one standard deviation of a block's score; see `Estimate.nelo`."""
        fair = fair_share(self.players, self.seats)
        games = self.players if self.games is None else self.games
        return 400 / (math.log(10) * math.sqrt(fair * (1 - fair) * games))


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


def _regular(counts: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Blocks [..., 1], shares [..., C] without zeros, scores [C]; as Fishtest regularises them."""
    regular = np.where(counts == 0, PSEUDO_COUNT, counts)
    total = regular.sum(-1, keepdims=True)
    return total, regular / total, np.linspace(0, 1, counts.shape[-1])


def exact_llr(counts: FloatArray, score0: float, score1: float) -> FloatArray:
    """Log-likelihood ratio [...] of mean block score `score1` to `score0`, given `counts` [..., C].

    Each likelihood is the greatest of all distributions on the C scores with that mean. Source: M.
    Van den Bergh, support_MLE_multinomial.pdf.
    """
    total, shares, values = _regular(counts)
    p0 = likeliest_with_mean_zero(shares, values - score0)
    p1 = likeliest_with_mean_zero(shares, values - score1)
    return np.asarray((total * shares * np.log(p1 / p0)).sum(-1))


def normal_llr(counts: FloatArray, score0: float, score1: float) -> FloatArray:
    """The same if the mean score were normal with the observed variance: n·(s1-s0)(2s-s0-s1)/2V.

    Source: M. Van den Bergh, GSPRT_approximation.pdf, formula 2.1; what cutechess-cli computes.
    """
    total, shares, values = _regular(counts)
    mean = (shares * values).sum(-1, keepdims=True)
    variance = (shares * (values - mean) ** 2).sum(-1, keepdims=True)
    drift = (score1 - score0) * (2 * mean - score0 - score1) / (2 * variance)
    return np.asarray((total * drift)[..., 0])


def t_value_llr(counts: FloatArray, t0: float, t1: float, fair: float) -> FloatArray:
    """Log-likelihood ratio [...] of (mean - `fair`) / standard deviation being `t1` to `t0`.

    Source: M. Van den Bergh, normalized_elo_practical.pdf, section 4.1.
    """
    total, shares, values = _regular(counts)
    p0 = _likeliest_with_t_value(shares, values - fair, t0)
    p1 = _likeliest_with_t_value(shares, values - fair, t1)
    return np.asarray((total * shares * np.log(p1 / p0)).sum(-1))


def _likeliest_with_t_value(shares: FloatArray, values: FloatArray, t: float) -> FloatArray:
    """Among probabilities [..., C] with mean / deviation = `t`, the likeliest, by iteration.

    The constraint is made linear around the last distribution; where that settles, it holds, and it
    does settle for `t` up to 0.4 in size.
    """
    p = np.full(shares.shape, 1 / shares.shape[-1])
    for _ in range(ROUNDS):
        mean = (p * values).sum(-1, keepdims=True)
        deviation = np.sqrt((p * (values - mean) ** 2).sum(-1, keepdims=True))
        linear = values - t * deviation * (1 + ((values - mean) / deviation) ** 2) / 2
        previous, p = p, likeliest_with_mean_zero(shares, linear)
        if np.abs(p - previous).max() < PRECISION:
            break
    return p
