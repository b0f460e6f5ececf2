"""Unknown host keys of the hosts, to be shown and accepted by a person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ringrift_cli.errors import RingriftError
from ringrift_cli.fleet import known_hosts
from ringrift_cli.fleet.group import gather
from ringrift_cli.fleet.hosts import Host
from ringrift_cli.fleet.known_hosts import HostKey, Name, UnknownKey
from ringrift_cli.fleet.ssh import unknown_keys

DEADLINE_S = 7.5  # silence of a host


@dataclass(frozen=True)
class NewKey:
    """An unknown key of a host, or of its jump host."""

    host: str
    name: Name
    key: HostKey

    def document(self) -> dict[str, Any]:
        """As a JSON document."""
        return {
            "host": self.host,
            "known_as": str(self.name),
            "kind": self.key.kind,
            "fingerprint": known_hosts.fingerprint(self.key.key),
            "file": str(self.name.files[0]),
        }


@dataclass
class Examined:
    """New keys, and errors by host of which no address has a good key."""

    new: list[NewKey] = field(default_factory=list)
    errors: dict[str, RingriftError] = field(default_factory=dict)


def examine(hosts: Sequence[Host]) -> Examined:
    """Asks all addresses of the hosts for their keys, in parallel; nothing is sent to them."""
    found = Examined()
    for answer in gather(hosts, lambda host: unknown_keys(host, DEADLINE_S)):
        shown = [answer.error] if answer.value is None else [*answer.value.values()]
        for error in shown:
            if isinstance(error, UnknownKey):
                new = NewKey(answer.host.name, error.name, error.key)
                if (new.name, new.key) not in {(one.name, one.key) for one in found.new}:
                    found.new.append(new)
        good = any(error is None or isinstance(error, UnknownKey) for error in shown)
        changed = [error for error in shown if isinstance(error, known_hosts.KeyChanged)]
        if changed or not good:
            error = [*changed, *filter(None, shown)][0]
            found.errors[answer.host.name] = error
    return found


def accept(keys: Sequence[NewKey]) -> None:
    """Adds keys to known_hosts; `OutputError` on failure."""
    known_hosts.add((one.name, one.key) for one in keys)
