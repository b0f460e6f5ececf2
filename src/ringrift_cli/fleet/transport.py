"""SSH channel transport; every wait has a timeout.

A link that is cut in silence would keep a reader waiting for ever, and a writer too once the
buffers are full. So a reader who has waited for a while asks the server for a sign of life, and a
watch over all writers closes the connection of one that is stuck.
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

if TYPE_CHECKING:
    from paramiko import Channel, Transport

    Part: TypeAlias = Transport | socket.socket | subprocess.Popen[bytes]

T = TypeVar("T")
PULSE_S = 5.0  # silence after which a sign of life is asked for
DEAD_S = 15.0  # without any, the connection is dead
WINDOW = 1 << 26  # bytes under way; the usual 2 MiB hold a fast link up
PACKET = 1 << 18
PACKET_UP = 1 << 15  # what OpenSSH takes at once
MOST_OUTPUT = 1 << 26  # bytes of a command that are kept
MOST_WORDS = 300  # characters of an error that a message quotes


class Connection:
    """An SSH connection and what it goes through; closed as one, by any thread."""

    def __init__(self, window: int = WINDOW) -> None:
        self.window = window  # bytes that a host may send before they are read
        self._parts: list[Part] = []  # in the order in which they were made
        self._lock = threading.Lock()
        self._closed = False
        self._asked = 0.0  # when a sign of life was asked for, if it was
        self._answered = threading.Event()
        self._answered.set()
        self.busy_since: float | None = None  # when the call of the library that goes on began
        threading.Thread(target=self._watch, daemon=True, name="stuck calls").start()

    def add(self, part: Part) -> None:
        """Something to close with the rest; at once, with `OSError`, if that is closed already."""
        with self._lock:
            closed = self._closed
            if not closed:
                self._parts.append(part)
        if closed:
            _close(part)
            raise ConnectionAbortedError("it was closed")

    @property
    def transport(self) -> Transport:
        """The one to the host itself; `OSError` if all is closed."""
        from paramiko import Transport

        with self._lock:
            for part in reversed(self._parts):
                if isinstance(part, Transport):
                    return part
        raise ConnectionAbortedError("it was closed")

    def close(self) -> None:
        """Ends it; whoever reads or writes finds that out within 0.1 s. May be called again."""
        with self._lock:
            parts, self._parts, self._closed = self._parts, [], True
        for part in reversed(parts):
            _close(part)

    def check_alive(self) -> None:
        """To be called every so often while nothing comes; `ConnectionError` if it is dead."""
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
        with contextlib.suppress(OSError, *_malformed()):  # then there was no sign
            self.transport.global_request("keepalive@openssh.com", wait=True)
            if self.transport.is_active():
                self._answered.set()

    def _watch(self) -> None:
        """Closes the connection if a call of the library is stuck."""
        while not self._closed:
            since = self.busy_since
            if since is not None and time.monotonic() - since > PULSE_S + DEAD_S:
                self.close()
            time.sleep(1)

    @contextlib.contextmanager
    def guarded(self, *passing: type[Exception]) -> Iterator[None]:
        """For a call of the library: it raises nothing but `OSError` and what may pass, and the
        connection is closed if the call takes far longer than it was told to.
        """
        self.busy_since = time.monotonic()
        try:
            yield
        except passing:
            raise
        except _malformed() as error:
            said = getattr(error, "text", "") or str(error)  # of a channel that was refused
            if said.startswith("Timeout opening channel"):  # paramiko has no class for it
                raise TimeoutError(said) from error
            raise ConnectionResetError(said or "it was cut") from error
        finally:
            self.busy_since = None


@functools.cache
def _malformed() -> tuple[type[Exception], ...]:
    """What the library raises when the link ends, or when a server sends what cannot be read."""
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
        with contextlib.suppress(OSError):  # closing alone would wake nobody who waits for it
            part.shutdown(socket.SHUT_RDWR)
    part.close()


# ---- channels ------------------------------------------------------------------------------------


class ChannelTransport:
    """A `client.Transport` through a channel on which the agent, or another command, runs."""

    def __init__(self, channel: Channel, connection: Connection) -> None:
        self._channel = channel
        self._connection = connection

    def read(self, most: int, within: float) -> bytes:
        """Up to `most` bytes, b"" when the far end has closed; errors as `client.Transport`."""
        data: bytes = self._waiting(lambda: self._channel.recv(most), within)
        if not data and not self._channel.eof_received:
            raise ConnectionResetError("it was cut")
        return data

    def write(self, data: bytes | bytearray | memoryview, within: float) -> None:
        """All of the bytes; errors as `client.Transport`."""
        rest = memoryview(data)
        while rest:
            sent = self._waiting(
                functools.partial(self._channel.send, bytes(rest[:PACKET_UP])), within
            )
            if not sent:
                raise ConnectionResetError("it was cut, or nobody reads there")
            rest = rest[sent:]

    def _waiting(self, act: Callable[[], T], within: float) -> T:
        """Does it, looking every few seconds whether the host is alive; `TimeoutError` at last."""
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
        """Its exit code and last error; None if the connection went first."""
        if not self._channel.eof_received:
            return None
        self._channel.status_event.wait(0.5)  # it comes right after the end of the output
        code = self._channel.exit_status
        said = b""
        while self._channel.recv_stderr_ready():
            said = (said + self._channel.recv_stderr(PACKET))[-PACKET:]
        lines = [line.strip() for line in said.decode(errors="replace").splitlines()]
        last = next((line for line in reversed(lines) if line), "")
        shown = "".join(c for c in last if c.isprintable())[:MOST_WORDS].rstrip(".")
        return (f"exit code {code}" if code >= 0 else "killed") + (f", {shown}" if shown else "")

    def run(self, command: str, stdin: bytes, within: float) -> tuple[int, bytes, bytes]:
        """A shell command in a channel of its own; errors as `Transport`. Code -1: killed."""
        until = time.monotonic() + within
        channel = open_channel(self._connection, command, min(within, DEAD_S))
        own = ChannelTransport(channel, self._connection)
        try:
            try:
                own.write(stdin, within)
            except TimeoutError:
                raise
            except OSError:  # a command need not read its input; the reader meets what is worse
                pass
            with contextlib.suppress(OSError), self._connection.guarded():
                channel.shutdown_write()
            # What is read second waits in the window meanwhile, which holds all that is kept.
            output = own._all_of(channel.recv, until)
            error = own._all_of(channel.recv_stderr, until)
            if not channel.status_event.wait(max(until - time.monotonic(), 0)):
                raise TimeoutError
        finally:
            with contextlib.suppress(OSError), self._connection.guarded():
                channel.close()
        return channel.exit_status, output, error

    def _all_of(self, receive: Callable[[int], bytes], until: float) -> bytes:
        """One of the streams of a command up to its end."""
        parts: list[bytes] = []
        while data := self._waiting(lambda: receive(PACKET), until - time.monotonic()):
            parts.append(data)
            if sum(map(len, parts)) > MOST_OUTPUT:
                raise OSError(f"it printed more than {MOST_OUTPUT >> 20} MiB")
        if not self._channel.eof_received:
            raise ConnectionResetError("it was cut")
        return b"".join(parts)

    def close(self) -> None:
        """Ends the connection with all its channels."""
        self._connection.close()


def open_channel(connection: Connection, command: str, within: float) -> Channel:
    """A channel on which a shell runs the command; `OSError` if there is none in time."""
    with connection.guarded():
        channel = connection.transport.open_session(connection.window, PACKET, timeout=within)
        channel.exec_command(command)
        return channel
