"""Devices of this machine: model name, free memory, peak memory.

Devices have torch's names: "cpu" is all cores available to this process, "cuda:0" a GPU.
"""

from __future__ import annotations

from ringrift_cli.errors import RingriftError
from ringrift_cli.game.bench import this_machine
from ringrift_cli.system import memory, peak_memory
from ringrift_cli.text import counted

GIGABYTE = 1e9


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
    return memory()[1]


def peak_bytes(device: str) -> int:
    """Peak memory of this process on a device, bytes.

    On a GPU the memory reserved by torch, without contexts and other processes.
    """
    if device != "cpu":
        import torch

        return int(torch.cuda.max_memory_reserved(device))
    return peak_memory()
