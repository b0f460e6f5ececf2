"""`ringrift fleet jobs|dismiss|clean`: lists of jobs, and what becomes of those that ended."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from ringrift_cli.cli.fleet import (
    AllOption,
    LabelOption,
    NamesArgument,
    OnOption,
    YesOption,
    chosen,
)
from ringrift_cli.cli.fleet_options import DryRunOption, HostsOption, failed, fleet_context
from ringrift_cli.cli.options import JsonOption, QuietOption
from ringrift_cli.cli.output import Output
from ringrift_cli.errors import UsageError
from ringrift_cli.text import counted, duration, printable

Row = Mapping[str, Any]
MAX_COMMAND = 70  # characters of a command line in a table
MAX_KEPT = 10  # jobs of a host that are shown with the reason why they stay
STATES = ("starting", "running", "done", "failed", "stopped", "lost")
BAD_STATES = ("failed", "lost", "unknown")
GB = 1e9

StateOption = Annotated[
    list[str] | None,
    typer.Option("--state", metavar="STATE", help="Jobs in this state; may be repeated."),
]
PageOption = Annotated[
    int, typer.Option("--page", min=1, metavar="N", help="Page of the list: 200 jobs per host.")
]
EndedOption = Annotated[bool, typer.Option("--ended", help="Include jobs that have ended.")]


def jobs(
    on: OnOption = None,
    label: LabelOption = None,
    everything: AllOption = False,
    ended: EndedOption = False,
    state: StateOption = None,
    page: PageOption = 1,
    hosts_file: HostsOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the running, failed and lost jobs of the hosts; with --ended all, by pages.

    A job is lost after a whole lease without a heartbeat on its host. If the host cannot be
    reached, the state is unknown. Exit code 1 if a host cannot be reached, or a job failed, is
    lost or unknown.

    \b
    Examples:
      ringrift fleet jobs
      ringrift fleet jobs --ended --page 2
      ringrift fleet jobs --state failed --json
    """
    from ringrift_cli.loop.fleet_operations import all_jobs, page_of_jobs

    out, context = Output(as_json=as_json), fleet_context(hosts_file)
    for one in state or ():
        if one not in STATES:
            raise UsageError(f"--state {one}: expected one of {', '.join(STATES)}.")
    seen = context.look(chosen(context, on, label, everything))
    pages = 1
    if ended or state:
        paged, pages = page_of_jobs(context, seen, state or [], page)
        rows = all_jobs(context, seen, paged)
    else:
        rows = [row for row in all_jobs(context, seen) if row["state"] not in ("done", "stopped")]
    if state:
        rows = [row for row in rows if row["state"] in state]
    silent = {one.host.name: "; ".join(one.trouble) for one in seen if one.facts is None}
    bad = [row["state"] in BAD_STATES and not row["dismissed"] for row in rows]
    columns = ("job", "host", "state", "gpu", "run", "beat", "games", "command")
    if rows:
        out.table(map(_job_cells, rows), columns, red=bad)
    for row in rows:
        if row["error"]:
            out.text(f"  {row['id']}: {printable(row['error'])}")
    out.result(
        {"jobs": rows, "silent": silent, "page": page, "pages": pages}, "" if rows else "no jobs"
    )
    if pages > page:
        out.note(f"Page {page} of {pages}: --page {page + 1}, and ringrift fleet clean")
    for name, why in silent.items():
        out.note(f"{name} cannot be asked: {why}")
    failed(bool(silent) or any(bad))


def _job_cells(row: Row) -> tuple[str | int | None, ...]:
    command = shlex.join(row["argv"][1:])
    times = (row["seconds"], row["heartbeat_age_s"])
    return (
        row["id"],
        row["host"],
        row["state"] + (f" ({row['code']})" if row["code"] else ""),
        ",".join(map(str, row["meta"].get("gpus", []))) or None,
        *("" if one is None else duration(one) for one in times),
        row["games"],
        command if len(command) <= MAX_COMMAND else f"{command[: MAX_COMMAND - 1]}…",
    )


def dismiss(
    job: Annotated[list[str], typer.Argument(metavar="JOB…", help="Names of jobs.")],
    hosts_file: HostsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Mark failed or lost jobs as seen: they are no problem of their host any more.

    Their logs and output stay. Exit code 1 if a job is not known or still runs.

    \b
    Examples:
      ringrift fleet dismiss night-desk
    """
    from ringrift_cli.loop import fleet_operations as operations

    out, context = Output(as_json=as_json, quiet=quiet), fleet_context(hosts_file)
    wanted = [(operations.host_of(context, name), name) for name in dict.fromkeys(job)]
    rows = operations.dismiss(context, wanted)
    for row in rows:
        out.text(f"{row['id']}: {row['error'] if 'state' not in row else 'dismissed'}")
    out.result({"jobs": rows})
    failed(any("state" not in row for row in rows))


OlderOption = Annotated[
    float,
    typer.Option("--older", min=0, metavar="HOURS", help="Minimum hours since a job ended."),
]
ResultsOption = Annotated[
    bool,
    typer.Option("--results", help="Also train, eval and cmaes jobs, whose results are lost then."),
]


def clean(
    names: NamesArgument = None,
    label: LabelOption = None,
    older: OlderOption = 0.0,
    results: ResultsOption = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    hosts_file: HostsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Remove ended jobs from hosts, with their logs, and other versions of ringrift.

    A job stays while games of it are missing here: `ringrift sync pull` fetches them. Jobs of this
    machine that ended well a day ago are removed after every successful pull.

    \b
    Examples:
      ringrift fleet clean --dry-run
      ringrift fleet clean rented-4090 --older 48 --yes
    """
    from ringrift_cli.loop.fleet_operations import clean_up
    from ringrift_cli.loop.sync_session import SyncSession

    out, context = Output(as_json=as_json, quiet=quiet), fleet_context(hosts_file)
    hosts = context.fleet.choose(names or [], label or [])
    destination = SyncSession(context, out).destination
    options: dict[str, Any] = {"older_s": 3600 * older, "results": results}
    rows = clean_up(context, hosts, destination, dry_run=True, **options)
    for row in rows:
        if row["error"] is None:
            out.text(f"{row['host']}: {_removable(row)}")
            kept = [*row["kept"].items()]
            more = [f"  and {len(kept) - MAX_KEPT} more"] if kept[MAX_KEPT:] else []
            lines = [f"  {name} stays: {why}" for name, why in kept[:MAX_KEPT]]
            out.text("\n".join(printable(line) for line in [*lines, *more]))
    found = [row for row in rows if row["error"] is None and (row["jobs"] or row["code"])]
    if found and not dry_run:
        size = sum(row["bytes"] for row in found) / GB
        where = counted(len(found), "host")
        out.confirm(f"Remove this from {where}, {size:.1f} GB?", yes=yes)
        able = [host for host in hosts if host.name in {row["host"] for row in found}]
        others = [row for row in rows if row not in found]
        rows = [*clean_up(context, able, destination, dry_run=False, **options), *others]
    out.result({"hosts": rows, "dry_run": dry_run}, "" if found else "nothing to remove")
    for row in rows:
        if row["error"] is not None:
            out.error(f"{row['host']}: {row['error']}")
    failed(any(row["error"] is not None for row in rows))


def _removable(row: Row) -> str:
    """What a host can do without."""
    parts = [counted(len(row["jobs"]), "job")]
    parts += [counted(len(row["code"]), "old version")] if row["code"] else []
    return f"{', '.join(parts)}, {row['bytes'] / GB:.2f} GB"
