"""Facts about a host, collected within a deadline."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import time
from typing import TYPE_CHECKING

import msgspec

from ringrift_cli.fleet import messages
from ringrift_cli.fleet.agent import jobs, slots
from ringrift_cli.fleet.agent.context import Context
from ringrift_cli.fleet.agent.index import Index
from ringrift_cli.fleet.agent.layout import CHAMPION, IDENTITY, MODELS, PROVED
from ringrift_cli.fleet.probe import SMI_FIELDS, SMI_FOLDERS, has_slices, parse_gpus
from ringrift_cli.system import cores, memory, since_boot
from ringrift_cli.version import __version__

if TYPE_CHECKING:
    import subprocess

MOST_JOBS = 500  # ended ones in one reply
SHARE = 0.8  # of the deadline, for GPUs and jobs


def facts(context: Context, request: messages.AskFacts) -> messages.Facts:
    """All facts; those that are not available in time are None, with an error."""
    until = time.monotonic() + SHARE * request.deadline_s
    asking = Smi()
    disk = os.statvfs(context.work)
    total, available = memory()
    index = Index(context, time.monotonic() + SHARE / 2 * request.deadline_s)
    wanted = index.notable(MOST_JOBS)
    over = jobs.states(context, wanted, until)
    known, missing = [*index.open, *over], index.unread + len(wanted) - len(over)
    gpus, gpus_error = asking.answer(until)
    return messages.Facts(
        hostname=os.uname().nodename,
        time=time.time(),
        uptime_s=since_boot(),
        cores=cores(),
        load=list(os.getloadavg()),
        ram_total=total,
        ram_available=available,
        disk_total=disk.f_blocks * disk.f_frsize,
        disk_free=(disk.f_bavail if os.geteuid() else disk.f_bfree) * disk.f_frsize,
        gpus=gpus,
        gpus_error=gpus_error,
        version=__version__,
        models=models(context),
        jobs=known,
        jobs_error=f"only {len(index) - missing} of {len(index)} jobs could be looked at in time"
        if missing
        else None,
        jobs_total=len(index),
        games=index.games,
        folder=slots.read(context.inner(IDENTITY), str) or "",
        gpus_proved=slots.read(context.inner(PROVED), int) or 0,
        idle_s=_idle(known, index.removed.ended),
    )


def _idle(known: list[messages.JobState], removed: float | None) -> float | None:
    """Seconds since a job was last alive, `removed` ones included; None if one is, or none was."""
    if any(job.here for job in known):
        return None
    ages = [] if removed is None else [max(time.time() - removed, 0.0)]
    return min([*ages, *(job.over_s for job in known if job.over_s is not None)], default=None)


# ---- GPUs ---------------------------------------------------------------------------------------


class Smi:
    """nvidia-smi, which hangs on a GPU that fell off the bus."""

    def __init__(self) -> None:
        self.program = _found("nvidia-smi")
        self.problem: str | None = None
        self.processes: list[subprocess.Popen[bytes]] = []  # the query, the list
        if self.program is None:
            return
        import subprocess

        query = [f"--query-gpu={SMI_FIELDS}", "--format=csv,noheader,nounits"]
        for words in (query, ["-L"]):
            try:
                process = subprocess.Popen(
                    [self.program, *words],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                self.problem = f"{self.program} cannot be started: {error.strerror}"
                return
            self.processes.append(process)

    def answer(self, until: float) -> tuple[list[messages.Gpu] | None, str | None]:
        """The GPUs or None, and errors; an empty list without nvidia-smi."""
        import subprocess

        if self.program is None:
            return [], None
        texts = []
        limit = max(until - time.monotonic(), 0.05)
        for process in self.processes:
            try:
                said, _ = process.communicate(timeout=max(until - time.monotonic(), 0.05))
            except subprocess.TimeoutExpired:
                self.problem = f"nvidia-smi did not answer within {limit:.1f} s"
                _kill(process)
            else:
                texts.append(said.decode("utf-8", "replace"))
        if self.problem is not None:
            return None, self.problem
        if has_slices(texts[1]):
            texts.append(self._details(until))
        code = self.processes[0].returncode
        gpus, error = parse_gpus(*texts)
        if gpus is None and code:
            first = texts[0].strip().splitlines()[0][:200] if texts[0].strip() else None
            return None, f"nvidia-smi failed ({code}): {first or 'it printed nothing'}"
        return gpus, error

    def _details(self, until: float) -> str:
        """The output of `nvidia-smi -q -x`, which has the memory of slices; empty if late."""
        import subprocess

        assert self.program is not None
        process = subprocess.Popen(
            [self.program, "-q", "-x"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            said, _ = process.communicate(timeout=max(until - time.monotonic(), 0.05))
        except subprocess.TimeoutExpired:
            _kill(process)
            return ""
        return said.decode("utf-8", "replace")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Ends it and all that it started; one that even that does not end is left alone."""
    import signal
    import subprocess

    assert process.stdout is not None
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(0.1)
    process.stdout.close()


def _found(name: str) -> str | None:
    """A program in the PATH, or where images of rented machines keep it."""
    folders = (*os.environ.get("PATH", os.defpath).split(os.pathsep), *SMI_FOLDERS)
    paths = (os.path.join(folder, name) for folder in folders if folder)
    return next((p for p in paths if os.path.isfile(p) and os.access(p, os.X_OK)), None)


# ---- models -------------------------------------------------------------------------------------


class Pointer(msgspec.Struct):
    """What the agent reads of a pool's champion.json."""

    champion: str


def models(context: Context) -> dict[str, messages.Champion]:
    """The champion of each pool, with the hash of its pointer file."""
    found = {}
    for path in sorted(glob.glob(os.path.join(glob.escape(context.work), MODELS, "*", CHAMPION))):
        if not context.holds(path):
            continue
        with contextlib.suppress(msgspec.ValidationError):
            pointer = slots.read(path, Pointer)
            if pointer is not None:
                with open(path, "rb") as file:
                    digest = hashlib.sha256(file.read()).hexdigest()
                pool = os.path.basename(os.path.dirname(path))
                found[pool] = messages.Champion(champion=pointer.champion, sha256=digest)
    return found
