"""Host health: temporary exclusion (being set aside) after failures.

After three consecutive failures a host is set aside for one minute, then two, four … up to an hour,
with one attempt in between. A host whose output fails its checks three times is set aside until it
is forgiven. Only a host that refuses or breaks connections, or is silent for `PATIENT_S`, has
failed: the limit of one command proves nothing, and refused keys are for people to sort out.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

import msgspec

from ringrift_cli.errors import HostUnreachable, NotAdmitted, RingriftError
from ringrift_cli.fleet.state import StateTable, log_event

FAILURES = 3  # consecutive
STRIKES = 3
SHORTEST_S = 60.0
LONGEST_S = 3600.0
PATIENT_S = 6.0  # silence that is a failure of the host
LOST_S = 600.0  # seconds for which an address that lost a connection is tried last
SLOW_S = 1.0  # of `needed_s`: less is not recorded


class HostHealth(msgspec.Struct, frozen=True, omit_defaults=True):
    """Health record of a host."""

    failures: int = 0  # consecutive
    until: float = 0.0  # set aside until this unix time
    reason: str = ""  # last failure
    strikes: int = 0  # number of outputs that failed their checks
    bad: str = ""  # reason of the last strike
    needed_s: float = 0.0  # limit of silence that the last connection needed
    lost: dict[str, float] = {}  # unix time at which a connection was lost, by address


HEALTH = StateTable("health", HostHealth)


class Health:
    """Health records of all hosts; errors as of `StateTable`."""

    def __init__(self, state: Path) -> None:
        self.state = state

    def failed(self, host: str, error: RingriftError) -> None:
        """Records an error of an attempt to reach a host, if it is a failure of the host."""
        if not isinstance(error, HostUnreachable) or isinstance(error, NotAdmitted):
            return
        if error.silence_s is not None and error.silence_s < PATIENT_S:
            return
        until, reason = 0.0, error.message
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

    def succeeded(self, host: str, needed_s: float = 0.0) -> None:
        """Records that a host was reached; resets failures, keeps strikes.

        `needed_s`: limit of silence that this needed.
        """
        needed_s = needed_s if needed_s >= SLOW_S else 0.0
        known = HEALTH.read(self.state).get(host, HostHealth())
        if not known.failures and abs(needed_s - known.needed_s) <= SLOW_S:
            return
        with HEALTH.changing(self.state) as hosts:
            known = hosts.get(host, HostHealth())
            hosts[host] = msgspec.structs.replace(
                known, failures=0, until=0.0, reason="", needed_s=needed_s
            )

    def needed_s(self, host: str) -> float:
        """Limit of silence in seconds that the last connection to a host needed; 0: little."""
        return HEALTH.read(self.state).get(host, HostHealth()).needed_s

    def lost_link(self, host: str, address: str) -> None:
        """Records that an address lost a connection after authentication."""
        with HEALTH.changing(self.state) as hosts:
            known, now = hosts.get(host, HostHealth()), time.time()
            recent = {name: at for name, at in known.lost.items() if _is_recent(at, now)}
            hosts[host] = msgspec.structs.replace(known, lost={**recent, address: now})

    def lost(self, host: str) -> set[str]:
        """Addresses of a host that lost a connection recently."""
        known, now = HEALTH.read(self.state).get(host, HostHealth()), time.time()
        return {name for name, at in known.lost.items() if _is_recent(at, now)}

    def bad_output(self, host: str, reason: str) -> None:
        """Records a strike: output of the host failed its checks."""
        with HEALTH.changing(self.state) as hosts:
            known = hosts.get(host, HostHealth())
            strikes = known.strikes + 1
            hosts[host] = msgspec.structs.replace(known, strikes=strikes, bad=reason)
        if strikes == STRIKES:
            log_event(self.state, "set aside", host, f"{STRIKES} times bad output: {reason}")

    def set_aside(self, host: str) -> tuple[float, str] | None:
        """Until when (unix time; inf: until forgiven) and why a host is set aside; None: it is not.

        After that time one attempt is allowed; if it fails, the next exclusion is twice as long.
        """
        known = HEALTH.read(self.state).get(host, HostHealth())
        if known.strikes >= STRIKES:
            return math.inf, f"{known.strikes} times bad output: {known.bad}"
        if _waits(known, time.time()):
            return known.until, f"{known.failures} failures in a row: {known.reason}"
        return None

    def forgive(self, host: str) -> None:
        """Clears all failures and strikes of a host."""
        with HEALTH.changing(self.state) as hosts:
            hosts.pop(host, None)
        log_event(self.state, "forgiven", host)


def _is_recent(at: float, now: float) -> bool:
    return 0 <= now - at < LOST_S


def _waits(known: HostHealth, now: float) -> bool:
    """Whether it is set aside; later than `LONGEST_S` is ignored: the clock was changed."""
    return now < known.until <= now + LONGEST_S
