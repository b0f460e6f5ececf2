"""Status of all hosts, queried in parallel, with notes and problems.

Derived from the current answers only, except costs (cost.py) and health (health.py).
"""

from __future__ import annotations

import datetime as dt
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ringrift_cli.errors import HostKeyError, HostUnreachable, RingriftError
from ringrift_cli.fleet import cost, jobs
from ringrift_cli.fleet.client import Client, NotDeployed
from ringrift_cli.fleet.group import gather
from ringrift_cli.fleet.health import Health
from ringrift_cli.fleet.hosts import Fleet, Host
from ringrift_cli.fleet.messages import AskFacts, Facts, JobState
from ringrift_cli.fleet.synced import in_step
from ringrift_cli.fleet.synced import read as read_synced
from ringrift_cli.fleet.transport import MOST_TIME, PER_JUMP
from ringrift_cli.text import counted, duration

Opener = Callable[[Host, float], Client]  # host, timeout in seconds

GB = 1e9
LEAST_FREE_GB = 2.0
IDLE_MINUTES = 30.0  # for hosts with a price
HOTTEST = 90  # GPU temperature in °C
CLOCK_OFF = 60.0  # seconds of clock difference that are reported
LONGEST_DEADLINE = 15.0  # for hosts that needed long before
MANY_JOBS = 5000
FORGOTTEN_HOURS = 24.0  # after which a failed job is no longer reported


@dataclass
class Seen:
    """Current status of one host."""

    host: Host
    address: str | None = None  # that answered
    latency: float | None = None  # s
    facts: Facts | None = None
    error: RingriftError | None = None
    undeployed: str | None = None  # why it cannot run jobs yet
    aside: str | None = None  # why it is set aside
    notes: list[str] = field(default_factory=list)  # information
    trouble: list[str] = field(default_factory=list)  # problems that need attention

    @property
    def jobs(self) -> list[JobState]:
        """Jobs of the host, newest last."""
        found = self.facts.jobs if self.facts else []
        return sorted(found, key=lambda job: job.started or 0.0)

    @property
    def active(self) -> list[JobState]:
        return [job for job in self.jobs if job.here]

    @property
    def games_per_hour(self) -> float:
        """Total speed of the active jobs."""
        return sum(3600 * job.games / job.seconds for job in self.active if job.seconds)


def look(
    fleet: Fleet,
    hosts: Sequence[Host],
    opener: Opener,
    state: Path,
    champions: Callable[[], Mapping[str, str]],
    *,
    deadline: float | None,
    ledger_folder: Path | None = None,
) -> list[Seen]:
    """Queries the hosts in parallel and evaluates the answers.

    A host may be silent for `deadline` seconds; None: its own, or what it needed before. Hosts that
    are set aside are not queried. `champions`, the local champions by pool, is called meanwhile.
    Updates the health of the hosts and the cost ledger, which is in `state` by default.
    """
    health, began = Health(state), time.time()
    aside = {host.name: health.set_aside(host.name) for host in hosts}
    needed = {host.name: min(health.needed_s(host.name), LONGEST_DEADLINE) for host in hosts}
    limits = {host.name: deadline or max(host.deadline, needed[host.name]) for host in hosts}

    def ask(host: Host) -> Seen:
        try:
            return _query(host, opener, health, limits[host.name])
        except NotDeployed as error:
            found = error.facts
            return Seen(host, error.address, error.latency_s, found, undeployed=error.why)

    asked = [host for host in hosts if aside[host.name] is None]
    rounds = 1 + len(asked) // PER_JUMP  # for those behind one jump host
    within = MOST_TIME * rounds * max((limits[host.name] for host in asked), default=0.0)
    found = {}
    with ThreadPoolExecutor(1) as pool:
        ours = pool.submit(champions)
        answers = gather(asked, ask, within=within)
    for answer in answers:
        host = answer.host
        if answer.error is not None:
            health.failed(host.name, answer.error)
        found[host.name] = answer.value or Seen(host, error=answer.error)
    for name, why in aside.items():
        if why is not None:
            until, reason = why
            left = max(until - time.time(), 0.0)
            wait = "until forgiven" if math.isinf(left) else f"for {duration(left)} more"
            found[name] = Seen(_named(hosts, name), aside=f"set aside {wait}: {reason}")
    answered = {n: (seen.facts.folder, seen.facts.games) for n, seen in found.items() if seen.facts}
    ledger = cost.accrue(ledger_folder or state, fleet.hosts, answered, time.time())
    jobs.settle(state, [job for seen in found.values() for job in seen.jobs])
    drained = jobs.drained(state)
    for seen in found.values():
        if seen.host.name in drained:
            seen.notes.append(f"drained, it gets no work: {undrain(seen.host)}")
        evaluate(seen, ours.result(), (began + time.time()) / 2, ledger)
    return [found[host.name] for host in hosts]


