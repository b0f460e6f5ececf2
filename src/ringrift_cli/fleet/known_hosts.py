"""Whether the key that a host shows is one that known_hosts has for it.

A host whose key is not known is refused, with the commands that show and accept the key: nobody
else could tell whether it is the right one.
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
    """A key of known_hosts, with the names that it is for."""

    names: str  # as it stands there: patterns, or one name hashed
    kind: str  # as ssh-ed25519
    key: bytes
    revoked: bool
    place: str  # file and line


@dataclass(frozen=True)
class Name:
    """Where a key is shown, and what known_hosts calls that."""

    host: str
    port: int
    alias: str | None = None
    direct: bool = True  # whether ssh-keyscan gets there

    def __str__(self) -> str:
        """As it stands in known_hosts."""
        host = (self.alias or self.host).lower()
        return host if self.alias or self.port == 22 else f"[{host}]:{self.port}"


class KeyChanged(HostKeyError):
    """A key that is not the one known: no other address of the host makes that good."""


def path_of(given: Path | None) -> Path:
    """The file that is asked: RINGRIFT_KNOWN_HOSTS, that of hosts.yaml, or the user's."""
    return Path(os.environ.get(VARIABLE) or given or FILE).expanduser()


class Keys:
    """The keys of a file; none if it is not there. Lines that hold no key are passed over.

    `names` are all names of a host: a key that is known under one of them is good under another
    that has none, for it proves that it is the same machine. `UsageError` if the file cannot be
    read.
    """

    def __init__(self, path: Path, names: Iterable[Name] = ()) -> None:
        self.path = path
        self._lines = _read(path)
        self._names = list(names)

    def preferred(self, name: Name, kinds: Sequence[str]) -> tuple[str, ...]:
        """The algorithms, those of known keys first: a server has several keys to show."""
        known = {line.kind for line in self._about(name)}
        return tuple(sorted(kinds, key=lambda kind: _kind_of(kind) not in known))

    def check(self, kind: str, key: bytes, name: Name, who: str) -> None:
        """`HostKeyError` unless the key that was shown is known under this name.

        `who` is what messages call the host.
        """
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
        by_hand = f"ssh {name.alias or name.host}"  # nobody else gets through jumps
        other = [line for line in own if line.kind == kind]
        if other:
            forget = f"ssh-keygen -f {shlex.quote(str(self.path))} -R {shlex.quote(str(name))}"
            raise KeyChanged(
                f"The host key of {who} has changed: it shows {shown}, and {other[0].place} has"
                f" {fingerprint(other[0].key)}. Somebody may be in between, or it is another"
                " machine; nothing was sent to it.",
                hint=f"if you know why: {forget}; then {accept if name.direct else by_hand}",
            )
        plain = Name(name.host, 22)  # as ssh, which takes a key without a port for all ports
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
    """As `ssh-keygen -l` shows it."""
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
    """Whether a line with such names is about a host; the names may be patterns, or one hashed."""
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
        plain = pattern.removeprefix("!").replace("[", "[[]")  # brackets stand for themselves
        if fnmatch.fnmatchcase(name, plain):
            if pattern.startswith("!"):
                return False
            matches = True
    return matches
