"""`ringrift fleet deploy|exec|drain|forgive`: the hosts themselves."""

from __future__ import annotations

import shlex
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

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
from ringrift_cli.cli.fleet_text import plain
from ringrift_cli.cli.options import JsonOption, QuietOption
from ringrift_cli.cli.output import Output, counted, stop_requested, stopped
from ringrift_cli.errors import UsageError

if TYPE_CHECKING:
    from ringrift_cli.fleet.client import Client
    from ringrift_cli.fleet.hosts import Host
    from ringrift_cli.fleet.messages import JobState
    from ringrift_cli.loop.fleet_context import FleetContext

DRAIN_SECONDS = 60.0  # that a job of a drained host may take to write what it has in hand

NamesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[HOST]…", help="Their names.", show_default="all")
]
HostArgument = Annotated[str, typer.Argument(metavar="HOST", help="Its name.")]


def add_to(app: typer.Typer) -> None:
    """Adds the commands to the group."""
    for command in (deploy, drain, forgive):
        app.command()(command)
    app.command("exec")(execute)


def deploy(
    names: NamesArgument = None,
    label: LabelOption = None,
    hosts_file: HostsOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Put this ringrift on hosts, each in a virtual environment in its work folder.

    The packages that it needs get the versions that are installed here, but torch and CUDA, which
    a host's image often has for its driver. Running jobs keep the version that they began with. It
    is done when the host's own ringrift has shown that its code, rules and actions are ours.

    \b
    Examples:
      ringrift fleet deploy
      ringrift fleet deploy rented-4090
    """
    from ringrift_cli.fleet.agent.layout import VENV
    from ringrift_cli.version import __version__

    out = Output(as_json=as_json, quiet=quiet)
    base = fleet_context(hosts_file)
    hosts = base.fleet.choose(names or [], label or [])
    if dry_run:
        told = [{"name": host.name, "work": host.work, "python": host.python} for host in hosts]
        text = "\n".join(f"{host.name}: {host.work}/{VENV}" for host in hosts)
        out.result({"version": __version__, "hosts": told, "dry_run": True}, text)
        return
    rows = _deploy(out, base, hosts)
    good = [row for row in rows if "error" not in row]
    text = "\n".join(
        f"{row['name']}: ringrift {row['version']}, code {row['code'][:16]}, rules {row['rules']}"
        for row in good
    )
    out.result({"version": __version__, "hosts": rows}, text or "no host has it now")
    failed(len(good) < len(rows))


def _deploy(out: Output, base: FleetContext, hosts: list[Host]) -> list[dict[str, Any]]:
    """Deploys to all hosts at once; what became of each."""
    from ringrift_cli.fleet import deploy as stage
    from ringrift_cli.fleet.group import each
    from ringrift_cli.fleet.health import log_event
    from ringrift_cli.game.version import codec_hash, rules_hash

    rows = []
    expected = {"rules": rules_hash(), "codec": codec_hash()}

    def work(host: Host) -> dict[str, Any]:
        return stage.deploy(
            lambda agent: base.open(host, agent=agent),
            host,
            expected,
            lambda step: out.note(f"{host.name}: {step}"),
        )

    for answer in each(hosts, work):
        name, error = answer.host.name, answer.error
        if answer.value is not None:
            rows.append({"name": name, "seconds": round(answer.seconds, 1), **answer.value})
            log_event(base.state, "deployed", name, f"ringrift {answer.value['version']}")
        elif error is not None:
            rows.append({"name": name, "error": error.message, "hint": error.hint})
            log_event(base.state, "deploy failed", name, error.message)
            out.error(error.message, error.hint)
    return rows


CommandArgument = Annotated[
    list[str], typer.Argument(metavar="-- COMMAND…", help="One word is a line for the shell.")
]
TimeoutOption = Annotated[
    float, typer.Option("--timeout", min=0.1, metavar="S", help="Seconds that it may take.")
]


def execute(
    command: CommandArgument,
    on: OnOption = None,
    label: LabelOption = None,
    everything: AllOption = False,
    timeout: TimeoutOption = 60.0,
    hosts_file: HostsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a command on hosts; print the output and the exit code of each.

    Several words reach the program as they are; a single one is a line for the shell there. Exit
    code 1 if it failed anywhere.

    \b
    Examples:
      ringrift fleet exec -- nvidia-smi
      ringrift fleet exec --on desk -- 'du -sh ~/ringrift/*'
    """
    from ringrift_cli.fleet.group import gather

    out = Output(as_json=as_json)
    base = fleet_context(hosts_file)
    line = command[0] if len(command) == 1 else shlex.join(command)

    def work(host: Host) -> dict[str, Any]:
        with base.open(host, agent=False) as client:
            code, said, complained = client.run(line, timeout_s=timeout)
        stdout, stderr = said.decode(errors="replace"), complained.decode(errors="replace")
        return {"code": code, "stdout": stdout, "stderr": stderr}

    rows = []
    for answer in gather(chosen_hosts(base, on, label, everything), work):
        found = answer.value or {"error": answer.error.message if answer.error else ""}
        rows.append({"name": answer.host.name, **found})
    out.result({"command": line, "hosts": rows}, "\n".join(_said(row) for row in rows))
    failed(any(row.get("code") != 0 for row in rows))


def _said(row: dict[str, Any]) -> str:
    if "error" in row:
        return f"{row['name']}: {row['error']}"
    lines = [plain(line) for line in (row["stdout"] + row["stderr"]).splitlines()]
    return "\n".join([f"{row['name']}: exit {row['code']}", *(f"  {line}" for line in lines)])


UndoOption = Annotated[bool, typer.Option("--undo", help="Let it have work again.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def drain(
    host: HostArgument,
    undo: UndoOption = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    hosts_file: HostsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Empty a host before it is given back: no new jobs, those it has end, their games come here.

    It may be given back once this says so: every shard that it reported is here under its hash.

    \b
    Examples:
      ringrift fleet drain rented-4090
      ringrift fleet drain rented-4090 --undo
    """
    from ringrift_cli.fleet import jobs
    from ringrift_cli.loop.sync_session import SyncSession

    out = Output(as_json=as_json, quiet=quiet)
    base = fleet_context(hosts_file)
    one = base.fleet.choose([host])[0]
    if undo:
        if not dry_run:
            jobs.drain(base.state, one.name, undo=True)
        out.result({"name": one.name, "drained": False}, f"{one.name} may have work again")
        return
    with base.open(one) as client:
        active = _active(client)
        if dry_run:
            text = f"{one.name}: {counted(len(active), 'job')} would be stopped, all games pulled"
            out.result({"name": one.name, "jobs": active, "dry_run": True}, text)
            return
        if active and not yes:
            _ask(one.name, len(active))
        with jobs.placing(base.state, [one.name]):
            jobs.drain(base.state, one.name)
        active = _active(client)  # with those that were just being started
        _end(client, [job.id for job in active])
    session = SyncSession(base, out)
    with stop_requested() as asked:
        session.should_stop = lambda: asked() != 0
        pulled = session.fetch_all([one])
        if asked():
            raise stopped(asked())
    text = (
        f"{one.name}: {counted(len(active), 'job')} stopped,"
        f" {counted(pulled['files'], 'file')} pulled; all it reported is here."
        " Set `enabled: false` in hosts.yaml once you have given it back."
    )
    out.result({"name": one.name, "drained": True, "jobs": len(active), **pulled}, text)


def _active(client: Client) -> list[JobState]:
    from ringrift_cli.fleet.jobs import states

    return [job for job in states(client) if job.active]


def _ask(name: str, jobs: int) -> None:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(f"{name} runs {counted(jobs, 'job')}.", hint="--yes to stop them")
    typer.confirm(f"Stop {counted(jobs, 'job')} on {name}?", abort=True, err=True)


def _end(client: Client, identities: list[str]) -> None:
    """Stops jobs, and waits until they have ended."""
    from ringrift_cli.errors import RemoteError
    from ringrift_cli.fleet import jobs

    for identity in identities:
        jobs.stop(client, identity, grace=DRAIN_SECONDS)
    until = time.monotonic() + DRAIN_SECONDS + 5.0
    for identity in identities:
        found = jobs.wait(client, identity, max(until - time.monotonic(), 0.0))
        if found.active:
            raise RemoteError(
                f"{client.host}: {identity} is still {found.state}; nothing was pulled."
            )


def forgive(
    host: HostArgument, hosts_file: HostsOption = None, as_json: JsonOption = False
) -> None:
    """Ask a host again that was set aside, because it failed or sent what was not right.

    \b
    Example:
      ringrift fleet forgive rented-4090
    """
    from ringrift_cli.fleet.health import Health

    base = fleet_context(hosts_file)
    one = base.fleet.choose([host])[0]
    Health(base.state).forgive(one.name)
    out = Output(as_json=as_json)
    out.result({"name": one.name, "forgiven": True}, f"{one.name} is asked again")
