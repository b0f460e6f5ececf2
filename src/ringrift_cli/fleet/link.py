"""A conversation with the remote half of one host, over anything that carries bytes both ways.

What carries them is a `Way`: a channel of an SSH connection (channel.py), or the pipes of a process
here, which is how the tests do without SSH. Every wait has an end, and every end is a sentence that
names the host, the address and what was awaited.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from ringrift_cli.errors import BadOutput, HostUnreachable, RemoteError, RingriftError
from ringrift_cli.fleet import bundle
from ringrift_cli.fleet.remote.wire import Wire, WireError

PATIENCE_S = 60.0  # the remote half gives a sign of life every second or so
MOST_SENTENCE = 1000  # characters of what a host says
HINTS = {  # what to try when it does not start
    "start": "`python:` of {host} in hosts.yaml: a Python of 3.8 or later",
    "python": "`python:` of {host} in hosts.yaml: a Python of 3.8 or later",
    "work": "`work:` of {host} in hosts.yaml: a folder that its user may write to",
    "disk": "free some space on {host}: ssh there, df -h",
}

T = TypeVar("T")


class Way(Protocol):
    """Bytes to a remote half and back. Used by one thread at a time."""

    def read(self, most: int, within: float) -> bytes:
        """Up to `most` bytes, b"" at the end.

        `TimeoutError` if none came in so many seconds, another `OSError` if the way is broken.
        """

    def write(self, data: bytes | bytearray | memoryview, within: float) -> None:
        """All of the bytes; errors as of `read`, `within` being seconds without any progress."""

    def last_words(self) -> str | None:
        """How the far end ended and what it complained of; None if it did not say that it ended."""

    def run(self, command: str, stdin: bytes, within: float) -> tuple[int, bytes, bytes]:
        """A shell command beside the remote half: exit code, output, what it complained of.

        `TimeoutError` if it did not end in so many seconds, another `OSError` as of `read`.
        """

    def close(self) -> None:
        """Ends it, which ends the remote half; may be called again, and by other threads."""


class Link:
    """The remote half of a host, ready to be asked. Used by one thread at a time.

    A link on which anything went wrong, or of which a reply was not read to its end, is closed: no
    later question can be answered by what was left of an earlier one.
    """

    def __init__(self, way: Way, *, host: str, address: str = "", latency_s: float = 0.0) -> None:
        self.host = host  # its name in hosts.yaml
        self.address = address  # which of its addresses answered
        self.latency_s = latency_s  # of a round trip
        self.patience_s = PATIENCE_S  # how long a host may be silent, or take no bytes
        self._way = way
        self._until: float | None = None
        self._limit_s = 0.0
        self._awaited = ""
        self._opened = False
        self._ended = False
        self._closed = False
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
        """Ends the remote half and the connection; may be called again."""
        self._closed = True
        self._way.close()

    def limit(self, seconds: float | None) -> None:
        """From now on everything on this link must be over in so many seconds; None: no limit."""
        self._until = None if seconds is None else time.monotonic() + seconds
        self._limit_s = seconds or 0.0

    # ---- questions ------------------------------------------------------------------------------

    def ask(self, op: str, **arguments: Any) -> dict[str, Any]:
        """The one frame with which the remote half replies.

        `RemoteError` if it says that it could not, with its `kind`; `HostUnreachable` if nothing
        came in time or the link broke; `BadOutput` for what is no reply.
        """
        self.begin(op, **arguments)
        reply = self.receive()
        if isinstance(reply, bytes) or "end" not in reply:
            raise self._fail(BadOutput(f"{self._who} sent more than one reply to {op!r}."))
        return reply

    def stream(self, op: str, **arguments: Any) -> Iterator[dict[str, Any] | bytes]:
        """All frames of a reply, the last one, which has "end", included; errors as `ask`.

        Whoever stops before the last one has closed the link.
        """
        self.begin(op, **arguments)
        over = False
        try:
            while not over:
                try:
                    frame = self.receive()
                except RemoteError:
                    over = True  # that was the last frame
                    raise
                over = isinstance(frame, dict) and "end" in frame
                yield frame
        finally:
            if not over:
                self.close()

    def begin(self, op: str, **arguments: Any) -> None:
        """Sends a request; its replies are for `receive`. Several may be sent before that."""
        self._awaited = f"its reply to {op!r}"
        self.send({"op": op, **arguments})

    def send(self, frame: dict[str, Any]) -> None:
        """Sends one more frame of a request."""
        self._guarded(lambda: self._wire.send(frame))

    def send_bytes(self, data: bytes | bytearray | memoryview) -> None:
        """Sends bytes of a request, at most 1 MiB."""
        self._guarded(lambda: self._wire.send_bytes(data))

    def receive(self) -> dict[str, Any] | bytes:
        """The next frame of a reply; `RemoteError` if that says that it could not be done.

        After a `RemoteError` the link is as good as before: it was the last frame of that reply.
        """
        frame = self._guarded(self._wire.receive)
        if frame is None:
            raise self._fail(self._broken())
        if isinstance(frame, dict) and frame.get("end") == "error":
            said = str(frame.get("sentence", "it did not say why"))[:MOST_SENTENCE]
            sentence = "".join(c if c.isprintable() else " " for c in said)  # no terminal codes
            raise RemoteError(f"{self.host}: {sentence}", kind=str(frame.get("kind", "failed")))
        return frame

    def run(
        self, command: str, stdin: bytes = b"", timeout_s: float | None = None
    ) -> tuple[int, bytes, bytes]:
        """Runs a shell command on the same connection: exit code, output, what it complained of.

        `HostUnreachable` if it has not ended after so many seconds; without, after `patience_s`.
        """
        within = self.patience_s if timeout_s is None else timeout_s
        if self._until is not None:
            within = min(within, self._until - time.monotonic())
        self._awaited = "the end of a command"
        self._check_open()
        try:
            return self._way.run(command, stdin, within)
        except TimeoutError:
            why = f"did not end a command within {_seconds(within)}; it may still run there"
            raise HostUnreachable(f"{self._who} {why}.") from None
        except OSError as error:
            raise self._fail(self._broken(error)) from error

    # ---- the start ------------------------------------------------------------------------------

    def open(self) -> None:
        """Brings a remote half that was just started to where it takes requests.

        It passes over what login scripts print, and sends the remote half if it is missing there.
        `RemoteError` if it did not start, with the kinds of `bundle.hand_over` or "start";
        `BadOutput` if something else is talking there; `HostUnreachable` if nothing came in time.
        """
        self._awaited = "the greeting of the remote half"
        try:
            self._guarded(lambda: bundle.hand_over(self._wire))
        except RemoteError as error:
            hint = HINTS.get(error.kind, "ringrift fleet status").format(host=self.host)
            self.close()
            raise RemoteError(f"{self._who}: {error.message}", hint, error.kind) from error
        self._opened = True

    # ---- bytes ----------------------------------------------------------------------------------

    def _read(self, most: int) -> bytes:
        data = self._way.read(most, self._left())
        self._ended = not data
        return data

    def _write(self, data: bytes | bytearray | memoryview) -> None:
        self._way.write(data, self._left())

    def _left(self) -> float:
        """How long the next wait may be."""
        if self._until is None:
            return self.patience_s
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return min(left, self.patience_s)

    def _guarded(self, act: Callable[[], T]) -> T:
        """Does something with the wire; what goes wrong is said of this host, and ends the link."""
        self._check_open()
        try:
            return act()
        except TimeoutError as error:
            raise self._fail(HostUnreachable(f"{self._who}: {self._silent()}")) from error
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
        """Why there is no next frame: it was no frame, the remote half ended, or the link broke."""
        if isinstance(error, WireError) and not self._ended:
            return BadOutput(f"{self._who}: instead of {self._awaited} came no message: {error}.")
        words = self._way.last_words()
        if words is None:
            why = "" if error is None or isinstance(error, WireError) else f": {error}"
            return HostUnreachable(f"{self._who}: the link broke before {self._awaited} came{why}.")
        if isinstance(error, WireError):
            words += f"; {error}"
        if self._opened:
            sentence = f"the remote half ended before {self._awaited} came: {words}."
            return RemoteError(f"{self._who}: {sentence}", kind="ended")
        return RemoteError(f"the remote half did not start: {words}.", kind="start")

    def _fail(self, error: RingriftError) -> RingriftError:
        self.close()
        return error


def _seconds(number: float) -> str:
    return f"{number:.1f} s" if number < 10 else f"{number:.0f} s"
