"""Claims of jobs on GPUs or the CPU: exclusive across all coordinators.

A claim is an abstract Unix socket with a name: binding is atomic on the whole machine, and the name
is free again as soon as no process holds the socket. Only Linux has them; elsewhere it is the lock
of a file in `FOLDER`, which is free again just so. Supervisor and job inherit either. A machine
that stands for several hosts sets `RINGRIFT_MACHINE` to another value for each: claims hold among
equal values.
"""

from __future__ import annotations

import errno
import hashlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from ringrift_cli.fleet.agent.context import Refusal
from ringrift_cli.fleet.messages import TAKEN, Gpu

MACHINE = "RINGRIFT_MACHINE"
ABSTRACT = sys.platform == "linux"
FOLDER = "/tmp"


@dataclass
class Claims:
    """Claims held by this process, until they are closed here and by all who inherited them."""

    devices: str = ""  # CUDA_VISIBLE_DEVICES; empty: as the job says
    descriptors: list[int] = field(default_factory=list)

    def close(self) -> None:
        """Gives them up in this process."""
        while self.descriptors:
            os.close(self.descriptors.pop())


def claim(wanted: Sequence[int], gpus: Sequence[Gpu]) -> Claims:
    """Claims the wanted GPUs by index, without any the CPU of this machine.

    `Refusal` of kind "taken" if another job holds one, or if one is missing.
    """
    present = {gpu.index: gpu for gpu in gpus}
    own = hashlib.sha256(os.environ.get(MACHINE, "").encode()).hexdigest()[:16]
    names, uuids = [], []
    for index in wanted:
        gpu = present.get(index)
        if gpu is None:
            raise Refusal(TAKEN, f"GPU {index} is not there.")
        uuids.append(gpu.uuid)
        names.append((f"GPU {index}", gpu.uuid or f"{own}/{index}"))
    made = Claims(",".join(uuid for uuid in uuids if uuid) if all(uuids) else "")
    for name, key in names or [("The CPU", f"{own}/cpu")]:
        descriptor = _bound(f"\0ringrift/{key}") if ABSTRACT else _locked(key)
        if descriptor is None:
            made.close()
            raise Refusal(TAKEN, f"{name} is held by another job.")
        made.descriptors.append(descriptor)
    return made


def _bound(name: str) -> int | None:
    """A new socket of this name; None if there is one already."""
    import socket

    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        made.bind(name)
    except OSError as error:
        made.close()
        if error.errno != errno.EADDRINUSE:
            raise
        return None
    return made.detach()


def _locked(key: str) -> int | None:
    """The locked file of a key; None if another process holds the lock."""
    import fcntl

    path = os.path.join(FOLDER, f"ringrift-{key.replace('/', '-')}.lock")
    descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
