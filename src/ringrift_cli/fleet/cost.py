"""Costs of the hosts: the hours of every enabled host, by its price.

A rented machine is billed from when it is rented until it is given back, whether it works, idles or
cannot be reached. So every enabled host of hosts.yaml counts from its first answer on; disabling it
there ends the count. One that only another file names continues when it answers.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ringrift_cli.fleet.hosts import Fleet, Host
from ringrift_cli.fleet.state import StateTable

HOUR, DAY = 3600.0, 86400.0


class Account(msgspec.Struct):
    """The costs of a host; times are unix seconds."""

    since: float | None = None  # its first answer
    counted: float | None = None  # until when its hours are counted; None: not counting now
    total: float = 0.0  # dollars
    days: dict[str, float] = {}  # dollars by local day

    def add(self, price: float, since: float, until: float) -> None:
        """Adds the cost of a span of time, each local day's part to that day."""
        while since < until:
            end = min(until, _next_day(since))
            dollars = price * (end - since) / HOUR
            self.days[day_of(since)] = self.days.get(day_of(since), 0.0) + dollars
            self.total += dollars
            since = end


Ledger = dict[str, Account]  # by host
LEDGER = StateTable("cost", Account)


@dataclass(frozen=True)
class Spent:
    """Dollars of one host, or of all."""

    today: float
    total: float
    per_hour: float  # now


def read(state: Path) -> Ledger:
    """The ledger; errors as of `StateTable`."""
    return LEDGER.read(state)


def day_of(time: float) -> str:
    """The local day of a time, as 2026-11-21."""
    return dt.datetime.fromtimestamp(time).astimezone().date().isoformat()


def _next_day(time: float) -> float:
    """When the local day after that of a time begins."""
    here = dt.datetime.fromtimestamp(time).astimezone()
    return dt.datetime.combine(here.date() + dt.timedelta(days=1), dt.time()).timestamp()


def accrue(state: Path, hosts: Sequence[Host], answered: set[str], now: float) -> Ledger:
    """Counts the time until `now`, unix seconds, and returns the new ledger.

    `hosts` are all of hosts.yaml, disabled ones too. Hosts in `answered` begin to count.
    """
    with LEDGER.changing(state) as ledger:
        for host in hosts:
            account = ledger.get(host.name)
            if not host.enabled:
                if account is not None:
                    account.counted = None
                continue
            if account is None:
                if host.name not in answered:
                    continue
                account = ledger[host.name] = Account(since=now, counted=now)
            if account.counted is not None:
                account.add(host.price, account.counted, now)
            counts = account.counted is not None or host.name in answered
            account.counted = now if counts else None
        return ledger


def spent(ledger: Ledger, host: Host, now: float) -> Spent:
    """What a host has cost."""
    account = ledger.get(host.name, Account())
    return Spent(account.days.get(day_of(now), 0.0), account.total, host.price)


def all_spent(ledger: Ledger, hosts: Sequence[Host], now: float) -> Spent:
    """What everything has cost, hosts that are gone from hosts.yaml too."""
    return Spent(
        sum(account.days.get(day_of(now), 0.0) for account in ledger.values()),
        sum(account.total for account in ledger.values()),
        sum(host.price for host in hosts if host.enabled),
    )


def over_budget(fleet: Fleet, ledger: Ledger, now: float) -> str | None:
    """Why no more work may begin; None if it may."""
    found = all_spent(ledger, fleet.hosts, now)
    limits = {
        "today": (found.today, fleet.budget.per_day),
        "in all": (found.total, fleet.budget.total),
    }
    for period, (dollars, limit) in limits.items():
        if limit and dollars >= limit:
            return f"${dollars:.2f} were spent {period}, and the budget is ${limit:.2f}"
    return None
