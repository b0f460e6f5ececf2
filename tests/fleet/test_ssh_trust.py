"""Which machines are taken for a host, with which keys we are let in, and over which ways."""

from __future__ import annotations

import getpass
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringrift_cli.errors import HostKeyError, HostUnreachable, NotAdmitted
from ringrift_cli.fleet.hosts import load
from ringrift_cli.fleet.messages import Jobs
from ringrift_cli.fleet.ssh import open_link
from tests.fleet.network import LOOPBACK
from tests.fleet.opening import SOON, at, fails, opened
from tests.fleet.servers import Farm, furnish, make_key

# ---- host keys -----------------------------------------------------------------------------------


def test_an_unknown_key_is_refused_with_commands_that_work(farm: Farm) -> None:
    server = farm.server()
    farm.known_hosts.write_text("")
    host = farm.host(server)
    furnish(server.work, python="/bin/false")  # an agent would be seen to fail
    with pytest.raises(HostKeyError) as caught:
        opened(host)
    furnish(server.work)
    hint = str(caught.value.hint)
    assert "is not known: it shows ssh-ed25519 SHA256:" in caught.value.message
    shows = hint.removeprefix("compare ").split(", then")[0]
    shown = subprocess.run(shows, shell=True, check=True, capture_output=True, text=True).stdout
    assert shown.split()[1] in caught.value.message
    accept = hint.split("accept it: ")[1]
    subprocess.run(accept, shell=True, check=True, capture_output=True)
    with opened(host) as client:
        assert client.ask(Jobs()).jobs == []


def test_a_changed_key_is_refused_whatever_other_addresses_say(farm: Farm) -> None:
    server, other = farm.server(), farm.server("other")
    server.change_key()
    furnish(server.work, python="/bin/false")  # an agent would be seen to fail
    for addresses in (
        at(server.port),
        at(server.port, other.port),
        at(farm.dead_port(), server.port),
    ):
        said = fails(farm.host(server, addresses=addresses), error=HostKeyError)
        assert f"The host key of host ({LOOPBACK}:{server.port}) has changed: it shows" in said
        assert "nothing was sent to it" in said


