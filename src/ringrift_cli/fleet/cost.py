"""What the hosts cost: a ledger that counts the hours of every priced host that is enabled.

A rented machine is billed from when it is rented until it is given back, whether it works, idles or
cannot be reached. So an hour counts for every host that hosts.yaml has as enabled, from its first
answer on; disabling it there ends the count. One that another file names counts on when it answers.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ringrift_cli.errors import RecordError
from ringrift_cli.fleet.hosts import Fleet, Host
from ringrift_cli.store.files import write_whole

FILE = "ledger.json"
HOUR, DAY = 3600.0, 86400.0

Ledger = dict[
    str, dict[str, Any]
]  # by host: since, counted (unix; null: not counting), total, days


@dataclass(frozen=True)
class Spent:
    """Dollars of one host, or of all."""

    today: float
    total: float
    per_hour: float  # now


@contextmanager
def _alone(state: Path) -> Iterator[None]:
    state.mkdir(parents=True, exist_ok=True)
    with (state / f".{FILE}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def read(state: Path) -> Ledger:
    """The ledger of a state folder; empty if there is none. `RecordError` if it is damaged."""
    path = state / FILE
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_bytes())
        if not isinstance(found, dict):
            raise ValueError("it is no object")
        for row in found.values():
            float(row["total"]), dict(row["days"]), row["counted"], row["since"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RecordError(
            f"{path} is no ledger: {error}.", hint="bring it back from a backup, or move it away"
        ) from error
    return dict(found)


def day_of(time: float) -> str:
    """The local day of a time, as 2026-11-21."""
    return dt.datetime.fromtimestamp(time).astimezone().date().isoformat()


def _next_day(time: float) -> float:
    """When the local day after that of a time begins."""
    here = dt.datetime.fromtimestamp(time).astimezone()
    return dt.datetime.combine(here.date() + dt.timedelta(days=1), dt.time()).timestamp()


def _add(row: dict[str, Any], price: float, since: float, until: float) -> None:
    """Adds the cost of a span of time, each local day's part to that day."""
    while since < until:
        end = min(until, _next_day(since))
        dollars = price * (end - since) / HOUR
        day = day_of(since)
        row["days"][day] = row["days"].get(day, 0.0) + dollars
        row["total"] += dollars
        since = end


def accrue(state: Path, hosts: Sequence[Host], answered: set[str], now: float) -> Ledger:
    """Counts the time until `now`, unix seconds, and writes the ledger; what it is then.

    `hosts` are all of hosts.yaml, disabled ones too. Hosts in `answered` begin to count.
    """
    with _alone(state):
        ledger = read(state)
        enabled = {host.name: host for host in hosts if host.enabled}
        for host in enabled.values():
            row = ledger.get(host.name)
            if row is None:
                if host.name not in answered:
                    continue
                row = ledger[host.name] = {"since": now, "counted": now, "total": 0.0, "days": {}}
            if row["counted"] is not None:
                _add(row, host.price, row["counted"], now)
            row["counted"] = now if row["counted"] is not None or host.name in answered else None
        for host in hosts:
            if not host.enabled and host.name in ledger:
                ledger[host.name]["counted"] = None
        write_whole(state / FILE, (json.dumps(ledger, indent=1) + "\n").encode())
    return ledger


def spent(ledger: Ledger, host: Host, now: float) -> Spent:
    """What a host has cost."""
    row = ledger.get(host.name)
    if row is None:
        return Spent(0.0, 0.0, host.price)
    return Spent(row["days"].get(day_of(now), 0.0), row["total"], host.price)


def all_spent(ledger: Ledger, hosts: Sequence[Host], now: float) -> Spent:
    """What everything has cost, hosts that are gone from hosts.yaml too."""
    return Spent(
        sum(row["days"].get(day_of(now), 0.0) for row in ledger.values()),
        sum(row["total"] for row in ledger.values()),
        sum(host.price for host in hosts if host.enabled),
    )


def over_budget(fleet: Fleet, ledger: Ledger, now: float) -> str | None:
    """Why no more work may begin; None if it may."""
    found = all_spent(ledger, fleet.hosts, now)
    limits: Mapping[str, tuple[float, float]] = {
        "today": (found.today, fleet.budget.per_day),
        "in all": (found.total, fleet.budget.total),
    }
    for what, (dollars, limit) in limits.items():
        if limit and dollars >= limit:
            return f"${dollars:.2f} were spent {what}, and the budget is ${limit:.2f}"
    return None
