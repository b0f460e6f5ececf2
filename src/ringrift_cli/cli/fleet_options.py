"""Options of the commands that work with hosts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ringrift_cli import settings
from ringrift_cli.cli.options import file_path

if TYPE_CHECKING:
    from ringrift_cli.fleet.hosts import Host
    from ringrift_cli.loop.fleet_context import FleetContext
    from ringrift_cli.settings import Config

HostsOption = Annotated[
    Path | None,
    typer.Option(
        "--hosts",
        parser=file_path,
        metavar="FILE",
        help="The hosts.",
        envvar="RINGRIFT_HOSTS",
        show_default="hosts.yaml",
    ),
]
OnOption = Annotated[
    str | None, typer.Option("--on", metavar="NAMES", help="These hosts, as desk,rented-4090.")
]
LabelOption = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="X", help="Hosts with this label; may be repeated."),
]
AllOption = Annotated[
    bool, typer.Option("--all", help="All enabled hosts; so it is without --on and --label.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, only.")]


def _seconds(text: str | float) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= 3600:
        raise typer.BadParameter(f"{text!r} is not a number of seconds from 0 to 3600.")
    return number


DeadlineOption = Annotated[
    float | None,
    typer.Option(
        "--deadline",
        parser=_seconds,
        metavar="S",
        help="Seconds in which a host must answer.",
        show_default="as hosts.yaml says",
    ),
]


def fleet_context(hosts_file: Path | None, config: Config | None = None) -> FleetContext:
    """Reads hosts.yaml and the settings; `UsageError` for what is wrong there."""
    from ringrift_cli.loop.fleet_context import FleetContext

    return FleetContext.load(config or settings.load(), hosts_file)


def chosen_hosts(
    context: FleetContext, on: str | None, labels: list[str] | None, everything: bool
) -> list[Host]:
    """The enabled hosts that the options name; without any, all."""
    names = [name.strip() for name in on.split(",")] if on else []
    return context.fleet.choose(names, labels or [], every=everything)


def failed(trouble: bool) -> None:
    """Exit code 1 for a failure that was reported already."""
    if trouble:
        raise typer.Exit(1)
