"""Games in the browser: what a page shows of a session, and the commands that it sends."""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ringrift_cli.errors import UsageError
from ringrift_cli.game.drawing_svg import draw_content
from ringrift_cli.game.position import Position
from ringrift_cli.game.topology import board_named
from ringrift_cli.play.choices import MoveChoice, consequence, effects, narration, question
from ringrift_cli.play.help import explanation, heading, rules_summary, streak_warning
from ringrift_cli.play.lessons import Lesson
from ringrift_cli.play.session import Players, SavedGame, Session
from ringrift_cli.play.view import result_sentence, standings
from ringrift_cli.players.ladder import LEVELS, level_spec
from ringrift_cli.web.allowed import AllowedPlayers
from ringrift_cli.web.searches import SearchQueue

MAX_GAMES, MAX_GAMES_OF_CLIENT = 40, 8
LOG_LINES = 60
MOVE_S, HINT_S = 30.0, 15.0
ABOUT_ALL = 40  # choices whose consequences are sent at once


def drawings(position: Position, before: Position | None = None) -> dict[str, str]:
    """SVG by content of a cell, without those in the position `before`."""
    known = set(before.text.cells) if before is not None else set()
    contents = sorted(set(position.text.cells) - known - {""})
    return {text: draw_content(position.board_name, text) for text in contents}


def board_view(position: Position, before: Position | None = None) -> dict[str, Any]:
    """What a page draws of a position."""
    board, text = board_named(position.board_name), position.text
    return {
        "board": board.name,
        "text": str(text),
        "cells": text.cells,
        "drawings": drawings(position, before),
        "seat": position.seat,
        "phase": position.phase,
        "turn": position.turn,
        "over": position.is_over,
        "seats": [
            {"hand": hand, "eliminated": out, "territory": land}
            for hand, out, land in zip(text.hands, text.eliminated, position.territory, strict=True)
        ],
        "rings_to_win": board.elimination_threshold(position.players),
        "cells_to_win": board.territory_threshold(position.players),
    }


@dataclass(eq=False)
class WebGame:
    """A session with what belongs to its page."""

    session: Session
    client: str
    lesson: Lesson | None = None
    key: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    revision: int = 0  # counts commands, so that one ends a search that it made superfluous
    _log: list[str] = field(default_factory=list)

    def log(self) -> list[str]:
        """Sentences on the last decisions, oldest first."""
        session = self.session
        del self._log[len(session.moves) :]
        for ply in range(len(self._log), len(session.moves)):
            before, after = session.positions[ply : ply + 2]
            choice = MoveChoice(0, session.actions[ply], session.moves[ply])
            deed = narration(choice, effects(before, choice, after))
            self._log.append(f"{Players(session.seats(before)).subject(before.seat)} {deed}.")
        return self._log[-LOG_LINES:]

    def view(self, before: Position | None = None) -> dict[str, Any]:
        """The document for the page; drawings only of what was not in the position `before`."""
        session, position = self.session, self.session.position
        players, asked = Players(session.seats(position)), question(position)
        document: dict[str, Any] = {
            "game": self.key,
            "revision": self.revision,
            **board_view(position, before),
            "decisions": len(session.moves),
            "over": session.is_over,
            "persons_turn": session.persons_turn,
            "names": [players.name(seat) for seat in range(1, position.players + 1)],
            "persons": [seat.is_person for seat in session.seats(position)],
            "log": self.log(),
            "last": self._last_cells(),
            "rules": rules_summary(asked, position),
            "can_undo": session.resigned is not None or bool(session.moves),
        }
        if session.is_over:
            document["ending"] = self._ending(players)
        elif session.persons_turn:
            document["kind"] = asked.kind
            document["heading"] = heading(asked, players)
            document["explanation"] = explanation(asked)
            document["warning"] = streak_warning(asked, players)
            document["choices"] = [_choice(choice) for choice in asked.choices]
            if len(asked.choices) <= ABOUT_ALL:
                document["about"] = [self.about(choice.action) for choice in asked.choices]
        if self.lesson is not None:
            document["lesson"] = self._lesson(self.lesson)
        return document

    def about(self, action: int) -> str:
        """The effects of a legal action."""
        position = self.session.position
        choice = MoveChoice(0, action, position.move(action))
        return consequence(choice, effects(position, choice, position.play(choice.action)))

    def _last_cells(self) -> list[str]:
        """Cells of the last decision of each seat in the last round."""
        session, cells = self.session, list[str]()
        for ply in range(len(session.moves) - 1, -1, -1):
            before = session.positions[ply]
            if session.position.turn - before.turn >= session.setup.players:
                break
            choice = MoveChoice(0, 0, session.moves[ply])
            cells += [cell for cell in (choice.start, choice.end) if cell is not None]
        return cells

    def _ending(self, players: Players) -> list[str]:
        session, position = self.session, self.session.position
        result = position.result()
        if result is not None:
            sentence = result_sentence(position, result, players, question(position))
            return [sentence, *(line.strip() for line in standings(position, result, players))]
        winner = session.winner
        end = f"{players.subject(winner)} won." if winner else "The game stops without a winner."
        return [f"{players.subject(session.resigned or 1)} resigned. {end}"]

    def _lesson(self, lesson: Lesson) -> dict[str, Any]:
        moves = self.session.moves
        known = {name: getattr(lesson, name) for name in ("title", "rule", "task", "praise")}
        return {
            **known,
            "solved": moves[:1] != [] and moves[0] in lesson.find,
            "tried": moves != [],
        }


