"""What ~/.ssh/config says of an address: where `ssh address` would connect to, and how."""

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
DEEPEST = 8  # of files that include files, and of jumps that need jumps


@dataclass(frozen=True)
class Target:
    """Where a connection goes to, and as whom."""

    host: str
    port: int
    user: str
    keys: tuple[Path, ...]  # private keys to offer; they need not be there
    only_keys: bool = False  # whether an ssh-agent may offer those only
    alias: str | None = None  # what known_hosts calls it
    jumps: tuple[Target, ...] = ()  # what to go through, in order
    command: str | None = None  # what carries the first connection, for a shell here


class SshConfig:
    """RINGRIFT_SSH_CONFIG or ~/.ssh/config, with what it includes; empty if it is not there.

    `UsageError` if it cannot be read.
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
        """What a name means; a port, user or key that is given here wins over the file.

        `UsageError` for what cannot be.
        """
        said = self._looked_up(host, port, user)
        jumps, command = said.get("proxyjump", "none"), said.get("proxycommand")
        chain: list[Target] = []
        if jumps.lower() != "none" and command is None:
            if depth == DEEPEST:
                raise UsageError(f"{self.path}, Host {host}: ProxyJump leads in a circle.")
            hops = [self._jump(host, one.strip(), depth) for one in jumps.split(",")]
            chain = [*hops[0].jumps, *hops]
            command = chain[0].command
        found = said.get("port", "22")
        if not found.isdigit() or not 1 <= int(found) <= 65535:
            raise UsageError(f"{self.path}, Host {host}: Port is {found!r}, expected 1 to 65535.")
        named = tuple(Path(one).expanduser() for one in said.get("identityfile", ()))
        usual = tuple(FILE.expanduser().parent / name for name in DEFAULT_KEYS)
        return Target(
            host=said["hostname"],
            port=int(found),
            user=said.get("user") or getpass.getuser(),
            keys=(key,) if key else named or usual,
            only_keys=key is None and said.get("identitiesonly", "no").lower() == "yes",
            alias=said.get("hostkeyalias"),
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

        # the first value of a key wins, in %p and %r too
        before = [f"Port {port}"] * (port is not None) + [f"User {user}"] * (user is not None)
        try:
            return SSHConfig.from_text("\n".join([*before, self._text])).lookup(host)
        except (SSHException, ImportError, LookupError, ValueError) as error:
            raise UsageError(f"{self.path} cannot be read for {host}: {error}.") from error

    def _lines(self, path: Path, depth: int) -> list[str]:
        """The lines of a file, with what it includes, of which paramiko knows nothing."""
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
