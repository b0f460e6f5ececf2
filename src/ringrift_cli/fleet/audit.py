"""Comparison of the files on this machine and on a host.

`verify` hashes every file at both ends. `standing` compares manifests and cached hashes, which is
fast.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ringrift_cli.errors import OutputError
from ringrift_cli.fleet import listing, synced
from ringrift_cli.fleet.client import Client
from ringrift_cli.fleet.destination import Destination
from ringrift_cli.fleet.exchange import Exchange, Outcome
from ringrift_cli.fleet.pull import missing_shards
from ringrift_cli.fleet.push import MODELS, Sent
from ringrift_cli.fleet.quarantine import Bad, kept_out, of_host
from ringrift_cli.fleet.transfer import TransferStopped
from ringrift_cli.store.hashes import sha256_of_file
from ringrift_cli.store.manifest import read_manifest, removed_from_manifest


class Here:
    """Local shards; each is hashed at most once, for any number of hosts."""

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
        """Describes what is wrong with the local file of this hash; None if it is intact."""
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
class Verified(Outcome):
    """Result of a comparison with one host."""

    files: int = 0  # compared
    bytes: int = 0
    kept_out: int = 0  # in quarantine here
    differences: list[str] = field(default_factory=list)

    @property
    def right(self) -> bool:
        """Whether both ends hold the same files."""
        return self.error is None and not self.differences


def verify(
    exchange: Exchange, destination: Destination, here: Here, models: Sequence[Sent]
) -> Verified:
    """Hashes all shards of a host and the given models, at both ends."""
    found = Verified(exchange.host)

    def work(client: Client) -> None:
        found.files = found.bytes = 0
        found.differences.clear()
        _compare_games(client, exchange, destination, here, found)
        theirs = listing.hashes_there(client, [sent.path for sent in models])
        for sent in models:
            digest = theirs[sent.path]
            if digest is None:
                found.differences.append(f"{sent.path} is not there")
            elif digest != sha256_of_file(sent.source):
                found.differences.append(f"{sent.path} is another file there: it is {digest}")
            found.files += 1
            found.bytes += sent.source.stat().st_size
        if not found.differences:
            same = {"files": found.files, "bytes": found.bytes, "kept_out": found.kept_out}
            synced.note(exchange.state, exchange.host, "verify", same)

    return exchange.carry_out(found, work)


def _compare_games(
    client: Client, exchange: Exchange, destination: Destination, here: Here, found: Verified
) -> None:
    listed = listing.shards(client, destination.endings)
    found.differences += [wrong.reason for wrong in listed.wrong] + listed.notes
    out = kept_out(exchange.state, client.host)
    found.kept_out = sum(name in out for name in listed.lines)
    lines = [line for name, line in listed.lines.items() if name not in out]
    exchange.meter.remain(sum(line.size for line in lines))
    for first in range(0, len(lines), listing.AT_ONCE):
        some = lines[first : first + listing.AT_ONCE]
        theirs = listing.hashes_there(client, [line.wanted.path for line in some])
        for line in some:
            if exchange.should_stop():
                raise TransferStopped
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
            exchange.meter.take(line.size)


@dataclass
class SyncStanding(Outcome):
    """Differences between a host and this machine, by manifests and cached hashes."""

    listed: int = 0
    listed_bytes: int = 0
    missing_here: int = 0
    missing_here_bytes: int = 0
    kept_out: int = 0
    models_behind: list[str] = field(default_factory=list)  # remote paths: missing or different
    quarantined: list[Bad] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    synced: dict[str, Any] = field(default_factory=dict)
    in_step: str | None = None  # time at which every listed file was last present here


def standing(exchange: Exchange, destination: Destination, models: Sequence[Sent]) -> SyncStanding:
    """Compares a host with this machine; transfers nothing and hashes no shard again."""
    one = SyncStanding(exchange.host)

    def work(client: Client) -> None:
        found = missing_shards(client, exchange.state, destination)
        there = {path: digest for path, _, digest in listing.files(client, MODELS, hashed=True)}
        one.listed, one.listed_bytes = found.listed, found.listed_bytes
        one.missing_here, one.missing_here_bytes = len(found.lines), found.bytes
        one.kept_out = found.kept_out
        one.models_behind = [
            sent.path for sent in models if there.get(sent.path) != sha256_of_file(sent.source)
        ]
        one.notes = [*found.notes, *(wrong.reason for wrong in found.wrong)]
        one.quarantined = of_host(exchange.state, exchange.host)
        one.synced = synced.read(exchange.state).get(exchange.host, {})
        one.in_step = synced.in_step(one.synced)

    return exchange.carry_out(one, work)
