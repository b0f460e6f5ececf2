"""The lines of the engine protocol (docs/protocol.md), as both of its sides read and write them.

Everything here turns text into values or values into text. `NotationError` is a line that means
nothing; whether it fits the moment is for the two sides to know.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from ringrift_cli.errors import NotationError, UsageError
from ringrift_cli.game.position import Position
from ringrift_cli.game.topology import board_named, check_pie, check_players

SEPARATOR = " | "  # between moves: none has a |, while spaces, commas and semicolons occur in them
LONGEST_LINE = 1 << 20  # bytes; a long game on the largest board takes about a tenth
LONGEST_STATE = 1 << 16  # characters
LONGEST_MOVE = 1 << 13  # characters
LONGEST_QUOTE = 120
LONGEST_SENTENCE = 500
SUM_TOLERANCE = 0.02  # by how much rounded chances may miss 1

_WHOLE = re.compile(r"[0-9]{1,9}")
_CHANCE = re.compile(r"[01](\.[0-9]{0,17})?|[0-9](\.[0-9]{1,17})?e-[0-9]{1,3}")


# ---- lines --------------------------------------------------------------------------------------


class LineSplitter:
    """Bytes as they come, to lines. A line that is too long is cut behind `LONGEST_LINE` bytes."""

    def __init__(self) -> None:
        self._part = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that these bytes complete, without their ends."""
        *pieces, last = data.split(b"\n")
        lines = []
        for piece in pieces:
            self._add(piece)
            lines.append(self.rest())
            self._part.clear()
        self._add(last)
        return lines

    def rest(self) -> bytes:
        """What has come of the line that is not complete."""
        return bytes(self._part)

    def _add(self, piece: bytes) -> None:
        self._part += piece[: LONGEST_LINE + 1 - len(self._part)]


def decode(line: bytes) -> str:
    """The text of a line; `NotationError` if it is too long, or no text."""
    if len(line) > LONGEST_LINE:
        raise NotationError(f"A line has at most {LONGEST_LINE} bytes.")
    text = line.decode("utf-8", "backslashreplace").replace("\t", " ").strip(" \r")
    if not text.isprintable():
        raise NotationError(f"{quoted(text)} is no line of text.")
    return text


def quoted(text: str) -> str:
    """The text as an error shows it: in quotes, on one line, its middle left out if it is long."""
    if len(text) > LONGEST_QUOTE:
        text = f"{text[: LONGEST_QUOTE // 2]} … {text[-LONGEST_QUOTE // 2 :]}"
    return repr(text)


def one_line(sentence: str) -> str:
    """A sentence that may quote anything, fit to stand on a line of the protocol."""
    printable = "".join(c if c.isprintable() else " " for c in sentence)
    text = " ".join(printable.split())
    return text if len(text) <= LONGEST_SENTENCE else f"{text[:LONGEST_SENTENCE]} …"


# ---- to the engine ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Game:
    """What `newgame` says."""

    board: str
    players: int
    pie_rule: bool = False

    def __str__(self) -> str:
        pie = "on" if self.pie_rule else "off"
        return f"newgame board {self.board} players {self.players} pie {pie}"


@dataclass(frozen=True)
class Limits:
    """What `go` says: at most so many simulations, at most so many milliseconds; None: no word."""

    sims: int | None = None
    movetime: int | None = None


@dataclass(frozen=True)
class Place:
    """What `position` says: moves from the start, or from a saved position."""

    state: dict[str, Any] | None
    moves: tuple[str, ...]


def parse_game(text: str) -> Game:
    """Reads what follows `newgame`; `UsageError` for a game that there is not."""
    given = _pairs("newgame", text, ("board", "players", "pie"))
    for name in ("board", "players"):
        if name not in given:
            raise NotationError(f"newgame says no {name}: expected board NAME players N.")
    pie = given.get("pie", "off")
    if pie not in ("on", "off"):
        raise NotationError(f"newgame: pie is {quoted(pie)}, expected on or off.")
    players = check_players(_whole("newgame", "players", given["players"]))
    return Game(board_named(given["board"]).name, players, check_pie(players, pie == "on"))


def parse_limits(text: str) -> Limits:
    """Reads what follows `go`."""
    given = _pairs("go", text, ("sims", "movetime"))
    numbers = {name: _whole("go", name, value) for name, value in given.items()}
    return Limits(numbers.get("sims"), numbers.get("movetime"))


def parse_place(text: str) -> Place:
    """Reads what follows `position`."""
    word, _, rest = text.partition(" ")
    state = None
    if word == "state":
        state, rest = _leading_json(rest.lstrip())
    elif word != "start":
        raise NotationError(f"position is {quoted(word)}, expected start or state.")
    word, _, moves = rest.strip().partition(" ")
    if word not in ("", "moves"):
        raise NotationError(f"position: {quoted(word)} stands where moves was expected.")
    return Place(state, split_moves(moves))


def place_line(place: Place) -> str:
    """The line `position …`."""
    start = "start" if place.state is None else "state " + json.dumps(place.state)
    moves = f" moves {SEPARATOR.join(place.moves)}" if place.moves else ""
    return f"position {start}{moves}"


def split_moves(text: str) -> tuple[str, ...]:
    """The moves of a list."""
    if not text.strip():
        return ()
    moves = tuple(" ".join(move.split()) for move in text.split("|"))
    for number, move in enumerate(moves):
        if not 0 < len(move) <= LONGEST_MOVE:
            what = "too long" if move else "empty"
            raise NotationError(f"Move {number + 1} of {len(moves)} is {what}.")
    return moves


