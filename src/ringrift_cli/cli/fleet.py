"""`ringrift fleet`: hosts and their jobs over SSH, with status and costs."""

from __future__ import annotations

import codecs
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringrift_cli import settings
from ringrift_cli.cli.fleet_options import (
    DryRunOption,
    HostsOption,
    failed,
    fleet_context,
)
from ringrift_cli.cli.options import JsonOption, QuietOption, check_folder, file_path
from ringrift_cli.cli.output import Output, need_subcommand, stop_requested, stopped
from ringrift_cli.errors import RingriftError, UsageError
from ringrift_cli.settings import Run
from ringrift_cli.store.files import write_whole
from ringrift_cli.text import ago, counted, duration, printable, printable_lines

if TYPE_CHECKING:
    from ringrift_cli.fleet.hosts import Host
    from ringrift_cli.loop.fleet_context import FleetContext

app = typer.Typer(name="fleet", rich_markup_mode=None)
Row = Mapping[str, Any]
EVERY = 10.0  # seconds between two updates of --watch
CLEAR = "\x1b[2J\x1b[H"
GB = 1e9
MAX_POOLS = 2  # pools shown with their champion
MAX_DAYS = 7  # days shown with their cost
TAIL = 20_000  # bytes of a log shown without --whole


def _seconds(text: str | float) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= 3600:
        raise typer.BadParameter(f"{text!r} is not a number of seconds from 0 to 3600.")
    return number


OnOption = Annotated[
    str | None,
    typer.Option("--on", metavar="NAMES", help="Host names separated by commas, as desk,rented."),
]
LabelOption = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="LABEL", help="Hosts with this label; may be repeated."),
]
AllOption = Annotated[
    bool, typer.Option("--all", help="All enabled hosts, the default without --on and --label.")
]
DeadlineOption = Annotated[
    float | None,
    typer.Option(
        "--deadline",
        parser=_seconds,
        metavar="SECONDS",
        help="Seconds that a host may be silent.",
        show_default="deadline of hosts.yaml",
    ),
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]
JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="Name of the job.")]
HostArgument = Annotated[str, typer.Argument(metavar="HOST", help="Name of the host.")]


@app.callback(invoke_without_command=True)
def fleet(context: typer.Context) -> None:
    """Run ringrift on other machines over SSH: jobs, status and costs.

    The machines are listed in hosts.yaml; `ringrift fleet init` writes a template. `ringrift sync`
    transfers games and models, and `ringrift cycle --fleet` uses all hosts.

    \b
    Examples:
      ringrift fleet init
      ringrift fleet deploy
      ringrift fleet status
      ringrift fleet run --per-gpu -- selfplay --board hex8 --hours 8
    """
    need_subcommand(context)


OutOption = Annotated[
    Path, typer.Option("--out", parser=file_path, metavar="FILE", help="File to write.")
]


@app.command()
def init(
    out_file: OutOption = Path("hosts.yaml"), yes: YesOption = False, as_json: JsonOption = False
) -> None:
    """Write hosts.yaml: every key of a host, explained, and examples to uncomment.

    \b
    Examples:
      ringrift fleet init
      ringrift fleet init --out cluster.yaml
    """
    from ringrift_cli.fleet.hosts import EXAMPLE

    out = Output(as_json=as_json)
    check_folder(out_file)
    if out_file.exists():
        out.confirm(f"Replace {out_file}?", yes=yes)
    write_whole(out_file, EXAMPLE.encode())
    out.result({"file": str(out_file)}, str(out_file))
    out.note("Fill in your hosts, then: ringrift fleet status")


def chosen(
    context: FleetContext, on: str | None, labels: list[str] | None, everything: bool
) -> list[Host]:
    """The enabled hosts selected by the options; all by default."""
    return context.fleet.choose([on] if on else [], labels or [], every=everything)


# ---- hosts ---------------------------------------------------------------------------------------

WatchOption = Annotated[bool, typer.Option("--watch", "-w", help="Update every 10 s until Ctrl-C.")]


