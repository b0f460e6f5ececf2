"""When each host was last in step with this machine, and what was confirmed then.

    synced.json    {HOST: {"pull": {"time": …, …}, "push": {…}, "verify": {…}}}

Times are of our clock. An entry is written only after the receiver's own hashes agreed.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ringrift_cli.errors import RecordError
from ringrift_cli.store.files import write_whole

FILE = "synced.json"


def now() -> str:
    """The time as files give it: ISO, UTC."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def read(state: Path) -> dict[str, dict[str, Any]]:
    """What is known of each host; `RecordError` if the file is damaged."""
    path = state / FILE
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise RecordError(f"{path} is damaged: {error}.", hint=f"rm {path}") from error
    if not isinstance(found, dict) or not all(isinstance(row, dict) for row in found.values()):
        raise RecordError(f"{path} is no list of hosts.", hint=f"rm {path}")
    return found


def in_step(row: Mapping[str, Any]) -> str | None:
    """When all that a host had listed was last found to be here; None if never."""
    return max((str(row[kind]["time"]) for kind in ("pull", "verify") if kind in row), default=None)


def note(state: Path, host: str, kind: str, confirmed: dict[str, Any]) -> None:
    """Enters that a host is in step; `kind` is pull, push or verify. Safe beside other writers."""
    state.mkdir(parents=True, exist_ok=True)
    with (state / f".{FILE}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        rows = read(state)
        rows.setdefault(host, {})[kind] = {"time": now(), **confirmed}
        write_whole(state / FILE, (json.dumps(rows, indent=1) + "\n").encode())
