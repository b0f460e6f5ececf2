"""Devices of this machine: model name, free memory, peak memory.

Devices have torch's names: "cpu" is all cores available to this process, "cuda:0" a GPU.
"""

from __future__ import annotations

from pathlib import Path

from ringrift_cli.errors import RingriftError
from ringrift_cli.game.bench import this_machine
from ringrift_cli.text import counted

GIGABYTE = 1e9
# Memory limit and usage of a container, for cgroups version 2 and 1.
CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)


class TooLittleMemory(RingriftError):
    """A device has too little memory for the requested work."""


def device_name(device: str) -> str:
    """Processor and core count, or GPU and memory size, as profiles identify a device."""
    if device == "cpu":
        machine = this_machine()
        return f"{machine.processor}, {counted(machine.cores, 'core')}"
    import torch

    found = torch.cuda.get_device_properties(device)
    return f"{found.name}, {found.total_memory / 2**30:.0f} GiB"


def free_bytes(device: str) -> int:
    """Unused memory of a device, bytes."""
    if device != "cpu":
        import torch

        free, _total = torch.cuda.mem_get_info(device)
        return int(free)
    available = 1024 * _kilobytes("/proc/meminfo", "MemAvailable")
    for most, used in CGROUPS:
        try:
            left = int(Path(most).read_text()) - int(Path(used).read_text())
        except (OSError, ValueError):  # no such cgroup, or no limit ("max")
            continue
        available = min(available, max(0, left))
    return available


def peak_bytes(device: str) -> int:
    """Peak memory of this process on a device, bytes.

    On a GPU the memory reserved by torch, without contexts and other processes.
    """
    if device != "cpu":
        import torch

        return int(torch.cuda.max_memory_reserved(device))
    # getrusage inherits the parent's peak if that is greater
    return 1024 * _kilobytes("/proc/self/status", "VmHWM")


def _kilobytes(path: str, name: str) -> int:
    """Value of a /proc line such as `VmHWM:   1234 kB`."""
    for line in Path(path).read_text().splitlines():
        key, _, rest = line.partition(":")
        if key == name:
            return int(rest.split()[0])
    raise RingriftError(f"{path} has no field {name}: memory cannot be measured here.")
