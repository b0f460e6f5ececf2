"""What stays with a job: starts it, shows that it lives, ends it when asked, notes how it ended.

A supervisor belongs to no connection. It is started in a session of its own, holds the lock of the
job's heartbeat for as long as it lives, and is the parent of the job's process, which leads a
session and process group of its own. If a supervisor dies, the job goes on; to stop such a job
another supervisor adopts it, which can end it, but not learn its exit code.

    job.json      what was asked; written before anything is started
    heartbeat     who is alive, and when that was last so
    stop          that it shall end: {"grace_s", "insist"}
    exit.json     how it ended: {"code", "signal", "ended", "seconds", "stopped", "error"}
    .stop .exit   room on the disk for the latter two
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
from typing import Any

from ringrift_cli.fleet.remote import slots
from ringrift_cli.fleet.remote.layout import EXIT, EXIT_ROOM, HEARTBEAT, JOB, JOBS, LOG, STOP, VENV
from ringrift_cli.fleet.remote.process import began, boot_id, lives, since_boot

MOST_BEAT = 10.0  # s between two heartbeats
BEATS = 6  # in a lease
LOOK = 0.25  # s between two looks for a request to stop
AGAIN = 2.0  # s after which an end that could not be noted is tried again
NOT_FOUND, NOT_RUNNABLE = 127, 126  # exit codes of a shell for what cannot be started
START = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from ringrift_cli.fleet.remote.supervise import main; main(*sys.argv[2:])"
)


# ---- from outside -------------------------------------------------------------------------------


def launch(work: str, identity: str, adopt: bool = False, patience: float = 10.0) -> None:
    """Starts a supervisor, and waits until the job runs or could not be started.

    It does not wait for longer than `patience` seconds. `OSError` if no process can be made.
    """
    root = os.path.abspath(__file__)
    for _ in range(4):  # src/ringrift_cli/fleet/remote/supervise.py
        root = os.path.dirname(root)
    ready, tell = os.pipe()
    log = os.open(os.path.join(work, JOBS, identity, LOG), os.O_WRONLY | os.O_APPEND)
    try:
        words = [root, work, identity, str(tell), "adopt" if adopt else "start"]
        process = subprocess.Popen(
            [sys.executable, "-I", "-X", "utf8", "-c", START, *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=work,
            pass_fds=[tell],
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


def main(work: str, identity: str, tell: str, mode: str) -> None:
    """The program of a supervisor: one job, from its start to its end."""
    if os.fork():  # whoever started it has no child of long life, and it has no terminal to lose
        os._exit(0)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, _ignore)  # the job has its own; how it ends must be noted
    supervisor = Supervisor(work, identity)
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
    """Watches one job."""

    def __init__(self, work: str, identity: str) -> None:
        self.work = work
        self.folder = os.path.join(work, JOBS, identity)
        found = slots.read(os.path.join(self.folder, JOB))
        if found is None:
            raise SystemExit(f"{self.folder}/{JOB} cannot be read")
        self.job: dict[str, Any] = found["job"]
        self.interval = min(self.job["lease_s"] / BEATS, MOST_BEAT)
        self.beat_path = os.path.join(self.folder, HEARTBEAT)
        self.held = -1  # the lock
        self.process: subprocess.Popen[bytes] | None = None  # None: adopted
        self.pid = 0
        self.beat: dict[str, Any] = {}
        self.asked: float | None = None  # monotonic time of the SIGTERM
        self.kill_at: float | None = None

    def start(self) -> bool:
        """Starts the job; False if that cannot be done, which is noted as its end."""
        if not self._lock():
            return False
        signal.signal(signal.SIGCHLD, _ignore)
        argv = command(self.job["argv"], self.work)
        now, up = time.time(), since_boot()
        self.beat = {"began": now, "began_up": up, "boot_id": boot_id()}
        problem = self._spawn(argv)
        if problem is not None:
            code, error = problem
            self._note({"code": code, "signal": None, "stopped": False, "error": error})
            return False
        self._touch()
        return True

    def _spawn(self, argv: list[str]) -> tuple[int, str] | None:
        """Makes the job's process; an exit code and a sentence if that fails."""
        try:
            self.process = subprocess.Popen(
                argv,
                cwd=os.path.join(self.work, self.job["cwd"]),
                env={**os.environ, **self.job["env"]},
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
            named = f"{argv[0]} cannot be started: {error.strerror}."
            if self.job["argv"][0] == "ringrift" and missing:
                named = f"ringrift is not deployed here: there is no {argv[0]}."
            return NOT_FOUND if missing else NOT_RUNNABLE, named
        self.pid = self.process.pid
        return None

    def adopt(self) -> bool:
        """Takes on a job whose supervisor died; False if another one has it, or it has ended."""
        found = slots.read(self.beat_path)
        if not self._lock() or found is None or found.get("boot_id") != boot_id():
            return False
        if not lives(found.get("child"), found.get("child_began")):
            return False
        self.beat, self.pid = found, found["child"]
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
        """Stays until the job has ended and its end is noted."""
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
        self._note(self._end())

    def _ended(self) -> bool:
        if self.process is None:
            return not lives(self.pid, self.beat["child_began"])
        # It stays a zombie, so that its group's number is nobody else's until all of it is ended.
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.pid, flags) is not None

    def _heed(self) -> None:
        """Does what a request to stop says, which may become more urgent."""
        wanted = slots.read(os.path.join(self.folder, STOP))
        if wanted is None:
            return
        now = time.monotonic()
        if self.asked is None:
            self.asked = now
            if not wanted["insist"]:
                self._signal(signal.SIGTERM)  # once: many programs take a second one as an order
        self.kill_at = self.asked + (0.0 if wanted["insist"] else wanted["grace_s"])
        if now >= self.kill_at:
            self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _end(self) -> dict[str, Any]:
        """How the job ended; nothing of its process group is left."""
        stopped = self.asked is not None
        if self.process is None:
            error = "Its supervisor had died: how it ended is not known."
            return {"code": None, "signal": None, "stopped": stopped, "error": error}
        self._signal(signal.SIGKILL)
        code = self.process.wait()
        end = {"code": code, "signal": None} if code >= 0 else {"code": None, "signal": -code}
        return {**end, "stopped": stopped, "error": None}

    def _touch(self) -> None:
        """A heartbeat. A disk that fails must not end the job, and the next one may succeed."""
        self.beat.update(pid=os.getpid(), began_itself=began(os.getpid()), child=self.pid)
        self.beat.setdefault("child_began", began(self.pid))
        self.beat.update(time=time.time(), up=since_boot())
        with contextlib.suppress(OSError):
            slots.fill(self.beat_path, self.beat, sync=False)
        with contextlib.suppress(OSError):
            os.utime(self.beat_path)

    def _note(self, end: dict[str, Any]) -> None:
        """Writes the end down, for as long as it takes."""
        now, up = time.time(), since_boot()
        end = {**end, "ended": now, "seconds": up - self.beat["began_up"]}
        end.update(began=self.beat["began"], time=now, up=up, boot_id=boot_id())
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


def command(argv: list[str], work: str) -> list[str]:
    """What is executed for a job's words: `ringrift` is the one that was deployed there."""
    if argv[0] == "ringrift":
        return [os.path.join(work, VENV, "bin", "python"), "-m", "ringrift_cli", *argv[1:]]
    return list(argv)
