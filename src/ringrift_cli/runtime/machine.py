"""The devices of this machine: what they are called, and how much of their memory is free or used.

A device is named by torch: "cpu" are all cores that this process may use, "cuda:0" is a GPU.
"""

from __future__ import annotations

from pathlib import Path

from ringrift_cli.errors import RingriftError
from ringrift_cli.game.bench import this_machine
from ringrift_cli.text import counted

GIGABYTE = 1e9
# Where a container says how much memory it may take, and takes: cgroups of version 2 and 1.
CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)


class TooLittleMemory(RingriftError):
    """A device has too little memory for what was asked of it."""


def device_name(device: str) -> str:
    """Processor and cores, or GPU and memory: what figures are compared on."""
    if device == "cpu":
        machine = this_machine()
        return f"{machine.processor}, {counted(machine.cores, 'core')}"
    import torch

    found = torch.cuda.get_device_properties(device)
    return f"{found.name}, {found.total_memory / 2**30:.0f} GiB"


def free_bytes(device: str) -> int:
    """Bytes of a device's memory that nobody uses."""
    if device != "cpu":
        import torch

        free, _total = torch.cuda.mem_get_info(device)
        return int(free)
    available = 1024 * _kilobytes("/proc/meminfo", "MemAvailable")
    for most, used in CGROUPS:
        try:
            left = int(Path(most).read_text()) - int(Path(used).read_text())
        except (OSError, ValueError):  # there is none, or it says "max"
            continue
        available = min(available, max(0, left))
    return available


def peak_bytes(device: str) -> int:
    """Most bytes that this process ever held of a device's memory.

    Of a GPU that is what torch reserved: no contexts, and not what other processes hold.
    """
    if device != "cpu":
        import torch

        return int(torch.cuda.max_memory_reserved(device))
    # getrusage would say that of the process which started this one, if that held more
    return 1024 * _kilobytes("/proc/self/status", "VmHWM")


def _kilobytes(path: str, name: str) -> int:
    """A line of a file of /proc, as `VmHWM:   1234 kB`."""
    for line in Path(path).read_text().splitlines():
        key, _, rest = line.partition(":")
        if key == name:
            return int(rest.split()[0])
    raise RingriftError(f"{path} does not say {name}: memory cannot be measured here.")
