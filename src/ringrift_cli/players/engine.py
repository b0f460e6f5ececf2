"""The engine side of docs/protocol.md: runs a player as a program.

The main thread processes events from a queue. A reader thread enqueues input lines, and each search
runs in its own thread and enqueues its outcome. So the engine receives `stop` while it searches,
and only the main thread writes output or changes state.
"""

from __future__ import annotations

import json
import os
import queue
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event, Thread

import numpy as np

from ringrift_cli.errors import NotationError, PlayerError, RingriftError, UsageError
from ringrift_cli.game.version import rules_hash
from ringrift_cli.players import protocol
from ringrift_cli.players.player import Choices, Decisions, Player
from ringrift_cli.players.protocol import BestMove, Course, Game, Limits
from ringrift_cli.players.spec import make_player
from ringrift_cli.version import __version__

STOP_TIMEOUT_S = 10.0  # for a search to stop when the engine ends
MAX_SEED = 2**64 - 1
IMMEDIATE = (b"stop", b"quit", b"isready")  # handled during a search; others wait for its end
# Accepted values of Player: a client must not start programs or read files.
_VALUE = "(default|beginner|tuned|[0-9.]+(e-?[0-9]+)?)"
PLAIN_SPEC = re.compile(f"(?!exec)[a-z]+(:([a-z]+=)?{_VALUE}(,[a-z]+={_VALUE})*)?")


def lines_of(descriptor: int) -> Iterator[bytes]:
    """Yields the lines of a file descriptor, without newlines, as they arrive."""
    splitter = protocol.LineSplitter()
    # Not sys.stdin: a thread blocked in it holds a lock that the interpreter needs to exit.
    while data := os.read(descriptor, 1 << 16):
        yield from splitter.feed(data)
    if splitter.rest():
        yield splitter.rest()


def with_limits(spec: str, limits: Limits) -> str:
    """The spec that applies the limits of a `go`; a heuristic becomes a search with it.

    `UsageError` if the player cannot search.
    """
    if limits == Limits():
        return spec
    kind, _, rest = spec.partition(":")
    arguments = rest.split(",") if rest else []
    if kind == "mcts":
        kept = [text for text in arguments if text.partition("=")[0] not in ("sims", "seconds")]
    elif kind == "heuristic" and not any("=" in text for text in arguments):
        kept = [f"profile={profile}" for profile in arguments]
    else:
        raise UsageError(f"Player {spec!r} does not search: go takes no sims and no movetime.")
    seconds = (limits.movetime or 0) / 1000
    limit = f"seconds={seconds}" if limits.sims is None else f"sims={limits.sims}"
    return f"mcts:{','.join([limit, *kept])}"


@dataclass(frozen=True)
class _End:
    """End of input."""


@dataclass(frozen=True)
class _Outcome:
    """Outcome of a search; None after an unexpected exception, whose traceback is on stderr."""

    result: Choices | RingriftError | None


@dataclass
class _Search:
    """A running search; `stop` ends it early."""

    begun: float = field(default_factory=time.monotonic)
    stop: Event = field(default_factory=Event)
    thread: Thread | None = None

    def should_stop(self, movetime: int | None) -> bool:
        """Whether `stop` is set or `movetime`, milliseconds, has elapsed."""
        late = movetime is not None and 1000 * (time.monotonic() - self.begun) >= movetime
        return late or self.stop.is_set()