def parse_option(text: str) -> tuple[str, str]:
    """Name and value from what follows `setoption`."""
    name, value = _named(text, "value")
    if name is None:
        raise NotationError("setoption: expected name NAME value VALUE.")
    return name, value


def _named(text: str, end: str) -> tuple[str | None, str]:
    """The words between `name` and the word `end`, and those behind; None if there are none."""
    first, *words = text.split() or [""]
    if first != "name" or end not in words[1:]:
        return None, ""
    at = words.index(end, 1)
    return " ".join(words[:at]), " ".join(words[at + 1 :])


def _pairs(command: str, text: str, known: Iterable[str]) -> dict[str, str]:
    """Words in pairs of name and value."""
    words = text.split()
    given: dict[str, str] = {}
    for name, value in zip(words[::2], [*words[1::2], ""], strict=False):
        if name not in known or name in given:
            expected = "" if name in given else f", expected one of {', '.join(known)}"
            again = " again" if name in given else ""
            raise NotationError(f"{command} says {quoted(name)}{again}{expected}.")
        if not value:
            raise NotationError(f"{command} says {name} without a value.")
        given[name] = value
    return given


def _whole(command: str, name: str, text: str) -> int:
    if not _WHOLE.fullmatch(text) or int(text) == 0:
        raise NotationError(
            f"{command}: {name} is {quoted(text)}, expected a whole number from 1 to 999999999."
        )
    return int(text)


def _leading_json(text: str) -> tuple[dict[str, Any], str]:
    """The JSON object that a text begins with, and what follows it."""
    try:
        document, end = json.JSONDecoder().raw_decode(text[:LONGEST_STATE])
    except (ValueError, RecursionError) as error:
        raise NotationError(f"{quoted(text)} does not begin with a saved position.") from error
    if not isinstance(document, dict):
        raise NotationError(f"{quoted(text[:end])} is no saved position.")
    return document, text[end:]


# ---- the course of a game -----------------------------------------------------------------------


@dataclass(frozen=True)
class Course:
    """A position, and the moves that led there from the start or from a saved position."""

    game: Game
    state: dict[str, Any] | None
    position: Position
    moves: tuple[str, ...] = ()
    actions: tuple[int, ...] = ()

    @classmethod
    def begin(cls, game: Game, state: dict[str, Any] | None = None) -> Course:
        """No moves yet; `UsageError` if the saved position is one of another game."""
        if state is None:
            start = Position.initial(game.board, game.players, pie_rule=game.pie_rule)
            return cls(game, None, start)
        start = Position.from_json(state)
        if (start.board_name, start.players) != (game.board, game.players):
            raise UsageError(
                f"The position is one of {start.board_name} with {start.players} players, the "
                f"game one of {game.board} with {game.players}: send newgame first."
            )
        return cls(game, state, start)

    @property
    def pie_rule(self) -> bool:
        return self.game.pie_rule if self.state is None else self.state["pie_rule"] != "off"

    def play(self, move: str | int) -> Course:
        """One move further, given as text or as an action."""
        action = self.position.action(move) if isinstance(move, str) else move
        text = move if isinstance(move, str) else self.position.move(move)
        return replace(
            self,
            position=self.position.play(action),
            moves=(*self.moves, text),
            actions=(*self.actions, action),
        )

    def to(self, place: Place) -> Course:
        """The course to another place, from here on if it leads through here."""
        here = place.state == self.state and place.moves[: len(self.moves)] == self.moves
        course = self if here else Course.begin(self.game, place.state)
        for move in place.moves[len(course.moves) :]:
            course = course.play(move)
        return course


# ---- from the engine ----------------------------------------------------------------------------


@dataclass(frozen=True)
class BestMove:
    """What `bestmove` says; the values are each seat's chance to win, or None."""

    move: str
    values: tuple[float, ...] | None = None

    def __str__(self) -> str:
        if self.values is None:
            return f"bestmove {self.move}"
        return f"bestmove {self.move} value {' '.join(f'{chance:.4f}' for chance in self.values)}"


def parse_best_move(text: str, players: int) -> BestMove:
    """Reads what follows `bestmove`, whose move is only checked by the rules."""
    move, says_value, rest = f"{text} ".partition(" value ")
    if not move.strip():
        raise NotationError("bestmove names no move.")
    if not says_value:
        return BestMove(move.strip())
    words = rest.split()
    if len(words) != players or not all(_CHANCE.fullmatch(word) for word in words):
        raise NotationError(f"value is {quoted(rest.strip())}, expected {players} chances to win.")
    values = tuple(map(float, words))
    if max(values) > 1 or abs(sum(values) - 1) > SUM_TOLERANCE:
        raise NotationError(f"The chances {quoted(rest.strip())} do not add up to 1.")
    return BestMove(move.strip(), values)


def parse_offer(text: str) -> str:
    """The name of an option from what follows `option`."""
    name, kind = _named(text, "type")
    if name is None or not kind:
        raise NotationError("option: expected name NAME type TYPE default VALUE.")
    return name


def parse_identification(text: str) -> tuple[str, str]:
    """What an `id` line tells, as `name`, and its value."""
    word, _, value = text.partition(" ")
    if not word or not value.strip():
        raise NotationError("id: expected a word and a value, as name NAME.")
    return word, value.strip()
