"""The conversation of `ringrift play`: decision after decision, and the commands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ringrift_cli.errors import OutputError, RingriftError
from ringrift_cli.play.chooser import Chooser
from ringrift_cli.play.help import COMMANDS, WAYS
from ringrift_cli.play.screen import Screen
from ringrift_cli.play.table import Table, shortened
from ringrift_cli.play.words import chances_words

if TYPE_CHECKING:
    from ringrift_cli.play.choices import Choice
    from ringrift_cli.play.session import Session, Sitter
    from ringrift_cli.players.player import Choices

ALIASES = {"?": "help", "h": "help", "q": "quit", "exit": "quit", "list": "moves", "b": "back"}
ONLY_IN_PLAY = ("moves", "more", "back", "hint", "go", "eval", "resign")
WITH_WORDS = ("moves", "save")


@dataclass
class Keeping:
    """Where a game is kept. `named` says whether the person named the file."""

    path: Path
    named: bool
    record: Path | None = None
    is_kept: bool = False  # the file holds the game as it stands
    is_recorded: bool = False


class Dialogue:
    """People at one keyboard play a session to its end, or leave it."""

    def __init__(
        self, session: Session, screen: Screen, keeping: Keeping, adviser: Sitter, *, brief: bool
    ) -> None:
        self._session = session
        self._screen = screen
        self._keeping = keeping
        self._adviser = adviser
        self._brief = brief
        self._table = Table(session, screen)
        self._chooser: Chooser | None = None  # None when the game is over
        self._hinted: Choice | None = None
        self._left = False
        self._written: set[Path] = set()  # copies that may be written over

    # ---- the course of the game ------------------------------------------------------------------

    def run(self) -> None:
        """Until the person leaves or the input ends."""
        self._screen.complete_with(self._completions)
        if not self._brief:
            self._table.introduction()
        self._table.going_on()
        while not self._left:
            if self._session.is_over:
                self._finish()
            elif self._session.persons_turn:
                self._decide()
            else:
                self._answers()

    def _answers(self) -> None:
        """The players decide until it is a person's turn."""
        self._screen.say()
        while not self._session.is_over and not self._session.persons_turn:
            position = self._session.position
            with self._screen.thinking(self._table.cast().name(position.seat)):
                self._session.answer()
            self._keep()
            self._table.tell(position.ply)

    def _decide(self) -> None:
        """One decision of a person."""
        chooser = self._chooser = Chooser(self._table, brief=self._brief)
        self._hinted = None
        chooser.show()
        position = self._session.position
        while not self._left and self._session.position is position and not self._session.is_over:
            self._obey(self._screen.ask(chooser.prompt))

    def _finish(self) -> None:
        """The end of the game, from where one can look back or take back."""
        self._chooser = None
        self._record()
        self._show()
        while not self._left and self._session.is_over:
            self._obey(self._screen.ask("Game over > "))

    def _show(self) -> None:
        """The board, and what is asked or how the game ended."""
        if self._chooser is not None:
            self._chooser.show()
            return
        self._screen.rule()
        self._table.draw(self._session.position, self._table.last_signs())
        self._screen.say()
        self._table.ending()
        self._screen.tell(
            "`replay` steps through the game, `save game.jsonl` records it for `ringrift show`, "
            "`undo` takes back your last decision. Enter leaves."
        )

    def _obey(self, line: str | None) -> None:
        """Does what a line says, or says why not."""
        if line is None:
            self._left = True
            return
        text = " ".join(line.split())
        word, _, rest = text.partition(" ")
        name = ALIASES.get(word.lower(), word.lower())
        try:
            if name in COMMANDS:
                self._command(name, rest)
            elif self._chooser is not None:
                choice = self._chooser.understand(text)
                if choice is not None:
                    self._play(choice)
            elif text:
                known = ", ".join(name for name in COMMANDS if name not in ONLY_IN_PLAY)
                self._screen.tell(f"The game is over: {shortened(text)} is none of {known}.")
            else:
                self._left = True
        except RingriftError as error:
            self._screen.tell(error.message)
            if error.hint:
                self._screen.tell(f"Try: {error.hint}")

    def _play(self, choice: Choice) -> None:
        ply = self._session.position.ply
        self._session.play(choice.action)
        self._keep()
        self._screen.say()
        self._table.tell(ply)

    # ---- commands --------------------------------------------------------------------------------

    def _command(self, name: str, rest: str) -> None:
        if self._chooser is not None:
            self._chooser.withdraw()
        if rest and name not in WITH_WORDS:
            self._screen.tell(f"`{name}` stands alone: {shortened(rest)} means nothing behind it.")
            return
        if name in ONLY_IN_PLAY:
            self._command_in_play(name, rest)
            return
        commands: dict[str, Callable[[], None]] = {
            "undo": self._undo,
            "board": self._show,
            "log": self._table.log,
            "replay": self._replay,
            "rules": self._table.rules,
            "save": lambda: self._save(rest),
            "quit": self._quit,
            "help": self._help,
            "brief": self._toggle,
        }
        commands[name]()

    def _command_in_play(self, name: str, rest: str) -> None:
        chooser = self._chooser
        if chooser is None:
            self._screen.say(f"The game is over: there is no {name} any more.")
            return
        commands: dict[str, Callable[[], None]] = {
            "moves": lambda: chooser.list_at(rest),
            "more": chooser.list_more,
            "back": chooser.back,
            "hint": lambda: self._hint(chooser),
            "go": lambda: self._go(chooser),
            "eval": self._eval,
            "resign": self._resign,
        }
        commands[name]()

    def _advice(self) -> Choices:
        with self._screen.thinking(f"The adviser ({self._adviser.name})"):
            return self._session.advice(self._adviser)

    def _hint(self, chooser: Chooser) -> None:
        advice = self._advice()
        self._hinted = chooser.by_action(int(advice.actions[0]))
        words = self._table.advised(self._hinted)
        self._screen.tell(f"Hint of {self._adviser.name}: {words}. `go` does it.")
        if advice.values is not None:
            self._tell_chances(advice)

    def _go(self, chooser: Chooser) -> None:
        if self._hinted is None:
            self._hint(chooser)
        else:
            self._play(self._hinted)

    def _eval(self) -> None:
        advice = self._advice()
        if advice.values is None:
            self._screen.say(f"{self._adviser.name} has no opinion on the chances.")
        else:
            self._tell_chances(advice)

    def _tell_chances(self, advice: Choices) -> None:
        assert advice.values is not None
        chances = chances_words(advice.values[0].tolist(), self._table.cast())
        self._screen.tell(f"Chances to win as {self._adviser.name} sees them: {chances}.")

    def _undo(self) -> None:
        gone = self._session.undo()
        if not gone:
            self._screen.say("There is no decision of yours to take back.")
            return
        self._keep()
        self._screen.say(f"Taken back: {gone} {'decision' if gone == 1 else 'decisions'}.")

    def _toggle(self) -> None:
        self._brief = not self._brief
        if self._chooser is not None:
            self._chooser.brief = self._brief
        state = "off" if self._brief else "on"
        self._screen.say(f"Explanations are {state} from now on; `brief` changes that.")

    def _replay(self) -> None:
        self._table.replay()
        self._show()

    def _help(self) -> None:
        self._screen.say("A choice is told by")
        self._screen.table(WAYS)
        self._screen.say("Commands")
        self._screen.table(COMMANDS)

    def _resign(self) -> None:
        self._session.resign()
        self._keep()

    def _quit(self) -> None:
        """Leaves. On a terminal the game can be thrown away, unless its file was named."""
        self._left = True
        keeping = self._keeping
        if self._session.is_over or keeping.named or not keeping.is_kept:
            return
        if not self._screen.is_terminal:
            return
        while True:
            answer = self._screen.ask("Keep the game, to go on later? [Y/n] > ")
            if answer is None or answer.strip().lower() in ("", "y", "yes"):
                return
            if answer.strip().lower() in ("n", "no"):
                keeping.path.unlink(missing_ok=True)
                keeping.is_kept = False
                return
            self._screen.say(f"{shortened(answer)} is neither yes nor no.")

    def _completions(self, text: str) -> list[str]:
        """Commands and choices that begin with what was typed."""
        choices = self._chooser.asked.choices if self._chooser else ()
        known = (*COMMANDS, *(choice.text for choice in choices))
        return [word for word in known if word.startswith(text)]

    # ---- keeping the game ------------------------------------------------------------------------

    def _keep(self) -> None:
        """Saves the game as it stands; says so if that fails, and goes on."""
        try:
            self._session.save(self._keeping.path)
            self._keeping.is_kept = True
        except OutputError as error:
            self._keeping.is_kept = False
            self._screen.tell(f"The game is not saved: {error.message} `save FILE` may help.")

    def _record(self) -> None:
        """Writes the record that was asked for, once the rules have ended the game."""
        keeping = self._keeping
        if keeping.record is None or self._session.position.result() is None:
            return
        try:
            self._session.record(keeping.record)
            keeping.is_recorded = True
        except OutputError as error:
            self._screen.tell(f"The game is not recorded: {error.message}")

    def _save(self, name: str) -> None:
        """Writes a copy under a name; without one, says where the game is kept."""
        from ringrift_cli.play.session import is_record

        if not name:
            where = f"kept in {self._keeping.path}" if self._keeping.is_kept else "not kept yet"
            self._screen.tell(f"The game is {where}. `save game.json` writes a copy of it.")
            return
        if not name.isprintable():
            self._screen.tell(f"{shortened(name)} cannot be the name of a file.")
            return
        path = Path(name).expanduser()
        if path not in self._written and path.exists():
            self._screen.tell(f"{path} is there already: name another file.")
            return
        if is_record(path):
            self._session.record(path)
        else:
            self._session.save(path)
        self._written.add(path)
        use = f"ringrift show {path}" if is_record(path) else f"ringrift play --resume {path}"
        self._screen.tell(f"Wrote {path}: {use}")
