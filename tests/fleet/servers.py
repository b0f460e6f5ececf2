"""Real SSH servers on loopback ports, each with a home of its own.

Nothing outlives the `Farm` that made it.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import secrets
import select
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ringrift_cli.fleet import package
from ringrift_cli.fleet.agent.layout import CODE, IDENTITY, PROVED, VENV
from ringrift_cli.fleet.client import Client
from ringrift_cli.fleet.hosts import Host, load
from tests.fleet.network import LOOPBACK, PATIENCE, Babbler, Listener, Proxy

SSHD = Path("/usr/sbin/sshd")
_given: set[int] = set()  # ports of this process, which may not listen yet
CONFIG = """\
MaxStartups 200
{more}
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
PidFile none
AuthorizedKeysFile {folder}/authorized_keys
StrictModes no
UsePAM no
UseDNS no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
PrintMotd no
PrintLastLog no
MaxSessions 100
LogLevel ERROR
SetEnv HOME={folder}/home RINGRIFT_MACHINE={folder}
Subsystem sftp internal-sftp
"""


def make_key(path: Path) -> str:
    """Writes a new private key and its `.pub`; the latter's kind and key, as in known_hosts."""
    key = Ed25519PrivateKey.generate()
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.OpenSSH,
            serialization.NoEncryption(),
        )
    )
    path.chmod(0o600)
    form = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    public = key.public_key().public_bytes(*form).decode()
    path.with_name(path.name + ".pub").write_text(public + "\n")
    return public


def free_port() -> int:
    """A port that nobody listens on, below those that the system gives to connections."""
    while True:
        port = 15_000 + secrets.randbelow(17_000)
        if port in _given:
            continue
        with contextlib.suppress(OSError), socket.create_server((LOOPBACK, port)):
            _given.add(port)
            return port


def furnish(work: Path, program: str | None = None, python: str = sys.executable) -> None:
    """Lets a host look as if our ringrift was deployed there.

    It runs on `python`; jobs find `program` in its place, a command line, if one is given.
    """
    code = work / f"{CODE}{package.code_hash()}"
    code.parent.mkdir(parents=True, exist_ok=True)
    (code.parent / PROVED).write_text("8")  # GPUs
    (code.parent / IDENTITY).write_text(f'"{secrets.token_hex(8)}"')
    if not code.exists():
        code.symlink_to(package.PACKAGE.parent)
    script = work / VENV / "bin" / "python"
    script.parent.mkdir(parents=True, exist_ok=True)
    own = shlex.quote(python)
    script.write_text(f'#!/bin/sh\n[ "$1" = -I ] && exec {own} "$@"\nexec {program or own} "$@"\n')
    script.chmod(0o755)


class Server:
    """One sshd. `work` is the work folder of its host, `home` the home of whoever logs in."""

    def __init__(self, farm: Farm, name: str, more: str = "") -> None:
        self.name = name
        self.folder = farm.folder / name
        self.home = self.folder / "home"
        self.work = self.home / "ringrift"
        self.port = free_port()
        self.home.mkdir(parents=True)
        furnish(self.work)
        self.public = make_key(self.folder / "host_key")
        self._more = more
        self._process: subprocess.Popen[bytes] | None = None
        (self.folder / "authorized_keys").write_text(farm.public + "\n")
        farm.trust(self.port, self)

    def launch(self) -> None:
        """Starts it, and does not wait until it listens."""
        config = self.folder / "sshd_config"
        config.write_text(CONFIG.format(port=self.port, folder=self.folder, more=self._more))
        with (self.folder / "sshd.log").open("ab") as log:
            self._process = subprocess.Popen(
                [SSHD, "-D", "-e", "-f", config],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": os.environ["PATH"]},
            )

    def wait(self) -> None:
        """Returns when it listens; `AssertionError` with its log if it does not."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            assert self._process is not None
            assert self._process.poll() is None, (self.folder / "sshd.log").read_text()
            with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, self.port), 1):
                return
            time.sleep(0.01)
        raise AssertionError(f"sshd does not listen: {(self.folder / 'sshd.log').read_text()}")

    def start(self) -> None:
        """Starts it on its port, as at first."""
        self.launch()
        self.wait()

    def stop(self, sessions: bool = True) -> None:
        """Ends it, as when the machine goes down: with its connections, unless told otherwise.

        Jobs go on. Harmless if it does not run.
        """
        if self._process is None:
            return
        os.kill(self._process.pid, signal.SIGSTOP)  # or it would take one more connection
        for process in _children(self._process.pid) if sessions else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        self._process = None

    def end(self) -> None:
        """Ends it and everything that was started through it."""
        self.stop()
        marker = b"HOME=" + os.fsencode(self.home)
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if marker in (process / "environ").read_bytes().split(b"\0"):
                    os.kill(int(process.name), signal.SIGKILL)

    def change_key(self) -> None:
        """Gives it another host key, as another machine would have; known_hosts has the old one."""
        self.stop()
        self.public = make_key(self.folder / "host_key")
        self.start()

    def entry(self, **keys: Any) -> dict[str, Any]:
        """Its host in hosts.yaml; `keys` are added or put in place of what is there."""
        return {
            "name": self.name,
            "addresses": [f"{LOOPBACK}:{self.port}"],
            "user": getpass.getuser(),
            "python": sys.executable,
            "work": str(self.work),
            **keys,
        }


def _children(parent: int) -> list[int]:
    """Processes below one, those of all depths that are sshd's own."""
    found: dict[int, list[int]] = {}
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            name, _, rest = (place / "stat").read_text().rpartition(")")
            if "(sshd" in name:
                found.setdefault(int(rest.split()[1]), []).append(int(place.name))
    waiting, below = [parent], []
    while waiting:
        children = found.get(waiting.pop(), [])
        waiting += children
        below += children
    return below


