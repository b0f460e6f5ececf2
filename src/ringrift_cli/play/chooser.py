"""How a person of `ringrift play` is asked for one decision, and says it.

A line is a number, a move text, a skip, or cells one after the other, which narrow the choices
until one is left.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ringrift_cli.errors import IllegalMove
from ringrift_cli.play.help import COMMANDS, explanation, heading, refusal, streak_words
from ringrift_cli.play.table import Table, plural_kinds, shortened
from ringrift_cli.play.words import LETTERS, listed

if TYPE_CHECKING:
    from ringrift_cli.play.choices import Choice, Pointing

SHORT_LIST = 12  # up to so many choices are listed unasked
PAGE = 20
SHORT_REST = 5  # so few behind a page are not worth another one
MOST_RINGS = 3  # that are placed at once
DIGITS = 9  # of a number that is read; more than any number here has
CELL = re.compile(r"\(?(-?\d{1,3}),(-?\d{1,3})\)?", re.ASCII)
SKIP_WORDS = ("skip", "pass", "no", "stop", "decline")


class Chooser:
    """The question of a session's position, and how far the person has come with it."""

    def __init__(self, table: Table, *, brief: bool) -> None:
        from ringrift_cli.play.choices import question

        self._table = table
        self._screen = table.screen
        self._position = table.session.position
        self.brief = brief
        self.asked = question(self._position)
        self._listed = 0  # how many of the choices have been listed
        self._pointing = self._start()
        self._offered: Choice | None = None  # what Enter takes: a choice that was not on the screen

    def _start(self) -> Pointing:
        from ringrift_cli.play.choices import Pointing

        return Pointing(self.asked.choices, self.asked.choices)

    def _narrow(self, pointing: Pointing) -> None:
        self._pointing, self._listed = pointing, 0

    @property
    def prompt(self) -> str:
        return " ".join([LETTERS[self.asked.seat - 1], *self._pointing.path]) + " > "

    def by_action(self, action: int) -> Choice:
        """The choice of a legal action."""
        return next(choice for choice in self.asked.choices if choice.action == action)

    def _labels(self) -> dict[int, Choice]:
        from ringrift_cli.play.choices import labels

        return labels(self._pointing.left, chosen=bool(self._pointing.path))

    def _signs(self) -> dict[int, str]:
        """The signs that stand on the board for single choices, by their numbers."""
        from ringrift_cli.play.choices import marks, sign_of

        options = self._labels()
        shown = {*marks(self._position, options).values()} - {"*"}
        return {number: sign_of(number) for number in options if sign_of(number) in shown}

    # ---- showing ---------------------------------------------------------------------------------

    def show(self) -> None:
        """The board, the question, and the choices that are left."""
        from ringrift_cli.play.choices import marks

        signs = marks(self._position, self._labels())
        self._screen.rule()
        self._table.draw(
            self._position,
            {**self._table.last_signs(), **signs},
            only_grid=bool(self._pointing.path),
            legend=not self.brief,
        )
        self._screen.say()
        self._screen.heading(heading(self.asked, self._table.cast()))
        if self._pointing.path:
            self._screen.say(f"At {' '.join(self._pointing.path)} (`back` to choose another cell):")
        else:
            self._explain()
        if len(self._pointing.left) <= SHORT_LIST or self._pointing.path:
            self.list_more()
        else:
            self._sum_up(bool(signs))
        self._screen.faint("a cell, a number, a move; moves, hint, undo, rules, help, quit")

    def _explain(self) -> None:
        if not self.brief:
            self._screen.tell(explanation(self.asked))
        warning = streak_words(self.asked, self._table.cast())
        if warning:
            self._screen.tell(warning)

    def _sum_up(self, marked: bool) -> None:
        """What can be pointed at, where there are too many choices to list."""
        where = "marked *" if marked else "nearly all can be chosen"
        what = {
            "place": f"Type the cell to place on, as 0,0: x, then y ({where}).",
            "move": "Type the cell of the stack to move (marked *).",
        }.get(self.asked.kind, "Type a cell that is marked, or the sign before it.")
        kinds = plural_kinds(self.asked.choices)
        count = len(self.asked.choices)
        all_of = f"{count} choices ({kinds})" if "," in kinds else f"{count} choices"
        self._screen.tell(f"{what} `moves` lists all {all_of}.")

    def list_more(self) -> None:
        """The next page of the choices that are left."""
        entries = list(self._labels().items())
        signs = {number: sign for number, sign in self._signs().items() if sign.isalpha()}
        if self._listed >= len(entries):
            self._screen.say("That was all; `moves` begins again.")
            return
        rest = len(entries) - self._listed
        page = rest if rest <= PAGE + SHORT_REST else PAGE
        for number, choice in entries[self._listed : self._listed + page]:
            sign = f" {signs.get(number, ' ')}" if signs else ""
            self._screen.item(f"{number:>4}{sign}", self._table.option(choice))
        self._listed += page
        if self._listed < len(entries):
            self._screen.say(f"      {len(entries) - self._listed} more: Enter shows them")
        elif len(entries) == 1:
            self._screen.say("      the only choice: Enter takes it")

    def list_at(self, text: str) -> None:
        """The choices at a cell, or without one all that are left, from the first on."""
        if not text:
            self._listed = 0
            self.list_more()
            return
        cells = cells_in(text)
        if cells is None or "," not in cells[-1]:
            self._screen.say(f"{shortened(text)} is no cell: `moves 0,0` lists those at 0,0.")
            return
        pointing = self._start()
        for cell in cells:
            further = pointing.at(cell)
            if further is None:
                self._refuse(cell)
                return
            pointing = further
        self._narrow(pointing)
        self.show()

    def back(self) -> None:
        """Forgets the cells that were pointed at."""
        if not self._pointing.path:
            self._screen.say("No cell is chosen. `undo` takes back your last decision.")
            return
        self._narrow(self._start())
        self.show()

    # ---- understanding ---------------------------------------------------------------------------

    def withdraw(self) -> None:
        """Enter no longer takes a choice that was only offered."""
        self._offered = None

    def understand(self, text: str) -> Choice | None:
        """The choice that a line names; None if it names none yet, and then the person knows why.

        `NotationError` or `IllegalMove` for a move text that is none or is not allowed.
        """
        offered, self._offered = self._offered, None
        cells = cells_in(text)
        word = text.lower().split(" ")[0]
        if not text:
            return offered or self._enter()
        if cells is not None:
            return self._point(cells)
        for number, sign in self._signs().items():
            if text.upper() == sign:
                return self._labels()[number]
        if re.fullmatch(r"\d+", text, re.ASCII):
            return self._number(text)
        if text.lower() in SKIP_WORDS:
            return self._skip(word)
        if word in move_words():
            return self.by_action(self._position.action(text.lower()))
        near = difflib.get_close_matches(word, [*COMMANDS, *move_words()], 1, 0.7)
        guess = f"did you mean {near[0]}?" if near else "`help` shows what can be typed."
        self._screen.tell(
            f"{shortened(text)} is no cell (as 0,0), no number, no move and no command; {guess}"
        )
        return None

    def _enter(self) -> Choice | None:
        left = self._pointing.left
        if 0 < self._listed < len(left):
            self.list_more()
        elif len(left) == 1:
            return left[0]
        else:
            self._screen.tell(
                "Type a cell, as 0,0, the number of a choice, or a command: `help` lists them, "
                "`hint` names a good move."
            )
        return None

    def _number(self, text: str, *, behind_cell: bool = False) -> Choice | None:
        """The choice of a number; one that was neither listed nor marked is only offered."""
        options = self._labels()
        number = text[:DIGITS]
        if int(number) not in options:
            place = f"place {self._pointing.path[-1]} {number}" if self._pointing.path else ""
            if place and 1 <= int(number) <= MOST_RINGS and self.asked.kind == "place":
                self._position.action(place)  # says why it is not allowed
            here = f" at {self._pointing.path[-1]}" if self._pointing.path else ""
            numbers = listed([str(known) for known in options], "or")
            if len(options) > 3:
                numbers = f"{min(options)} to {max(options)}"
            self._screen.say(f"There is no choice {number}{here}: choose {numbers}.")
            return None
        choice = options[int(number)]
        seen = list(options.values())[: self._listed]
        if behind_cell or choice in seen or int(number) in self._signs():
            return choice
        self._offered = choice
        self._screen.tell(f"Choice {number} is {self._table.advised(choice)}: Enter takes it.")
        return None

    def _skip(self, word: str) -> Choice | None:
        for choice in self.asked.choices:
            if choice.kind.startswith("skip_"):
                return choice
        self._screen.say(f"{word!r}: this cannot be skipped, one of the choices has to be taken.")
        return None

    # ---- pointing --------------------------------------------------------------------------------

    def _point(self, cells: Sequence[str]) -> Choice | None:
        """Follows cells, and a number behind them, to a choice or to a shorter list."""
        for cell in cells:
            if "," not in cell:
                return self._number(cell, behind_cell=True)
            pointing = self._pointing.at(cell)
            if pointing is None:
                self._refuse(cell)
                return None
            if pointing.decided:
                return pointing.left[0]
            self._narrow(pointing)
        self.show()
        return None

    def _refuse(self, cell: str) -> None:
        """Says why nothing can be chosen at a cell."""
        from ringrift_cli.play.choices import cell_index, content, shared_start

        board = self._position.board_name
        if cell_index(board, cell) < 0:
            self._screen.say(f"There is no cell {cell} on {board}: {bounds(board)}.")
            return
        start = shared_start(self._pointing.left)
        if start not in (None, cell) and self.asked.kind in ("move", "move_placed"):
            try:
                self._position.action(f"move {start} {cell}")
            except IllegalMove as error:  # it knows the reason
                self._screen.tell(error.message)
            return
        self._screen.tell(refusal(self.asked, cell, content(self._position, cell)))


def bounds(name: str) -> str:
    """Which cells a board has."""
    from ringrift_cli.game.topology import board_named

    board = board_named(name)
    if board.hexagonal:
        return f"x, y and x + y go from -{board.origin} to {board.origin}"
    return f"x and y go from 0 to {board.width - 1}"


def move_words() -> set[str]:
    """The words with which a move text begins."""
    from ringrift_cli.game.notation import GLOBAL_NAMES
    from ringrift_cli.game.parsing import SHAPES

    return {*SHAPES, *GLOBAL_NAMES}


def cells_in(text: str) -> list[str] | None:
    """The cells of a line, perhaps with a number behind them; None if it is anything else.

    As in `0,0`, `(0, 0)`, `0 0`, `0,0 2,0`, `0,0 to 2,0`, `0,0 3`.
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
