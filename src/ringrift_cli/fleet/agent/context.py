"""Context of agent operations: work folder, wire and refusals."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable

from ringrift_cli.errors import RingriftError
from ringrift_cli.fleet.agent.layout import INNER
from ringrift_cli.fleet.messages import Failed, Record
from ringrift_cli.fleet.wire import Buffer, Wire

SIGN = 1.0  # seconds of silence before a keepalive is sent
FULL = (errno.ENOSPC, errno.EDQUOT)


class Refusal(Exception):
    """A refused request: a machine-readable kind and a sentence."""

    def __init__(self, kind: str, sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind
        self.sentence = sentence


class Gone(Exception):
    """The other end has closed the connection."""


def failure(error: Refusal | RingriftError | OSError, work: str) -> Failed:
    """The last frame of a reply that failed."""
    if isinstance(error, Refusal):
        return Failed(kind=error.kind, sentence=error.sentence)
    if isinstance(error, RingriftError):
        return Failed(kind=_kind(error.__cause__, "failed"), sentence=error.message)
    named = f"{os.path.relpath(error.filename, work)}: " if error.filename else ""
    sentence = f"{named}{error.strerror or error}.".encode(errors="backslashreplace").decode()
    return Failed(kind=_kind(error, "os"), sentence=sentence)


def _kind(error: BaseException | None, other: str) -> str:
    return "disk" if isinstance(error, OSError) and error.errno in FULL else other


class Context:
    """One connection. `work` is absolute, without symbolic links."""

    def __init__(self, work: str, wire: Wire, flush: Callable[[], None]) -> None:
        self.work = work
        self.wire = wire
        self.flush = flush
        self._signed = time.monotonic()

    def send(self, message: Record) -> None:
        """Sends a frame of the reply."""
        self.wire.send(message)

    def send_file(self, descriptor: int, at: int, until: int) -> int:
        """Sends these bytes of a file; where they end, before `until` if the file is shorter."""
        while at < until:
            data: Buffer = os.pread(descriptor, min(until - at, 1 << 20), at)
            if not data:
                break
            self.wire.send_bytes(data)
            at += len(data)
        return at

    def alive(self) -> None:
        """Sends a keepalive when due; long operations call it often."""
        now = time.monotonic()
        if now - self._signed > SIGN:
            self._signed = now
            self.wire.alive()
            self.flush()

    def inner(self, *names: str) -> str:
        """A path among the agent's own files; its folder is made."""
        path = os.path.join(self.work, INNER, *names)
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        return path

    def path(self, relative: str) -> str:
        """The absolute path of a name that came over the wire; `Refusal` unless it lies below.

        It has no `..` and `.`, and no symbolic link on the way leads out. What it names need
        not be there. "." alone is the work folder.
        """
        if relative == ".":
            return self.work
        parts = relative.split("/")
        if not all(parts) or "." in parts or ".." in parts:
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
        """A path relative to the work folder, as sent to the client."""
        return os.path.relpath(path, self.work)


def open_plain(path: str, name: str) -> int:
    """Opens a regular file for reading, non-blocking; `Refusal` for anything else."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
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
