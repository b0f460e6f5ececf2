"""A game of `ringrift play` as it is shown: boards with marks, moves in words, log and replay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ringrift_cli.play.help import goal_text, rules_table
from ringrift_cli.play.screen import UNBROKEN, Screen
from ringrift_cli.play.stepping import LEAVE, next_ply
from ringrift_cli.play.words import (
    LETTERS,
    Cast,
    choice_words,
    listed,
    resigned_words,
    result_words,
    standings,
    told_words,
)
from ringrift_cli.text import counted

if TYPE_CHECKING:
    from ringrift_cli.game.position import Position
    from ringrift_cli.play.choices import Choice
    from ringrift_cli.play.session import Session

LONGEST_TEXT = 24  # of a move beside its words
LONGEST_TOLD = 60  # of a move that was made; the log has all of it
LAST = ">"
LEGEND = (
    ".  empty",
    "a  marker of A",
    "[a]  territory of A",
    "A52  stack of A, height 5, cap 2",
    "A+2  height 10 or more",
)
REPLAY_KEYS = "Enter: on   p: back   a number: to that decision   q: leave the replay"


class Table:
    """Draws and tells a session."""

    def __init__(self, session: Session, screen: Screen) -> None:
        self.session = session
        self.screen = screen

    def cast(self, position: Position | None = None) -> Cast:
        """Who sits where in a position, or now."""
        return Cast(self.session.sitting(position or self.session.position))

    # ---- boards ----------------------------------------------------------------------------------

    def draw(
        self,
        position: Position,
        signs: Mapping[str, str],
        *,
        only_grid: bool = False,
        legend: bool = True,
    ) -> None:
        """The board, with signs before cells, and what the signs mean."""
        from ringrift_cli.game.drawing_text import draw_parts
        from ringrift_cli.play.choices import cell_index

        marks = {cell_index(position.board_name, cell): sign for cell, sign in signs.items()}
        cast = self.cast(position)
        names = [f"({cast.role(seat)})" for seat in range(1, position.players + 1)]
        parts = draw_parts(position.text, colour=self.screen.colour, names=names, marks=marks)
        self.screen.say("\n".join(parts.grid))
        self.screen.say()
        if legend and not only_grid:
            self.screen.tell("   ".join(item.replace(" ", UNBROKEN) for item in LEGEND))
            for line in draw_parts(position.text).legend[1:]:  # how the coordinates run
                self.screen.tell(line)
        meanings = self._meanings(set(signs.values()))
        if meanings:
            self.screen.tell(meanings)
        if not only_grid:
            self.screen.say()
            self.screen.say("\n".join([*parts.counts, *parts.stacks]))

    def _meanings(self, signs: set[str]) -> str:
        known = {LAST: "where the last move ended", "*": "can be chosen"}
        meanings = [f"{sign}  {known[sign]}" for sign in known if sign in signs]
        others = sorted(signs - {*known})
        if others:
            shown = " ".join([*others[:2], "…"] if len(others) > 2 else others)
            meanings.append(f"{shown}  the choice of that sign")
        return "   ".join(meaning.replace(" ", UNBROKEN) for meaning in meanings)

    def last_signs(self, ply: int | None = None) -> dict[str, str]:
        """Signs where the turns ended that a person has not seen on a board yet.

        Those are all since the person's last decision, or that itself; with `ply` just the last.
        """
        from ringrift_cli.play.choices import AREAS, Choice, content

        session = self.session
        end = len(session.moves) if ply is None else ply
        signs: dict[str, str] = {}
        turns: set[int] = set()
        for at in range(end - 1, -1, -1):
            before = session.positions[at]
            person = session.mover(before).is_person
            if person and at < end - 1:
                break
            choice = Choice(0, 0, session.moves[at])
            if choice.cells and choice.kind not in AREAS and before.turn not in turns:
                cell = choice.cells[-1]
                if at == end - 1 or content(session.position, cell).startswith("s"):
                    signs[cell] = LAST
                turns.add(before.turn)
            if person or ply is not None:
                break
        return signs

    # ---- words -----------------------------------------------------------------------------------

    def option(self, choice: Choice) -> str:
        """A choice in a list: its text, if that is short, and what it does."""
        words = self._words(choice)
        if len(choice.text) > LONGEST_TEXT:
            return words
        return f"{choice.text:<{LONGEST_TEXT}}  {words}".rstrip()

    def _words(self, choice: Choice) -> str:
        from ringrift_cli.play.choices import effects

        position = self.session.position
        return choice_words(choice, effects(position, choice, position.play(choice.action)))

    def advised(self, choice: Choice) -> str:
        """A choice in a sentence: its text, and what it does."""
        words = self._words(choice)
        return f"{choice.text} ({words})" if words else choice.text

    def tell(self, ply: int) -> None:
        """What happened at a decision, and who had nothing to decide after it."""
        self.screen.tell(self.told(ply))
        if self.session.moves[ply] == "swap":
            cast = self.cast(self.session.positions[ply + 1])
            self.screen.tell(f"Now play {cast.name(1)} and {cast.name(2)}, who goes on.")
        passed = self._passed_over(ply)
        if passed:
            names = listed([self.cast(self.session.positions[ply]).name(seat) for seat in passed])
            self.screen.tell(f"{names}: nothing to decide, passed over.")

    def told(self, ply: int) -> str:
        """A decision in words and as text."""
        from ringrift_cli.play.choices import Choice, effects

        before, after = self.session.positions[ply : ply + 2]
        choice = Choice(0, self.session.actions[ply], self.session.moves[ply])
        words = told_words(choice, effects(before, choice, after))
        text = choice.text
        if len(text) > LONGEST_TOLD:
            text = text[:LONGEST_TOLD].rpartition(";")[0] + ";…"
        text = text.replace(" ", UNBROKEN)
        return f"{self.cast(before).subject(before.seat)} {words}.  [{text}]"

    def _passed_over(self, ply: int) -> list[int]:
        """Seats that came to no decision between this one and the next."""
        before, after = self.session.positions[ply : ply + 2]
        if after.is_over or after.turn == before.turn:
            return []
        seats: list[int] = []
        seat = before.seat % before.players + 1
        while seat != after.seat:
            seats.append(seat)
            seat = seat % before.players + 1
        return seats

    def introduction(self) -> None:
        """What is played, by whom, and how it is won."""
        from ringrift_cli.play.choices import question

        setting, cast = self.session.setting, self.cast()
        seats = range(1, setting.players + 1)
        pie = ", pie rule" if setting.pie_rule else ""
        self.screen.heading(f"RingRift on {setting.board}, {setting.players} players{pie}")
        self.screen.tell(listed([cast.name(seat) for seat in seats]) + " play.")
        self.screen.tell(goal_text(question(self.session.position), setting.players))
        self.screen.say()
        self.screen.tell(
            "Your rings stand in stacks on the board. A stack that moves leaves a trail of "
            "markers; rows of markers become territory, and what gets cut off can be taken. At "
            "every step you are told what you can do. `rules` explains the game, `help` the "
            "commands, and `hint` names a good move."
        )

    def going_on(self) -> None:
        """Where a game is taken up, and what happened last."""
        session = self.session
        count = len(session.moves)
        if not count:
            return
        self.screen.say()
        self.screen.say(f"The game goes on after {counted(count, 'decision')}. The last ones:")
        first = count - 1
        while first > 0 and not session.mover(session.positions[first]).is_person:
            first -= 1
        for ply in range(first, count):
            self.tell(ply)

    def rules(self) -> None:
        """The rules in short."""
        from ringrift_cli.play.choices import question

        position = self.session.position
        self.screen.table(rules_table(question(position), position.players))

    def ending(self) -> None:
        """How the game ended."""
        from ringrift_cli.play.choices import question

        position = self.session.position
        result = position.result()
        cast = self.cast()
        if self.session.resigned is not None:
            self.screen.heading("Game over. " + resigned_words(self.session.resigned, cast))
        elif result is not None:
            asked = question(position)
            needed = (asked.rings_to_win, asked.cells_to_win)
            self.screen.heading("Game over.")
            self.screen.tell(result_words(position, result, cast, needed))
            for line in standings(position, result, cast):
                self.screen.say(line)

    # ---- looking back ----------------------------------------------------------------------------

    def log(self) -> None:
        """The moves, a line a turn."""
        lines: list[str] = []
        turn = 0
        for position, move in zip(self.session.positions, self.session.moves, strict=False):
            if position.turn != turn:
                turn = position.turn
                lines.append(f"{turn:>4}. {LETTERS[position.seat - 1]}: {move}")
            else:
                lines[-1] += f", {move}"
        self.screen.say("\n".join(lines) if lines else "Nothing has been decided yet.")

    def replay(self) -> None:
        """Steps through the game as the person asks for it."""
        last = len(self.session.moves)
        ply: int | None = 0
        while ply is not None:
            self.screen.rule()
            self.screen.say(f"Replay: decision {ply} of {last}")
            self.draw(self.session.positions[ply], self.last_signs(ply) if ply else {})
            self.screen.say()
            if ply:
                self.tell(ply - 1)
            if ply == last and self.session.is_over:
                self.ending()
            ply = self._ask_ply(ply, last)

    def _ask_ply(self, ply: int, last: int) -> int | None:
        """Asks where to go; None to leave."""
        while True:
            answer = self.screen.ask(f"{REPLAY_KEYS} > ")
            word = (answer or "").strip().lower()
            if answer is None or word in LEAVE or (word == "" and ply == last):
                return None
            found = next_ply(word, ply, last)
            if found is not None:
                return found
            self.screen.say(f"{shortened(answer)} is none of these.")


def shortened(text: str) -> str:
    """What was typed, quoted, if need be without its end."""
    return repr(text if len(text) <= 60 else text[:60] + "…")


def plural_kinds(choices: Sequence[Choice]) -> str:
    """How many choices of each kind there are: `12 move, 3 capture`."""
    kinds: dict[str, int] = {}
    for choice in choices:
        kinds[choice.kind] = kinds.get(choice.kind, 0) + 1
    return ", ".join(f"{count} {kind}" if count > 1 else kind for kind, count in kinds.items())