def test_known_hosts_of_hosts_yaml(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    server = farm.server()
    monkeypatch.setenv("RINGRIFT_KNOWN_HOSTS", "")
    monkeypatch.setenv("HOME", str(farm.folder))
    assert "is not known" in fails(farm.host(server), error=HostKeyError)
    with opened(farm.host(server, known_hosts=str(farm.known_hosts))) as client:
        assert client.ask(Jobs()).jobs == []


# ---- being let in --------------------------------------------------------------------------------


@pytest.fixture
def agent(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The socket of a real ssh-agent that holds no key yet."""
    place = farm.folder / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", place], stdout=subprocess.DEVNULL)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(place))
    try:
        until = time.monotonic() + 10
        while not place.exists():
            assert time.monotonic() < until
            time.sleep(0.01)
        yield place
    finally:
        process.terminate()
        process.wait()


def add(key: Path) -> None:
    subprocess.run(["ssh-add", "-q", key], check=True, capture_output=True)


def test_a_key_that_only_an_agent_has(farm: Farm, agent: Path) -> None:
    host = farm.host(farm.server(), key=str(farm.folder / "gone"))
    add(farm.key)
    farm.key.unlink()
    assert agent.is_socket()
    with opened(host) as client:
        assert client.ask(Jobs()).jobs == []


def test_a_key_with_a_passphrase(farm: Farm, agent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = farm.server(more="MaxAuthTries 2")
    host = farm.host(server)
    for number in range(4):  # the right one must come first, or the server has had enough
        make_key(farm.folder / f"other-{number}")
        add(farm.folder / f"other-{number}")
    add(farm.key)
    secret = ["-N", "secret phrase", "-f", str(farm.key)]
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", *secret], check=True)
    with opened(host) as client:
        assert client.ask(Jobs()).jobs == []
    monkeypatch.delenv("SSH_AUTH_SOCK")
    said = fails(host, error=NotAdmitted)
    assert "client_key needs a passphrase, and no ssh-agent holds it" in said
    assert "secret" not in said
    assert agent.is_socket()


def test_a_key_that_is_not_taken(farm: Farm, agent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = farm.server(more="MaxAuthTries 3")
    make_key(farm.folder / "other")
    host = farm.host(server, key=str(farm.folder / "other"))
    assert "was not let in: it took none of 1 key" in fails(host, error=NotAdmitted)
    for number in range(4):
        make_key(farm.folder / f"other-{number}")
        add(farm.folder / f"other-{number}")
    assert "were too many for it" in fails(host, error=NotAdmitted)
    monkeypatch.delenv("SSH_AUTH_SOCK")
    host = farm.host(server, key=str(farm.folder / "none"))
    assert "none cannot be read (No such file or directory)" in fails(host, error=NotAdmitted)
    assert agent.is_socket()


def test_a_host_that_lets_nobody_in_is_tried_once(farm: Farm) -> None:
    server = farm.server()
    proxy = farm.proxy(server)
    make_key(farm.folder / "other")
    host = farm.host(server, addresses=at(proxy.port), key=str(farm.folder / "other"))
    with pytest.raises(NotAdmitted) as caught:
        open_link(host, farm.folder, deadline_s=SOON, attempts=5)
    assert caught.value.hint == f"ssh -p {proxy.port} {getpass.getuser()}@{LOOPBACK}"
    assert proxy.accepted == 1
    assert not (farm.folder / "events.jsonl").exists()


# ---- ~/.ssh/config -------------------------------------------------------------------------------


def test_an_alias(farm: Farm) -> None:
    server = farm.server()
    farm.ssh_config.write_text(
        f"Host gpu\nHostName {LOOPBACK}\nPort {server.port}\n"
        f"User {getpass.getuser()}\nIdentityFile {farm.key}\n"
    )
    entry = server.entry(addresses=["gpu"])
    del entry["user"]
    path = farm.hosts_yaml([{**entry, "key": "none"}])
    path.write_text(path.read_text().replace('"key": "none",', ""))
    with opened(load(path).hosts[0]) as client:
        assert client.address == "gpu"


def test_a_jump_host(farm: Farm) -> None:
    jump, server = farm.server("jump"), farm.server("inner")
    proxy = farm.proxy(jump)
    farm.ssh_config.write_text(
        f"Host inner-box\nHostName {LOOPBACK}\nPort {server.port}\nProxyJump bastion\n"
        f"Host bastion\nHostName {LOOPBACK}\nPort {proxy.port}\nIdentityFile {farm.key}\n"
    )
    host = farm.host(server, addresses=["inner-box"])
    with opened(host) as client:
        assert client.ask(Jobs()).jobs == []
        assert proxy.passed_down > 2000
        proxy.cut()
        with pytest.raises(HostUnreachable, match="the link broke before its reply to 'jobs' came"):
            client.ask(Jobs())
    server.stop()
    assert "inner-box: Connect failed while connecting through 127.0.0.1" in fails(host)
    server.start()
    jump.change_key()
    assert f"The host key of the jump host {LOOPBACK} has changed" in fails(
        host, error=HostKeyError
    )
    jump.stop()
    assert "inner-box: it closed the connection at once." in fails(host)


def test_a_command_as_carrier(farm: Farm) -> None:
    server = farm.server()
    script = farm.folder / "carry.py"
    script.write_text("""\
import os, socket, sys, threading
there = socket.create_connection((sys.argv[1], int(sys.argv[2])))
def carry(source, sink):
    while data := os.read(source, 65536):
        os.write(sink, data)
threading.Thread(target=carry, args=(there.fileno(), 1), daemon=True).start()
carry(0, there.fileno())
""")
    farm.ssh_config.write_text(f"Host *\nProxyCommand {sys.executable} {script} %h %p\n")
    host = farm.host(server)
    with opened(host) as client:
        assert client.ask(Jobs()).jobs == []
    farm.ssh_config.write_text("Host *\nProxyCommand exit 3\n")
    assert "it closed the connection at once" in fails(host)
    farm.ssh_config.write_text("Host *\nProxyCommand sleep 60\n")
    assert "no answer within 1.0 s while waiting for its SSH greeting" in fails(host, 1.0)
