"""The agent as a process of this machine, spoken to over pipes, for tests."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import pytest

from ringrift_cli.fleet import package
from ringrift_cli.fleet.wire import Wire
from ringrift_cli.version import __version__
from tests.fleet.servers import furnish

Message = dict[str, Any]

PATIENCE = 60.0  # s in which something must come


class Remote:
    """A started agent. `wire` takes requests; `process` is what runs it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.wire = Wire(self.read, self.write)

    def read(self, most: int) -> bytes:
        """Up to so many bytes of what it says; `TimeoutError` if nothing comes for a minute."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
        if not ready:
            raise TimeoutError("the agent is silent")
        return os.read(self.process.stdout.fileno(), most)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Says all of it to the agent."""
        assert self.process.stdin is not None
        left = memoryview(data)
        while left:
            left = left[os.write(self.process.stdin.fileno(), left) :]

    def stream(self, op: str, **arguments: Any) -> Iterator[Message | bytes]:
        """All frames of an answer, the last one included, be it an error or not."""
        self.wire.send({"op": op, **arguments})
        yield from self.rest()

    def receive(self) -> Message | bytes | None:
        """The next frame, decoded without a schema."""
        frame = self.wire.receive()
        if not isinstance(frame, msgspec.Raw):
            return frame
        found: Message = json.loads(bytes(frame))
        return found

    def rest(self) -> Iterator[Message | bytes]:
        """The frames up to the end of an answer."""
        while True:
            frame = self.receive()
            assert frame is not None, "the agent is gone"
            yield frame
            if isinstance(frame, dict) and "end" in frame:
                return

    def ask(self, op: str, **arguments: Any) -> Message:
        """The last frame of an answer, be it an error or not."""
        *_, last = self.stream(op, **arguments)
        assert isinstance(last, dict)
        return last

    def close(self) -> None:
        """Ends it as a lost connection would; `AssertionError` if it does not end."""
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("the agent outlives its connection") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()


def line(work: Path | str, python: str = sys.executable, before: str = "") -> str:
    """The command line of an agent, whose Python does something else `before`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(package, "START", before + package.START)
        return package.command(python, str(work))


def off(seconds: float) -> str:
    """What puts the clock of a Python off."""
    return f"import time;true=time.time;time.time=lambda:true()+({seconds!r});"


def started(
    work: Path | str,
    *,
    python: str = sys.executable,
    before: str = "",
    env: dict[str, str] | None = None,
    shell: str = "/bin/sh",
) -> Remote:
    """A process that was just started, as sshd starts it; nothing has been said yet."""
    process = subprocess.Popen(
        [shell, "-c", line(work, python, before)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=env,
        start_new_session=True,
        bufsize=0,
    )
    return Remote(process)


def remote(work: Path | str, **options: Any) -> Remote:
    """An agent that takes requests."""
    if isinstance(work, Path) and not (work / "venv").exists():
        furnish(work)
    found = started(work, **options)
    assert found.wire.expect_greeting()
    assert found.receive() == {"version": __version__, "code": package.code_hash()}
    return found
