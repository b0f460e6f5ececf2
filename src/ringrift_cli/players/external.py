"""The player `exec:COMMAND[;SETTING=VALUE…]`: a program that implements docs/protocol.md."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ringrift_cli.errors import IllegalMove, NotationError, PlayerError, UsageError
from ringrift_cli.game.playout import Seeds
from ringrift_cli.game.position import Position
from ringrift_cli.game.topology import board_named
from ringrift_cli.players import protocol
from ringrift_cli.players.player import Choices, Decisions, identity_of
from ringrift_cli.players.program import POLL_S, Program, ProgramFailure
from ringrift_cli.players.protocol import Course, Game, Limits, Place

R = TypeVar("R")

TIMEOUT_VARIABLE = "RINGRIFT_ENGINE_TIMEOUT"
TIMEOUT = 60.0  # seconds per answer, in addition to the time limit of a search
START_FACTOR = 5  # of the timeout until a program has started, with its imports
SEED = "Seed"
NUMBERS = ("movetime", "sims", "processes")
MAX_PROCESSES = 1024
SCRIPTED = "python|pypy|node|deno|bun|java|ruby|perl|lua|julia|Rscript|sh|bash|zsh"
INTERPRETER = re.compile(rf"({SCRIPTED})[\d.]*")
SEGMENT = re.compile(r"""(?:\\.|"(?:\\.|[^"\\])*"|'[^']*'|[^;"'\\]|["'\\])+""")  # up to ;
COLOUR = re.compile(rb"\x1b\[[0-9;?]*[ -/]*[@-~]")  # terminal escape sequences


@dataclass(frozen=True)
class Command:
    """What follows `exec:` in a spec."""

    words: tuple[str, ...]
    limits: Limits
    processes: int | None  # None: one per core
    identity: str | None  # declared by the user
    options: dict[str, str]  # of the program

    @classmethod
    def parse(cls, spec: str, text: str) -> Command:
        """Splits like a shell, without a shell; settings follow unquoted semicolons.

        A word that begins with ~ is a path of a home folder.
        """
        first, *others = [""] if text.lstrip()[:1] in ("", ";") else SEGMENT.findall(text)
        try:
            words, *settings = [shlex.split(part) for part in (first, *others)]
        except ValueError as error:
            raise UsageError(
                f"Player {spec!r}: its command ends inside quotes ({error})."
            ) from error
        if not words:
            raise UsageError(f"Player {spec!r} names no command.", hint='"exec:ringrift engine"')
        given: dict[str, str] = {}
        for setting in filter(None, settings):
            name, equals, value = " ".join(setting).partition("=")
            if not equals or not name.strip() or not value.strip() or name.strip() in given:
                raise UsageError(
                    f"Player {spec!r}: {' '.join(setting)!r} is repeated or not NAME=VALUE.",
                    hint='"exec:COMMAND;movetime=500;Hash=64"',
                )
            given[name.strip()] = value.strip()
        numbers = {name: _whole(spec, name, given.pop(name, None)) for name in NUMBERS}
        if SEED in given:
            raise UsageError(f"Player {spec!r}: {SEED} is set anew for each decision.")
        limits = Limits(numbers["sims"], numbers["movetime"])
        words = [str(Path(word).expanduser()) if word[:1] == "~" else word for word in words]
        return cls(tuple(words), limits, numbers["processes"], given.pop("identity", None), given)

    @property
    def settings(self) -> dict[str, str]:
        """The settings that determine play, by name."""
        limits = {"sims": self.limits.sims, "movetime": self.limits.movetime}
        return {name: str(value) for name, value in limits.items() if value} | self.options

    def engine(self, reported: dict[str, str]) -> Any:
        """What identifies the program, by the `id` lines that it sent.

        Declared by the user, else reported, else name and version; a program without a version is
        identified by its command, its executable, and the script of an interpreter.
        """
        if self.identity or reported.get("identity"):
            return self.identity or reported["identity"]
        name, version = reported.get("name"), reported.get("version")
        if name and version:
            return [name, version]
        program = shutil.which(self.words[0]) or ""
        files = [program]
        if INTERPRETER.fullmatch(Path(self.words[0]).name):
            files += [word for word in self.words[1:] if Path(word).is_file()][:1]
        return {"name": name, "words": self.words, "files": [_digest(Path(f)) for f in files]}

    def name(self, reported: dict[str, str]) -> str | None:
        """Name for tables: that of the program, and the settings; None if it has none."""
        told = " ".join(filter(None, (reported.get("name"), reported.get("version"))))
        name = self.identity or (told if reported.get("name") else None)
        settings = "".join(f";{name}={value}" for name, value in self.settings.items())
        return None if name is None else f"{name}{settings}"


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
        self._ignored = ""  # the last line since then that is not of the protocol
        self._last: Course | None = None
        self._game_id: int | None = None  # of `_last`
        self._known: list[Course] = []  # courses of the games at the last call of `choose`
        told = Command.parse(spec, command)
        self._limits = told.limits
        try:
            self._program = Program(told.words)
        except ProgramFailure as failure:
            raise PlayerError(f"Player {spec!r} {failure}.") from failure
        limit = START_FACTOR * self._timeout
        with self._attribute_failures(None):
            answers = self._exchange(["rri"], "rriok", limit)
            offers = _texts(answers, "option", protocol.parse_offer)
            self._check_options(told.options, offers)
            options = [f"setoption name {name} value {v}" for name, v in told.options.items()]
            answers += self._exchange([*options, str(self._game), "isready"], "readyok", limit)
            reported = dict(_texts(answers, "id", protocol.parse_identification))
        self._takes_seed = SEED in offers
        self.name = told.name(reported) or spec
        self.identity = identity_of(
            {"kind": "exec", "engine": told.engine(reported), "settings": told.settings}
        )

    def _check_options(self, options: dict[str, str], offers: list[str]) -> None:
        """`UsageError` for an option that the program does not offer."""
        for name in options:
            if name not in offers:
                self._program.close(gracefully=True)
                own = ["movetime", "sims", "processes", "identity"]
                raise UsageError(
                    f"Player {self.spec!r}: the program offers no option {name!r}: expected one of"
                    f" {', '.join([*own, *(offer for offer in offers if offer != SEED)])}."
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
                actions[i], chances = self._decide(course, asked, i)
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
        self, course: Course, asked: Decisions, i: int
    ) -> tuple[int, tuple[float, ...] | None]:
        """Action for one position, and the win probabilities by seat, if reported."""
        game_id = None if asked.games is None else asked.games[i]
        if not self._continues(course, game_id):
            self._exchange([str(course.game), "isready"], "readyok", self._timeout)
        self._last, self._game_id = course, game_id
        lines = [protocol.place_line(Place(course.state, course.moves)), str(self._limits)]
        if self._takes_seed:
            lines.insert(0, f"setoption name {SEED} value {_draw(asked.seeds, i)}")
        limit = self._timeout + (self._limits.movetime or 0) / 1000
        _, rest = self._exchange(lines, "bestmove", limit, asked.should_stop)[-1]

        def read() -> tuple[int, tuple[float, ...] | None]:
            best = protocol.parse_best_move(rest, course.game.players)
            return protocol.action_of(course.position, best.move), best.values

        return _parsed(read, f"bestmove {rest}")

    def _continues(self, course: Course, game_id: int | None) -> bool:
        """Whether this is, or without ids may be, the game of the last request."""
        last = self._last
        if last is None:
            return course.game == self._game
        if game_id is not None or last.game != course.game or course.state is not None:
            return course.game == last.game and game_id == self._game_id
        return last.state is None and last.actions == course.actions[: len(last.actions)]

    def _exchange(
        self,
        lines: Sequence[str],
        last: str,
        limit: float,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> list[tuple[str, str]]:
        """Sends the lines and receives the answers, up to one with the first word `last`.

        `ProgramFailure` after `limit` seconds.
        """
        for line in lines:
            self._program.send(line)
        self._request, self._ignored = lines[-1], ""
        deadline = time.monotonic() + limit
        answers: list[tuple[str, str]] = []
        stopped = False
        while not answers or answers[-1][0] != last:
            if not stopped and should_stop():
                stopped = True
                self._program.send("stop")
            now = time.monotonic()
            if now >= deadline:
                wrote = f"; it wrote {protocol.quoted(self._ignored)}" if self._ignored else ""
                raise ProgramFailure(
                    f"did not answer with {last} within {limit:g} s{wrote}",
                    hint=f"{TIMEOUT_VARIABLE}={10 * self._timeout:g} ringrift …",
                )
            received = self._program.receive(min(now + POLL_S, deadline))
            if received is not None:
                answers += self._read(received, last)
        return answers

    def _read(self, line: bytes, last: str) -> list[tuple[str, str]]:
        """First word and rest of an expected line; nothing for all others."""
        plain = COLOUR.sub(b"", line)
        word = plain.split(maxsplit=1)[0] if plain.strip() else b""
        if word not in (b"id", b"option", b"error", last.encode()):
            if word not in (b"", b"info"):
                self._ignored = plain[:200].decode("utf-8", "backslashreplace").strip()
            return []
        start = plain[:200].decode("utf-8", "backslashreplace")
        text = _parsed(partial(protocol.decode, plain), start)
        first, _, rest = text.partition(" ")
        if first == "error":
            raise ProgramFailure(f"answered {protocol.quoted(text)}")
        return [(first, rest.strip())]

    @contextmanager
    def _attribute_failures(self, position: Position | None) -> Iterator[None]:
        """Converts a failure within to a `PlayerError`, and terminates the program."""
        try:
            yield
        except ProgramFailure as failure:
            self._program.close(gracefully=False)
            where = f" at decision {position.ply + 1} of {position.board_name}" if position else ""
            end = self._program.stderr_end()
            kept = self._program.write_transcript(f"{self.spec}: {failure}")
            self._failed = PlayerError(
                f"Player {self.spec!r} was asked {protocol.quoted(self._request)}{where} and "
                f"{failure}{f'; its stderr ends with {end!r}' if end else ''}"
                f"{f'; the conversation is in {kept}' if kept else ''}.",
                hint=failure.hint or (f'ringrift show "{position}"' if position else None),
            )
            raise self._failed from failure


def _texts(answers: list[tuple[str, str]], word: str, read: Callable[[str], R]) -> list[R]:
    """Parses the answers with a first word."""
    return [
        _parsed(partial(read, rest), f"{word} {rest}") for first, rest in answers if first == word
    ]


def _parsed(read: Callable[[], R], line: str) -> R:
    """Result of `read`; `ProgramFailure` if the line is invalid or the move illegal."""
    try:
        return read()
    except (NotationError, IllegalMove) as error:
        message = error.message.rstrip(".")
        raise ProgramFailure(f"wrote {protocol.quoted(line)}: {message}") from error


def _whole(spec: str, name: str, text: str | None) -> int | None:
    if text is None:
        return None
    most = MAX_PROCESSES if name == "processes" else 999_999_999
    if not re.fullmatch("[0-9]{1,9}", text) or not 0 < int(text) <= most:
        raise UsageError(
            f"Player {spec!r}: {name} is {text!r}, expected a whole number from 1 to {most}."
        )
    return int(text)


def _timeout() -> float:
    text = os.environ.get(TIMEOUT_VARIABLE, "")
    try:
        seconds = float(text or TIMEOUT)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UsageError(f"{TIMEOUT_VARIABLE} is {text!r}, not a number of seconds above 0.")
    return seconds


def _digest(path: Path) -> str | None:
    """SHA-256 of a file; None if it cannot be read."""
    with suppress(OSError), path.open("rb") as file:
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
