"""Links to real SSH servers: over whichever address answers, to the right machine, in time."""

from __future__ import annotations

import getpass
import os
import subprocess
import threading
import time
from pathlib import Path

import pytest

from ringrift_cli.errors import HostUnreachable, RemoteError
from ringrift_cli.fleet import transport
from ringrift_cli.fleet.client import NotDeployed
from ringrift_cli.fleet.hosts import Host
from ringrift_cli.fleet.messages import Have, Jobs, JobStates, Put
from ringrift_cli.fleet.ssh import open_link
from tests.fleet.network import LOOPBACK
from tests.fleet.opening import SOON, TRIES, at, fails, opened
from tests.fleet.servers import Farm, Server, furnish


def nothing_is_left(server: Server) -> bool:
    """Whether nothing that was started over a connection is running; waits a little for it."""
    until = time.monotonic() + 5
    while time.monotonic() < until:
        found = subprocess.run(
            ["pgrep", "-f", f"{server.work} [0-9a-f]{{64}}"], capture_output=True, check=False
        )
        if found.returncode == 1:
            return True
        time.sleep(0.05)
    return False


# ---- a host that is well -------------------------------------------------------------------------


def test_a_link(farm: Farm) -> None:
    server = farm.server()
    with opened(farm.host(server)) as client:
        assert (client.host, client.address) == ("host", f"{LOOPBACK}:{server.port}")
        assert 0 < client.latency_s < 1
        assert client.ask(Jobs()) == JobStates(jobs=[])
    assert nothing_is_left(server)
    with pytest.raises(HostUnreachable, match="the link to it is closed"):
        client.ask(Jobs())


def test_commands_beside_the_agent(farm: Farm) -> None:
    server = farm.server()
    with opened(farm.host(server)) as client:
        assert client.run("echo $HOME; echo oh >&2; exit 3") == (
            3,
            f"{server.home}\n".encode(),
            b"oh\n",
        )
        data = os.urandom(3_000_000)
        assert client.run("cat", data, timeout_s=30) == (0, data, b"")
        assert client.run("cat >&2", data, timeout_s=30) == (0, b"", data)
        assert client.run("true", data) == (0, b"", b"")
        assert client.run("kill -9 $$") == (-1, b"", b"")
        with pytest.raises(HostUnreachable, match=r"did not end a command within 0\.5 s; it may"):
            client.run("sleep 60", timeout_s=0.5)
        assert client.ask(Jobs()).jobs == []


