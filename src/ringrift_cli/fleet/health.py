"""Which hosts are left alone for a while, and the log of what happened to the fleet.

A host that fails three times in a row is set aside for a minute, then for two, four … up to an
hour, with one try in between; so a dead host costs next to nothing, and comes back by itself. One
whose output fails its checks three times is set aside until somebody forgives it.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from ringrift_cli.errors import OutputError, RecordError
from ringrift_cli.store.files import write_whole

FILE = "health.json"
EVENTS = "events.jsonl"
FAILURES = 3  # in a row
STRIKES = 3
SHORTEST_S = 60.0
LONGEST_S = 3600.0
MOST_DETAIL = 2000  # characters of an event


@dataclass(frozen=True)
class Record:
    """What is remembered of a host."""

    failures: int = 0  # in a row
    until: float = 0.0  # unix time until which it is set aside
    reason: str = ""  # of the last failure
    strikes: int = 0  # outputs that failed their checks
    bad: str = ""  # why the last of them did


Keep = Callable[[Record], None]


class Health:
    """The health of the hosts, in a file of `state`. For several processes and threads at once.

    `RecordError` if the file is damaged, `OutputError` if it cannot be written.
    """

    def __init__(self, state: Path) -> None:
        self.state = state
        self.path = state / FILE

    def failed(self, host: str, reason: str) -> None:
        """A try to reach it failed."""
        with self._changing(host) as (known, keep):
            now = time.time()
            if _waits(known, now):  # begun before it was set aside
                return
            failures = known.failures + 1
            until = 0.0
            if failures >= FAILURES:
                doublings = min(failures - FAILURES, 16)
                until = now + min(SHORTEST_S * 2**doublings, LONGEST_S)
            keep(replace(known, failures=failures, until=until, reason=reason))
        if until:
            log_event(self.state, "set aside", host, f"{failures} failures in a row: {reason}")

    def succeeded(self, host: str) -> None:
        """It was reached; strikes for bad output remain."""
        with self._changing(host) as (known, keep):
            if known.failures:
                keep(replace(known, failures=0, until=0.0, reason=""))

    def bad_output(self, host: str, reason: str) -> None:
        """Something that it made failed its checks."""
        with self._changing(host) as (known, keep):
            keep(replace(known, strikes=known.strikes + 1, bad=reason))
        if known.strikes + 1 == STRIKES:
            log_event(self.state, "set aside", host, f"{STRIKES} times bad output: {reason}")

    def set_aside(self, host: str) -> tuple[float, str] | None:
        """Until when (unix time; inf: until it is forgiven) and why it is left alone; None if not.

        Once its time is over it may be tried; if that fails too, it is set aside for twice as long.
        """
        known = self._read().get(host, Record())
        if known.strikes >= STRIKES:
            return math.inf, f"{known.strikes} times bad output: {known.bad}"
        if _waits(known, time.time()):
            return known.until, f"{known.failures} failures in a row: {known.reason}"
        return None

    def forgive(self, host: str) -> None:
        """Forgets all failures and strikes of a host."""
        with self._changing(host) as (known, keep):
            if known != Record():
                keep(Record())
        log_event(self.state, "forgiven", host, "")

    # ---- the file -------------------------------------------------------------------------------

    @contextmanager
    def _changing(self, host: str) -> Iterator[tuple[Record, Keep]]:
        """What is known of a host, and a function that remembers something else instead."""
        with _alone(self.state):
            records = self._read()

            def keep(record: Record) -> None:
                kept = {**records, host: record}
                text = {name: asdict(one) for name, one in sorted(kept.items()) if one != Record()}
                write_whole(self.path, (json.dumps(text, indent=1) + "\n").encode())

            yield records.get(host, Record()), keep

    def _read(self) -> dict[str, Record]:
        try:
            found = json.loads(self.path.read_bytes())
            return {name: Record(**one) for name, one in found.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, AttributeError, OSError) as error:
            raise RecordError(
                f"{self.path} cannot be read: {error}.", hint=f"rm {self.path}"
            ) from error


def _waits(known: Record, now: float) -> bool:
    """Whether it is set aside; not if that would be for longer than ever: then a clock was set."""
    return now < known.until <= now + LONGEST_S


@contextmanager
def _alone(state: Path) -> Iterator[None]:
    """The only one to change the health of the hosts."""
    try:
        state.mkdir(parents=True, exist_ok=True)
        with (state / f".{FILE}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise OutputError(f"Cannot write {state / FILE}: {error.strerror}.") from error


def log_event(state: Path, event: str, host: str | None = None, detail: str = "") -> None:
    """Appends a line to the log of the fleet, in one write, so that lines of others stay whole.

    `OutputError` if it cannot be written.
    """
    line = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "host": host,
        "event": event,
        "detail": detail[:MOST_DETAIL],
    }
    path = state / EVENTS
    try:
        state.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            os.write(descriptor, (json.dumps(line) + "\n").encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error.strerror}.") from error
