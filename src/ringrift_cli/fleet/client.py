"""Client of the agent on one host: requests and replies over a byte transport.

The `Transport` is a channel of an SSH connection (transport.py) or the pipes of a local process
(tests). Every wait has a timeout; every error names the host, its address and what was awaited.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Protocol, Self, TypeVar

import msgspec

from ringrift_cli.errors import BadOutput, HostUnreachable, RemoteError, RingriftError, UsageError
from ringrift_cli.fleet import messages, package, probe
from ringrift_cli.fleet.messages import R, Record, Reply, Request
from ringrift_cli.fleet.wire import Wire, WireError, quoted
from ringrift_cli.text import printable

PATIENCE_S = 60.0  # the agent sends a keepalive about every second
MOST_SENTENCE = 1000  # characters of an error message from a host

T = TypeVar("T")


class NotDeployed(RemoteError):
    """The host was reached but lacks this version of ringrift; `facts` describe the host."""

    def __init__(self, why: str, facts: messages.Facts, client: Client) -> None:
        hint = f"ringrift fleet deploy {client.host}"
        super().__init__(f"{client.host} ({client.address}): {why}.", hint, kind="bare")
        self.why, self.facts = f"{why}: {hint}", facts
        self.address, self.latency_s = client.address, client.latency_s


class Transport(Protocol):
    """Byte stream to an agent and back. Not thread-safe."""

    def read(self, most: int, within: float) -> bytes:
        """Up to `most` bytes, b"" at the end.

        `TimeoutError` if none arrived within `within` seconds, another `OSError` if the connection
        is lost.
        """

    def write(self, data: bytes | bytearray | memoryview, within: float) -> None:
        """Writes all bytes; `within`: seconds without progress. Errors as for `read`."""

    def exit_status(self) -> str | None:
        """Exit code and last error line of the agent; None if the connection was lost first."""

    def run(self, command: str, stdin: bytes, within: float) -> tuple[int, bytes, bytes]:
        """Runs a shell command beside the agent: exit code, standard output and error.

        `TimeoutError` after `within` seconds, another `OSError` as for `read`.
        """

    def close(self) -> None:
        """Closes the transport and ends the agent. Idempotent and thread-safe."""


class Client:
    """Connection to the agent of a host. Not thread-safe.

    Any error, and any reply that was not read to its end, closes the client, so that a later
    request cannot be answered by the rest of an earlier reply.
    """

    def __init__(
        self, transport: Transport, *, host: str, address: str = "", latency_s: float = 0.0
    ) -> None:
        self.host = host  # its name in hosts.yaml
        self.address = address  # which of its addresses answered
        self.latency_s = latency_s  # round trip
        self.needed_s = 0.0  # limit of silence that connecting to it has needed
        self.on_lost: Callable[[], None] = lambda: None  # called when the link breaks or is silent
        self.patience_s = PATIENCE_S  # timeout without progress
        self._transport = transport
        self._until: float | None = None
        self._limit_s = 0.0
        self._awaited = ""
        self._opened = False
        self._ended = False
        self._closed = False
        self._pending: deque[Request[Reply]] = deque()  # requests whose replies are due
        self._wire = Wire(self._read, self._write)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the agent and the connection. Idempotent."""
        self._closed = True
        self._transport.close()

    def limit(self, seconds: float | None) -> None:
        """Sets one deadline for all following requests, in seconds from now; None: none."""
        self._until = None if seconds is None else time.monotonic() + seconds
        self._limit_s = seconds or 0.0

    # ---- requests -------------------------------------------------------------------------------

    def ask(self, request: Request[R]) -> R:
        """The single-frame reply to a request.

        `RemoteError`, with its `kind`, if the host failed; `HostUnreachable` after a timeout or a
        lost connection; `BadOutput` if the reply violates the schema.
        """
        self.begin(request)
        reply = self.receive()
        if isinstance(reply, bytes) or not isinstance(reply, Reply):
            raise self._fail(BadOutput(f"{self._who} sent more than {self._awaited}."))
        return reply  # type: ignore[return-value]  # the decoder takes no other

    def stream(self, request: Request[R]) -> Iterator[Record | bytes]:
        """All frames of a reply including the final `Reply`; errors as for `ask`.

        Stopping early closes the client.
        """
        self.begin(request)
        over = False
        try:
            while not over:
                try:
                    frame = self.receive()
                except RemoteError:
                    over = True  # that was the last frame
                    raise
                over = isinstance(frame, Reply)
                yield frame
        finally:
            if not over:
                self.close()

    def begin(self, request: Request[R]) -> None:
        """Sends a request; `receive` reads its reply. Several may be sent before that."""
        self._awaited = f"its reply to {request.__struct_config__.tag!r}"
        self._pending.append(request)  # type: ignore[arg-type]
        try:
            self._guarded(lambda: self._wire.send(request))
        except UnicodeEncodeError as error:  # its text would quote what may be a secret
            self.close()
            raise UsageError("An argument for a host is no valid Unicode text.") from error

    def send_bytes(self, data: bytes | bytearray | memoryview) -> None:
        """Sends a byte frame of a request, at most 1 MiB."""
        self._guarded(lambda: self._wire.send_bytes(data))

    def receive(self) -> Record | bytes:
        """The next frame of a reply; `RemoteError` if the host reports a failure.

        A failure ends the reply; the client remains usable.
        """
        frame = self._guarded(self._wire.receive)
        if frame is None:
            raise self._fail(self._broken())
        if not isinstance(frame, msgspec.Raw):
            return frame
        try:
            message = messages.decode_reply(self._pending[0], frame)
        except (msgspec.MsgspecError, RecursionError) as error:
            why = f"{_plain(str(error))}, in {quoted(memoryview(frame))!r}"
            raise self._fail(
                BadOutput(f"{self._who}: {self._awaited} does not fit: {why}.")
            ) from error
        if isinstance(message, Reply | messages.Failed):
            self._pending.popleft()
        if isinstance(message, messages.Failed):
            raise RemoteError(f"{self.host}: {_plain(message.sentence)}", kind=message.kind)
        return message

    def run(
        self, command: str, stdin: bytes = b"", timeout_s: float | None = None
    ) -> tuple[int, bytes, bytes]:
        """Runs a shell command on the same connection: exit code, standard output and error.

        `HostUnreachable` after `timeout_s` seconds; None: after `patience_s`.
        """
        within = self.patience_s if timeout_s is None else timeout_s
        if self._until is not None:
            within = min(within, self._until - time.monotonic())
        self._awaited = "the end of a command"
        self._check_open()
        try:
            if within <= 0:
                raise TimeoutError
            return self._transport.run(command, stdin, within)
        except TimeoutError:
            limit = within if within > 0 else self._limit_s
            why = f"did not end a command within {_seconds(limit)}; it may still run there"
            raise HostUnreachable(f"{self._who} {why}.", silence_s=0.0) from None
        except OSError as error:
            raise self._fail(self._broken(error)) from error

    # ---- handshake ------------------------------------------------------------------------------

    def open(self) -> None:
        """Performs the handshake with a newly started agent; skips output of login scripts.

        `NotDeployed` for a host without our environment; `RemoteError` of kind "start" if the agent
        does not start; `BadOutput` for an unexpected greeting; `HostUnreachable` after a timeout.
        """
        self._awaited = "the greeting of the agent"
        if not self._guarded(self._wire.expect_greeting):
            raise self._fail(self._not_deployed(self._guarded(self._wire.rest)))
        frame = self._guarded(self._wire.receive)
        try:
            if not isinstance(frame, msgspec.Raw):
                raise msgspec.ValidationError("Expected a message")
            hello = msgspec.json.decode(frame, type=messages.Hello)
        except msgspec.MsgspecError as error:
            raise self._fail(
                BadOutput(f"{self._who}: its greeting does not fit: {_plain(str(error))}.")
            ) from error
        if hello.code != package.code_hash():
            raise self._fail(
                RemoteError(
                    f"{self._who} runs another ringrift ({_plain(hello.version)[:40]}, code"
                    f" {hello.code[:16]}) than this one (code {package.code_hash()[:16]}).",
                    hint=f"ringrift fleet deploy {self.host}",
                    kind="version",
                )
            )
        self._opened = True

    def _not_deployed(self, printed: bytes) -> RingriftError:
        try:
            facts, other = probe.parse(printed.decode(errors="replace"))
        except (LookupError, ValueError, OverflowError) as error:
            return BadOutput(f"{self._who}: what its shell printed does not fit: {error!r:.100}.")
        why = "it has another ringrift" if other else "ringrift is not deployed there"
        return NotDeployed(why, facts, self)

    # ---- bytes ----------------------------------------------------------------------------------

    def _read(self, most: int) -> bytes:
        data = self._transport.read(most, self._left())
        self._ended = not data
        return data

    def _write(self, data: bytes | bytearray | memoryview) -> None:
        self._transport.write(data, self._left())

    def _left(self) -> float:
        """Timeout of the next wait in seconds; `TimeoutError` after the deadline."""
        if self._until is None:
            return self.patience_s
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return min(left, self.patience_s)

    def _guarded(self, act: Callable[[], T]) -> T:
        """Runs a wire operation; an error closes the client and is raised as one of this host."""
        self._check_open()
        try:
            return act()
        except TimeoutError as error:
            limit = self.patience_s if self._until is None else self._limit_s
            silent = HostUnreachable(f"{self._who}: {self._silent()}", silence_s=limit)
            raise self._fail(silent) from error
        except (OSError, WireError) as error:
            raise self._fail(self._broken(error)) from error

    def _check_open(self) -> None:
        if self._closed:
            raise HostUnreachable(f"{self._who}: the link to it is closed.")

    @property
    def _who(self) -> str:
        return f"{self.host} ({self.address})" if self.address else self.host

    def _silent(self) -> str:
        if self._until is not None and time.monotonic() >= self._until:
            return f"{self._awaited} did not come within {_seconds(self._limit_s)}."
        return f"{self._awaited} did not come: nothing for {_seconds(self.patience_s)}."

    def _broken(self, error: OSError | WireError | None = None) -> RingriftError:
        """The error for a missing frame: malformed data, ended agent or lost connection."""
        if isinstance(error, WireError) and not self._ended:
            return BadOutput(f"{self._who}: instead of {self._awaited} came no message: {error}.")
        status = self._transport.exit_status()
        if status is None:
            why = "" if error is None or isinstance(error, WireError) else f": {error}"
            return HostUnreachable(f"{self._who}: the link broke before {self._awaited} came{why}.")
        if isinstance(error, WireError):
            status += f"; {error}"
        if self._opened:
            sentence = f"the agent ended before {self._awaited} came: {status}."
            return RemoteError(f"{self._who}: {sentence}", kind="ended")
        return RemoteError(
            f"{self._who}: the agent did not start: {status}.",
            hint=f"ringrift fleet deploy {self.host}",
            kind="start",
        )

    def _fail(self, error: RingriftError) -> RingriftError:
        self.close()
        if isinstance(error, HostUnreachable):
            self.on_lost()
        return error


def _plain(text: str) -> str:
    """A sentence from a host."""
    return printable(text[:MOST_SENTENCE], " ")


def _seconds(number: float) -> str:
    return f"{number:.1f} s" if number < 10 else f"{number:.0f} s"
