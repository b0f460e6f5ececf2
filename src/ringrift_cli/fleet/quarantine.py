"""Where files go that a host sent and that are not what they should be, with the reason beside.

    quarantine/HOST/FILE          as it came; missing where there was nothing to keep
    quarantine/HOST/FILE.json     {reason, host, time, path, claimed, found, kept_out}

What is kept out is not fetched from that host again while it lies here: delete both to try again.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ringrift_cli.errors import RecordError
from ringrift_cli.store.files import write_whole
from ringrift_cli.store.hashes import sha256

FOLDER = "quarantine"
SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
MOST_REASON = 500  # characters


@dataclass(frozen=True)
class Bad:
    """Something of a host that is not taken."""

    host: str
    name: str
    reason: str
    claimed: (
        str  # the hash that the host gives it; of a line that is no file's, our own of the line
    )
    found: str | None = None  # the hash that it has
    path: str = ""  # where it lies there
    time: str = ""
    kept_out: bool = True

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {key: getattr(self, key) for key in self.__dataclass_fields__}


def put_away(state: Path, bad: Bad, file: Path | None) -> Bad:
    """Moves a bad file out of the way and notes why; as it was noted."""
    folder = state / FOLDER / bad.host
    folder.mkdir(parents=True, exist_ok=True)
    stem = bad.name if SAFE.fullmatch(bad.name) else sha256(bad.name.encode())[:16]
    name, number = stem, 1
    while (folder / f"{name}.json").exists():
        number += 1
        name = f"{stem}.{number}"
    if file is not None and file.exists():
        file.replace(folder / name)
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    told = _shown(bad.reason)[:MOST_REASON]
    noted = Bad(bad.host, name, told, bad.claimed, bad.found, _shown(bad.path), now, bad.kept_out)
    write_whole(folder / f"{name}.json", (json.dumps(noted.document(), indent=1) + "\n").encode())
    return noted


def _shown(text: str) -> str:
    """With nothing in it that a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in text)


def of_host(state: Path, host: str) -> Iterator[Bad]:
    """What lies here of a host; `RecordError` for a note that is damaged."""
    for path in sorted((state / FOLDER / host).glob("*.json")):
        if path.with_name(f"{path.name}.json").exists():  # a bad file that is JSON itself
            continue
        try:
            document = json.loads(path.read_bytes())
            yield Bad(**document)
        except (ValueError, TypeError) as error:
            raise RecordError(f"{path} is damaged: {error}.", hint=f"rm {path}") from error


def kept_out(state: Path, host: str) -> set[str]:
    """What is not to be fetched from a host, by the hash that it claims."""
    return {bad.claimed for bad in of_host(state, host) if bad.kept_out}
