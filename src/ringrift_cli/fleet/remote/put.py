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
from typing import Iterator

from ringrift_cli.fleet.remote import hashes
from ringrift_cli.fleet.remote.base import (
    Ask,
    Gone,
    Half,
    Refusal,
    as_refused,
    digest,
    flag,
    open_plain,
    text,
    whole,
)
from ringrift_cli.fleet.remote.layout import INNER, PARTIAL
from ringrift_cli.fleet.remote.wire import WireError
from ringrift_cli.store.files import UMASK


def put(half: Half, ask: Ask) -> Ask | None:
    """Takes in a file.

    It says {"have": bytes} of what an earlier connection left, and takes frames of bytes and then
    {"done": true}, also after an answer that says that it failed meanwhile. Or it says
    {"same": true} at once, and takes nothing. Success is the hash of what is on the disk here.
    """
    name, size, sha = text(ask, "path"), whole(ask, "size"), digest(ask, "sha256")
    target, replace = half.path(name), flag(ask, "replace")
    parts = name.split("/")
    if name == "." or (parts[0] == INNER and (parts[1:2] or [PARTIAL])[0].startswith(OURS)):
        raise Refusal("path", f"{name!r} is not for files from elsewhere.")
    if os.path.lexists(target) and _is_there(half, target, name, size, sha, replace):
        half.send({"same": True})
        return {"sha256": sha, "same": True}
    part = Part(half, sha, size)
    try:
        half.send({"have": part.size})
        failed = _take(half, part)
        if failed is not None:
            return None
        return {"sha256": part.finish(name, replace)}
    finally:
        part.close()


OURS = (PARTIAL, "remote-", ".")


def _is_there(half: Half, target: str, name: str, size: int, sha: str, replace: bool) -> bool:
    """Whether the very file is there; `Refusal` for another one, unless it may be replaced."""
    descriptor = open_plain(target, name)
    try:
        held = os.fstat(descriptor).st_size
        same = held == size and hashes.of_descriptor(half, descriptor) == sha
    finally:
        os.close(descriptor)
    if not same and not replace:
        raise Refusal("exists", f"There is another file {name!r}.")
    return same


def _take(half: Half, part: Part) -> Exception | None:
    """Takes all frames up to the last; the error, if there was one, has been told when it came."""
    failed: Exception | None = None
    while True:
        frame = half.wire.receive()
        if frame is None:
            raise Gone
        if isinstance(frame, dict):
            if frame != {"done": True}:
                raise WireError("something else came where the bytes of a file were expected")
            return failed
        if failed is None:
            try:
                part.add(frame)
            except (Refusal, OSError) as error:
                failed = error
                told = as_refused(error, half.work)
                assert told is not None
                half.send(told)


class Part:
    """A part of a file that is ours until somebody else takes it."""

    def __init__(self, half: Half, sha: str, total: int) -> None:
        self.half = half
        self.sha = sha
        self.total = total
        self.folder = os.path.dirname(half.inner(PARTIAL, sha))
        self.path = os.path.join(self.folder, f"{sha}.{secrets.token_hex(8)}")
        self.descriptor = self._take_over()
        with self._ours():
            self.size = os.fstat(self.descriptor).st_size
            if self.size > total:
                os.ftruncate(self.descriptor, 0)
                self.size = 0
        self._check_room()

    def _take_over(self) -> int:
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        for name in os.listdir(self.folder):
            if name.startswith(f"{self.sha}."):
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
        if free < self.total - self.size:
            self.close()
            raise Refusal(
                "disk",
                f"The disk has {free / 1e6:.1f} MB free, and"
                f" {(self.total - self.size) / 1e6:.1f} MB are to come.",
            )

    def add(self, data: bytes) -> None:
        """Writes on; what was written stays, whatever happens."""
        if self.size + len(data) > self.total:
            raise Refusal("size", f"More than the {self.total} bytes came that were announced.")
        with self._ours():
            left = memoryview(data)
            while left:
                written = os.pwrite(self.descriptor, left, self.size)
                self.size += written
                left = left[written:]

    def finish(self, name: str, replace: bool) -> str:
        """Gives the file its name, if what is on the disk has the hash; that hash."""
        if self.size != self.total:
            raise Refusal("size", f"{self.size} of {self.total} bytes came; they are kept.")
        with self._ours():
            os.fsync(self.descriptor)
            found = hashes.of_descriptor(self.half, self.descriptor, cached=True)
            if found != self.sha:
                os.unlink(self.path)
                raise Refusal("hash", f"{name!r} came with SHA-256 {found}, not {self.sha}.")
            target = self.half.path(name)  # once more: much may have changed meanwhile
            os.makedirs(os.path.dirname(target), exist_ok=True)
            if os.path.lexists(target) and not replace:
                # another connection may have brought the very same meanwhile; any other is refused
                _is_there(self.half, target, name, self.total, self.sha, replace)
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
        """Lets go of it; what is there stays for whoever comes next."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
