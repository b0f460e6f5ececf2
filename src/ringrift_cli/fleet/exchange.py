"""File exchange with one host: retries after a lost connection, and a lock per host."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ringrift_cli.errors import FleetError, HostUnreachable, RemoteError, RingriftError
from ringrift_cli.fleet.client import Client
from ringrift_cli.fleet.health import Health
from ringrift_cli.fleet.state import log_event
from ringrift_cli.fleet.transfer import ShouldStop, TransferMeter, TransferStopped, never
from ringrift_cli.store.locks import locked

ATTEMPTS = 3
BACKOFF_S = (0.5, 2.0)


@dataclass
class Outcome:
    """Result of an exchange with a host."""

    host: str
    error: str | None = None  # None if it succeeded
    hint: str | None = None
    stopped: bool = False  # interrupted before the end
    seconds: float = 0.0

    @property
    def right(self) -> bool:
        """Whether it succeeded."""
        return self.error is None

    def document(self) -> dict[str, Any]:
        """As a JSON document."""
        return {**msgspec.to_builtins(self), "right": self.right}


Result = TypeVar("Result", bound=Outcome)


def jittered(seconds: float) -> float:
    """A random pause in [seconds/2, seconds], so that hosts do not retry at the same time."""
    return secrets.SystemRandom().uniform(seconds / 2, seconds)


@dataclass(frozen=True)
class Exchange:
    """Context of an exchange: host, connection, state folder and progress."""

    host: str
    opener: Callable[[], Client]
    state: Path
    meter: TransferMeter = field(default_factory=TransferMeter)
    should_stop: ShouldStop = never
    attempts: int = ATTEMPTS  # consecutive attempts without progress

    def carry_out(self, outcome: Result, work: Callable[[Client], None]) -> Result:
        """Runs `work` with a client, retries after a lost connection, and completes `outcome`.

        Gives up after `attempts` without progress. A host that is set aside is not contacted.
        """
        start, health = time.monotonic(), Health(self.state)
        aside = health.set_aside(self.host)
        if aside is not None:
            outcome.error = f"{self.host} is set aside: {aside[1]}"
            outcome.hint = f"ringrift fleet forgive {self.host}"
            return outcome
        try:
            error = self._persist(work)
            if error is not None:
                outcome.error, outcome.hint = error.message, error.hint
        except TransferStopped:
            outcome.stopped = True
        outcome.seconds = round(time.monotonic() - start, 3)
        return outcome

    def _persist(self, work: Callable[[Client], None]) -> RingriftError | None:
        failures, before, health = 0, 0, Health(self.state)
        while True:
            try:
                with self.opener() as client:
                    health.succeeded(self.host, client.needed_s)
                    work(client)
                return None
            except RingriftError as error:
                failures = 1 if self.meter.done > before else failures + 1
                before = self.meter.done
                broken = isinstance(error, HostUnreachable) or (
                    isinstance(error, RemoteError) and error.kind == "ended"
                )
                log_event(self.state, "failed", self.host, error.message)
                if broken and failures < self.attempts and not self.should_stop():
                    time.sleep(jittered(BACKOFF_S[failures - 1]))
                    continue
                if broken:
                    health.failed(self.host, error)
                return error


@contextmanager
def alone(folder: Path, host: str) -> Iterator[None]:
    """Exclusive lock for fetching from a host; `FleetError` if another process holds it."""

    def busy() -> FleetError:
        return FleetError(
            f"Another ringrift is fetching files from {host} right now.",
            hint="wait until it is done",
        )

    with locked(folder / ".lock", busy=busy):
        yield
