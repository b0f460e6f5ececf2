"""Which hosts are not contacted for a while.

A host that fails three times in a row is set aside for one minute, then for two, four … up to an
hour, with one attempt in between; so a dead host costs next to nothing and returns by itself. One
whose output fails its checks three times is set aside until it is forgiven.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

import msgspec

from ringrift_cli.fleet.state import StateTable, log_event

FAILURES = 3  # in a row
STRIKES = 3
SHORTEST_S = 60.0
LONGEST_S = 3600.0


class HostHealth(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is remembered of a host."""

    failures: int = 0  # in a row
    until: float = 0.0  # unix time until which it is set aside
    reason: str = ""  # of the last failure
    strikes: int = 0  # outputs that failed their checks
    bad: str = ""  # why the last of them did


HEALTH = StateTable("health", HostHealth)


class Health:
    """The health of the hosts; errors as of `StateTable`."""

    def __init__(self, state: Path) -> None:
        self.state = state

    def failed(self, host: str, reason: str) -> None:
        """An attempt to reach the host failed."""
        until = 0.0
        with HEALTH.changing(self.state) as hosts:
            known, now = hosts.get(host, HostHealth()), time.time()
            if _waits(known, now):  # the attempt began before it was set aside
                return
            failures = known.failures + 1
            if failures >= FAILURES:
                doublings = min(failures - FAILURES, 16)
                until = now + min(SHORTEST_S * 2**doublings, LONGEST_S)
            hosts[host] = msgspec.structs.replace(
                known, failures=failures, until=until, reason=reason
            )
        if until:
            log_event(self.state, "set aside", host, f"{failures} failures in a row: {reason}")

    def succeeded(self, host: str) -> None:
        """The host was reached; strikes for bad output remain."""
        if not HEALTH.read(self.state).get(host, HostHealth()).failures:
            return
        with HEALTH.changing(self.state) as hosts:
            known = hosts.get(host, HostHealth())
            hosts[host] = msgspec.structs.replace(known, failures=0, until=0.0, reason="")

    def bad_output(self, host: str, reason: str) -> None:
        """Something that the host made failed its checks."""
        with HEALTH.changing(self.state) as hosts:
            known = hosts.get(host, HostHealth())
            strikes = known.strikes + 1
            hosts[host] = msgspec.structs.replace(known, strikes=strikes, bad=reason)
        if strikes == STRIKES:
            log_event(self.state, "set aside", host, f"{STRIKES} times bad output: {reason}")

    def set_aside(self, host: str) -> tuple[float, str] | None:
        """Until when (unix time; inf: until forgiven) and why it is set aside; None if it is not.

        After that time it may be tried; if that fails too, it is set aside for twice as long.
        """
        known = HEALTH.read(self.state).get(host, HostHealth())
        if known.strikes >= STRIKES:
            return math.inf, f"{known.strikes} times bad output: {known.bad}"
        if _waits(known, time.time()):
            return known.until, f"{known.failures} failures in a row: {known.reason}"
        return None

    def forgive(self, host: str) -> None:
        """Forgets all failures and strikes of a host."""
        with HEALTH.changing(self.state) as hosts:
            hosts.pop(host, None)
        log_event(self.state, "forgiven", host)


def _waits(known: HostHealth, now: float) -> bool:
    """Whether it is set aside; not for longer than `LONGEST_S`: then a clock was changed."""
    return now < known.until <= now + LONGEST_S