def test_many_hosts_at_once(farm: Farm) -> None:
    hosts = [farm.host(server) for server in farm.servers(12)]
    names: list[str] = []

    def ask(host: Host) -> None:
        with opened(host, 20) as client:
            client.ask(Jobs())
            names.append(client.host)

    threads = [threading.Thread(target=ask, args=(host,)) for host in hosts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(names) == sorted(host.name for host in hosts)


def test_what_login_scripts_print_does_no_harm(farm: Farm) -> None:
    server = farm.server()
    (server.home / ".bashrc").write_text("echo Welcome; printf 'J2\\n{}' ; echo warning >&2\n")
    with opened(farm.host(server)) as client:
        assert client.ask(Jobs()).jobs == []


# ---- addresses -----------------------------------------------------------------------------------


def test_the_next_address_is_used(farm: Farm, capfd: pytest.CaptureFixture[str]) -> None:
    server = farm.server()
    for bad in (farm.dead_port(), farm.silent(), farm.babbler()):
        with opened(farm.host(server, addresses=at(bad, server.port))) as client:
            assert client.address == f"{LOOPBACK}:{server.port}"
            assert client.ask(Jobs()).jobs == []
    assert capfd.readouterr() == ("", "")


def test_the_first_address_is_preferred(farm: Farm) -> None:
    server = farm.server()
    proxies = [farm.proxy(server) for _ in range(2)]
    with opened(farm.host(server, addresses=at(*(proxy.port for proxy in proxies)))) as client:
        assert client.address == f"{LOOPBACK}:{proxies[0].port}"
    assert nothing_is_left(server)


def test_every_address_is_said_to_be_wrong_in_its_own_way(farm: Farm) -> None:
    server = farm.server()
    dead, silent, babbler = farm.dead_port(), farm.silent(), farm.babbler()
    said = fails(
        farm.host(server, addresses=[*at(dead, silent, babbler), "no-such-host.invalid", "a..b"]), 2
    )
    assert "a..b: 'a..b' is no name that a host could have." in said
    assert said.startswith(f"host cannot be reached: {LOOPBACK}:{dead}: connection refused; ")
    assert f"{LOOPBACK}:{silent}: no answer within 2.0 s while waiting for its SSH greeting" in said
    assert f"{LOOPBACK}:{babbler}: it is no SSH server: it said 'HTTP/1.0 400 Bad Request'" in said
    assert "no-such-host.invalid: its name is not known (" in said


@pytest.mark.parametrize(
    ("junk", "expected"),
    [
        (bytes(range(256)) * 100, "it is no SSH server: it said '"),
        (b"SSH-2.0-x\r\n" + bytes(range(256)) * 10, "while exchanging keys."),
        (b"SSH-1.5-old\r\n", "Incompatible version (1.5 instead of 2.0) while exchanging keys."),
    ],
)
def test_something_else_answers(
    farm: Farm, junk: bytes, expected: str, capfd: pytest.CaptureFixture[str]
) -> None:
    host = farm.host(farm.server(), addresses=at(farm.babbler(junk)))
    assert expected in fails(host, 4)
    assert capfd.readouterr() == ("", "")


def test_a_deadline_holds_wherever_it_hangs(farm: Farm) -> None:
    server = farm.server()
    proxy = farm.proxy(server)
    host = farm.host(server, addresses=at(proxy.port))
    opened(host).close()
    first = proxy.passed_down
    with opened(host):
        passed = proxy.passed_down - first
    # Keys, authentication, the agent: how many packets that takes varies a little.
    for stall in (100, passed // 2, passed * 7 // 8):
        proxy.accepted = 0
        proxy.stall_down = stall
        said = fails(host, 1.0)
        assert "no answer within 1.0 s while" in said or "did not come within" in said
        assert proxy.accepted <= TRIES  # one connection for each


def test_a_python_that_hangs(farm: Farm, tmp_path: Path) -> None:
    hanging = tmp_path / "python"
    hanging.write_text("#!/bin/sh\nexec sleep 60\n")
    hanging.chmod(0o755)
    server = farm.server()
    furnish(server.work, python=str(hanging))
    host = farm.host(server)
    start = time.monotonic()
    with pytest.raises(HostUnreachable, match=r"starting the agent|greeting of the agent"):
        opened(host, 1.5)
    assert time.monotonic() - start < 20


# ---- what does not start -------------------------------------------------------------------------


def test_an_agent_that_does_not_start(farm: Farm) -> None:
    server = farm.server()
    furnish(server.work, python="/bin/false")
    with pytest.raises(RemoteError, match="the agent did not start: exit code 1") as caught:
        opened(farm.host(server))
    assert caught.value.hint == "ringrift fleet deploy host"


@pytest.mark.parametrize("work", ["~/none", "/proc/ringrift", "/no such/folder"])
def test_a_host_without_ringrift_is_reached_all_the_same(farm: Farm, work: str) -> None:
    host = farm.host(farm.server(), work=work, python="/no/python")
    with pytest.raises(NotDeployed) as caught:
        opened(host)
    assert caught.value.facts.python is None
    assert caught.value.facts.cores >= 1
    with open_link(host, None, deadline_s=SOON, agent=False) as client:
        assert client.run("echo well")[:2] == (0, b"well\n")


def test_a_shell_that_only_talks(farm: Farm) -> None:
    server = farm.server(more="ForceCommand echo Please log in on the web.")
    with pytest.raises(RemoteError, match=r"it printed 'Please log in on the web\.' and no"):
        opened(farm.host(server))


# ---- links that break ----------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dead connections are noticed after 1 s."""
    monkeypatch.setattr(transport, "PULSE_S", 0.4)
    monkeypatch.setattr(transport, "DEAD_S", 0.6)


def test_a_link_that_is_cut(farm: Farm) -> None:
    server = farm.server()
    proxy = farm.proxy(server)
    client = opened(farm.host(server, addresses=at(proxy.port)))
    proxy.cut()
    with client, pytest.raises(HostUnreachable, match="the link broke before its reply to 'jobs'"):
        client.ask(Jobs())
    assert nothing_is_left(server)


@pytest.mark.usefixtures("impatient")
def test_a_link_that_falls_silent_is_noticed_by_readers(farm: Farm) -> None:
    server = farm.server()
    proxy = farm.proxy(server)
    with opened(farm.host(server, addresses=at(proxy.port))) as client:
        proxy.silent = True
        start = time.monotonic()
        with pytest.raises(HostUnreachable, match="came: no sign of life for 1 s"):
            client.ask(Jobs())
        assert time.monotonic() - start < 5


@pytest.mark.usefixtures("impatient")
def test_a_link_that_falls_silent_is_noticed_by_writers(farm: Farm) -> None:
    server = farm.server()
    proxy = farm.proxy(server)
    with opened(farm.host(server, addresses=at(proxy.port))) as client:
        size = 1 << 30
        client.begin(Put(path="models/x", size=size, sha256="0" * 64, replace=True))
        assert client.receive() == Have(have=0)
        proxy.silent = True
        start = time.monotonic()

        def write() -> None:
            for _ in range(size >> 20):
                client.send_bytes(bytes(1 << 20))

        with pytest.raises(HostUnreachable, match="the link broke before its reply to 'put' came"):
            write()
        assert time.monotonic() - start < 10
    proxy.cut()
    assert nothing_is_left(server)


@pytest.mark.usefixtures("impatient")
def test_a_host_that_is_only_slow_is_waited_for(farm: Farm) -> None:
    server = farm.server()
    proxy = farm.proxy(server)
    with opened(farm.host(server, addresses=at(proxy.port))) as client:
        assert client.run("sleep 1.5; echo done", timeout_s=20) == (0, b"done\n", b"")
        client.limit(0.5)
        with pytest.raises(HostUnreachable, match=r"did not end a command within 0\.5 s"):
            client.run("sleep 3", timeout_s=20)


def test_a_byte_that_is_changed_on_the_way_is_not_taken(farm: Farm) -> None:
    server = farm.server()
    proxy = farm.proxy(server)
    data = os.urandom(2_000_000)
    (server.home / "data").write_bytes(data)
    with opened(farm.host(server, addresses=at(proxy.port))) as client:
        proxy.flip_down = 1_000_000
        with pytest.raises(HostUnreachable, match="the link broke before the end of a command"):
            client.run("cat ~/data")
        assert proxy.flipped == 1


def test_a_server_that_is_killed_and_started_again(farm: Farm) -> None:
    server = farm.server()
    host = farm.host(server)
    with opened(host) as client:
        server.stop()
        with pytest.raises(HostUnreachable, match="the link broke"):
            client.ask(Jobs())
    assert "connection refused" in fails(host)
    threading.Timer(0.3, server.start).start()
    state = farm.folder / "state"
    with open_link(host, state, deadline_s=20, attempts=8) as client:
        assert client.ask(Jobs()).jobs == []
    events = (state / "events.jsonl").read_text()
    assert '"event": "retry"' in events
    assert "connection refused" in events


def test_attempts_share_the_deadline(farm: Farm) -> None:
    server = farm.server()
    silent = farm.silent()
    host = farm.host(server, addresses=at(silent))
    start = time.monotonic()
    with pytest.raises(HostUnreachable, match="no answer within") as caught:
        open_link(host, farm.folder / "state", deadline_s=4, attempts=2)
    assert 3.5 < time.monotonic() - start < 7.5
    assert caught.value.hint == f"ssh -p {silent} {getpass.getuser()}@{LOOPBACK}"
    assert len((farm.folder / "state" / "events.jsonl").read_text().splitlines()) == 1


def test_no_thread_and_no_file_is_left_behind(farm: Farm) -> None:
    server = farm.server()
    dead = farm.dead_port()
    host = farm.host(server, addresses=at(farm.silent(), dead, server.port))
    time.sleep(0.2)  # for those of the tests before

    def counted() -> tuple[int, int]:
        return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))

    before = counted()
    for _ in range(3):
        with opened(host) as client:
            client.ask(Jobs())
        fails(farm.host(server, addresses=at(dead)))
    until = time.monotonic() + 5
    while time.monotonic() < until and counted()[0] > before[0] + 1:
        time.sleep(0.05)
    threads, files = counted()
    assert threads <= before[0] + 1  # the watch over all connections
    assert files <= before[1] + 3  # what the silent port holds