def _choice(choice: MoveChoice) -> dict[str, Any]:
    names = ("action", "text", "kind", "cells", "start", "end", "target", "rings")
    return {name: getattr(choice, name) for name in names}


class Games:
    """The games of all clients; the least recently used are dropped."""

    def __init__(self, allowed: AllowedPlayers, searches: SearchQueue) -> None:
        self._allowed, self._searches = allowed, searches
        self._games: OrderedDict[str, WebGame] = OrderedDict()

    def find(self, key: str) -> WebGame:
        """The game of a key; `UsageError` if it was dropped."""
        if key not in self._games:
            raise UsageError("The server does not hold this game any more.", hint="load it again")
        self._games.move_to_end(key)
        return self._games[key]

    def seated(self, setup: SavedGame, names: Sequence[str]) -> SavedGame:
        """The setup with the occupants that a browser named; `UsageError` if not allowed."""
        seats = tuple(self._allowed.seat(name, setup.board, setup.players) for name in names)
        return msgspec.structs.replace(setup, seats=seats)

    def make(self, client: str, saved: SavedGame, lesson: Lesson | None = None) -> WebGame:
        """A game, whose occupants must be allowed; may take long."""
        self._allowed.check_seats(saved.seats, saved.board, saved.players)
        session = Session(
            saved, lambda spec: self._allowed.player(spec, saved.board, saved.players)
        )
        return WebGame(session, client, lesson)

    def add(self, game: WebGame) -> WebGame:
        """Holds a game, and drops others for it."""
        own = [key for key, other in self._games.items() if other.client == game.client]
        for key in own[: len(own) + 1 - MAX_GAMES_OF_CLIENT]:
            del self._games[key]
        while len(self._games) >= MAX_GAMES:
            self._games.popitem(last=False)
        self._games[game.key] = game
        return game

    # ---- commands --------------------------------------------------------------------------------

    async def command(self, game: WebGame, client: str, name: str, action: int) -> dict[str, Any]:
        """Carries out a command; its answer, mostly the new view."""
        session = game.session
        if name in ("about", "hint", "answer"):
            return await self._ask(game, client, name, action)
        game.revision += 1  # before the lock: a search ends soon and gives it up
        async with game.lock:
            before = session.position
            match name:
                case "move":
                    if not session.persons_turn:
                        raise UsageError("It is not a person's turn.")
                    session.play(action)
                case "undo":
                    session.undo()
                case "redo":
                    session.redo()
                case "resign":
                    if not session.persons_turn:
                        raise UsageError("Only who is to move can resign.")
                    session.resign()
                case _:
                    raise UsageError(f"There is no command {name[:20]!r}.")
            return game.view(before if name == "move" else None)

    async def _ask(self, game: WebGame, client: str, name: str, action: int) -> dict[str, Any]:
        session = game.session
        if name == "about":
            return {"about": game.about(action)}
        async with game.lock:
            if session.is_over or session.persons_turn == (name == "answer"):
                return game.view()
            board, players, revision = session.setup.board, session.setup.players, game.revision
            adviser = session.mover(session.position)
            if name == "hint":
                adviser = msgspec.structs.replace(
                    adviser, spec=level_spec(LEVELS[-1], board, players)
                )

            choices = await self._searches.run(
                client,
                lambda stop: session.advice(adviser, lambda: stop() or game.revision != revision),
                HINT_S if name == "hint" else MOVE_S,
            )
            if game.revision != revision:  # the page has gone on
                return game.view()
            action = int(choices.actions[0])
            if name == "hint":
                values = None if choices.values is None else choices.values[0].tolist()
                return {"action": action, "about": game.about(action), "values": values}
            before = session.position
            session.play(action)
            return game.view(before)
