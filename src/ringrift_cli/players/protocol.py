"""Parsing and formatting of the lines of the engine protocol (docs/protocol.md), for both sides.

`NotationError` for malformed lines; the two sides check whether a line is valid in their state.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from ringrift_cli.errors import IllegalMove, NotationError, RulesMismatch, UsageError
from ringrift_cli.game import layout as L
from ringrift_cli.game.position import Position
from ringrift_cli.game.topology import board_named, check_pie, check_players

SEPARATOR = " | "  # between moves, which contain spaces, commas and semicolons but no |
MAX_LINE = 1 << 20  # bytes; a long game on the largest board takes about a tenth
MAX_STATE = 1 << 16  # characters
MAX_MOVE = 1 << 13  # characters
MAX_QUOTE = 120
MAX_SENTENCE = 500
SUM_TOLERANCE = 0.02  # deviation of the sum of rounded win probabilities from 1

_WHOLE = re.compile(r"[0-9]{1,9}")
_PROBABILITY = re.compile(r"\+?(?=\.?[0-9])[0-9]{0,17}(\.[0-9]{0,30})?([eE][-+]?[0-9]{1,3})?")
_ANSWER = re.compile(r"(?:^| )(value|ponder)(?: |$)")  # between the parts of bestmove


# ---- lines --------------------------------------------------------------------------------------


class LineSplitter:
    """Splits a byte stream into lines; lines are truncated to `MAX_LINE` + 1 bytes."""

    def __init__(self) -> None:
        self._part = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The lines completed by `data`, without newlines."""
        *pieces, last = data.split(b"\n")
        lines = []
        for piece in pieces:
            self._add(piece)
            lines.append(self.rest())
            self._part.clear()
        self._add(last)
        return lines

    def rest(self) -> bytes:
        """The incomplete last line."""
        return bytes(self._part)

    def _add(self, piece: bytes) -> None:
        self._part += piece[: MAX_LINE + 1 - len(self._part)]


def decode(line: bytes) -> str:
    """The text of a line; `NotationError` if it is too long or not printable."""
    if len(line) > MAX_LINE:
        raise NotationError(f"A line has at most {MAX_LINE} bytes.")
    text = line.decode("utf-8", "backslashreplace").replace("\t", " ").strip(" \r")
    if not text.isprintable():
        raise NotationError(f"{quoted(text)} is not printable text.")
    return text


def quoted(text: str) -> str:
    """The text in quotes for an error message; the middle of a long one is omitted."""
    if len(text) > MAX_QUOTE:
        text = f"{text[: MAX_QUOTE // 2]} … {text[-MAX_QUOTE // 2 :]}"
    return repr(text)


def one_line(sentence: str) -> str:
    """A message as one printable line, truncated to `MAX_SENTENCE`."""
    printable = "".join(c if c.isprintable() else " " for c in sentence)
    text = " ".join(printable.split())
    return text if len(text) <= MAX_SENTENCE else f"{text[:MAX_SENTENCE]} …"


# ---- to the engine ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Game:
    """Arguments of `newgame`."""

    board: str
    players: int
    pie_rule: bool = False

    def __str__(self) -> str:
        pie = "on" if self.pie_rule else "off"
        return f"newgame board {self.board} players {self.players} pie {pie}"


@dataclass(frozen=True)
class Limits:
    """Arguments of `go`: maximum simulations and milliseconds; None without limit."""

    sims: int | None = None
    movetime: int | None = None

    def __str__(self) -> str:
        given = (("sims", self.sims), ("movetime", self.movetime))
        return " ".join(["go", *(f"{name} {number}" for name, number in given if number)])


@dataclass(frozen=True)
class Place:
    """Arguments of `position`: moves from the start, or from a saved position."""

    state: dict[str, Any] | None
    moves: tuple[str, ...]


