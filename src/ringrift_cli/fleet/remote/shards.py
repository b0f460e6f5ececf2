"""Manifests: which shards there are, what is said of them, and how many games they hold.

A manifest is what some program wrote: a line of it that makes no sense is named, and hides none of
the others.
"""

from __future__ import annotations

import itertools
import json
import os
import stat
from typing import Any, Dict, Iterator

from ringrift_cli.fleet.remote import slots
from ringrift_cli.fleet.remote.base import (
    Ask,
    Half,
    Refusal,
    is_digest,
    open_plain,
    text,
    texts,
)
from ringrift_cli.fleet.remote.files import ROWS, walk
from ringrift_cli.fleet.remote.layout import COUNTS, MANIFEST

MOST_LINE = 1 << 20  # bytes
MOST_DAMAGED = 1000
Entry = Dict[str, Any]


def entries(path: str, name: str) -> Iterator[tuple[int, Entry | str]]:
    """The lines of a manifest with their numbers: an entry, or what is wrong with it.

    `Refusal` if it is no plain file.
    """
    descriptor = open_plain(path, name)
    with open(descriptor, "rb") as file:
        for number in itertools.count(1):
            line = file.readline(MOST_LINE)
            if not line:
                return
            if len(line) < MOST_LINE:
                yield number, _entry(line)
                continue
            while line and not line.endswith(b"\n"):
                line = file.readline(MOST_LINE)
            yield number, f"it is longer than {MOST_LINE} bytes"


def _entry(line: bytes) -> Entry | str:
    try:
        found = json.loads(line.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        return f"it is no JSON ({error})"
    if not isinstance(found, dict):
        return "it is no object"
    if not is_digest(found.get("sha256")):
        return "it has no SHA-256"
    name = found.get("file")
    if not isinstance(name, str) or not _is_name(name):
        return f"its file {name!r:.80} is no name of a file in that folder"
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _is_name(name: str) -> bool:
    return bool(name) and name not in (".", "..") and "/" not in name and "\0" not in name


def shards(half: Half, ask: Ask) -> Ask:
    """Sends the shards of all manifests below `roots` whose files are there.

    The end names damaged lines, and says how many entries had no file.
    """
    damaged: list[dict[str, Any]] = []
    missing = 0

    def spoil(folder: str, why: str, line: int = 0) -> None:
        damaged.append({"folder": folder, "line": line, "why": why})

    for root in texts(ask, "roots"):
        for place, names in walk(half, half.path(root), spoil):
            if MANIFEST not in names:
                continue
            folder, rows = half.relative(place), []
            try:
                for number, entry in entries(os.path.join(place, MANIFEST), MANIFEST):
                    if isinstance(entry, str):
                        spoil(folder, entry, number)
                        continue
                    size = _size(place, entry["file"])
                    if size is None:
                        missing += 1
                        continue
                    rows.append([entry["file"], size, entry["sha256"]])
                    if len(rows) >= ROWS:
                        half.send({"folder": folder, "shards": rows})
                        rows = []
            except (Refusal, OSError) as error:
                spoil(folder, str(error))
            if rows:
                half.send({"folder": folder, "shards": rows})
    return {"damaged": damaged[:MOST_DAMAGED], "damaged_lines": len(damaged), "missing": missing}


def _size(place: str, name: str) -> int | None:
    """Bytes of a plain file; None for anything else."""
    try:
        status = os.lstat(os.path.join(place, name))
    except (OSError, ValueError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def lines(half: Half, ask: Ask) -> Ask:
    """Sends what the manifest of `folder` says of some shards; of others it says nothing."""
    name, wanted = text(ask, "folder"), set(texts(ask, "sha256s"))
    path = os.path.join(half.path(name), MANIFEST)
    for _number, entry in entries(path, f"{name}/{MANIFEST}"):
        if not isinstance(entry, str) and entry["sha256"] in wanted:
            half.send({"entry": entry})
    return {}


def enter(half: Half, ask: Ask) -> Ask:
    """Adds entries to the manifest of `folder`, if their files are there and have their hashes.

    Nothing is added if one is not right.
    """
    from pathlib import Path

    from ringrift_cli.fleet.remote import hashes
    from ringrift_cli.store.files import write_whole
    from ringrift_cli.store.locks import locked

    name, found = text(ask, "folder"), ask.get("entries")
    folder = half.path(name)
    if not isinstance(found, list):
        raise Refusal("usage", f"entries is {found!r:.80}: expected a list.")
    known = hashes.Hashes(half)
    for entry in found:
        checked = _entry(json.dumps(entry).encode())
        if isinstance(checked, str):
            raise Refusal("usage", f"An entry for {name!r} cannot be added: {checked}.")
        path = os.path.join(folder, checked["file"])
        if _size(folder, checked["file"]) is None:
            raise Refusal("missing", f"There is no file {half.relative(path)!r}.")
        held = known.of(path, os.lstat(path))
        if held != checked["sha256"]:
            raise Refusal("hash", f"{half.relative(path)!r} has SHA-256 {held}, not the entry's.")
    manifest = Path(folder) / MANIFEST
    with locked(manifest.with_name(f".{MANIFEST}.lock")):
        before = manifest.read_bytes() if manifest.exists() else b""
        told = entries(str(manifest), MANIFEST) if before else []
        there = {entry["sha256"] for _number, entry in told if not isinstance(entry, str)}
        more = [json.dumps(entry) + "\n" for entry in found if entry["sha256"] not in there]
        if more:
            write_whole(manifest, before + "".join(more).encode())
    return {"entered": len(found)}


class Counts:
    """Games and shards of the manifests of jobs; those of jobs that ended are remembered."""

    def __init__(self, half: Half) -> None:
        self.half = half
        self.place = half.inner(COUNTS)
        self.known: dict[str, list[int]] | None = None
        self.seen: dict[str, list[int]] = {}
        self.changed = False

    def of(self, folder: str, final: bool) -> tuple[int, int]:
        """Games and shards that the manifest of a folder (relative) tells; 0 and 0 without one."""
        path = os.path.join(self.half.work, folder, MANIFEST)
        try:
            status = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return 0, 0
        if not self.half.holds(path):  # a link leads to where no one may look
            return 0, 0
        mark = [status.st_size, status.st_mtime_ns, status.st_ino]
        if self.known is None:
            self.known = slots.read(self.place) or {}
        row = self.known.get(folder)
        if not isinstance(row, list) or row[:3] != mark or len(row) != 5:
            row = [*mark, *_count(path)]
            self.changed = self.changed or final
        if final:
            self.seen[folder] = row
        return row[3], row[4]

    def keep(self) -> None:
        """Remembers those that were asked for, and no others."""
        if self.changed:
            slots.write_cache(self.place, self.seen)


def _count(path: str) -> tuple[int, int]:
    games = count = 0
    try:
        for _number, entry in entries(path, MANIFEST):
            if not isinstance(entry, str):
                told = entry.get("games")
                games += told if type(told) is int and told > 0 else 0
                count += 1
    except Refusal:  # no plain file: `shards` says so
        return 0, 0
    return games, count
