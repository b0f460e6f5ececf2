"""Local records of jobs, and job requests to hosts.

A host holds the state of its jobs. The local record, written before the job is requested, names the
host and the job, so that it can be found, stopped or restarted elsewhere if the host is silent.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from msgspec import structs

from ringrift_cli.errors import RemoteError, UsageError
from ringrift_cli.fleet import messages
from ringrift_cli.fleet.client import Client
from ringrift_cli.fleet.messages import JobState
from ringrift_cli.fleet.plan import SEED_OPTION, SEED_VARIABLE, Placed, option
from ringrift_cli.fleet.state import StateTable
from ringrift_cli.store.locks import locked

JOBS = StateTable("jobs", Placed)
ENDED = StateTable("ended", JobState)
DRAINED = StateTable("drained", float)  # unix time of the drain
POLL = 0.5  # seconds between two requests for a job or its log
MOST_LOG = 1 << 24  # bytes of a log per request
SEED_BITS = 40


# ---- jobs started from here ----------------------------------------------------------------------


def remember(state: Path, placed: Placed) -> tuple[bool, Placed]:
    """Records a job; returns whether it is new, and its record.

    The record also has the seed, which is drawn here unless the command line sets one: a name may
    be used again after its job was removed. `UsageError` if another job has the name.
    """
    drawn = _seeded(placed, secrets.randbits(SEED_BITS))
    with JOBS.changing(state) as known:
        found = known.setdefault(placed.identity, drawn)
    if _seeded(found, None) != _seeded(placed, None):
        raise UsageError(
            f"There is another job of the name {placed.identity}.", hint="another --name"
        )
    return found is drawn, found


def _seeded(placed: Placed, seed: int | None) -> Placed:
    """A job with a seed of its own, or without one; unchanged if its command line sets one."""
    job = placed.job
    if option(job.argv, SEED_OPTION) is not None:
        return placed
    environment = {name: value for name, value in job.env.items() if name != SEED_VARIABLE}
    if seed is not None:
        environment[SEED_VARIABLE] = str(seed)
    return replace(placed, job=structs.replace(job, env=environment))


def forget(state: Path, identity: str) -> None:
    """Removes the record of a job that its host refused."""
    with JOBS.changing(state) as known:
        known.pop(identity, None)


def recall(state: Path, identity: str) -> Placed:
    """The recorded job of a name; `UsageError` if there is none."""
    known = remembered(state)
    if identity not in known:
        raise UsageError(
            f"No job {identity!r} was started from here.", hint="ringrift fleet jobs --ended"
        )
    return known[identity]


def remembered(state: Path) -> dict[str, Placed]:
    """All recorded jobs by name."""
    return JOBS.read(state)


def settle(state: Path, found: Sequence[JobState]) -> None:
    """Records the final states of recorded jobs that have ended; one that was lost may return."""
    over = {job.id: job for job in found if not job.active}
    settled = {name for name, job in ended(state).items() if job.state != "lost"}
    new = over.keys() & remembered(state).keys() - settled
    if new:
        with ENDED.changing(state) as known:
            known.update({name: over[name] for name in new})


def ended(state: Path) -> dict[str, JobState]:
    """Final states of ended jobs by name."""
    return ENDED.read(state)


def drained(state: Path) -> dict[str, float]:
    """Hosts that get no new jobs, with the unix time of the drain."""
    return DRAINED.read(state)


def drain(state: Path, host: str, *, undo: bool = False) -> None:
    """Excludes a host from new jobs; `undo` includes it again."""
    with DRAINED.changing(state) as known:
        if undo:
            known.pop(host, None)
        else:
            known.setdefault(host, time.time())


@contextmanager
def placing(state: Path, hosts: Iterable[str]) -> Iterator[None]:
    """Exclusive lock for checking slots of hosts and starting jobs on them."""
    with ExitStack() as held:
        for name in sorted(hosts):  # a fixed order prevents deadlocks
            held.enter_context(locked(state / f".placing-{name}.lock"))
        yield


# ---- requests to hosts ---------------------------------------------------------------------------


def start(client: Client, state: Path, placed: Placed) -> tuple[bool, JobState]:
    """Starts a job (idempotent); returns whether it was started by this call, and its state."""
    new, recorded = remember(state, placed)
    try:
        reply = client.ask(messages.Start(job=recorded.job))
    except RemoteError as error:
        if new and error.kind != "ended":  # the host confirmed that the job was not started
            forget(state, placed.identity)
        raise
    return reply.started, reply.state


def states(client: Client, *identities: str, loop: str | None = None) -> list[JobState]:
    """States of the given jobs of a host; without names, of all, or the ended ones of a loop."""
    if identities:
        return client.ask(messages.Jobs(ids=[*identities])).jobs
    found: dict[str, JobState] = {}
    skip, total = 0, 1
    while skip < total:
        page = client.ask(messages.Jobs(loop=loop, skip=skip))
        found |= {job.id: job for job in page.jobs}  # pages shift when a job is added
        skip, total = skip + (len(page.jobs) or total), page.total
    return [*found.values()]


def one(client: Client, identity: str) -> JobState:
    """State of a job; `RemoteError` if the host does not know it."""
    found = states(client, identity)
    if not found:
        raise RemoteError(f"{client.host} has no job {identity}.", kind="unknown")
    return found[0]


def stop(client: Client, identity: str, *, grace: float, insist: bool = False) -> JobState:
    """Asks a job to stop; it is killed after `grace` seconds, or at once with `insist`."""
    client.ask(messages.Stop(id=identity, grace_s=grace, insist=insist))
    return one(client, identity)


def wait(
    client: Client,
    identity: str,
    seconds: float,
    should_stop: Callable[[], bool] = lambda: False,
) -> JobState:
    """State of a job once it has ended, or after `seconds`."""
    until = time.monotonic() + seconds
    while True:
        found = one(client, identity)
        if not found.active or time.monotonic() >= until or should_stop():
            return found
        time.sleep(POLL)


def log(
    client: Client,
    identity: str,
    *,
    follow: bool = False,
    tail: int | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[bytes]:
    """The log of a job, from its last `tail` bytes on; with `follow` until the job has ended."""
    offset = 0
    if tail is not None:
        offset = max(0, one(client, identity).bytes_log - tail)
    while True:
        before, over = offset, False
        request = messages.ReadLog(id=identity, offset=offset, most=MOST_LOG)
        for part in client.stream(request):
            if isinstance(part, bytes):
                offset += len(part)
                yield part
            elif isinstance(part, messages.LogEnd):
                over = not part.state.active
        whole = offset - before < MOST_LOG
        if (whole and (over or not follow)) or should_stop():
            return
        if whole:
            time.sleep(POLL)
