"""Runs jobs on CUDA's simulator, in another process; what compiled code does stays in ours.

The simulator is chosen when numba is imported, and all of `game.jit` with it. One process does all
jobs that must be quiet, for it takes seconds to start; a job that is not may leave things changed.
"""

from __future__ import annotations

import atexit
import importlib
import os
import select
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

Arrays = dict[str, np.ndarray]
Job = Callable[[Arrays], Arrays]
PATIENCE = 600  # seconds


class Simulator:
    """A process that does one job after the other."""

    def __init__(self) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.simulated"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True,
            env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}, cwd=Path(__file__).parents[1],
        )  # fmt: skip

    def run(self, job: Job, given: Arrays, folder: Path) -> tuple[Arrays, str]:
        """What a job makes of arrays, and what it wrote to stderr; `AssertionError` if it fails."""
        asked, told = folder / "given.npz", folder / "told.npz"
        np.savez(asked, **given)  # type: ignore[arg-type]
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{job.__module__}\t{job.__name__}\t{asked}\t{told}\n")
        process.stdin.flush()
        ready = select.select([process.stdout], [], [], PATIENCE)[0]
        answer = process.stdout.readline() if ready else "too late"
        self._errors.seek(0)
        errors = self._errors.read()
        self._errors.seek(0)  # the process writes where this file stands
        self._errors.truncate()
        assert answer == "done\n", errors or answer
        return arrays_of(told), errors

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()


@cache
def shared() -> Simulator:
    simulator = Simulator()
    atexit.register(simulator.close)
    return simulator


def simulate(job: Job, given: Arrays, folder: Path, *, quiet: bool = True) -> Arrays:
    """What `job`, a function of a module of the tests, makes of the arrays on the simulator.

    If it is to be `quiet` it must write nothing to stderr.
    """
    if quiet:
        told, errors = shared().run(job, given, folder)
        assert not errors
        return told
    own = Simulator()
    try:
        return own.run(job, given, folder)[0]
    finally:
        own.close()


def arrays_of(path: Path) -> Arrays:
    with np.load(path) as arrays:
        return dict(arrays)


def main() -> None:
    """The other process."""
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        module, name, asked, told = line.rstrip("\n").split("\t")
        answer = "done"
        try:
            job = getattr(importlib.import_module(module), name)
            np.savez(told, **job(arrays_of(Path(asked))))
        except Exception:  # noqa: BLE001  whatever it was, the test shows it
            traceback.print_exc()
            answer = "failed"
        sys.stderr.flush()
        answers.write(f"{answer}\n")
        answers.flush()


if __name__ == "__main__":
    main()
