"""Jobs: starting them once, finding out their state, stopping them, reading their logs.

A job is a folder `jobs/ID`, made in one step. What it is doing is read off its files and off the
processes that they name; nothing is remembered from one connection to the next.
"""

from __future__ import annotations

import os
import time

import msgspec
from msgspec.structs import replace

from ringrift_cli.fleet import messages
from ringrift_cli.fleet.agent import shards, slots, supervise
from ringrift_cli.fleet.agent.claims import Claims, claim
from ringrift_cli.fleet.agent.context import Context, Refusal, open_plain
from ringrift_cli.fleet.agent.index import Index
from ringrift_cli.fleet.agent.layout import (
    CLOCK,
    DISMISSED,
    EXIT,
    EXIT_ROOM,
    HEARTBEAT,
    JOB,
    JOBS,
    LOG,
    STOP,
    STOP_ROOM,
)
from ringrift_cli.fleet.agent.supervise import Beat, End, Note, StopOrder
from ringrift_cli.fleet.messages import Job, JobState
from ringrift_cli.fleet.probe import SETTLING_S, unusable
from ringrift_cli.system import boot_id, lives, since_boot

SMI_SECONDS = 10.0  # for nvidia-smi before a job starts
LOOK_S = 0.5  # between two looks at a GPU that is used though no job holds it

# ---- starting -----------------------------------------------------------------------------------


def start(context: Context, request: messages.Start) -> messages.Started:
    """Starts a job unless the identical one exists; `Refusal` for another job of its name."""
    job = request.job
    if not job.argv[0]:
        raise Refusal("usage", "argv names no program.")
    if job.out is not None:
        context.path(job.out)
    if not os.path.isdir(context.path(job.cwd)):
        raise Refusal("missing", f"cwd is {job.cwd!r}: there is no such folder.")
    folder = context.path(f"{JOBS}/{job.id}")
    made = not os.path.lexists(os.path.join(folder, JOB)) and _make(folder, job)
    if made:
        try:
            claims = _claim(context, job) if job.exclusive else Claims()
            try:
                supervise.launch(context.work, job.id, claims)
            finally:
                claims.close()
        except (OSError, Refusal):
            import shutil

            shutil.rmtree(folder)
            raise
    else:
        found = slots.read(os.path.join(folder, JOB), Note)
        if found is None or found.job != job:
            raise Refusal("conflict", f"There is another job {job.id} on this host.")
    return messages.Started(started=made, state=state(context, job.id))


def _claim(context: Context, job: Job) -> Claims:
    """The claims of a job; `Refusal` of kind "taken" if another holds them or a GPU is unusable.

    A GPU that no job holds may still be left by one: use by others must last.
    """
    wanted = job.meta.gpus
    if not wanted:
        return claim((), ())
    until = time.monotonic() + SETTLING_S
    gpus = _gpus()
    claims = claim(wanted, gpus)
    try:
        while reasons := [*filter(None, (unusable(gpu) for gpu in gpus if gpu.index in wanted))]:
            if time.monotonic() > until:
                raise Refusal(messages.TAKEN, f"{'; '.join(reasons)}.")
            time.sleep(LOOK_S)
            context.alive()
            gpus = _gpus()
    except Refusal:
        claims.close()
        raise
    return claims


def _gpus() -> list[messages.Gpu]:
    from ringrift_cli.fleet.agent.facts import Smi

    gpus, error = Smi().answer(time.monotonic() + SMI_SECONDS)
    if gpus is None:
        raise Refusal(messages.TAKEN, f"The GPUs cannot be asked: {error}.")
    return gpus


def _make(folder: str, job: Job) -> bool:
    """Creates the folder of a job atomically; False if it exists already."""
    import shutil
    import tempfile

    os.makedirs(os.path.dirname(folder), exist_ok=True)
    made = tempfile.mkdtemp(prefix=".new-", dir=os.path.dirname(folder))
    try:
        note = Note(job=job, made=supervise.now())
        for name, data in ((JOB, msgspec.json.encode(note)), (LOG, b"")):
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


# ---- states -------------------------------------------------------------------------------------


def jobs(context: Context, request: messages.Jobs) -> messages.JobStates:
    """States of the given jobs, or a page of all; unknown jobs are left out."""
    if request.ids is not None:
        found = states(context, request.ids)
        return messages.JobStates(jobs=found, total=len(found))
    names = Index(context).chosen(request.states, request.loop)
    page = names[request.skip : request.skip + request.most]
    return messages.JobStates(jobs=states(context, page), total=len(names))


def states(context: Context, wanted: list[str], until: float | None = None) -> list[JobState]:
    """The states of jobs by name; not all of them if the monotonic time `until` comes first."""
    found = []
    for identity in wanted:
        if until is not None and time.monotonic() > until:
            break
        context.alive()
        known = read_state(context, identity)
        if known is not None:
            found.append(known)
    return found


def state(context: Context, identity: str) -> JobState:
    """The state of a job; `Refusal` if it is unknown."""
    found = read_state(context, identity)
    if found is None:
        raise Refusal("unknown", f"There is no job {identity} on this host.")
    return found


