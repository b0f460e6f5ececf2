"""Hosts that are far, slow, busy, or lose links: limits are of silence, not of distance."""

from __future__ import annotations

import getpass
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ringrift_cli.errors import HostUnreachable
from ringrift_cli.fleet import known_hosts
from ringrift_cli.fleet.health import FAILURES, Health
from ringrift_cli.fleet.messages import AskFacts, Jobs
from ringrift_cli.fleet.ssh import open_link
from tests.conftest import Ringrift, Run
from tests.fleet.network import LOOPBACK
from tests.fleet.opening import SOON, TRIES, at, opened
from tests.fleet.servers import Farm, furnish
from tests.fleet.stations import Station, install, program

SLOW_PYTHON = f'#!/bin/sh\nsleep 1.5\nexec {sys.executable} "$@"\n'


def row(run: Run) -> dict[str, Any]:
    (found,) = json.loads(run.out)["hosts"]
    assert isinstance(found, dict)
    return found


# ---- limits --------------------------------------------------------------------------------------


def test_a_distant_host_answers(farm: Farm, here: Station, ringrift: Ringrift) -> None:
    server = farm.server("far")
    install(server)
    proxy = farm.proxy(server)
    proxy.delay_s = 0.2  # each way
    here.know(server.entry(addresses=at(proxy.port)), deadline=2.5)
    start = time.monotonic()
    run = ringrift("fleet", "status", "--json")
    assert run.code == 0, row(run)["trouble"]
    assert time.monotonic() - start > 2.5


def test_the_limit_of_a_command_is_no_failure_and_is_learned(
    farm: Farm, here: Station, ringrift: Ringrift
) -> None:
    server = farm.server("slow")
    install(server)
    furnish(server.work, python=str(program(server.folder / "python", SLOW_PYTHON)))
    here.know(server, deadline=0.7)
    for _ in range(FAILURES + 1):
        found = row(ringrift("fleet", "status", "--json"))
        assert not found["reached"]
        assert found["set_aside"] is None
    assert row(ringrift("fleet", "status", "--json", "--deadline", "60"))["reached"]
    # a busy machine may be slower than it was when the limit was learned
    assert any(row(ringrift("fleet", "status", "--json"))["reached"] for _ in range(TRIES))


def test_silence_is_a_failure_if_it_is_long(tmp_path: Path) -> None:
    health = Health(tmp_path)
    for silence, aside in ((0.0, False), (2.5, False), (10.0, True), (None, True)):
        for _ in range(FAILURES):
            health.failed(f"host-{silence}", HostUnreachable("it is silent", silence_s=silence))
        assert (health.set_aside(f"host-{silence}") is not None) == aside


def test_limits_begin_with_the_first_packet(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    server = farm.server()
    read = known_hosts.Keys.__init__

    def slowly(*args: Any, **options: Any) -> None:
        time.sleep(5)
        read(*args, **options)

    monkeypatch.setattr(known_hosts.Keys, "__init__", slowly)
    with opened(farm.host(server), 4.9) as client:
        assert client.ask(Jobs()).jobs == []


def test_a_limit_that_is_over_is_said_as_it_was(farm: Farm) -> None:
    with opened(farm.host(farm.server())) as client:
        client.limit(0.2)
        time.sleep(0.3)
        with pytest.raises(HostUnreachable, match=r"did not end a command within 0\.2 s"):
            client.run("true")


# ---- links that are lost -------------------------------------------------------------------------


@pytest.mark.parametrize("lost_at", ["the agent", "the first reply"])
def test_the_next_address_is_used_when_a_link_is_lost_after_authentication(
    farm: Farm, here: Station, ringrift: Ringrift, lost_at: str
) -> None:
    server = farm.server("desk")
    install(server)
    bad, good = farm.proxy(server), farm.proxy(server)
    host = farm.host(server, addresses=at(good.port))
    with open_link(host, None, deadline_s=SOON, agent=False) as shell:
        admitted = good.passed_down
        shell.run("true")
    before = good.passed_down
    with opened(host) as client:
        greeted = good.passed_down - before
        client.ask(AskFacts())
    bad.stall_down = admitted + 100 if lost_at == "the agent" else greeted + 300
    here.know(server.entry(addresses=at(bad.port, good.port)), deadline=6)
    for _ in range(2):
        found = row(ringrift("fleet", "status", "--json"))
        assert found["address"] == at(good.port)[0], found["trouble"]
    assert Health(here.state).lost("desk") == {*at(bad.port)}  # it comes last from then on


# ---- servers with limits -------------------------------------------------------------------------


def test_a_server_that_permits_one_session(farm: Farm) -> None:
    server = farm.server(more="MaxSessions 1")
    with open_link(farm.host(server), None, deadline_s=SOON, agent=False) as client:
        for number in range(8):
            assert client.run(f"echo {number}") == (0, f"{number}\n".encode(), b"")
    with opened(farm.host(server)) as client:
        assert client.ask(Jobs()).jobs == []


def test_a_server_with_too_many_connections_is_asked_again(
    farm: Farm, here: Station, ringrift: Ringrift
) -> None:
    server = farm.server("one", more="MaxStartups 2")
    install(server)
    proxy = farm.proxy(server)
    proxy.delay_s = 0.05
    places = at(proxy.port)
    here.know(*(server.entry(name=f"host-{n}", addresses=places) for n in range(5)))
    run = ringrift("fleet", "status", "--json")
    assert run.code == 0, [row["trouble"] for row in json.loads(run.out)["hosts"]]


def test_a_server_that_is_always_full_is_said_to_be_and_is_no_failure(
    farm: Farm, here: Station, ringrift: Ringrift
) -> None:
    port = farm.babbler(b"Exceeded MaxStartups\r\n")
    here.know({"name": "full", "addresses": at(port)}, deadline=1)
    for _ in range(FAILURES + 1):
        found = row(ringrift("fleet", "status", "--json"))
        assert found["set_aside"] is None
        assert "it has too many connections (Exceeded MaxStartups)" in found["error"]


@pytest.mark.parametrize("by", ["ProxyJump", "ProxyCommand"])
def test_few_connections_at_a_time_wait_for_a_jump_host(
    farm: Farm, here: Station, ringrift: Ringrift, by: str
) -> None:
    jump = farm.server("jump", more="MaxStartups 8")
    inner = farm.server("inner")
    install(inner)
    proxy = farm.proxy(jump)
    proxy.delay_s = 0.05
    own = f"-F {farm.ssh_config} -o UserKnownHostsFile={farm.known_hosts}"
    way = {"ProxyJump": "bastion", "ProxyCommand": f"ssh {own} -W %h:%p bastion"}
    farm.ssh_config.write_text(
        f"Host box-*\nHostName {LOOPBACK}\nPort {inner.port}\n{by} {way[by]}\n"
        f"Host bastion\nHostName {LOOPBACK}\nPort {proxy.port}\nUser {getpass.getuser()}\n"
        f"IdentityFile {farm.key}\n"
    )
    boxes = [f"box-{number}" for number in range(16)]
    here.know(*(inner.entry(name=box, addresses=[box]) for box in boxes), deadline=10)
    run = ringrift("fleet", "status", "--json")
    assert run.code == 0, [row["trouble"] for row in json.loads(run.out)["hosts"]]
    assert proxy.accepted == len(boxes)  # none was refused
