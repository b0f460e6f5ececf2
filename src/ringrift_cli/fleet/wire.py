"""Frames between this machine and the agent of a host: messages in JSON, and bytes of files.

RINGRIFT 2\\n                        the agent, once, after whatever login scripts print
RINGRIFT BARE\\n                     a host without an agent; lines of text follow (probe.py)
J<decimal length>\\n<JSON object>     at most 16 MiB; {} is a sign of life and means nothing
B<decimal length>\\n<bytes>           at most 1 MiB
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

GREETING = b"RINGRIFT 2\n"
BARE = b"RINGRIFT BARE\n"
MOST_NOISE = 64 << 10  # bytes before the greeting
MOST_JSON = 16 << 20
MOST_BYTES = 1 << 20
MOST_DIGITS = 8  # of a length
AT_ONCE = 64 << 10  # bytes: what is smaller is read ahead, and written with its header
QUOTED = 60  # characters of noise that a message quotes

Buffer = bytes | bytearray | memoryview


class WireError(ValueError):
    """What came is no frame; it quotes the beginning."""


class Wire:
    """Frames over a pair of functions.

    `read(n)` gives up to n bytes, b"" at the end; `write(data)` writes all of them. Whatever they
    raise comes through.
    """

    def __init__(self, read: Callable[[int], bytes], write: Callable[[Buffer], object]) -> None:
        self._read = read
        self._write = write
        self._held = bytearray()  # read, not yet taken

    # ---- sending ------------------------------------------------------------------------------

    def send(self, message: Any) -> None:
        """Sends an object; `ValueError` if it is too long."""
        text = msgspec.json.encode(message)
        if len(text) > MOST_JSON:
            raise ValueError(f"a message of {len(text)} bytes: at most {MOST_JSON} can be sent")
        self._write(b"J%d\n%s" % (len(text), text))

    def send_bytes(self, data: Buffer) -> None:
        """Sends at most 1 MiB; `ValueError` if there is more."""
        size = memoryview(data).nbytes
        if size > MOST_BYTES:
            raise ValueError(f"a frame of {size} bytes: at most {MOST_BYTES} can be sent")
        if size <= AT_ONCE:
            self._write(b"B%d\n%s" % (size, data))
        else:
            self._write(b"B%d\n" % size)
            self._write(data)

    def alive(self) -> None:
        """A sign of life, which the other end's `receive` passes over."""
        self._write(b"J2\n{}")

    # ---- receiving ----------------------------------------------------------------------------

    def expect_greeting(self) -> bool:
        """Reads up to a greeting; whether an agent runs there. `WireError` quotes anything else."""
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
        raise WireError(f"it printed {printable(self._held)!r} and no greeting")

    def rest(self) -> bytes:
        """All that comes up to the end, of a host without an agent."""
        while len(self._held) <= MOST_NOISE and (more := self._read(AT_ONCE)):
            self._held += more
        return bytes(self._held)

    def receive(self) -> msgspec.Raw | bytes | None:
        """The next message, not decoded yet, or bytes; None if the other end closed in between.

        `WireError` for anything that is no frame, and for an end inside of one.
        """
        while True:
            header = self._line()
            if header is None:
                return None
            kind, digits = header[:1], header[1:]
            if kind not in (b"J", b"B") or not digits.isdigit():
                raise WireError(f"{printable(header)!r} begins no frame")
            size, most = int(digits), MOST_JSON if kind == b"J" else MOST_BYTES
            if size > most:
                raise WireError(f"a frame of {size} bytes: at most {most} are allowed")
            data = self._exactly(size)
            if kind == b"B":
                return data
            if data != b"{}":
                return msgspec.Raw(data)

    def _line(self) -> bytes | None:
        """The header of a frame without its end; None at the end of the stream."""
        while True:
            at = self._held.find(b"\n", 0, MOST_DIGITS + 2)
            if at >= 0:
                line = bytes(self._held[:at])
                del self._held[: at + 1]
                return line
            if len(self._held) > MOST_DIGITS + 1:
                raise WireError(f"{printable(self._held)!r} begins no frame")
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


def printable(data: Buffer) -> str:
    """The first 60 characters of some bytes that can be shown; others are left out."""
    text = bytes(data[: 8 * QUOTED]).decode("utf-8", "ignore")
    return "".join(c if c.isprintable() else " " for c in text).strip()[:QUOTED]
