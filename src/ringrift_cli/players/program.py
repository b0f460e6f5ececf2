"""A child process with line-based input and output, and the transcript of its conversation.

One thread serves all three pipes, so that neither side blocks on a full pipe.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ringrift_cli.errors import OutputError
from ringrift_cli.players import protocol
from ringrift_cli.store.files import write_whole
from ringrift_cli.text import now, printable

POLL_S = 0.05  # interval of checks whether the search should stop
QUIT_S = 1.0  # time to exit after `quit`
STDERR_LINES = 200  # last lines of stderr, for error messages
MAX_STDERR = 160  # characters of each of them
TRACEBACK = "Traceback (most recent call last):"
TRANSCRIPTS_VARIABLE, TRANSCRIPTS = "RINGRIFT_TRANSCRIPTS", "runs/transcripts"
TRANSCRIPT_LINES = 2000  # last lines of a conversation
MAX_INFO = 500  # `info` lines kept of one answer
MAX_NOTED = 4000  # characters of each of them


@dataclass
class Conversation:
    """Receiver of all lines of all programs as they come, for `-v`."""

    on_line: Callable[[str], None] | None = None


conversation = Conversation()


class ProgramFailure(Exception):
    """ProgramFailure of a program, as the end of a sentence, with an optional hint."""

    def __init__(self, what: str, hint: str | None = None) -> None:
        super().__init__(what)
        self.hint = hint


class Program:
    """A child process in its own process group, with line-based input and output."""

    def __init__(self, words: Sequence[str]) -> None:
        try:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,  # signals reach it, with its children, only from here
            )
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise ProgramFailure(f"cannot be started: {reason}") from error
        self._end = weakref.finalize(self, _end, self._process, os.getpid())
        self._stdin, self._stdout, self._stderr = (
            pipe.fileno()
            for pipe in (self._process.stdin, self._process.stdout, self._process.stderr)
            if pipe is not None
        )
        for descriptor in (self._stdin, self._stdout, self._stderr):
            os.set_blocking(descriptor, False)
        self._open = {self._stdin, self._stdout, self._stderr}
        self._to_write = bytearray()
        self._splitter = protocol.LineSplitter()
        self._lines: deque[bytes] = deque()
        self._stderr_splitter = protocol.LineSplitter()
        self._stderr_lines: deque[str] = deque(maxlen=STDERR_LINES)
        self._transcript: deque[str] = deque(maxlen=TRANSCRIPT_LINES)
        self._info = 0  # `info` lines since the last line sent

    def send(self, line: str) -> None:
        """Queues a line; it is written while waiting for an answer."""
        self._note(">", line)
        self._to_write += line.encode("utf-8", "backslashreplace") + b"\n"

    def receive(self, until: float) -> bytes | None:
        """The next line; None at the time `until`, `ProgramFailure` if the output has ended."""
        while not self._lines:
            if self._stdout not in self._open:
                raise ProgramFailure(self._exit_description())
            now = time.monotonic()
            if now >= until:
                return None
            self._transfer(until - now)
        return self._lines.popleft()

    @property
    def identity(self) -> int:
        """Process id."""
        return self._process.pid

    def stderr_end(self) -> str:
        """The end of stderr as one line: the last exception of a traceback, else three lines."""
        lines = [*self._stderr_lines, _text(self._stderr_splitter.rest())]
        shown = [line for line in lines if line.strip()][-3:]
        if TRACEBACK in lines:
            last = len(lines) - lines[::-1].index(TRACEBACK)
            shown = [line for line in lines[last:] if line.strip() and line[0] != " "][:3] or shown
        return " / ".join(_shortened(protocol.one_line(line), MAX_STDERR) for line in shown)

    def write_transcript(self, title: str) -> Path | None:
        """Writes the conversation so far to a new file; None if that is not possible."""
        name = f"exec-{now().replace(':', '')}-{self.identity}.txt"
        path = Path(os.environ.get(TRANSCRIPTS_VARIABLE) or TRANSCRIPTS) / name
        lines = [f"# {title}", "# > sent, < received, ! stderr", *self._transcript]
        try:
            write_whole(path, ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace"))
        except OutputError:
            return None
        return path

    def _note(self, mark: str, text: str) -> None:
        """Adds a line to the transcript."""
        line = f"{mark} {_shortened(printable(text), MAX_NOTED)}"
        self._info = 0 if mark == ">" else self._info + line.startswith("< info")
        if self._info <= MAX_INFO or not line.startswith("< info"):
            self._transcript.append(line)
        if conversation.on_line is not None:
            conversation.on_line(f"{self.identity} {line}")

    def close(self, *, gracefully: bool) -> None:
        """Kills the program, gracefully after `quit` and QUIT_S."""
        if gracefully and self._end.alive:
            self.send("quit")
            deadline = time.monotonic() + QUIT_S
            while self._to_write and self._stdin in self._open and time.monotonic() < deadline:
                self._transfer(POLL_S)
            self._close(self._stdin)
            while self._exit_code() is None and time.monotonic() < deadline:
                self._transfer(POLL_S)
        self._end()

    def _transfer(self, seconds: float) -> None:
        """Waits up to `seconds` for a ready pipe, and reads or writes what is possible."""
        with selectors.DefaultSelector() as selector:
            for descriptor in self._open - {self._stdin}:
                selector.register(descriptor, selectors.EVENT_READ)
            if self._to_write and self._stdin in self._open:
                selector.register(self._stdin, selectors.EVENT_WRITE)
            ready = {key.fd for key, _ in selector.select(seconds)}
        if self._stdin in ready:
            self._write()
        if self._stderr in ready:
            for line in self._stderr_splitter.feed(self._read(self._stderr)):
                self._stderr_lines.append(_text(line))
                self._note("!", self._stderr_lines[-1])
        if self._stdout in ready:
            for line in self._splitter.feed(self._read(self._stdout)):
                self._note("<", _text(line))
                self._lines.append(line)

    def _write(self) -> None:
        try:
            del self._to_write[: os.write(self._stdin, self._to_write)]
        except BlockingIOError:
            pass
        except OSError:  # it closed stdin: its output or exit status explains why
            self._close(self._stdin)

    def _read(self, descriptor: int) -> bytes:
        try:
            data = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            return b""
        if not data:
            self._close(descriptor)
        return data

    def _close(self, descriptor: int) -> None:
        self._open.discard(descriptor)
        if descriptor == self._stdin and self._process.stdin is not None:
            self._process.stdin.close()

    def _exit_code(self) -> int | None:
        """As `Popen.returncode`."""
        if not hasattr(os, "waitid"):  # macOS before Python 3.13
            return self._process.poll()
        # WNOWAIT keeps the zombie until `_end`, so that its process id is not reused.
        ended = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return None
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status

    def _exit_description(self) -> str:
        deadline = time.monotonic() + QUIT_S
        while time.monotonic() < deadline:
            self._transfer(POLL_S)
            if self._exit_code() is not None and self._stderr not in self._open:
                break
        rest = self._splitter.rest().decode("utf-8", "backslashreplace")
        cut = f" in the middle of the line {protocol.quoted(rest)}" if rest else ""
        code = self._exit_code()
        if code is None:
            return f"closed its stdout{cut}"
        if code >= 0:
            return f"ended with exit code {code}{cut}"
        return f"was ended by {signal.Signals(-code).name}{cut}"


def _end(process: subprocess.Popen[bytes], owner: int) -> None:
    """Kills the process group and closes the pipes."""
    if os.getpid() != owner:  # in a forked child: the program belongs to the parent
        return
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    process.wait()


def _text(line: bytes) -> str:
    return line.decode("utf-8", "backslashreplace").rstrip("\r")


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]} …"
