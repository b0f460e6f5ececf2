"""What is done with a host, and done again after a broken link; one at a time for each host."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from ringrift_cli.errors import FleetError, HostUnreachable, RemoteError, RingriftError
from ringrift_cli.fleet.client import Client
from ringrift_cli.fleet.health import Health, log_event
from ringrift_cli.fleet.transfer import Stopped
from ringrift_cli.store.locks import locked

ATTEMPTS = 3  # without a byte in between
BACKOFF_S = (0.5, 2.0)

Opener = Callable[[], Client]
ShouldStop = Callable[[], bool]


def never() -> bool:
    """Nobody asks to stop."""
    return False


def jittered(seconds: float) -> float:
    """Half of a pause or more, at random: hosts that failed together come back apart."""
    return secrets.SystemRandom().uniform(seconds / 2, seconds)


class Outcome(Protocol):
    """What came of something that was done with a host."""

    host: str
    error: str | None  # why it could not be done
    hint: str | None
    stopped: bool  # whether it was asked to stop before it was done
    seconds: float


Result = TypeVar("Result", bound=Outcome)


def carried_out(
    outcome: Result,
    opener: Opener,
    state: Path,
    work: Callable[[Client], None],
    moved: Callable[[], int],
    should_stop: ShouldStop = never,
) -> Result:
    """Does `work` with links to a host, as `persist`, and enters in `outcome` how that ended.

    A host that is set aside is not asked.
    """
    start, health = time.monotonic(), Health(state)
    aside = health.set_aside(outcome.host)
    if aside is not None:
        outcome.error = f"{outcome.host} is set aside: {aside[1]}"
        outcome.hint = f"ringrift fleet forgive {outcome.host}"
        return outcome

    def attempt(client: Client) -> None:
        health.succeeded(outcome.host)
        work(client)

    try:
        error = persist(outcome.host, opener, state, attempt, moved, should_stop)
        if error is not None:
            outcome.error, outcome.hint = error.message, error.hint
    except Stopped:
        outcome.stopped = True
    outcome.seconds = time.monotonic() - start
    return outcome


def persist(
    host: str,
    opener: Opener,
    state: Path,
    work: Callable[[Client], None],
    moved: Callable[[], int],
    should_stop: ShouldStop = never,
) -> RingriftError | None:
    """Does `work` with a link, again after one that broke; why it could not be done, if so.

    `moved` counts what has come about: while that grows, it goes on.
    """
    failures, before = 0, 0
    while True:
        try:
            with opener() as client:
                work(client)
            return None
        except RingriftError as error:
            failures = 1 if moved() > before else failures + 1
            before = moved()
            broken = isinstance(error, HostUnreachable) or (
                isinstance(error, RemoteError) and error.kind == "ended"
            )
            log_event(state, "failed", host, error.message)
            if broken and failures < ATTEMPTS and not should_stop():
                time.sleep(jittered(BACKOFF_S[failures - 1]))
                continue
            if broken:
                Health(state).failed(host, error.message)
            return error


@contextmanager
def alone(folder: Path, host: str) -> Iterator[None]:
    """The only one to bring files from a host; `FleetError` if somebody else is at it."""

    def busy() -> FleetError:
        return FleetError(
            f"Another ringrift is bringing files from {host} right now.",
            hint="wait until it is done",
        )

    with locked(folder / ".lock", busy=busy):
        yield
