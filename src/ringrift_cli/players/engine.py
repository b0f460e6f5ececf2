"""A player as a program: the engine's side of docs/protocol.md.

The thread that runs the engine takes events from one queue. A second thread puts the lines there
that come in, and every search, a thread of its own, its outcome. So the engine hears `stop` while
it searches, and only one thread ever writes or changes anything.
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

LAST_WORD = 10.0  # seconds that a search may take to stop when the engine ends
GREATEST_SEED = 2**64 - 1
AT_ONCE = (b"stop", b"quit", b"isready")  # obeyed during a search; all else waits for its end
# What an option may name: no program is started and no file is read for who sends lines.
_VALUE = "(default|beginner|tuned|[0-9.]+(e-?[0-9]+)?)"
PLAIN_SPEC = re.compile(f"(?!exec)[a-z]+(:([a-z]+=)?{_VALUE}(,[a-z]+={_VALUE})*)?")


def lines_of(descriptor: int) -> Iterator[bytes]:
    """The lines of a file descriptor, without their ends, as they come."""
    splitter = protocol.LineSplitter()
    # Not through sys.stdin: a thread that waits in there holds a lock that Python wants as it ends.
    while data := os.read(descriptor, 1 << 16):
        yield from splitter.feed(data)
    if splitter.rest():
        yield splitter.rest()


def with_limits(spec: str, limits: Limits) -> str:
    """The spec of the player that plays under the limits of a `go`: a search with its heuristic.

    `UsageError` if the player is none that could search.
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
    """No further line comes."""


@dataclass(frozen=True)
class _Outcome:
    """What became of a search; None is a defect, whose traceback stands on stderr."""

    result: Choices | RingriftError | None


@dataclass
class _Search:
    """A search under way. It stops early once `stop` is set."""

    begun: float = field(default_factory=time.monotonic)
    stop: Event = field(default_factory=Event)
    thread: Thread | None = None

    def is_up(self, movetime: int | None) -> bool:
        """Whether it is to stop, or its milliseconds are over."""
        late = movetime is not None and 1000 * (time.monotonic() - self.begun) >= movetime
        return late or self.stop.is_set()


