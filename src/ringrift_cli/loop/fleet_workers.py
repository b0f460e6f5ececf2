"""Workers for games of tuning and matches on the hosts of hosts.yaml, over SSH."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ringrift_cli.errors import BadOutput, FleetError, HostUnreachable
from ringrift_cli.evaluate.distributed import DistributedRunner
from ringrift_cli.evaluate.runner import GameRunner
from ringrift_cli.fleet import messages
from ringrift_cli.fleet.client import Client
from ringrift_cli.fleet.hosts import Host
from ringrift_cli.fleet.transfer import TransferMeter, put
from ringrift_cli.loop.fleet_context import FleetContext
from ringrift_cli.loop.on_fleet import Permission, ready_hosts
from ringrift_cli.runtime.task_pool import Task, TaskPool
from ringrift_cli.store.hashes import sha256_of_file
from ringrift_cli.text import counted

MODULE = "ringrift_cli.evaluate.worker"


class FleetWorker:
    """`task_pool.TaskWorker` on a host: its agent keeps a process that plays."""

    def __init__(
        self, host: Host, open_client: Callable[[Host], Client], permission: Permission
    ) -> None:
        self.name = host.name
        self._host, self._open, self._permission = host, open_client, permission
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._closed = False
        self._sent: set[str] = set()

    def open(self) -> None:
        """See `TaskWorker`; `FleetError` for a host that may not work now."""
        why = self._permission.refuse(self._host)
        if why is not None:
            raise HostUnreachable(f"{self.name} may not work: {why}.")
        if self._client is not None:
            return
        client = self._open(self._host)
        self._sent.clear()
        with self._lock:
            if not self._closed:
                self._client = client
        if self._closed:
            client.close()

    def perform(self, task: Task) -> bytes:
        """See `TaskWorker`."""
        client = self._client
        if client is None:
            raise HostUnreachable(f"{self.name}: the link to it is closed.")
        try:
            for there, path in task.files.items():
                if there not in self._sent:
                    put(client, path, there, sha256_of_file(path), TransferMeter(), replace=True)
                    self._sent.add(there)
            asked = messages.Perform(module=MODULE, task=task.payload.decode())
            return client.ask(asked).result.encode()
        except UnicodeError as error:
            raise BadOutput(f"{self.name}: its result is not valid Unicode text.") from error
        except FleetError as error:
            if isinstance(error, HostUnreachable) or getattr(error, "kind", "") != "worker":
                client.close()
                self._client = None
            raise

    def close(self) -> None:
        """See `TaskWorker`."""
        with self._lock:
            self._closed = True
            client, self._client = self._client, None
        if client is not None:
            client.close()


@contextmanager
def fleet_runner(context: FleetContext, on_notice: Callable[[str], None]) -> Iterator[GameRunner]:
    """Plays games on all hosts that can take jobs; `FleetError` if there is none at the start."""
    hosts, absent = ready_hosts(context, context.fleet.choose())
    for name, why in sorted(absent.items()):
        on_notice(f"{name} plays no games: {why}")
    if not hosts:
        raise FleetError("No host of the fleet can play.", hint="ringrift fleet status")
    permission = Permission(lambda: context)
    workers = [FleetWorker(host, context.open, permission) for host in hosts]
    names = ", ".join(host.name for host in hosts)
    on_notice(f"Games are played on {counted(len(hosts), 'host')}: {names}.")
    with TaskPool(workers, on_notice) as pool:
        yield DistributedRunner(pool)
