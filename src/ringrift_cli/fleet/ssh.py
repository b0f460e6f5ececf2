"""SSH connections to hosts, over whichever address answers first, with strict host key checks.

Addresses are tried in order of preference; the next one starts when one has failed or after
`NEXT_S`, so a dead address costs a quarter of a second. The first that authenticates is used.
"""

from __future__ import annotations

import functools
import queue
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ringrift_cli.errors import HostKeyError, HostUnreachable, RingriftError
from ringrift_cli.fleet import known_hosts, package
from ringrift_cli.fleet.client import Client
from ringrift_cli.fleet.exchange import jittered
from ringrift_cli.fleet.hosts import Address, Host
from ringrift_cli.fleet.ssh_config import SshConfig, Target
from ringrift_cli.fleet.ssh_keys import NotAdmitted, authenticate
from ringrift_cli.fleet.state import log_event
from ringrift_cli.fleet.transport import (
    PACKET,
    WINDOW,
    ChannelTransport,
    Connection,
    open_channel,
)

if TYPE_CHECKING:
    from paramiko import Channel, Transport

# Fastest first: GCM needs no second pass for the MAC. A server without any of them is refused.
CIPHERS = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
)
NEXT_S = 0.25  # head start of an address before the next one is tried
KEEPALIVE_S = 10
LOST_S = 30  # TCP_USER_TIMEOUT: limit of unacknowledged data
PAUSE_S = 0.5  # before the second attempt; doubled for each further one
LONGEST_PAUSE_S = 10.0
MOST_BANNER = 4096  # bytes before the greeting of a server
BANNER_S = 1.0  # timeout after the first byte of the greeting
QUOTED = 60  # characters of an invalid greeting in a message
MOST_WHY = 300  # characters of the reason for one address


def open_link(
    host: Host,
    state: Path | None,
    *,
    deadline_s: float,
    attempts: int = 1,
    window: int = WINDOW,
    agent: bool = True,
) -> Client:
    """Connects to a host; returns a client, without `agent` for shell commands only.

    All attempts share the deadline. Only temporary errors are retried, and logged in `state`. The
    host sends at most `window` bytes ahead of what was read.

    `HostUnreachable` with the reason for every address; `HostKeyError` for an unknown or changed
    key; `RemoteError` if the agent does not start, `NotDeployed` if it is missing; `UsageError` for
    an invalid ssh configuration.
    """
    until = time.monotonic() + deadline_s
    for left in range(attempts - 1, -1, -1):
        now = time.monotonic()
        try:
            return _Race(host, now + (until - now) / (left + 1), window, agent).run()
        except HostUnreachable as error:
            pause = jittered(min(PAUSE_S * 2 ** (attempts - 1 - left), LONGEST_PAUSE_S))
            if not left or isinstance(error, NotAdmitted) or time.monotonic() + pause >= until:
                raise
            if state is not None:
                log_event(state, "retry", host.name, error.message)
        time.sleep(pause)
    raise ValueError(f"attempts is {attempts}, expected 1 or more")


# ---- race between addresses ----------------------------------------------------------------------


class _Race:
    """One attempt to reach a host over all its addresses."""

    def __init__(self, host: Host, until: float, window: int, agent: bool) -> None:
        config = SshConfig()
        places = host.places
        targets = [config.target(one.host, one.port, host.user, host.key) for one in places]
        names = [_known_as(target) for target in targets]
        self.host, self.until, self.window, self.agent = host, until, window, agent
        self.keys = known_hosts.Keys(known_hosts.path_of(host.known_hosts), names)
        self.results: queue.SimpleQueue[_Try] = queue.SimpleQueue()
        self.first = threading.Lock()  # held by the try that authenticated first
        self.waiting = [_Try(self, *one) for one in zip(places, targets, strict=True)]
        self.started: list[_Try] = []

    def run(self) -> Client:
        """The client of the address that authenticates first."""
        won: _Try | None = None
        try:
            won = self._won()
            assert won.client is not None
            won.client.limit(None)
            return won.client
        finally:
            for one in self.started:
                if one is not won:
                    one.connection.close()

    def _won(self) -> _Try:
        ended = 0
        while ended < len(self.started) or self.waiting:
            alone = ended == len(self.started)
            if self.waiting and (alone or time.monotonic() >= self.started[-1].began + NEXT_S):
                self.started.append(self.waiting.pop(0))
                self.started[-1].start()
            wake = min(self.until, self.started[-1].began + NEXT_S) if self.waiting else self.until
            try:
                one = self.results.get(timeout=max(wake - time.monotonic(), 0.001))
            except queue.Empty:
                if time.monotonic() >= self.until:
                    break
                continue
            if one.client is not None:
                return one
            if one.fatal is not None:
                raise one.fatal
            ended += 1
        raise self._all_failed()

    def _all_failed(self) -> RingriftError:
        """The error when all addresses failed: a host key error, or all reasons."""
        for one in self.started:
            if isinstance(one.error, HostKeyError):
                return one.error
        reasons = [f"{one.address}: {one.why()}" for one in self.started]
        reasons += [f"{one.address}: there was no time left to try it" for one in self.waiting]
        refused = [one for one in self.started if isinstance(one.error, NotAdmitted)]
        kind = NotAdmitted if refused else HostUnreachable
        address = (refused or self.started)[0].address
        port = "" if address.port in (None, 22) else f" -p {address.port}"
        user = f"{self.host.user}@" if self.host.user else ""
        return kind(
            f"{self.host.name} cannot be reached: {'; '.join(reasons)}.",
            hint=f"ssh{port} {user}{address.host}",
        )


