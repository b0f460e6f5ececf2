"""Measures the difficulty ladder: each level against the one below.

With more than two players the upper level takes one seat against the lower one in all others; its
share of the games is converted to the score expected between two such players.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

import msgspec

from ringrift_cli.evaluate.evaluate import Advance, StopCheck, new_match, play_match
from ringrift_cli.evaluate.results import Pool, Results
from ringrift_cli.evaluate.runner import HERE, GameRunner
from ringrift_cli.players.ladder import level_spec
from ringrift_cli.stats.elo import elo_of_score, score_of_elo

MIN_SCORE = 0.55  # of a level against the one below
BEGINNER = "heuristic:beginner,width=0,blunder=0.3"  # sees rings and cells, one decision ahead


class LevelResult(msgspec.Struct, frozen=True):
    """A level against the one below, or for level 1 the beginner's result against it."""

    level: int
    player: str  # spec of the level
    opponent: str
    score: float  # as between two players, of the beginner at level 1
    score_95: tuple[float, float]
    games: int
    holds: bool  # whether the score is at least MIN_SCORE


class LadderResult(Pool, frozen=True, kw_only=True):
    """The measured levels of a pool."""

    levels: tuple[LevelResult, ...]
    finished: bool

    @property
    def failing(self) -> list[int]:
        """Levels that do not beat the one below."""
        return [one.level for one in self.levels if not one.holds]


def measure_ladder(
    pool: Pool,
    levels: Sequence[int],
    results: Results,
    games: int,
    *,
    seed: int = 0,
    runner: GameRunner = HERE,
    advance: Advance = lambda games, note: None,
    should_stop: StopCheck = lambda: False,
) -> LadderResult:
    """Plays every level against the one below, and the beginner against level 1.

    A level without a complete block is left out. Errors as `play_match`.
    """
    measured, finished = [], True
    for level in levels:
        spec = level_spec(level, pool.board, pool.players)
        below = BEGINNER if level == 1 else level_spec(level - 1, pool.board, pool.players)
        sides = (below, spec) if level == 1 else (spec, below)
        with closing(new_match(pool, sides, seed=seed)) as match:
            found = play_match(
                match, results, games, runner=runner, advance=advance, should_stop=should_stop
            )
        finished = finished and found.finished
        if found.entrants:
            first = found.entrants[0]
            score, low, high = (
                score_of_elo(elo_of_score(share, pool.players))
                for share in (first.score, *first.score_95)
            )
            measured.append(
                LevelResult(level, spec, below, score, (low, high), found.games, score >= MIN_SCORE)
            )
        if should_stop():
            break
    finished = finished and len(measured) == len(levels)
    return LadderResult(**msgspec.structs.asdict(pool), levels=tuple(measured), finished=finished)
