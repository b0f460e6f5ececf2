"""Manifests: which files of games a folder holds, and which it held and deleted."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from ringrift_cli.errors import RecordError
from ringrift_cli.store.files import write_whole
from ringrift_cli.store.locks import locked

MANIFEST = "manifest.jsonl"
REMOVED = f".{MANIFEST}.removed"
LOCK = f".{MANIFEST}.lock"


def read_manifest(folder: Path) -> list[dict[str, Any]]:
    """The lines of a folder's manifest; empty if it has none. `RecordError` for a damaged line."""
    path = folder / MANIFEST
    if not path.exists():
        return []
    entries = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise RecordError(f"{path}, line {number} is no JSON ({error}).") from error
        if not isinstance(entry, dict) or not isinstance(entry.get("sha256"), str):
            raise RecordError(f"{path}, line {number} has no 'sha256'.")
        entries.append(entry)
    return entries


def add_to_manifest(folder: Path, *entries: dict[str, Any]) -> None:
    """Adds entries, each named by its `sha256`, but for those that are there; all in one step.

    Safe beside other writers of the same folder.
    """
    with locked(folder / LOCK):
        known = read_manifest(folder)
        names = {entry["sha256"] for entry in known}
        new = {entry["sha256"]: entry for entry in entries if entry["sha256"] not in names}
        if new:
            _write_manifest(folder, [*known, *new.values()])


def remove_from_manifest(folder: Path, names: Collection[str]) -> None:
    """Takes the entries with these `sha256` out; those that are not there are no error.

    Safe beside other writers of the same folder. The files stay. `removed_from_manifest` then
    knows them, so that copies elsewhere do not bring them back.
    """
    with locked(folder / LOCK):
        entries = read_manifest(folder)
        left = [entry for entry in entries if entry["sha256"] not in names]
        if len(left) < len(entries):
            gone = [entry["sha256"] for entry in entries if entry["sha256"] in names]
            write_whole(
                folder / REMOVED, "".join(f"{n}\n" for n in [*_removed(folder), *gone]).encode()
            )
            _write_manifest(folder, left)


def removed_from_manifest(folder: Path) -> set[str]:
    """The `sha256` of all entries that were ever taken out of a folder's manifest."""
    return set(_removed(folder))


def _removed(folder: Path) -> list[str]:
    path = folder / REMOVED
    return path.read_text().split() if path.exists() else []


def _write_manifest(folder: Path, entries: Iterable[dict[str, Any]]) -> None:
    write_whole(folder / MANIFEST, "".join(json.dumps(e) + "\n" for e in entries).encode())
