"""Framing of the agent protocol: JSON messages and bytes.

RINGRIFT 2\\n                        greeting of the agent, after any output of login scripts
RINGRIFT BARE\\n                     a host without an agent; lines of text follow (probe.py)
J<decimal length>\\n<JSON object>     at most 16 MiB; {} is a keepalive
B<decimal length>\\n<bytes>           at most 1 MiB
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ringrift_cli.text import printable

GREETING = b"RINGRIFT 2\n"
BARE = b"RINGRIFT BARE\n"
MOST_NOISE = 64 << 10  # bytes before the greeting
MOST_JSON = 16 << 20
MOST_BYTES = 1 << 20
MOST_DIGITS = 8  # of a frame length
AT_ONCE = 64 << 10  # bytes; smaller frames are read ahead and written with their header
QUOTED = 60  # characters of unexpected output in a message

Buffer = bytes | bytearray | memoryview


class WireError(ValueError):
    """Invalid frame; the message quotes its beginning."""


class Wire:
    """Frame reader and writer over a pair of functions, whose errors are propagated.

    `read(n)` returns up to n bytes, b"" at the end; `write(data)` writes all bytes.
    """

    def __init__(self, read: Callable[[int], bytes], write: Callable[[Buffer], object]) -> None:
        self._read = read
        self._write = write
        self._held = bytearray()  # read ahead

    # ---- sending ------------------------------------------------------------------------------

    def send(self, message: Any) -> None:
        """Sends a message; `ValueError` if it is too long."""
        text = msgspec.json.encode(message)
        if len(text) > MOST_JSON:
            raise ValueError(f"a message of {len(text)} bytes: at most {MOST_JSON} can be sent")
        self._write(b"J%d\n%s" % (len(text), text))

    def send_bytes(self, data: Buffer) -> None:
        """Sends a byte frame; `ValueError` above 1 MiB."""
        size = memoryview(data).nbytes
        if size > MOST_BYTES:
            raise ValueError(f"a frame of {size} bytes: at most {MOST_BYTES} can be sent")
        if size <= AT_ONCE:
            self._write(b"B%d\n%s" % (size, data))
        else:
            self._write(b"B%d\n" % size)
            self._write(data)

    def alive(self) -> None:
        """Sends a keepalive, which `receive` at the other end skips."""
        self._write(b"J2\n{}")

    # ---- receiving ----------------------------------------------------------------------------

    def expect_greeting(self) -> bool:
        """Reads up to the greeting; True if an agent runs. `WireError` without a greeting."""
        while True:
            for greeting in (GREETING, BARE):
                at = self._held.find(greeting)
                if at >= 0:
                    del self._held[: at + len(greeting)]
                    return greeting == GREETING
            more = b"" if len(self._held) > MOST_NOISE else self._read(AT_ONCE)
            if not more:
                break
            self._held += more
        if not self._held:
            raise WireError("it printed nothing and closed the connection")
        raise WireError(f"it printed {quoted(self._held)!r} and no greeting")

    def rest(self) -> bytes:
        """All remaining bytes, of a host without an agent."""
        while len(self._held) <= MOST_NOISE and (more := self._read(AT_ONCE)):
            self._held += more
        return bytes(self._held)

    def receive(self) -> msgspec.Raw | bytes | None:
        """The next message, undecoded, or bytes; None at the end of the stream.

        `WireError` for an invalid or incomplete frame.
        """
        while True:
            header = self._line()
            if header is None:
                return None
            kind, digits = header[:1], header[1:]
            if kind not in (b"J", b"B") or not digits.isdigit():
                raise WireError(f"{quoted(header)!r} begins no frame")
            size, most = int(digits), MOST_JSON if kind == b"J" else MOST_BYTES
            if size > most:
                raise WireError(f"a frame of {size} bytes: at most {most} are allowed")
            data = self._exactly(size)
            if kind == b"B":
                return data
            if data != b"{}":
                return msgspec.Raw(data)

    def _line(self) -> bytes | None:
        """The header of a frame without its line end; None at the end of the stream."""
        while True:
            at = self._held.find(b"\n", 0, MOST_DIGITS + 2)
            if at >= 0:
                line = bytes(self._held[:at])
                del self._held[: at + 1]
                return line
            if len(self._held) > MOST_DIGITS + 1:
                raise WireError(f"{quoted(self._held)!r} begins no frame")
            more = self._read(AT_ONCE)
            if not more:
                if self._held:
                    raise WireError("the connection ended inside a frame")
                return None
            self._held += more

    def _exactly(self, size: int) -> bytes:
        held = self._held
        if len(held) >= size:
            data = bytes(held[:size])
            del held[:size]
            return data
        parts, missing = [bytes(held)], size - len(held)
        held.clear()
        while missing:
            more = self._read(missing if missing > AT_ONCE else AT_ONCE)
            if not more:
                raise WireError("the connection ended inside a frame")
            if len(more) > missing:
                held += more[missing:]
                more = more[:missing]
            parts.append(more)
            missing -= len(more)
        return b"".join(parts)


def quoted(data: Buffer) -> str:
    """The first 60 printable characters of some bytes."""
    text = bytes(data[: 8 * QUOTED]).decode("utf-8", "ignore")
    return printable(text, " ").strip()[:QUOTED]
