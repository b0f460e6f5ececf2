"""The player `exec:COMMAND`: a program of its own that speaks docs/protocol.md.

`_Program` runs the program and moves lines, `ExternalPlayer` says what they mean. One thread serves
all three pipes at the same time, so that neither side waits for the other with a full pipe.
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
TIMEOUT = 60.0  # seconds for any one answer
LOOK = 0.05  # seconds between two looks at whether the search should stop
GOODBYE = 1.0  # seconds to end after `quit`
STDERR_KEPT = 2048  # bytes of the program's last words


class _Failure(Exception):
    """What the program did wrong, as the end of a sentence; what to try, if that is special."""

    def __init__(self, what: str, hint: str | None = None) -> None:
        super().__init__(what)
        self.hint = hint


class _Program:
    """A program in a process group of its own, and the lines to and from it."""

    def __init__(self, words: Sequence[str]) -> None:
        try:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,  # it ends with all that it started, and by our hand alone
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
        self._said_last = b""

    def say(self, line: str) -> None:
        """Hands a line over; it goes out while an answer is waited for."""
        self._to_write += line.encode("utf-8", "backslashreplace") + b"\n"

    def hear(self, until: float) -> bytes | None:
        """The next line; None if there is none by then, `_Failure` if there will be none."""
        while not self._lines:
            if self._stdout not in self._open:
                raise _Failure(self._how_it_ended())
            now = time.monotonic()
            if now >= until:
                return None
            self._transfer(until - now)
        return self._lines.popleft()

    def last_words(self) -> str:
        """The end of what it wrote to stderr, on one line."""
        text = self._said_last.decode("utf-8", "backslashreplace")
        lines = [protocol.one_line(line) for line in text.splitlines()[-3:]]
        return " / ".join(filter(None, lines))

    def close(self, *, politely: bool) -> None:
        """Ends the program: at once, or after a moment to end by itself."""
        if politely and self._end.alive:
            self.say("quit")
            deadline = time.monotonic() + GOODBYE
            while self._to_write and self._stdin in self._open and time.monotonic() < deadline:
                self._transfer(LOOK)
            self._close(self._stdin)
            while not self._has_ended() and time.monotonic() < deadline:
                self._transfer(LOOK)
        self._end()

    def _transfer(self, seconds: float) -> None:
        """Waits for a pipe to be ready, at most so long, and reads or writes what it can."""
        with selectors.DefaultSelector() as selector:
            for descriptor in self._open - {self._stdin}:
                selector.register(descriptor, selectors.EVENT_READ)
            if self._to_write and self._stdin in self._open:
                selector.register(self._stdin, selectors.EVENT_WRITE)
            ready = {key.fd for key, _ in selector.select(seconds)}
        if self._stdin in ready:
            self._write()
        if self._stderr in ready:
            self._said_last = (self._said_last + self._read(self._stderr))[-STDERR_KEPT:]
        if self._stdout in ready:
            self._lines.extend(self._splitter.feed(self._read(self._stdout)))

    def _write(self) -> None:
        try:
            del self._to_write[: os.write(self._stdin, self._to_write)]
        except BlockingIOError:
            pass
        except OSError:  # it no longer reads: what it still says, or how it ended, tells more
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
        # The process stays a zombie till `_end`, so that its number cannot become another's.
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)

    def _how_it_ended(self) -> str:
        deadline = time.monotonic() + GOODBYE
        while time.monotonic() < deadline:
            self._transfer(LOOK)
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
    """Kills the process and all that it started, and lets go of its pipes."""
    if os.getpid() != owner:  # a fork: the program is its parent's
        return
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    process.wait()


class ExternalPlayer:
    """Asks a program for one move after the other. Whatever it does wrong is a `PlayerError`.

    After an error the program is gone and the player of no use: nothing plays in its place.
    """

    def __init__(self, spec: str, command: str, board: str, players: int) -> None:
        self.spec = spec
        self._game = Game(board_named(board).name, players)
        self._timeout = _timeout()
        self._failed: PlayerError | None = None
        self._asked = ""  # the last line that wants an answer
        self._last: Course | None = None
        self._known: list[Course] = []  # where the games stood when it was last asked
        words = _words(spec, command)
        try:
            self._program = _Program(words)
        except _Failure as failure:
            raise PlayerError(f"Player {spec!r} {failure}.") from failure
        with self._blame(None):
            answers = self._ask(["rri"], "rriok")
            answers += self._ask([str(self._game), "isready"], "readyok")
            told = dict(_texts(answers, "id", protocol.parse_identification))
            offers = _texts(answers, "option", protocol.parse_offer)
        self._takes_seed = "Seed" in offers
        self.identity = identity_of(
            {
                "kind": "exec",
                "words": words,
                "files": [_digest(shutil.which(words[0]) or ""), *map(_digest, words[1:])],
                "engine": told.get("identity"),
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
            with self._blame(course.position):
                actions[i], chances = self._decide(course, asked.seeds, i, asked.should_stop)
            if chances is not None:
                values.append(chances)
            courses.append(course)
        self._known = courses
        return Choices(actions, np.array(values) if len(values) == len(asked) else None)

    def close(self) -> None:
        self._program.close(politely=True)

    def _course(self, asked: Decisions, i: int) -> Course:
        """How game i came to where it stands, as far as that is known."""
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

    # ---- the conversation ------------------------------------------------------------------------

    def _decide(
        self, course: Course, seeds: Seeds, i: int, should_stop: Callable[[], bool]
    ) -> tuple[int, tuple[float, ...] | None]:
        """The action for one position, and what the program thinks of everyone's chances."""
        if not self._continues(course):
            self._ask([str(course.game), "isready"], "readyok")
        self._last = course
        lines = [protocol.place_line(Place(course.state, course.moves)), "go"]
        if self._takes_seed:
            lines.insert(0, f"setoption name Seed value {_draw(seeds, i)}")
        _, rest = self._ask(lines, "bestmove", should_stop)[-1]

        def read() -> tuple[int, tuple[float, ...] | None]:
            best = protocol.parse_best_move(rest, course.game.players)
            return course.position.action(best.move), best.values

        return _understood(read, f"bestmove {rest}")

    def _continues(self, course: Course) -> bool:
        """Whether this may be the game that was asked about last."""
        last = self._last
        if last is None or last.game != course.game or course.state is not None:
            return course.game == (last.game if last else self._game)
        return last.state is None and last.actions == course.actions[: len(last.actions)]

    def _ask(
        self, lines: Sequence[str], last: str, should_stop: Callable[[], bool] = lambda: False
    ) -> list[tuple[str, str]]:
        """Says the lines and hears the answers, up to the one whose first word is `last`."""
        for line in lines:
            self._program.say(line)
        self._asked = lines[-1]
        deadline = time.monotonic() + self._timeout
        answers: list[tuple[str, str]] = []
        stopped = False
        while not answers or answers[-1][0] != last:
            if not stopped and should_stop():
                stopped = True
                self._program.say("stop")
            now = time.monotonic()
            if now >= deadline:
                raise _Failure(
                    f"did not answer within {self._timeout:g} s",
                    hint=f"{TIMEOUT_VARIABLE}={10 * self._timeout:g} ringrift …",
                )
            heard = self._program.hear(min(now + LOOK, deadline))
            if heard is not None:
                answers += self._read(heard, last)
        return answers

    def _read(self, line: bytes, last: str) -> list[tuple[str, str]]:
        """First word and rest of a line that may come now; nothing of one that needs no answer."""
        start = line[:200].decode("utf-8", "backslashreplace")
        text = _understood(partial(protocol.decode, line), start)
        word, _, rest = text.partition(" ")
        if word in ("", "info"):
            return []
        if word not in ("id", "option", last):
            raise _Failure(f"{'answered' if word == 'error' else 'wrote'} {protocol.quoted(text)}")
        return [(word, rest.strip())]

    @contextmanager
    def _blame(self, position: Position | None) -> Iterator[None]:
        """Turns a failure inside into the player's error, and ends the program."""
        try:
            yield
        except _Failure as failure:
            self._program.close(politely=False)
            where = f" at decision {position.ply + 1} of {position.board_name}" if position else ""
            said = self._program.last_words()
            self._failed = PlayerError(
                f"Player {self.spec!r} was asked {protocol.quoted(self._asked)}{where} and "
                f"{failure}{f'; its stderr ends with {protocol.quoted(said)}' if said else ''}.",
                hint=failure.hint or (f'ringrift show "{position}"' if position else None),
            )
            raise self._failed from failure