class Engine:
    """Protocol engine: processes input `lines` and sends output lines through `write`.

    `spec` is the initial player, `seed` the initial random seed.
    """

    def __init__(
        self,
        lines: Iterable[bytes],
        write: Callable[[str], None],
        spec: str,
        *,
        seed: int = 0,
        make: Callable[[str, str, int], Player] = make_player,
    ) -> None:
        self._lines = lines
        self._write = write
        self._spec = spec
        self._default = spec
        self._seeds = np.array([seed], np.uint64)
        self._make = make
        self._events: queue.SimpleQueue[bytes | _End | _Outcome] = queue.SimpleQueue()
        self._waiting: deque[bytes] = deque()  # lines received during a search
        self._search: _Search | None = None
        self._ending = False
        self._interrupted = False
        self._game: Game | None = None
        self._course: Course | None = None
        self._players: dict[str, Player] = {}  # for the current game, by spec
        self._commands: dict[str, Callable[[str], None]] = {
            "rri": self._identify,
            "isready": self._ready,
            "setoption": self._set_option,
            "newgame": self._new_game,
            "position": self._set_position,
            "go": self._go,
            "stop": self._stop,
            "legal": self._list_legal,
            "state": self._send_state,
            "quit": self._quit,
        }

    def run(self) -> None:
        """Processes commands until `quit`, end of input or `interrupt`."""
        Thread(target=self._read, daemon=True).start()
        try:
            while self._step():
                pass
        finally:
            self._ending = True
            # After an interrupt during the start of a search, its thread must not begin.
            search, self._search = self._search, None
            if search is not None and search.thread is not None and search.thread.is_alive():
                search.thread.join(1.0)  # it may still use the players closed below
            self._close_players()

    def interrupt(self) -> None:
        """Ends `run` after the current command; safe in a signal handler."""
        self._interrupted = True
        self._events.put(_End())

    # ---- events ----------------------------------------------------------------------------------

    def _read(self) -> None:
        try:
            with suppress(OSError):  # a closed terminal counts as end of input
                for line in self._lines:
                    self._events.put(line)
                    if self._ending:
                        break
        finally:
            self._events.put(_End())

    def _step(self) -> bool:
        """Processes one event; returns whether to continue."""
        try:
            event = self._events.get(timeout=STOP_TIMEOUT_S if self._ending else None)
        except queue.Empty:
            return False
        if self._interrupted:
            return False
        if isinstance(event, _End):
            self._ending = True
        elif isinstance(event, _Outcome):
            self._finish(event.result)
        elif not self._ending:
            self._receive(event)
        while self._waiting and self._search is None and not self._interrupted:
            self._execute(self._waiting.popleft())
        return self._search is not None or not self._ending

    def _receive(self, line: bytes) -> None:
        """Executes a line, or queues it until the running search ends."""
        if self._search is None or line.strip() in IMMEDIATE:
            self._execute(line)
        else:
            self._waiting.append(line)

    def _execute(self, line: bytes) -> None:
        try:
            word, _, rest = protocol.decode(line).partition(" ")
            if not word:
                return
            if word not in self._commands:
                known = ", ".join(self._commands)
                raise NotationError(
                    f"Unknown command {protocol.quoted(word)}: expected one of {known}."
                )
            self._commands[word](rest.strip())
        except RingriftError as error:
            self._send_error(error)

    def _send_error(self, error: RingriftError) -> None:
        self._write(f"error {protocol.one_line(error.message)}")

    # ---- commands --------------------------------------------------------------------------------

    def _identify(self, _: str) -> None:
        self._write("id name ringrift")
        self._write(f"id version {__version__}")
        self._write(f"id rules {rules_hash()}")
        self._write(f"option name Player type string default {protocol.one_line(self._default)}")
        self._write(f"option name Seed type spin default 0 min 0 max {MAX_SEED}")
        self._write("rriok")

    def _ready(self, _: str) -> None:
        self._write("readyok")

    def _set_option(self, text: str) -> None:
        name, value = protocol.parse_option(text)
        if name == "Seed":
            if not re.fullmatch("[0-9]{1,20}", value) or int(value) > MAX_SEED:
                raise NotationError(f"Seed is {protocol.quoted(value)}, expected 0 to {MAX_SEED}.")
            self._seeds = np.array([int(value)], np.uint64)
        elif name == "Player":
            if not PLAIN_SPEC.fullmatch(value):
                raise UsageError(
                    f"Player is {protocol.quoted(value)}, expected a built-in one such as "
                    "mcts:sims=100; programs and files are set on the command line."
                )
            if self._game is None:  # report an invalid spec before the first game
                self._make(value, "hex8", 2).close()
            self._switch_to(value, self._game)
        else:
            raise UsageError(f"No option {protocol.quoted(name)}: expected Player or Seed.")

    def _new_game(self, text: str) -> None:
        game = protocol.parse_game(text)
        self._switch_to(self._spec, game)
        self._course = Course.begin(game)

    def _switch_to(self, spec: str, game: Game | None) -> None:
        """Changes player and game; on an error nothing changes."""
        if game is not None:
            current = self._game and (self._game.board, self._game.players)
            if current != (game.board, game.players) or spec not in self._players:
                player = self._make(spec, game.board, game.players)
                self._close_players()
                self._players = {spec: player}
            self._write(f"id identity {self._players[spec].identity}")
        self._spec, self._game = spec, game

    def _current_course(self) -> Course:
        if self._course is None:
            raise UsageError("No game yet: send newgame first, as newgame board hex8 players 2.")
        return self._course

    def _set_position(self, text: str) -> None:
        self._course = self._current_course().to(protocol.parse_place(text))

    def _list_legal(self, _: str) -> None:
        moves = protocol.SEPARATOR.join(self._current_course().position.legal_moves())
        self._write(f"legal {moves}".rstrip())

    def _send_state(self, _: str) -> None:
        self._write(f"state {json.dumps(self._current_course().position.to_json())}")

    def _go(self, text: str) -> None:
        limits = protocol.parse_limits(text)
        course = self._current_course()
        result = course.position.result()
        if result is not None:
            raise UsageError(f"The game is over: player {result.winner} won ({result.reason}).")
        player = self._player_under(limits)
        self._search = search = _Search()
        request = Decisions(
            board=course.game.board,
            players=course.game.players,
            rows=course.position.row[None],
            seeds=self._seeds,
            histories=[course.actions if course.state is None else None],
            pie_rule=course.pie_rule,
            should_stop=lambda: self._ending or search.should_stop(limits.movetime),
        )
        search.thread = Thread(target=self._run_search, args=(player, request), daemon=True)
        search.thread.start()

    def _player_under(self, limits: Limits) -> Player:
        """The player for these limits; the latest one is cached, and the one without limits."""
        game = self._current_course().game
        spec = with_limits(self._spec, limits)
        if spec not in self._players:
            player = self._make(spec, game.board, game.players)
            for other in self._players.keys() - {self._spec}:
                self._players.pop(other).close()
            self._players[spec] = player
        return self._players[spec]

    def _run_search(self, player: Player, request: Decisions) -> None:
        """Thread of a search; always enqueues an outcome, which the main thread waits for."""
        if self._search is None:  # the engine has ended and closed the player
            return
        result: Choices | RingriftError | None = None
        try:
            result = player.choose(request)
        except RingriftError as error:
            result = error
        finally:
            self._events.put(_Outcome(result))

    def _finish(self, result: Choices | RingriftError | None) -> None:
        search, self._search = self._search, None
        if search is not None and search.thread is not None:
            search.thread.join()  # so that a traceback precedes the answer
        try:
            if result is None:
                raise PlayerError(
                    f"Player {self._spec!r} failed unexpectedly: see the traceback on stderr."
                )
            if isinstance(result, RingriftError):
                raise result
            move = self._current_course().position.move(int(result.actions[0]))
        except RingriftError as error:
            self._send_error(error)
            return
        values = None if result.values is None else tuple(map(float, result.values[0]))
        if search is not None:
            self._write(f"info time {1000 * (time.monotonic() - search.begun):.0f}")
        self._write(str(BestMove(move, values)))

    def _stop(self, _: str) -> None:
        if self._search is not None:
            self._search.stop.set()

    def _quit(self, _: str) -> None:
        self._ending = True

    def _close_players(self) -> None:
        while self._players:
            self._players.popitem()[1].close()
