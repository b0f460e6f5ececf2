"""What `ringrift eval` prints: documents for programs, tables for people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ringrift_cli.cli.output import counted

if TYPE_CHECKING:
    from ringrift_cli.evaluate.evaluate import Rated, Report, Verdict
    from ringrift_cli.evaluate.ladder import Rung
    from ringrift_cli.evaluate.results import Pool
    from ringrift_cli.stats.bradley_terry import Fit


def finite(number: float | None) -> float | None:
    """The number, or None where JSON has none for it."""
    return number if number is not None and math.isfinite(number) else None


def elo(number: float) -> str:
    """An Elo difference with its sign."""
    return f"{number:+.0f}" if math.isfinite(number) else ("+∞" if number > 0 else "-∞")


def _pool_document(pool: Pool) -> dict[str, Any]:
    return {"board": pool.board, "players": pool.players, "pie_rule": pool.pie_rule}


def pool_text(pool: Pool) -> str:
    return f"{pool.board}, {pool.players} players{', pie rule' if pool.pie_rule else ''}"


# ---- matches ------------------------------------------------------------------------------------


def report_document(report: Report) -> dict[str, Any]:
    entrants = [
        {
            "player": s.spec,
            "identity": s.identity,
            "wins": s.wins,
            "score": s.estimate.score,
            "score_95": [s.estimate.score_low, s.estimate.score_high],
            "win_rate_wilson_95": [s.estimate.wilson_low, s.estimate.wilson_high],
            "elo": finite(s.estimate.elo),
            "elo_95": [finite(s.estimate.elo_low), finite(s.estimate.elo_high)],
            "normalized_elo": s.estimate.nelo,
            "likelihood_of_superiority": s.estimate.los,
        }
        for s in report.standings
    ]
    return {
        **_pool_document(report.pool),
        "match": report.match,
        "games": report.games,
        "blocks": report.blocks,
        "duplicates": report.duplicates,
        "finished": not report.stopped,
        "entrants": entrants,
    }


def report_text(report: Report) -> str:
    if not report.standings:
        return f"{pool_text(report.pool)}: no opening has been played with every seating yet"
    width = max(len(s.spec) for s in report.standings)
    head = f"{'':<{width}}  {'wins':>6}  {'share':>6}  {'95 %':<15}  {'Elo':>6}  {'95 %':<15}  LOS"
    lines = [head]
    for s in report.standings:
        e = s.estimate
        share = f"{100 * e.score_low:.1f} to {100 * e.score_high:.1f}"
        bounds = f"{elo(e.elo_low)} to {elo(e.elo_high)}"
        lines.append(
            f"{s.spec:<{width}}  {s.wins:>6}  {100 * e.score:>5.1f}%  {share:<15}  {elo(e.elo):>6}"
            f"  {bounds:<15}  {100 * e.los:.1f}%"
        )
    return "\n".join([f"{pool_text(report.pool)}: {_played(report)}", *lines])


def _played(report: Report) -> str:
    openings = counted(report.blocks, "opening")
    text = f"{counted(report.games, 'game')} that count, from {openings} with every seating"
    if report.duplicates:
        text += f"; {counted(report.duplicates, 'duplicate')} left out"
    if report.pool.players > 2:
        text += f"; the fair share of a seat is {100 / report.pool.players:.1f}%"
    return text + ("; stopped" if report.stopped else "")


# ---- sequential tests ---------------------------------------------------------------------------

MEANING = {"H1": "accepted H1", "H0": "accepted H0", None: "undecided"}


def verdict_document(verdict: Verdict) -> dict[str, Any]:
    return {
        "decision": verdict.decision,
        "llr": verdict.llr,
        "bounds": [verdict.lower, verdict.upper],
        "blocks": verdict.blocks,
        "match": report_document(verdict.report),
    }


def verdict_text(verdict: Verdict) -> str:
    line = (
        f"SPRT: {MEANING[verdict.decision]} after {counted(verdict.blocks, 'opening')};"
        f" LLR {verdict.llr:.2f}, bounds {verdict.lower:.2f} and {verdict.upper:.2f}"
    )
    return f"{line}\n{report_text(verdict.report)}"


# ---- ratings ------------------------------------------------------------------------------------


def ratings_document(pool: Pool, rated: Sequence[Rated], fitted: Fit) -> dict[str, Any]:
    return {
        **_pool_document(pool),
        "games": sum(r.rating.wins for r in rated),
        "fit_p_value": fitted.goodness.p_value,
        "ratings": [
            {
                "player": r.spec,
                "identity": r.identity,
                "status": r.rating.status,
                "elo": finite(r.rating.rating),
                "elo_95": [finite(r.rating.low), finite(r.rating.high)],
                "games": r.rating.games,
                "wins": r.rating.wins,
            }
            for r in rated
        ],
    }


def ratings_text(pool: Pool, rated: Sequence[Rated], fitted: Fit) -> str:
    width = max(len(r.spec) for r in rated)
    lines = [
        f"{pool_text(pool)}: {counted(sum(r.rating.wins for r in rated), 'game')}",
        f"{'':<{width}}  {'identity':<16}  {'Elo':>14}  {'games':>7}  {'wins':>7}",
    ]
    for r in rated:
        counts = f"{r.rating.games:>7}  {r.rating.wins:>7}"
        lines.append(f"{r.spec:<{width}}  {r.identity}  {r.rating!s:>14}  {counts}")
    p_value = fitted.goodness.p_value
    if p_value is not None and p_value < 0.01:
        lines.append(
            f"The results of some pairs do not fit one scale (p = {p_value:.2g}): one number for"
            " each player does not tell all."
        )
    return "\n".join(lines)


def ratings_csv(rated: Sequence[Rated]) -> str:
    """A line for each player; bounds that are not known are empty."""
    lines = ["player,identity,status,elo,low_95,high_95,games,wins"]
    for r in rated:
        numbers = (finite(r.rating.rating), finite(r.rating.low), finite(r.rating.high))
        cells = ["" if n is None else f"{n:.2f}" for n in numbers]
        spec = '"' + r.spec.replace('"', '""') + '"'
        row = (spec, r.identity, r.rating.status, *cells, str(r.rating.games), str(r.rating.wins))
        lines.append(",".join(row))
    return "\n".join(lines) + "\n"


# ---- the ladder ---------------------------------------------------------------------------------


def ladder_document(pool: Pool, rungs: Sequence[Rung]) -> dict[str, Any]:
    return {
        **_pool_document(pool),
        "levels": [
            {
                "level": rung.level,
                "player": rung.spec,
                "opponent": rung.opponent,
                "score": rung.score,
                "score_95": [rung.low, rung.high],
                "games": rung.report.games,
                "holds": rung.holds,
            }
            for rung in rungs
        ],
    }


def ladder_text(pool: Pool, rungs: Sequence[Rung]) -> str:
    width = max((len(rung.spec) for rung in rungs), default=0)
    lines = [f"{pool_text(pool)}: each level against the one below, as between two players"]
    for rung in rungs:
        who = "a beginner against it" if rung.level == 1 else f"against level {rung.level - 1}"
        verdict = "" if rung.holds else "   below 55 %"
        lines.append(
            f"{rung.level:>3}  {rung.spec:<{width}}  {who:<21}  {100 * rung.score:>5.1f}%"
            f"  ({100 * rung.low:.1f} to {100 * rung.high:.1f}, {rung.report.games} games){verdict}"
        )
    return "\n".join(lines)
