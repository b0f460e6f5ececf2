"""A worker: `python -m ringrift_cli.evaluate.worker` performs tasks from standard input.

A task is a line of JSON, its result another one on standard output. It ends with its input, or when
the process that started it is gone.
"""

from __future__ import annotations

import os
import sys

from ringrift_cli.evaluate.distributed import Performer
from ringrift_cli.evaluate.rounds import TuningStopped


def main() -> None:
    """Serves until the end of the input."""
    parent = os.getppid()
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a stray print must not end up among the results
    performer = Performer(lambda: os.getppid() != parent)
    try:
        for line in sys.stdin.buffer:
            sink.write(performer.perform(line.rstrip(b"\n")) + b"\n")
            sink.flush()
    except (TuningStopped, BrokenPipeError):
        return


if __name__ == "__main__":
    main()
