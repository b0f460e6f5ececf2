"""Jobs as this machine knows them: what was asked of whom, written down before it is asked.

A job lives on its host, and its state is what the host says. Here stands only which host has it and
what it is, so that a job can be found, stopped, or begun again elsewhere when its host is silent.
"""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ringrift_cli.artifacts import write_whole
from ringrift_cli.errors import RecordError, RemoteError, UsageError
from ringrift_cli.fleet.link import Link
from ringrift_cli.fleet.plan import ACTIVE, Placed

FOLDER = "jobs"
DRAINED = "drained.json"
POLL = 0.5  # seconds between two looks at a job or its log

State = dict[str, Any]  # a job's, as the remote half tells it


# ---- what was asked ------------------------------------------------------------------------------


def remember(state: Path, placed: Placed) -> None:
    """Writes a job down; `UsageError` if another one has its name."""
    path = state / FOLDER / f"{placed.identity}.json"
    document = {"host": placed.host, "gpus": list(placed.gpus), "job": placed.job}
    if path.exists() and json.loads(path.read_bytes()) != document:
        raise UsageError(
            f"There is another job of the name {placed.identity}.", hint="another --name"
        )
    write_whole(path, (json.dumps(document, indent=1) + "\n").encode())


def recall(state: Path, identity: str) -> Placed:
    """The job of a name; `UsageError` if none was started from here."""
    known = remembered(state)
    if identity not in known:
        raise UsageError(
            f"No job {identity!r} was started from here.", hint="ringrift fleet jobs --all"
        )
    return known[identity]


def is_remembered(state: Path, identity: str) -> bool:
    """Whether a job of this name was started from here."""
    return (state / FOLDER / f"{identity}.json").exists()


def remembered(state: Path) -> dict[str, Placed]:
    """All jobs that were started from here, by name."""
    found = {}
    for path in sorted((state / FOLDER).glob("*.json")):
        try:
            told = json.loads(path.read_bytes())
            placed = Placed(told["host"], tuple(told["gpus"]), told["job"])
        except (ValueError, KeyError, TypeError) as error:
            raise RecordError(f"{path} is no job: {error}.", hint=f"rm {path}") from error
        found[placed.identity] = placed
    return found


# ---- what the host is asked ----------------------------------------------------------------------


def start(link: Link, state: Path, placed: Placed) -> tuple[bool, State]:
    """Starts a job, once however often it is asked; whether it was now, and its state."""
    remember(state, placed)
    reply = link.ask("start", job=placed.job)
    return bool(reply["started"]), reply["state"]


def states(link: Link, *identities: str) -> list[State]:
    """The states of some jobs of a host, or of all."""
    found: list[State] = link.ask("jobs", ids=list(identities) or None)["jobs"]
    return found


def one(link: Link, identity: str) -> State:
    """The state of a job; `RemoteError` if the host does not know it."""
    found = states(link, identity)
    if not found:
        raise RemoteError(f"{link.host} has no job {identity}.", kind="unknown")
    return found[0]


def stop(link: Link, identity: str, *, grace: float, insist: bool = False) -> State:
    """Asks a job to end what it has in hand; after `grace` seconds, or to insist, it is killed."""
    link.ask("stop", id=identity, grace_s=grace, insist=insist)
    return one(link, identity)


def wait(
    link: Link,
    identity: str,
    seconds: float,
    should_stop: Callable[[], bool] = lambda: False,
) -> State:
    """The state of a job once it has ended, or after so many seconds."""
    until = time.monotonic() + seconds
    while True:
        found = one(link, identity)
        if found["state"] not in ACTIVE or time.monotonic() >= until or should_stop():
            return found
        time.sleep(POLL)


def log(
    link: Link,
    identity: str,
    *,
    follow: bool = False,
    tail: int | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[bytes]:
    """The log of a job, from its last `tail` bytes on; followed until the job has ended."""
    offset = 0
    if tail is not None:
        offset = max(0, int(one(link, identity)["bytes_log"]) - tail)
    while True:
        ended = one(link, identity)["state"] not in ACTIVE  # before the log: the rest is then in it
        for part in link.stream("log", id=identity, offset=offset, most=1 << 24):
            if isinstance(part, bytes):
                offset += len(part)
                yield part
        if ended or not follow or should_stop():
            return
        time.sleep(POLL)


# ---- hosts that are given no more work -----------------------------------------------------------


def drained(state: Path) -> dict[str, float]:
    """Hosts that get no new work, and since when (unix)."""
    path = state / DRAINED
    if not path.exists():
        return {}
    try:
        return {str(name): float(since) for name, since in json.loads(path.read_bytes()).items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise RecordError(f"{path} is no list of hosts: {error}.", hint=f"rm {path}") from error


def drain(state: Path, host: str, *, undo: bool = False) -> None:
    """Lets a host have no more work, or have it again."""
    state.mkdir(parents=True, exist_ok=True)
    with (state / f".{DRAINED}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = drained(state)
        if undo:
            known.pop(host, None)
        else:
            known.setdefault(host, time.time())
        write_whole(state / DRAINED, (json.dumps(known) + "\n").encode())
