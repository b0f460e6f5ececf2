"""Measuring the difficulty ladder: does every level beat the one below it?

With more than two players the upper level sits in one seat against the lower one in all others; its
share of the games is turned into the score that two such players would have against each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ringrift_cli.evaluate.evaluate import Report, new_match, play_match
from ringrift_cli.evaluate.results import Pool, Results
from ringrift_cli.players.ladder import level_spec
from ringrift_cli.stats.elo import score_of_elo

LEAST_SCORE = 0.55  # of a level against the one below
BEGINNER = "heuristic:beginner,width=0,blunder=0.3"  # sees rings and cells, one decision ahead


@dataclass(frozen=True)
class Rung:
    """A level against the one below; level 1 is measured by what a beginner scores against it."""

    level: int
    spec: str
    opponent: str
    report: Report
    score: float  # as between two players
    low: float  # 95 %
    high: float

    @property
    def holds(self) -> bool:
        """Whether the upper side scores what it should."""
        return self.score >= LEAST_SCORE


def measure_level(
    pool: Pool,
    level: int,
    results: Results,
    games: int,
    *,
    seed: int = 0,
    advance: Callable[[int], None] = lambda games: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Rung | None:
    """Plays one level against the one below, or a beginner against level 1.

    None if it was stopped before there is anything to say.
    """
    spec = level_spec(level, pool.board, pool.players)
    upper, lower = (BEGINNER, spec) if level == 1 else (spec, _below(pool, level))
    match = new_match(pool, (upper, lower), seed=seed)
    try:
        report = play_match(match, results, games, advance=advance, should_stop=should_stop)
    finally:
        match.close()
    if not report.standings:
        return None
    found = report.standings[0].estimate
    score, low, high = (score_of_elo(e) for e in (found.elo, found.elo_low, found.elo_high))
    return Rung(level, spec, BEGINNER if level == 1 else lower, report, score, low, high)


def _below(pool: Pool, level: int) -> str:
    return level_spec(level - 1, pool.board, pool.players)


def failing(rungs: Sequence[Rung]) -> list[int]:
    """Levels that do not beat what is below them."""
    return [rung.level for rung in rungs if not rung.holds]
