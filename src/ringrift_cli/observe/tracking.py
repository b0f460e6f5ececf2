"""Reporting of runs to experiment trackers, beside the loop that writes them.

The loop waits for no server: a process of its own reads the journals and reports them. It ends
with the loop, whatever happens to that.
"""

from __future__ import annotations

import multiprocessing as mp
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path

from ringrift_cli.errors import RingriftError
from ringrift_cli.observe.runs import journal_of, observe
from ringrift_cli.observe.trackers import check_target, tracker_of
from ringrift_cli.runtime.processes import signals_held
from ringrift_cli.settings import Run
from ringrift_cli.store.files import stamp
from ringrift_cli.text import Unrepeated

POLL_S = 2.0
LONGEST_WAIT_S = 60.0  # between attempts at a tracker that fails
FINISH_S = 8.0  # for the last report, when the loop ends


def report(runs: Sequence[Path], target: str) -> dict[str, int]:
    """Reports runs once; returns the number of new values by run. Errors as `Tracker`."""
    tracker = tracker_of(target)
    return {str(run): tracker.report(observe(run)) for run in runs}


def follow(
    runs: Sequence[Path],
    target: str,
    on_new: Callable[[int], None],
    on_failure: Callable[[str], None],
    wait: Callable[[float], bool],
) -> None:
    """Reports runs whenever they advance, until `wait`, given seconds, returns true.

    A failure is reported once and attempts are repeated at growing intervals; the last report is
    tried in any case.
    """
    seen: list[tuple[int, int]] = []
    tracker, pause, due, ends = None, POLL_S, 0.0, False
    failed = Unrepeated(on_failure)
    while True:
        now = time.monotonic()
        try:
            current = [stamp(path) for run in runs if (path := journal_of(run)) is not None]
            if current != seen and (now >= due or ends):
                tracker = tracker or tracker_of(target)
                count = sum([tracker.report(observe(run)) for run in runs if journal_of(run)])
                seen, pause = current, POLL_S
                failed.clear()
                on_new(count)
        except RingriftError as error:
            pause = min(2 * pause, LONGEST_WAIT_S)
            due = time.monotonic() + pause
            failed(error.message)
        if ends:
            return
        ends = wait(POLL_S)


def _work(folder: Path, target: str, pipe: Connection) -> None:
    """The process beside a loop; it ends with the loop, or at its message."""

    def wait(seconds: float) -> bool:
        return pipe.poll(seconds)

    def quiet(_count: int) -> None:
        pass

    follow([folder], target, quiet, pipe.send, wait)


@contextmanager
def reporting(folder: Path, target: str, on_notice: Callable[[str], None]) -> Iterator[None]:
    """Reports the run in a folder to `target` while the block runs; `none`: not at all.

    `UsageError` at once for an invalid target. Later failures go to `on_notice`.
    """
    if target == Run.report_to:
        yield
        return
    check_target(target)
    context = mp.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(folder, target, theirs), daemon=True)
    with signals_held():
        process.start()
    theirs.close()

    def listen() -> None:
        while True:
            try:
                on_notice(f"{ours.recv()} The run continues; ringrift track reports it later.")
            except (EOFError, OSError):
                return

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield
    finally:
        with suppress(OSError):  # it may have ended
            ours.send(None)
        process.join(FINISH_S)
        if process.is_alive():
            process.kill()
            process.join()
            on_notice(f"{target} was slow: ringrift track {folder} --to {target} reports the rest.")
        listener.join(1.0)
