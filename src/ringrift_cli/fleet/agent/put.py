"""Files into the work folder: in pieces that outlive a connection, whole only when they are right.

A part lies in `.ringrift/partial/SHA256.RANDOM`. Whoever goes on with it renames it first: that
makes it theirs, and a connection that was taken for dead but still writes finds its part gone. What
it was just writing is waited for, by the lock of the file.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator

import msgspec

from ringrift_cli.fleet import messages
from ringrift_cli.fleet.agent.context import Context, Gone, Refusal, failure, open_plain
from ringrift_cli.fleet.agent.files import hash_descriptor
from ringrift_cli.fleet.agent.layout import INNER, PARTIAL
from ringrift_cli.fleet.wire import WireError
from ringrift_cli.store.files import UMASK

OURS = (PARTIAL, "code-", ".")  # in INNER


def put(context: Context, request: messages.Put) -> messages.Stored | None:
    """Takes in a file; success is the hash of what is on the disk here.

    It sends how much an earlier connection left, and takes frames of bytes up to an empty one, also
    after a reply that says that it failed meanwhile. If the very file is there it takes nothing.
    """
    name = request.path
    target, parts = context.path(name), name.split("/")
    if name == "." or (parts[0] == INNER and (parts[1:2] or [PARTIAL])[0].startswith(OURS)):
        raise Refusal("path", f"{name!r} is not for files from elsewhere.")
    if os.path.lexists(target) and _is_there(context, target, request):
        context.send(messages.Have(have=request.size, same=True))
        return messages.Stored(sha256=request.sha256)
    part = PartialFile(context, request)
    try:
        context.send(messages.Have(have=part.size))
        if not _take(context, part):
            return None
        return messages.Stored(sha256=part.finish())
    finally:
        part.close()


def _is_there(context: Context, target: str, request: messages.Put) -> bool:
    """Whether the very file is there; `Refusal` for another one, unless it may be replaced."""
    descriptor = open_plain(target, request.path)
    try:
        held = os.fstat(descriptor).st_size
        same = held == request.size and hash_descriptor(context, descriptor) == request.sha256
    finally:
        os.close(descriptor)
    if not same and not request.replace:
        raise Refusal("exists", f"There is another file {request.path!r}.")
    return same


def _take(context: Context, part: PartialFile) -> bool:
    """Takes all frames up to the last; False if that failed, which was sent when it did."""
    failed = False
    while True:
        frame = context.wire.receive()
        if frame is None:
            raise Gone
        if isinstance(frame, msgspec.Raw):
            raise WireError("something else came where the bytes of a file were expected")
        if not frame:
            return not failed
        if not failed:
            try:
                part.add(frame)
            except (Refusal, OSError) as error:
                failed = True
                context.send(failure(error, context.work))


class PartialFile:
    """A partial file, locked by this connection."""

    def __init__(self, context: Context, request: messages.Put) -> None:
        self.context = context
        self.request = request
        self.folder = os.path.dirname(context.inner(PARTIAL, request.sha256))
        self.path = os.path.join(self.folder, f"{request.sha256}.{secrets.token_hex(8)}")
        self.descriptor = self._take_over()
        with self._ours():
            self.size = os.fstat(self.descriptor).st_size
            if self.size > request.size:
                os.ftruncate(self.descriptor, 0)
                self.size = 0
        self._check_room()

    def _take_over(self) -> int:
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        for name in os.listdir(self.folder):
            if name.startswith(f"{self.request.sha256}."):
                with contextlib.suppress(FileNotFoundError):
                    os.rename(os.path.join(self.folder, name), self.path)
                    return os.open(self.path, flags)
        return os.open(self.path, flags | os.O_CREAT | os.O_EXCL, 0o600)

    @contextlib.contextmanager
    def _ours(self) -> Iterator[None]:
        """Nobody else writes meanwhile; `Refusal` if it was taken."""
        fcntl.flock(self.descriptor, fcntl.LOCK_EX)
        try:
            if not os.path.exists(self.path):
                raise Refusal("busy", "Another connection goes on with this file.")
            yield
        finally:
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)

    def _check_room(self) -> None:
        found = os.fstatvfs(self.descriptor)
        free = (found.f_bavail if os.geteuid() else found.f_bfree) * found.f_frsize
        if free < self.request.size - self.size:
            self.close()
            raise Refusal(
                "disk",
                f"The disk has {free / 1e6:.1f} MB free, and"
                f" {(self.request.size - self.size) / 1e6:.1f} MB are to come.",
            )

    def add(self, data: bytes) -> None:
        """Writes on; what was written stays, whatever happens."""
        if self.size + len(data) > self.request.size:
            raise Refusal(
                "size", f"More than the {self.request.size} bytes came that were announced."
            )
        with self._ours():
            left = memoryview(data)
            while left:
                written = os.pwrite(self.descriptor, left, self.size)
                self.size += written
                left = left[written:]

    def finish(self) -> str:
        """Renames the file if the data on disk has the expected hash; returns the hash."""
        name, total = self.request.path, self.request.size
        if self.size != total:
            raise Refusal("size", f"{self.size} of {total} bytes came; they are kept.")
        with self._ours():
            os.fsync(self.descriptor)
            found = hash_descriptor(self.context, self.descriptor, cached=True)
            if found != self.request.sha256:
                os.unlink(self.path)
                expected = self.request.sha256
                raise Refusal("hash", f"{name!r} came with SHA-256 {found}, not {expected}.")
            target = self.context.path(name)  # once more: much may have changed meanwhile
            os.makedirs(os.path.dirname(target), exist_ok=True)
            if os.path.lexists(target) and not self.request.replace:
                # another connection may have brought the very same meanwhile; any other is refused
                _is_there(self.context, target, self.request)
            os.fchmod(self.descriptor, 0o666 & ~UMASK)
            try:
                os.rename(self.path, target)
            except FileNotFoundError:
                raise Refusal("busy", "Another connection goes on with this file.") from None
            folder = os.open(os.path.dirname(target), os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        return found

    def close(self) -> None:
        """Releases it; the bytes received so far stay for a later attempt."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
