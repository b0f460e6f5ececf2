"""The exceptions with a known cause; cli/app.py maps each to its sentence, hint and exit code.

RingriftError            failure with a known cause
├── UsageError           invalid argument, option or setting (exit code 2)
├── NotationError        malformed text of a position or move
├── IllegalMove          well-formed move that is not legal in the position
├── RecordError          file of games that cannot be read or does not replay
│   └── RulesMismatch    record of other rules or of another format version
├── PlayerError          player that crashed, timed out or chose an illegal move
├── TrainingError        loss that is not finite
├── FleetError           failure on a host of the fleet
│   ├── HostUnreachable  no address answered in time, or the connection broke
│   │   └── NotAdmitted  every key was refused
│   ├── HostKeyError     unknown or changed host key; nothing was sent
│   ├── RemoteError      failure reported by a host
│   └── BadOutput        data from a host that fails its checks
└── OutputError          result that could not be written
"""

from __future__ import annotations


class RingriftError(Exception):
    """A failure with a known cause. `hint` is what to try next: a command, or moves."""

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(RingriftError):
    """An argument, option or setting that is never valid."""

    exit_code = 2


class NotationError(RingriftError):
    """Text that is not a position or a move; the message quotes it."""


class IllegalMove(RingriftError):
    """A move that is not legal in the position; the message has the reason and similar moves."""


class RecordError(RingriftError):
    """A damaged record or one that does not replay; the message names the file and the place."""


class RulesMismatch(RecordError):
    """A record of other rules or of another format version."""


class PlayerError(RingriftError):
    """A player failed to choose a legal move; the message names the player and the position."""


class TrainingError(RingriftError):
    """A loss that is not finite; the message names the steps and the term of the loss."""


class FleetError(RingriftError):
    """A failure on a host of the fleet; the message names the host."""


class HostUnreachable(FleetError):
    """No address of a host answered in time, or the connection broke.

    `silence_s`: seconds without an answer; None if the connection was refused or broke.
    """

    def __init__(
        self, message: str, hint: str | None = None, silence_s: float | None = None
    ) -> None:
        super().__init__(message, hint)
        self.silence_s = silence_s


class NotAdmitted(HostUnreachable):
    """A host refused all keys; it is not retried."""


class HostKeyError(FleetError):
    """An unknown or changed host key; nothing was sent to that host."""


class RemoteError(FleetError):
    """A failure reported by a host; `kind` classifies it."""

    def __init__(self, message: str, hint: str | None = None, kind: str = "failed") -> None:
        super().__init__(message, hint)
        self.kind = kind


class BadOutput(FleetError):
    """Data from a host that fails its checks."""


class OutputError(RingriftError):
    """A result that could not be written; no partial file is left behind."""
