"""When each host was last in step with this machine, and what was confirmed then.

    {HOST: {"pull": {"time": …, …}, "push": {…}, "verify": {…}}}

Times are of our clock. An entry is written only after the receiver's own hashes agreed.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ringrift_cli.fleet.state import StateTable

Confirmed = dict[str, Any]
SYNCED = StateTable("synced", dict[str, Confirmed])


def now() -> str:
    """The time as files give it: ISO, UTC."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def read(state: Path) -> dict[str, dict[str, Confirmed]]:
    """What is known of each host; errors as of `StateTable`."""
    return SYNCED.read(state)


def in_step(row: Mapping[str, Any]) -> str | None:
    """When all that a host had listed was last found to be here; None if never."""
    return max((str(row[kind]["time"]) for kind in ("pull", "verify") if kind in row), default=None)


def note(state: Path, host: str, kind: str, confirmed: Confirmed) -> None:
    """Enters that a host is in step; `kind` is pull, push or verify."""
    with SYNCED.changing(state) as hosts:
        hosts.setdefault(host, {})[kind] = {"time": now(), **confirmed}
