"""The player `exec:COMMAND`: an external program that implements docs/protocol.md.

`_Program` runs the process and transfers lines; `ExternalPlayer` implements the protocol. One
thread serves all three pipes, so that neither side blocks on a full pipe.
"""

from __future__ import annotations

import hashlib
import os
import selectors
import shlex
import shutil
import signal
import subprocess
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from ringrift_cli.errors import IllegalMove, NotationError, PlayerError, UsageError
from ringrift_cli.game.playout import Seeds
from ringrift_cli.game.position import Position
from ringrift_cli.game.topology import board_named
from ringrift_cli.players import protocol
from ringrift_cli.players.player import Choices, Decisions, identity_of
from ringrift_cli.players.protocol import Course, Game, Place

R = TypeVar("R")

TIMEOUT_VARIABLE = "RINGRIFT_ENGINE_TIMEOUT"
TIMEOUT = 60.0  # seconds per answer
POLL_S = 0.05  # interval of checks whether the search should stop
QUIT_S = 1.0  # time to exit after `quit`
STDERR_KEPT = 2048  # last bytes of stderr, for error messages


class _Failure(Exception):
    """Failure of the program, as the end of a sentence, with an optional hint."""

    def __init__(self, what: str, hint: str | None = None) -> None:
        super().__init__(what)
        self.hint = hint


class _Program:
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
            raise _Failure(f"cannot be started: {reason}") from error
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
        self._stderr_tail = b""

    def send(self, line: str) -> None:
        """Queues a line; it is written while waiting for an answer."""
        self._to_write += line.encode("utf-8", "backslashreplace") + b"\n"

    def receive(self, until: float) -> bytes | None:
        """The next line; None at the time `until`, `_Failure` if the output has ended."""
        while not self._lines:
            if self._stdout not in self._open:
                raise _Failure(self._exit_description())
            now = time.monotonic()
            if now >= until:
                return None
            self._transfer(until - now)
        return self._lines.popleft()

    def stderr_tail(self) -> str:
        """The last lines of stderr, joined to one."""
        text = self._stderr_tail.decode("utf-8", "backslashreplace")
        lines = [protocol.one_line(line) for line in text.splitlines()[-3:]]
        return " / ".join(filter(None, lines))

    def close(self, *, gracefully: bool) -> None:
        """Kills the program, gracefully after `quit` and QUIT_S."""
        if gracefully and self._end.alive:
            self.send("quit")
            deadline = time.monotonic() + QUIT_S
            while self._to_write and self._stdin in self._open and time.monotonic() < deadline:
                self._transfer(POLL_S)
            self._close(self._stdin)
            while not self._has_ended() and time.monotonic() < deadline:
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
            self._stderr_tail = (self._stderr_tail + self._read(self._stderr))[-STDERR_KEPT:]
        if self._stdout in ready:
            self._lines.extend(self._splitter.feed(self._read(self._stdout)))

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

    def _has_ended(self) -> os.waitid_result | None:
        # WNOWAIT keeps the zombie until `_end`, so that its process id is not reused.
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)

    def _exit_description(self) -> str:
        deadline = time.monotonic() + QUIT_S
        while time.monotonic() < deadline:
            self._transfer(POLL_S)
            if self._has_ended() and self._stderr not in self._open:
                break
        rest = self._splitter.rest().decode("utf-8", "backslashreplace")
        cut = f" in the middle of the line {protocol.quoted(rest)}" if rest else ""
        ended = self._has_ended()
        if ended is None:
            return f"closed its stdout{cut}"
        if ended.si_code == os.CLD_EXITED:
            return f"ended with exit code {ended.si_status}{cut}"
        return f"was ended by {signal.Signals(ended.si_status).name}{cut}"


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


