"""Manifests: which files of games a folder holds, and which it held and deleted."""

from __future__ import annotations

import datetime as dt
import socket
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ringrift_cli.errors import RecordError
from ringrift_cli.store.files import write_whole
from ringrift_cli.store.journal import decode_lines
from ringrift_cli.store.locks import locked

MANIFEST = "manifest.jsonl"
REMOVED = f".{MANIFEST}.removed"
LOCK = f".{MANIFEST}.lock"
HINT = "restore the manifest from a backup, or correct that line"
SEARCHED = ".shard"  # ends the name of a file of searched games

Count = Annotated[int, Meta(ge=0)]
Time = Annotated[dt.datetime, Meta(tz=True)]


class ShardEntry(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    rename={"received_from": "from"},
):
    """A line of a manifest: a file of games, searched or random."""

    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    file: Annotated[str, Meta(pattern=r"^[^/\0.][^/\0]*\Z")]  # a name within the folder
    rules: str
    codec: str
    board: str
    players: int
    pie_rule: bool
    made: dict[str, Any]  # what made the games: model or policy, search, seed, generation
    games: Count
    decisions: Count
    positions: Count = 0  # decisions with a policy target, of searched games
    host: str  # that made it
    time: Time  # when it was made, by the clock of that host
    received_from: str | None = None  # the fleet's name of the host that sent it
    received: Time | None = None  # when it came, by the clock of this machine

    @property
    def is_searched(self) -> bool:
        """Whether training can use the games."""
        return self.file.endswith(SEARCHED)

    @property
    def generation(self) -> int:
        """The generation that made the games; -1 if `made` does not name one."""
        found = self.made.get("generation")
        return found if type(found) is int else -1

    @property
    def age_hours(self) -> float:
        """Hours since the file was made, at least those since it was received.

        So a host's clock that is ahead makes no data fresh. Below 0 if this machine's clock was
        ahead when the file was made.
        """
        return (dt.datetime.now(dt.UTC) - self.known_since).total_seconds() / 3600

    @property
    def known_since(self) -> dt.datetime:
        """When it was made, or received if that is earlier."""
        return min(self.time, self.received or self.time)

    def received_now(self, host: str) -> ShardEntry:
        """The entry of a file that has just come from a host of the fleet."""
        return msgspec.structs.replace(self, received_from=host, received=_now())

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ShardEntry:
        """The entry of a JSON object; `RecordError` names the field that is wrong."""
        try:
            return msgspec.convert(document, cls)
        except (msgspec.ValidationError, RecursionError) as error:
            raise RecordError(f"its manifest entry is not valid: {error}.") from error

    def to_json(self) -> dict[str, Any]:
        """The entry as a JSON object."""
        document: dict[str, Any] = msgspec.to_builtins(self)
        return document


def new_entry(**facts: Any) -> ShardEntry:
    """The entry of a file that this machine has just made."""
    return ShardEntry(**facts, host=socket.gethostname(), time=_now())


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(microsecond=0)


def read_manifest(folder: Path) -> list[ShardEntry]:
    """The entries of a folder, in the order in which they were added; empty without a manifest.

    `RecordError` names the file, the line and the field that is wrong, or a file listed twice.
    """
    path = folder / MANIFEST
    if not path.exists():
        return []
    entries = decode_lines(path.read_bytes().splitlines(), ShardEntry, path, HINT)
    known: set[str] = set()
    for number, entry in enumerate(entries, 1):
        if entry.sha256 in known:
            raise RecordError(f"{path}, line {number}: {entry.file} is listed twice.", HINT)
        known.add(entry.sha256)
    return entries


def searched(folder: Path) -> list[ShardEntry]:
    """The entries of searched games of a folder; errors as `read_manifest`."""
    return [entry for entry in read_manifest(folder) if entry.is_searched]


def add_to_manifest(folder: Path, *entries: ShardEntry) -> None:
    """Adds the entries that are not there yet, in one step; safe beside other writers."""
    with locked(folder / LOCK):
        known = {entry.sha256: entry for entry in read_manifest(folder)}
        both = {entry.sha256: entry for entry in entries} | known
        if len(both) > len(known):
            _write(folder, (known | both).values())


def remove_from_manifest(folder: Path, names: Collection[str]) -> None:
    """Removes the entries with these SHA-256, if they are there; safe beside other writers.

    The files stay. From then on `removed_from_manifest` lists them, so that copies from
    elsewhere do not bring them back.
    """
    with locked(folder / LOCK):
        entries = read_manifest(folder)
        left = [entry for entry in entries if entry.sha256 not in names]
        if len(left) < len(entries):
            gone = removed_from_manifest(folder) | {e.sha256 for e in entries if e.sha256 in names}
            write_whole(folder / REMOVED, "".join(f"{n}\n" for n in sorted(gone)).encode())
            _write(folder, left)


def removed_from_manifest(folder: Path) -> set[str]:
    """The SHA-256 of all entries that were ever removed from a folder's manifest."""
    path = folder / REMOVED
    return set(path.read_text().split()) if path.exists() else set()


def stamp(folder: Path) -> tuple[int, int]:
    """Changes whenever the manifest of a folder does."""
    try:
        status = (folder / MANIFEST).stat()
    except FileNotFoundError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


def _write(folder: Path, entries: Iterable[ShardEntry]) -> None:
    write_whole(folder / MANIFEST, b"".join(msgspec.json.encode(e) + b"\n" for e in entries))
