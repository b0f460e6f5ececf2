"""Strict host key checking against known_hosts.

A host with an unknown key is refused, with the commands that show and accept the key: only the user
can tell whether it is the right one.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
import os
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ringrift_cli.errors import HostKeyError, UsageError

VARIABLE = "RINGRIFT_KNOWN_HOSTS"
FILE = Path("~/.ssh/known_hosts")


@dataclass(frozen=True)
class _KnownKey:
    """A line of known_hosts."""

    names: str  # patterns, or one hashed name
    kind: str  # e.g. ssh-ed25519
    key: bytes
    revoked: bool
    place: str  # file and line


@dataclass(frozen=True)
class Name:
    """Address that shows a key, and its name in known_hosts."""

    host: str
    port: int
    alias: str | None = None
    direct: bool = True  # whether ssh-keyscan can reach it

    def __str__(self) -> str:
        """In the syntax of known_hosts."""
        host = (self.alias or self.host).lower()
        return host if self.alias or self.port == 22 else f"[{host}]:{self.port}"


class KeyChanged(HostKeyError):
    """The host key has changed or is revoked; other addresses of the host are not tried."""


def path_of(given: Path | None) -> Path:
    """Path of known_hosts: RINGRIFT_KNOWN_HOSTS, `given` by hosts.yaml, or the user's."""
    return Path(os.environ.get(VARIABLE) or given or FILE).expanduser()


class Keys:
    """Keys of a known_hosts file; empty if it does not exist. Lines without a key are skipped.

    `names`: all names of a host. A key known under one of them is accepted under another that has
    no key, since it proves that it is the same machine. `UsageError` if the file is unreadable.
    """

    def __init__(self, path: Path, names: Iterable[Name] = ()) -> None:
        self.path = path
        self._lines = _read(path)
        self._names = list(names)

    def preferred(self, name: Name, kinds: Sequence[str]) -> tuple[str, ...]:
        """Key algorithms with those of known keys first, since a server may have several keys."""
        known = {line.kind for line in self._about(name)}
        return tuple(sorted(kinds, key=lambda kind: _kind_of(kind) not in known))

    def check(self, kind: str, key: bytes, name: Name, who: str) -> None:
        """`HostKeyError` unless the key is known under this name; `who` is the host in messages."""
        shown = f"{kind} {fingerprint(key)}"
        if any(line.revoked and line.key == key for line in self._lines):
            raise KeyChanged(f"{who} shows a host key that is revoked in {self.path}: {shown}.")
        own = self._about(name)
        if any(line.key == key for line in own):
            return
        scan = (
            f"ssh-keyscan -p {name.port} {name.host}"
            if name.port != 22
            else f"ssh-keyscan {name.host}"
        )
        accept = f"{scan} >> {shlex.quote(str(self.path))}"
        by_hand = f"ssh {name.alias or name.host}"  # ssh-keyscan cannot use jump hosts
        other = [line for line in own if line.kind == kind]
        if other:
            forget = f"ssh-keygen -f {shlex.quote(str(self.path))} -R {shlex.quote(str(name))}"
            raise KeyChanged(
                f"The host key of {who} has changed: it shows {shown}, and {other[0].place} has"
                f" {fingerprint(other[0].key)}. Somebody may be in between, or it is another"
                " machine; nothing was sent to it.",
                hint=f"if you know why: {forget}; then {accept if name.direct else by_hand}",
            )
        plain = Name(name.host, 22)  # as in ssh, a key without a port is valid for all ports
        others = [plain, *self._names] if not own else [plain]
        if any(line.key == key for one in others for line in self._about(one)):
            return
        raise HostKeyError(
            f"The host key of {who} is not known: it shows {shown}; nothing was sent to it.",
            hint=f"compare {scan} | ssh-keygen -lf -, then accept it: {accept}"
            if name.direct
            else f"{by_hand}, which shows it and asks",
        )

    def _about(self, name: Name) -> list[_KnownKey]:
        text = str(name)
        return [line for line in self._lines if not line.revoked and _is_for(line.names, text)]


def fingerprint(key: bytes) -> str:
    """In the format of `ssh-keygen -l`."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def _kind_of(algorithm: str) -> str:
    return "ssh-rsa" if algorithm.startswith("rsa-sha2-") else algorithm


def _read(path: Path) -> list[_KnownKey]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(f"Cannot read {path}: {error.strerror}.") from error
    lines = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        marker = words.pop(0) if line.startswith("@") else ""
        if len(words) < 3 or words[0].startswith("#") or marker not in ("", "@revoked"):
            continue
        try:
            key = base64.b64decode(words[2], validate=True)
        except binascii.Error:
            continue
        lines.append(_KnownKey(words[0], words[1], key, bool(marker), f"{path}, line {number}"))
    return lines


def _is_for(names: str, name: str) -> bool:
    """Whether the names of a line, patterns or one hashed name, match a host."""
    if names.startswith("|1|"):
        salt, _, digest = names[3:].partition("|")
        try:
            expected = base64.b64decode(digest)
            found = hmac.new(base64.b64decode(salt), name.encode(), hashlib.sha1).digest()
        except binascii.Error:
            return False
        return hmac.compare_digest(found, expected)
    matches = False
    for pattern in names.lower().split(","):
        plain = pattern.removeprefix("!").replace("[", "[[]")  # brackets are literal
        if fnmatch.fnmatchcase(name, plain):
            if pattern.startswith("!"):
                return False
            matches = True
    return matches
