"""`ringrift report`: an HTML report of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ringrift_cli.cli.options import (
    BoardOption,
    ConfigOption,
    ForceOption,
    JsonOption,
    PlayersOption,
    QuietOption,
    SetOption,
    VerboseOption,
    check_outputs,
    path_option,
)
from ringrift_cli.cli.output import Output
from ringrift_cli.cli.status import RunArgument, run_settings
from ringrift_cli.settings import Run
from ringrift_cli.store.files import write_whole

NAME = "report.html"

OutOption = Annotated[
    Path | None,
    path_option(
        "--out",
        "HTML file to write, also over an earlier report.",
        show_default=f"{NAME} in the folder of the run",
    ),
]


def report(
    context: typer.Context,
    run: RunArgument = None,
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    out_file: OutOption = None,
    config_file: ConfigOption = None,
    settings: SetOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Write a run as one HTML page: Elo, losses, games, the gate's evidence, settings.

    The page is self-contained: it opens offline and can be mailed.

    \b
    Examples:
      ringrift report
      ringrift report --board square8 --players 3 --out square8-3p.html
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    config = run_settings(context, run)
    check_outputs(out_file, force=force)
    out.compile_rules()
    from ringrift_cli.loop.report import page

    text = page(config)
    path = out_file or config.folder / NAME
    write_whole(path, text.encode())
    out.result({"file": path, "bytes": len(text.encode())}, str(path))
