"""The charts of the report: which numbers of the cycles go where."""

from __future__ import annotations

import datetime as dt
from typing import Any

from ringrift_cli.loop.alarms import HEURISTIC
from ringrift_cli.loop.report_charts import Line, Point, line_chart, share_chart

Record = dict[str, Any]


def _hours(records: list[Record]) -> list[float]:
    """When each cycle ended, in hours from the beginning of the first."""
    begun = dt.datetime.fromisoformat(records[0]["begun"])
    ends = [dt.datetime.fromisoformat(record["ended"]) for record in records]
    return [(end - begun).total_seconds() / 3600 for end in ends]


def _played(records: list[Record], what: str) -> list[float]:
    """Games or evaluations of self-play up to the end of each cycle."""
    total, found = 0, []
    for record in records:
        total += record["selfplay"][what] or 0
        found.append(float(total))
    return found


def _elo_chart(records: list[Record], xs: list[float], title: str, x_name: str) -> str:
    """Elo against the heuristic with 95 % bars, of champions and of those not promoted.

    Of a candidate that won all of its games, or none, Elo is infinite: it is drawn at the bound
    that is finite.
    """
    champions: list[Point] = []
    others: list[Point] = []
    for x, record in zip(xs, records, strict=True):
        for check in record["gate"]["checks"]:
            if check["name"] != HEURISTIC:
                continue
            point = _elo_point(x, record["cycle"], check)
            if point is not None:
                (champions if record["promoted"] else others).append(point)
    if not champions and not others:
        return ""
    ends = [Point(0.0, 0.0), Point(max(xs), 0.0)]
    lines = [
        Line("champions" if champions else "", champions),
        Line("heuristic:default", ends, dashed=True),
        Line("not promoted" if others else "", others, joined=False),
    ]
    return line_chart(lines, title, x_name)


def _elo_point(x: float, cycle: int, check: Record) -> Point | None:
    low, high = check["low"], check["high"]
    played = f"in {check['games']} games"
    if check["elo"] is not None:
        return Point(x, check["elo"], low, high, f"cycle {cycle}: {check['elo']:+.0f} {played}")
    if check["score"] > 0:
        won, bound, side = "all", low, "more"
    else:
        won, bound, side = "none", high, "less"
    if bound is None:  # too few games to say anything
        return None
    return Point(x, bound, tip=f"cycle {cycle}: {won} won {played}, {bound:+.0f} or {side}")


def elo_against_time(records: list[Record]) -> str:
    return _elo_chart(records, _hours(records), "Elo against the heuristic, over time", "hours")


def elo_against_evaluations(records: list[Record]) -> str:
    """Over the evaluations of self-play, or its games where not all evaluations are known."""
    known = all(record["selfplay"]["evaluations"] is not None for record in records)
    what = "evaluations" if known else "games"
    title = f"Elo against the heuristic, over {what} of self-play"
    return _elo_chart(records, _played(records, what), title, what)


def _curve(records: list[Record], part: str, name: str) -> list[Point]:
    """A number of training by cycle, where there is one."""
    return [
        Point(record["cycle"], found[name], tip=f"cycle {record['cycle']}: {found[name]:.4f}")
        for record in records
        if name in (found := record["train"][part])
    ]


def _loss(records: list[Record], name: str, title: str) -> str:
    lines = [
        Line("training", _curve(records, "train_last", name)),
        Line("games never trained on", _curve(records, "validation_last", name)),
    ]
    return line_chart(lines, title, "cycle", whole_x=True)


def policy_loss(records: list[Record]) -> str:
    return _loss(records, "policy", "Policy loss at the end of training, nats")


def value_loss(records: list[Record]) -> str:
    return _loss(records, "value", "Value loss at the end of training, nats")


def accuracy(records: list[Record]) -> str:
    lines = [
        Line("policy", _curve(records, "validation_last", "policy_accuracy")),
        Line("value", _curve(records, "validation_last", "value_accuracy")),
        Line("calibration error", _curve(records, "validation_last", "calibration")),
    ]
    title = "Accuracy on games never trained on"
    return line_chart(lines, title, "cycle", whole_x=True, least=True)


def speed(records: list[Record]) -> str:
    points = [
        Point(record["cycle"], rate, tip=f"cycle {record['cycle']}: {rate:,.0f}")
        for record in records
        if (rate := record["selfplay"]["games_per_hour"]) is not None
    ]
    lines = [Line("", points)]
    return line_chart(lines, "Self-play, games per hour", "cycle", whole_x=True, least=True)


def game_length(records: list[Record]) -> str:
    lengths = [(record["cycle"], record["selfplay"]["length"]) for record in records]
    band = [Point(x, n["p50"], n["p10"], n["p90"]) for x, n in lengths if n]
    mean = [Point(x, n["mean"], tip=f"cycle {x}: {n['mean']:.1f}") for x, n in lengths if n]
    lines = [Line("mean", mean), Line("8 of 10 games", band, joined=False, dashed=True, band=True)]
    return line_chart(lines, "Decisions of a game", "cycle", whole_x=True, least=True)


def endings(records: list[Record]) -> str:
    names = sorted({name for record in records for name in record["selfplay"]["reasons"]})
    rows = [
        (record["cycle"], [record["selfplay"]["reasons"].get(name, 0) for name in names])
        for record in records
    ]
    told = [name.replace("_", " ") for name in names]
    return share_chart(told, rows, "How games end", "cycle")


def seats(records: list[Record]) -> str:
    names = [f"seat {seat + 1}" for seat in range(len(records[-1]["selfplay"]["wins"]))]
    rows = [(record["cycle"], record["selfplay"]["wins"]) for record in records]
    return share_chart(names, rows, "Who wins", "cycle")
