"""`ringrift fleet run|jobs|logs|stop|retry`: jobs on hosts."""

from __future__ import annotations

import codecs
import datetime as dt
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringrift_cli.cli import fleet_text
from ringrift_cli.cli.fleet_options import (
    AllOption,
    DryRunOption,
    HostsOption,
    LabelOption,
    OnOption,
    chosen_hosts,
    failed,
    fleet_context,
)
from ringrift_cli.cli.options import JsonOption, QuietOption
from ringrift_cli.cli.output import Output, counted, stop_requested, stopped
from ringrift_cli.errors import FleetError, RingriftError, UsageError

if TYPE_CHECKING:
    from ringrift_cli.fleet.hosts import Host
    from ringrift_cli.fleet.messages import JobState
    from ringrift_cli.fleet.plan import Placed, Plan
    from ringrift_cli.fleet.status import Seen
    from ringrift_cli.loop.fleet_context import FleetContext

SLACK = 5.0  # seconds that a host may need to kill what did not stop in time
TAIL = 20_000  # bytes of a log that are shown without --whole

PerGpuOption = Annotated[
    bool, typer.Option("--per-gpu", help="A job for each free GPU, not one for all of a host.")
]
NameOption = Annotated[
    str | None,
    typer.Option(
        "--name",
        metavar="NAME",
        help="Of the jobs; the same name again starts nothing twice.",
        show_default="command, board and time",
    ),
]
BudgetOption = Annotated[
    float | None,
    typer.Option(
        "--budget",
        min=0.01,
        metavar="DOLLARS",
        help="Start nothing once so much was spent today.",
        show_default="as hosts.yaml says",
    ),
]
CommandArgument = Annotated[
    list[str], typer.Argument(metavar="-- COMMAND…", help="What `ringrift` is to do there.")
]
JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="Its name.")]


def add_to(app: typer.Typer) -> None:
    """Adds the commands to the group."""
    for command in (run, jobs, logs, stop, retry):
        app.command()(command)


