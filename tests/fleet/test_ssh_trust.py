"""Which machines are taken for a host, with which keys we are let in, and over which ways."""

from __future__ import annotations

import getpass
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest
from paramiko.common import AUTH_FAILED, AUTH_SUCCESSFUL, OPEN_SUCCEEDED

from ringrift_cli.errors import HostKeyError, HostUnreachable, NotAdmitted
from ringrift_cli.fleet.hosts import load
from ringrift_cli.fleet.messages import Jobs
from ringrift_cli.fleet.ssh import open_link
from tests.conftest import Ringrift
from tests.fleet.network import LOOPBACK, Listener
from tests.fleet.opening import SOON, at, fails, opened
from tests.fleet.servers import Farm, furnish, make_key
from tests.fleet.stations import Station, install

# ---- host keys -----------------------------------------------------------------------------------


def test_an_unknown_key_is_refused_with_a_command_that_works(
    farm: Farm, here: Station, ringrift: Ringrift
) -> None:
    server = farm.server("desk")
    install(server)
    farm.known_hosts.write_text("# no line end")
    here.know(server)
    furnish(server.work, python="/bin/false")  # an agent would be seen to fail
    for _ in range(4):
        run = ringrift("fleet", "status")
        assert run.code == 1
        assert "is not known: it shows ssh-ed25519 SHA256:" in run.out
        assert "set aside" not in run.out
        assert "  desk: try: ringrift fleet trust desk" in run.out
    install(server)
    run = ringrift("fleet", "trust", "desk")
    assert run.code == 2
    assert "Trust 1 new key? There is no terminal to ask." in run.err
    assert farm.known_hosts.read_text() == "# no line end"
    run = ringrift("fleet", "trust", "desk", "--yes", "--json")
    assert run.code == 0, run.err
    (row,) = json.loads(run.out)["keys"]
    scanned = f"ssh-keyscan -t ed25519 -p {server.port} {LOOPBACK} | ssh-keygen -lf -"
    shown = subprocess.run(scanned, shell=True, check=True, capture_output=True, text=True).stdout
    assert row["fingerprint"] == shown.split()[1]
    assert row["fingerprint"] in run.err
    assert row["known_as"] == f"[{LOOPBACK}]:{server.port}"
    assert ringrift("fleet", "status").code == 0
    run = ringrift("fleet", "trust")
    assert (run.code, run.out) == (0, "0 new keys added to known_hosts\n")


def test_trust_goes_through_jump_hosts_and_keeps_what_has_changed(
    farm: Farm, here: Station, ringrift: Ringrift
) -> None:
    jump, server, other = farm.server("jump"), farm.server("inner"), farm.server("other")
    install(server)
    farm.ssh_config.write_text(
        f"Host inner-box\nHostName {LOOPBACK}\nPort {server.port}\nProxyJump bastion\n"
        f"Host bastion\nHostName {LOOPBACK}\nPort {jump.port}\nIdentityFile {farm.key}\n"
    )
    here.know(server.entry(addresses=["inner-box"]), other)
    farm.known_hosts.write_text(f"[{LOOPBACK}]:{other.port} {jump.public}\n")
    run = ringrift("fleet", "trust", "--yes", "--json")
    assert run.code == 1
    found = json.loads(run.out)
    ports = [row["known_as"].rpartition(":")[2] for row in found["keys"]]
    assert ports == [str(jump.port), str(server.port)]
    assert list(found["errors"]) == ["other"]
    assert "The host key of other" in run.err
    assert "has changed" in run.err
    assert ringrift("fleet", "status", "--on", "inner").code == 0


@pytest.mark.parametrize("where", ["hosts.yaml", "ssh"])
def test_accept_new_takes_a_new_key_and_no_changed_one(farm: Farm, where: str) -> None:
    server = farm.server()
    farm.known_hosts.write_text("")
    if where == "ssh":
        farm.ssh_config.write_text("Host *\nStrictHostKeyChecking accept-new\n")
    host = farm.host(server, **({"host_key": "accept-new"} if where == "hosts.yaml" else {}))
    with opened(host) as client:
        assert client.ask(Jobs()).jobs == []
    assert farm.known_hosts.read_text() == f"[{LOOPBACK}]:{server.port} {server.public}\n"
    server.change_key()
    assert "has changed" in fails(host, error=HostKeyError)