def parse_game(text: str) -> Game:
    """Parses the arguments of `newgame`; `UsageError` for an unsupported game."""
    given = _pairs("newgame", text, ("board", "players", "pie"))
    for name in ("board", "players"):
        if name not in given:
            raise NotationError(f"newgame has no {name}: expected board NAME players N.")
    pie = given.get("pie", "off")
    if pie not in ("on", "off"):
        raise NotationError(f"newgame: pie is {quoted(pie)}, expected on or off.")
    players = check_players(_whole("newgame", "players", given["players"]))
    return Game(board_named(given["board"]).name, players, check_pie(players, pie == "on"))


def parse_limits(text: str) -> Limits:
    """Parses the arguments of `go`."""
    given = _pairs("go", text, ("sims", "movetime"))
    numbers = {name: _whole("go", name, value) for name, value in given.items()}
    return Limits(numbers.get("sims"), numbers.get("movetime"))


def parse_place(text: str) -> Place:
    """Parses the arguments of `position`."""
    word, _, rest = text.partition(" ")
    state = None
    if word == "state":
        state, rest = _leading_json(rest.lstrip())
    elif word != "start":
        raise NotationError(f"position is {quoted(word)}, expected start or state.")
    word, _, moves = rest.strip().partition(" ")
    if word not in ("", "moves"):
        raise NotationError(f"position: found {quoted(word)}, expected moves.")
    return Place(state, split_moves(moves))


def place_line(place: Place) -> str:
    """Formats a `position` line."""
    start = "start" if place.state is None else "state " + json.dumps(place.state)
    moves = f" moves {SEPARATOR.join(place.moves)}" if place.moves else ""
    return f"position {start}{moves}"


def split_moves(text: str) -> tuple[str, ...]:
    """Splits a list of moves."""
    if not text.strip():
        return ()
    moves = tuple(" ".join(move.split()) for move in text.split("|"))
    for number, move in enumerate(moves):
        if not 0 < len(move) <= MAX_MOVE:
            what = "too long" if move else "empty"
            raise NotationError(f"Move {number + 1} of {len(moves)} is {what}.")
    return moves


def parse_option(text: str) -> tuple[str, str]:
    """Parses name and value of `setoption`."""
    name, value = _named(text, "value")
    if name is None:
        raise NotationError("setoption: expected name NAME value VALUE.")
    return name, value


def _named(text: str, end: str) -> tuple[str | None, str]:
    """The words between `name` and the word `end`, and those after; None if absent."""
    first, *words = text.split() or [""]
    if first != "name" or end not in words[1:]:
        return None, ""
    at = words.index(end, 1)
    return " ".join(words[:at]), " ".join(words[at + 1 :])


def _pairs(command: str, text: str, known: Iterable[str]) -> dict[str, str]:
    """Parses alternating names and values."""
    words = text.split()
    given: dict[str, str] = {}
    for name, value in zip(words[::2], [*words[1::2], ""], strict=False):
        if name not in known or name in given:
            expected = "" if name in given else f", expected one of {', '.join(known)}"
            again = " again" if name in given else ""
            raise NotationError(f"{command}: found {quoted(name)}{again}{expected}.")
        if not value:
            raise NotationError(f"{command}: {name} has no value.")
        given[name] = value
    return given


def _whole(command: str, name: str, text: str) -> int:
    if not _WHOLE.fullmatch(text) or int(text) == 0:
        raise NotationError(
            f"{command}: {name} is {quoted(text)}, expected a whole number from 1 to 999999999."
        )
    return int(text)


def _leading_json(text: str) -> tuple[dict[str, Any], str]:
    """The JSON object at the start of a text, and the rest."""
    try:
        document, end = json.JSONDecoder().raw_decode(text[:MAX_STATE])
    except (ValueError, RecursionError) as error:
        raise NotationError(f"{quoted(text)} does not begin with a saved position.") from error
    if not isinstance(document, dict):
        raise NotationError(f"{quoted(text[:end])} is not a saved position.")
    return document, text[end:]


