"""Alarms on outcomes: what a cycle came to, beside the cycles before it.

Training that goes on in order while nothing gets stronger, and data that have stopped arriving,
look well from inside a step. Only what comes out tells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from ringrift_cli.data.retention import GB
from ringrift_cli.settings import Cycle
from ringrift_cli.text import counted

Record = dict[str, Any]  # a line of cycles.jsonl
HEURISTIC = "heuristic"  # the check of the gate
FEWEST = 3  # earlier cycles that a median needs
AHEAD = 1.0  # hours that the clock may have gone back


@dataclass(frozen=True)
class Alarm:
    """Something that somebody should look at."""

    name: str
    sentence: str
    value: float
    threshold: float


def alarms(limits: Cycle, record: Record, earlier: Sequence[Record]) -> list[dict[str, Any]]:
    """The alarms of a cycle, JSON. `record` is complete but for them."""
    found = [
        _stale(limits, record),
        _falling(limits, record, earlier),
        _slow(limits, record, earlier),
        _rejected(limits, record),
        _repeated(limits, record),
        _too_large(limits, record),
    ]
    return [asdict(alarm) for alarm in found if alarm is not None]


def _stale(limits: Cycle, record: Record) -> Alarm | None:
    age, most = record["train"]["data_hours"], limits.alarm_data_hours
    if age < -AHEAD:
        said = (
            f"The newest data are dated {-age:.1f} h after the clock of this machine: it was set"
            " back, and how old data are cannot be told."
        )
        return Alarm("data_age", said, age, -AHEAD)
    if age <= most:
        return None
    said = f"The newest data were {age:.1f} h old when training began, more than {most:g} h."
    return Alarm("data_age", said, age, most)


def heuristic_elo(record: Record) -> tuple[float, float, float] | None:
    """Elo against the default heuristic and its 95 % bounds; None where one is infinite."""
    for check in record["gate"]["checks"]:
        if check["name"] == HEURISTIC:
            found = check["elo"], check["low"], check["high"]
            return None if None in found else found
    return None


def _falling(limits: Cycle, record: Record, earlier: Sequence[Record]) -> Alarm | None:
    """A new champion that is weaker against the heuristic than an earlier one was."""
    now = heuristic_elo(record) if record["promoted"] else None
    before = [
        elo for one in earlier if one["promoted"] and (elo := heuristic_elo(one)) is not None
    ][-limits.alarm_elo_cycles :]
    if now is None or not before:
        return None
    best = max(before)
    fall = best[0] - now[0]
    reach = math.hypot((now[2] - now[1]) / 2, (best[2] - best[1]) / 2)
    if fall <= reach:
        return None
    said = (
        f"The new champion has {now[0]:+.0f} Elo against the heuristic, {fall:.0f} less than the"
        f" best of the last {len(before)}; the error of the difference is {reach:.0f}."
    )
    return Alarm("elo_falling", said, fall, reach)


def _slow(limits: Cycle, record: Record, earlier: Sequence[Record]) -> Alarm | None:
    """Slower than the earlier cycles whose games were made alike; others say nothing of it."""
    rates = [
        rate
        for one in earlier
        if _played_by(one) == _played_by(record)
        and (rate := one["selfplay"]["games_per_hour"]) is not None
    ]
    rate = record["selfplay"]["games_per_hour"]
    if rate is None or len(rates) < FEWEST:
        return None
    usual = median(rates)
    least = limits.alarm_rate_share * usual
    if rate >= least:
        return None
    said = (
        f"Self-play made {rate:,.0f} games/h, less than {limits.alarm_rate_share:.0%} of the usual"
        f" {usual:,.0f}."
    )
    return Alarm("games_per_hour", said, rate, least)


def _played_by(record: Record) -> tuple[Any, ...]:
    """What decides how fast self-play is, but for the machine."""
    settings, played = record["settings"], record["selfplay"]
    elsewhere = played["evaluations"] is None  # other machines do not tell theirs
    kind = played["model"]["kind"], elsewhere
    return kind, settings["selfplay"], settings["network"], settings["run"]["gpus"]


def _rejected(limits: Cycle, record: Record) -> Alarm | None:
    row, most = record["rejections"], limits.alarm_rejections
    if row < most:
        return None
    were = "was" if row == 1 else "were"
    said = f"{counted(row, 'candidate')} in a row {were} not accepted."
    return Alarm("rejections", said, row, most)


def _repeated(limits: Cycle, record: Record) -> Alarm | None:
    played = record["selfplay"]
    share, most = played["duplicates"] / max(played["games"], 1), limits.alarm_duplicates
    if share <= most:
        return None
    said = (
        f"{share:.1%} of the games of self-play repeat others move for move, more than {most:.1%}."
    )
    return Alarm("duplicates", said, share, most)


def _too_large(limits: Cycle, record: Record) -> Alarm | None:
    """More shards than there should be, because they are needed."""
    kept, most = record["collected"], limits.max_data_gb
    left, window, models = (kept[name] / GB for name in ("left", "window", "models"))
    if left <= most:
        return None
    said = (
        f"The shards take {left:.2f} GB, more than the {most:g} GB of cycle.max_data_gb, and none"
        f" of them may go: {window:.2f} GB are in the training window, and models of the registry"
        f" were trained on {models:.2f} GB besides. Raise cycle.max_data_gb, lower train.window, or"
        " delete models that are not needed: ringrift models remove IDENTITY."
    )
    return Alarm("data_over_limit", said, left, most)
