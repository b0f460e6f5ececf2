"""A fixed sequence of launches, captured once as a CUDA graph and then replayed as a whole.

A step of a search is some forty kernels, most of them far shorter than Python takes to launch one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch

from ringrift_cli.game.jit import SIMULATED

# Held while a forest takes its memory and is captured, and while memory is given back: what waits
# for the whole device, as all of these do, would break a capture in another thread.
CAPTURING = threading.RLock()
WARM_UPS = 3  # before a capture: libraries choose their kernels and take their workspaces then


def new_stream() -> torch.cuda.Stream:
    """A stream of the current device."""
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]


class Sequence:
    """What `work` launches. It reads and writes the same memory every time, and waits for nothing.

    `work` is run a few times to begin with, when it must change nothing: on a CUDA device, on the
    current stream, and under capture. The simulator has no graphs and runs it whenever it is asked.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._graph: torch.cuda.CUDAGraph | None = None
        if SIMULATED:
            return
        with CAPTURING:
            self._capture()

    def _capture(self) -> None:
        side, current = new_stream(), torch.cuda.current_stream()
        side.wait_stream(current)
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                self._work()
        current.wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        # "thread_local": another thread of the process may play games of its own meanwhile
        try:
            with torch.cuda.graph(self._graph, stream=side, capture_error_mode="thread_local"):
                self._work()
        except RuntimeError as error:  # the end of a capture that broke fails too, and hides why
            if isinstance(error.__context__, torch.OutOfMemoryError):
                raise torch.OutOfMemoryError(str(error.__context__)) from error
            raise

    def run(self) -> None:
        """Puts the sequence on the current stream."""
        if self._graph is None:
            self._work()
        else:
            self._graph.replay()
