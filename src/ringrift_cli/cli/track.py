"""`ringrift track`: runs in experiment trackers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from ringrift_cli.cli.options import (
    ConfigOption,
    JsonOption,
    QuietOption,
    file_path,
    setting,
)
from ringrift_cli.cli.output import Output, counted, stop_requested, stopped
from ringrift_cli.errors import UsageError
from ringrift_cli.settings import Run, load

TICK_S = 0.2

RunsArgument = Annotated[
    list[Any] | None,
    typer.Argument(
        metavar="[RUN]…",
        parser=file_path,
        help="Folders of runs of cycle, cmaes or train; default: that of run.folder and --board.",
        show_default=False,
    ),
]
ToOption = Annotated[
    str, setting("run.report_to", "--to", metavar="mlflow:URI|wandb:PROJECT|tensorboard:DIR")
]
FollowOption = Annotated[
    bool, typer.Option("--follow", "-f", help="Report new steps as they come, until Ctrl-C.")
]


def track(
    runs: RunsArgument = None,
    to: ToOption = Run.report_to,
    follow: FollowOption = False,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Report runs to an experiment tracker: settings, metrics, files, models that became champion.

    Reads the journals of the runs, finished or not, and adds what the tracker lacks: a repeated
    call changes nothing. MLflow is a server or a folder; credentials come from its own environment
    variables, as MLFLOW_TRACKING_TOKEN and WANDB_API_KEY. With run.report_to in ringrift.yaml the
    cycle and cmaes commands report every step themselves.

    \b
    Examples:
      ringrift track --to tensorboard:runs/tensorboard
      ringrift track runs/hex8-2p runs/cmaes/hex8-2p --to mlflow:http://localhost:5000
      ringrift track --to mlflow:file:mlruns --follow
    """
    from ringrift_cli.observe import tracking
    from ringrift_cli.observe.runs import observe
    from ringrift_cli.observe.trackers import TARGETS, check_target

    out = Output(as_json=as_json, quiet=quiet)
    if to == Run.report_to:
        raise UsageError(f"Expected --to {TARGETS}.", hint="ringrift track --help")
    check_target(to)
    folders: list[Path] = runs or [load(config_file).folder]
    found = {str(folder): observe(folder) for folder in folders}
    if not follow:
        new = tracking.report(folders, to)
        rows = [(run, new[run], len(found[run].points)) for run in new]
        out.table(rows, ("run", "new", "values"))
        out.result({"to": to, "new": new})
        return
    with stop_requested() as asked:

        def wait(seconds: float) -> bool:
            until = time.monotonic() + seconds
            while not asked() and time.monotonic() < until:
                time.sleep(TICK_S)
            return bool(asked())

        def on_new(count: int) -> None:
            out.note(f"{to}: {counted(count, 'new value')}.")

        tracking.follow(folders, to, on_new, out.error, wait)
        out.result({"to": to})
        raise stopped(asked())
