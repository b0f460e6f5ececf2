"""A command with a terminal at its standard input and output, as a person has it."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from typing import Self

PATIENCE = 30  # seconds for anything to appear, or to end


class Terminal:
    """`ringrift` with these arguments in a terminal; its standard error is a pipe."""

    def __init__(self, *line: object, **environment: str) -> None:
        self._leader, follower = pty.openpty()
        self._open = True
        self._unread = b""
        base = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ringrift_cli", *map(str, line)],
            stdin=follower,
            stdout=follower,
            stderr=subprocess.PIPE,
            env={**base, "TERM": "xterm-256color", **environment},
            start_new_session=True,
        )
        os.close(follower)

    def _more(self, end: float) -> bytes:
        """What the program has written; nothing when it has closed its side."""
        ready, _, _ = select.select([self._leader], [], [], max(0, end - time.monotonic()))
        if not ready:
            return b""
        try:
            return os.read(self._leader, 1 << 16)
        except OSError:
            return b""

    def read(self, until: str) -> str:
        """What appears on the screen, up to the text that is waited for."""
        end = time.monotonic() + PATIENCE
        while until.encode() not in self._unread:
            more = self._more(end)
            assert more, f"{until!r} did not appear in {self._unread.decode()!r}"
            self._unread += more
        shown, found, self._unread = self._unread.partition(until.encode())
        return (shown + found).decode().replace("\r\n", "\n")

    def keys(self, keys: str) -> None:
        os.write(self._leader, keys.encode())

    def type(self, line: str, until: str) -> str:
        """Types a line, and reads what appears then."""
        self.keys(f"{line}\n")
        return self.read(until)

    def hang_up(self) -> None:
        """Closes the terminal."""
        if self._open:
            os.close(self._leader)
            self._open = False

    def end(self) -> tuple[int, bytes]:
        """Exit code and what was said on stderr; reads on, or the program waits for that."""
        end = time.monotonic() + PATIENCE
        while self._open and self.process.poll() is None and time.monotonic() < end:
            self._more(min(end, time.monotonic() + 0.1))
        _, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, err

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.process.kill()
        self.process.communicate()
        self.hang_up()
