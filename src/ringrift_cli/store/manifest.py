"""Manifests: the game files of a folder, and the hashes of deleted ones."""

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
SEARCHED, COMPACT, READABLE = SUFFIXES = (".shard", ".rrg", ".games.jsonl")  # of game files

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
    """A manifest line: one file of searched or random games."""

    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    file: Annotated[str, Meta(pattern=r"^[^/\0.][^/\0]*\Z")]  # a name within the folder
    rules: str
    codec: str
    board: str
    players: int
    pie_rule: bool
    made: dict[str, Any]  # origin of the games: model or policy, search, seed, generation
    games: Count
    decisions: Count
    positions: Count = 0  # decisions with a policy target, of searched games
    host: str  # that created it
    time: Time  # of creation, by the clock of `host`
    received_from: str | None = None  # fleet name of the sending host
    received: Time | None = None  # by the clock of this machine

    @property
    def is_searched(self) -> bool:
        """Whether the games have search results, which training needs."""
        return self.file.endswith(SEARCHED)

    @property
    def generation(self) -> int:
        """Generation of the model that played the games; -1 if unknown."""
        found = self.made.get("generation")
        return found if type(found) is int else -1

    @property
    def source(self) -> str | None:
        """Hash of the shard whose games these are, searched again; None if they were played."""
        found = self.made.get("reanalysed")
        return found if type(found) is str else None

    @property
    def age_hours(self) -> float:
        """Hours since creation, at least those since reception.

        Reception is included because a host's clock may be ahead. Negative if this machine's clock
        was ahead at creation.
        """
        return (dt.datetime.now(dt.UTC) - self.known_since).total_seconds() / 3600

    @property
    def known_since(self) -> dt.datetime:
        """The earlier of creation and reception time."""
        return min(self.time, self.received or self.time)

    def received_now(self, host: str) -> ShardEntry:
        """The entry with `host` as its sender, received now."""
        return msgspec.structs.replace(self, received_from=host, received=_now())

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ShardEntry:
        """Converts a JSON object; `RecordError` names an invalid field."""
        try:
            return msgspec.convert(document, cls)
        except (msgspec.ValidationError, RecursionError) as error:
            raise RecordError(f"its manifest entry is not valid: {error}.") from error

    def to_json(self) -> dict[str, Any]:
        document: dict[str, Any] = msgspec.to_builtins(self)
        return document


def new_entry(**facts: Any) -> ShardEntry:
    """The entry of a file created on this machine now."""
    return ShardEntry(**facts, host=socket.gethostname(), time=_now())


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(microsecond=0)


def read_manifest(folder: Path) -> list[ShardEntry]:
    """Returns the entries of a folder in insertion order; empty without a manifest.

    `RecordError` names the file, line and invalid field, or a file that is listed twice.
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
    """The entries with searched games; errors as `read_manifest`."""
    return [entry for entry in read_manifest(folder) if entry.is_searched]


def add_to_manifest(folder: Path, *entries: ShardEntry) -> None:
    """Adds the entries that are missing, atomically; safe with concurrent writers."""
    with locked(folder / LOCK):
        known = {entry.sha256: entry for entry in read_manifest(folder)}
        both = {entry.sha256: entry for entry in entries} | known
        if len(both) > len(known):
            _write(folder, (known | both).values())


def remove_from_manifest(folder: Path, names: Collection[str]) -> None:
    """Removes the entries with these SHA-256, if present; safe with concurrent writers.

    The files stay. Their hashes are recorded (`removed_from_manifest`), so that a sync does not
    restore them.
    """
    with locked(folder / LOCK):
        entries = read_manifest(folder)
        left = [entry for entry in entries if entry.sha256 not in names]
        if len(left) < len(entries):
            gone = removed_from_manifest(folder) | {e.sha256 for e in entries if e.sha256 in names}
            write_whole(folder / REMOVED, "".join(f"{n}\n" for n in sorted(gone)).encode())
            _write(folder, left)


def removed_from_manifest(folder: Path) -> set[str]:
    """The SHA-256 of all entries ever removed from a folder's manifest."""
    path = folder / REMOVED
    return set(path.read_text().split()) if path.exists() else set()


def _write(folder: Path, entries: Iterable[ShardEntry]) -> None:
    write_whole(folder / MANIFEST, b"".join(msgspec.json.encode(e) + b"\n" for e in entries))