def run(
    command: CommandArgument,
    on: OnOption = None,
    label: LabelOption = None,
    everything: AllOption = False,
    per_gpu: PerGpuOption = False,
    name: NameOption = None,
    budget: BudgetOption = None,
    hosts_file: HostsOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Start jobs on hosts that may have them and are free; they go on without this machine.

    A job has its own folder there, jobs/NAME, with its log and its output, and its own seed. Exit
    code 1 if no job runs, or a host failed to start one.

    \b
    Examples:
      ringrift fleet run -- selfplay --board hex8 --hours 8
      ringrift fleet run --label fast --per-gpu --name night -- selfplay --board hex8 --hours 8
      ringrift fleet run --on desk --dry-run -- selfplay --board square8 --games 500
    """
    from ringrift_cli.fleet.jobs import placing
    from ringrift_cli.fleet.plan import need_of

    out = Output(as_json=as_json, quiet=quiet)
    base = fleet_context(hosts_file)
    if budget is not None:
        limits = replace(base.fleet.budget, per_day=budget)
        base = replace(base, fleet=replace(base.fleet, budget=limits))
    hosts = chosen_hosts(base, on, label, everything)
    need = need_of(command)
    if name is None:
        now = dt.datetime.now(dt.UTC).strftime("%Y%m%d-%H%M%S")
        name = "-".join(filter(None, (command[0], need.board, now)))
    if dry_run:
        plan = _plan(base, hosts, command, name, per_gpu=per_gpu)
        rows = _rows(plan)
    else:
        with placing(base.state, [host.name for host in hosts]):
            plan = _plan(base, hosts, command, name, per_gpu=per_gpu)
            rows = _rows(plan)
            _start(base, plan, rows)
    document = {"name": name, "placed": rows, "refused": plan.refused, "dry_run": dry_run}
    out.result(document, fleet_text.plan(rows, plan.refused))
    if not rows:
        out.error("No host can take this now.", "ringrift fleet status")
    errors = [row["error"] for row in rows if "error" in row]
    for error in errors:
        out.error(error)
    failed(not rows or bool(errors))


def _rows(plan: Plan) -> list[dict[str, Any]]:
    return [{**asdict(placed), "id": placed.identity} for placed in plan.placed]


def _plan(
    base: FleetContext, hosts: list[Host], command: list[str], name: str, *, per_gpu: bool
) -> Plan:
    """Who would do what; hosts that cannot be given work now are named with the reason."""
    from ringrift_cli.fleet.plan import need_of, place, unsuitable

    need = need_of(command)
    known, not_now = _free(base, [host for host in hosts if unsuitable(host, need) is None])
    return place(command, name, hosts, known, per_gpu=per_gpu, not_now=not_now)


def _free(
    base: FleetContext, hosts: list[Host]
) -> tuple[dict[str, list[JobState]], dict[str, str]]:
    """The jobs of each host that was reached, and why hosts can be given no work now."""
    import time

    from ringrift_cli.fleet import cost, jobs
    from ringrift_cli.fleet.status import ready, undrain
    from ringrift_cli.loop.fleet_context import CONNECT_S

    seen = {one.host.name: one for one in base.look(hosts, CONNECT_S)}
    not_now = {name: why for name, one in seen.items() if (why := ready(one))}
    for drained in set(jobs.drained(base.state)) & set(seen):
        not_now[drained] = f"it is drained: {undrain(seen[drained].host)}"
    over = cost.over_budget(base.fleet, cost.read(base.state), time.time())
    if over is not None:
        not_now |= dict.fromkeys(seen, over)
    return {name: one.jobs for name, one in seen.items() if one.facts}, not_now


def _start(base: FleetContext, plan: Plan, rows: list[dict[str, Any]]) -> None:
    """Starts the jobs of a plan, all hosts at once; every row says what came of it."""
    from ringrift_cli.fleet import jobs
    from ringrift_cli.fleet.group import each
    from ringrift_cli.fleet.health import log_event

    by_host: dict[str, list[tuple[Placed, dict[str, Any]]]] = {}
    for placed, row in zip(plan.placed, rows, strict=True):
        by_host.setdefault(placed.host, []).append((placed, row))

    def work(host: Host) -> None:
        with base.open(host) as client:
            for placed, row in by_host[host.name]:
                new, found = jobs.start(client, base.state, placed)
                row["started"], row["state"] = new, found.document()
                row["outcome"] = "started" if new else f"there already, {found.state}"
                log_event(base.state, "job", host.name, f"{placed.identity}: {row['outcome']}")

    hosts = [host for host in base.fleet.hosts if host.name in by_host]
    for answer in each(hosts, work):
        if answer.error is not None:
            for _, row in by_host[answer.host.name]:
                if "outcome" not in row:
                    row["error"] = row["outcome"] = answer.error.message


# ---- what there is -------------------------------------------------------------------------------

EndedOption = Annotated[bool, typer.Option("--ended", help="Those that have ended too.")]


def jobs(
    on: OnOption = None,
    label: LabelOption = None,
    everything: AllOption = False,
    ended: EndedOption = False,
    hosts_file: HostsOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the jobs of the hosts: running, failed and lost ones; with --ended all.

    A job is lost when its host has had no sign of it for a whole lease. The state of a job whose
    host cannot be reached is unknown. Exit code 1 if a host cannot be reached, or a job failed, is
    lost or unknown.

    \b
    Examples:
      ringrift fleet jobs
      ringrift fleet jobs --ended --json
    """
    out = Output(as_json=as_json)
    base = fleet_context(hosts_file)
    seen = base.look(chosen_hosts(base, on, label, everything))
    rows = _all_jobs(base, seen)
    if not ended:
        rows = [row for row in rows if row["state"] not in ("done", "stopped")]
    silent = {one.host.name: "; ".join(one.trouble) for one in seen if one.facts is None}
    text = "" if as_json else fleet_text.jobs(rows, colour=out.colour)
    out.result({"jobs": rows, "silent": silent}, text)
    for name, why in silent.items():
        out.note(f"{name} cannot be asked: {why}")
    failed(bool(silent) or any(row["state"] in ("failed", "lost", "unknown") for row in rows))


def _all_jobs(base: FleetContext, seen: list[Seen]) -> list[dict[str, Any]]:
    """The jobs of all hosts, and those started from here that no host tells of."""
    from ringrift_cli.fleet import jobs

    rows = [{"host": one.host.name, **job.document()} for one in seen for job in one.jobs]
    told = {(row["host"], row["id"]) for row in rows}
    over, by_host = jobs.ended(base.state), {one.host.name: one for one in seen}
    for placed in jobs.remembered(base.state).values():
        one = by_host.get(placed.host)
        if one is None or (placed.host, placed.identity) in told:
            continue
        row: dict[str, Any] | None = None
        if one.facts is None:
            known = over.get(placed.identity)
            row = (
                known.document()
                if known
                else _untold(placed, "unknown", "its host cannot be asked")
            )
        elif placed.identity not in over and not one.facts.jobs_error:
            row = _untold(placed, "lost", "its host knows nothing of it")
        if row is not None:
            rows.append({"host": placed.host, **row})
    return rows


def _untold(placed: Placed, state: str, error: str) -> dict[str, Any]:
    """What there is to say of a job of which its host says nothing."""
    nothing = dict.fromkeys(("code", "signal", "seconds", "heartbeat_age_s"))
    known = {"id": placed.identity, "state": state, "error": error, "games": 0}
    return {**known, **nothing, "argv": placed.job.argv, "meta": placed.job.meta.document()}


FollowOption = Annotated[bool, typer.Option("--follow", "-f", help="Until the job has ended.")]
WholeOption = Annotated[bool, typer.Option("--whole", help="From its beginning.")]


def logs(
    job: JobArgument,
    follow: FollowOption = False,
    whole: WholeOption = False,
    hosts_file: HostsOption = None,
) -> None:
    """Print the log of a job, as it lies on its host.

    \b
    Examples:
      ringrift fleet logs night-desk
      ringrift fleet logs night-desk -f
    """
    from ringrift_cli.fleet import jobs

    out, base = Output(), fleet_context(hosts_file)
    host = _host_of(base, job)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a part may end within a letter
    with stop_requested() as stop, base.open(host) as client:
        tail = None if whole else TAIL
        for part in jobs.log(
            client, job, follow=follow, tail=tail, should_stop=lambda: stop() != 0
        ):
            out.data(decoder.decode(part))
        code = stop()
    if code:
        raise stopped(code)


def _host_of(base: FleetContext, identity: str) -> Host:
    """The host of a job: where it was started from here, else the one that knows it."""
    from ringrift_cli.fleet.jobs import remembered

    known = remembered(base.state).get(identity)
    if known is not None and known.host in {host.name for host in base.fleet.hosts}:
        return _host_named(base, known.host)
    seen = base.look(base.fleet.choose())
    found = [one.host for one in seen if any(job.id == identity for job in one.jobs)]
    if len(found) == 1:
        return found[0]
    silent = [one.host.name for one in seen if one.facts is None]
    more = f"; {', '.join(silent)} cannot be asked" if silent else ""
    if found:
        where = ", ".join(host.name for host in found)
        raise UsageError(f"Several hosts have a job {identity!r}: {where}.")
    raise UsageError(f"No host has a job {identity!r}{more}.", hint="ringrift fleet jobs --ended")


# ---- ending and beginning again ------------------------------------------------------------------

JobsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[JOB]…", help="Their names.", show_default=False)
]
AllJobsOption = Annotated[bool, typer.Option("--all", help="All jobs that run, on all hosts.")]
GraceOption = Annotated[
    float,
    typer.Option("--grace", min=0, metavar="S", help="Seconds to write what is in hand."),
]