class ExternalPlayer:
    """Plays through a program, one move at a time. Any failure of it is a `PlayerError`.

    After an error the program is terminated and the player unusable.
    """

    def __init__(self, spec: str, command: str, board: str, players: int) -> None:
        self.spec = spec
        self._game = Game(board_named(board).name, players)
        self._timeout = _timeout()
        self._failed: PlayerError | None = None
        self._request = ""  # the last line that requires an answer
        self._last: Course | None = None
        self._known: list[Course] = []  # courses of the games at the last call of `choose`
        words = _words(spec, command)
        try:
            self._program = _Program(words)
        except _Failure as failure:
            raise PlayerError(f"Player {spec!r} {failure}.") from failure
        with self._attribute_failures(None):
            answers = self._exchange(["rri"], "rriok")
            answers += self._exchange([str(self._game), "isready"], "readyok")
            reported = dict(_texts(answers, "id", protocol.parse_identification))
            offers = _texts(answers, "option", protocol.parse_offer)
        self._takes_seed = "Seed" in offers
        self.identity = identity_of(
            {
                "kind": "exec",
                "words": words,
                "files": [_digest(shutil.which(words[0]) or ""), *map(_digest, words[1:])],
                "engine": reported.get("identity"),
            }
        )

    def choose(self, asked: Decisions) -> Choices:
        if self._failed is not None:
            raise self._failed
        actions = np.zeros(len(asked), np.int32)
        values: list[tuple[float, ...]] = []
        courses: list[Course] = []
        for i in range(len(asked)):
            course = self._course(asked, i)
            with self._attribute_failures(course.position):
                actions[i], chances = self._decide(course, asked.seeds, i, asked.should_stop)
            if chances is not None:
                values.append(chances)
            courses.append(course)
        self._known = courses
        return Choices(actions, np.array(values) if len(values) == len(asked) else None)

    def close(self) -> None:
        self._program.close(gracefully=True)

    def _course(self, asked: Decisions, i: int) -> Course:
        """Course of game i, from its start if its history is known."""
        game = Game(asked.board, asked.players, asked.pie_rule)
        history = asked.histories[i]
        if history is None:
            position = Position(board_named(game.board), game.players, asked.rows[i].copy())
            return Course(game, position.to_json(), position)
        actions = tuple(map(int, history))
        course = max(
            (
                known
                for known in self._known
                if known.state is None
                and known.game == game
                and known.actions == actions[: len(known.actions)]
            ),
            key=lambda known: len(known.actions),
            default=None,
        )
        course = course or Course.begin(game)
        for action in actions[len(course.actions) :]:
            course = course.play(action)
        return course

    # ---- protocol --------------------------------------------------------------------------------

    def _decide(
        self, course: Course, seeds: Seeds, i: int, should_stop: Callable[[], bool]
    ) -> tuple[int, tuple[float, ...] | None]:
        """Action for one position, and the win probabilities by seat, if reported."""
        if not self._continues(course):
            self._exchange([str(course.game), "isready"], "readyok")
        self._last = course
        lines = [protocol.place_line(Place(course.state, course.moves)), "go"]
        if self._takes_seed:
            lines.insert(0, f"setoption name Seed value {_draw(seeds, i)}")
        _, rest = self._exchange(lines, "bestmove", should_stop)[-1]

        def read() -> tuple[int, tuple[float, ...] | None]:
            best = protocol.parse_best_move(rest, course.game.players)
            return course.position.action(best.move), best.values

        return _parsed(read, f"bestmove {rest}")

    def _continues(self, course: Course) -> bool:
        """Whether this may be the game of the last request."""
        last = self._last
        if last is None or last.game != course.game or course.state is not None:
            return course.game == (last.game if last else self._game)
        return last.state is None and last.actions == course.actions[: len(last.actions)]

    def _exchange(
        self, lines: Sequence[str], last: str, should_stop: Callable[[], bool] = lambda: False
    ) -> list[tuple[str, str]]:
        """Sends the lines and receives the answers, up to one with the first word `last`."""
        for line in lines:
            self._program.send(line)
        self._request = lines[-1]
        deadline = time.monotonic() + self._timeout
        answers: list[tuple[str, str]] = []
        stopped = False
        while not answers or answers[-1][0] != last:
            if not stopped and should_stop():
                stopped = True
                self._program.send("stop")
            now = time.monotonic()
            if now >= deadline:
                raise _Failure(
                    f"did not answer within {self._timeout:g} s",
                    hint=f"{TIMEOUT_VARIABLE}={10 * self._timeout:g} ringrift …",
                )
            received = self._program.receive(min(now + POLL_S, deadline))
            if received is not None:
                answers += self._read(received, last)
        return answers

    def _read(self, line: bytes, last: str) -> list[tuple[str, str]]:
        """First word and rest of an expected line; nothing for an empty or `info` line."""
        start = line[:200].decode("utf-8", "backslashreplace")
        text = _parsed(partial(protocol.decode, line), start)
        word, _, rest = text.partition(" ")
        if word in ("", "info"):
            return []
        if word not in ("id", "option", last):
            raise _Failure(f"{'answered' if word == 'error' else 'wrote'} {protocol.quoted(text)}")
        return [(word, rest.strip())]

    @contextmanager
    def _attribute_failures(self, position: Position | None) -> Iterator[None]:
        """Converts a failure within to a `PlayerError`, and terminates the program."""
        try:
            yield
        except _Failure as failure:
            self._program.close(gracefully=False)
            where = f" at decision {position.ply + 1} of {position.board_name}" if position else ""
            tail = self._program.stderr_tail()
            self._failed = PlayerError(
                f"Player {self.spec!r} was asked {protocol.quoted(self._request)}{where} and "
                f"{failure}{f'; its stderr ends with {protocol.quoted(tail)}' if tail else ''}.",
                hint=failure.hint or (f'ringrift show "{position}"' if position else None),
            )
            raise self._failed from failure


def _texts(answers: list[tuple[str, str]], word: str, read: Callable[[str], R]) -> list[R]:
    """Parses the answers with a first word."""
    return [
        _parsed(partial(read, rest), f"{word} {rest}") for first, rest in answers if first == word
    ]


def _parsed(read: Callable[[], R], line: str) -> R:
    """Result of `read`; `_Failure` if the line is invalid or the move illegal."""
    try:
        return read()
    except (NotationError, IllegalMove) as error:
        message = error.message.rstrip(".")
        raise _Failure(f"wrote {protocol.quoted(line)}: {message}") from error


def _words(spec: str, command: str) -> list[str]:
    """Program and arguments, split like a shell, without a shell."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"Player {spec!r}: its command ends inside quotes ({error}).") from error
    if not words:
        raise UsageError(f"Player {spec!r} names no command.", hint='"exec:ringrift engine"')
    return words


def _timeout() -> float:
    text = os.environ.get(TIMEOUT_VARIABLE, "")
    try:
        seconds = float(text or TIMEOUT)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UsageError(f"{TIMEOUT_VARIABLE} is {text!r}, not a number of seconds above 0.")
    return seconds


def _digest(word: str) -> str | None:
    """SHA-256 of the file named by a word of the command; None if there is none."""
    path = Path(word)
    with suppress(OSError):
        if path.is_file():
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
    return None


def _draw(seeds: Seeds, i: int) -> int:
    """Advances generator `i` and returns 64 random bits (splitmix64, as `playout.draw`)."""
    whole = (1 << 64) - 1
    x = (int(seeds[i]) + 0x9E3779B97F4A7C15) & whole
    seeds[i] = x
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & whole
    x = (x ^ x >> 27) * 0x94D049BB133111EB & whole
    return x ^ x >> 31
