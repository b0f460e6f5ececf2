"""Options that several commands share, so that they are spelled and explained once.

A flag wins over its `RINGRIFT_*` environment variable, and that over the default.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from ringrift_cli import settings as config
from ringrift_cli.errors import UsageError

BOARDS = config.BOARDS


def available_cores() -> int:
    """Cores that this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0))


def whole_number(least: int, most: int | None = None) -> Callable[[str | int], int]:
    """A parser for the whole numbers from `least` to `most`, for `typer.Option(parser=...)`."""

    def parse(text: str | int) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least or (most is not None and number > most):
            limit = f"of {least} or more" if most is None else f"from {least} to {most}"
            raise typer.BadParameter(f"{text!r} is not a whole number {limit}.")
        return number

    return parse


def board_name(text: str) -> str:
    """The parser of `--board`."""
    if text not in BOARDS:
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(BOARDS)}.")
    return text


def check_pie(pie: bool, players: int) -> None:
    """`UsageError` for the pie rule with more than two players."""
    if pie and players != 2:
        raise UsageError(f"The pie rule is for 2 players, not {players}.")


def check_picture(path: Path | None) -> None:
    """`UsageError` for a `--plot` of a form that is not drawn."""
    if path is not None and path.suffix not in (".png", ".svg"):
        raise UsageError(f"--plot {path}: expected a name that ends in .png or .svg.")


def _complete_board() -> list[str]:
    return list(BOARDS)


BoardOption = Annotated[
    str,
    typer.Option(
        "--board",
        parser=board_name,
        metavar="NAME",
        help=f"{', '.join(BOARDS[:-1])} or {BOARDS[-1]}.",
        envvar="RINGRIFT_BOARD",
        autocompletion=_complete_board,
    ),
]
PlayersOption = Annotated[
    int,
    typer.Option(
        "--players",
        parser=whole_number(2, 4),
        metavar="N",
        help="2, 3 or 4.",
        envvar="RINGRIFT_PLAYERS",
    ),
]
PieOption = Annotated[
    bool, typer.Option("--pie", help="With the pie rule: seat 2 may swap once (2 players).")
]
SeedOption = Annotated[
    int,
    typer.Option(
        "--seed",
        parser=whole_number(0),
        metavar="N",
        help="The same seed, the same games.",
        envvar="RINGRIFT_SEED",
    ),
]
JobsOption = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        parser=whole_number(1),
        metavar="N",
        help="Processes.",
        envvar="RINGRIFT_JOBS",
        show_default="all cores",
    ),
]
GpusOption = Annotated[
    str,
    typer.Option(
        "--gpus",
        metavar="all|none|0,1",
        help="A process for each GPU; for each core where there is none.",
        envvar="RINGRIFT_GPUS",
    ),
]
ConcurrentOption = Annotated[
    int | None,
    typer.Option(
        "--concurrent",
        parser=whole_number(1),
        metavar="N",
        help="Games at a time in each process.",
        show_default="by ringrift bench selfplay --discover, else 128 on a core, 2048 on a GPU",
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout, nothing else.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No notes and no progress.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="More details on stderr.")]