def stop(
    job: JobsArgument = None,
    everything: AllJobsOption = False,
    on: OnOption = None,
    grace: GraceOption = 30.0,
    hosts_file: HostsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Stop jobs: each is asked to write the games it has in hand, and killed if it does not.

    \b
    Examples:
      ringrift fleet stop night-desk
      ringrift fleet stop --all
      ringrift fleet stop --on rented-4090 --grace 5
    """
    if not job and not everything and on is None:
        raise UsageError("Which jobs?", hint="their names, --on HOST, or --all")
    if job and (everything or on is not None):
        raise UsageError("Job names, --on and --all exclude each other: expected one of them.")
    out = Output(as_json=as_json, quiet=quiet)
    base = fleet_context(hosts_file)
    if job:
        wanted = [(_host_of(base, name), name) for name in dict.fromkeys(job)]
        silent: list[Seen] = []
    else:
        seen = base.look(chosen_hosts(base, on, None, everything))
        wanted = [(one.host, found.id) for one in seen for found in one.active]
        silent = [one for one in seen if one.facts is None]
    rows = _stop(out, base, wanted, grace)
    rows += [{"host": one.host.name, "error": "; ".join(one.trouble)} for one in silent]
    lines = [f"{row.get('id', row['host'])}: {row.get('error') or row['state']}" for row in rows]
    out.result({"jobs": rows}, "\n".join(lines) or "no jobs")
    failed(any(row["error"] for row in rows))


def _stop(
    out: Output, base: FleetContext, wanted: list[tuple[Host, str]], grace: float
) -> list[dict[str, Any]]:
    """Stops jobs of hosts, all hosts at once; what became of each."""
    from ringrift_cli.fleet import jobs
    from ringrift_cli.fleet.group import each

    by_host: dict[str, list[str]] = {}
    settled: list[JobState] = []
    for host, name in wanted:
        by_host.setdefault(host.name, []).append(name)

    def work(host: Host) -> list[dict[str, Any]]:
        mine, rows = by_host[host.name], []
        with base.open(host) as client:
            for name in mine:
                jobs.stop(client, name, grace=grace)
            for name in mine:
                found = jobs.wait(client, name, grace + SLACK)
                why = f"still {found.state} after {grace + SLACK:.0f} s" if found.active else None
                rows.append({"host": host.name, **found.document(), "error": why})
                settled.append(found)
        return rows

    hosts = list({host.name: host for host, _ in wanted}.values())
    out.note(f"Stopping {counted(len(wanted), 'job')} on {counted(len(hosts), 'host')}.")
    rows = []
    for answer in each(hosts, work):
        if answer.value is not None:
            rows += answer.value
        else:
            assert answer.error is not None
            rows += [
                {"host": answer.host.name, "id": name, "error": answer.error.message}
                for name in by_host[answer.host.name]
            ]
    jobs.settle(base.state, settled)
    return rows


ElsewhereOption = Annotated[
    str | None, typer.Option("--on", metavar="HOST", help="Another host.", show_default="the same")
]


def retry(
    job: JobArgument,
    on: ElsewhereOption = None,
    hosts_file: HostsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Begin a job again that failed, was lost or stopped: the same command under a new name.

    What the first attempt wrote stays and is synced like the rest.

    \b
    Examples:
      ringrift fleet retry night-desk
      ringrift fleet retry night-desk --on rented-4090
    """
    from ringrift_cli.fleet import jobs
    from ringrift_cli.fleet.plan import again, retried

    out = Output(as_json=as_json)
    base = fleet_context(hosts_file)
    first = jobs.recall(base.state, job)
    host = _host_named(base, first.host if on is None else on)
    was = _was(base, first)
    if was in ("starting", "running", "done"):
        raise FleetError(f"{job} is {was}.", hint=f"ringrift fleet logs {job}")
    with jobs.placing(base.state, [host.name]):
        known, not_now = _free(base, [host])
        if host.name in not_now:
            raise FleetError(f"{host.name} cannot take it: {not_now[host.name]}.")
        identity = retried(job, set(jobs.remembered(base.state)))
        placed = again(first, identity, host, known[host.name])
        if isinstance(placed, str):
            raise FleetError(f"{host.name} cannot take it: {placed}.", hint="--on another host")
        with base.open(host) as client:
            _, state = jobs.start(client, base.state, placed)
    document = {"host": host.name, **state.document(), "retries": job, "was": was}
    out.result(document, f"{host.name}: {identity} {state.state}; {job} was {was}")


def _was(base: FleetContext, first: Placed) -> str:
    """The state of a job; a host that is gone or silent leaves it unknown."""
    from ringrift_cli.fleet import jobs

    if first.host not in {host.name for host in base.fleet.enabled}:
        return "on a host that is gone"
    try:
        with base.open(_host_named(base, first.host)) as client:
            return jobs.one(client, first.identity).state
    except RingriftError as error:
        return f"unknown ({error.message})"


def _host_named(base: FleetContext, name: str) -> Host:
    return base.fleet.choose([name])[0]
