"""Alarms on outcomes: comparison of a cycle with the cycles before it.

Detects problems that no single step can see, such as training without progress or stale data.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

import msgspec

from ringrift_cli.data.retention import GB
from ringrift_cli.settings import Cycle
from ringrift_cli.text import counted

Record = dict[str, Any]  # of a cycle, a line of cycles.jsonl
HEURISTIC = "heuristic"  # the check of the gate
MIN_RATES = 3  # earlier cycles that a median needs
CLOCK_TOLERANCE = 1.0  # hours by which the clock may have gone back


class Alarm(msgspec.Struct, frozen=True):
    """An outcome that needs attention."""

    name: str
    sentence: str
    value: float
    threshold: float


def alarms(limits: Cycle, record: Record, earlier: Sequence[Record]) -> list[dict[str, Any]]:
    """The alarms of a cycle as JSON; `record` is complete except for them."""
    found = (
        *_data(limits, record),
        *_falling_elo(limits, record, earlier),
        *_slow_selfplay(limits, record, earlier),
        *_counts(limits, record),
    )
    return [msgspec.structs.asdict(alarm) for alarm in found]


def _data(limits: Cycle, record: Record) -> Iterator[Alarm]:
    """Old data, and more data than allowed."""
    age, most = record["train"]["data_hours"], limits.alarm_data_hours
    if age < -CLOCK_TOLERANCE:
        yield Alarm(
            "data_age",
            f"The newest data are dated {-age:.1f} h after the clock of this machine: it was set"
            " back, and the age of the data is unknown.",
            age,
            -CLOCK_TOLERANCE,
        )
    if age > most:
        sentence = f"The newest data were {age:.1f} h old when training began; limit {most:g} h."
        yield Alarm("data_age", sentence, age, most)
    kept, most = record["collected"], limits.max_data_gb
    left, window, models = (kept[name] / GB for name in ("left", "window", "models"))
    if left > most:
        sentence = (
            f"The shards take {left:.2f} GB, more than the {most:g} GB of cycle.max_data_gb, and"
            f" all are in use: {window:.2f} GB are in the training window, and models of the"
            f" registry were trained on another {models:.2f} GB. Raise cycle.max_data_gb, lower"
            " train.window, or delete unused models: ringrift models remove IDENTITY."
        )
        yield Alarm("data_over_limit", sentence, left, most)


def heuristic_elo(record: Record) -> tuple[float, float, float] | None:
    """Elo against the default heuristic and its 95 % bounds; None where one is infinite."""
    for check in record["gate"]["checks"]:
        if check["name"] == HEURISTIC:
            found = check["elo"], check["low"], check["high"]
            return None if None in found else found
    return None


def _falling_elo(limits: Cycle, record: Record, earlier: Sequence[Record]) -> Iterator[Alarm]:
    """A new champion that is weaker against the heuristic than an earlier one was."""
    now = heuristic_elo(record) if record["promoted"] else None
    promoted = (heuristic_elo(one) for one in earlier if one["promoted"])
    before = [elo for elo in promoted if elo is not None][-limits.alarm_elo_cycles :]
    if now is None or not before:
        return
    best = max(before)
    fall = best[0] - now[0]
    error = math.hypot((now[2] - now[1]) / 2, (best[2] - best[1]) / 2)
    if fall > error:
        sentence = (
            f"The new champion has {now[0]:+.0f} Elo against the heuristic, {fall:.0f} less than"
            f" the best of the last {len(before)}; the error of the difference is {error:.0f}."
        )
        yield Alarm("elo_falling", sentence, fall, error)


def _slow_selfplay(limits: Cycle, record: Record, earlier: Sequence[Record]) -> Iterator[Alarm]:
    """Slower than the earlier cycles with the same player, settings and machines."""
    rate = record["selfplay"]["games_per_hour"]
    rates = [
        known
        for one in earlier
        if _conditions(one) == _conditions(record)
        and (known := one["selfplay"]["games_per_hour"]) is not None
    ]
    if rate is None or len(rates) < MIN_RATES:
        return
    usual, share = median(rates), limits.alarm_rate_share
    if rate < share * usual:
        sentence = f"Self-play made {rate:,.0f} games/h, less than {share:.0%} of the usual"
        yield Alarm("games_per_hour", f"{sentence} {usual:,.0f}.", rate, share * usual)


def _conditions(record: Record) -> tuple[Any, ...]:
    """What determines the speed of self-play, besides the machine."""
    settings, played = record["settings"], record["selfplay"]
    elsewhere = played["evaluations"] is None  # not reported by hosts
    kind = played["model"]["kind"]
    return kind, elsewhere, settings["selfplay"], settings["network"], settings["run"]["gpus"]


def _counts(limits: Cycle, record: Record) -> Iterator[Alarm]:
    """Consecutive rejections, and repeated games."""
    row, most = record["rejections"], limits.alarm_rejections
    if row >= most:
        were = "was" if row == 1 else "were"
        sentence = f"{counted(row, 'candidate')} in a row {were} not accepted."
        yield Alarm("rejections", sentence, row, most)
    played = record["selfplay"]
    share, limit = played["duplicates"] / max(played["games"], 1), limits.alarm_duplicates
    if share > limit:
        sentence = f"{share:.1%} of the games of self-play repeat others; limit {limit:.1%}."
        yield Alarm("duplicates", sentence, share, limit)
