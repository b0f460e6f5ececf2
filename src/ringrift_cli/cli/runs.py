"""`ringrift runs`: list and control runs of the learning loop and of cmaes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ringrift_cli.cli.fleet_options import HostsOption, fleet_context
from ringrift_cli.cli.options import ConfigOption, JsonOption, file_path
from ringrift_cli.cli.output import Output, need_subcommand
from ringrift_cli.errors import UsageError
from ringrift_cli.settings import load
from ringrift_cli.text import ago

if TYPE_CHECKING:
    from ringrift_cli.store.control import Wanted

app = typer.Typer(name="runs", rich_markup_mode=None)

RunArgument = Annotated[
    Path,
    typer.Argument(metavar="RUN", parser=file_path, help="Folder of a run.", show_default=False),
]
OnOption = Annotated[
    str | None,
    typer.Option(
        "--on", metavar="HOST", help="Host of the run; RUN is in its work folder.",
        show_default="this machine",
    ),
]  # fmt: skip


@app.callback(invoke_without_command=True)
def runs(context: typer.Context) -> None:
    """List, pause, resume and stop runs of cycle and cmaes, here and on hosts.

    The process at work reads a file in its run folder, control.json; nothing listens.

    \b
    Examples:
      ringrift runs list
      ringrift runs pause runs/hex8-2p
      ringrift runs resume runs/hex8-2p --on desk
    """
    need_subcommand(context)


@app.command(name="list")
def list_runs(config_file: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the runs in run.folder with their state and last step.

    \b
    Examples:
      ringrift runs list
      ringrift runs list --json
    """
    from ringrift_cli.observe.listing import row_of, runs_in

    out, folder = Output(as_json=as_json), Path(load(config_file).run.folder)
    rows = [row_of(run) for run in runs_in(folder)]
    cells = [
        (row.folder, row.kind, row.state, row.done, row.step, ago(row.time) if row.time else None)
        for row in rows
    ]
    if rows:
        out.table(cells, ("run", "kind", "state", "done", "last step", "when"), drop=("when",))
    out.result({"runs": rows}, "" if rows else f"There is no run in {folder}.")


@app.command()
def show(run: RunArgument, as_json: JsonOption = False) -> None:
    """Show the state of one run; `ringrift status RUN` has the results of a learning loop.

    \b
    Examples:
      ringrift runs show runs/hex8-2p
    """
    from ringrift_cli.observe.listing import row_of

    out, row = Output(as_json=as_json), row_of(run)
    facts = {"kind": row.kind, "state": row.state, "done": row.done, "last step": row.step}
    out.fields({**facts, "when": ago(row.time) if row.time else ""})
    out.result(row)


@app.command()
def pause(
    run: RunArgument,
    on: OnOption = None,
    hosts_file: HostsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Pause a run: its step ends within seconds as for Ctrl-C, the process waits.

    Also a later process waits, until `ringrift runs resume`. Games and steps so far are kept.

    \b
    Examples:
      ringrift runs pause runs/hex8-2p
      ringrift runs pause runs/cmaes/hex8-2p --on desk
    """
    _ask(run, "pause", on, hosts_file, as_json)


@app.command()
def resume(
    run: RunArgument,
    on: OnOption = None,
    hosts_file: HostsOption = None,
    as_json: JsonOption = False,
) -> None:
    """End the pause of a run.

    \b
    Examples:
      ringrift runs resume runs/hex8-2p
    """
    _ask(run, "run", on, hosts_file, as_json)


@app.command()
def stop(
    run: RunArgument,
    on: OnOption = None,
    hosts_file: HostsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop the process at work on a run, as Ctrl-C does; the same command resumes the run.

    \b
    Examples:
      ringrift runs stop runs/hex8-2p
      ringrift runs stop runs/hex8-2p --on desk
    """
    _ask(run, "stop", on, hosts_file, as_json)


def _ask(run: Path, wanted: Wanted, on: str | None, hosts_file: Path | None, as_json: bool) -> None:
    """Writes a request to a run, here or on a host."""
    from ringrift_cli.store import control

    out = Output(as_json=as_json)
    if on is None:
        from ringrift_cli.observe.listing import row_of

        if row_of(run).state == "idle" and wanted == "stop":
            raise UsageError(f"No process works on {run}.", hint="ringrift runs list")
        control.ask(run, wanted)
    else:
        if run.is_absolute():
            raise UsageError(f"{run}: expected a path in the work folder of {on}.")
        context = fleet_context(hosts_file)
        with tempfile.NamedTemporaryFile() as file:
            file.write(control.encoded(wanted))
            file.flush()
            path = f"{run}/{control.CONTROL}"
            context.send(context.fleet.one(on), Path(file.name), path)
    where = f"{run} on {on}" if on else f"{run}"
    action = "resume" if wanted == control.RUN else wanted
    out.result({"run": str(run), "host": on, "asked": wanted}, f"Asked {where} to {action}.")
