"""Quarantine of invalid files from hosts: `quarantine/HOST/FILE`, with records in the database.

A kept out file is not fetched from that host again until `forget` drops the record.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from ringrift_cli.fleet.state import StateTable
from ringrift_cli.store.hashes import sha256
from ringrift_cli.text import now, printable

FOLDER = "quarantine"
SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
MAX_REASON = 500  # characters


class Bad(msgspec.Struct, frozen=True):
    """Record of a rejected file or list row."""

    host: str
    name: str
    reason: str
    claimed: str  # hash reported by the host, or hash of the invalid row
    found: str | None = None  # actual hash
    path: str = ""  # on the host
    time: str = ""
    kept_out: bool = True


QUARANTINE = StateTable("quarantine", Bad)  # by HOST/FILE, FILE being the local name


def put_away(state: Path, bad: Bad, file: Path | None) -> Bad:
    """Moves a file to quarantine and returns the stored record."""
    folder = state / FOLDER / bad.host
    stem = bad.name if SAFE.fullmatch(bad.name) else sha256(bad.name.encode())[:16]
    noted = msgspec.structs.replace(
        bad, reason=printable(bad.reason)[:MAX_REASON], path=printable(bad.path), time=now()
    )
    with QUARANTINE.changing(state) as records:
        name, number = stem, 1
        while f"{bad.host}/{name}" in records or (folder / name).exists():
            number += 1
            name = f"{stem}.{number}"
        if file is not None and file.exists():
            folder.mkdir(parents=True, exist_ok=True)
            file.replace(folder / name)
        records[f"{bad.host}/{name}"] = noted
    return noted


def of_host(state: Path, host: str) -> list[Bad]:
    """The records of a host."""
    return [bad for bad in QUARANTINE.read(state).values() if bad.host == host]


def kept_out(state: Path, host: str) -> set[str]:
    """Claimed hashes that are not fetched from a host."""
    return {bad.claimed for bad in of_host(state, host) if bad.kept_out}


def forget(state: Path, host: str) -> int:
    """Drops the records of a host, so that its files are fetched again; returns their number."""
    with QUARANTINE.changing(state) as records:
        gone = [key for key, bad in records.items() if bad.host == host]
        for key in gone:
            del records[key]
    return len(gone)
