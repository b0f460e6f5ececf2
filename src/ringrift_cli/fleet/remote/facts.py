"""What a host is and does, in one answer, soon: nothing that hangs is waited for."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import math
import os
import time
from typing import TYPE_CHECKING, Any, Dict, List

from ringrift_cli.fleet.remote import jobs, slots
from ringrift_cli.fleet.remote.base import Ask, Half, number
from ringrift_cli.fleet.remote.layout import CHAMPION, DEPLOYED, MODELS, VENV
from ringrift_cli.fleet.remote.process import boot_id, since_boot

if TYPE_CHECKING:
    import subprocess

DEADLINE = 2.5  # s
SHARE = 0.8  # of it, for the GPUs and for the jobs
SMI_FOLDERS = ("/usr/local/nvidia/bin", "/usr/lib/wsl/lib", "/usr/local/cuda/bin", "/opt/bin")
SMI_FIELDS = "index,name,utilization.gpu,memory.used,memory.total,temperature.gpu"
Gpus = List[Dict[str, Any]]


def facts(half: Half, ask: Ask) -> Ask:
    """All of it. What cannot be told in time is null, with the reason beside it."""
    until = time.monotonic() + SHARE * number(ask, "deadline_s", DEADLINE)
    asking = Smi()
    disk = os.statvfs(half.work)
    total, available = memory()
    known = jobs.states(half, None, until)
    every = jobs.names(half)
    gpus, gpus_error = asking.answer(until)
    idle = _idle(known)
    return {
        "hostname": os.uname().nodename,
        "time": time.time(),
        "boot_id": boot_id(),
        "uptime_s": since_boot(),
        "cores": cores(),
        "load": list(os.getloadavg()),
        "ram_total": total,
        "ram_available": available,
        "disk_total": disk.f_blocks * disk.f_frsize,
        "disk_free": (disk.f_bavail if os.geteuid() else disk.f_bfree) * disk.f_frsize,
        "gpus": gpus,
        "gpus_error": gpus_error,
        "deployed": slots.read(half.inner(DEPLOYED)),
        "installed": installed(half.work),
        "models": models(half),
        "jobs": known,
        "jobs_error": _cut(len(known), len(every)),
        "idle_s": idle,
    }


def _cut(told: int, there: int) -> str | None:
    return None if told >= there else f"only {told} of {there} jobs could be looked at in time"


def _idle(known: list[jobs.State]) -> float | None:
    """Seconds since a job was last alive; None if one is, or none ever was."""
    if any(job["state"] in ("starting", "running") for job in known):
        return None
    return min((job["over_s"] for job in known if job["over_s"] is not None), default=None)


# ---- GPUs ---------------------------------------------------------------------------------------


class Smi:
    """nvidia-smi, which hangs on a GPU that fell off the bus."""

    def __init__(self) -> None:
        program = _found("nvidia-smi")
        self.problem: str | None = None
        self.process: subprocess.Popen[bytes] | None = None
        if program is None:
            return
        import subprocess

        try:
            self.process = subprocess.Popen(
                [program, f"--query-gpu={SMI_FIELDS}", "--format=csv,noheader,nounits"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            self.problem = f"{program} cannot be started: {error.strerror}"

    def answer(self, until: float) -> tuple[Gpus | None, str | None]:
        """The GPUs, or None and why; a host without nvidia-smi has none."""
        if self.process is None:
            return (None, self.problem) if self.problem else ([], None)
        import subprocess

        limit = max(until - time.monotonic(), 0.05)
        try:
            said, _ = self.process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            self._kill()
            return None, f"nvidia-smi did not answer within {limit:.1f} s"
        text = said.decode("utf-8", "replace")
        if self.process.returncode:
            first = text.strip().splitlines()[0][:200] if text.strip() else "it said nothing"
            return None, f"nvidia-smi failed ({self.process.returncode}): {first}"
        try:
            return [_gpu(line) for line in text.splitlines() if line.strip()], None
        except ValueError:
            return None, f"nvidia-smi said what cannot be read: {text.strip()[:200]!r}"

    def _kill(self) -> None:
        """Ends it and all that it started; one that even that does not end is left alone."""
        import signal
        import subprocess

        assert self.process is not None
        assert self.process.stdout is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(0.1)
        self.process.stdout.close()


def _found(name: str) -> str | None:
    """A program in the PATH, or where images of rented machines keep it."""
    folders = (*os.environ.get("PATH", os.defpath).split(os.pathsep), *SMI_FOLDERS)
    paths = (os.path.join(folder, name) for folder in folders if folder)
    return next((p for p in paths if os.path.isfile(p) and os.access(p, os.X_OK)), None)


def _gpu(line: str) -> dict[str, Any]:
    """One line; a value that a GPU does not tell is None."""
    index, rest = line.split(",", 1)
    name, *values = (field.strip() for field in rest.rsplit(",", 4))
    if len(values) != 4:
        raise ValueError(line)
    use, used, total, heat = (None if v.startswith("[") else int(float(v)) for v in values)
    return {
        "index": int(index),
        "name": name,
        "use_percent": use,
        "memory_used_mb": used,
        "memory_total_mb": total,
        "temperature_c": heat,
    }


# ---- the machine --------------------------------------------------------------------------------


def memory() -> tuple[int, int]:
    """Bytes of RAM in all and available: the machine's, or what a container may use of it."""
    told = {}
    with open("/proc/meminfo", encoding="ascii") as file:
        for line in file:
            name, _, value = line.partition(":")
            told[name] = value.split()
    total, available = (1024 * int(told[name][0]) for name in ("MemTotal", "MemAvailable"))
    limit = _number("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
    used = _number("/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory/memory.usage_in_bytes")
    if limit is None or limit >= total:
        return total, available
    cached = _cached()
    return limit, max(min(available, limit - (used or 0) + cached), 0)


def _number(*paths: str) -> int | None:
    """The number in the first of the files that is there; None for another word."""
    for path in paths:
        with contextlib.suppress(OSError), open(path, encoding="ascii") as file:
            word = file.read().split()[0]
            return int(word) if word.isdigit() else None
    return None


def _cached() -> int:
    """Bytes of files that the container's memory holds and can give back."""
    for path in ("/sys/fs/cgroup/memory.stat", "/sys/fs/cgroup/memory/memory.stat"):
        with contextlib.suppress(OSError), open(path, encoding="ascii") as file:
            for line in file:
                if line.startswith(("inactive_file ", "total_inactive_file ")):
                    return int(line.split()[1])
    return 0


def cores() -> int:
    """Cores that we may use."""
    found = len(os.sched_getaffinity(0))
    with contextlib.suppress(OSError), open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
        quota, period = file.read().split()
        if quota.isdigit():
            found = min(found, math.ceil(int(quota) / int(period)))
    return max(found, 1)


# ---- what is installed --------------------------------------------------------------------------


def installed(work: str) -> dict[str, str] | None:
    """The ringrift in the virtual environment; None without one. No process is started."""
    folder = glob.escape(os.path.join(work, VENV, "lib"))
    for place in glob.glob(f"{folder}/python3.*/site-packages/ringrift-*.dist-info"):
        version = os.path.basename(place)[len("ringrift-") : -len(".dist-info")]
        record = os.path.join(place, "RECORD")
        with contextlib.suppress(FileNotFoundError), open(record, "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
            return {"version": version, "record_sha256": digest}
    return None


def models(half: Half) -> dict[str, dict[str, str]]:
    """The champion of each pool, and the hash of the file that says so."""
    found = {}
    try:
        pools = sorted(os.listdir(half.path(MODELS)))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    for pool in pools:
        path = os.path.join(half.work, MODELS, pool, CHAMPION)
        if pool.startswith(".") or not half.holds(path):
            continue
        told = slots.read(path)
        if told is not None and isinstance(told.get("champion"), str):
            with open(path, "rb") as file:
                digest = hashlib.sha256(file.read()).hexdigest()
            found[pool] = {"champion": told["champion"], "sha256": digest}
    return found
