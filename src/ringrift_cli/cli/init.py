"""`ringrift init`: writes the commented settings file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ringrift_cli.cli.options import (
    BoardOption,
    JsonOption,
    PlayersOption,
    QuietOption,
    SetOption,
    check_folder,
    flags_of,
    path_option,
)
from ringrift_cli.cli.output import Output, counted
from ringrift_cli.settings import FILE, Run, commented, made, reference
from ringrift_cli.store.files import write_whole

OutOption = Annotated[Path, path_option("--out", "Written file.")]
ReferenceOption = Annotated[
    bool, typer.Option("--reference", help="Print docs/settings.md instead.")
]
YesOption = Annotated[
    bool, typer.Option("--yes", "--force", help="Replacement of a file without a question.")
]


def init(
    context: typer.Context,
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    settings: SetOption = None,
    out_file: OutOption = FILE,
    yes: YesOption = False,
    as_reference: ReferenceOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write ringrift.yaml: every setting with its default and description.

    The file is optional. Settings can also be given as RINGRIFT_<SECTION>_<KEY> in the environment,
    or with --set on the command line.

    \b
    Examples:
      ringrift init
      ringrift init --board square8 --players 3 --set selfplay.sims=32
      ringrift init --out other.yaml --yes
    """
    out = Output(as_json=as_json, quiet=quiet)
    if as_reference:
        out.result({"reference": reference()}, reference())
        return
    # Values of a settings file or the environment apply without being written again.
    chosen = made(flags_of(context))
    check_folder(out_file)
    if out_file.exists():
        lines = counted(len(out_file.read_bytes().splitlines()), "line")
        out.confirm(f"Replace {out_file}, {lines}?", yes=yes)
    write_whole(out_file, commented(chosen).encode())
    out.result({"file": str(out_file), "settings": chosen.document()}, f"{out_file}")
    out.note("Now: ringrift cycle")
