"""Reads ~/.ssh/config: the connection parameters that `ssh ADDRESS` would use."""

from __future__ import annotations

import getpass
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ringrift_cli.errors import UsageError

if TYPE_CHECKING:
    from paramiko.config import SSHConfigDict

VARIABLE = "RINGRIFT_SSH_CONFIG"
FILE = Path("~/.ssh/config")
DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
DEEPEST = 8  # nesting of Include and of ProxyJump


@dataclass(frozen=True)
class Target:
    """Connection parameters of a host."""

    host: str
    port: int
    user: str
    keys: tuple[Path, ...]  # private keys to offer; may not exist
    only_keys: bool = False  # IdentitiesOnly
    alias: str | None = None  # name in known_hosts
    jumps: tuple[Target, ...] = ()  # jump hosts in order
    command: str | None = None  # ProxyCommand of the first connection


class SshConfig:
    """RINGRIFT_SSH_CONFIG or ~/.ssh/config with its includes; empty if it does not exist.

    `UsageError` if it is unreadable.
    """

    def __init__(self) -> None:
        self.path = Path(os.environ.get(VARIABLE) or FILE).expanduser()
        self._text = "\n".join(self._lines(self.path, 0))

    def target(
        self,
        host: str,
        port: int | None = None,
        user: str | None = None,
        key: Path | None = None,
        depth: int = 0,
    ) -> Target:
        """Parameters of a host; the arguments override the file. `UsageError` if invalid."""
        options = self._looked_up(host, port, user)
        jumps, command = options.get("proxyjump", "none"), options.get("proxycommand")
        chain: list[Target] = []
        if jumps.lower() != "none" and command is None:
            if depth == DEEPEST:
                raise UsageError(f"{self.path}, Host {host}: ProxyJump leads in a circle.")
            hops = [self._jump(host, one.strip(), depth) for one in jumps.split(",")]
            chain = [*hops[0].jumps, *hops]
            command = chain[0].command
        found = options.get("port", "22")
        if not found.isdigit() or not 1 <= int(found) <= 65535:
            raise UsageError(f"{self.path}, Host {host}: Port is {found!r}, expected 1 to 65535.")
        named = tuple(Path(one).expanduser() for one in options.get("identityfile", ()))
        usual = tuple(FILE.expanduser().parent / name for name in DEFAULT_KEYS)
        return Target(
            host=options["hostname"],
            port=int(found),
            user=options.get("user") or getpass.getuser(),
            keys=(key,) if key else named or usual,
            only_keys=key is None and options.get("identitiesonly", "no").lower() == "yes",
            alias=options.get("hostkeyalias"),
            jumps=tuple(chain),
            command=command,
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

    def _looked_up(self, host: str, port: int | None, user: str | None) -> SSHConfigDict:
        from paramiko import SSHConfig, SSHException

        # The first value of an option wins, also in %p and %r.
        before = [f"Port {port}"] * (port is not None) + [f"User {user}"] * (user is not None)
        try:
            return SSHConfig.from_text("\n".join([*before, self._text])).lookup(host)
        except (SSHException, ImportError, LookupError, ValueError) as error:
            raise UsageError(f"{self.path} cannot be read for {host}: {error}.") from error

    def _lines(self, path: Path, depth: int) -> list[str]:
        """The lines of a file with its includes, which paramiko does not support."""
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UsageError(f"Cannot read {path}: {error.strerror}.") from error
        lines = []
        for line in text.splitlines():
            words = line.replace("=", " ", 1).split()
            if not words or words[0].lower() != "include":
                lines.append(line)
                continue
            if depth == DEEPEST:
                raise UsageError(f"{self.path}: Include leads in a circle.")
            for pattern in words[1:]:
                place = FILE.expanduser().parent / Path(pattern.strip('"')).expanduser()
                for found in sorted(Path("/").glob(str(place).lstrip("/"))):
                    lines += self._lines(found, depth + 1)
        return lines