# ---- course of a game ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Course:
    """A position with the moves that led to it from the start or from a saved position."""

    game: Game
    state: dict[str, Any] | None
    position: Position
    moves: tuple[str, ...] = ()
    actions: tuple[int, ...] = ()

    @classmethod
    def begin(cls, game: Game, state: dict[str, Any] | None = None) -> Course:
        """A course without moves.

        `UsageError` if the saved position is of another game, `RulesMismatch` if of earlier rules.
        """
        if state is None:
            start = Position.initial(game.board, game.players, pie_rule=game.pie_rule)
            return cls(game, None, start)
        start = Position.from_json(state)
        if (start.board_name, start.players) != (game.board, game.players):
            raise UsageError(
                f"The position is one of {start.board_name} with {start.players} players, the "
                f"game one of {game.board} with {game.players}: send newgame first."
            )
        if start.rules != L.RULES:
            raise RulesMismatch(
                f"The position is of version {start.rules} of the rules, players play version"
                f" {L.RULES}."
            )
        return cls(game, state, start)

    @property
    def pie_rule(self) -> bool:
        return self.game.pie_rule if self.state is None else self.state["pie_rule"] != "off"

    def play(self, move: str | int) -> Course:
        """Appends a move, given as text or action."""
        action = action_of(self.position, move) if isinstance(move, str) else move
        text = move if isinstance(move, str) else self.position.move(move)
        return replace(
            self,
            position=self.position.play(action),
            moves=(*self.moves, text),
            actions=(*self.actions, action),
        )

    def to(self, place: Place) -> Course:
        """The course to another place; continues this one if it is a prefix."""
        here = place.state == self.state and place.moves[: len(self.moves)] == self.moves
        course = self if here else Course.begin(self.game, place.state)
        for move in place.moves[len(course.moves) :]:
            course = course.play(move)
        return course


# ---- from the engine ----------------------------------------------------------------------------


@dataclass(frozen=True)
class BestMove:
    """Arguments of `bestmove`; `values` are win probabilities by seat, or None."""

    move: str
    values: tuple[float, ...] | None = None

    def __str__(self) -> str:
        if self.values is None:
            return f"bestmove {self.move}"
        return f"bestmove {self.move} value {' '.join(f'{value:.4f}' for value in self.values)}"


def parse_best_move(text: str, players: int) -> BestMove:
    """Parses the arguments of `bestmove`; the move itself is not validated.

    `ponder MOVE`, known from UCI, is ignored.
    """
    move, *parts = _ANSWER.split(text)
    if not move.strip():
        raise NotationError("bestmove has no move.")
    given = dict(zip(parts[::2], parts[1::2], strict=True))
    if "value" not in given:
        return BestMove(move.strip())
    rest = given["value"]
    words = rest.split()
    if len(words) != players or not all(_PROBABILITY.fullmatch(word) for word in words):
        raise NotationError(
            f"value is {quoted(rest.strip())}, expected {players} win probabilities."
        )
    values = tuple(map(float, words))
    if max(values) > 1 or abs(sum(values) - 1) > SUM_TOLERANCE:
        raise NotationError(f"The win probabilities {quoted(rest.strip())} do not add up to 1.")
    return BestMove(move.strip(), values)


def action_of(position: Position, move: str) -> int:
    """The action of a move, in which the cells of a line or region may have any order.

    `NotationError` or `IllegalMove` as `Position.action`.
    """

    def sorted_cells(text: str) -> list[list[str]]:
        return [sorted(word.split(";")) for word in text.split()]

    try:
        return position.action(move)
    except (NotationError, IllegalMove):
        wanted = sorted_cells(move)
        if wanted[:1] not in ([["region"]], [["line"]]):
            raise
        same = [legal for legal in position.legal_moves() if sorted_cells(legal) == wanted]
        if len(same) != 1:
            raise
        return position.action(same[0])


def parse_offer(text: str) -> str:
    """Parses the name of an `option` line."""
    name, kind = _named(text, "type")
    if name is None or not kind:
        raise NotationError("option: expected name NAME type TYPE default VALUE.")
    return name


def parse_identification(text: str) -> tuple[str, str]:
    """Parses key and value of an `id` line."""
    word, _, value = text.partition(" ")
    if not word or not value.strip():
        raise NotationError("id: expected a key and a value, such as name NAME.")
    return word, value.strip()