def read_state(context: Context, identity: str) -> JobState | None:
    """The state of a job from its files; None if it is unknown."""
    folder = os.path.join(context.path(JOBS), identity)
    if os.path.islink(folder):
        return None
    try:
        note = slots.read(os.path.join(folder, JOB), Note)
        if note is None:
            return None
        end = slots.read(os.path.join(folder, EXIT), End)
        found = JobState(id=identity)
        if end is None:
            beat = slots.read(os.path.join(folder, HEARTBEAT), Beat)
            found = _running(context, identity, note, beat)
            end = slots.read(os.path.join(folder, EXIT), End)  # it may have ended during that look
        if end is not None:
            found = _ended(identity, end)
        games, count = shards.count(context, note.job.out or f"{JOBS}/{identity}/out")
        return replace(
            found,
            dismissed=os.path.exists(os.path.join(folder, DISMISSED)),
            elsewhere=note.made.host if note.made.elsewhere else None,
            games=games,
            shards=count,
            bytes_log=os.stat(os.path.join(folder, LOG)).st_size,
            meta=note.job.meta,
            argv=note.job.argv,
        )
    except (msgspec.ValidationError, OSError) as error:
        # Somebody else wrote there, or the disk did: it must not hide the other jobs.
        reason = f"The files in {JOBS}/{identity} make no sense: {error!r:.200}"
        return JobState(id=identity, state="lost", error=reason)


def _running(context: Context, identity: str, note: Note, beat: Beat | None) -> JobState:
    """What is known of a job that has noted no end; `beat` is None before its first heartbeat."""
    if beat is None:
        age = note.made.age()
        if age <= note.job.lease_s:
            return JobState(id=identity, started=note.made.time, over_s=age)
        error = "It was never started: its supervisor is gone."
        return JobState(id=identity, state="lost", started=note.made.time, error=error, over_s=age)
    same_boot = beat.at.boot_id == boot_id() and not beat.at.elsewhere
    age = _file_age(context, identity) if beat.at.elsewhere else beat.at.age()
    supervised = same_boot and lives(beat.pid, beat.began_itself)
    alive = same_boot and lives(beat.child, beat.child_began)
    up = since_boot() if supervised or alive else beat.at.up
    lost = False
    if supervised:
        error_text = None
    elif alive:
        error_text = "unsupervised"
    elif lost := age > note.job.lease_s:
        error_text = "It and its supervisor were killed, or the host went down."
    elif beat.at.elsewhere:
        error_text = None
    else:
        error_text = f"silent for {age:.0f} s"
    return JobState(
        id=identity,
        state="lost" if lost else "running",
        error=error_text,
        pid=beat.child,
        started=beat.began.time,
        seconds=up - beat.began.up,
        heartbeat_age_s=age,
        over_s=None if supervised or alive or error_text is None else age,
    )


def _file_age(context: Context, identity: str) -> float:
    """Seconds since the last heartbeat of a job, by the clock of whatever keeps the files."""
    clock = context.inner(CLOCK)
    with open(clock, "wb"):
        os.utime(clock)
    beat = os.path.join(context.path(JOBS), identity, HEARTBEAT)
    return max(os.stat(clock).st_mtime - os.stat(beat).st_mtime, 0.0)


def _ended(identity: str, end: End) -> JobState:
    return JobState(
        id=identity,
        state="stopped" if end.stopped else "done" if end.code == 0 else "failed",
        code=end.code,
        pid=end.pid,
        signal=end.signal,
        started=end.began.time,
        ended=end.at.time,
        seconds=end.at.up - end.began.up,
        over_s=end.at.age(),
        error=end.error,
    )


# ---- stopping and reading -----------------------------------------------------------------------


def stop(context: Context, request: messages.Stop) -> messages.Stopping:
    """Asks a job to end, at once to insist; its supervisor does so after this."""
    identity = request.id
    if state(context, identity).ended is None:
        folder = context.path(f"{JOBS}/{identity}")
        grace = request.grace_s
        if grace is None:
            note = slots.read(os.path.join(folder, JOB), Note)
            grace = note.job.grace_s if note else messages.GRACE
        order = StopOrder(grace_s=grace, insist=request.insist, time=time.time())
        target = os.path.join(folder, STOP)
        if os.path.exists(target):
            slots.fill(target, order)
        else:
            slots.fill_and_rename(os.path.join(folder, STOP_ROOM), target, order)
        if state(context, identity).error == "unsupervised":
            supervise.launch(context.work, identity, adopt=True)
    return messages.Stopping(state=state(context, identity))


def log(context: Context, request: messages.ReadLog) -> messages.LogEnd:
    """Sends the log from `offset` on, at most `most` bytes of it, and where that ended."""
    found = state(
        context, request.id
    )  # before the log is read: all that an ended job wrote is in it
    descriptor = open_plain(os.path.join(context.path(f"{JOBS}/{request.id}"), LOG), LOG)
    try:
        size = os.fstat(descriptor).st_size
        at = min(request.offset, size)
        at = context.send_file(descriptor, at, min(request.offset + request.most, size))
    finally:
        os.close(descriptor)
    return messages.LogEnd(offset=at, size=size, state=found)
