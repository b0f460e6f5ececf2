"""SSH connections to hosts, over whichever address answers first, with strict host key checks.

Addresses are tried in order of preference; the next one starts when one has failed or after
`NEXT_S`, so a dead address costs a quarter of a second. The first that authenticates is used, or
the next if the link is lost then. An address that lost a link is tried last for some time.

Limits are of silence: seconds for one step, as a greeting or an exchange of keys. They begin with
the first packet, and distant hosts that answer every step may need several times as long.
"""

from __future__ import annotations

import contextlib
import functools
import queue
import re
import shlex
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ringrift_cli.errors import HostKeyError, HostUnreachable, NotAdmitted, RingriftError
from ringrift_cli.fleet import known_hosts, package
from ringrift_cli.fleet.client import Client
from ringrift_cli.fleet.exchange import jittered
from ringrift_cli.fleet.health import Health
from ringrift_cli.fleet.hosts import ACCEPT_NEW, STRICT, Address, Host
from ringrift_cli.fleet.ssh_config import SshConfig, Target
from ringrift_cli.fleet.ssh_keys import authenticate
from ringrift_cli.fleet.state import log_event
from ringrift_cli.fleet.transport import (
    MOST_TIME,
    PACKET,
    PER_JUMP,
    WINDOW,
    ChannelTransport,
    Connection,
    open_channel,
)
from ringrift_cli.text import printable

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
BUSY_S = 0.4  # before a server with too many connections is asked again; doubled each time
MOST_CLOSED = 3  # connections that a server may close without a word before it counts as down
TICK_S = 0.05  # between two looks at what others do
MOST_BANNER = 4096  # bytes before the greeting of a server
BANNER_S = 1.0  # timeout after the first byte of the greeting
QUOTED = 60  # characters of an invalid greeting in a message
MOST_WHY = 500  # characters of the reason for one address
BUSY = (b"Exceeded MaxStartups", b"Not allowed at this time")  # sshd instead of its greeting


