"""Connection parameters that `ssh ADDRESS` would use, as `ssh -G` prints them.

So `Include`, `Match` and everything else in ~/.ssh/config and /etc/ssh/ssh_config means what it
means to OpenSSH, and what OpenSSH refuses is refused here with its words.
"""

from __future__ import annotations

import getpass
import os
import re
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ringrift_cli.errors import UsageError
from ringrift_cli.text import printable

VARIABLE = "RINGRIFT_SSH_CONFIG"
FILE = Path("~/.ssh/config")
SYSTEM = Path("/etc/ssh/ssh_config")
DEFAULT_KEYS = (
    "id_rsa",
    "id_ecdsa",
    "id_ecdsa_sk",
    "id_ed25519",
    "id_ed25519_sk",
    "id_xmss",
    "id_dsa",
)
KNOWN_HOSTS = ("known_hosts", "known_hosts2")
DEEPEST = 8  # nesting of ProxyJump
SECONDS = 30.0  # for ssh -G, which may run the command of a `Match exec`
SOCKET = "SSH_AUTH_SOCK"


@dataclass(frozen=True)
class Target:
    """Connection parameters of a host."""

    host: str
    port: int
    user: str
    keys: tuple[Path, ...]  # private keys to offer; may not exist
    only_keys: bool = False  # IdentitiesOnly
    agent: Path | None = None  # socket of ssh-agent
    alias: str | None = None  # name in known_hosts
    known_hosts: tuple[Path, ...] = ()  # of the user, then of the system; may not exist
    accept_new: bool = False  # whether an unknown host key is accepted
    jumps: tuple[Target, ...] = ()  # jump hosts in order
    command: str | None = None  # ProxyCommand of the first connection


