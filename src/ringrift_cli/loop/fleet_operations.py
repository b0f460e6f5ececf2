"""Fleet operations: placing, listing, stopping and retrying jobs; draining hosts; costs.

A row is the result for one job or host, as `--json` prints it; `error` is the reason of a failure.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from ringrift_cli.errors import FleetError, RemoteError, RingriftError, UsageError
from ringrift_cli.fleet import cost, jobs
from ringrift_cli.fleet.clean import clean
from ringrift_cli.fleet.client import Client
from ringrift_cli.fleet.deploy import deploy
from ringrift_cli.fleet.destination import Destination
from ringrift_cli.fleet.group import each
from ringrift_cli.fleet.hosts import Host
from ringrift_cli.fleet.messages import (
    TAKEN,
    Cleaned,
    Dismiss,
    Facts,
    Jobs,
    JobState,
    JobStates,
)
from ringrift_cli.fleet.plan import JobPlan, Placed, again, need_of, place, retried, unsuitable
from ringrift_cli.fleet.state import log_event
from ringrift_cli.fleet.status import Seen, ready, undrain
from ringrift_cli.loop.fleet_context import CONNECT_S, FleetContext

Row = dict[str, Any]
PAGE = 200  # jobs of a host in a list
SLACK = 5.0  # seconds for a host to kill jobs that did not stop in time
DRAIN_S = 60.0  # seconds for jobs of a drained host to write their games


# ---- placing jobs --------------------------------------------------------------------------------


def default_name(command: Sequence[str]) -> str:
    """Default job name: command, board and time."""
    now = dt.datetime.now(dt.UTC).strftime("%Y%m%d-%H%M%S")
    return "-".join(filter(None, (command[0], need_of(command).board, now)))


def run(
    context: FleetContext,
    hosts: list[Host],
    command: list[str],
    name: str,
    *,
    per_gpu: bool,
    dry_run: bool,
) -> tuple[list[Row], dict[str, str]]:
    """Starts jobs on suitable free hosts; returns a row per job, and reasons by refused host."""
    if dry_run:
        plan = _plan(context, hosts, command, name, per_gpu=per_gpu)
        return _rows(plan), plan.refused
    with jobs.placing(context.state, [host.name for host in hosts]):
        plan = _plan(context, hosts, command, name, per_gpu=per_gpu)
        rows = _rows(plan)
        _start(context, plan, rows)
    return rows, plan.refused


def _rows(plan: JobPlan) -> list[Row]:
    return [
        {**asdict(placed), "job": placed.job.document(), "id": placed.identity}
        for placed in plan.placed
    ]


def _plan(
    context: FleetContext, hosts: list[Host], command: list[str], name: str, *, per_gpu: bool
) -> JobPlan:
    need = need_of(command)
    facts, not_now = _free(context, [host for host in hosts if unsuitable(host, need) is None])
    return place(command, name, hosts, facts, per_gpu=per_gpu, not_now=not_now)


def _free(context: FleetContext, hosts: list[Host]) -> tuple[dict[str, Facts], dict[str, str]]:
    """Facts by host that was reached, and reasons by host that cannot take jobs now."""
    seen = {one.host.name: one for one in context.look(hosts, CONNECT_S)}
    not_now = {name: why for name, one in seen.items() if (why := ready(one))}
    for drained in jobs.drained(context.state).keys() & seen.keys():
        not_now[drained] = f"it is drained: {undrain(seen[drained].host)}"
    over = cost.over_budget(context.fleet, cost.read(context.ledger), time.time())
    if over is not None:
        not_now |= dict.fromkeys(seen, over)
    return {name: one.facts for name, one in seen.items() if one.facts}, not_now


def _start(context: FleetContext, plan: JobPlan, rows: list[Row]) -> None:
    """Starts the jobs of a plan on all hosts in parallel and adds the outcomes to the rows."""
    by_host: dict[str, list[tuple[Placed, Row]]] = {}
    for placed, row in zip(plan.placed, rows, strict=True):
        by_host.setdefault(placed.host, []).append((placed, row))

    def work(host: Host) -> None:
        with context.open(host) as client:
            for placed, row in by_host[host.name]:
                try:
                    new, found = jobs.start(client, context.state, placed)
                except (RemoteError, UsageError) as error:  # no other slot is affected
                    if isinstance(error, RemoteError) and error.kind != TAKEN:
                        raise
                    row["error"] = row["outcome"] = error.message
                    continue
                row["started"], row["state"] = new, found.document()
                row["outcome"] = "started" if new else f"there already, {found.state}"
                log_event(context.state, "job", host.name, f"{placed.identity}: {row['outcome']}")

    for answer in each([host for host in context.fleet.hosts if host.name in by_host], work):
        if answer.error is not None:
            for _, row in by_host[answer.host.name]:
                if "outcome" not in row:
                    row["error"] = row["outcome"] = answer.error.message


# ---- listing jobs --------------------------------------------------------------------------------


def page_of_jobs(
    context: FleetContext, seen: Sequence[Seen], states: Sequence[str], page: int
) -> tuple[dict[str, list[JobState]], int]:
    """Jobs in one of the states, by default in any, by reached host, and the number of pages.

    Page 1 has the newest `PAGE` jobs of each host. `FleetError` if a host fails meanwhile.
    """

    def work(host: Host) -> JobStates:
        with context.open(host) as client:
            request = Jobs(states=[*states], skip=PAGE * (page - 1), most=PAGE)
            return client.ask(request)

    found: dict[str, list[JobState]] = {}
    pages = 1
    deployed = [one.host for one in seen if one.facts and not one.undeployed]
    for answer in each(deployed, work):
        if answer.value is None:
            why = answer.error.message if answer.error else "it did not answer"
            raise FleetError(f"{answer.host.name}: {why}")
        found[answer.host.name] = answer.value.jobs
        pages = max(pages, -(-answer.value.total // PAGE))
    return found, pages


def all_jobs(
    context: FleetContext, seen: Sequence[Seen], paged: dict[str, list[JobState]] | None = None
) -> list[Row]:
    """The jobs of all hosts, or those of a page, and recorded jobs that no host knows."""
    by_name = paged if paged is not None else {one.host.name: one.jobs for one in seen}
    own = {job.id for found in by_name.values() for job in found if job.elsewhere is None}
    rows = [
        {"host": name, **job.document()}
        for name, found in by_name.items()
        for job in found
        if job.elsewhere is None or job.id not in own  # several hosts may see one work folder
    ]
    known = {(row["host"], row["id"]) for row in rows}
    over, by_host = jobs.ended(context.state), {one.host.name: one for one in seen}
    for placed in jobs.remembered(context.state).values():
        one, ended = by_host.get(placed.host), over.get(placed.identity)
        if one is None or (placed.host, placed.identity) in known:
            continue
        if one.facts is None:
            row = ended.document() if ended else _unknown(placed, "its host cannot be asked")
        elif ended is None and one.facts.jobs_total <= len(one.facts.jobs):
            row = {**_unknown(placed, "its host knows nothing of it"), "state": "lost"}
        else:
            continue
        rows.append({"host": placed.host, **row})
    return rows


def _unknown(placed: Placed, error: str) -> Row:
    """The row of a job without a state from its host."""
    state = JobState(id=placed.identity, meta=placed.job.meta, argv=placed.job.argv, error=error)
    return {**state.document(), "state": "unknown", "seconds": None}


def host_of(context: FleetContext, identity: str) -> Host:
    """The host of a job: the recorded one, else the one that knows it."""
    known = jobs.remembered(context.state).get(identity)
    if known is not None and known.host in {host.name for host in context.fleet.hosts}:
        return context.fleet.one(known.host)
    seen = context.look(context.fleet.choose())

    def has(host: Host) -> bool:
        with context.open(host) as client:
            return bool(jobs.states(client, identity))

    deployed = [one.host for one in seen if one.facts and not one.undeployed]
    found = [answer.host for answer in each(deployed, has) if answer.value]
    if len(found) == 1:
        return found[0]
    if found:
        where = ", ".join(host.name for host in found)
        raise UsageError(f"Several hosts have a job {identity!r}: {where}.")
    silent = [one.host.name for one in seen if one.facts is None]
    more = f"; {', '.join(silent)} cannot be asked" if silent else ""
    raise UsageError(f"No host has a job {identity!r}{more}.", hint="ringrift fleet jobs --ended")


# ---- stopping and retrying jobs ------------------------------------------------------------------


def stop(context: FleetContext, wanted: Sequence[tuple[Host, str]], grace: float) -> list[Row]:
    """Stops jobs on all hosts in parallel; `grace`: seconds before a job is killed."""
    by_host: dict[str, list[str]] = {}
    for host, identity in wanted:
        by_host.setdefault(host.name, []).append(identity)

    def work(host: Host) -> list[JobState]:
        with context.open(host) as client:
            return _stop_and_wait(client, by_host[host.name], grace)

    rows: list[Row] = []
    for answer in each(list({host.name: host for host, _ in wanted}.values()), work):
        name, error = answer.host.name, answer.error
        if error is not None:
            mine = by_host[name]
            rows += [{"host": name, "id": one, "error": error.message} for one in mine]
            continue
        jobs.settle(context.state, answer.value or [])
        for found in answer.value or []:
            why = f"still {found.state} after {grace + SLACK:.0f} s" if found.active else None
            rows.append({"host": name, **found.document(), "error": why})
    return rows


def _stop_and_wait(client: Client, identities: Sequence[str], grace: float) -> list[JobState]:
    for identity in identities:
        jobs.stop(client, identity, grace=grace)
    until = time.monotonic() + grace + SLACK
    return [
        jobs.wait(client, identity, max(until - time.monotonic(), 0.0)) for identity in identities
    ]


def dismiss(context: FleetContext, wanted: Sequence[tuple[Host, str]]) -> list[Row]:
    """Marks ended jobs as seen, so that `fleet status` reports them no more; a row per job."""
    by_host: dict[str, list[str]] = {}
    for host, identity in wanted:
        by_host.setdefault(host.name, []).append(identity)

    def work(host: Host) -> list[JobState]:
        with context.open(host) as client:
            return client.ask(Dismiss(ids=by_host[host.name])).jobs

    rows: list[Row] = []
    for answer in each(list({host.name: host for host, _ in wanted}.values()), work):
        name, error = answer.host.name, answer.error
        if error is not None:
            rows += [{"host": name, "id": one, "error": error.message} for one in by_host[name]]
        rows += [{"host": name, **found.document()} for found in answer.value or []]
    return rows


def clean_up(
    context: FleetContext,
    hosts: Sequence[Host],
    destination: Destination,
    *,
    older_s: float,
    results: bool,
    dry_run: bool,
) -> list[Row]:
    """Removes ended jobs whose games are here, and old code, from hosts; a row per host."""

    def work(host: Host) -> Cleaned:
        with context.open(host) as client:
            return clean(
                client,
                context.state,
                destination,
                older_s=older_s,
                results=results,
                dry_run=dry_run,
            )

    rows: list[Row] = []
    for answer in each(hosts, work):
        name, found, error = answer.host.name, answer.value, answer.error
        if found is None:
            rows.append({"host": name, "error": error.message if error else "it did not answer"})
            continue
        rows.append({"host": name, **found.document(), "error": None})
        if not dry_run:
            detail = f"{len(found.jobs)} jobs, {len(found.code)} versions, {found.bytes} bytes"
            log_event(context.state, "cleaned", name, detail)
    return rows


def retry(context: FleetContext, identity: str, on: str | None) -> Row:
    """Retries a failed, lost or stopped job under a new name, on its host or `on`.

    `FleetError` if it is running or done, or the host cannot take it.
    """
    first = jobs.recall(context.state, identity)
    host = context.fleet.one(first.host if on is None else on)
    was = _state_of(context, first)
    if was in ("starting", "running", "done"):
        raise FleetError(f"{identity} is {was}.", hint=f"ringrift fleet logs {identity}")
    with jobs.placing(context.state, [host.name]):
        facts, not_now = _free(context, [host])
        if host.name in not_now:
            raise FleetError(f"{host.name} cannot take it: {not_now[host.name]}.")
        name = retried(identity, set(jobs.remembered(context.state)))
        placed = again(first, name, host, facts[host.name])
        if isinstance(placed, str):
            raise FleetError(f"{host.name} cannot take it: {placed}.", hint="--on another host")
        with context.open(host) as client:
            _, state = jobs.start(client, context.state, placed)
    return {"host": host.name, **state.document(), "retries": identity, "was": was}


def _state_of(context: FleetContext, placed: Placed) -> str:
    """The state of a job; unknown if its host is gone or cannot be reached."""
    if placed.host not in {host.name for host in context.fleet.enabled}:
        return "on a host that is gone"
    try:
        with context.open(context.fleet.one(placed.host)) as client:
            return jobs.one(client, placed.identity).state
    except RingriftError as error:
        return f"unknown ({error.message})"


# ---- hosts ---------------------------------------------------------------------------------------


def drain(
    context: FleetContext, host: Host, *, dry_run: bool, agree: Callable[[int], None]
) -> list[str]:
    """Excludes a host from new jobs and stops its active ones; returns their names.

    `dry_run` only lists them. `agree` is called with their number before that, and may raise.
    `RemoteError` if a job does not stop.
    """
    with context.open(host) as client:
        active = _active(client)
        if dry_run:
            return active
        agree(len(active))
        with jobs.placing(context.state, [host.name]):
            jobs.drain(context.state, host.name)
        active = _active(client)  # includes jobs that were just being started
        for found in _stop_and_wait(client, active, DRAIN_S):
            if found.active:
                raise RemoteError(
                    f"{host.name}: {found.id} is still {found.state}; nothing was transferred."
                )
    return active


def _active(client: Client) -> list[str]:
    return [job.id for job in jobs.states(client) if job.here]


def deploy_to(
    context: FleetContext, hosts: Sequence[Host], on_step: Callable[[str], None]
) -> list[Row]:
    """Installs this ringrift on hosts in parallel; returns a row per host."""
    from ringrift_cli.game.version import codec_hash, rules_hash

    expected = {"rules": rules_hash(), "codec": codec_hash()}

    def work(host: Host) -> Row:
        return deploy(
            lambda agent: context.open(host, agent=agent),
            host,
            expected,
            lambda step: on_step(f"{host.name}: {step}"),
        )

    rows: list[Row] = []
    for answer in each(hosts, work):
        name, error = answer.host.name, answer.error
        if answer.value is not None:
            rows.append({"name": name, "seconds": round(answer.seconds, 1), **answer.value})
            log_event(context.state, "deployed", name, f"ringrift {answer.value['version']}")
        elif error is not None:
            rows.append({"name": name, "error": error.message, "hint": error.hint})
            log_event(context.state, "deploy failed", name, error.message)
    return rows


def costs(context: FleetContext) -> dict[str, Any]:
    """Costs in dollars of all hosts that are or were in hosts.yaml, to date and projected."""
    seen = {one.host.name: one for one in context.look(context.fleet.choose())}
    now, ledger, fleet = time.time(), cost.read(context.ledger), context.fleet
    rows = []
    for name in dict.fromkeys([*(host.name for host in fleet.hosts), *ledger]):
        account, known = ledger.get(name, cost.Account()), seen.get(name)
        price = known.host.price if known else 0.0
        games = account.games  # when it last answered
        rate = known.games_per_hour if known else 0.0
        rows.append(
            {
                "name": name,
                "price": price,
                "since": account.since,
                "today": round(account.days.get(cost.day_of(now), 0.0), 4),
                "total": round(account.total, 4),
                "days": {day: round(paid, 4) for day, paid in sorted(account.days.items())},
                "games": games,
                "per_1000_games": round(1000 * account.total / games, 4) if games else None,
                "per_1000_games_now": round(1000 * price / rate, 4) if rate else None,
            }
        )
    total = cost.all_spent(ledger, fleet.hosts, now)
    return {
        "hosts": rows,
        "today": round(total.today, 4),
        "total": round(total.total, 4),
        "per_hour": total.per_hour,
        "projected_day": round(24 * total.per_hour, 2),
        "projected_30_days": round(30 * 24 * total.per_hour, 2),
        "budget": {"per_day": fleet.budget.per_day, "total": fleet.budget.total},
        "over_budget": cost.over_budget(fleet, ledger, now),
    }
