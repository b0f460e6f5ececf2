"""Times at which each host was last in step with this machine, with the confirmed counts.

    {HOST: {"pull": {"time": …, …}, "push": {…}, "verify": {…}}}

Times are of the local clock. An entry is written only after the receiver has verified the hashes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ringrift_cli.fleet.state import StateTable
from ringrift_cli.text import now

Confirmed = dict[str, Any]
SYNCED = StateTable("synced", dict[str, Confirmed])


def read(state: Path) -> dict[str, dict[str, Confirmed]]:
    """The records of all hosts; errors as of `StateTable`."""
    return SYNCED.read(state)


def in_step(row: Mapping[str, Any]) -> str | None:
    """When all listed files of a host were last present here; None if never."""
    return max((str(row[kind]["time"]) for kind in ("pull", "verify") if kind in row), default=None)


def note(state: Path, host: str, kind: str, confirmed: Confirmed) -> None:
    """Records that a host is in step; `kind` is pull, push or verify."""
    with SYNCED.changing(state) as hosts:
        hosts.setdefault(host, {})[kind] = {"time": now(), **confirmed}
