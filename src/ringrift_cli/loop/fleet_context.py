"""Context of fleet commands: hosts, settings and state folder."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ringrift_cli.errors import UsageError
from ringrift_cli.fleet import cost
from ringrift_cli.fleet.client import Client
from ringrift_cli.fleet.hosts import Fleet, Host, load, stamp_of
from ringrift_cli.fleet.ssh import open_link
from ringrift_cli.fleet.status import Seen, document, last_synced, look
from ringrift_cli.fleet.transfer import TransferMeter, put
from ringrift_cli.fleet.transport import WINDOW
from ringrift_cli.settings import Run
from ringrift_cli.store.hashes import sha256_of_file

if TYPE_CHECKING:
    from ringrift_cli.settings import Config

STATE = "fleet"  # folder within run.folder
CONNECT_ATTEMPTS = 2
SETTLED_S = 1.0  # after which a changed file counts as complete
CONNECT_S = 15.0  # connection timeout for hosts that get jobs
Document = dict[str, Any]


@dataclass(frozen=True)
class FleetContext:
    """Settings, hosts, and the local folder of the fleet's state."""

    config: Config
    fleet: Fleet
    state: Path

    @classmethod
    def load(cls, config: Config, hosts_file: Path | None) -> Self:
        """Reads hosts.yaml; `UsageError` if it is invalid."""
        made = cls(config, load(hosts_file), Path(config.run.folder) / STATE)
        cost.adopt(made.ledger, made.state)
        return made

    @property
    def ledger(self) -> Path:
        """Folder of the cost ledger, beside hosts.yaml: runs that share hosts share it."""
        path = self.fleet.path
        return (path.resolve() if path.is_symlink() else path).parent / Run().folder / STATE

    def reread(self, on_notice: Callable[[str], None] = lambda _: None) -> Self:
        """The same with hosts.yaml as it is now.

        A file that was changed a moment ago is left for later: it may be incomplete. Of one that is
        missing or invalid `on_notice` is told, and the hosts stay.
        """
        path, now = self.fleet.path, stamp_of(self.fleet.path)
        if now == self.fleet.stamp or (now and abs(time.time() - now[-1] / 1e9) < SETTLED_S):
            return self
        try:
            return replace(self, fleet=load(path))
        except UsageError as error:
            on_notice(f"The hosts stay as they were: {error.message}")
            return replace(self, fleet=replace(self.fleet, stamp=now))

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
        return look(
            self.fleet,
            hosts,
            self.open,
            self.state,
            self.champions,
            deadline=deadline,
            ledger_folder=self.ledger,
        )

    def document(self, hosts: list[Host] | None = None, deadline: float | None = None) -> Document:
        """The current status of hosts (all enabled ones by default) and costs, as JSON."""
        seen = self.look(self.fleet.choose() if hosts is None else hosts, deadline)
        ledger, synced = cost.read(self.ledger), last_synced(self.state)
        return document(self.fleet, seen, ledger, synced, time.time())

    def send(self, host: Host, source: Path, path: str) -> None:
        """Sends a small file to a path in the work folder of a host, also over an older one."""
        with self.open(host) as client:
            put(client, source, path, sha256_of_file(source), TransferMeter(), replace=True)

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


def host_costs(config: Config) -> dict[str, tuple[float, float]]:
    """Dollars of today and in all, by host, from the ledger of hosts.yaml; empty without one."""
    try:
        context = FleetContext(config, load(None), Path(config.run.folder) / STATE)
    except UsageError:
        return {}
    today, ledger = cost.day_of(time.time()), cost.read(context.ledger)
    return {name: (account.days.get(today, 0.0), account.total) for name, account in ledger.items()}