class _Try(threading.Thread):
    """Connection attempt to one address; the thread never outlives its connection."""

    connection: Connection

    def __init__(self, race: _Race, address: Address, target: Target) -> None:
        super().__init__(daemon=True, name=f"{race.host.name} at {address}")
        self.race = race
        self.host, self.keys, self.until = race.host, race.keys, race.until
        self.address = address
        self.target = target
        self.began = 0.0
        self.doing = "connecting"
        self.client: Client | None = None
        self.error: RingriftError | OSError | None = None
        self.fatal: RingriftError | None = None  # an error that ends the race

    def start(self) -> None:
        self.began = time.monotonic()
        self.connection = Connection(self.race.window)
        super().start()

    def run(self) -> None:
        try:
            self._run()
        except known_hosts.KeyChanged as error:
            self.fatal = error
        except (RingriftError, OSError) as error:
            self.error = error
        finally:
            if self.client is None:
                self.connection.close()
            self.race.results.put(self)

    def _run(self) -> None:
        latency = self._connect()
        if not self.race.first.acquire(blocking=False):
            raise ConnectionAbortedError("another address was faster")
        try:
            self.doing = "starting the agent"
            command = ":"
            if self.race.agent:
                command = package.command(self.host.python, self.host.work)
            channel = open_channel(
                self.connection, command if self.race.agent else ":", self.left()
            )
            transport = ChannelTransport(channel, self.connection)
            client = Client(
                transport, host=self.host.name, address=str(self.address), latency_s=latency
            )
            client.limit(self.left())
            if self.race.agent:
                client.open()
            self.client = client
        except OSError as error:
            self.error = error
            self.fatal = HostUnreachable(f"{self.host.name} ({self.address}): {self.why()}.")
        except RingriftError as error:
            self.fatal = error

    def left(self) -> float:
        """Seconds until the deadline; `TimeoutError` after it."""
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def why(self) -> str:
        """The error as the end of a sentence, sanitized, since it may quote the server."""
        return "".join(c if c.isprintable() else " " for c in self._why())[:MOST_WHY]

    def _why(self) -> str:
        match self.error:
            case None | TimeoutError():
                seconds = min(time.monotonic(), self.until) - self.began
                return f"no answer within {seconds:.1f} s while {self.doing}"
            case RingriftError():
                return self.error.message.rstrip(".")
            case socket.gaierror():
                return f"its name is not known ({self.error.strerror})"
            case ConnectionRefusedError():
                return "connection refused"
            case _:
                why = self.error.strerror or str(self.error)
                return f"{why} while {self.doing}"

    # ---- one connection -------------------------------------------------------------------------

    def _connect(self) -> float:
        """Connects and authenticates through all jump hosts; returns the round trip in seconds."""
        carrier: socket.socket | Channel
        carrier, latency = self._carrier()
        hops = [*self.target.jumps, self.target]
        for hop, then in zip(hops, [*hops[1:], None], strict=True):
            where = "" if then is None else f" at the jump host {hop.host}"
            transport = self._greeted(carrier, hop, where)
            self.doing = f"authenticating{where}"
            authenticate(transport, hop, self.connection, self.until)
            if then is not None:
                self.doing = f"connecting through {hop.host}"
                began = time.monotonic()
                place = (then.host, then.port)
                with self.connection.guarded():
                    carrier = transport.open_channel(
                        "direct-tcpip", place, ("127.0.0.1", 0), timeout=self.left()
                    )
                latency = time.monotonic() - began
        return latency

    def _greeted(self, carrier: socket.socket | Channel, hop: Target, where: str) -> Transport:
        """An encrypted connection with a verified host key, not yet authenticated."""
        _quiet()
        from paramiko import Transport

        self.doing = f"waiting for its SSH greeting{where}"
        if isinstance(carrier, socket.socket):
            _expect_ssh(carrier, self.until)
        with self.connection.guarded():
            transport = Transport(carrier, WINDOW, PACKET)
            self.connection.add(transport)
            transport.banner_timeout = transport.handshake_timeout = self.left()
            options = transport.get_security_options()
            known = options.ciphers
            options.ciphers = tuple(cipher for cipher in CIPHERS if cipher in known)
            options.key_types = self.keys.preferred(_known_as(hop), options.key_types)
            self.doing = f"exchanging keys{where}"
            transport.start_client(timeout=self.left())
            self.left()  # start_client also returns after its timeout
            key = transport.get_remote_server_key()
            transport.set_keepalive(KEEPALIVE_S)
        who = f"{self.host.name} ({self.address})" if not where else f"the jump host {hop.host}"
        self.keys.check(key.get_name(), key.asbytes(), _known_as(hop), who)
        return transport

    def _carrier(self) -> tuple[socket.socket, float]:
        """Opens the underlying connection: TCP or a ProxyCommand. Also returns its latency (s)."""
        began = time.monotonic()
        if self.target.command is not None:
            ours, theirs = socket.socketpair()
            self.connection.add(ours)
            with theirs:
                command = ["/bin/sh", "-c", f"exec {self.target.command}"]
                end = theirs.fileno()
                process = subprocess.Popen(
                    command, stdin=end, stdout=end, stderr=subprocess.DEVNULL, process_group=0
                )
            self.connection.add(process)
            return ours, time.monotonic() - began
        place = (self.target.jumps or (self.target,))[0]
        try:
            found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
        except UnicodeError as error:
            raise HostUnreachable(f"{place.host!r} is no name that a host could have") from error
        for number, (family, kind, protocol, _, address) in enumerate(found):
            one = socket.socket(family, kind, protocol)
            try:
                self.connection.add(one)
                _tune(one)
                one.settimeout(self.left() / (len(found) - number))
                began = time.monotonic()
                one.connect(address)
            except OSError:
                one.close()
                if number == len(found) - 1:
                    raise
                continue
            return one, time.monotonic() - began
        raise ConnectionError("it has no address")


