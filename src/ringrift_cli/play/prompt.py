"""Prompt for one decision: display and input.

An input line is a number, a move text, a skip, or a sequence of cells that narrows the choices.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Sequence

from ringrift_cli.errors import IllegalMove
from ringrift_cli.game.drawing_text import LETTERS
from ringrift_cli.game.notation import GLOBAL_NAMES
from ringrift_cli.game.parsing import SHAPES
from ringrift_cli.game.topology import board_named
from ringrift_cli.play.choices import (
    MoveChoice,
    Selection,
    cell_index,
    content,
    marks,
    question,
    shared_start,
    sign_of,
)
from ringrift_cli.play.help import COMMANDS, explanation, heading, refusal, streak_warning
from ringrift_cli.play.screen import shortened
from ringrift_cli.play.view import GameView
from ringrift_cli.text import listed

SHORT_LIST = 12  # maximum choices listed without `moves`
PAGE = 20
FEWEST, FOOT = 3, 3  # choices listed in the lowest terminal; lines below the choices
SHORT_REST = 5  # maximum choices appended to a page instead of a new one
MAX_RINGS = 3  # of a placement
MAX_DIGITS = 9  # of an input number
CELL = re.compile(r"\(?(-?\d{1,3}),(-?\d{1,3})\)?", re.ASCII)
SKIP_WORDS = ("skip", "pass", "no", "stop", "decline")
MOVE_WORDS = {*SHAPES, *GLOBAL_NAMES}  # first words of move texts


class MovePrompt:
    """The question in the current position, and the current selection."""

    def __init__(self, view: GameView, *, brief: bool) -> None:
        self._view = view
        self._screen = view.screen
        self._position = view.session.position
        self.brief = brief
        self.question = question(self._position)
        self._every = Selection(self.question.choices, self.question.choices)
        self._narrow(self._every)
        self._top = 0  # lines written before the board
        # Choice that Enter confirms, since it was not on the screen
        self.offered: MoveChoice | None = None

    def _narrow(self, selection: Selection) -> None:
        self._selection, self._listed = selection, 0  # `_listed`: choices shown so far

    @property
    def prompt(self) -> str:
        return " ".join([LETTERS[self.question.seat - 1], *self._selection.path]) + " > "

    def by_action(self, action: int) -> MoveChoice:
        return next(choice for choice in self.question.choices if choice.action == action)

    def _signs(self) -> dict[int, str]:
        """Signs on the board that identify single choices, by number."""
        labels = self._selection.labels
        shown = {*marks(self._position, labels).values()} - {"*"}
        return {number: sign_of(number) for number in labels if sign_of(number) in shown}

    # ---- display ---------------------------------------------------------------------------------

    def show(self) -> None:
        """Shows the board, the question and the remaining choices."""
        screen, path = self._screen, self._selection.path
        signs = marks(self._position, self._selection.labels)
        low = screen.is_low
        screen.rule()
        if low and not path and not self.brief:  # board and choices stay on the screen
            screen.paragraph(explanation(self.question))
        self._top = screen.written
        self._view.draw(
            self._position,
            {**self._view.last_signs(), **signs},
            only_grid=bool(path),
            legend=not self.brief and not low,
            tight=low,
        )
        if not low:
            screen.write()
        screen.heading(heading(self.question, self._view.players()))
        if path:
            screen.write(f"At {' '.join(path)} (`back` to choose another cell):")
        else:
            if not self.brief and not low:
                screen.paragraph(explanation(self.question))
            warning = streak_warning(self.question, self._view.players())
            if warning:
                screen.paragraph(warning)
        self._tell_size()
        if len(self._selection.left) <= SHORT_LIST or path:
            self.list_more()
        else:
            self._summarise({*signs.values()})
        screen.faint("a cell, a number, a move; moves, hint, undo, rules, help, quit")

    def _room(self) -> int | None:
        """Rows left below what was shown, the input line not counted; None without a terminal."""
        rows = self._screen.rows
        return None if rows is None else rows - (self._screen.written - self._top) - FOOT

    def _tell_size(self) -> None:
        """Tells once which size of the terminal the board needs, if this one is too low."""
        room, rows = self._room(), self._screen.rows
        if room is not None and rows is not None:
            needed = rows - room + FEWEST
            self._screen.tell_size(needed, "`board` shows the board again. Board and choices need")

    def _summarise(self, signs: set[str]) -> None:
        """Shows the input options, by the signs on the board, if there are too many to list."""
        marked, stack = "*" in signs, "Type the cell of the stack to move"
        if signs and not marked:
            stack = "One stack can move: type the cell that it is to move to, or the sign before it"
        where = "marked *" if marked else "nearly all can be chosen"
        what = {
            "place": f"Type the cell to place on, as 0,0: x, then y ({where}).",
            "move": stack
            + (" (marked *)." if marked else "." if signs else ", as 0,0: x, then y."),
        }.get(
            self.question.kind,
            "Type a cell that is marked, or the sign before it."
            if signs
            else "Type a cell, as 0,0: x, then y.",
        )
        every = f"{len(self.question.choices)} choices"
        kinds = Counter(choice.kind for choice in self.question.choices)
        if len(kinds) > 1:
            parts = (f"{count} {kind}" if count > 1 else kind for kind, count in kinds.items())
            every += f" ({', '.join(parts)})"
        self._screen.paragraph(f"{what} `moves` lists all {every}.")

    def list_more(self) -> None:
        """Shows the next page of the remaining choices."""
        entries = list(self._selection.labels.items())
        letters = {number: sign for number, sign in self._signs().items() if sign.isalpha()}
        rest = len(entries) - self._listed
        if not rest:
            self._screen.write("That was all; `moves` begins again.")
            return
        room = self._room() if not self._listed else None
        most = PAGE if room is None else min(PAGE, max(FEWEST, room))
        page = rest if rest <= (PAGE + SHORT_REST if most == PAGE else most) else most
        for number, choice in entries[self._listed : self._listed + page]:
            letter = f" {letters.get(number, ' ')}" if letters else ""
            self._view.option(f"{number:>4}{letter}", choice)
        self._listed += page
        if page < rest:
            self._screen.write(f"      {rest - page} more: Enter shows them")
        elif len(entries) == 1:
            self._screen.write("      the only choice: Enter takes it")

    def list_at(self, text: str) -> None:
        """Lists the choices at a cell, or without one all remaining choices."""
        if not text:
            self._listed = 0
            self.list_more()
            return
        cells = parse_cells(text)
        if cells is None or "," not in cells[-1]:
            self._screen.write(f"{shortened(text)} is not a cell: `moves 0,0` lists those at 0,0.")
            return
        selection = self._every
        for cell in cells:
            further = selection.at(cell)
            if further is None:
                self._refuse(cell)
                return
            selection = further
        self._narrow(selection)
        self.show()

    def back(self) -> None:
        """Clears the selected cells."""
        if not self._selection.path:
            self._screen.write("No cell is chosen. `undo` takes back your last decision.")
            return
        self._narrow(self._every)
        self.show()

    # ---- input -----------------------------------------------------------------------------------

    def answer(self, text: str) -> MoveChoice | None:
        """The choice of an input line; None, after a message, if it does not determine one.

        `NotationError` or `IllegalMove` for an invalid move text.
        """
        offered, self.offered = self.offered, None
        cells = parse_cells(text)
        word = text.lower().split(" ")[0]
        if not text:
            return offered or self._enter()
        if cells is not None:
            return self._follow(cells)
        for number, sign in self._signs().items():
            if text.upper() == sign:
                return self._selection.labels[number]
        if re.fullmatch(r"\d+", text, re.ASCII):
            return self._number(text)
        if text.lower() in SKIP_WORDS:
            skips = [choice for choice in self.question.choices if choice.kind.startswith("skip_")]
            if not skips:
                self._screen.write(
                    f"{word!r}: this cannot be skipped, one of the choices has to be taken."
                )
            return skips[0] if skips else None
        if word in MOVE_WORDS:
            return self.by_action(self._position.action(text.lower()))
        near = difflib.get_close_matches(word, [*COMMANDS, *MOVE_WORDS], 1, 0.7)
        guess = f"did you mean {near[0]}?" if near else "`help` shows what can be typed."
        self._screen.paragraph(
            f"{shortened(text)} is not a cell (as 0,0), a number, a move or a command; {guess}"
        )
        return None

    def _enter(self) -> MoveChoice | None:
        left = self._selection.left
        if 0 < self._listed < len(left):
            self.list_more()
        elif len(left) == 1:
            return left[0]
        else:
            self._screen.paragraph(
                "Type a cell, as 0,0, the number of a choice, or a command: `help` lists them, "
                "`hint` names a good move."
            )
        return None

    def _number(self, text: str, *, after_cell: bool = False) -> MoveChoice | None:
        """The choice of a number; one neither listed nor marked needs confirmation."""
        labels, path = self._selection.labels, self._selection.path
        number = int(text[:MAX_DIGITS])
        if number not in labels:
            if path and 1 <= number <= MAX_RINGS and self.question.kind == "place":
                self._position.action(f"place {path[-1]} {number}")  # raises with the reason
            here = f" at {path[-1]}" if path else ""
            numbers = listed([str(known) for known in labels], "or")
            if len(labels) > 3:
                numbers = f"{min(labels)} to {max(labels)}"
            self._screen.write(f"There is no choice {number}{here}: choose {numbers}.")
            return None
        choice = labels[number]
        seen = list(labels.values())[: self._listed]
        if after_cell or choice in seen or number in self._signs():
            return choice
        self.offered = choice
        self._screen.paragraph(f"Choice {number} is {self._view.sentence(choice)}: Enter takes it.")
        return None

    def _follow(self, cells: Sequence[str]) -> MoveChoice | None:
        """Applies cells and an optional number: a choice, or a shorter list."""
        for cell in cells:
            if "," not in cell:
                return self._number(cell, after_cell=True)
            selection = self._selection.at(cell)
            if selection is None:
                self._refuse(cell)
                return None
            if selection.decided:
                return selection.left[0]
            self._narrow(selection)
        self.show()
        return None

    def _refuse(self, cell: str) -> None:
        """Shows why a cell cannot be chosen."""
        board = board_named(self._position.board_name)
        if cell_index(board.name, cell) < 0:
            bounds = f"x and y go from 0 to {board.width - 1}"
            if board.hexagonal:
                bounds = f"x, y and x + y go from -{board.origin} to {board.origin}"
            self._screen.write(f"There is no cell {cell} on {board.name}: {bounds}.")
            return
        start = shared_start(self._selection.left)
        if start not in (None, cell) and self.question.kind in ("move", "move_placed"):
            try:
                self._position.action(f"move {start} {cell}")
            except IllegalMove as error:  # its message has the reason
                self._screen.paragraph(error.message)
            return
        self._screen.paragraph(refusal(self.question, cell, content(self._position, cell)))


def parse_cells(text: str) -> list[str] | None:
    """Cells of an input line, optionally followed by a number; None for other input.

    Forms: `0,0`, `(0, 0)`, `0 0`, `0,0 2,0`, `0,0 to 2,0`, `0,0 3`.
    """
    pair = re.fullmatch(r"(-?\d{1,3}) (-?\d{1,3})", text, re.ASCII)
    if pair:
        return [f"{int(pair[1])},{int(pair[2])}"]
    words = re.sub(r"\s*,\s*", ",", re.sub(r"->|\bto\b|;", " ", text)).split()
    found = []
    for word in words:
        cell = CELL.fullmatch(word)
        if cell:
            found.append(f"{int(cell[1])},{int(cell[2])}")
        elif found and word is words[-1] and re.fullmatch(r"\d+", word, re.ASCII):
            found.append(word)
        else:
            return None
    return found or None
