"""Processes by what cannot be mistaken: a number and the moment at which it began.

Clocks of hosts jump; the time since they were booted does not. It is what ages are measured by.
"""

from __future__ import annotations

import time
from typing import Any

DEAD = (
    b"Z",
    b"X",
    b"x",
)  # nobody may ever collect a zombie: process 1 of many a container does not


def since_boot() -> float:
    """Seconds since the machine was booted, sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """A name of this boot of the machine."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def began(pid: int) -> int | None:
    """When a process began, in ticks since the boot; None if there is none, or only its zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if len(fields) < 20 or fields[0] in DEAD else int(fields[19])


def lives(pid: Any, began_at: Any) -> bool:
    """Whether the process of this number is there and is still the same."""
    return isinstance(pid, int) and pid > 0 and began_at is not None and began(pid) == began_at
