"""Context of fleet commands: hosts, settings and state folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ringrift_cli.fleet.client import Client
from ringrift_cli.fleet.hosts import Fleet, Host, load
from ringrift_cli.fleet.ssh import open_link
from ringrift_cli.fleet.status import Seen, look
from ringrift_cli.fleet.transport import WINDOW

if TYPE_CHECKING:
    from ringrift_cli.settings import Config

STATE = "fleet"  # folder within run.folder
CONNECT_ATTEMPTS = 2
CONNECT_S = 15.0  # connection timeout for hosts that get jobs


@dataclass(frozen=True)
class FleetContext:
    """Settings, hosts, and the local folder of the fleet's state."""

    config: Config
    fleet: Fleet
    state: Path

    @classmethod
    def load(cls, config: Config, hosts_file: Path | None) -> Self:
        """Reads hosts.yaml; `UsageError` if it is invalid."""
        return cls(config, load(hosts_file), Path(config.run.folder) / STATE)

    def open(
        self, host: Host, deadline: float = CONNECT_S, window: int = WINDOW, *, agent: bool = True
    ) -> Client:
        """A client of a host that must answer within `deadline` seconds.

        `window` limits the bytes in flight; without `agent` it runs shell commands only.
        """
        attempts = CONNECT_ATTEMPTS if deadline >= CONNECT_S else 1
        return open_link(
            host, self.state, deadline_s=deadline, attempts=attempts, window=window, agent=agent
        )

    def look(self, hosts: list[Host], deadline: float | None = None) -> list[Seen]:
        """The current status of hosts, each within `deadline` seconds or its own."""
        return look(self.fleet, hosts, self.open, self.state, self.champions, deadline=deadline)

    def champions(self) -> dict[str, str]:
        """The champions of this machine by pool."""
        from ringrift_cli.nn.registry import Registry

        registry = Registry(Path(self.config.run.models))
        champions = {}
        for pool in registry.pools():
            history = registry.history(pool)
            if history:
                champions[pool] = history[-1].identity
        return champions
