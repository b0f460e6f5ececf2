"""Manifests: which shards there are, their entries, and how many games they hold.

A manifest is what some program wrote: a line of it that makes no sense is named, and hides none of
the others.
"""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from ringrift_cli.fleet import messages
from ringrift_cli.fleet.agent.context import Context, Refusal, open_plain
from ringrift_cli.fleet.agent.files import ROWS, HashCache, encoded, walk
from ringrift_cli.store.manifest import MANIFEST, add_to_manifest

MOST_LINE = 1 << 20  # bytes
MOST_DAMAGED = 1000


class ManifestEntry(msgspec.Struct):
    """The fields of a manifest entry that the agent uses."""

    file: messages.FileName
    sha256: messages.Sha256
    games: Any = 0


_decoder = msgspec.json.Decoder(ManifestEntry)


def read_entries(path: str, name: str) -> Iterator[tuple[int, bytes, ManifestEntry | str]]:
    """The lines of a manifest with their numbers, and the entry in each or what is wrong with it.

    `Refusal` if it is no plain file.
    """
    descriptor = open_plain(path, name)
    with open(descriptor, "rb") as file:
        for number in itertools.count(1):
            line = file.readline(MOST_LINE)
            if not line:
                return
            if len(line) < MOST_LINE:
                yield number, line, _entry(line)
                continue
            while line and not line.endswith(b"\n"):
                line = file.readline(MOST_LINE)
            yield number, line, f"it is longer than {MOST_LINE} bytes"


def _entry(line: bytes) -> ManifestEntry | str:
    try:
        return _decoder.decode(line)
    except (msgspec.MsgspecError, RecursionError) as error:
        return f"it is no entry: {error}"


def shards(context: Context, request: messages.Shards) -> messages.ShardsEnd:
    """Sends the shards of all manifests below `roots` whose files are there."""
    damaged: list[messages.DamagedLine] = []

    def spoil(folder: str, why: str, line: int = 0) -> None:
        damaged.append(messages.DamagedLine(folder=folder, line=line, why=why))

    for root in request.roots:
        for place, names in walk(context, context.path(root), spoil):
            if MANIFEST not in names:
                continue
            folder = context.relative(place)
            rows: list[msgspec.Raw] = []
            try:
                path = os.path.join(place, MANIFEST)
                for number, _line, entry in read_entries(path, MANIFEST):
                    if isinstance(entry, str):
                        spoil(folder, entry, number)
                    elif (size := _size(place, entry.file)) == 0:
                        spoil(folder, f"its file {entry.file} is empty", number)
                    elif size is not None:
                        row = messages.ShardRow(file=entry.file, size=size, sha256=entry.sha256)
                        rows.append(encoded(row))
                    if len(rows) >= ROWS:
                        context.send(messages.ShardRows(folder=folder, shards=rows))
                        rows = []
            except (Refusal, OSError) as error:
                spoil(folder, str(error))
            if rows:
                context.send(messages.ShardRows(folder=folder, shards=rows))
    return messages.ShardsEnd(damaged=damaged[:MOST_DAMAGED])


def _size(place: str, name: str) -> int | None:
    """Size of a regular file in bytes; None for anything else."""
    try:
        status = os.lstat(os.path.join(place, name))
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def entries(context: Context, request: messages.Entries) -> messages.Done:
    """Sends the manifest entries of some shards of a folder; unknown ones are left out."""
    name, wanted = request.folder, set(request.sha256s)
    path = os.path.join(context.path(name), MANIFEST)
    for _number, line, entry in read_entries(path, f"{name}/{MANIFEST}"):
        if not isinstance(entry, str) and entry.sha256 in wanted:
            context.send(messages.EntryLine(entry=msgspec.json.decode(line)))
    return messages.Done()


def enter(context: Context, request: messages.Enter) -> messages.Done:
    """Adds entries to the manifest of `folder`, if their files are there and have their hashes.

    Nothing is added if one is not right.
    """
    name = request.folder
    folder = context.path(name)
    known = HashCache(context)
    for entry in request.entries:
        path = os.path.join(folder, entry.file)
        if _size(folder, entry.file) is None:
            raise Refusal("missing", f"There is no file {context.relative(path)!r}.")
        held = known.of(path, os.lstat(path))
        if held != entry.sha256:
            raise Refusal(
                "hash", f"{context.relative(path)!r} has SHA-256 {held}, not the entry's."
            )
    add_to_manifest(Path(folder), *request.entries)
    return messages.Done()


def count(context: Context, folder: str) -> tuple[int, int]:
    """Games and shards that the manifest of a folder (relative) lists; 0 and 0 without one."""
    path = os.path.join(context.work, folder, MANIFEST)
    if not os.path.lexists(path) or not context.holds(path):  # a link may lead elsewhere
        return 0, 0
    try:
        return _count(path)
    except (FileNotFoundError, NotADirectoryError):
        return 0, 0


def _count(path: str) -> tuple[int, int]:
    games = count = 0
    try:
        for _number, _line, entry in read_entries(path, MANIFEST):
            if not isinstance(entry, str):
                games += entry.games if type(entry.games) is int and entry.games > 0 else 0
                count += 1
    except Refusal:  # no plain file: `shards` says so
        return 0, 0
    return games, count