class SshConfig:
    """The configuration of ssh, or the file of RINGRIFT_SSH_CONFIG alone.

    Without such a file nothing is asked; `UsageError` if there is one and no `ssh` to read it.
    """

    def __init__(self) -> None:
        given = os.environ.get(VARIABLE)
        self.path = Path(given or FILE).expanduser()
        self._file = ["-F", str(self.path)] if given else []
        self._exists = self.path.exists() or (not given and SYSTEM.exists())
        if self._exists and shutil.which("ssh") is None:
            raise UsageError(
                f"{self.path if self.path.exists() else SYSTEM} is read by `ssh -G`, and there is"
                " no ssh.",
                hint="apt-get install openssh-client",
            )

    def target(
        self,
        host: str,
        port: int | None = None,
        user: str | None = None,
        key: Path | None = None,
        depth: int = 0,
    ) -> Target:
        """Parameters of a host; the arguments override the file. `UsageError` if invalid."""
        options = self._looked_up(host, port, user) if self._exists else {}
        name = options.get("hostname", [host])[0]
        found = int(options["port"][0]) if "port" in options else port or 22
        login = options.get("user", [user or getpass.getuser()])[0]
        alias = options.get("hostkeyalias", [None])[0]
        tokens = {
            "h": name, "n": host, "p": str(found), "r": login, "u": getpass.getuser(),
            "d": str(Path.home()), "k": alias or host, "l": socket.gethostname(),
            "L": socket.gethostname().partition(".")[0], "i": str(os.getuid()), "%": "%",
        }  # fmt: skip
        command = options.get("proxycommand", [None])[0]
        chain: list[Target] = []
        if "proxyjump" in options:
            if depth == DEEPEST:
                raise UsageError(f"{self.path}, Host {host}: ProxyJump leads in a circle.")
            hops = options["proxyjump"][0].split(",")
            chain = [self._jump(host, one.strip(), depth) for one in hops]
            chain = [*chain[0].jumps, *chain]
        named = [self._expanded(host, one, tokens) for one in options.get("identityfile", ())]
        keys = [Path(one).expanduser() for one in named if one.lower() != "none"]
        folder = FILE.expanduser().parent
        usual = () if "identityfile" in options else tuple(folder / one for one in DEFAULT_KEYS)
        return Target(
            host=name,
            port=found,
            user=login,
            keys=(key,) if key else (*keys, *usual),
            only_keys=key is None and options.get("identitiesonly") == ["yes"],
            agent=self._agent(host, options.get("identityagent", [SOCKET])[0], tokens),
            alias=alias,
            known_hosts=self._known_hosts(host, options, tokens),
            accept_new=options.get("stricthostkeychecking") in (["accept-new"], ["false"]),
            jumps=tuple(chain),
            command=chain[0].command
            if chain
            else command and self._expanded(host, command, tokens),
        )

    def _jump(self, host: str, text: str, depth: int) -> Target:
        """A hop of ProxyJump: [user@]host[:port], which may have an entry of its own."""
        user, _, place = text.removeprefix("ssh://").rpartition("@")
        name, port = place, ""
        if place.startswith("["):
            name, _, port = place[1:].partition("]")
            port = port.removeprefix(":")
        elif place.count(":") == 1:
            name, _, port = place.partition(":")
        if not name or name.startswith("-") or (port and not port.isdigit()):
            raise UsageError(f"{self.path}, Host {host}: ProxyJump to {text!r} leads nowhere.")
        return self.target(name, int(port) if port else None, user or None, depth=depth + 1)

    def _looked_up(self, host: str, port: int | None, user: str | None) -> dict[str, list[str]]:
        """The options of ssh by name in lower case; several values of those given repeatedly."""
        command = ["ssh", *self._file, "-T", "-G"]
        command += [] if port is None else ["-p", str(port)]
        command += [] if user is None else ["-l", user]
        try:
            done = subprocess.run(
                [*command, host],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            why = f"`ssh -G {host}` takes longer than {SECONDS:.0f} s"
            raise UsageError(f"{self.path} cannot be read: {why}.") from error
        if done.returncode:
            lines = done.stderr.decode(errors="replace").replace("\r", "").splitlines()
            why = "; ".join(printable(line).rstrip(".") for line in lines[:3]) or "ssh -G failed"
            raise UsageError(f"{self.path} cannot be read for {host}: {why}.", f"ssh -G {host}")
        found: dict[str, list[str]] = {}
        for line in done.stdout.decode(errors="replace").splitlines():
            name, _, value = line.partition(" ")
            found.setdefault(name.lower(), []).append(value)
        return found

    def _known_hosts(
        self, host: str, options: dict[str, list[str]], tokens: dict[str, str]
    ) -> tuple[Path, ...]:
        folder = FILE.expanduser().parent
        own = " ".join(str(folder / name) for name in KNOWN_HOSTS)
        system = " ".join(str(SYSTEM.parent / f"ssh_{name}") for name in KNOWN_HOSTS)
        words = [
            *options.get("userknownhostsfile", [own])[0].split(),
            *options.get("globalknownhostsfile", [system])[0].split(),
        ]
        files = [self._expanded(host, one, tokens) for one in words if one.lower() != "none"]
        return tuple(Path(one).expanduser() for one in files)

    def _agent(self, host: str, value: str, tokens: dict[str, str]) -> Path | None:
        """The socket of IdentityAgent."""
        if value == SOCKET:
            value = os.environ.get(SOCKET, "")
        elif value.startswith("$") and not value.startswith("${"):
            value = os.environ.get(value[1:], "")
        elif value.lower() == "none":
            value = ""
        else:
            value = self._expanded(host, value, tokens)
        return Path(value).expanduser() if value else None

    def _expanded(self, host: str, text: str, tokens: dict[str, str]) -> str:
        """A value with its tokens and environment variables, which `ssh -G` leaves as they are."""

        def replaced(found: re.Match[str]) -> str:
            variable, token = found.groups()
            value = os.environ.get(variable) if variable else tokens.get(token)
            if value is None:
                raise UsageError(f"{self.path}, Host {host}: {found[0]} in {text!r} is unknown.")
            return value

        return re.sub(r"\$\{(\w+)\}|%(.)", replaced, text)
