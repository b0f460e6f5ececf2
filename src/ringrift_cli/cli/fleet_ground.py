"""What the commands of `ringrift fleet` and `ringrift sync` stand on: hosts, state, and options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ringrift_cli import settings

if TYPE_CHECKING:
    from ringrift_cli.fleet.hosts import Fleet, Host
    from ringrift_cli.fleet.link import Link
    from ringrift_cli.fleet.status import Ours, Seen
    from ringrift_cli.settings import Config

STATE = "fleet"  # folder within run.folder
TRIES = 2  # to reach a host that is to do something
WORK_DEADLINE = 15.0  # seconds to reach a host that is to do something

HostsOption = Annotated[
    Path | None,
    typer.Option(
        "--hosts",
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


@dataclass(frozen=True)
class Ground:
    """The fleet and where this machine keeps what it knows of it."""

    config: Config
    fleet: Fleet
    state: Path

    def open(self, host: Host, deadline: float) -> Link:
        """A link to a host that must answer within `deadline` seconds."""
        from ringrift_cli.fleet.ssh import open_link

        tries = TRIES if deadline >= WORK_DEADLINE else 1
        return open_link(host, self.state, deadline_s=deadline, attempts=tries)

    def chosen(self, on: str | None, labels: list[str] | None, everything: bool) -> list[Host]:
        """The enabled hosts that the options name, all without any."""
        names = [name.strip() for name in on.split(",")] if on else []
        return self.fleet.choose(names, labels or [], every=everything)

    def look(self, hosts: list[Host], deadline: float | None = None) -> list[Seen]:
        """The hosts as they are now, each within its own deadline if none is given."""
        from ringrift_cli.fleet.status import look

        return look(self.fleet, hosts, self.open, self.state, self.ours, deadline=deadline)

    def ours(self) -> Ours:
        """What this machine has."""
        from ringrift_cli.fleet.status import Ours
        from ringrift_cli.game.version import codec_hash, rules_hash
        from ringrift_cli.nn.registry import Registry
        from ringrift_cli.version import __version__

        registry = Registry(Path(self.config.run.models))
        champions = {}
        for pool in registry.pools():
            history = registry.history(pool)
            if history:
                champions[pool] = history[-1].identity
        return Ours(__version__, rules_hash(), codec_hash(), champions)


def ground(hosts_file: Path | None, config: Config | None = None) -> Ground:
    """Reads hosts.yaml and the settings; `UsageError` for what is wrong there."""
    from ringrift_cli.fleet.hosts import load

    config = config or settings.load()
    return Ground(config, load(hosts_file), Path(config.run.folder) / STATE)


def failed(trouble: bool) -> None:
    """Ends the command with 1 if something went wrong that was told already."""
    if trouble:
        raise typer.Exit(1)


def on_each(
    ground: Ground, hosts: list[Host], act: Callable[[Link, Host], object], deadline: float
) -> Callable[[Host], object]:
    """`act` with a link to the host, for `group.each`."""

    def work(host: Host) -> object:
        with ground.open(host, deadline) as link:
            return act(link, host)

    return work
