"""Runs a job on CUDA's simulator, in a process of its own; what compiled code does stays in ours.

The simulator is chosen when numba is imported, and all of `game.jit` with it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

Arrays = dict[str, np.ndarray]
Job = Callable[[Arrays], Arrays]
PATIENCE = 600  # seconds


def simulate(job: Job, given: Arrays, folder: Path, *, quiet: bool = True) -> Arrays:
    """What `job`, a function of a module of the tests, makes of the arrays on the simulator.

    If it is to be `quiet` it must write nothing to stderr.
    """
    asked, told = folder / "given.npz", folder / "told.npz"
    np.savez(asked, **given)  # type: ignore[arg-type]
    program = (
        f"import sys; from {job.__module__} import {job.__name__} as job;"
        " from tests.simulated import answer; answer(job, *sys.argv[1:])"
    )
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program, str(asked), str(told)],
        capture_output=True, text=True, timeout=PATIENCE, check=False, env=environment,
        cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not (quiet and done.stderr), done.stderr
    return arrays_of(told)


def answer(job: Job, asked: str, told: str) -> None:
    """The main function of the other process."""
    np.savez(told, **job(arrays_of(Path(asked))))  # type: ignore[arg-type]


def arrays_of(path: Path) -> Arrays:
    with np.load(path) as arrays:
        return dict(arrays)
