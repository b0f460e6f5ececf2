"""The supervisor of a job: starts it, shows that it lives, ends it when asked, notes how it ended.

A supervisor belongs to no connection. It is started in a session of its own, holds the lock of the
job's heartbeat for as long as it lives, and is the parent of the job's process, which leads a
session and process group of its own. If a supervisor dies, the job goes on; to stop such a job
another supervisor adopts it, which can end it, but not learn its exit code.

    job.json      Note: what was asked; written before anything is started
    heartbeat     Beat: who is alive, and when that was last so
    stop          StopOrder: that it shall end
    exit.json     End: how it ended
    .stop .exit   room on the disk for the latter two

A process is known by its number and the moment at which it began. Clocks of hosts jump; the time
since they were booted does not: ages are measured by it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import signal
import subprocess
import sys
import time

from ringrift_cli.fleet.agent import slots
from ringrift_cli.fleet.agent.claims import Claims
from ringrift_cli.fleet.agent.layout import (
    EXIT,
    EXIT_ROOM,
    HEARTBEAT,
    JOB,
    JOBS,
    LOG,
    STOP,
    VENV,
)
from ringrift_cli.fleet.messages import Job, Record
from ringrift_cli.system import began, boot_id, lives, since_boot

MOST_BEAT = 10.0  # maximum seconds between two heartbeats
BEATS = 6  # heartbeats per lease
LOOK = 0.25  # seconds between two checks for a stop request
AGAIN = 2.0  # seconds before the end of a job is written again after an error
NOT_FOUND, NOT_RUNNABLE = 127, 126  # exit codes of a shell for what cannot be started
START = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from ringrift_cli.fleet.agent.supervise import main; main(*sys.argv[2:])"
)


# ---- the files of a job -------------------------------------------------------------------------


class Moment(Record):
    """A point in time, whatever the clock does afterwards."""

    time: float  # unix
    up: float  # s since the boot
    boot_id: str
    host: str = ""  # on which; empty: this one

    @property
    def elsewhere(self) -> bool:
        """Whether this was on another host, which shares the work folder."""
        return self.host not in ("", os.uname().nodename)

    def age(self) -> float:
        """Seconds since then; what was before this boot is at least as old as the boot."""
        if self.elsewhere:
            return max(time.time() - self.time, 0.0)
        if self.boot_id == boot_id():
            return since_boot() - self.up
        return max(since_boot(), time.time() - self.time)


def now() -> Moment:
    """This moment."""
    node = os.uname().nodename
    return Moment(time=time.time(), up=since_boot(), boot_id=boot_id(), host=node)


class Note(Record):
    """What was asked."""

    job: Job
    made: Moment


class Beat(Record):
    """A heartbeat: the processes of supervisor and job, each with its start tick."""

    pid: int
    began_itself: int | None
    child: int
    child_began: int | None
    began: Moment  # the job
    at: Moment


class StopOrder(Record):
    """A stop request."""

    grace_s: float
    insist: bool
    time: float


class End(Record):
    """How a job ended."""

    pid: int | None
    code: int | None
    signal: int | None
    stopped: bool
    error: str | None
    began: Moment
    at: Moment


# ---- from outside -------------------------------------------------------------------------------


def code_folder() -> str:
    """The folder of the package that runs this."""
    root = os.path.abspath(__file__)
    for _ in range(4):  # ringrift_cli/fleet/agent/supervise.py
        root = os.path.dirname(root)
    return root


def launch(
    work: str,
    identity: str,
    claims: Claims | None = None,
    adopt: bool = False,
    patience: float = 10.0,
) -> None:
    """Starts a supervisor, and waits until the job runs or could not be started.

    Supervisor and job inherit the claims, so that they last as long as either. It does not wait
    for longer than `patience` seconds. `OSError` if no process can be made.
    """
    claims = claims or Claims()
    ready, tell = os.pipe()
    log = os.open(os.path.join(work, JOBS, identity, LOG), os.O_WRONLY | os.O_APPEND)
    try:
        words = [code_folder(), work, identity, str(tell), "adopt" if adopt else "start"]
        words += [claims.devices, *map(str, claims.descriptors)]
        process = subprocess.Popen(
            [sys.executable, "-I", "-X", "utf8", "-c", START, *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=work,
            pass_fds=[tell, *claims.descriptors],
            start_new_session=True,
        )
    finally:
        os.close(tell)
        os.close(log)
    try:
        select.select([ready], [], [], patience)
    finally:
        os.close(ready)
    with contextlib.suppress(subprocess.TimeoutExpired):  # it forks and ends at once
        process.wait(patience)


# ---- inside -------------------------------------------------------------------------------------


def main(work: str, identity: str, tell: str, mode: str, devices: str, *held: str) -> None:
    """The program of a supervisor: one job, from its start to its end."""
    if os.fork():  # detached: no long-lived child of its starter, no controlling terminal
        os._exit(0)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, _ignore)  # the job has its own; how it ends must be noted
    supervisor = Supervisor(work, identity, Claims(devices, [*map(int, held)]))
    with contextlib.suppress(BrokenPipeError):
        try:
            watched = supervisor.adopt() if mode == "adopt" else supervisor.start()
            os.write(int(tell), b"!")
        finally:
            os.close(int(tell))
    if watched:
        supervisor.watch()


def _ignore(_number: int, _frame: object) -> None:
    pass


class Supervisor:
    """Supervisor of one job."""

    def __init__(self, work: str, identity: str, claims: Claims) -> None:
        self.work = work
        self.claims = claims
        self.folder = os.path.join(work, JOBS, identity)
        found = slots.read(os.path.join(self.folder, JOB), Note)
        if found is None:
            raise SystemExit(f"{self.folder}/{JOB} cannot be read")
        self.job = found.job
        self.interval = min(self.job.lease_s / BEATS, MOST_BEAT)
        self.beat_path = os.path.join(self.folder, HEARTBEAT)
        self.held = -1  # the lock
        self.process: subprocess.Popen[bytes] | None = None  # None: adopted
        self.pid = 0
        self.tick: int | None = None  # when its process began
        self.began = now()
        self.asked: float | None = None  # monotonic time of the SIGTERM
        self.kill_at: float | None = None

    def start(self) -> bool:
        """Starts the job; False if that cannot be done, which is noted as its end."""
        if not self._lock():
            return False
        signal.signal(signal.SIGCHLD, _ignore)
        self.began = now()
        argv, extra = command(self.job.argv, self.work)
        extra = {**extra, **self.job.env}
        if self.claims.devices:
            extra["CUDA_VISIBLE_DEVICES"] = self.claims.devices
        try:
            self.process = subprocess.Popen(
                argv,
                cwd=os.path.join(self.work, self.job.cwd),
                env={**os.environ, **extra},
                stdin=subprocess.DEVNULL,
                pass_fds=self.claims.descriptors,
                start_new_session=True,
            )
        except OSError as error:
            missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
            code = NOT_FOUND if missing else NOT_RUNNABLE
            self._note(code, None, f"{argv[0]} cannot be started: {error.strerror}.")
            return False
        self.pid = self.process.pid
        self.tick = began(self.pid)
        self._touch()
        return True

    def adopt(self) -> bool:
        """Takes on a job whose supervisor died; False if another one has it, or it has ended."""
        found = slots.read(self.beat_path, Beat)
        if not self._lock() or found is None or found.at.boot_id != boot_id():
            return False
        if not lives(found.child, found.child_began):
            return False
        self.began, self.pid, self.tick = found.began, found.child, found.child_began
        self._touch()
        return True

    def _lock(self) -> bool:
        self.held = os.open(self.beat_path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(self.held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    # ---- watching -------------------------------------------------------------------------------

    def watch(self) -> None:
        """Waits for the end of the job and records it."""
        woken, wake = os.pipe()
        for descriptor in (woken, wake):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        due = time.monotonic() + self.interval
        while not self._ended():
            self._heed()
            if time.monotonic() >= due:
                due = time.monotonic() + self.interval
                self._touch()
            if select.select([woken], [], [], LOOK)[0]:
                os.read(woken, 4096)
        self._finish()

    def _ended(self) -> bool:
        if self.process is None or not hasattr(os, "waitid"):  # macOS before Python 3.13
            return not lives(self.pid, self.tick)
        # It stays a zombie, so that its group's number is nobody else's until all of it is ended.
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.pid, flags) is not None

    def _heed(self) -> None:
        """Carries out a request to stop, which may become more urgent."""
        wanted = slots.read(os.path.join(self.folder, STOP), StopOrder)
        if wanted is None:
            return
        now = time.monotonic()
        if self.asked is None:
            self.asked = now
            if not wanted.insist:
                self._signal(signal.SIGTERM)  # once: many programs take a second one as an order
        self.kill_at = self.asked + (0.0 if wanted.insist else wanted.grace_s)
        if now >= self.kill_at:
            self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _finish(self) -> None:
        """Notes how the job ended; nothing of its process group is left."""
        if self.process is None:
            self._note(None, None, "Its supervisor had died: how it ended is not known.")
            return
        self._signal(signal.SIGKILL)
        code = self.process.wait()
        if code >= 0:
            self._note(code, None, None)
        else:
            self._note(None, -code, None)

    def _touch(self) -> None:
        """A heartbeat. A disk that fails must not end the job, and the next one may succeed."""
        beat = Beat(
            pid=os.getpid(),
            began_itself=began(os.getpid()),
            child=self.pid,
            child_began=self.tick,
            began=self.began,
            at=now(),
        )
        with contextlib.suppress(OSError):
            slots.fill(self.beat_path, beat, sync=False)
        with contextlib.suppress(OSError):
            os.utime(self.beat_path)

    def _note(self, code: int | None, killed_by: int | None, error: str | None) -> None:
        """Gives up the claims and records the end of the job; retries until it is written."""
        self.claims.close()
        end = End(
            pid=self.pid or None,
            code=code,
            signal=killed_by,
            stopped=self.asked is not None,
            error=error,
            began=self.began,
            at=now(),
        )
        target = os.path.join(self.folder, EXIT)
        while True:
            try:
                slots.fill_and_rename(os.path.join(self.folder, EXIT_ROOM), target, end)
            except FileNotFoundError:
                if not os.path.isdir(self.folder):  # somebody took it all away
                    return
            except OSError:
                pass
            if os.path.exists(target):
                return
            time.sleep(AGAIN)


def command(argv: list[str], work: str) -> tuple[list[str], dict[str, str]]:
    """What is executed for a job, and its environment: `ringrift` is the one that runs here."""
    if argv[0] != "ringrift":
        return argv, {}
    python = os.path.join(work, VENV, "bin", "python")
    return [python, "-P", "-m", "ringrift_cli", *argv[1:]], {"PYTHONPATH": code_folder()}
