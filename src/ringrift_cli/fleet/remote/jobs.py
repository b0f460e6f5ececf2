"""Jobs: starting them once, telling the truth about them, stopping them, reading their logs.

A job is a folder `jobs/ID`, made in one step. What it is doing is read off its files and off the
processes that they name; nothing is remembered from one connection to the next.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from typing import Any, Dict

from ringrift_cli.fleet.remote import shards, slots
from ringrift_cli.fleet.remote.base import Ask, Half, Refusal, flag, number, open_plain, text, texts
from ringrift_cli.fleet.remote.layout import (
    EXIT,
    EXIT_ROOM,
    HEARTBEAT,
    JOB,
    JOBS,
    LOG,
    STOP,
    STOP_ROOM,
)
from ringrift_cli.fleet.remote.process import boot_id, lives, since_boot
from ringrift_cli.fleet.remote.wire import MOST_BYTES

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
LEASE, GRACE = 90.0, 30.0  # s, of a job that says nothing of them
State = Dict[str, Any]
NOTHING: State = {
    "id": "",
    "state": "starting",  # running, done, failed, stopped, lost
    "code": None,
    "signal": None,
    "started": None,  # unix time, as is `ended`, by the clock of the host
    "ended": None,
    "seconds": 0.0,  # that it ran
    "heartbeat_age_s": None,
    "over_s": None,  # since it was last alive; None while it is
    "pid": None,
    "games": 0,
    "shards": 0,
    "bytes_log": 0,
    "meta": {},
    "argv": [],
    "error": None,
}


# ---- starting -----------------------------------------------------------------------------------


def start(half: Half, ask: Ask) -> Ask:
    """Starts a job unless it is there; the same words again are harmless, others a conflict."""
    job = _checked(half, ask.get("job"))
    identity, folder = job["id"], half.path(f"{JOBS}/{job['id']}")
    made = not os.path.lexists(os.path.join(folder, JOB)) and _make(half, folder, job)
    if made:
        _begin(half, identity, folder)
    else:
        found = slots.read(os.path.join(folder, JOB))
        if found is None or found.get("job") != job:
            raise Refusal("conflict", f"There is another job {identity} on this host.")
    return {"started": made, "state": state(half, identity)}


def _begin(half: Half, identity: str, folder: str) -> None:
    """Starts the supervisor of a new job; without one the job is not there."""
    try:
        _launch(half, identity)
    except OSError:
        import shutil

        shutil.rmtree(folder)
        raise


def _launch(half: Half, identity: str, adopt: bool = False) -> None:
    from ringrift_cli.fleet.remote import supervise

    supervise.launch(half.work, identity, adopt)


def _make(half: Half, folder: str, job: dict[str, Any]) -> bool:
    """Makes the folder of a job, whole; False if somebody else was faster."""
    import shutil
    import tempfile

    os.makedirs(os.path.dirname(folder), exist_ok=True)
    made = tempfile.mkdtemp(prefix=".new-", dir=os.path.dirname(folder))
    try:
        note = {"job": job, "time": time.time(), "up": since_boot(), "boot_id": boot_id()}
        for name, data in ((JOB, json.dumps(note).encode()), (LOG, b"")):
            with open(os.path.join(made, name), "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        for name in (HEARTBEAT, EXIT_ROOM, STOP_ROOM):
            slots.reserve(os.path.join(made, name))
        os.rename(made, folder)
    except OSError:
        if not os.path.lexists(os.path.join(folder, JOB)):
            raise
        return False
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return True


def _checked(half: Half, job: Any) -> dict[str, Any]:
    """A job with nothing missing; `Refusal` for whatever no host could start."""
    if not isinstance(job, dict):
        raise Refusal("usage", f"job is {job!r:.80}: expected an object.")
    known = ("id", "argv", "env", "cwd", "out", "lease_s", "grace_s", "meta")
    unknown = sorted(set(job) - set(known))
    if unknown:
        raise Refusal("usage", f"A job has no {unknown[0]!r}: expected {', '.join(known)}.")
    argv, out = texts(job, "argv"), job.get("out")
    env, meta = job.get("env", {}), job.get("meta", {})
    if not argv or not argv[0]:
        raise Refusal("usage", "argv is empty: expected a program and its arguments.")
    if not isinstance(meta, dict):
        raise Refusal("usage", f"meta is {meta!r:.80}: expected an object.")
    if not isinstance(env, dict) or not all(_is_variable(*item) for item in env.items()):
        raise Refusal("usage", "env is not what an environment can be: names and texts.")
    try:
        for word in (*argv, *env, *env.values()):
            os.fsencode(word)
    except UnicodeEncodeError:  # its text would quote what may be a secret
        raise Refusal("usage", "A word of argv or env is no text of any file system.") from None
    if out is not None:
        half.path(out)
    cwd = job.get("cwd") or "."
    if not os.path.isdir(half.path(cwd)):
        raise Refusal("missing", f"cwd is {cwd!r}: there is no such folder.")
    lease, grace = number(job, "lease_s", LEASE, least=1.0), number(job, "grace_s", GRACE)
    times = {"lease_s": lease, "grace_s": grace}
    told = {"env": env, "cwd": cwd, "out": out, "meta": meta}
    return {"id": identity_of(job), "argv": argv, **told, **times}


def _is_variable(name: str, value: object) -> bool:
    named = bool(name) and "=" not in name and "\0" not in name
    return named and isinstance(value, str) and "\0" not in value


def identity_of(ask: Ask) -> str:
    """The argument `id`; `Refusal` if no job can have that name."""
    identity = text(ask, "id")
    if not NAME.fullmatch(identity):
        raise Refusal("usage", f"id is {identity!r:.80}: expected letters, digits, '.', '_', '-'.")
    return identity


# ---- telling ------------------------------------------------------------------------------------


def jobs(half: Half, ask: Ask) -> Ask:
    """The states of some jobs, or of all; jobs that are not there are left out."""
    wanted = None if ask.get("ids") is None else texts(ask, "ids")
    return {"jobs": states(half, wanted)}


def states(half: Half, wanted: list[str] | None = None, until: float | None = None) -> list[State]:
    """The states of jobs by name; not all of them if the monotonic time `until` comes first."""
    counts = shards.Counts(half)
    found = []
    for identity in names(half) if wanted is None else wanted:
        if until is not None and time.monotonic() > until:
            break
        half.alive()
        known = _state(half, identity, counts)
        if known is not None:
            found.append(known)
    if wanted is None and until is None:
        counts.keep()
    return found


def names(half: Half) -> list[str]:
    """All jobs: first those that may be running, and the newest of both kinds first."""
    found = []
    with contextlib.suppress(FileNotFoundError), os.scandir(half.path(JOBS)) as entries:
        for entry in entries:
            if (
                NAME.fullmatch(entry.name)
                and entry.is_dir(follow_symlinks=False)
                and os.path.exists(os.path.join(entry.path, JOB))
            ):
                over = os.path.exists(os.path.join(entry.path, EXIT))
                found.append((over, -entry.stat().st_mtime_ns, entry.name))
    return [name for _over, _age, name in sorted(found)]


def state(half: Half, identity: str) -> State:
    """What a job is doing; `Refusal` if there is none of that name."""
    found = _state(half, identity, shards.Counts(half))
    if found is None:
        raise Refusal("unknown", f"There is no job {identity} on this host.")
    return found


def _state(half: Half, identity: str, counts: shards.Counts) -> State | None:
    """What a job is doing; None if there is none. `over_s`: how long ago it was last alive."""
    folder = os.path.join(half.path(JOBS), identity)
    if not NAME.fullmatch(identity) or os.path.islink(folder):
        return None
    made = slots.read(os.path.join(folder, JOB))
    if made is None:
        return None
    try:
        return _told(identity, folder, made, counts)
    except (LookupError, TypeError, ValueError, OSError) as error:
        # Somebody else wrote there, or the disk did: it must not hide the other jobs.
        reason = f"The files in {JOBS}/{identity} make no sense: {error!r:.200}"
        return {**NOTHING, "id": identity, "state": "lost", "error": reason}


def _told(identity: str, folder: str, made: dict[str, Any], counts: shards.Counts) -> State:
    job, beat = made["job"], slots.read(os.path.join(folder, HEARTBEAT)) or {}
    end, told = slots.read(os.path.join(folder, EXIT)), NOTHING
    if end is None:
        told = _running(job, made, beat)
        end = slots.read(os.path.join(folder, EXIT))  # it may have ended during that look
    if end is not None:
        told = _ended(end)
    games, count = counts.of(job["out"] or f"{JOBS}/{identity}/out", final=end is not None)
    return {
        **NOTHING,
        "id": identity,
        "pid": beat.get("child"),
        "games": games,
        "shards": count,
        "bytes_log": os.stat(os.path.join(folder, LOG)).st_size,
        "meta": job["meta"],
        "argv": job["argv"],
        **told,
    }


def _running(job: dict[str, Any], made: dict[str, Any], beat: dict[str, Any]) -> State:
    """What is known of a job that has noted no end; `beat` is empty before its first heartbeat."""
    newest = beat or made
    same_boot, age = newest["boot_id"] == boot_id(), _age(newest)
    overdue = age > job["lease_s"]
    if not beat:
        error = "It was never started: whatever was to do so is gone." if overdue else None
        found = "lost" if overdue else "starting"
        return {"state": found, "started": made["time"], "error": error, "over_s": age}
    supervised = same_boot and lives(beat["pid"], beat["began_itself"])
    alive = same_boot and lives(beat["child"], beat["child_began"])
    seconds = (since_boot() if supervised or alive else beat["up"]) - beat["began_up"]
    if supervised:
        found, error = "running", None
    elif alive:
        found, error = "running", "unsupervised"
    elif overdue:
        found, error = "lost", "It and its supervisor were killed, or the host went down."
    else:
        found, error = "running", f"silent for {age:.0f} s"
    over = None if supervised or alive else age
    known = {"started": beat["began"], "seconds": seconds, "heartbeat_age_s": age, "over_s": over}
    return {"state": found, "error": error, **known}


def _ended(end: dict[str, Any]) -> State:
    word = "stopped" if end["stopped"] else "done" if end["code"] == 0 else "failed"
    told = {key: end[key] for key in ("code", "signal", "ended", "seconds", "error")}
    return {"state": word, "started": end["began"], "over_s": _age(end), **told}


def _age(note: dict[str, Any]) -> float:
    """Seconds since something was noted, whatever the clock did since.

    It is measured from the boot. What was noted before that is at least as old as the boot.
    """
    up = since_boot()
    if note["boot_id"] == boot_id():
        return up - float(note["up"])
    return max(up, time.time() - float(note["time"]))


# ---- stopping and reading -----------------------------------------------------------------------


def stop(half: Half, ask: Ask) -> Ask:
    """Asks a job to end, at once if `insist`; whoever has to do so does it after this."""
    identity = identity_of(ask)
    before = state(half, identity)
    folder = half.path(f"{JOBS}/{identity}")
    made = slots.read(os.path.join(folder, JOB)) or {}
    grace = number(ask, "grace_s", made.get("job", {}).get("grace_s", GRACE))
    if before["ended"] is None:
        wanted = {"grace_s": grace, "insist": flag(ask, "insist"), "time": time.time()}
        target = os.path.join(folder, STOP)
        if os.path.exists(target):
            slots.fill(target, wanted)
        else:
            slots.fill_and_rename(os.path.join(folder, STOP_ROOM), target, wanted)
        if state(half, identity)["error"] == "unsupervised":
            _launch(half, identity, adopt=True)
    return {"state": state(half, identity)}


def log(half: Half, ask: Ask) -> Ask:
    """Sends the log from `offset` on, at most `most` bytes of it, and where that ended."""
    identity = identity_of(ask)
    found = state(half, identity)  # before the log is read: whatever an ended job said is in it
    offset, most = int(number(ask, "offset", 0)), int(number(ask, "most", MOST_BYTES))
    descriptor = open_plain(os.path.join(half.path(f"{JOBS}/{identity}"), LOG), LOG)
    try:
        size = os.fstat(descriptor).st_size
        at, until = min(offset, size), min(offset + most, size)
        while at < until:
            data = os.pread(descriptor, min(until - at, MOST_BYTES), at)
            if not data:
                break
            half.send_bytes(data)
            at += len(data)
    finally:
        os.close(descriptor)
    return {"offset": at, "size": size, "state": found}