@app.command()
def status(
    on: OnOption = None,
    label: LabelOption = None,
    everything: AllOption = False,
    watch: WatchOption = False,
    deadline: DeadlineOption = None,
    hosts_file: HostsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the status of every host: connection, GPUs, disk, jobs, games, cost, problems.

    All hosts are queried in parallel, with a limit of silence each. Exit code 1 if an enabled host
    has a problem: unreachable, without this version of ringrift, out of disk space, with failed or
    lost jobs, or with a price and idle for half an hour.

    \b
    Examples:
      ringrift fleet status
      ringrift fleet status --on desk,rented-4090 --deadline 10
      ringrift fleet status --json
    """
    if watch and as_json:
        raise UsageError("--watch prints for a terminal: expected it without --json.")
    from ringrift_cli.fleet.hosts import FILE

    out, store = Output(as_json=as_json), settings.load().run.store
    if store != Run.store and not (hosts_file or FILE).exists():
        out.result({"hosts": [], "workers": _workers(out, store)})  # all of them are in the store
        return
    context = fleet_context(hosts_file)
    hosts = chosen(context, on, label, everything)
    if not watch:
        failed(_look(out, context, hosts, deadline))
        return
    with stop_requested() as stop:
        while not stop():
            _look(out, context, hosts, deadline, clear=out.colour)
            until = time.monotonic() + EVERY
            while time.monotonic() < until and not stop():
                time.sleep(0.1)
        raise stopped(stop())


def _workers(out: Output, url: str) -> list[Row]:
    """Prints the workers of an object store, newest heartbeat first."""
    if url == Run.store:
        return []
    import msgspec

    from ringrift_cli.loop.mirror import workers
    from ringrift_cli.objects.store import opened

    try:
        known = workers(opened(url))
    except RingriftError as error:
        out.error(error.message, error.hint)
        return []
    rows: list[Row] = [
        {**msgspec.to_builtins(state), "heartbeat_age_s": round(time.time() - one.modified, 1)}
        for one, state in known
    ]
    rows.sort(key=lambda row: row["heartbeat_age_s"])
    columns = ("worker", "pool", "model", "games", "games/h", "heartbeat")
    cells = [
        (row["host"], row["pool"], row["model"][:8], row["games"], row["games_per_hour"],
         f"{duration(max(row['heartbeat_age_s'], 0))} ago")
        for row in rows
    ]  # fmt: skip
    if rows:
        out.table(cells, columns)
    return rows


def _look(
    out: Output,
    context: FleetContext,
    hosts: list[Host],
    deadline: float | None,
    *,
    clear: bool = False,
) -> bool:
    """Prints the status of the hosts; returns whether one has a problem."""
    found = context.document(hosts, deadline)
    rows, totals = found["hosts"], found["totals"]
    if clear:
        out.data(CLEAR)
    columns = (
        "host", "address", "ms", "gpu", "load", "ram", "disk", "ringrift", "model", "jobs", "games",
        "games/h", "synced", "$/h", "today", "$",
    )  # fmt: skip
    out.table(map(_host_cells, rows), columns, red=[bool(row["trouble"]) for row in rows])
    found["workers"] = _workers(out, context.config.run.store)
    for row in rows:
        notes = [*row["trouble"], *(f"note: {note}" for note in row["notes"])]
        notes += [f"try: {row['hint']}"] if row["hint"] else []
        out.text("\n".join(f"  {row['name']}: {printable(note)}" for note in notes))
    out.text(
        f"{totals['reached']} of {counted(totals['hosts'], 'host')} reached,"
        f" {totals['in_trouble']} in trouble; {counted(totals['jobs'], 'job')} running,"
        f" {counted(totals['games'], 'game')}, {totals['games_per_hour']:,.0f} games/h;"
        f" ${totals['price']:.2f}/h, ${totals['spent_today']:.2f} today,"
        f" ${totals['spent']:.2f} in total"
    )
    if found["over_budget"]:
        out.text(f"Over budget: {found['over_budget']}; no new work begins.")
    out.result(found)
    return bool(totals["in_trouble"]) or found["over_budget"] is not None


def _host_cells(row: Row) -> tuple[str | None, ...]:
    price = f"{row['price']:.2f}" if row["price"] else None
    money = (price, f"{row['spent_today']:.2f}", f"{row['spent']:.2f}")
    synced = ago(row["last_verified_sync"])
    if not row["reached"]:
        return (row["name"], None, *[""] * 10, synced, *money)
    running = [job for job in row["jobs"] if job["state"] in ("starting", "running")]
    jobs = str(len(running)) if running else "none"
    if not running and row["idle_s"] is not None:
        jobs = f"idle {duration(row['idle_s'])}"
    champions = [f"{pool} {one['champion'][:8]}" for pool, one in sorted(row["models"].items())]
    more = ["…"] if champions[MAX_POOLS:] else []
    return (
        row["name"],
        row["address"] or "",
        f"{row['latency_ms']:.{0 if row['latency_ms'] >= 10 else 1}f}",
        gpu_cell(row["gpus"] or []),
        f"{row['load'][0]:.1f}/{row['cores']}",
        f"{(row['ram_total'] - row['ram_available']) / GB:.0f}/{row['ram_total'] / GB:.0f}G",
        f"{row['disk_free'] / GB:.0f}G",
        row["version"] or "none",
        ", ".join([*champions[:MAX_POOLS], *more]) or None,
        jobs,
        f"{row['games']:,}",
        f"{row['games_per_hour']:,.0f}" if running else None,
        synced,
        *money,
    )


def gpu_cell(found: Sequence[Row]) -> str | None:
    """`2x H200 97 % 31/139G 61°`: count, name, highest utilization, memory, temperature.

    `-` for what is not available, as of MIG slices.
    """
    if not found:
        return None
    name = str(found[0]["name"]).removeprefix("NVIDIA ").removeprefix("GeForce ")

    def known(key: str) -> list[float]:
        return [gpu[key] for gpu in found if gpu[key] is not None]

    use, hot = max(known("use_percent"), default=None), max(known("temperature_c"), default=None)
    used, whole = sum(known("memory_used_mb")) / 1024, sum(known("memory_total_mb")) / 1024
    several = f"{len(found)}x " if len(found) > 1 else ""
    values = (
        None if use is None else f"{use} %",
        f"{used:.0f}/{whole:.0f}G" if whole else None,
        None if hot is None else f"{hot}°",
    )
    return " ".join([several + name, *(value or "-" for value in values)])


@app.command()
def cost(
    hosts_file: HostsOption = None, as_json: JsonOption = False, quiet: QuietOption = False
) -> None:
    """Show the cost of the hosts: today, in total, per game, and projected.

    Every enabled host of hosts.yaml is charged from its first answer on, whether it works, idles
    or cannot be reached: set `enabled: false` after returning a machine.

    \b
    Examples:
      ringrift fleet cost
      ringrift fleet cost --json
    """
    from ringrift_cli.loop.fleet_operations import costs

    out = Output(as_json=as_json, quiet=quiet)
    found = costs(fleet_context(hosts_file))
    days: dict[str, float] = {}
    rows = []
    for row in found["hosts"]:
        dollars = [f"{row[key]:.2f}" for key in ("price", "today", "total")]
        each = row["per_1000_games"]
        rows.append((row["name"], *dollars, row["games"], each and f"${each:.3f}"))
        for day, paid in row["days"].items():
            days[day] = days.get(day, 0.0) + paid
    out.table(rows, ("host", "$/h", "today", "$", "games", "per 1,000 games"))
    if days:
        shown = [f"{day} ${paid:.2f}" for day, paid in sorted(days.items())[-MAX_DAYS:]]
        out.text(f"by day: {', '.join(shown)}")
    out.result(
        found,
        f"${found['today']:.2f} today, ${found['total']:.2f} in total;"
        f" projected at ${found['per_hour']:.2f}/h: ${found['projected_day']:.2f} per day,"
        f" ${found['projected_30_days']:.2f} in 30 days",
    )
    if found["over_budget"]:
        out.error(f"{found['over_budget']}.", "a higher `budget:` in hosts.yaml, or fleet drain")
    failed(found["over_budget"] is not None)


NamesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[HOST]…",
        help="Names of hosts, as a b or a,b.",
        show_default="all enabled hosts",
    ),
]


@app.command()
def deploy(
    names: NamesArgument = None,
    label: LabelOption = None,
    hosts_file: HostsOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Install this ringrift on hosts, in a virtual environment in the work folder of each.

    Dependencies get the locally installed versions, except torch and CUDA, which a host's image
    often has for its driver. Running jobs keep the version with which they were started. A
    deployment succeeds when the host's ringrift reports the same hashes of code, rules and
    actions as the local one.

    \b
    Examples:
      ringrift fleet deploy
      ringrift fleet deploy rented-4090
    """
    from ringrift_cli.fleet.agent.layout import VENV
    from ringrift_cli.loop.fleet_operations import deploy_to
    from ringrift_cli.version import __version__

    out, context = Output(as_json=as_json, quiet=quiet), fleet_context(hosts_file)
    hosts = context.fleet.choose(names or [], label or [])
    if dry_run:
        rows = [{"name": host.name, "work": host.work, "python": host.python} for host in hosts]
        text = "\n".join(f"{host.name}: {host.work}/{VENV}" for host in hosts)
        out.result({"version": __version__, "hosts": rows, "dry_run": True}, text)
        return
    rows = deploy_to(context, hosts, out.note)
    good = [row for row in rows if "error" not in row]
    for row in good:
        version = f"ringrift {row['version']}, code {row['code'][:16]}, rules {row['rules']}"
        out.text(f"{row['name']}: {version}")
    out.result({"version": __version__, "hosts": rows}, "" if good else "no host was deployed")
    for row in rows:
        if "error" in row:
            out.error(row["error"], row["hint"])
    failed(len(good) < len(rows))


@app.command()
def trust(
    names: NamesArgument = None,
    label: LabelOption = None,
    yes: YesOption = False,
    hosts_file: HostsOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show the fingerprints of unknown host keys, ask once, and add the keys to known_hosts.

    Compare them with what the provider of the host shows. Keys of jump hosts come first, then
    those behind them; a key that has changed is never replaced. Exit code 1 if no address of a
    host has a key that is known then.

    \b
    Examples:
      ringrift fleet trust rented-4090
      ringrift fleet trust --dry-run
    """
    from ringrift_cli.fleet.trust import accept, examine

    out, context = Output(as_json=as_json), fleet_context(hosts_file)
    hosts = context.fleet.choose(names or [], label or [])
    rows: list[Row] = []
    while True:
        found = examine(hosts)
        new = [one.document() for one in found.new]
        if not new or any(row in rows for row in new):
            break
        for row in new:
            shown = f"{row['host']} ({row['known_as']}): {row['kind']} {row['fingerprint']}"
            out.note(shown)
        rows += new
        if dry_run:
            break
        out.confirm(f"Trust {counted(len(new), 'new key')}?", yes=yes)
        accept(found.new)
    done = "would be added" if dry_run else "added to known_hosts"
    errors = {name: error.message for name, error in found.errors.items()}
    out.result(
        {"keys": rows, "errors": errors, "dry_run": dry_run},
        f"{counted(len(rows), 'new key')} {done}",
    )
    for error in found.errors.values():
        out.error(error.message, error.hint)
    failed(bool(found.errors) and not dry_run)


ShellArgument = Annotated[
    list[str],
    typer.Argument(metavar="-- COMMAND…", help="Command and arguments, or one shell line."),
]
TimeoutOption = Annotated[
    float, typer.Option("--timeout", min=0.1, metavar="SECONDS", help="Timeout of the command.")
]


@app.command("exec")
def execute(
    command: ShellArgument,
    on: OnOption = None,
    label: LabelOption = None,
    everything: AllOption = False,
    timeout: TimeoutOption = 60.0,
    hosts_file: HostsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a command on hosts; print the output and exit code of each.

    Several arguments are passed to the program unchanged; a single one is a line for the remote
    shell. Exit code 1 if it failed on any host.

    \b
    Examples:
      ringrift fleet exec -- nvidia-smi
      ringrift fleet exec --on desk -- 'du -sh ~/ringrift/*'
    """
    from ringrift_cli.fleet.group import gather
    from ringrift_cli.fleet.probe import shell

    out, context = Output(as_json=as_json), fleet_context(hosts_file)
    line = command[0] if len(command) == 1 else shell(shlex.join(command))

    def work(host: Host) -> dict[str, Any]:
        with context.open(host, agent=False) as client:
            code, *texts = client.run(line, timeout_s=timeout)
        stdout, stderr = (text.decode(errors="replace") for text in texts)
        return {"code": code, "stdout": stdout, "stderr": stderr}

    rows = []
    for answer in gather(chosen(context, on, label, everything), work):
        row = answer.value or {"error": answer.error.message if answer.error else ""}
        rows.append({"name": answer.host.name, **row})
        out.text(f"{answer.host.name}: {row.get('error') or 'exit ' + str(row['code'])}")
        printed = row.get("stdout", "") + row.get("stderr", "")
        out.text("\n".join(f"  {printable(one)}" for one in printed.splitlines()))
    out.result({"command": shlex.join(command), "hosts": rows})
    failed(any(row.get("code") != 0 for row in rows))


UndoOption = Annotated[bool, typer.Option("--undo", help="Allow new jobs again.")]


@app.command()
def drain(
    host: HostArgument,
    undo: UndoOption = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    hosts_file: HostsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Prepare a host for return: stop its jobs, allow no new ones, fetch all games and models.

    After success the host may be returned: every reported file is here, verified by its hash.

    \b
    Examples:
      ringrift fleet drain rented-4090
      ringrift fleet drain rented-4090 --undo
    """
    from ringrift_cli.fleet import jobs
    from ringrift_cli.loop.fleet_operations import drain as drain_host
    from ringrift_cli.loop.sync_session import SyncSession

    out, context = Output(as_json=as_json, quiet=quiet), fleet_context(hosts_file)
    one = context.fleet.one(host)
    if undo:
        if not dry_run:
            jobs.drain(context.state, one.name, undo=True)
        out.result({"name": one.name, "drained": False}, f"{one.name} may get new jobs again")
        return

    def agree(count: int) -> None:
        if count:
            out.confirm(f"Stop {counted(count, 'job')} on {one.name}?", yes=yes)

    active = drain_host(context, one, dry_run=dry_run, agree=agree)
    if dry_run:
        text = f"{one.name}: {counted(len(active), 'job')} would be stopped, all games transferred"
        out.result({"name": one.name, "jobs": active, "dry_run": True}, text)
        return
    session = SyncSession(context, out)
    with stop_requested() as asked:
        session.should_stop = lambda: asked() != 0
        pulled = session.fetch_all([one])
        if asked():
            raise stopped(asked())
    text = (
        f"{one.name}: {counted(len(active), 'job')} stopped,"
        f" {counted(pulled['files'], 'file')} transferred; every reported file is here."
        " Set `enabled: false` in hosts.yaml after returning the machine."
    )
    out.result({"name": one.name, "drained": True, "jobs": len(active), **pulled}, text)
    for note in pulled["notes"]:
        out.note(f"{one.name}: {note}.")


RefetchOption = Annotated[
    bool, typer.Option("--refetch", help="Also fetch the host's files in quarantine again.")
]


@app.command()
def forgive(
    host: HostArgument,
    refetch: RefetchOption = False,
    hosts_file: HostsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Reset a host that was set aside after failures or bad output, so that it is contacted again.

    \b
    Examples:
      ringrift fleet forgive rented-4090
      ringrift fleet forgive rented-4090 --refetch
    """
    from ringrift_cli.fleet import quarantine
    from ringrift_cli.fleet.health import Health

    out, context = Output(as_json=as_json), fleet_context(hosts_file)
    name = context.fleet.one(host).name
    Health(context.state).forgive(name)
    files = quarantine.forget(context.state, name) if refetch else 0
    more = f"; {counted(files, 'file')} will be fetched again" if refetch else ""
    out.result(
        {"name": name, "forgiven": True, "refetch": files}, f"{name} is contacted again{more}"
    )


# ---- jobs ----------------------------------------------------------------------------------------

PerGpuOption = Annotated[
    bool, typer.Option("--per-gpu", help="One job per free GPU instead of one per host.")
]
NameOption = Annotated[
    str | None,
    typer.Option(
        "--name",
        metavar="NAME",
        help="Name of the jobs; an existing job of that name is not started again.",
        show_default="command, board and time",
    ),
]
BudgetOption = Annotated[
    float | None,
    typer.Option(
        "--budget",
        min=0.01,
        metavar="DOLLARS",
        help="Daily spending limit for starting jobs.",
        show_default="budget of hosts.yaml",
    ),
]
CommandArgument = Annotated[
    list[str], typer.Argument(metavar="-- COMMAND…", help="Arguments of `ringrift` on the hosts.")
]


@app.command()
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
    """Start jobs on suitable free hosts; they run independently of this machine.

    Each job has its own folder jobs/NAME on the host, with log and output, and its own seed. Exit
    code 1 if no job was started, or a host failed to start one.

    \b
    Examples:
      ringrift fleet run -- selfplay --board hex8 --hours 8
      ringrift fleet run --label fast --per-gpu --name night -- selfplay --board hex8 --hours 8
      ringrift fleet run --on desk --dry-run -- selfplay --board square8 --games 500
    """
    from ringrift_cli.loop import fleet_operations as operations

    out, context = Output(as_json=as_json, quiet=quiet), fleet_context(hosts_file)
    if budget is not None:
        limits = replace(context.fleet.budget, per_day=budget)
        context = replace(context, fleet=replace(context.fleet, budget=limits))
    hosts = chosen(context, on, label, everything)
    name = name or operations.default_name(command)
    rows, refused = operations.run(context, hosts, command, name, per_gpu=per_gpu, dry_run=dry_run)
    for row in rows:
        gpus = ", ".join(map(str, row["gpus"]))
        text = f"{row['host']}: {row['id']} on {f'GPU {gpus}' if gpus else 'the processor'}"
        out.text(text + (f": {row['outcome']}" if "outcome" in row else ""))
    out.text("\n".join(f"{host}: nothing, {why}" for host, why in refused.items()))
    out.result({"name": name, "placed": rows, "refused": refused, "dry_run": dry_run})
    if not rows:
        out.error("No host can take this job now.", "ringrift fleet status")
    errors = [row["error"] for row in rows if "error" in row]
    for error in errors:
        out.error(error)
    failed(not rows or bool(errors))


FollowOption = Annotated[bool, typer.Option("--follow", "-f", help="Follow until the job ends.")]
WholeOption = Annotated[bool, typer.Option("--whole", help="Whole log instead of its end.")]


@app.command()
def logs(
    job: JobArgument,
    follow: FollowOption = False,
    whole: WholeOption = False,
    hosts_file: HostsOption = None,
) -> None:
    """Print the log of a job from its host.

    \b
    Examples:
      ringrift fleet logs night-desk
      ringrift fleet logs night-desk -f
    """
    from ringrift_cli.fleet.jobs import log
    from ringrift_cli.loop.fleet_operations import host_of

    out, context = Output(), fleet_context(hosts_file)
    host = host_of(context, job)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a part may end within a character
    with stop_requested() as stop, context.open(host) as client:
        tail = None if whole else TAIL
        for part in log(client, job, follow=follow, tail=tail, should_stop=lambda: stop() != 0):
            out.data(printable_lines(decoder.decode(part)))
        code = stop()
    if code:
        raise stopped(code)


JobsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[JOB]…", help="Names of jobs.", show_default=False),
]
AllJobsOption = Annotated[bool, typer.Option("--all", help="All running jobs of all hosts.")]
GraceOption = Annotated[
    float,
    typer.Option("--grace", min=0, metavar="SECONDS", help="Time to write games before SIGKILL."),
]


@app.command()
def stop(
    job: JobsArgument = None,
    everything: AllJobsOption = False,
    on: OnOption = None,
    grace: GraceOption = 30.0,
    hosts_file: HostsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Stop jobs: each writes its games, and is killed after --grace.

    \b
    Examples:
      ringrift fleet stop night-desk
      ringrift fleet stop --all
      ringrift fleet stop --on rented-4090 --grace 5
    """
    from ringrift_cli.loop import fleet_operations as operations

    if not job and not everything and on is None:
        raise UsageError("No jobs given: expected names, --on or --all.")
    if job and (everything or on is not None):
        raise UsageError("Job names, --on and --all exclude each other: expected one of them.")
    out, context = Output(as_json=as_json, quiet=quiet), fleet_context(hosts_file)
    rows: list[dict[str, Any]] = []
    if job:
        wanted = [(operations.host_of(context, name), name) for name in dict.fromkeys(job)]
    else:
        seen = context.look(chosen(context, on, None, everything))
        wanted = [(one.host, found.id) for one in seen for found in one.active]
        silent = [one for one in seen if one.facts is None]
        rows = [{"host": one.host.name, "error": "; ".join(one.trouble)} for one in silent]
    hosts = {host.name for host, _ in wanted}
    out.note(f"Stopping {counted(len(wanted), 'job')} on {counted(len(hosts), 'host')}.")
    rows = [*operations.stop(context, wanted, grace), *rows]
    for row in rows:
        out.text(f"{row.get('id', row['host'])}: {row['error'] or row['state']}")
    out.result({"jobs": rows}, "" if rows else "no jobs")
    failed(any(row["error"] for row in rows))


ElsewhereOption = Annotated[
    str | None,
    typer.Option("--on", metavar="HOST", help="Host for the retry.", show_default="the same"),
]


@app.command()
def retry(
    job: JobArgument,
    on: ElsewhereOption = None,
    hosts_file: HostsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Retry a failed, lost or stopped job: the same command under a new name.

    The output of the first attempt is kept and transferred like any other.

    \b
    Examples:
      ringrift fleet retry night-desk
      ringrift fleet retry night-desk --on rented-4090
    """
    from ringrift_cli.loop import fleet_operations as operations

    row = operations.retry(fleet_context(hosts_file), job, on)
    text = f"{row['host']}: {row['id']} {row['state']}; {job} was {row['was']}"
    Output(as_json=as_json).result(row, text)
