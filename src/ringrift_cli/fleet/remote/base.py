"""What every operation of the remote half has: the work folder, the wire, and a way to say no."""

from __future__ import annotations

import errno
import math
import os
import stat
import time
from typing import Any, Callable, Dict

from ringrift_cli.errors import RingriftError
from ringrift_cli.fleet.remote.layout import INNER
from ringrift_cli.fleet.remote.wire import Buffer, Wire

Ask = Dict[str, Any]
SIGN = 1.0  # s of silence after which a sign of life is due
FULL = (errno.ENOSPC, errno.EDQUOT)


class Refusal(Exception):
    """Something that was asked and is not done: a kind for programs, a sentence for people."""

    def __init__(self, kind: str, sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind
        self.sentence = sentence


class Gone(Exception):
    """Nobody listens any more."""


def as_refused(error: Exception, work: str) -> Ask | None:
    """The last frame of an answer that failed; None for an error that nobody expected."""
    if isinstance(error, Refusal):
        kind, sentence = error.kind, error.sentence
    elif isinstance(error, RingriftError):
        kind, sentence = _kind(error.__cause__, "failed"), error.message
    elif isinstance(error, OSError):
        named = f"{os.path.relpath(error.filename, work)}: " if error.filename else ""
        kind, sentence = _kind(error, "os"), f"{named}{error.strerror or error}."
    else:
        return None
    return {"end": "error", "kind": kind, "sentence": sentence}


def _kind(error: BaseException | None, other: str) -> str:
    return "disk" if isinstance(error, OSError) and error.errno in FULL else other


class Half:
    """The remote half of one connection. `work` is absolute, without symbolic links."""

    def __init__(self, work: str, wire: Wire, flush: Callable[[], None]) -> None:
        self.work = work
        self.wire = wire
        self.flush = flush
        self._signed = time.monotonic()

    def send(self, message: Ask) -> None:
        """A frame of the answer."""
        self.wire.send(message)

    def send_bytes(self, data: Buffer) -> None:
        """A frame of the answer."""
        self.wire.send_bytes(data)

    def alive(self) -> None:
        """To be called often in whatever may take long, so that nobody takes it for dead."""
        now = time.monotonic()
        if now - self._signed > SIGN:
            self._signed = now
            self.wire.alive()
            self.flush()

    def inner(self, *names: str) -> str:
        """A path among our own files; their folder is made."""
        path = os.path.join(self.work, INNER, *names)
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        return path

    def path(self, relative: object) -> str:
        """The absolute path of a name that came over the wire, which lies in the work folder.

        A name says no `..` and `.`, and no symbolic link on the way leads out. What it names need
        not be there. "." alone is the work folder.
        """
        if not isinstance(relative, str) or not relative:
            raise Refusal("path", f"{relative!r} is no path: expected one in the work folder.")
        if relative == ".":
            return self.work
        parts = relative.split("/")
        if "\0" in relative or not all(parts) or "." in parts or ".." in parts:
            raise Refusal(
                "path",
                f"{relative!r} is not allowed: expected a path down from the work folder,"
                " without '..', '.' and '//'.",
            )
        path = os.path.join(self.work, relative)
        if not self.holds(path):
            raise Refusal(
                "path", f"{relative!r} leads out of the work folder over a symbolic link."
            )
        return path

    def holds(self, path: str) -> bool:
        """Whether a path, with all links followed, is the work folder or below it."""
        real = os.path.realpath(path)
        return real == self.work or real.startswith(os.path.join(self.work, ""))

    def relative(self, path: str) -> str:
        """The name that goes over the wire for a path in the work folder."""
        return os.path.relpath(path, self.work)


def open_plain(path: str, name: str) -> int:
    """A descriptor of a plain file, to read; `Refusal` for anything else. It never waits."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Refusal("missing", f"There is no file {name!r}.") from None
    except NotADirectoryError:
        raise Refusal("missing", f"There is no file {name!r}.") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Refusal("path", f"{name!r} is a symbolic link.") from None
        if error.errno == errno.ENXIO:
            raise Refusal("path", f"{name!r} is no plain file.") from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Refusal("path", f"{name!r} is no plain file.")
    return descriptor


# ---- arguments ----------------------------------------------------------------------------------


def text(ask: Ask, name: str) -> str:
    """An argument that is a text."""
    value = ask.get(name)
    if not isinstance(value, str) or "\0" in value:
        raise Refusal("usage", f"{name} is {value!r}: expected a text.")
    return value


def texts(ask: Ask, name: str) -> list[str]:
    """An argument that is a list of texts."""
    value = ask.get(name)
    if not isinstance(value, list) or not all(isinstance(v, str) and "\0" not in v for v in value):
        raise Refusal("usage", f"{name} is {value!r:.80}: expected a list of texts.")
    return value


def number(ask: Ask, name: str, default: float | None = None, least: float = 0.0) -> float:
    """An argument that is a number of at least `least`."""
    value: Any = ask.get(name, default)
    if type(value) not in (int, float) or not math.isfinite(value) or value < least:
        raise Refusal("usage", f"{name} is {value!r}: expected a number of {least:g} or more.")
    return float(value)


def whole(ask: Ask, name: str, default: int | None = None) -> int:
    """An argument that is a whole number of 0 or more."""
    value = ask.get(name, default)
    if type(value) is not int or value < 0:
        raise Refusal("usage", f"{name} is {value!r}: expected a whole number of 0 or more.")
    return value


def flag(ask: Ask, name: str, default: bool = False) -> bool:
    """An argument that is true or false."""
    value = ask.get(name, default)
    if type(value) is not bool:
        raise Refusal("usage", f"{name} is {value!r}: expected true or false.")
    return value


def digest(ask: Ask, name: str) -> str:
    """An argument that is a SHA-256 in hex."""
    value = ask.get(name)
    if not is_digest(value):
        raise Refusal("usage", f"{name} is {value!r:.80}: expected a SHA-256 of 64 hex digits.")
    return str(value)


def is_digest(value: object) -> bool:
    """Whether something is a SHA-256 as we write it: 64 hex digits, none of them a capital."""
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")
