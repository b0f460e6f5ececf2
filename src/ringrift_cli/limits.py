"""CPU cores and memory that this process may use: by its affinity, and as its cgroups limit it.

Control groups, of version 1 or 2, are nested: each of them limits those below it. A container often
sees its own group as the root of the hierarchy, whatever the name by which the process knows it.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

GROUPS, OWN, MEMINFO = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup"), Path("/proc/meminfo")


def cores() -> int:
    """Cores that this process can keep busy, at least 1: a quota of 1.5 cores counts as 2."""
    return whole_cores(len(os.sched_getaffinity(0)), quota())


def whole_cores(present: int, allowed: float) -> int:
    """Cores to use of those that are present, with so much CPU time per second; at least 1."""
    return max(1, min(present, math.ceil(allowed) if math.isfinite(allowed) else present))


def memory() -> tuple[int, int]:
    """Bytes of RAM that this process and its group may use: in all, and still available."""
    fields = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines() if ":" in line)
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


def _groups(controller: str) -> Iterator[Path]:
    """Folders of the groups that this process belongs to, for one resource, from the root down."""
    with contextlib.suppress(OSError):
        for line in OWN.read_text().splitlines():
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