def _texts(answers: list[tuple[str, str]], word: str, read: Callable[[str], R]) -> list[R]:
    """What the answers with that first word say."""
    return [
        _understood(partial(read, rest), f"{word} {rest}")
        for first, rest in answers
        if first == word
    ]


def _understood(read: Callable[[], R], line: str) -> R:
    """What `read` makes of a line; `_Failure` if the line means nothing or is against the rules."""
    try:
        return read()
    except (NotationError, IllegalMove) as error:
        message = error.message.rstrip(".")
        raise _Failure(f"wrote {protocol.quoted(line)}: {message}") from error


def _words(spec: str, command: str) -> list[str]:
    """Program and arguments, split as a shell does it; no shell sees them."""
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
    """SHA-256 of the file that a word of the command names; None if it names none."""
    path = Path(word)
    with suppress(OSError):
        if path.is_file():
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
    return None


def _draw(seeds: Seeds, i: int) -> int:
    """64 random bits from generator `i`, which steps on: splitmix64, as in `playout.draw`."""
    whole = (1 << 64) - 1
    x = (int(seeds[i]) + 0x9E3779B97F4A7C15) & whole
    seeds[i] = x
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & whole
    x = (x ^ x >> 27) * 0x94D049BB133111EB & whole
    return x ^ x >> 31