def _known_as(target: Target) -> known_hosts.Name:
    direct = not target.jumps and target.command is None and target.alias is None
    return known_hosts.Name(target.host, target.port, target.alias, direct)


@functools.cache
def _quiet() -> None:
    """Disables the library's log, whose errors appear in our messages."""
    from paramiko.util import get_logger

    get_logger("paramiko.transport").disabled = True


def _tune(one: socket.socket) -> None:
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * LOST_S)


def _expect_ssh(carrier: socket.socket, until: float) -> None:
    """Peeks at the first bytes; `HostUnreachable` quotes them if they are not an SSH greeting."""
    seen, since = b"", None
    while True:
        now = time.monotonic()
        limit = until if since is None else min(until, since + BANNER_S)
        if now >= limit or len(seen) >= MOST_BANNER:
            if not seen:
                raise TimeoutError
            raise HostUnreachable(_no_ssh(seen))
        carrier.settimeout(limit - now)
        try:
            data = carrier.recv(MOST_BANNER, socket.MSG_PEEK)
        except TimeoutError:
            continue
        if data.startswith(b"SSH-") or b"\nSSH-" in data:
            return
        if not data:
            raise HostUnreachable("it closed the connection at once")
        if since is None:
            since = now
        if data == seen:  # peeking does not block once data has arrived
            time.sleep(0.02)
        seen = data


def _no_ssh(data: bytes) -> str:
    text = "".join(c if c.isprintable() else " " for c in data.decode(errors="replace"))
    return f"it is no SSH server: it said {' '.join(text.split())[:QUOTED]!r}"
