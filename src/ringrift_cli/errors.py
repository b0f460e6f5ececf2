"""Everything that can go wrong and is said in one sentence.

RingriftError            a known cause; the command line prints it and exits with `exit_code`
├── UsageError           an argument or option that no run could accept (exit 2)
├── NotationError        text that is no position or no move
├── IllegalMove          a well-formed move that the rules do not allow here
├── RecordError          a file of games that cannot be read or does not replay
│   └── RulesMismatch    a record made under other rules, or by another version of the format
├── PlayerError          a player that crashed, kept silent or named no legal move
├── TrainingError        a training run whose numbers are none any more
├── FleetError           something about the machines of a fleet
│   ├── HostUnreachable  no address answered in time, or the link broke
│   ├── HostKeyError     a host key that is unknown or has changed; nothing was sent
│   ├── RemoteError      a host that was reached and says that it could not do it
│   └── BadOutput        what a host sent is not what it said, or fails its checks
└── OutputError          a result that could not be written whole
"""

from __future__ import annotations


class RingriftError(Exception):
    """A failure whose cause is known. `hint` is what to try next: a command, or moves."""

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(RingriftError):
    """An argument that is wrong whatever the state of the world."""

    exit_code = 2


class NotationError(RingriftError):
    """Text that cannot be read as a position or a move; it quotes the text."""


class IllegalMove(RingriftError):
    """A move that is not legal in the position; it says why, and which moves are near it."""


class RecordError(RingriftError):
    """A record that is damaged or does not replay; it names the file and the place."""


class RulesMismatch(RecordError):
    """A record made under other rules or in another version of the format."""


class PlayerError(RingriftError):
    """A player did not answer with a legal move; it names the player and the position."""


class TrainingError(RingriftError):
    """A loss that is not finite; it says when, and which part of it."""


class FleetError(RingriftError):
    """Something about the machines of a fleet; it names the host."""


class HostUnreachable(FleetError):
    """No address of a host answered in time, or the link broke; it names what was awaited."""


class HostKeyError(FleetError):
    """A host key that is unknown or has changed; nothing was sent to that host."""


class RemoteError(FleetError):
    """A host that was reached says that it could not do what was asked; `kind` names why."""

    def __init__(self, message: str, hint: str | None = None, kind: str = "failed") -> None:
        super().__init__(message, hint)
        self.kind = kind


class BadOutput(FleetError):
    """What a host sent is not what it said it is, or does not pass the checks."""


class OutputError(RingriftError):
    """Something could not be written; nothing half-written is left behind."""
