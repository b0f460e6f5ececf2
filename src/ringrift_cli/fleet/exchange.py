"""An exchange of files with one host, repeated after a broken link; one at a time per host."""

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
    """What an exchange with a host came to."""

    host: str
    error: str | None = None  # why it could not be done
    hint: str | None = None
    stopped: bool = False  # asked to stop before it was done
    seconds: float = 0.0

    @property
    def right(self) -> bool:
        """Whether all of it was done."""
        return self.error is None

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {**msgspec.to_builtins(self), "right": self.right}


Result = TypeVar("Result", bound=Outcome)


def jittered(seconds: float) -> float:
    """Half of a pause or more, at random: hosts that failed together come back apart."""
    return secrets.SystemRandom().uniform(seconds / 2, seconds)


@dataclass(frozen=True)
class Exchange:
    """A host, how it is reached, the folder of the fleet's state, and the progress."""

    host: str
    opener: Callable[[], Client]
    state: Path
    meter: TransferMeter = field(default_factory=TransferMeter)
    should_stop: ShouldStop = never
    attempts: int = ATTEMPTS  # without a byte in between

    def carry_out(self, outcome: Result, work: Callable[[Client], None]) -> Result:
        """Does `work` with a client, again after a broken link, and enters how that ended.

        It goes on while bytes arrive; otherwise it ends after `attempts`. A host that is set aside
        is not contacted.
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
                    health.succeeded(self.host)
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
                    health.failed(self.host, error.message)
                return error


@contextmanager
def alone(folder: Path, host: str) -> Iterator[None]:
    """The only one to fetch files of a host; `FleetError` if another process is at it."""

    def busy() -> FleetError:
        return FleetError(
            f"Another ringrift is fetching files from {host} right now.",
            hint="wait until it is done",
        )

    with locked(folder / ".lock", busy=busy):
        yield
