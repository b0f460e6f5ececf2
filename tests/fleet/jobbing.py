"""Starting jobs through an agent and waiting for what becomes of them, for tests."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ringrift_cli.system import began
from tests.fleet.remotes import Remote

State = dict[str, Any]
SOON = 20.0  # s in which what must happen must have happened
SLEEP = ["sleep", "1000"]


def end_all(half: Remote) -> None:
    """Leaves no process behind."""
    for job in half.ask("jobs")["jobs"]:
        half.ask("stop", id=job["id"], insist=True)
        if job["state"] in ("running", "starting"):
            until(half, job["id"], lambda s: s["state"] not in ("running", "starting"))


def job(identity: str = "one", argv: list[str] | None = None, **more: Any) -> dict[str, Any]:
    return {"id": identity, "argv": SLEEP if argv is None else argv, "lease_s": 60, **more}


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def start(half: Remote, wanted: dict[str, Any]) -> State:
    reply = half.ask("start", job=wanted)
    assert reply["end"] == "ok", reply
    found: State = reply["state"]
    return found


def state(half: Remote, identity: str = "one") -> State:
    (found,) = half.ask("jobs", ids=[identity])["jobs"]
    assert isinstance(found, dict)
    return found


def until(half: Remote, identity: str, there: Callable[[State], bool]) -> State:
    """The first state of a job that is wanted."""
    end = time.monotonic() + SOON
    while not there(found := state(half, identity)):
        assert time.monotonic() < end, found
        time.sleep(0.02)
    return found


def ended(half: Remote, identity: str = "one") -> State:
    return until(half, identity, lambda s: s["ended"] is not None)


def beat(work: Path, identity: str = "one") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((work / "jobs" / identity / "heartbeat").read_bytes())
    return found


def gone(pid: int) -> None:
    """Waits until a process has ended."""
    end = time.monotonic() + SOON
    while began(pid) is not None:
        assert time.monotonic() < end
        time.sleep(0.01)


def log_of(half: Remote, identity: str = "one", **options: int) -> bytes:
    frames = half.stream("log", id=identity, **{"offset": 0, "most": 1 << 24, **options})
    return b"".join(frame for frame in frames if isinstance(frame, bytes))
