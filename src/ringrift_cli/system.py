"""What the operating system says of this machine, its boot, and its processes.

Linux says it in /proc, in control groups, and by the affinity of a process. macOS has none of
these: there `sysctl`, `vm_stat` and `ps` are asked.

Control groups, of version 1 or 2, are nested: each of them limits those below it. A container often
sees its own group as the root of the hierarchy, whatever the name by which the process knows it.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import math
import os
import platform
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ringrift_cli.errors import RingriftError

PROC, GROUPS = Path("/proc"), Path("/sys/fs/cgroup")
DEAD = "ZXx"  # states of a process that has ended; process 1 of many a container leaves zombies
PAGES = re.compile(r"^Pages (?:free|inactive|speculative): +(\d+)\.", re.MULTILINE)  # of vm_stat


# ---- cores --------------------------------------------------------------------------------------


def cores() -> int:
    """Cores that this process can keep busy, at least 1: a quota of 1.5 cores counts as 2."""
    affine = hasattr(os, "sched_getaffinity")
    present = len(os.sched_getaffinity(0)) if affine else os.cpu_count() or 1
    return whole_cores(present, quota())


def whole_cores(present: int, allowed: float) -> int:
    """Cores to use of those that are present, with so much CPU time per second; at least 1."""
    return max(1, min(present, math.ceil(allowed) if math.isfinite(allowed) else present))


@contextlib.contextmanager
def pinned() -> Iterator[None]:
    """Keeps the process on one core within the block; without effect where there is no affinity."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@functools.cache
def quota() -> float:
    """CPU time per second that the groups of this process allow; infinite without a limit."""
    found = [math.inf]
    for folder in _groups("cpu"):
        old = [_numbers(folder / name) for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")]
        found.append(share(_numbers(folder / "cpu.max") or [*old[0], *old[1]]))
    return min(found)


def share(numbers: Sequence[float]) -> float:
    """CPU time per second of a quota and its period; infinite for another list of numbers."""
    return numbers[0] / numbers[1] if len(numbers) == 2 and min(numbers) > 0 else math.inf


@functools.cache
def processor() -> str:
    """The processor by its name, or on ARM under Linux by the numbers of its maker and part."""
    text = _read("cpuinfo")
    if text is None:
        return _said("sysctl", "-n", "machdep.cpu.brand_string")
    fields = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    found = {name.strip(): value.strip() for name, value in fields}
    part = [found[name] for name in ("CPU implementer", "CPU part") if name in found]
    return found.get("model name") or " ".join([platform.machine(), *part])


@functools.cache
def processor_flags() -> frozenset[str]:
    """Names of what the first processor can do, as /proc/cpuinfo has them; empty elsewhere."""
    return frozenset((_read("cpuinfo") or "").split("\n\n")[0].split())


# ---- memory -------------------------------------------------------------------------------------


def memory() -> tuple[int, int]:
    """Bytes of RAM that this process and its group may use: in all, and still available."""
    text = _read("meminfo")
    if text is None:
        page = os.sysconf("SC_PAGE_SIZE")
        free = sum(map(int, PAGES.findall(_said("vm_stat"))))
        return page * os.sysconf("SC_PHYS_PAGES"), page * free
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    total, available = (
        1024 * int(fields[name].split()[0]) for name in ("MemTotal", "MemAvailable")
    )
    names = ("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")
    for folder in _groups("memory"):
        for most, used in names:
            limit = _numbers(folder / most)
            if len(limit) == 1 and limit[0] < total:
                held = sum(_numbers(folder / used)) - _cached(folder)  # caches can be given back
                available = max(min(available, limit[0] - held), 0)
                total = limit[0]
    return total, available


def peak_memory() -> int:
    """The most memory that this process has held, bytes."""
    text = _read("self/status")
    if text is not None:  # getrusage inherits the parent's peak if that is greater
        return 1024 * int(text.partition("VmHWM:")[2].split()[0])
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def read_from_disk(descriptor: int) -> None:
    """Makes reads of a file come from the disk, as far as the system lets us."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    elif hasattr(fcntl, "F_NOCACHE"):
        fcntl.fcntl(descriptor, fcntl.F_NOCACHE, 1)


# ---- the boot and processes ---------------------------------------------------------------------


def since_boot() -> float:
    """Seconds since the machine was booted, sleep included."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@functools.cache
def boot_id() -> str:
    """The id of this boot of the machine."""
    text = _read("sys/kernel/random/boot_id")
    return _said("sysctl", "-n", "kern.bootsessionuuid") if text is None else text.strip()


def began(pid: int) -> int | None:
    """When a process began: ticks since the boot, or without /proc seconds since 1970.

    None if there is none, or only its zombie.
    """
    text = _read(f"{pid}/stat")
    if text is not None:
        fields = text.rpartition(")")[2].split()
        return None if len(fields) < 20 or fields[0] in DEAD else int(fields[19])
    if _read("self/stat") is not None:
        return None
    state, _, start = _said("ps", "-o", "stat=", "-o", "lstart=", "-p", str(pid)).partition(" ")
    if not start or state[0] in DEAD:
        return None
    return int(time.mktime(time.strptime(start.strip(), "%a %b %d %H:%M:%S %Y")))


def lives(pid: int, began_at: int | None) -> bool:
    """Whether the process exists and began then."""
    return pid > 0 and began_at is not None and began(pid) == began_at


# ---- sources ------------------------------------------------------------------------------------


def _read(name: str) -> str | None:
    """A file in /proc; None if there is none."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return PROC.joinpath(name).read_text("utf-8", "replace")
    return None


def _said(*words: str) -> str:
    """What a program prints; `RingriftError` if there is no such program."""
    import subprocess

    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    except OSError as error:
        raise RingriftError(
            f"This system has neither {PROC} nor {words[0]}: {error.strerror}.",
            hint="Linux with /proc, or macOS",
        ) from error
    return done.stdout.strip()


def _groups(controller: str) -> Iterator[Path]:
    """Folders of the groups that this process belongs to, for one resource, from the root down."""
    for line in (_read("self/cgroup") or "").splitlines():
        _number, controllers, path = line.split(":", 2)
        if not controllers:
            roots = [GROUPS, GROUPS / "unified"]
        elif controller in controllers.split(","):
            roots = [*{(GROUPS / name).resolve() for name in (controllers, controller)}]
        else:
            continue
        for root in roots:
            below = [part for part in path.split("/") if part not in ("", "..")]
            yield from (root.joinpath(*below[:depth]) for depth in range(len(below) + 1))


def _numbers(path: Path) -> list[int]:
    """The numbers in a file of a group; empty if it is not there, or has no limit ("max")."""
    with contextlib.suppress(OSError, ValueError):
        return [int(word) for word in path.read_text().split()]
    return []


def _cached(folder: Path) -> int:
    """Bytes of files that a group holds in memory without need."""
    with contextlib.suppress(OSError):
        for line in (folder / "memory.stat").read_text().splitlines():
            if line.startswith(("inactive_file ", "total_inactive_file ")):
                return int(line.split()[1])
    return 0