class Farm:
    """Servers and what stands between; a context manager that ends them all.

    It has one key that all servers let in (`key`), and a known_hosts with all of their keys.
    """

    def __init__(self, folder: Path) -> None:
        if not SSHD.exists():
            raise AssertionError(
                f"{SSHD} is missing, which the tests of the fleet need: apt-get install"
                " openssh-server"
            )
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.key = folder / "client_key"
        self.public = make_key(self.key)
        self.known_hosts = folder / "known_hosts"
        self.known_hosts.touch()
        self.ssh_config = folder / "ssh_config"
        self._servers: list[Server] = []
        self._listeners: list[Listener] = []
        self._reserved: list[socket.socket] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends everything that was made here."""
        for listener in self._listeners:
            listener.close()
        for server in self._servers:
            server.end()
        for one in self._reserved:
            one.close()

    def environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Sets this process to know these servers and nothing of the user's own."""
        monkeypatch.setenv("RINGRIFT_KNOWN_HOSTS", str(self.known_hosts))
        monkeypatch.setenv("RINGRIFT_SSH_CONFIG", str(self.ssh_config))
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)

    def servers(self, count: int, prefix: str = "host") -> list[Server]:
        """So many servers, started side by side: host-0, host-1 …"""
        made = [Server(self, f"{prefix}-{number}") for number in range(count)]
        self._servers += made
        for server in made:
            server.launch()
        for server in made:
            server.wait()
        return made

    def server(self, name: str = "host", more: str = "") -> Server:
        """One server; `more` are lines of its sshd_config, which win."""
        made = Server(self, name, more)
        self._servers.append(made)
        made.start()
        return made

    def proxy(self, server: Server) -> Proxy:
        """A proxy before a server, whose key is known under the proxy's port too."""
        made = Proxy(server.port)
        self._listeners.append(made)
        self.trust(made.port, server)
        return made

    def silent(self) -> int:
        """A port that takes connections and says nothing."""
        made = Listener()
        self._listeners.append(made)
        return made.port

    def babbler(self, junk: bytes = b"\x16\x03\x01HTTP/1.0 400 Bad Request\r\n\r\n") -> int:
        """A port that says something else than an SSH server."""
        made = Babbler(junk)
        self._listeners.append(made)
        return made.port

    def dead_port(self) -> int:
        """A port that refuses connections, and goes on to."""
        one = socket.socket()
        one.bind((LOOPBACK, 0))
        self._reserved.append(one)
        return int(one.getsockname()[1])

    def trust(self, port: int, server: Server) -> None:
        """Adds the key of a server under a port to known_hosts."""
        with self.known_hosts.open("a") as file:
            file.write(f"[{LOOPBACK}]:{port} {server.public}\n")

    def hosts_yaml(
        self, hosts: Iterable[Server | dict[str, Any]], path: Path | None = None, **top: Any
    ) -> Path:
        """A hosts.yaml with these hosts: servers, or entries; `top` are keys beside `hosts`."""
        entries = [
            {"key": str(self.key), **(one.entry() if isinstance(one, Server) else one)}
            for one in hosts
        ]
        path = path or self.folder / "hosts.yaml"
        path.write_text(json.dumps({**top, "hosts": entries}, indent=1))  # which is YAML too
        return path

    def host(self, server: Server, **keys: Any) -> Host:
        """The host of a server, as hosts.yaml would give it."""
        path = self.hosts_yaml([server.entry(**keys)], self.folder / f"{server.name}.yaml")
        return load(path).hosts[0]


class ProcessTransport:
    """A `client.Transport` to an agent that is a process of this machine, without SSH."""

    def __init__(self, command: str, env: dict[str, str] | None = None) -> None:
        self._lock = threading.Lock()
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            bufsize=0,
            start_new_session=True,
        )

    def read(self, most: int, within: float) -> bytes:
        """As `client.Transport`."""
        source = self.process.stdout
        assert source is not None
        if not select.select([source], [], [], within)[0]:
            raise TimeoutError
        return os.read(source.fileno(), most)

    def write(self, data: bytes | bytearray | memoryview, within: float) -> None:
        """As `client.Transport`."""
        sink, rest = self.process.stdin, memoryview(data)
        assert sink is not None
        while rest:
            if not select.select([], [sink], [], within)[1]:
                raise TimeoutError
            rest = rest[os.write(sink.fileno(), rest[: select.PIPE_BUF]) :]

    def exit_status(self) -> str | None:
        """As `client.Transport`."""
        try:
            code = self.process.wait(1)
        except subprocess.TimeoutExpired:
            return None
        assert self.process.stderr is not None
        said = self.process.stderr.read().decode().strip().splitlines()
        return f"exit code {code}" + (f", {said[-1]}" if said else "")

    def run(self, command: str, stdin: bytes, within: float) -> tuple[int, bytes, bytes]:
        """As `client.Transport`."""
        try:
            done = subprocess.run(
                ["/bin/sh", "-c", command],
                input=stdin,
                capture_output=True,
                timeout=within,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise TimeoutError from error
        return done.returncode, done.stdout, done.stderr

    def close(self) -> None:
        """As `client.Transport`; the agent must end by itself, as it must when SSH is gone."""
        with self._lock:
            for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
                assert pipe is not None
                pipe.close()
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError("the agent outlives its connection") from None


def local_link(work: Path, *, host: str = "local", env: dict[str, str] | None = None) -> Client:
    """A client of an agent in a process here, whose work folder is `work`."""
    if not (work / VENV).exists():
        furnish(work)
    client = Client(ProcessTransport(package.command(sys.executable, str(work)), env), host=host)
    client.open()
    return client
