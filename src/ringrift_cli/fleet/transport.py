"""SSH channel transport; every wait has a timeout.

A silently lost connection would block readers for ever, and writers once the buffers are full. So a
waiting reader sends keepalive requests, and a watchdog thread closes a connection on which a call
is stuck.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from ringrift_cli.text import printable

if TYPE_CHECKING:
    from paramiko import Channel, Transport

    Part: TypeAlias = Transport | socket.socket | subprocess.Popen[bytes]

T = TypeVar("T")
PULSE_S = 5.0  # silence before a keepalive request
DEAD_S = 15.0  # timeout of a keepalive request
WINDOW = 1 << 26  # bytes in flight; the usual 2 MiB limit fast links
PACKET = 1 << 18
PACKET_UP = 1 << 15  # largest packet that OpenSSH accepts
MOST_TIME = 4.0  # of connecting as a whole, in limits of silence
PER_JUMP = 8  # connections that wait for one jump host at a time: sshd refuses more than ten
FULL_S = 5.0  # for a server to notice that an earlier session has ended
MOST_OUTPUT = 1 << 26  # bytes of output of a command
MOST_WORDS = 300  # characters of a quoted error


class Connection:
    """An SSH connection with its jump hosts and sockets; closed as one. Thread-safe."""

    def __init__(self, window: int = WINDOW) -> None:
        self.window = window  # bytes that a host may send before they are read
        self._parts: list[Part] = []  # in order of creation
        self._lock = threading.Lock()
        self._closed = False
        self.banner: bytes | None = None  # of the server, before it admits anybody
        self._asked = 0.0  # time of the last keepalive request
        self._answered = threading.Event()
        self._answered.set()
        self.busy_since: float | None = None  # start of the current library call
        threading.Thread(target=self._watch, daemon=True, name="stuck calls").start()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def add(self, part: Part) -> None:
        """Adds a resource to close; if already closed, closes it and raises `OSError`."""
        with self._lock:
            closed = self._closed
            if not closed:
                self._parts.append(part)
        if closed:
            _close(part)
            raise ConnectionAbortedError("it was closed")

    @property
    def transport(self) -> Transport:
        """The transport to the host itself; `OSError` if closed."""
        from paramiko import Transport

        with self._lock:
            for part in reversed(self._parts):
                if isinstance(part, Transport):
                    return part
        raise ConnectionAbortedError("it was closed")

    def close(self) -> None:
        """Closes all parts; blocked readers and writers notice within 0.1 s. Idempotent."""
        with self._lock:
            parts, self._parts, self._closed = self._parts, [], True
        for part in reversed(parts):
            _close(part)

    def check_alive(self) -> None:
        """Sends a keepalive request if none is pending; `ConnectionError` if one timed out."""
        if not self.transport.is_active():
            raise ConnectionResetError("it was cut")
        now = time.monotonic()
        if self._answered.is_set():
            self._asked = now
            self._answered.clear()
            threading.Thread(target=self._pulse, daemon=True, name="sign of life").start()
        elif now - self._asked > DEAD_S:
            self.close()
            raise ConnectionAbortedError(f"no sign of life for {DEAD_S + PULSE_S:.0f} s")

    def _pulse(self) -> None:
        with contextlib.suppress(OSError, *_malformed()):  # then the request times out
            self.transport.global_request("keepalive@openssh.com", wait=True)
            if self.transport.is_active():
                self._answered.set()

    def _watch(self) -> None:
        """Watchdog: closes the connection if a library call is stuck."""
        while not self._closed:
            since = self.busy_since
            if since is not None and time.monotonic() - since > PULSE_S + DEAD_S:
                self.close()
            time.sleep(1)

    @contextlib.contextmanager
    def guarded(self, *passing: type[Exception]) -> Iterator[None]:
        """Guards a library call: translates errors to `OSError`, except those in `passing`, and
        registers the call with the watchdog.
        """
        self.busy_since = time.monotonic()
        try:
            yield
        except passing:
            raise
        except _malformed() as error:
            text = getattr(error, "text", "") or str(error)  # .text: a refused channel
            if text.startswith("Timeout opening channel"):  # paramiko has no class for it
                raise TimeoutError(text) from error
            raise ConnectionResetError(text or "it was cut") from error
        finally:
            self.busy_since = None


@functools.cache
def _malformed() -> tuple[type[Exception], ...]:
    """Exceptions of the library for a lost connection or malformed data."""
    from paramiko import SSHException

    return (SSHException, EOFError, ValueError, LookupError, TypeError, struct.error)


def _close(part: Part) -> None:
    if isinstance(part, subprocess.Popen):
        part.terminate()
        try:
            part.wait(1)
        except subprocess.TimeoutExpired:
            part.kill()
            part.wait()
        return
    if isinstance(part, socket.socket):
        with contextlib.suppress(OSError):  # close() alone does not wake blocked threads
            part.shutdown(socket.SHUT_RDWR)
    part.close()


# ---- channels ------------------------------------------------------------------------------------


class ChannelTransport:
    """A `client.Transport` over an SSH channel that runs the agent or another command.

    Without a channel it only runs commands, one after another.
    """

    def __init__(self, channel: Channel | None, connection: Connection) -> None:
        self._opened = channel
        self._connection = connection

    @property
    def _channel(self) -> Channel:
        if self._opened is None:
            raise ConnectionResetError("no agent was started")
        return self._opened

    def read(self, most: int, within: float) -> bytes:
        """Up to `most` bytes, b"" at the end; errors as `client.Transport`."""
        data: bytes = self._waiting(lambda: self._channel.recv(most), within)
        if not data and not self._channel.eof_received:
            raise ConnectionResetError("it was cut")
        return data

    def write(self, data: bytes | bytearray | memoryview, within: float) -> None:
        """Writes all bytes; errors as `client.Transport`."""
        rest = memoryview(data)
        while rest:
            sent = self._waiting(
                functools.partial(self._channel.send, bytes(rest[:PACKET_UP])), within
            )
            if not sent:
                raise ConnectionResetError("it was cut, or nobody reads there")
            rest = rest[sent:]

    def _waiting(self, act: Callable[[], T], within: float) -> T:
        """Runs a blocking call with keepalive checks; `TimeoutError` after `within` seconds."""
        until = time.monotonic() + within
        while True:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._channel.settimeout(min(left, PULSE_S))
            try:
                with self._connection.guarded():
                    return act()
            except TimeoutError:
                self._connection.check_alive()

    def exit_status(self) -> str | None:
        """Exit code and last error line; None if the connection was lost, or no agent started."""
        if self._opened is None or not self._channel.eof_received:
            return None
        self._channel.status_event.wait(0.5)  # arrives right after the end of the output
        code = self._channel.exit_status
        error = b""
        while self._channel.recv_stderr_ready():
            error = (error + self._channel.recv_stderr(PACKET))[-PACKET:]
        lines = [line.strip() for line in error.decode(errors="replace").splitlines()]
        last = next((line for line in reversed(lines) if line), "")
        shown = printable(last, "")[:MOST_WORDS].rstrip(".")
        return (f"exit code {code}" if code >= 0 else "killed") + (f", {shown}" if shown else "")

    def run(self, command: str, stdin: bytes, within: float) -> tuple[int, bytes, bytes]:
        """Runs a shell command in its own channel; errors as `Transport`. Exit code -1: killed."""
        until = time.monotonic() + within
        channel = open_channel(self._connection, command, min(within, DEAD_S))
        own = ChannelTransport(channel, self._connection)
        try:
            try:
                own.write(stdin, within)
            except TimeoutError:
                raise
            except OSError:  # the command need not read its input; reading reports other errors
                pass
            with contextlib.suppress(OSError), self._connection.guarded():
                channel.shutdown_write()
            # Standard error is buffered in the window meanwhile, which is large enough.
            output = own._all_of(channel.recv, until)
            error = own._all_of(channel.recv_stderr, until)
            if not channel.status_event.wait(max(until - time.monotonic(), 0)):
                raise TimeoutError
        finally:
            with contextlib.suppress(OSError), self._connection.guarded():
                channel.close()
        return channel.exit_status, output, error

    def _all_of(self, receive: Callable[[int], bytes], until: float) -> bytes:
        """Reads an output stream of a command to its end."""
        parts: list[bytes] = []
        while data := self._waiting(lambda: receive(PACKET), until - time.monotonic()):
            parts.append(data)
            if sum(map(len, parts)) > MOST_OUTPUT:
                raise OSError(f"it printed more than {MOST_OUTPUT >> 20} MiB")
        if not self._channel.eof_received:
            raise ConnectionResetError("it was cut")
        return b"".join(parts)

    def close(self) -> None:
        """Closes the connection with all its channels."""
        self._connection.close()


def open_channel(connection: Connection, command: str, within: float) -> Channel:
    """Opens a channel on which a shell runs the command; `OSError` on failure or timeout.

    A server that permits one session (MaxSessions) may refuse it until it has closed the last one.
    """
    from paramiko import ChannelException

    until = time.monotonic() + min(within, FULL_S)
    while True:
        try:
            with connection.guarded(ChannelException):
                transport = connection.transport
                channel = transport.open_session(connection.window, PACKET, timeout=within)
                channel.exec_command(command)
                return channel
        except ChannelException as error:
            if time.monotonic() >= until:
                raise ConnectionResetError("it permits no further session") from error
            time.sleep(0.1)
