"""GPUs of hosts for tests: as facts report them, and nvidia-smi programs that print them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from typing import Any

from ringrift_cli.fleet.messages import Facts, Gpu, JobState
from tests.fleet.servers import Server, furnish
from tests.fleet.stations import STUB, program

MB = 24564


def gpu(index: int, **values: Any) -> Gpu:
    """An idle GPU."""
    known: dict[str, Any] = {
        "index": index, "name": "NVIDIA GeForce RTX 4090", "use_percent": 0,
        "memory_used_mb": 4, "memory_total_mb": MB, "temperature_c": 40,
    }  # fmt: skip
    return Gpu(**{**known, **values})


def facts_of(jobs: Sequence[JobState] = (), gpus: int | Sequence[Gpu] = 0) -> Facts:
    """Facts about a host with jobs and GPUs, of which a number gives idle ones."""
    found = [gpu(index) for index in range(gpus)] if isinstance(gpus, int) else [*gpus]
    return Facts(
        hostname="box", time=1.0, uptime_s=1.0, cores=4, load=[0.0, 0.0, 0.0], ram_total=1,
        ram_available=1, disk_total=1, disk_free=1, gpus=found, jobs=[*jobs],
        gpus_proved=len(found),
    )  # fmt: skip


def lines(count: int, **changed: str) -> list[str]:
    """What nvidia-smi prints of idle GPUs; `changed`: the rest of a line by `gpuN`."""
    idle = f"NVIDIA GeForce RTX 4090, 0, 4, {MB}, 40, 20.5"
    return [f"{index}, {changed.get(f'gpu{index}', idle)}" for index in range(count)]


def smi(query: Sequence[str], listed: Sequence[str] = (), code: int = 0) -> str:
    """An nvidia-smi that prints these lines, for `-L` those of `listed`, and exits with `code`."""
    told = [shlex.join(["printf", "%s\\n", *some]) for some in (listed, query)]
    return f'if [ "$1" = -L ]; then {told[0]}; else {told[1]}; exit {code}; fi'


def with_gpus(server: Server, script: str, job: str | None = None) -> None:
    """Lets a host have this nvidia-smi; its jobs run `job`, by default the stub."""
    found = program(server.folder / "nvidia-smi", f"#!/bin/sh\n{script}\n")
    python = f'#!/bin/sh\nPATH={found.parent}:$PATH exec {sys.executable} "$@"\n'
    job = job or shlex.join([sys.executable, "-I", "-S", str(STUB)])
    furnish(server.work, job, str(program(server.folder / "python", python)))
