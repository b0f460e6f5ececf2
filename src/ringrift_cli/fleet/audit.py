"""Whether this machine and a host hold the same: by hashes that both read anew.

A manifest, a size or a remembered hash proves nothing here; every byte is read at both ends.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ringrift_cli.errors import OutputError
from ringrift_cli.fleet import listing, synced
from ringrift_cli.fleet.attempts import Opener, ShouldStop, carried_out, never
from ringrift_cli.fleet.client import Client
from ringrift_cli.fleet.destination import Destination
from ringrift_cli.fleet.push import MODELS, Sent
from ringrift_cli.fleet.quarantine import kept_out
from ringrift_cli.fleet.sync import plan
from ringrift_cli.fleet.transfer import Meter, Stopped
from ringrift_cli.store.hashes import sha256_of_file
from ringrift_cli.store.manifest import read_manifest, removed_from_manifest


class Here:
    """Files of games of this machine, each read once however many hosts are compared with it."""

    def __init__(self, destination: Destination) -> None:
        self.paths: dict[str, Path] = {}
        self.removed: set[str] = set()
        for folder in destination.folders():
            self.removed |= removed_from_manifest(folder)
            for entry in read_manifest(folder):
                self.paths[entry.sha256] = folder / entry.file
        self._wrong: dict[str, str | None] = {}
        self._lock = threading.Lock()

    def wrong(self, sha256: str) -> str | None:
        """What is wrong with a file of this hash here; None if nothing is."""
        path = self.paths.get(sha256)
        if path is None:
            return None if sha256 in self.removed else "is not here"
        with self._lock:
            if sha256 not in self._wrong:
                try:
                    found = sha256_of_file(path)
                    same = found == sha256
                    self._wrong[sha256] = None if same else f"is damaged here: {path} is {found}"
                except OutputError as error:
                    self._wrong[sha256] = f"is missing here: {error.message}"
            return self._wrong[sha256]


@dataclass
class Verified:
    """What a comparison with one host came to."""

    host: str
    files: int = 0  # compared
    bytes: int = 0
    kept_out: int = 0  # that lie in quarantine here
    differences: list[str] = field(default_factory=list)
    error: str | None = None
    hint: str | None = None
    stopped: bool = False
    seconds: float = 0.0

    @property
    def right(self) -> bool:
        """Whether both ends hold the same."""
        return self.error is None and not self.differences

    def document(self) -> dict[str, Any]:
        """For JSON."""
        plain = {key: getattr(self, key) for key in self.__dataclass_fields__}
        return {**plain, "seconds": round(self.seconds, 3)}


def verify(
    host: str,
    opener: Opener,
    state: Path,
    destination: Destination,
    here: Here,
    models: Sequence[Sent],
    *,
    meter: Meter | None = None,
    should_stop: ShouldStop = never,
) -> Verified:
    """Reads all games of a host, and those models there that it should have, and ours."""
    found, own = Verified(host), Meter(whole=meter)

    def work(client: Client) -> None:
        found.files = found.bytes = 0
        found.differences.clear()
        _games(client, state, destination, here, found, own, should_stop)
        _models(client, models, found)
        if not found.differences:
            told = {"files": found.files, "bytes": found.bytes, "kept_out": found.kept_out}
            synced.note(state, host, "verify", told)

    return carried_out(found, opener, state, work, lambda: own.done, should_stop)


def _games(
    client: Client,
    state: Path,
    destination: Destination,
    here: Here,
    found: Verified,
    meter: Meter,
    should_stop: ShouldStop,
) -> None:
    told = listing.shards(client, destination.endings)
    found.differences += [wrong.reason for wrong in told.wrong]
    found.differences += told.notes
    out = kept_out(state, client.host)
    found.kept_out = sum(name in out for name in told.lines)
    lines = [line for name, line in told.lines.items() if name not in out]
    meter.remain(sum(line.size for line in lines))
    for first in range(0, len(lines), listing.AT_ONCE):
        some = lines[first : first + listing.AT_ONCE]
        theirs = listing.hashes_there(client, [line.wanted.path for line in some])
        for line in some:
            if should_stop():
                raise Stopped
            path, digest = line.wanted.path, theirs[line.wanted.path]
            if digest is None:
                found.differences.append(f"{path} cannot be read there")
            elif digest != line.sha256:
                found.differences.append(f"{path} is damaged there: it is {digest}")
            wrong = here.wrong(line.sha256)
            if wrong is not None:
                found.differences.append(f"{path} {wrong}")
            found.files += 1
            found.bytes += line.size
            meter.take(line.size)


def _models(client: Client, models: Sequence[Sent], found: Verified) -> None:
    theirs = listing.hashes_there(client, [sent.path for sent in models])
    for sent in models:
        digest = theirs[sent.path]
        if digest is None:
            found.differences.append(f"{sent.path} is not there")
        elif digest != sha256_of_file(sent.source):
            found.differences.append(f"{sent.path} is another file there: it is {digest}")
        found.files += 1
        found.bytes += sent.source.stat().st_size


@dataclass
class Standing:
    """How far a host and this machine are apart, as manifests tell it."""

    host: str
    listed: int = 0
    listed_bytes: int = 0
    missing_here: int = 0
    missing_here_bytes: int = 0
    kept_out: int = 0
    models_behind: list[str] = field(default_factory=list)  # paths there that lack or differ
    notes: list[str] = field(default_factory=list)
    synced: dict[str, Any] | None = None
    error: str | None = None

    @property
    def right(self) -> bool:
        """Whether the host could be asked."""
        return self.error is None

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {key: getattr(self, key) for key in self.__dataclass_fields__}


def standing(
    client: Client, state: Path, destination: Destination, models: Sequence[Sent]
) -> Standing:
    """Asks a host how far apart it and this machine are; nothing is moved or read anew."""
    found = plan(client, state, destination)
    there = {path: digest for path, _, digest in listing.files(client, MODELS, hashed=True)}
    behind = [sent.path for sent in models if there.get(sent.path) != sha256_of_file(sent.source)]
    return Standing(
        client.host,
        found.listed,
        found.listed_bytes,
        len(found.lines),
        found.bytes,
        found.kept_out,
        behind,
        [*found.notes, *(wrong.reason for wrong in found.wrong)],
        synced.read(state).get(client.host),
    )
