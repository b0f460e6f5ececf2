"""The hosts of a fleet together with the settings of a run: what every fleet command works with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ringrift_cli.fleet.channel import WINDOW
from ringrift_cli.fleet.hosts import Fleet, Host, load
from ringrift_cli.fleet.link import Link
from ringrift_cli.fleet.ssh import open_link
from ringrift_cli.fleet.status import Ours, Seen, look

if TYPE_CHECKING:
    from ringrift_cli.settings import Config

STATE = "fleet"  # folder within run.folder
CONNECT_ATTEMPTS = 2
CONNECT_S = 15.0  # timeout for reaching a host that is given work


@dataclass(frozen=True)
class FleetContext:
    """Settings, hosts, and the folder in which this machine keeps the state of the fleet."""

    config: Config
    fleet: Fleet
    state: Path

    @classmethod
    def load(cls, config: Config, hosts_file: Path | None) -> Self:
        """Reads hosts.yaml; `UsageError` for what is wrong there."""
        return cls(config, load(hosts_file), Path(config.run.folder) / STATE)

    def open(self, host: Host, deadline: float = CONNECT_S, window: int = WINDOW) -> Link:
        """A link to a host that must answer within `deadline` seconds.

        `window` limits the bytes in flight.
        """
        attempts = CONNECT_ATTEMPTS if deadline >= CONNECT_S else 1
        return open_link(host, self.state, deadline_s=deadline, attempts=attempts, window=window)

    def look(self, hosts: list[Host], deadline: float | None = None) -> list[Seen]:
        """The current status of hosts, each within `deadline` seconds or its own."""
        return look(self.fleet, hosts, self.open, self.state, self.ours, deadline=deadline)

    def ours(self) -> Ours:
        """Version, rules and champions of this machine."""
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
