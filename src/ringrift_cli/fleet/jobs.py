"""Jobs as this machine knows them: what was asked of whom, written down before it is asked.

A job lives on its host, and its state is what the host says. Here stands only which host has it and
what it is, so that a job can be found, stopped, or begun again elsewhere when its host is silent.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from ringrift_cli.errors import RecordError, RemoteError, UsageError
from ringrift_cli.fleet import messages
from ringrift_cli.fleet.client import Client
from ringrift_cli.fleet.messages import Job, JobState
from ringrift_cli.fleet.plan import Placed
from ringrift_cli.store.files import write_whole
from ringrift_cli.store.locks import locked

FOLDER = "jobs"
ENDED = "ended.json"
DRAINED = "drained.json"
PLACING = "placing"
POLL = 0.5  # seconds between two looks at a job or its log

MOST_LOG = 1 << 24  # bytes of a log that are asked for at once


# ---- what was asked ------------------------------------------------------------------------------


def remember(state: Path, placed: Placed) -> bool:
    """Writes a job down; whether it was new. `UsageError` if another one has its name."""
    path = state / FOLDER / f"{placed.identity}.json"
    document = {
        "host": placed.host,
        "gpus": list(placed.gpus),
        "job": placed.job.document(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = path.with_name(f".{placed.identity}.{os.getpid()}.{threading.get_ident()}")
    write_whole(whole, (json.dumps(document, indent=1) + "\n").encode())
    try:
        os.link(whole, path)  # unlike a rename it never takes the place of another one
    except FileExistsError:
        if json.loads(path.read_bytes()) != document:
            raise UsageError(
                f"There is another job of the name {placed.identity}.", hint="another --name"
            ) from None
        return False
    finally:
        whole.unlink()
    return True


def forget(state: Path, identity: str) -> None:
    """Takes back what was remembered of a job that its host refused."""
    (state / FOLDER / f"{identity}.json").unlink(missing_ok=True)


def recall(state: Path, identity: str) -> Placed:
    """The job of a name; `UsageError` if none was started from here."""
    known = remembered(state)
    if identity not in known:
        raise UsageError(
            f"No job {identity!r} was started from here.", hint="ringrift fleet jobs --ended"
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
            note = json.loads(path.read_bytes())
            placed = Placed(note["host"], tuple(note["gpus"]), msgspec.convert(note["job"], Job))
        except (ValueError, KeyError, TypeError) as error:
            raise RecordError(f"{path} is no job: {error}.", hint=f"rm {path}") from error
        found[placed.identity] = placed
    return found


def settle(state: Path, found: Sequence[JobState]) -> None:
    """Notes of jobs that were started from here that they have ended, and how."""
    over = {job.id: job for job in found if not job.active}
    known = ended(state)
    if all(identity in known or not is_remembered(state, identity) for identity in over):
        return
    with locked(state / f".{ENDED}.lock"):
        known = ended(state)
        known |= {name: job for name, job in over.items() if is_remembered(state, name)}
        write_whole(state / ENDED, msgspec.json.encode(known) + b"\n")


def ended(state: Path) -> dict[str, JobState]:
    """Jobs that were seen to have ended, as they were then."""
    try:
        return msgspec.json.decode((state / ENDED).read_bytes(), type=dict[str, JobState])
    except FileNotFoundError:
        return {}
    except msgspec.MsgspecError as error:
        path = state / ENDED
        raise RecordError(f"{path} is no list of jobs: {error}.", hint=f"rm {path}") from error


@contextmanager
def placing(state: Path, hosts: Iterable[str]) -> Iterator[None]:
    """The only one here to look whether these hosts are free, and to start jobs on them."""
    with ExitStack() as held:
        for name in sorted(hosts):  # in one order, so that nobody waits for whoever waits for him
            held.enter_context(locked(state / f".{PLACING}-{name}.lock"))
        yield


# ---- what the host is asked ----------------------------------------------------------------------


def start(client: Client, state: Path, placed: Placed) -> tuple[bool, JobState]:
    """Starts a job, once however often it is asked; whether it was now, and its state."""
    new = remember(state, placed)
    try:
        reply = client.ask(messages.Start(job=placed.job))
    except RemoteError as error:
        if new and error.kind != "ended":  # it has said that it did not start it
            forget(state, placed.identity)
        raise
    return reply.started, reply.state


def states(client: Client, *identities: str) -> list[JobState]:
    """The states of some jobs of a host, or of all."""
    return client.ask(messages.Jobs(ids=[*identities] or None)).jobs


def one(client: Client, identity: str) -> JobState:
    """The state of a job; `RemoteError` if the host does not know it."""
    found = states(client, identity)
    if not found:
        raise RemoteError(f"{client.host} has no job {identity}.", kind="unknown")
    return found[0]


def stop(client: Client, identity: str, *, grace: float, insist: bool = False) -> JobState:
    """Asks a job to end what it has in hand; after `grace` seconds, or to insist, it is killed."""
    client.ask(messages.Stop(id=identity, grace_s=grace, insist=insist))
    return one(client, identity)


def wait(
    client: Client,
    identity: str,
    seconds: float,
    should_stop: Callable[[], bool] = lambda: False,
) -> JobState:
    """The state of a job once it has ended, or after so many seconds."""
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
    """The log of a job, from its last `tail` bytes on; followed until the job has ended."""
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
    with locked(state / f".{DRAINED}.lock"):
        known = drained(state)
        if undo:
            known.pop(host, None)
        else:
            known.setdefault(host, time.time())
        write_whole(state / DRAINED, (json.dumps(known) + "\n").encode())