class _Busy(HostUnreachable):
    """A server closed the connection before its greeting; another attempt may succeed."""

    def __init__(self, message: str, *, told: bool) -> None:
        super().__init__(message, silence_s=0.0 if told else None)
        self.told = told  # whether the server gave the reason


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

    `deadline_s`: seconds of silence, of all attempts together. Only temporary errors are retried,
    and logged in `state`. The host sends at most `window` bytes ahead of what was read.

    `HostUnreachable` with the reason for every address; `HostKeyError` for an unknown or changed
    key; `RemoteError` if the agent does not start, `NotDeployed` if it is missing; `UsageError` for
    an invalid ssh configuration.
    """
    _prepare()
    health = None if state is None or len(host.addresses) == 1 else Health(state)
    until = time.monotonic() + deadline_s
    for left in range(attempts - 1, -1, -1):
        silence = max((until - time.monotonic()) / (left + 1), deadline_s / attempts / 2)
        try:
            return _Race(host, silence, window, agent, health).run()
        except HostUnreachable as error:
            pause = jittered(min(PAUSE_S * 2 ** (attempts - 1 - left), LONGEST_PAUSE_S))
            if not left or isinstance(error, NotAdmitted) or time.monotonic() + pause >= until:
                raise
            if state is not None:
                log_event(state, "retry", host.name, error.message)
        time.sleep(pause)
    raise ValueError(f"attempts is {attempts}, expected 1 or more")


def unknown_keys(host: Host, deadline_s: float) -> dict[str, RingriftError | None]:
    """What each address of a host shows: `UnknownKey`, another error, or None for a known key.

    Nothing is sent to the host; behind jump hosts it is reached when their keys are known.
    """
    _prepare()
    race = _Race(host, deadline_s, WINDOW, agent=False, health=None)
    race.keys_only = True
    for one in race.waiting:
        one.start()
    found: dict[str, RingriftError | None] = {}
    for one in race.waiting:
        one.join(max(race.until - time.monotonic(), TICK_S))
        error = one.fatal or one.error
        if one.is_alive() or isinstance(error, OSError):
            one.connection.close()
            error = HostUnreachable(f"{host.name} ({one.address}): {one.why()}.")
        found[str(one.address)] = error
    return found


# ---- race between addresses ----------------------------------------------------------------------


class _Race:
    """One attempt to reach a host over all its addresses; `silence`: limit in seconds."""

    def __init__(
        self, host: Host, silence: float, window: int, agent: bool, health: Health | None
    ) -> None:
        config = SshConfig()
        lost = set() if health is None else health.lost(host.name)
        places = sorted(host.places, key=lambda place: str(place) in lost)
        targets = [config.target(one.host, one.port, host.user, host.key) for one in places]
        self.host, self.silence, self.window, self.agent = host, silence, window, agent
        self.names = {target: self._known_as(target, host.host_key) for target in targets}
        self.health = health
        self.keys = known_hosts.Keys(host.name, self.names.values())
        self.results: queue.SimpleQueue[_Try] = queue.SimpleQueue()
        self.first = threading.Lock()  # held by the try that authenticated first
        self.waiting = [_Try(self, *one) for one in zip(places, targets, strict=True)]
        self.started: list[_Try] = []
        self.keys_only = False  # whether it ends when the host keys are verified
        self.until = 0.0
        self.extend()

    def known_as(self, target: Target) -> known_hosts.Name:
        """An address or jump host in known_hosts."""
        return self.names.get(target) or self._known_as(target, STRICT)

    def _known_as(self, target: Target, host_key: str) -> known_hosts.Name:
        files = known_hosts.files_of(self.host.known_hosts, target.known_hosts)
        new = target.accept_new or host_key == ACCEPT_NEW
        return known_hosts.Name(target.host, target.port, target.alias, files, new)

    def extend(self) -> None:
        """Sets the end of the race to the longest time from now."""
        self.until = time.monotonic() + MOST_TIME * self.silence

    def run(self) -> Client:
        """The client of the address that authenticates first."""
        won: _Try | None = None
        try:
            won = self._won()
            client = won.client
            assert client is not None
            client.limit(None)
            if self.health is not None:
                lost = self.health.lost_link
                client.on_lost = functools.partial(lost, self.host.name, client.address)
            return client
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
                one = self.results.get(timeout=max(wake - time.monotonic(), TICK_S))
            except queue.Empty:
                queued = any(one.queued for one in self.started)
                if time.monotonic() >= self.until and not queued:
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
        silences = [one.silence_s for one in self.started if one.silence_s is not None]
        address = (refused or self.started)[0].address
        port = "" if address.port in (None, 22) else f" -p {address.port}"
        user = f"{self.host.user}@" if self.host.user else ""
        return kind(
            f"{self.host.name} cannot be reached: {'; '.join(reasons)}.",
            hint=f"ssh{port} {shlex.quote(f'{user}{address.host}')}",
            silence_s=max(silences, default=None),
        )


class _Try(threading.Thread):
    """Connection attempt to one address; the thread never outlives its connection."""

    connection: Connection

    def __init__(self, race: _Race, address: Address, target: Target) -> None:
        super().__init__(daemon=True, name=f"{race.host.name} at {address}")
        self.race = race
        self.host, self.keys = race.host, race.keys
        self.address = address
        self.target = target
        self.began = self.asked = 0.0  # times at which it, and its present step, began
        self.slowest = 0.0  # longest step in seconds
        self.queued = False  # waits for others at a jump host
        self.transport: Transport | None = None  # the last whose host key was verified
        self.doing = "connecting"
        self.client: Client | None = None
        self.error: RingriftError | OSError | None = None
        self.fatal: RingriftError | None = None  # an error that ends the race

    def start(self) -> None:
        self.began = self.asked = time.monotonic()
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
        if self.race.keys_only:
            return
        while not self.race.first.acquire(timeout=TICK_S):
            if self.connection.closed:
                raise ConnectionAbortedError("another address was faster")
        try:
            self.client = self._with_agent(latency)
            return
        except (HostUnreachable, OSError) as error:
            self.error = error
        except RingriftError as error:
            self.fatal = error
        if self.race.health is not None and self.fatal is None:
            self.race.health.lost_link(self.host.name, str(self.address))
        self.race.first.release()

    def _with_agent(self, latency: float) -> Client:
        """A client of the agent, which is started on the authenticated connection."""
        self.step("starting the agent")
        channel = None
        if self.race.agent:
            command = package.command(self.host.python, self.host.work)
            channel = open_channel(self.connection, command, self.left())
        transport = ChannelTransport(channel, self.connection)
        address = str(self.address)
        client = Client(transport, host=self.host.name, address=address, latency_s=latency)
        client.limit(self.left())
        if self.race.agent:
            client.open()
        self.step("")
        seconds = time.monotonic() - self.began
        client.needed_s = max(2 * self.slowest, 2 * seconds / MOST_TIME)
        return client

    def step(self, doing: str) -> None:
        """Begins the next step."""
        now = time.monotonic()
        self.slowest = max(self.slowest, now - self.asked)
        self.doing, self.asked = doing, now

    def left(self) -> float:
        """Seconds of silence permitted for a step that begins now; `TimeoutError` if none."""
        left = min(self.race.silence, self.race.until - time.monotonic())
        if left <= 0:
            raise TimeoutError
        return left

    @property
    def silence_s(self) -> float | None:
        """Limit of silence that was exceeded, in seconds; None: it failed otherwise."""
        if self.error is None or isinstance(self.error, TimeoutError):
            return self.race.silence
        return getattr(self.error, "silence_s", None)

    def why(self) -> str:
        """The error as the end of a sentence, sanitized, since it may quote the server."""
        return printable(self._why(), " ")[:MOST_WHY]

    def _why(self) -> str:
        match self.error:
            case None | TimeoutError():
                seconds = min(time.monotonic(), self.race.until) - self.asked
                if seconds < 0.05:
                    return f"there was no time left for {self.doing}"
                seconds = min(seconds, self.race.silence)
                return f"no answer within {seconds:.1f} s while {self.doing}{self._banner()}"
            case NotAdmitted():
                return self.error.message + self._banner()
            case RingriftError():
                message = self.error.message.removeprefix(f"{self.host.name} ({self.address}): ")
                return message.rstrip(".")
            case socket.gaierror():
                return f"its name is not known ({self.error.strerror})"
            case ConnectionRefusedError():
                return "connection refused"
            case _:
                why = self.error.strerror or str(self.error)
                return f"{why} while {self.doing}"

    def _banner(self) -> str:
        """What the server asks for before it admits anybody, as to visit a web page."""
        banner = None if self.transport is None else self.transport.get_banner()
        banner = banner or self.connection.banner
        if not banner:
            return ""
        text = bytes(banner).decode(errors="replace")
        if found := re.search(r"https?://[!-~]+", text):
            return f"; it asks to visit {found[0]} "
        return f"; it says {_quoted(text.encode())!r}"

    # ---- one connection -------------------------------------------------------------------------

    def _connect(self) -> float:
        """Connects and authenticates through all jump hosts; returns the round trip in seconds."""
        carrier: socket.socket | Channel
        hops = [*self.target.jumps, self.target]
        with contextlib.ExitStack() as turn:
            self._wait_for_turn(turn)
            carrier, latency = self._carrier()
            for hop, then in zip(hops, [*hops[1:], None], strict=True):
                where = "" if then is None else f" at the jump host {hop.host}"
                transport = self._greeted(carrier, hop, where)
                if then is None and self.race.keys_only:
                    break
                self.step(f"authenticating{where}")
                authenticate(transport, hop, self.connection, self.left)
                turn.close()
                if then is not None:
                    self.step(f"connecting through {hop.host}")
                    began = time.monotonic()
                    place = (then.host, then.port)
                    with self.connection.guarded():
                        carrier = transport.open_channel(
                            "direct-tcpip", place, ("127.0.0.1", 0), timeout=self.left()
                        )
                    latency = time.monotonic() - began
        return latency

    def _wait_for_turn(self, turn: contextlib.ExitStack) -> None:
        """Limits unauthenticated connections to a jump host, which this waits for.

        A ProxyCommand counts as one host, whatever it connects to: it may be `ssh -W` itself.
        """
        if self.target.jumps:
            host = f"{self.target.jumps[0].host}:{self.target.jumps[0].port}"
        elif self.target.command is not None:
            words = {self.target.host, str(self.target.port)}
            host = " ".join(word for word in self.target.command.split() if word not in words)
            host = host.replace(f"{self.target.host}:{self.target.port}", "")
        else:
            return
        with _turns_lock:
            place = _turns.setdefault(host, threading.Semaphore(PER_JUMP))
        self.queued = True
        try:
            while not place.acquire(timeout=TICK_S):
                if self.connection.closed:
                    raise ConnectionAbortedError("another address was faster")
        finally:
            self.queued = False
        turn.callback(place.release)
        self.began = self.asked = time.monotonic()
        self.race.extend()

    def _greeted(self, carrier: socket.socket | Channel, hop: Target, where: str) -> Transport:
        """An encrypted connection with a verified host key, not yet authenticated."""
        from paramiko import Transport

        name = self.race.known_as(hop)
        self.step(f"waiting for its SSH greeting{where}")
        with self.connection.guarded():
            transport = Transport(carrier, WINDOW, PACKET)
            self.connection.add(transport)
            transport.banner_timeout = transport.handshake_timeout = (
                2 * self.left()
            )  # ours is first
            options = transport.get_security_options()
            known = options.ciphers
            options.ciphers = tuple(cipher for cipher in CIPHERS if cipher in known)
            options.key_types = self.keys.preferred(name, options.key_types)
            self.step(f"exchanging keys{where}")
            limit = self.left()
            transport.start_client(timeout=limit)
            if time.monotonic() - self.asked >= limit:  # start_client also returns then
                raise TimeoutError
            key = transport.get_remote_server_key()
            transport.set_keepalive(KEEPALIVE_S)
            who = f"the jump host {hop.host}" if where else f"{self.host.name} ({self.address})"
            signed = None if key.public_blob is None else key.public_blob.key_blob
            kind = key.get_name().removesuffix(known_hosts.CERTIFICATE)
            self.keys.check(known_hosts.HostKey(kind, key.asbytes(), signed), name, who)
        self.transport = transport
        return transport

    def _carrier(self) -> tuple[socket.socket, float]:
        """A connection on which a server has greeted, and its latency in seconds.

        A server that has too many connections is asked again.
        """
        where = f" at the jump host {self.target.jumps[0].host}" if self.target.jumps else ""
        asked = 0
        while True:
            self.step(f"connecting{where}")
            carrier, latency = self._dialled()
            self.step(f"waiting for its SSH greeting{where}")
            try:
                _expect_ssh(carrier, time.monotonic() + self.left())
            except _Busy as error:
                asked += 1
                pause = jittered(min(BUSY_S * 2**asked, LONGEST_PAUSE_S))
                ends = time.monotonic() + pause >= self.race.until
                if ends or (asked >= MOST_CLOSED and not error.told) or self.connection.closed:
                    raise
                time.sleep(pause)
                self.asked = time.monotonic()
                continue
            return carrier, latency

    def _dialled(self) -> tuple[socket.socket, float]:
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


_turns: dict[str, threading.Semaphore] = {}  # by jump host
_turns_lock = threading.Lock()


@functools.cache
def _prepare() -> None:
    """Loads the library before limits begin; disables its log: our messages have its errors."""
    import paramiko
    from paramiko.util import get_logger

    package.code_hash()
    get_logger(paramiko.transport.__name__).disabled = True


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
            raise _Busy("it closed the connection at once", told=False)
        if any(text in data for text in BUSY):
            raise _Busy(f"it has too many connections ({_quoted(data)})", told=True)
        if since is None:
            since = now
        if data == seen:  # peeking does not block once data has arrived
            time.sleep(0.02)
        seen = data


def _quoted(data: bytes) -> str:
    return " ".join(printable(data.decode(errors="replace"), " ").split())[:QUOTED]


def _no_ssh(data: bytes) -> str:
    return f"it is no SSH server: it said {_quoted(data)!r}"
