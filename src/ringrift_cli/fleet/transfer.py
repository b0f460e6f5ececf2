"""Resumable file transfer in both directions.

A received file is held in a partial file named by its expected hash, to which the next attempt
appends. A file is accepted only by a hash computed from the receiver's disk.
"""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from ringrift_cli.errors import BadOutput, OutputError, RemoteError
from ringrift_cli.fleet import messages
from ringrift_cli.fleet.client import Client
from ringrift_cli.store.hashes import sha256_of_file

FRAME = 1 << 20  # bytes
AHEAD_FILES = 64  # requests in flight; hides the latency of many small files
AHEAD_BYTES = 64 << 20
BURST_S = 0.1  # burst allowed by a rate limit, in seconds of the rate
PART = ".part"

ShouldStop = Callable[[], bool]


def never() -> bool:
    """The default of `should_stop`."""
    return False


class TransferMeter:
    """Byte counter and rate limiter of all streams. Thread-safe.

    The meter of one host forwards to the `whole`, which counts all hosts and limits the rate.
    """

    def __init__(self, limit: float | None = None, whole: TransferMeter | None = None) -> None:
        self.limit = limit  # bytes/s
        self.whole = whole
        self.done = 0
        self.total = 0  # known so far; grows while hosts list their files
        self._lock = threading.Lock()
        self._due = 0.0  # time at which the accepted bytes are due at the limited rate

    def expect(self, size: int) -> None:
        """Adds `size` bytes, which may be negative, to the total."""
        with self._lock:
            self.total += size
        if self.whole is not None:
            self.whole.expect(size)

    def remain(self, size: int) -> None:
        """Sets the number of remaining bytes."""
        self.expect(size - (self.total - self.done))

    def take(self, size: int) -> None:
        """Counts transferred bytes; sleeps to keep the rate limit."""
        with self._lock:
            self.done += size
            now = time.monotonic()
            wait = 0.0
            if self.limit is not None:
                self._due = max(self._due, now - BURST_S) + size / self.limit
                wait = self._due - now
        if self.whole is not None:
            self.whole.take(size)
        if wait > 0:
            time.sleep(wait)


@dataclass(frozen=True)
class Wanted:
    """A file of a host, as listed by the host."""

    path: str  # relative to the host's work folder
    size: int  # bytes
    sha256: str

    def part(self, folder: Path) -> Path:
        """Path of the partial file."""
        return folder / f"{self.sha256}{PART}"


class Waiting:
    """Queue of files to fetch. Thread-safe."""

    def __init__(self, wanted: Iterable[Wanted]) -> None:
        self._files = deque(wanted)
        self._lock = threading.Lock()

    def take(self) -> Wanted | None:
        """Removes the next file; None if empty."""
        with self._lock:
            return self._files.popleft() if self._files else None

    def give_back(self, files: Iterable[Wanted]) -> None:
        """Returns files that were taken but not fetched."""
        with self._lock:
            self._files.extendleft(reversed(list(files)))

    def __len__(self) -> int:
        return len(self._files)


@dataclass(frozen=True)
class Held:
    """Result of a request for a file."""

    wanted: Wanted
    part: Path
    wrong: str | None  # why it is incomplete
    again: bool = False  # whether to retry


# ---- from a host --------------------------------------------------------------------------------


def fetch(
    client: Client, waiting: Waiting, folder: Path, meter: TransferMeter, should_stop: ShouldStop
) -> Iterator[Held]:
    """Fetches all waiting files with pipelined requests; yields each once it is received.

    The files are not hashed yet. Client errors are propagated; files in flight are returned to
    `waiting`, also if the caller stops early. `BadOutput` if the host sends more than announced;
    `OutputError` if a file cannot be written.
    """
    under_way: deque[tuple[Wanted, int]] = deque()
    bytes_ahead = 0
    try:
        while not should_stop():
            while len(under_way) < AHEAD_FILES and bytes_ahead < AHEAD_BYTES:
                if (wanted := waiting.take()) is None:
                    break
                have = _held_of(wanted, folder)
                under_way.append((wanted, have))
                if have < wanted.size:
                    client.begin(messages.Send(path=wanted.path, offset=have))
                    bytes_ahead += wanted.size - have
            if not under_way:
                return
            wanted, have = under_way[0]
            held = Held(wanted, wanted.part(folder), None)
            if have < wanted.size:
                held = _receive(client, wanted, have, folder, meter, should_stop)
                bytes_ahead -= wanted.size - have
            under_way.popleft()
            yield held
    finally:
        if any(have < wanted.size for wanted, have in under_way):
            client.close()  # discards outstanding replies
        waiting.give_back(wanted for wanted, _ in under_way)


def _held_of(wanted: Wanted, folder: Path) -> int:
    """Bytes of a file that an earlier attempt received."""
    part = wanted.part(folder)
    try:
        have = part.stat().st_size
    except FileNotFoundError:
        return 0
    if have > wanted.size:
        part.unlink()
        return 0
    return have


