"""What `ringrift play` shows: every choice by its cells, and boards that fit into a terminal."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import pytest

from ringrift_cli.game.position import Position
from ringrift_cli.game.record import GameRecord
from ringrift_cli.game.result import Result
from ringrift_cli.game.topology import BOARD_NAMES
from ringrift_cli.play.choices import AREAS, marks, question
from ringrift_cli.play.prompt import SHORT_LIST, MovePrompt
from ringrift_cli.play.record_view import RecordView
from ringrift_cli.play.screen import Screen
from ringrift_cli.play.session import SavedGame, Seat, Session
from ringrift_cli.play.view import GameView
from ringrift_cli.players.player import Player
from tests.walks import CONFIGURATIONS, Walk

pytestmark = pytest.mark.usefixtures("compiled_rules")


class Sized(Screen):
    """A terminal of a size, whose output can be read."""

    def __init__(self, columns: int, rows: int) -> None:
        self.text = io.StringIO()
        super().__init__(self.text, colour=False)
        self._size = columns, rows

    @property
    def columns(self) -> int:
        return self._size[0]

    @property
    def rows(self) -> int | None:
        return self._size[1]

    @property
    def width(self) -> int:
        return self._size[0] - 1

    def shown(self) -> list[str]:
        lines = self.text.getvalue().splitlines()
        self.text.seek(0)
        self.text.truncate()
        return lines


class Stepping(Sized):
    """One that steps to the last decision, and notes how many lines each step wrote."""

    def __init__(self, columns: int, rows: int) -> None:
        super().__init__(columns, rows)
        self.heights: list[int] = []
        self._before = 0

    def ask_ply(self, ply: int, last: int) -> int | None:
        self.heights.append(self.written - self._before - 1)  # without the line above, and input
        self._before = self.written
        return None if ply == last else last


def moments(board: str, players: int, step: int) -> list[Session]:
    """Sessions of people at every `step`-th decision of a random game."""
    walk = Walk(board, players, 3)
    pie = players == 2
    session = Session(SavedGame(board, (Seat(),) * players, 1, pie), _nobody)
    found = []
    for ply, (_, action, _) in enumerate(walk.steps()):
        if ply % step == 0:
            saved = SavedGame(board, (Seat(),) * players, 1, pie, tuple(session.actions))
            found.append(Session(saved, _nobody))
        session.play(action)
    return found


def _nobody(spec: str) -> Player:
    raise AssertionError(spec)


@pytest.mark.parametrize(("board", "players"), CONFIGURATIONS)
def test_every_choice_names_its_cells(board: str, players: int) -> None:
    for session in moments(board, players, 23 if board.endswith("8") else 120):
        screen = Sized(80, 24)
        view = GameView(session, screen)
        choices = question(session.position).choices
        seen = set()
        for choice in choices[:: max(1, len(choices) // 40)]:
            view.option("1", choice)
            text = re.sub(r"\s+", " ", " ".join(screen.shown()))
            cells = choice.cells[:9] if choice.kind in AREAS else choice.cells
            assert all(cell in text for cell in cells), (choice.text, text)
            assert text not in seen
            seen.add(text)


@pytest.mark.parametrize("board", BOARD_NAMES)
def test_boards_fit_and_a_low_terminal_is_told(board: str) -> None:
    for session in moments(board, 2, 29 if board.endswith("8") else 150):
        screen = Sized(80, 24)
        view = GameView(session, screen)
        prompt = MovePrompt(view, brief=False)
        prompt.show()
        lines = screen.shown()
        assert max(map(len, lines)) <= 80
        text = re.sub(r"\s+", " ", " ".join(lines))
        marked = (
            "*" in marks(session.position, {c.number: c for c in prompt.question.choices}).values()
        )
        assert ("(marked *)" in text) <= marked
        top = screen.written - len(lines)
        assert top == 0
        rows = len(lines) - prompt._top + 1  # noqa: SLF001
        assert rows <= 24 or "rows, and this terminal has 24" in text, rows
        prompt.show()
        assert "this terminal has" not in " ".join(screen.shown())  # once


def test_marks_that_are_announced_are_drawn() -> None:
    """Also where one stack alone can move, whose targets have signs instead."""
    found = 0
    for seed in range(40):
        walk = list(Walk("hex8", 2, seed).steps(70))
        actions: list[int] = []
        for before, action, _ in walk:
            asked = question(before)
            signs = marks(before, {choice.number: choice for choice in asked.choices}).values()
            if len(asked.choices) > SHORT_LIST and signs and "*" not in signs:
                session = Session(SavedGame("hex8", (Seat(), Seat()), 1, True), _nobody)
                for earlier in actions:
                    session.play(earlier)
                screen = Sized(80, 60)
                MovePrompt(GameView(session, screen), brief=False).show()
                text = re.sub(r"\s+", " ", " ".join(screen.shown()))
                assert "(marked *)" not in text
                assert "or the sign before it. `moves` lists all" in text
                found += 1
            actions.append(action)
    assert found > 0


@pytest.mark.parametrize("board", BOARD_NAMES)
def test_replay_and_result_fit_or_say_what_they_need(board: str) -> None:
    walk = Walk(board, 2, 3)
    session = Session(SavedGame(board, (Seat(), Seat()), 1, True), _nobody)
    for _, action, _ in walk.steps(60 if board.endswith("8") else 150):
        session.play(action)
    session.resign()
    record = GameRecord(board, 2, True, tuple(session.actions), Result(1, "resigned", ()))
    shows: list[Callable[[Screen], None]] = [
        lambda screen: GameView(session, screen).result(),
        lambda screen: GameView(session, screen).replay(),
        lambda screen: RecordView(record, "Resigned.").step_through(screen),
    ]
    for show in shows:
        screen = Stepping(80, 24)
        show(screen)
        lines = screen.text.getvalue().splitlines()
        assert max(map(len, lines)) <= 80
        said = re.sub(r"\s+", " ", screen.text.getvalue()).count("rows, and this terminal has 24")
        highest = max(screen.heights or [len(lines) - 1])
        assert said == (highest > 24), highest
        if board.endswith("8"):
            assert said == 0


def test_every_region_is_marked() -> None:
    """Also one that is most of the board."""
    regions = 0
    for seed in range(12):
        for before, _, _ in Walk("hex8", 2, seed).steps():
            asked = question(before)
            areas = {choice.number: choice for choice in asked.choices if choice.kind in AREAS}
            if areas:
                shown = marks(before, areas)
                assert set(shown) == {cell for choice in areas.values() for cell in choice.cells}
                regions += 1
    assert regions > 10


def test_a_compact_board_shows_every_cell() -> None:
    for board, players in CONFIGURATIONS:
        walk = Walk(board, players, 5)
        _check_compact(list(walk.steps(80))[-1][2])


def _check_compact(position: Position) -> None:
    from ringrift_cli.game.drawing_text import draw_parts

    grid = "".join(draw_parts(position.text, width=30).grid)
    cells = position.text.cells
    for seat in range(1, position.players + 1):
        letter = "ABCD"[seat - 1]
        assert grid.count(letter) == sum(c[:1] == "s" and c[-1] == str(seat) for c in cells)
        assert grid.count(letter.lower()) == cells.count(f"m{seat}")
        assert grid.count("#%&="[seat - 1]) == cells.count(f"c{seat}")
    assert grid.count(".") == cells.count("")


def test_undo_and_redo_are_inverse_and_a_new_game_begins_anew() -> None:
    session = Session(SavedGame("hex8", (Seat(), Seat()), 1), _nobody)
    for _, action, _ in Walk("hex8", 2, 2).steps(9):
        session.play(action)
    session.resign()
    states = [(tuple(session.actions), session.resigned)]
    while session.undo():
        states.append((tuple(session.actions), session.resigned))
    assert len(states) == 11
    for state in states[-2::-1]:
        assert session.redo() == 1
        assert (tuple(session.actions), session.resigned) == state
    assert session.redo() == 0
    session.undo()
    session.undo()
    session.play(int(session.position.legal_actions()[0]))
    assert session.redo() == 0  # another course has begun
    session.restart(7)
    assert (session.setup.seed, session.actions, session.resigned) == (7, [], None)
    assert session.position == Position.initial("hex8")
    assert session.undo() == session.redo() == 0
