"""Options that several commands share, so that they are spelled and explained once.

A flag wins over its `RINGRIFT_*` environment variable, and that over the default.
"""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Annotated

import typer


def available_cores() -> int:
    """Cores that this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0))


class BoardName(StrEnum):
    """The boards, as the command line and its completion name them.

    Listed here too because the module that defines them loads numpy, which `--help` cannot wait for.
    """

    SQUARE8 = "square8"
    SQUARE19 = "square19"
    HEX8 = "hex8"
    HEXAGONAL = "hexagonal"


BoardOption = Annotated[
    BoardName, typer.Option("--board", help="Board to play on.", envvar="RINGRIFT_BOARD")
]
PlayersOption = Annotated[
    int,
    typer.Option(
        "--players", min=2, max=4, metavar="N", help="Players.", envvar="RINGRIFT_PLAYERS"
    ),
]
PieOption = Annotated[
    bool, typer.Option("--pie", help="With the pie rule: seat 2 may swap once (2 players).")
]
SeedOption = Annotated[
    int,
    typer.Option(
        "--seed", min=0, metavar="N", help="The same seed, the same games.", envvar="RINGRIFT_SEED"
    ),
]
JobsOption = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        min=1,
        metavar="N",
        help="Processes.",
        envvar="RINGRIFT_JOBS",
        show_default="all cores",
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout, nothing else.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No notes and no progress.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="More details on stderr.")]