def _receive(
    client: Client,
    wanted: Wanted,
    have: int,
    folder: Path,
    meter: TransferMeter,
    should_stop: ShouldStop,
) -> Held:
    """Appends the bytes of one reply to the partial file."""
    part = wanted.part(folder)
    try:
        head = client.receive()
    except RemoteError as error:
        return Held(wanted, part, error.message)
    if not isinstance(head, messages.Size) or head.size != wanted.size:
        sent = f"{head.size}" if isinstance(head, messages.Size) else "no size"
        client.close()
        raise BadOutput(
            f"{client.host}: {wanted.path} was listed with {wanted.size} bytes, and sent with"
            f" {sent}."
        )
    try:
        with part.open("ab", buffering=0) as file:
            why = _append(client, wanted, wanted.size - have, file, meter, should_stop)
    except OSError as error:
        client.close()
        raise OutputError(
            f"Cannot write {part}: {error.strerror}.", hint="free some space, then the same command"
        ) from error
    held = part.stat().st_size
    if held != wanted.size or why:
        return Held(wanted, part, f"{held} of {wanted.size} bytes came{why}", again=True)
    return Held(wanted, part, None)


def _append(
    client: Client,
    wanted: Wanted,
    most: int,
    file: FileIO,
    meter: TransferMeter,
    should_stop: ShouldStop,
) -> str:
    """Writes the bytes of a reply, at most `most`; returns the error that ended it early, or ""."""
    came = 0
    while True:
        try:
            frame = client.receive()
        except RemoteError as error:
            return f": {error.message}"
        if not isinstance(frame, bytes):
            return ""
        came += len(frame)
        if came > most:
            client.close()
            raise BadOutput(
                f"{client.host} sends more of {wanted.path} than the {wanted.size} bytes it has."
            )
        rest = memoryview(frame)
        while rest:
            rest = rest[file.write(rest) :]
        meter.take(len(frame))
        if should_stop():
            client.close()
            raise TransferStopped


class TransferStopped(Exception):
    """The transfer was asked to stop; received data is kept."""


def move_in(path: Path, target: Path) -> None:
    """Moves a verified file to its place, atomically and durably.

    `OutputError` if that fails; the file then stays where it is.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with path.open("rb") as file:
            os.fsync(file.fileno())
        try:
            path.replace(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            _move_across(path, target)
    except OSError as error:
        raise OutputError(
            f"Cannot write {target}: {error.strerror}.", hint="df -h, or other permissions"
        ) from error


def _move_across(path: Path, target: Path) -> None:
    """Moves a file to another file system."""
    copy = target.with_name(f".{target.name}{PART}")
    try:
        shutil.copyfile(path, copy)
        with copy.open("rb") as file:
            os.fsync(file.fileno())
        if sha256_of_file(copy) != sha256_of_file(path):
            raise OSError(errno.EIO, "what was written there is not what was copied")
        copy.replace(target)
    finally:
        copy.unlink(missing_ok=True)
    path.unlink()


def read_file(client: Client, path: str, limit: int) -> bytes:
    """Reads a small file of a host; `BadOutput` if it exceeds `limit` bytes."""
    data = b""
    for frame in client.stream(messages.Send(path=path)):
        data += frame if isinstance(frame, bytes) else b""
        if len(data) > limit:
            raise BadOutput(f"{client.host}: {path} is larger than {limit} bytes.")
    return data


# ---- to a host ----------------------------------------------------------------------------------


def put(
    client: Client,
    source: Path,
    path: str,
    sha256: str,
    meter: TransferMeter,
    *,
    replace: bool = False,
) -> int:
    """Sends a file to a host; returns the bytes transferred.

    `sha256`: hash of the source, which the host must confirm. `replace` allows to replace another
    file of that path. `RemoteError` if the host refuses, `BadOutput` if its hash differs.
    """
    size = source.stat().st_size
    client.begin(messages.Put(path=path, size=size, sha256=sha256, replace=replace))
    reply = client.receive()
    if not isinstance(reply, messages.Have) or reply.have > size:
        client.close()
        raise BadOutput(f"{client.host}: it holds more than the {size} bytes of {path}.")
    if reply.same:
        _confirm(client, path, sha256, client.receive())
        return 0
    have = reply.have
    try:
        with source.open("rb", buffering=0) as file:
            file.seek(have)
            while data := file.read(FRAME):
                meter.take(len(data))
                client.send_bytes(data)
    except OSError as error:
        client.close()
        raise OutputError(f"Cannot read {source}: {error.strerror}.") from error
    client.send_bytes(b"")  # the end
    _confirm(client, path, sha256, client.receive())
    return size - have


def _confirm(client: Client, path: str, sha256: str, reply: messages.Record | bytes) -> None:
    found = reply.sha256 if isinstance(reply, messages.Stored) else None
    if found != sha256:
        raise BadOutput(f"{client.host}: {path} hashes to {found!r:.70} there, to {sha256} here.")
