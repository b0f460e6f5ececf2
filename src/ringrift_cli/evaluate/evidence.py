"""Evidence: what the gate (promote.py) asks, what it found, and how that is written down."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ringrift_cli.errors import RecordError, RingriftError, UsageError
from ringrift_cli.evaluate.evaluate import Report
from ringrift_cli.evaluate.match import Match
from ringrift_cli.evaluate.results import Pool, Results
from ringrift_cli.game.version import rules_hash
from ringrift_cli.nn.registry import EVIDENCE_FORMAT, pool_name
from ringrift_cli.stats.elo import bounds_of_mean
from ringrift_cli.stats.multinomial import FloatArray
from ringrift_cli.stats.sprt import Sprt

VerdictName = Literal["accepted", "rejected", "inconclusive"]

Z95_ONE_SIDED = 1.6448536269514722  # standard normal, 95 % below


@dataclass(frozen=True)
class GateSetting:
    """How much is played, and how sure it must be; docs/models.md says why these numbers.

    Games are rounded up to whole blocks. `seed` decides the openings: give every candidate others.
    """

    seed: int
    elo0: float = 0.0
    elo1: float = 35.0
    alpha: float = 0.05
    beta: float = 0.05
    max_games: int = 800  # against the champion
    random_games: int = 100
    heuristic_games: int = 200
    earlier: int = 2  # champions of old, the latest first
    earlier_games: int = 100  # against each

    def __post_init__(self) -> None:
        Sprt(self.elo0, self.elo1, self.alpha, self.beta)
        for name in ("max_games", "random_games", "heuristic_games", "earlier_games"):
            if getattr(self, name) < 1:
                raise UsageError(
                    f"A gate with {name} = {getattr(self, name)} proves nothing.",
                    hint="1 game or more, a hundred to be of use",
                )
        if self.earlier < 0:
            raise UsageError(f"There are no {self.earlier} earlier champions.", hint="0 or more")

    def most_games(self, *, champion: bool, earlier: int) -> int:
        """The most games that a gate with these opponents plays, but for rounding."""
        tested = (self.max_games + self.heuristic_games) if champion else 0
        return (
            self.random_games
            + tested
            + self.heuristic_games
            + min(earlier, self.earlier) * self.earlier_games
        )


@dataclass(frozen=True)
class Contender:
    """A model and how it plays."""

    model: str  # identity of the checkpoint
    spec: str  # a player (players/spec.py) that plays by this model


@dataclass(frozen=True)
class Counted:
    """A match as evidence: its numbers are those of the first player."""

    match: str  # its id in the results
    players: tuple[str, str]  # specs
    identities: tuple[str, str]
    games: int  # that count
    blocks: int
    duplicates: int
    counts: tuple[int, ...]  # [seats + 1] blocks in which it won 0, 1, … games
    score: float
    score_95: tuple[float, float]
    elo: float | None  # None where it is infinite
    elo_95: tuple[float | None, float | None]
    los: float

    @classmethod
    def of(cls, match: Match, results: Results, report: Report) -> Counted:
        """The numbers of a report; `RingriftError` if it has no game."""
        if not report.games:
            raise RingriftError(
                f"No game of {match.entrants[0].spec!r} against {match.entrants[1].spec!r} counts;"
                " a gate without games proves nothing.",
                hint="the same command once more: it goes on behind the games that are recorded",
            )
        known = results.blocks(match.key, match.rotations)
        tally = Counter(block.count(0) for block in known.winners)
        found = report.standings[0].estimate
        return cls(
            report.match,
            (match.entrants[0].spec, match.entrants[1].spec),
            (match.entrants[0].identity, match.entrants[1].identity),
            report.games,
            report.blocks,
            report.duplicates,
            tuple(tally[won] for won in range(match.rotations + 1)),
            found.score,
            (found.score_low, found.score_high),
            _finite(found.elo),
            (_finite(found.elo_low), _finite(found.elo_high)),
            found.los,
        )

    @property
    def text(self) -> str:
        """`61.5 % of 200 games, +81 Elo (95 % from +34 to +131)`."""
        low, high = self.elo_95
        elo = _bound(self.elo, "+" if self.score > 0 else "-")
        return (
            f"{100 * self.score:.1f} % of {self.games} games, {elo} Elo (95 % from"
            f" {_bound(low, '-')} to {_bound(high, '+')})"
        )


@dataclass(frozen=True)
class Check:
    """One thing that was asked of the candidate."""

    name: str  # random, champion, heuristic or earlier
    passed: bool
    reason: str  # a sentence
    match: Counted
    against: Counted | None = None  # of the heuristic: what the champion did
    sprt: dict[str, Any] | None = None  # of the champion: decision, llr, bounds, blocks heard


@dataclass(frozen=True)
class Evidence:
    """What the gate found out."""

    pool: Pool
    candidate: Contender
    champion: Contender | None
    verdict: VerdictName
    reasons: tuple[str, ...]
    stopped: bool  # before the verdict, on request
    checks: tuple[Check, ...]
    setting: GateSetting
    time: str

    @property
    def games(self) -> int:
        """Games that count, of all matches of the candidate."""
        return sum(check.match.games for check in self.checks)

    def document(self) -> dict[str, Any]:
        """As JSON: what `Registry.promote` asks for."""
        name = pool_name(self.pool.board, self.pool.players, self.pool.pie_rule)
        return {
            "format": EVIDENCE_FORMAT,
            "pool": name,
            "candidate": asdict(self.candidate),
            "champion": None if self.champion is None else asdict(self.champion),
            "verdict": self.verdict,
            "stopped": self.stopped,
            "reasons": list(self.reasons),
            "games": self.games,
            "checks": [_lists(asdict(check)) for check in self.checks],
            "setting": asdict(self.setting),
            "rules": rules_hash(),
            "time": self.time,
        }


def greatest_difference(counts: npt.ArrayLike, before: npt.ArrayLike) -> FloatArray:
    """One-sided 95 % bounds [...] of the difference of two shares of games won.

    `counts` and `before` [..., C] say how many blocks were won 0, 1, … times by the one and the
    other, who met the same opponent in matches of their own. The bound is
    d + sqrt((u1 - s1)² + (s2 - l2)²), with u1 and l2 from the score intervals of each share
    (stats/elo.py); it holds where a share is 0 or 1, and its spread therefore unknown. Source: R.
    G. Newcombe, Interval estimation for the difference between independent proportions, Statistics
    in Medicine 17 (1998), method 10.
    """
    (share, _, upper), (other, lower, _) = _interval(counts), _interval(before)
    return np.asarray(share - other + np.hypot(upper - share, other - lower))


def _interval(counts: npt.ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Shares [...], and the bounds that they are above and below with 95 % each."""
    weights = np.asarray(counts, np.float64)
    blocks = weights.sum(-1)
    shares, values = weights / blocks[..., None], np.linspace(0, 1, weights.shape[-1])
    strictness = Z95_ONE_SIDED**2 / np.maximum(blocks - 1, 1e-9)  # a single block says nothing
    return shares @ values, *bounds_of_mean(shares, values, strictness)


def recorded_match(evidence: dict[str, Any] | None, name: str) -> Counted | None:
    """The match of a check in an evidence document; None if it was not played.

    `RecordError` if the document has another form.
    """
    if evidence is None:
        return None
    try:
        found = [check["match"] for check in evidence["checks"] if check["name"] == name]
        return _counted(found[0]) if found else None
    except (KeyError, TypeError) as error:
        raise RecordError(f"This is no evidence that the gate wrote: {error!r}.") from error


def _counted(document: dict[str, Any]) -> Counted:
    told: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in document.items()}
    return Counted(**told)


def _bound(elo: float | None, sign: str) -> str:
    return f"{sign}infinite" if elo is None else f"{elo:+.0f}"


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _lists(value: Any) -> Any:
    """The same with lists in place of tuples, as it reads back from JSON."""
    if isinstance(value, dict):
        return {key: _lists(item) for key, item in value.items()}
    return [_lists(item) for item in value] if isinstance(value, tuple | list) else value
