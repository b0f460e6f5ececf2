"""The options of commands that follow ringrift.yaml: a flag wins over the environment and the file.

The environment is read by config.py, for every key; so these options name no variable of their own.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from ringrift_cli import settings as config
from ringrift_cli.cli.options import BOARDS, board_name, whole_number
from ringrift_cli.errors import UsageError
from ringrift_cli.settings import Config

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Settings.",
        show_default=f"{config.FILE}, if there is one",
    ),
]
BoardFlag = Annotated[
    str | None,
    typer.Option(
        "--board",
        parser=board_name,
        metavar="NAME",
        help=f"{', '.join(BOARDS[:-1])} or {BOARDS[-1]}.",
        show_default="run.board",
    ),
]
PlayersFlag = Annotated[
    int | None,
    typer.Option(
        "--players",
        parser=whole_number(2, 4),
        metavar="N",
        help="2, 3 or 4.",
        show_default="run.players",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Any setting, as selfplay.sims=32; may be repeated."
    ),
]


def configuration(
    file: Path | None,
    board: str | None = None,
    players: int | None = None,
    settings: list[str] | None = None,
) -> Config:
    """The settings under the flags of a command; `UsageError` for any that cannot be."""
    return config.load(file, environment=os.environ, flags=flags_of(board, players, settings))


def flags_of(board: str | None, players: int | None, settings: list[str] | None) -> dict[str, str]:
    """What a command line says, by key."""
    flags = {}
    for setting in settings or []:
        name, equals, value = setting.partition("=")
        if not equals or "." not in name:
            raise UsageError(
                f"--set {setting}: expected SECTION.KEY=VALUE.", hint="--set selfplay.sims=32"
            )
        flags[name] = value
    if board is not None:
        flags["run.board"] = board
    if players is not None:
        flags["run.players"] = str(players)
    return flags
