"""Options of the commands that work with hosts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ringrift_cli import settings
from ringrift_cli.cli.options import file_path

if TYPE_CHECKING:
    from ringrift_cli.cli.output import Output
    from ringrift_cli.evaluate.runner import GameRunner
    from ringrift_cli.loop.fleet_context import FleetContext
    from ringrift_cli.settings import Config

HostsOption = Annotated[
    Path | None,
    typer.Option(
        "--hosts",
        parser=file_path,
        metavar="FILE",
        help="Hosts file.",
        envvar="RINGRIFT_HOSTS",
        show_default="hosts.yaml",
    ),
]
GamesOnFleetOption = Annotated[
    bool, typer.Option("--fleet", help="Games on the hosts of hosts.yaml, over SSH.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, only.")]


def fleet_context(hosts_file: Path | None, config: Config | None = None) -> FleetContext:
    """Reads hosts.yaml and the settings; `UsageError` for what is wrong there."""
    from ringrift_cli.loop.fleet_context import FleetContext

    return FleetContext.load(config or settings.load(), hosts_file)


@contextmanager
def game_runner(out: Output, fleet: bool, hosts_file: Path | None) -> Iterator[GameRunner]:
    """Who plays the games of a command: the hosts, or this machine."""
    from ringrift_cli.evaluate.runner import HERE

    if not fleet:
        yield HERE
        return
    from ringrift_cli.loop.fleet_workers import fleet_runner

    with fleet_runner(fleet_context(hosts_file), out.note) as runner:
        yield runner


def failed(trouble: bool) -> None:
    """Exit code 1 for a failure that was reported already."""
    if trouble:
        raise typer.Exit(1)
