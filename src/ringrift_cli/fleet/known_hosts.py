"""Strict host key checking against known_hosts.

A host with an unknown key is refused, unless `host_key: accept-new` accepts it at the first
connection: only the user can tell whether it is the right one. A changed key is always refused.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
import os
import shlex
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ringrift_cli.errors import HostKeyError, OutputError, UsageError

VARIABLE = "RINGRIFT_KNOWN_HOSTS"
REVOKED, AUTHORITY = "@revoked", "@cert-authority"
CERTIFICATE = "-cert-v01@openssh.com"  # end of a key algorithm
KEY_FIELDS = {"ssh-ed25519": 1, "ssh-rsa": 2}  # of a key in a certificate; 2 for ECDSA
HOST_CERTIFICATE = 2


@dataclass(frozen=True)
class _KnownKey:
    """A line of known_hosts."""

    names: str  # patterns, or one hashed name
    kind: str  # e.g. ssh-ed25519
    key: bytes
    marker: str  # "", REVOKED or AUTHORITY
    place: str  # file and line


@dataclass(frozen=True)
class Name:
    """Address that shows a key, its name in known_hosts, and the files to look into."""

    host: str
    port: int
    alias: str | None = None
    files: tuple[Path, ...] = ()  # new keys go to the first
    accept_new: bool = False

    def __str__(self) -> str:
        """In the syntax of known_hosts."""
        host = (self.alias or self.host).lower()
        return host if self.alias or self.port == 22 else f"[{host}]:{self.port}"


class KeyChanged(HostKeyError):
    """The host key has changed or is revoked; other addresses of the host are not tried."""


@dataclass(frozen=True)
class HostKey:
    """A key that an address shows; `certificate` is the signed form, if it showed that."""

    kind: str
    key: bytes
    certificate: bytes | None = None

    def __str__(self) -> str:
        return f"{self.kind} {fingerprint(self.key)}"


class UnknownKey(HostKeyError):
    """A host key that no known_hosts has."""

    def __init__(self, host: str, who: str, name: Name, key: HostKey) -> None:
        super().__init__(
            f"The host key of {who} is not known: it shows {key}; nothing was sent to it.",
            hint=f"ringrift fleet trust {host}",
        )
        self.name, self.key = name, key


def files_of(given: Path | None, usual: tuple[Path, ...]) -> tuple[Path, ...]:
    """Files to look into: RINGRIFT_KNOWN_HOSTS, `given` by hosts.yaml, or those of ssh."""
    one = os.environ.get(VARIABLE) or given
    return (Path(one).expanduser(),) if one else usual


class Keys:
    """Keys of known_hosts files; files that do not exist and lines without a key are skipped.

    `host`: its name in hosts.yaml; `names`: all its addresses. A key known under one of them is
    accepted under another that has no key, since it proves that it is the same machine.
    `UsageError` if a file is unreadable.
    """

    def __init__(self, host: str, names: Iterable[Name] = ()) -> None:
        self.host = host
        self._names = list(names)
        self._read: dict[Path, list[_KnownKey]] = {}

    def preferred(self, name: Name, kinds: Sequence[str]) -> tuple[str, ...]:
        """Key algorithms in order: certificates of known authorities, then those of known keys."""
        known = {line.kind for line in self._about(name)}
        plain = sorted(kinds, key=lambda kind: _kind_of(kind) not in known)
        signed = [kind + CERTIFICATE for kind in kinds] if self._about(name, AUTHORITY) else []
        return (*signed, *plain)

    def check(self, key: HostKey, name: Name, who: str) -> None:
        """`HostKeyError` unless the key is good for this name; `who` is the host in messages.

        An unknown key of a name with `accept_new` is added to known_hosts.
        """
        lines = self._lines(name)
        if bad := next((x for x in lines if x.marker == REVOKED and x.key == key.key), None):
            raise KeyChanged(f"{who} shows a host key that is revoked in {bad.place}: {key}.")
        if key.certificate is not None and self._is_certified(key.certificate, name, who):
            return
        own = self._about(name)
        if any(line.key == key.key for line in own):
            return
        other = [line for line in own if line.kind == key.kind]
        if other:
            file = shlex.quote(other[0].place.rpartition(", line ")[0])
            forget = f"ssh-keygen -f {file} -R {shlex.quote(str(name))}"
            raise KeyChanged(
                f"The host key of {who} has changed: it shows {key}, and {other[0].place} has"
                f" {fingerprint(other[0].key)}. Somebody may be in between, or it is another"
                " machine; nothing was sent to it.",
                hint=f"if you know why: {forget} && ringrift fleet trust {self.host}",
            )
        plain = Name(name.host, 22, files=name.files)  # as in ssh: without a port, for all ports
        others = [plain, *self._names] if not own else [plain]
        if any(line.key == key.key for one in others for line in self._about(one)):
            return
        if not name.accept_new:
            raise UnknownKey(self.host, who, name, key)
        add([(name, key)])

    def _is_certified(self, certificate: bytes, name: Name, who: str) -> bool:
        """Whether a known authority has signed a certificate; `HostKeyError` if it is not valid."""
        found = _Certificate(certificate)
        authorities = {line.key for line in self._about(name, AUTHORITY)}
        if found.authority not in authorities:
            return False
        revoked = {line.key for line in self._lines(name) if line.marker == REVOKED}
        why = "its authority is revoked" if found.authority in revoked else found.fault(name)
        if why is not None:
            raise HostKeyError(
                f"The host certificate of {who} is not valid: {why}; nothing was sent to it.",
                hint="have the host's certificate renewed",
            )
        return True

    def _lines(self, name: Name) -> list[_KnownKey]:
        for file in name.files:
            if file not in self._read:
                self._read[file] = _read(file)
        return [line for file in name.files for line in self._read[file]]

    def _about(self, name: Name, marker: str = "") -> list[_KnownKey]:
        text = str(name)
        lines = self._lines(name)
        return [line for line in lines if line.marker == marker and _is_for(line.names, text)]


class _Certificate:
    """A host certificate of OpenSSH (PROTOCOL.certkeys); `HostKeyError` if it cannot be read."""

    def __init__(self, blob: bytes) -> None:
        from paramiko import Message

        fields = Message(blob)
        kind = fields.get_text().removesuffix(CERTIFICATE)
        fields.get_binary()  # nonce
        for _ in range(KEY_FIELDS.get(kind, 2)):
            fields.get_binary()
        fields.get_int64()  # serial
        self.kind = fields.get_int()
        fields.get_binary()  # key id
        self.principals = _strings(fields.get_binary())
        self.after, self.before = fields.get_int64(), fields.get_int64()
        self.critical = _strings(fields.get_binary())
        fields.get_binary()  # extensions
        fields.get_binary()  # reserved
        self.authority = fields.get_binary()
        self.signed, self.signature = fields.get_so_far(), fields.get_binary()

    def fault(self, name: Name) -> str | None:
        """Why it is not valid for a name, given that its authority is known; None if it is."""
        from paramiko import Message, PKey

        host = (name.alias or name.host).lower()
        kind = Message(self.authority).get_text()
        authority = PKey.from_type_string(kind, self.authority)
        if not authority.verify_ssh_sig(self.signed, Message(self.signature)):
            return "its signature is wrong"
        if self.kind != HOST_CERTIFICATE:
            return "it is no certificate of a host"
        if not self.after <= time.time() < self.before:
            return "it has expired or is not valid yet"
        if self.critical:
            return f"it has the unknown option {self.critical[0][:40]!r}"
        patterns = [one.lower().replace("[", "[[]") for one in self.principals]
        if patterns and not any(fnmatch.fnmatchcase(host, one) for one in patterns):
            return f"it is for {', '.join(self.principals)[:200]}, not for {host}"
        return None


def _strings(data: bytes) -> list[str]:
    """The strings of a list in a certificate."""
    from paramiko import Message

    fields, found = Message(data), []
    while fields.get_remainder():
        found.append(fields.get_text())
    return found


def add(keys: Iterable[tuple[Name, HostKey]]) -> None:
    """Appends keys to the first known_hosts file of each name; `OutputError` on failure."""
    for name, key in keys:
        path = name.files[0]
        line = f"{name} {key.kind} {base64.b64encode(key.key).decode()}\n"
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            before = path.read_bytes() if path.is_file() else b""
            start = "" if not before or before.endswith(b"\n") else "\n"
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            with os.fdopen(descriptor, "wb", buffering=0) as file:
                file.write((start + line).encode())
        except OSError as error:
            raise OutputError(f"Cannot write {path}: {error.strerror}.") from error


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
        if len(words) < 3 or words[0].startswith("#") or marker not in ("", REVOKED, AUTHORITY):
            continue
        try:
            key = base64.b64decode(words[2], validate=True)
        except binascii.Error:
            continue
        lines.append(_KnownKey(words[0], words[1], key, marker, f"{path}, line {number}"))
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
