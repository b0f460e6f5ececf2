"""Evidence: the settings of the gate, its checks, and the document of its verdict."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from ringrift_cli.errors import RecordError, RingriftError
from ringrift_cli.game.version import rules_hash
from ringrift_cli.nn.registry import EVIDENCE_FORMAT
from ringrift_cli.settings import Gate
from ringrift_cli.stats.elo import bounds_of_mean
from ringrift_cli.stats.multinomial import FloatArray
from ringrift_cli.stats.sprt import Decision, Sprt
from ringrift_cli.text import elo, now

if TYPE_CHECKING:
    from ringrift_cli.evaluate.evaluate import MatchResult
    from ringrift_cli.evaluate.match import Match
    from ringrift_cli.evaluate.results import Results

VerdictName = Literal["accepted", "rejected", "inconclusive"]

Z95_ONE_SIDED = 1.6448536269514722  # standard normal, 95 % below


@dataclass(frozen=True)
class GateSetting(Gate):
    """The settings of the gate, and the seed of the openings: give every candidate another one.

    Games are rounded up to whole blocks; docs/models.md explains the numbers.
    """

    seed: int = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        Sprt(self.elo0, self.elo1, self.alpha, self.beta)  # refuses impossible bounds

    def most_games(self, *, champion: bool, earlier: int) -> int:
        """The most games that a gate with these opponents plays, but for rounding."""
        tested = (self.max_games + self.heuristic_games) if champion else 0
        return (
            self.random_games
            + tested
            + self.heuristic_games
            + min(earlier, self.earlier) * self.earlier_games
            + 2 * self.reference_games
        )


class Contender(msgspec.Struct, frozen=True):
    """A model and the player that it is in the gate."""

    model: str  # identity of the checkpoint
    spec: str  # of the player (players/spec.py)


class MatchEvidence(msgspec.Struct, frozen=True):
    """A match as evidence; scores are those of the first player, an infinite Elo is None."""

    match: str  # id in the results
    players: tuple[str, str]  # specs
    identities: tuple[str, str]
    games: int  # that count
    blocks: int
    duplicates: int
    counts: tuple[int, ...]  # [seats + 1] number of blocks in which it won 0, 1, … games
    score: float
    score_95: tuple[float, float]
    elo: float | None
    elo_95: tuple[float | None, float | None]
    los: float

    @classmethod
    def of(cls, match: Match, results: Results, result: MatchResult) -> MatchEvidence:
        """The evidence of a match result; `RingriftError` if it has no game."""
        if not result.games:
            raise RingriftError(
                f"No game of {match.title} counts; a gate without games proves nothing.",
                hint="the same command again: it continues after the recorded games",
            )
        known = results.blocks(match.key, match.rotations)
        tally = Counter(block.count(0) for block in known.winners)
        first, second = result.entrants
        return cls(
            result.match,
            (first.player, second.player),
            (first.identity, second.identity),
            result.games,
            result.blocks,
            result.duplicates,
            tuple(tally[won] for won in range(match.rotations + 1)),
            first.score,
            first.score_95,
            first.elo,
            first.elo_95,
            first.likelihood_of_superiority,
        )

    @property
    def text(self) -> str:
        """`61.5 % of 200 games, +81 Elo (95 % from +34 to +131)`."""
        low, high = self.elo_95
        middle = elo(self.elo, "+infinite" if self.score > 0 else "-infinite")
        return (
            f"{100 * self.score:.1f} % of {self.games} games, {middle} Elo (95 % from"
            f" {elo(low, '-infinite')} to {elo(high, '+infinite')})"
        )


class SprtEvidence(msgspec.Struct, frozen=True):
    """The sequential test of a check."""

    decision: Decision | None
    llr: float
    bounds: tuple[float, float]
    blocks: int  # that were used


class Check(msgspec.Struct, frozen=True):
    """One condition that a candidate must meet."""

    name: str  # random, champion, heuristic, earlier or reference
    passed: bool
    reason: str  # a sentence
    match: MatchEvidence
    against: MatchEvidence | None = None  # heuristic: the champion's match
    sprt: SprtEvidence | None = None  # champion


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict of the gate with all its matches."""

    format: int = EVIDENCE_FORMAT
    pool: str  # name, as hex8-2p
    candidate: Contender
    champion: Contender | None
    verdict: VerdictName
    stopped: bool  # before the verdict, on request
    reasons: tuple[str, ...]
    games: int  # that count, of all matches of the candidate
    checks: tuple[Check, ...]
    setting: GateSetting
    rules: str = msgspec.field(default_factory=rules_hash)
    time: str = msgspec.field(default_factory=now)

    def document(self) -> dict[str, Any]:
        """As JSON, the argument of `Registry.promote`."""
        document: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return document


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
    strictness = Z95_ONE_SIDED**2 / np.maximum(blocks - 1, 1e-9)  # no bound from a single block
    return shares @ values, *bounds_of_mean(shares, values, strictness)


def recorded_match(evidence: dict[str, Any] | None, name: str) -> MatchEvidence | None:
    """The match of a check in an evidence document; None if it was not played.

    `RecordError` if the document has another form.
    """
    if evidence is None:
        return None
    try:
        found = [check["match"] for check in evidence["checks"] if check["name"] == name]
        return msgspec.convert(found[0], MatchEvidence) if found else None
    except (KeyError, TypeError, msgspec.ValidationError) as error:
        raise RecordError(f"This is not evidence of the gate: {error}.") from error