class Engine:
    """Obeys the lines that come in. `write` takes a line to send.

    `spec` is the player that it plays as, `seed` where its random numbers begin.
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
        self._waiting: deque[bytes] = deque()  # lines that came during a search
        self._search: _Search | None = None
        self._ending = False
        self._interrupted = False
        self._game: Game | None = None
        self._course: Course | None = None
        self._players: dict[str, Player] = {}  # for the game at hand, by spec
        self._commands: dict[str, Callable[[str], None]] = {
            "rri": self._introduce,
            "isready": self._say_ready,
            "setoption": self._set_option,
            "newgame": self._new_game,
            "position": self._set_position,
            "go": self._go,
            "stop": self._stop,
            "legal": self._list_legal,
            "state": self._tell_state,
            "quit": self._quit,
        }

    def run(self) -> None:
        """Returns after `quit` or the last line, when what came before is done; or interrupted."""
        Thread(target=self._read, daemon=True).start()
        try:
            while self._step():
                pass
        finally:
            self._ending = True
            # An interrupt may fall into the start of a search: one that has not begun never does.
            search, self._search = self._search, None
            if search is not None and search.thread is not None and search.thread.is_alive():
                search.thread.join(1.0)  # it may still use what is closed now
            self._close_players()

    def interrupt(self) -> None:
        """Ends `run` after the command in hand. A signal handler may call it."""
        self._interrupted = True
        self._events.put(_End())

    # ---- events ----------------------------------------------------------------------------------

    def _read(self) -> None:
        try:
            with suppress(OSError):  # a terminal that is gone is an end too
                for line in self._lines:
                    self._events.put(line)
                    if self._ending:
                        break
        finally:
            self._events.put(_End())

    def _step(self) -> bool:
        """Deals with one event; False if there is nothing left to do."""
        try:
            event = self._events.get(timeout=LAST_WORD if self._ending else None)
        except queue.Empty:
            return False
        if self._interrupted:
            return False
        if isinstance(event, _End):
            self._ending = True
        elif isinstance(event, _Outcome):
            self._finish(event.result)
        elif not self._ending:
            self._hear(event)
        while self._waiting and self._search is None and not self._interrupted:
            self._obey(self._waiting.popleft())
        return self._search is not None or not self._ending

    def _hear(self, line: bytes) -> None:
        """Obeys a line, or keeps it for the end of the search under way."""
        if self._search is None or line.strip() in AT_ONCE:
            self._obey(line)
        else:
            self._waiting.append(line)

    def _obey(self, line: bytes) -> None:
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
            self._complain(error)

    def _complain(self, error: RingriftError) -> None:
        self._write(f"error {protocol.one_line(error.message)}")

    # ---- what the commands do --------------------------------------------------------------------

    def _introduce(self, _: str) -> None:
        self._write("id name ringrift")
        self._write(f"id version {__version__}")
        self._write(f"id rules {rules_hash()}")
        self._write(f"option name Player type string default {protocol.one_line(self._default)}")
        self._write(f"option name Seed type spin default 0 min 0 max {GREATEST_SEED}")
        self._write("rriok")

    def _say_ready(self, _: str) -> None:
        self._write("readyok")

    def _set_option(self, text: str) -> None:
        name, value = protocol.parse_option(text)
        if name == "Seed":
            if not re.fullmatch("[0-9]{1,20}", value) or int(value) > GREATEST_SEED:
                raise NotationError(
                    f"Seed is {protocol.quoted(value)}, expected 0 to {GREATEST_SEED}."
                )
            self._seeds = np.array([int(value)], np.uint64)
        elif name == "Player":
            if not PLAIN_SPEC.fullmatch(value):
                raise UsageError(
                    f"Player is {protocol.quoted(value)}, expected one of ours such as "
                    "mcts:sims=100; programs and files are named on the command line."
                )
            if self._game is None:  # what it is may be wrong on every board: say so now
                self._make(value, "hex8", 2).close()
            self._become(value, self._game)
        else:
            raise UsageError(f"No option {protocol.quoted(name)}: expected Player or Seed.")

    def _new_game(self, text: str) -> None:
        game = protocol.parse_game(text)
        self._become(self._spec, game)
        self._course = Course.begin(game)

    def _become(self, spec: str, game: Game | None) -> None:
        """Plays that game as that player from now on, or raises and changes nothing."""
        if game is not None:
            as_before = self._game and (self._game.board, self._game.players)
            if as_before != (game.board, game.players) or spec not in self._players:
                player = self._make(spec, game.board, game.players)
                self._close_players()
                self._players = {spec: player}
            self._write(f"id identity {self._players[spec].identity}")
        self._spec, self._game = spec, game

    def _here(self) -> Course:
        if self._course is None:
            raise UsageError("No game yet: send newgame first, as newgame board hex8 players 2.")
        return self._course

    def _set_position(self, text: str) -> None:
        self._course = self._here().to(protocol.parse_place(text))

    def _list_legal(self, _: str) -> None:
        moves = protocol.SEPARATOR.join(self._here().position.legal_moves())
        self._write(f"legal {moves}".rstrip())

    def _tell_state(self, _: str) -> None:
        self._write(f"state {json.dumps(self._here().position.to_json())}")

    def _go(self, text: str) -> None:
        limits = protocol.parse_limits(text)
        course = self._here()
        result = course.position.result()
        if result is not None:
            raise UsageError(f"The game is over: player {result.winner} won ({result.reason}).")
        player = self._player_under(limits)
        self._search = search = _Search()
        asked = Decisions(
            board=course.game.board,
            players=course.game.players,
            rows=course.position.row[None],
            seeds=self._seeds,
            histories=[course.actions if course.state is None else None],
            pie_rule=course.pie_rule,
            should_stop=lambda: self._ending or search.is_up(limits.movetime),
        )
        search.thread = Thread(target=self._think, args=(player, asked), daemon=True)
        search.thread.start()

    def _player_under(self, limits: Limits) -> Player:
        """The player for these limits; the last one is kept, besides the one without limits."""
        game = self._here().game
        spec = with_limits(self._spec, limits)
        if spec not in self._players:
            player = self._make(spec, game.board, game.players)
            for other in self._players.keys() - {self._spec}:
                self._players.pop(other).close()
            self._players[spec] = player
        return self._players[spec]

    def _think(self, player: Player, asked: Decisions) -> None:
        """The thread of a search. Whatever happens, its outcome is told, or all would wait."""
        if self._search is None:  # the engine has ended, and closed the player
            return
        result: Choices | RingriftError | None = None
        try:
            result = player.choose(asked)
        except RingriftError as error:
            result = error
        finally:
            self._events.put(_Outcome(result))

    def _finish(self, result: Choices | RingriftError | None) -> None:
        search, self._search = self._search, None
        if search is not None and search.thread is not None:
            search.thread.join()  # the traceback of a defect is to stand there before the answer
        try:
            if result is None:
                raise PlayerError(f"Player {self._spec!r} broke down: its stderr says where.")
            if isinstance(result, RingriftError):
                raise result
            move = self._here().position.move(int(result.actions[0]))
        except RingriftError as error:
            self._complain(error)
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
