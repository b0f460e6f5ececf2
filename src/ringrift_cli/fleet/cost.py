"""Cost accounting: hours of every enabled host times its hourly price.

A rented machine is billed from rental to return, whether or not it works or can be reached. So an
enabled host of hosts.yaml is charged from its first answer until it is disabled there. A host that
only another file lists continues when it answers. The ledger lies beside hosts.yaml, so that runs
which share hosts count their price once.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ringrift_cli.fleet.hosts import Fleet, Host
from ringrift_cli.fleet.state import StateTable

HOUR, DAY = 3600.0, 86400.0


class Account(msgspec.Struct):
    """Accumulated cost of a host; times are unix seconds."""

    since: float | None = None  # first answer
    counted: float | None = None  # charged up to this time; None: not being charged
    total: float = 0.0  # dollars
    days: dict[str, float] = {}  # dollars by local day
    games: int | None = None  # of all its work folders, as far as they were reported
    folders: dict[str, int] = {}  # most games reported, by identity of the work folder

    def add(self, price: float, since: float, until: float) -> None:
        """Adds the cost of an interval, split by local day."""
        while since < until:
            end = min(until, _next_day(since))
            dollars = price * (end - since) / HOUR
            self.days[day_of(since)] = self.days.get(day_of(since), 0.0) + dollars
            self.total += dollars
            since = end

    def count(self, folder: str, games: int) -> None:
        """Adds the games that a work folder has gained: a new one, as of a new disk, had none."""
        known = self.folders.get(folder, 0 if self.folders else self.games or 0)
        self.games = (self.games or 0) + max(games - known, 0)
        if folder:  # it has none before the first deploy
            self.folders[folder] = max(games, known)


Ledger = dict[str, Account]  # by host
LEDGER = StateTable("cost", Account)


@dataclass(frozen=True)
class Spent:
    """Cost in dollars, of one host or of all."""

    today: float
    total: float
    per_hour: float  # now


def read(state: Path) -> Ledger:
    """The ledger; errors as of `StateTable`."""
    return LEDGER.read(state)


def day_of(time: float) -> str:
    """Local date of a unix time, as 2026-11-21."""
    return dt.datetime.fromtimestamp(time).astimezone().date().isoformat()


def _next_day(time: float) -> float:
    """Start of the next local day, in unix seconds."""
    here = dt.datetime.fromtimestamp(time).astimezone()
    return dt.datetime.combine(here.date() + dt.timedelta(days=1), dt.time()).timestamp()


def accrue(
    state: Path, hosts: Sequence[Host], answered: Mapping[str, tuple[str, int]], now: float
) -> Ledger:
    """Charges the time until `now` (unix seconds) and returns the new ledger.

    `hosts`: all of hosts.yaml, including disabled ones. Hosts in `answered`, with identity and
    games of their work folder, start to be charged.
    """
    with LEDGER.changing(state) as ledger:
        for host in hosts:
            account = ledger.get(host.name)
            if account is None and host.enabled and host.name in answered:
                account = ledger[host.name] = Account(now, now)
            if account is not None and host.name in answered:
                account.count(*answered[host.name])
            if not host.enabled:
                if account is not None:
                    account.counted = None
                continue
            if account is None:
                continue
            if account.counted is not None:
                account.add(host.price, account.counted, now)
            counts = account.counted is not None or host.name in answered
            later = account.counted or now  # another process may have charged up to then meanwhile
            account.counted = (later if now < later < now + HOUR else now) if counts else None
        return ledger


def adopt(ledger_folder: Path, state: Path) -> None:
    """Takes accounts of hosts that the ledger lacks from the state of a run."""
    if ledger_folder.resolve() == state.resolve() or not (known := LEDGER.read(state)):
        return
    if known.keys() - LEDGER.read(ledger_folder).keys():
        with LEDGER.changing(ledger_folder) as ledger:
            ledger.update({name: known[name] for name in known.keys() - ledger.keys()})


def spent(ledger: Ledger, host: Host, now: float) -> Spent:
    """Cost of a host."""
    account = ledger.get(host.name, Account())
    return Spent(account.days.get(day_of(now), 0.0), account.total, host.price)


def all_spent(ledger: Ledger, hosts: Sequence[Host], now: float) -> Spent:
    """Total cost, including hosts that were removed from hosts.yaml."""
    return Spent(
        sum(account.days.get(day_of(now), 0.0) for account in ledger.values()),
        sum(account.total for account in ledger.values()),
        sum(host.price for host in hosts if host.enabled),
    )


def over_budget(fleet: Fleet, ledger: Ledger, now: float) -> str | None:
    """Why the budget permits no new work; None if it does."""
    found = all_spent(ledger, fleet.hosts, now)
    limits = {
        "today": (found.today, fleet.budget.per_day),
        "in all": (found.total, fleet.budget.total),
    }
    for period, (dollars, limit) in limits.items():
        if limit and dollars >= limit:
            return f"${dollars:.2f} were spent {period}, and the budget is ${limit:.2f}"
    return None
