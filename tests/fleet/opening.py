"""Opening links to the servers of a farm, and what is said when that fails."""

from __future__ import annotations

import time

import pytest

from ringrift_cli.errors import HostUnreachable, RingriftError
from ringrift_cli.fleet.client import Client
from ringrift_cli.fleet.hosts import Host
from ringrift_cli.fleet.ssh import open_link
from tests.fleet.network import LOOPBACK

TRIES = 3  # a busy machine is late by chance, a deadline that does not hold every time
SOON = 10.0  # s: far more than it takes, for a machine that is busy


def at(*ports: int) -> list[str]:
    """Addresses of hosts.yaml."""
    return [f"{LOOPBACK}:{port}" for port in ports]


def opened(host: Host, deadline: float = SOON) -> Client:
    """A link, to be closed by whoever asked for it."""
    return open_link(host, None, deadline_s=deadline)


def fails(host: Host, deadline: float = SOON, error: type[RingriftError] = HostUnreachable) -> str:
    """What is said of a host that cannot be reached; it must be said in time."""
    for _ in range(TRIES):
        start = time.monotonic()
        with pytest.raises(error) as caught:
            opened(host, deadline).close()
        if time.monotonic() - start < deadline + 0.5:
            return caught.value.message
    pytest.fail(f"a deadline of {deadline} s passed {TRIES} times: {caught.value.message}")