def _query(host: Host, opener: Opener, health: Health, limit: float) -> Seen:
    """Asks a host for its facts, over another address if the link is lost."""
    attempts = min(len(host.addresses), 2)
    while True:
        attempts -= 1
        with opener(host, limit) as client:
            client.limit(limit)
            start = time.monotonic()
            try:
                facts = client.ask(AskFacts(deadline_s=limit))
            except HostUnreachable:
                if attempts:
                    continue
                raise
            seconds = time.monotonic() - start
            health.succeeded(host.name, max(client.needed_s, 2 * seconds))
            return Seen(host, client.address, client.latency_s, facts)


def undrain(host: Host) -> str:
    """The command that ends the drain of a host."""
    return f"ringrift fleet drain --undo {host.name}"


def _named(hosts: Sequence[Host], name: str) -> Host:
    return next(host for host in hosts if host.name == name)


def evaluate(seen: Seen, champions: Mapping[str, str], now: float, ledger: cost.Ledger) -> None:
    """Fills in the problems and notes of a host."""
    facts, host = seen.facts, seen.host
    if facts is None:
        why = seen.aside or (seen.error.message if seen.error else "it did not answer")
        seen.trouble.append(why)
        if host.price and host.name in ledger:
            seen.trouble.append(f"it still counts at ${host.price:g} an hour")
        return
    if seen.undeployed:
        seen.trouble.append(seen.undeployed)
    elif (missing := unproved(seen)) is not None:
        seen.trouble.append(missing)
    if facts.disk_free < LEAST_FREE_GB * GB:
        seen.trouble.append(f"{facts.disk_free / GB:.1f} GB of its disk are free")
    gpus = facts.gpus or []
    if facts.gpus is None:
        seen.trouble.append(f"its GPUs cannot be asked: {facts.gpus_error}")
    else:
        if len(gpus) < host.gpus:
            seen.trouble.append(f"it has {len(gpus)} of {host.gpus} GPUs")
        faulty = [gpu for gpu in gpus if gpu.fault is not None]
        seen.trouble += [f"GPU {gpu.index} reports {gpu.fault!r}" for gpu in faulty]
        seen.notes += [facts.gpus_error] if facts.gpus_error else []
    for gpu in gpus:
        if (gpu.temperature_c or 0) >= HOTTEST:
            seen.trouble.append(f"GPU {gpu.index} is at {gpu.temperature_c} °C")
    for job in seen.jobs:
        own = job.elsewhere is None or job.meta.host == host.name
        if own and needs_a_look(job, seen.jobs, facts.time):
            code = "" if job.code is None else f" (exit {job.code})"
            seen.trouble.append(f"job {job.id} {job.state}{code}")
    if host.price and not seen.active:
        idle = facts.idle_s
        if idle is None and host.name in ledger:
            idle = now - (ledger[host.name].since or now)
        if idle is not None and idle >= 60 * IDLE_MINUTES:
            seen.trouble.append(f"idle for {idle / 3600:.1f} h at ${host.price:g} an hour")
    if facts.jobs_total >= MANY_JOBS:
        seen.notes.append(f"it keeps {facts.jobs_total:,} jobs: ringrift fleet clean {host.name}")
    if facts.jobs_error:
        seen.notes.append(facts.jobs_error)
    if abs(facts.time - now) > CLOCK_OFF:
        seen.notes.append(f"its clock is {facts.time - now:+,.0f} s off")
    for pool, identity in sorted(champions.items()):
        theirs = facts.models.get(pool)
        if theirs is not None and theirs.champion != identity:
            seen.notes.append(f"its {pool} champion is {theirs.champion[:8]}, not the newest")


