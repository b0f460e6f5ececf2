"""Authentication with the keys of hosts.yaml, ~/.ssh and ssh-agent, in the order of ssh.

The method "none" comes last: few hosts admit by it (Tailscale SSH), and it costs a round trip.
"""

from __future__ import annotations

import base64
import os
import socket
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ringrift_cli.errors import NotAdmitted
from ringrift_cli.fleet.ssh_config import DEFAULT_KEYS
from ringrift_cli.fleet.transport import Connection
from ringrift_cli.text import counted

if TYPE_CHECKING:
    from pathlib import Path

    from paramiko import PKey, Transport
    from paramiko.agent import AgentSSH

    from ringrift_cli.fleet.ssh_config import Target

PUBLIC = ".pub"
AGENT_S = 60.0  # an agent may ask its user


def authenticate(
    transport: Transport, target: Target, connection: Connection, left: Callable[[], float]
) -> None:
    """Offers the keys in order. `NotAdmitted` if all are refused; `OSError` on a lost connection.

    `left`: seconds for an answer that is asked for now; `TimeoutError` if none.
    """
    from paramiko import AuthenticationException

    refused = 0
    unusable: list[str] = []
    agent = _agent(target, connection, unusable)
    try:
        for key in _candidates(target, agent, unusable):
            transport.auth_timeout = left()
            since = time.monotonic()
            try:
                with connection.guarded(AuthenticationException):
                    wanted = transport.auth_publickey(target.user, key)
            except AuthenticationException as error:
                if time.monotonic() - since >= transport.auth_timeout:
                    raise TimeoutError from error
                if not transport.is_active():
                    if not refused:
                        raise ConnectionResetError("it closed the connection") from error
                    many = f"more than {counted(refused, 'key')} were too many for it"
                    raise NotAdmitted(_refusal(target, many, *unusable)) from error
                refused += 1
                connection.banner = transport.get_banner() or connection.banner
                continue
            if wanted:
                raise NotAdmitted(_refusal(target, f"it wants {' and '.join(wanted)} too"))
            return
    finally:
        agent._close()  # type: ignore[attr-defined]  # noqa: SLF001  there is no other
    transport.auth_timeout = left()
    try:
        with connection.guarded(AuthenticationException):
            transport.auth_none(target.user)
    except AuthenticationException as error:
        if not refused and not transport.is_active():
            raise ConnectionResetError("it closed the connection") from error
        many = counted(refused, "key")
        why = f"it took none of {many}" if refused else "there was no key to offer"
        raise NotAdmitted(_refusal(target, why, *unusable)) from error


def _agent(target: Target, connection: Connection, unusable: list[str]) -> AgentSSH:
    """The keys of the ssh-agent; none if it does not run. Adds why a configured one does not."""
    from paramiko.agent import AgentSSH

    agent = AgentSSH()
    if target.agent is not None:
        place = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        place.settimeout(AGENT_S)
        try:
            place.connect(str(target.agent))
            with connection.guarded():
                agent._connect(place)  # type: ignore[attr-defined]  # noqa: SLF001
        except OSError as error:
            place.close()
            unusable.append(f"ssh-agent at {target.agent}: {error.strerror or error}")
    return agent


def _refusal(target: Target, *reasons: str) -> str:
    return f"{target.user} was not let in: {'; '.join(reasons)}"


def _candidates(target: Target, agent: AgentSSH, unusable: list[str]) -> Iterator[PKey]:
    """Configured keys, from the agent if it holds them, then the other keys of the agent.

    The reasons why keys cannot be offered are added to `unusable`.
    """
    held = {key.asbytes(): key for key in agent.get_keys()}
    for path in target.keys:
        public = _public(path)
        if public in held:
            yield held.pop(public)
            continue
        private = _private(path)
        if isinstance(private, str):
            if path.exists() or path.name not in DEFAULT_KEYS:
                unusable.append(f"{path.name} {private}")
            continue
        yield held.pop(private.asbytes(), private)
    if not target.only_keys:
        yield from held.values()


def _public(path: Path) -> bytes | None:
    """The public key beside a private key, or in the file itself."""
    try:
        beside = path if path.suffix == PUBLIC else path.with_name(path.name + PUBLIC)
        words = beside.read_text(encoding="utf-8").split()
        return base64.b64decode(words[1], validate=True)
    except (OSError, ValueError, IndexError):
        return None


def _private(path: Path) -> PKey | str:
    """A private key, or the reason why it cannot be used."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from paramiko import PKey, SSHException

    if path.suffix == PUBLIC and _public(path):
        return f"is a public key that no ssh-agent holds: expected {path.stem}"
    try:
        status = path.stat()
        if status.st_uid == os.getuid() and status.st_mode & 0o077:  # as for ssh
            return f"may be read by others: chmod 600 {path}"
        return PKey.from_path(str(path))
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except TypeError:
        return f"needs a passphrase, and no ssh-agent holds it: ssh-add {path}"
    except (ValueError, SSHException, UnsupportedAlgorithm):
        return "is no key that can be read"