@pytest.mark.parametrize(
    ("principals", "valid", "expected"),
    [
        ("127.0.0.1", "+1h", None),
        ("127.*", "+1h", None),
        ("10.*,gpu", "+1h", "it is for 10.*, gpu, not for 127.0.0.1"),
        ("127.0.0.1", "20200101:20200102", "it has expired or is not valid yet"),
    ],
)
def test_a_host_certificate(farm: Farm, principals: str, valid: str, expected: str | None) -> None:
    for kind in ("ed25519", "rsa"):
        folder = farm.folder / f"signed-{kind}"
        certificate = folder / "host_key-cert.pub"
        server = farm.server(folder.name, more=f"HostCertificate {certificate}")
        authority = farm.folder / f"ca-{kind}"
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", authority], check=True)
        sign = ["ssh-keygen", "-q", "-s", str(authority), "-I", "x", "-h", "-n", principals]
        sign += ["-V", valid]
        subprocess.run([*sign, folder / "host_key.pub"], check=True, capture_output=True)
        server.stop()
        server.start()
        public = authority.with_suffix(".pub").read_text()
        farm.known_hosts.write_text(f"@cert-authority [127.*]:* {public}")
        host = farm.host(server)
        if expected is None:
            with opened(host) as client:
                assert client.ask(Jobs()).jobs == []
        else:
            assert expected in fails(host, error=HostKeyError)
        farm.known_hosts.write_text(f"@cert-authority 10.0.0.1 {public}")
        assert "is not known" in fails(host, error=HostKeyError)
        farm.known_hosts.write_text(f"@cert-authority [127.*]:* {server.public}\n")
        assert "is not known" in fails(host, error=HostKeyError)


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


def test_a_key_file_that_ssh_would_not_use_either(farm: Farm, agent: Path) -> None:
    public = farm.key.with_name(farm.key.name + ".pub")
    server = farm.server()
    host, by_public = (farm.host(server, key=str(key)) for key in (farm.key, public))
    said = fails(by_public, error=NotAdmitted)
    assert f"is a public key that no ssh-agent holds: expected {farm.key.name}" in said
    add(farm.key)
    with opened(by_public) as client:  # names the key of the agent
        assert client.ask(Jobs()).jobs == []
    subprocess.run(["ssh-add", "-q", "-D"], check=True, capture_output=True)
    public.unlink()
    farm.key.chmod(0o640)
    assert f"may be read by others: chmod 600 {farm.key}" in fails(host, error=NotAdmitted)
    farm.key.chmod(0o600)
    with opened(host) as client:
        assert client.ask(Jobs()).jobs == []


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


def test_an_agent_of_the_configuration(
    farm: Farm, agent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = farm.host(farm.server(), key=str(farm.folder / "gone"))
    add(farm.key)
    monkeypatch.delenv("SSH_AUTH_SOCK")
    assert "was not let in" in fails(host, error=NotAdmitted)
    farm.ssh_config.write_text(f"Host *\nIdentityAgent {agent}\n")
    with opened(host) as client:
        assert client.ask(Jobs()).jobs == []
    monkeypatch.setenv("SSH_AUTH_SOCK", str(agent))
    farm.ssh_config.write_text("Host *\nIdentityAgent none\n")
    assert "was not let in" in fails(host, error=NotAdmitted)


class _Open(paramiko.ServerInterface):
    """Admits everybody, without a key, and runs nothing."""

    def check_auth_none(self, username: str) -> int:
        return AUTH_SUCCESSFUL if username == "guest" else AUTH_FAILED

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED


class OpenServer(Listener):
    """An SSH server that admits by the method "none"."""

    def __init__(self, key: Path) -> None:
        self.key = paramiko.PKey.from_path(str(key))
        super().__init__()

    def serve(self, one: socket.socket) -> None:
        transport = paramiko.Transport(one)
        transport.add_server_key(self.key)
        transport.start_server(server=_Open(), event=threading.Event())


def test_a_host_that_asks_for_no_key(farm: Farm) -> None:
    server = farm.server()
    listener = OpenServer(server.folder / "host_key")
    try:
        farm.trust(listener.port, server)
        for user, error in (("guest", HostUnreachable), ("other", NotAdmitted)):
            host = farm.host(server, addresses=at(listener.port), user=user)
            with pytest.raises(error) as caught:
                opened(host)
            assert isinstance(caught.value, NotAdmitted) == (error is NotAdmitted)
    finally:
        listener.close()


def test_what_a_server_asks_for_is_shown(farm: Farm) -> None:
    banner = farm.folder / "banner"
    url = "https://login.example.com/a/0123456789abcdef?x=1&y=2"
    banner.write_text(f"\x1b[31mTo authenticate, visit:\n\n\t{url}\n\x1b[0m")
    server = farm.server(more=f"Banner {banner}")
    make_key(farm.folder / "other")
    host = farm.host(server, key=str(farm.folder / "other"))
    said = fails(host, error=NotAdmitted)
    assert f"it asks to visit {url} " in said
    assert said.isprintable()
    banner.write_text("Ask Eve for access.\n")
    assert "it says 'Ask Eve for access.'" in fails(host, error=NotAdmitted)


def test_known_hosts_of_the_configuration(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    host = farm.host(farm.server())
    monkeypatch.setenv("RINGRIFT_KNOWN_HOSTS", "")
    none = farm.folder / "none"
    for files, known in ((none, False), (f"{none} {farm.known_hosts}", True)):
        farm.ssh_config.write_text(f"Host *\nUserKnownHostsFile {files}\n")
        if known:
            opened(host).close()
        else:
            assert "is not known" in fails(host, error=HostKeyError)


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