def needs_a_look(job: JobState, others: Sequence[JobState], now: float) -> bool:
    """Whether a job failed or was lost recently and was not retried; `now` by the host's clock.

    A lost job has no end time: its last heartbeat counts.
    """
    if job.state not in ("failed", "lost") or job.dismissed:
        return False
    if any(other.meta.retries == job.id for other in others):
        return False
    ended = job.ended
    if ended is None and job.heartbeat_age_s is not None:
        ended = now - job.heartbeat_age_s
    return ended is None or now - ended < FORGOTTEN_HOURS * cost.HOUR


def unproved(seen: Seen) -> str | None:
    """Why the GPUs of a host are not known to work; None if a deploy ran kernels on them."""
    proved = seen.facts.gpus_proved if seen.facts else 0
    if seen.host.gpus <= proved:
        return None
    return (
        f"it was deployed for {counted(proved, 'GPU')}, and hosts.yaml has gpus: {seen.host.gpus};"
        f" try: ringrift fleet deploy {seen.host.name}"
    )


def ready(seen: Seen) -> str | None:
    """Why a host cannot take jobs now; None if it can."""
    if seen.facts is None:
        if isinstance(seen.error, HostKeyError) and seen.error.hint:
            return f"{seen.error.message} Try: {seen.error.hint}"
        return seen.aside or (seen.error.message if seen.error else "it did not answer")
    if seen.undeployed:
        return seen.undeployed
    facts = seen.facts
    if (why := unproved(seen)) is not None:
        return why
    if seen.host.gpus and facts.gpus is None:
        return f"its GPUs cannot be asked: {facts.gpus_error}"
    if facts.disk_free < LEAST_FREE_GB * GB:
        return f"{facts.disk_free / GB:.1f} GB of its disk are free"
    return None


# ---- JSON document ------------------------------------------------------------------------------


def last_synced(state: Path) -> dict[str, str]:
    """When each host was last in step with this machine, as ISO UTC time."""
    times = {name: in_step(row) for name, row in read_synced(state).items()}
    return {name: time for name, time in times.items() if time is not None}


def document(
    fleet: Fleet, seen: Sequence[Seen], ledger: cost.Ledger, synced: Mapping[str, str], now: float
) -> dict[str, Any]:
    """The output of `ringrift fleet status --json`."""
    total = cost.all_spent(ledger, fleet.hosts, now)
    return {
        "time": dt.datetime.fromtimestamp(now, dt.UTC).isoformat(timespec="seconds"),
        "hosts": [_row(one, ledger, synced, now) for one in seen],
        "totals": {
            "hosts": len(seen),
            "reached": sum(one.facts is not None for one in seen),
            "in_trouble": sum(bool(one.trouble) for one in seen),
            "jobs": sum(len(one.active) for one in seen),
            "games": sum(one.facts.games for one in seen if one.facts),
            "games_per_hour": round(sum(one.games_per_hour for one in seen), 1),
            "price": total.per_hour,
            "spent_today": round(total.today, 4),
            "spent": round(total.total, 4),
        },
        "budget": {"per_day": fleet.budget.per_day, "total": fleet.budget.total},
        "over_budget": cost.over_budget(fleet, ledger, now),
    }


def _row(seen: Seen, ledger: cost.Ledger, synced: Mapping[str, str], now: float) -> dict[str, Any]:
    host = seen.host
    facts = seen.facts.document() if seen.facts else {}
    money = cost.spent(ledger, host, now)
    kept = (
        "hostname", "uptime_s", "cores", "load", "ram_total", "ram_available", "disk_total",
        "disk_free", "jobs_total", "games", "gpus", "gpus_error", "python", "version", "models",
        "idle_s", "time",
    )  # fmt: skip
    return {
        "name": host.name,
        "reached": seen.facts is not None,
        "address": seen.address,
        "latency_ms": None if seen.latency is None else round(1000 * seen.latency, 2),
        "error": None if seen.error is None else seen.error.message,
        "hint": None if seen.error is None else seen.error.hint,
        "set_aside": seen.aside,
        **{key: facts.get(key) for key in kept},
        "jobs": [job.document() for job in seen.jobs],
        "games_per_hour": round(seen.games_per_hour, 1),
        "last_verified_sync": synced.get(host.name),
        "price": host.price,
        "provider": host.provider,
        "spent_today": round(money.today, 4),
        "spent": round(money.total, 4),
        "notes": seen.notes,
        "trouble": seen.trouble,
    }
