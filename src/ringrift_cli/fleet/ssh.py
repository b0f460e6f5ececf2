"""Opening a link to a host: over whichever of its addresses answers first, to the right machine.

The addresses are tried in order of preference, the next one as soon as one has failed or has been
silent for a moment, so that a dead address costs a quarter of a second and not a timeout. Whoever
lets us in first is used.
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

from ringrift_cli.errors import HostKeyError, HostUnreachable, RemoteError, RingriftError
from ringrift_cli.fleet import bundle, known_hosts
from ringrift_cli.fleet.attempts import jittered
from ringrift_cli.fleet.channel import PACKET, WINDOW, ChannelWay, Connection, open_channel
from ringrift_cli.fleet.health import log_event
from ringrift_cli.fleet.hosts import Address, Host
from ringrift_cli.fleet.link import Link
from ringrift_cli.fleet.ssh_config import Config, Target
from ringrift_cli.fleet.ssh_keys import NotAdmitted, authenticate

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
LOST_S = 30  # unacknowledged for so long, TCP gives a connection up
PAUSE_S = 0.5  # before the second attempt; doubled for every further one
LONGEST_PAUSE_S = 10.0
MOST_BANNER = 4096  # bytes before the greeting of a server
BANNER_S = 1.0  # after the first of them
QUOTED = 60  # characters of what is no greeting
MOST_WHY = 300  # characters about one address


def open_link(
    host: Host,
    state: Path | None,
    *,
    deadline_s: float,
    attempts: int = 1,
    window: int = WINDOW,
) -> Link:
    """A link to the remote half of a host, which is sent there if it is missing.

    All attempts together take no longer than the deadline, each its share of what is left.
    `HostUnreachable` names every address and what was wrong with it; `HostKeyError` if a key is
    not known or has changed; `RemoteError` if the remote half does not start there; `UsageError`
    for a configuration of ssh that cannot be. Authentication and host keys are not tried again.
    What is tried again is entered in the log of `state`. The host sends no more than `window` bytes
    ahead of what was read.
    """
    until = time.monotonic() + deadline_s
    for left in range(attempts - 1, -1, -1):
        now = time.monotonic()
        try:
            return _attempt(host, now + (until - now) / (left + 1), window)
        except (HostUnreachable, RemoteError) as error:
            final = isinstance(error, NotAdmitted) or getattr(error, "kind", "damaged") != "damaged"
            pause = _pause(attempts - 1 - left)
            if not left or final or time.monotonic() + pause >= until:
                raise
            if state is not None:
                log_event(state, "retry", host.name, error.message)
        time.sleep(pause)
    raise ValueError(f"attempts is {attempts}, expected 1 or more")


def _pause(attempt: int) -> float:
    """Seconds before the next attempt."""
    return jittered(min(PAUSE_S * 2**attempt, LONGEST_PAUSE_S))


# ---- the race between the addresses --------------------------------------------------------------


def _attempt(host: Host, until: float, window: int) -> Link:
    config = Config()
    targets = [
        config.target(address.host, address.port, host.user, host.key) for address in host.addresses
    ]
    keys = known_hosts.Keys(known_hosts.path_of(host.known_hosts), [_known_as(t) for t in targets])
    results: queue.SimpleQueue[_Try] = queue.SimpleQueue()
    first = threading.Lock()
    waiting = [
        _Try(host, address, target, keys, until, first, results)
        for address, target in zip(host.addresses, targets, strict=True)
    ]
    for one in waiting:
        one.connection.window = window
    started: list[_Try] = []
    try:
        return _race(host, waiting, started, results, until)
    finally:
        for one in started:
            if not one.won:
                one.connection.close()


def _race(
    host: Host,
    waiting: list[_Try],
    started: list[_Try],
    results: queue.SimpleQueue[_Try],
    until: float,
) -> Link:
    ended: list[_Try] = []
    while len(ended) < len(started) or waiting:
        alone = len(ended) == len(started)
        if waiting and (alone or time.monotonic() >= started[-1].began + NEXT_S):
            started.append(waiting.pop(0))
            started[-1].start()
        wake = min(until, started[-1].began + NEXT_S) if waiting else until
        try:
            one = results.get(timeout=max(wake - time.monotonic(), 0.001))
        except queue.Empty:
            if time.monotonic() >= until:
                break
            continue
        if one.link is not None:
            one.won = True
            one.link.limit(None)
            return one.link
        if one.fatal is not None:
            raise one.fatal
        ended.append(one)
    raise _all_failed(host, started, waiting)


def _all_failed(host: Host, tries: list[_Try], untried: list[_Try]) -> RingriftError:
    """What to say when no address came to anything: all of it, and the most telling first."""
    for one in tries:
        if isinstance(one.error, HostKeyError):
            return one.error
    said = [f"{one.address}: {one.why()}" for one in tries]
    said += [f"{one.address}: there was no time left to try it" for one in untried]
    last = next((one for one in tries if isinstance(one.error, NotAdmitted)), tries[0])
    kind = NotAdmitted if isinstance(last.error, NotAdmitted) else HostUnreachable
    return kind(f"{host.name} cannot be reached: {'; '.join(said)}.", hint=_by_hand(last))


def _by_hand(one: _Try) -> str:
    port = "" if one.address.port in (None, 22) else f" -p {one.address.port}"
    user = f"{one.host.user}@" if one.host.user else ""
    return f"ssh{port} {user}{one.address.host}"


class _Try(threading.Thread):
    """One address being tried, in a thread that never outlives its connection."""

    def __init__(
        self,
        host: Host,
        address: Address,
        target: Target,
        keys: known_hosts.Keys,
        until: float,
        first: threading.Lock,
        results: queue.SimpleQueue[_Try],
    ) -> None:
        super().__init__(daemon=True, name=f"{host.name} at {address}")
        self.host = host
        self.address = address
        self.target = target
        self.keys = keys
        self.until = until
        self.first = first  # held by the try that was let in
        self.results = results
        self.connection = Connection()
        self.began = time.monotonic()
        self.doing = "connecting"
        self.link: Link | None = None
        self.error: RingriftError | OSError | None = None
        self.fatal: RingriftError | None = None  # what no other address can make good
        self.won = False

    def start(self) -> None:
        self.began = time.monotonic()
        super().start()

    def run(self) -> None:
        try:
            self._run()
        except known_hosts.KeyChanged as error:
            self.fatal = error
        except (RingriftError, OSError) as error:
            self.error = error
        finally:
            if self.link is None:
                self.connection.close()
            self.results.put(self)

    def _run(self) -> None:
        latency = self._connect()
        if not self.first.acquire(blocking=False):
            raise ConnectionAbortedError("another address was faster")
        try:
            self.doing = "starting the remote half"
            command = bundle.command(self.host.python, self.host.work)
            channel = open_channel(self.connection, command, self.left())
            way = ChannelWay(channel, self.connection)
            link = Link(way, host=self.host.name, address=str(self.address), latency_s=latency)
            link.limit(self.left())
            link.open()
            self.link = link
        except OSError as error:
            self.error = error
            self.fatal = HostUnreachable(f"{self.host.name} ({self.address}): {self.why()}.")
        except RingriftError as error:
            self.fatal = error

    def left(self) -> float:
        """Seconds until the deadline; `TimeoutError` if there are none."""
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def why(self) -> str:
        """What was wrong, as the end of a sentence; a server may have had a hand in it."""
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
        """Connects through all jumps and is let in at the end; seconds of a round trip."""
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
        """An encrypted connection to the machine that known_hosts means, not yet let in."""
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
            self.left()  # start_client returns, too, when its time is up
            key = transport.get_remote_server_key()
            transport.set_keepalive(KEEPALIVE_S)
        who = f"{self.host.name} ({self.address})" if not where else f"the jump host {hop.host}"
        self.keys.check(key.get_name(), key.asbytes(), _known_as(hop), who)
        return transport

    def _carrier(self) -> tuple[socket.socket, float]:
        """What the first bytes go over: TCP, or the command that a ProxyCommand names."""
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
    """Keeps the library from printing what is said in our sentences."""
    from paramiko.util import get_logger

    get_logger("paramiko.transport").disabled = True


def _tune(one: socket.socket) -> None:
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * LOST_S)


def _expect_ssh(carrier: socket.socket, until: float) -> None:
    """Looks at the first bytes without taking them; `HostUnreachable` quotes what is not SSH."""
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
        if data == seen:  # peeking waits for nothing once there is something
            time.sleep(0.02)
        seen = data


def _no_ssh(data: bytes) -> str:
    text = "".join(c if c.isprintable() else " " for c in data.decode(errors="replace"))
    return f"it is no SSH server: it said {' '.join(text.split())[:QUOTED]!r}"
