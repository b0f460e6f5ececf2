"""Many hosts at once: no host waits for another, and every one has an answer."""

from __future__ import annotations

import threading
import time

import pytest

from ringrift_cli.errors import FleetError, HostUnreachable
from ringrift_cli.fleet.group import each, gather
from ringrift_cli.fleet.hosts import Host

HOSTS = [Host(name=name, addresses=("x:22",)) for name in ("a", "b", "c")]


def test_results_and_errors_stand_side_by_side() -> None:
    def act(host: Host) -> str:
        if host.name == "b":
            raise FleetError("b is broken.")
        return host.name.upper()

    found = gather(HOSTS, act)
    assert [answer.host.name for answer in found] == ["a", "b", "c"]
    assert [answer.value for answer in found] == ["A", None, "C"]
    assert found[1].error is not None
    assert found[1].error.message == "b is broken."


def test_a_host_that_hangs_delays_nobody() -> None:
    release = threading.Event()

    def act(host: Host) -> float:
        if host.name == "b":
            release.wait(30)
        return time.monotonic()

    found = list(each(HOSTS, act, within=2.0))
    release.set()
    assert sorted(answer.host.name for answer in found[:2]) == ["a", "c"]
    assert all(answer.seconds < found[2].seconds for answer in found[:2])
    assert isinstance(found[2].error, HostUnreachable)
    assert found[2].error.message.startswith("b did not answer within ")


def test_what_nobody_foresaw_is_raised() -> None:
    def act(_host: Host) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        gather(HOSTS, act)


def test_asked_to_stop_it_stops() -> None:
    release = threading.Event()
    asked = time.monotonic() + 0.3
    found = list(
        each(HOSTS, lambda host: release.wait(30), should_stop=lambda: time.monotonic() > asked)
    )
    release.set()
    assert [type(answer.error) for answer in found] == [HostUnreachable] * 3
