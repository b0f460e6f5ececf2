"""Dialogue of `ringrift play`: decisions, commands and files."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ringrift_cli.errors import OutputError, RingriftError
from ringrift_cli.play.choices import MoveChoice
from ringrift_cli.play.help import COMMANDS, TEXTS
from ringrift_cli.play.prompt import MovePrompt
from ringrift_cli.play.screen import Screen, shortened
from ringrift_cli.play.session import RECORD_ENDINGS, Seat, Session
from ringrift_cli.play.view import GameView, chances
from ringrift_cli.players.player import Choices
from ringrift_cli.text import counted

ALIASES = {"?": "help", "h": "help", "q": "quit", "exit": "quit", "list": "moves", "b": "back"}
WITH_ARGUMENT = ("moves", "save")


@dataclass
class GameFiles:
    """Files of a game; `named` if the user chose the path."""

    path: Path
    named: bool
    new: Callable[[], Path]  # path for another game
    record: Path | None = None
    is_kept: bool = False  # whether the file is up to date
    is_recorded: bool = False

    @property
    def resume_command(self) -> str:
        return f"ringrift play --resume {self.path}"

    def renew(self) -> None:
        """The files of another game."""
        self.path, self.record = self.new(), None
        self.named = self.is_kept = self.is_recorded = False


class Dialogue:
    """Runs a session with people at one keyboard."""

    def __init__(
        self, session: Session, screen: Screen, files: GameFiles, adviser: Seat, *, brief: bool
    ) -> None:
        self._session = session
        self._screen = screen
        self._files = files
        self._adviser = adviser
        self._brief = brief
        self._view = GameView(session, screen)
        self._prompt: MovePrompt | None = None  # None when the game is over
        self._hinted: MoveChoice | None = None
        self._left = False
        self._written: set[Path] = set()  # copies of this game, which may be overwritten

    # ---- game ------------------------------------------------------------------------------------

    def run(self) -> None:
        """Plays until the user leaves or the input ends."""
        self._screen.complete_with(self._completions)
        if not self._brief:
            self._view.introduction()
        self._view.resumption()
        while not self._left:
            if self._session.is_over:
                self._finish()
            elif self._session.persons_turn:
                self._decide()
            else:
                self._let_players_answer()

    def _let_players_answer(self) -> None:
        self._screen.write()
        while not self._session.is_over and not self._session.persons_turn:
            ply = len(self._session.moves)
            with self._screen.thinking(self._view.players().name(self._session.position.seat)):
                self._session.answer()
            self._keep()
            self._view.narrate(ply)

    def _decide(self) -> None:
        """One decision of a person."""
        prompt = self._prompt = MovePrompt(self._view, brief=self._brief)
        self._hinted = None
        prompt.show()
        position = self._session.position
        while not self._left and self._session.position is position and not self._session.is_over:
            self._obey(self._screen.ask(prompt.prompt))

    def _finish(self) -> None:
        """Shows the end of the game; replay and undo remain available."""
        self._prompt = None
        self._record()
        self._board()
        while not self._left and self._session.is_over:
            self._obey(self._screen.ask("Game over > "))

    def _board(self) -> None:
        """Shows the board, and the question or the result."""
        if self._prompt is not None:
            self._prompt.show()
            return
        self._view.result()
        self._screen.paragraph(
            "`replay` steps through the game, `save game.jsonl` records it for `ringrift show`, "
            "`undo` takes back your last decision. Enter leaves."
        )

    def _obey(self, line: str | None) -> None:
        """Executes an input line, or shows why it is invalid."""
        text = " ".join((line or "").split())
        word, _, argument = text.partition(" ")
        name = ALIASES.get(word.lower(), word.lower())
        if line is None or not (text or self._prompt):
            self._left = True
            return
        try:
            if name in COMMANDS:
                self._command(name, argument)
            elif self._prompt is not None:
                choice = self._prompt.answer(text)
                if choice is not None:
                    self._play(choice)
            else:
                known = ", ".join(name for name in COMMANDS if name in self._commands(""))
                self._screen.paragraph(
                    f"The game is over: {shortened(text)} is not one of {known}."
                )
        except RingriftError as error:
            self._screen.paragraph(error.message)
            if error.hint:
                self._screen.paragraph(f"Try: {error.hint}")

    def _play(self, choice: MoveChoice) -> None:
        ply = len(self._session.moves)
        self._session.play(choice.action)
        self._keep()
        self._screen.write()
        self._view.narrate(ply)

    # ---- commands --------------------------------------------------------------------------------

    def _command(self, name: str, argument: str) -> None:
        commands = self._commands(argument)
        if self._prompt is not None:
            self._prompt.offered = None
        if argument and name not in WITH_ARGUMENT:
            self._screen.paragraph(f"`{name}` takes no argument, not {shortened(argument)}.")
        elif name in commands:
            commands[name]()
        else:
            self._screen.write(f"The game is over: `{name}` needs a decision.")

    def _commands(self, argument: str) -> dict[str, Callable[[], None]]:
        """Available commands; some require a question."""
        commands: dict[str, Callable[[], None]] = {
            "undo": self._undo,
            "redo": self._redo,
            "new": self._new,
            "board": self._board,
            "log": self._view.log,
            "replay": self._replay,
            "rules": self._view.rules,
            "save": lambda: self._save(argument),
            "quit": self._quit,
            "help": self._help,
            "brief": self._toggle_brief,
        }
        prompt = self._prompt
        if prompt is not None:
            commands |= {
                "moves": lambda: prompt.list_at(argument),
                "more": prompt.list_more,
                "back": prompt.back,
                "hint": lambda: self._hint(prompt),
                "go": lambda: self._play(self._hinted) if self._hinted else self._hint(prompt),
                "eval": self._evaluate,
                "resign": self._resign,
            }
        return commands

    def _advice(self) -> Choices:
        with self._screen.thinking(f"The adviser ({self._adviser.name})"):
            return self._session.advice(self._adviser)

    def _hint(self, prompt: MovePrompt) -> None:
        advice = self._advice()
        self._hinted = prompt.by_action(int(advice.actions[0]))
        move = self._view.sentence(self._hinted)
        self._screen.paragraph(f"Hint of {self._adviser.name}: {move}. `go` does it.")
        if advice.values is not None:
            self._show_chances(advice)

    def _evaluate(self) -> None:
        advice = self._advice()
        if advice.values is None:
            self._screen.write(f"{self._adviser.name} has no opinion on the chances.")
        else:
            self._show_chances(advice)

    def _show_chances(self, advice: Choices) -> None:
        assert advice.values is not None
        text = chances(advice.values[0].tolist(), self._view.players())
        self._screen.paragraph(f"Chances to win as {self._adviser.name} sees them: {text}.")

    def _undo(self) -> None:
        gone = self._session.undo()
        if not gone:
            self._screen.write("There is no decision of yours to take back.")
            return
        self._keep()
        self._screen.write(f"Taken back: {counted(gone, 'decision')}.")

    def _redo(self) -> None:
        back = self._session.redo()
        if not back:
            self._screen.write("There is nothing that `undo` took back.")
            return
        self._keep()
        self._screen.write(f"Done again: {counted(back, 'decision')}.")

    def _new(self) -> None:
        """Another game; the present one stays in its file."""
        files = self._files
        if self._session.moves:
            self._keep()
        where = f"This game is kept in {files.path}." if files.is_kept else ""
        self._session.restart(int.from_bytes(os.urandom(4)))
        files.renew()
        self._screen.paragraph(f"{where} A new game begins.".strip())

    def _toggle_brief(self) -> None:
        self._brief = not self._brief
        if self._prompt is not None:
            self._prompt.brief = self._brief
        state = "off" if self._brief else "on"
        self._screen.write(f"Explanations are {state} from now on; `brief` changes that.")

    def _replay(self) -> None:
        self._view.replay()
        self._board()

    def _help(self) -> None:
        self._screen.write("A choice is entered as")
        self._screen.table(TEXTS["input_forms"])
        self._screen.write("Commands")
        self._screen.table(COMMANDS)

    def _resign(self) -> None:
        self._session.resign()
        self._keep()

    def _quit(self) -> None:
        """Leaves; on a terminal with the option to discard a game whose file was not named."""
        self._left = True
        files = self._files
        ask = files.is_kept and not files.named and not self._session.is_over
        while ask and self._screen.is_terminal:
            answer = self._screen.ask("Keep the game? [Y/n] > ")
            if answer is None or answer.strip().lower() in ("", "y", "yes"):
                return
            if answer.strip().lower() in ("n", "no"):
                files.path.unlink(missing_ok=True)
                files.is_kept = False
                return
            self._screen.write(f"{shortened(answer)} is neither yes nor no.")

    def _completions(self, text: str) -> list[str]:
        """Commands and choices that start with `text`."""
        choices = self._prompt.question.choices if self._prompt else ()
        known = (*COMMANDS, *(choice.text for choice in choices))
        return [word for word in known if word.startswith(text)]

    # ---- files -----------------------------------------------------------------------------------

    def _keep(self) -> None:
        """Saves the game; a failure is shown and does not end it."""
        self._files.is_kept = False
        try:
            self._session.save(self._files.path)
            self._files.is_kept = True
        except OutputError as error:
            self._screen.paragraph(f"The game is not saved: {error.message} `save FILE` may help.")

    def _record(self) -> None:
        """Writes the requested record of a finished game."""
        files = self._files
        if files.record is None or self._session.position.result() is None:
            return
        try:
            self._session.record(files.record)
            files.is_recorded = True
        except OutputError as error:
            self._screen.paragraph(f"The game is not recorded: {error.message}")

    def _save(self, name: str) -> None:
        """Writes a copy to a file; without a name, shows where the game is saved."""
        path = Path(name).expanduser()
        if not name:
            where = f"kept in {self._files.path}" if self._files.is_kept else "not kept yet"
            self._screen.paragraph(f"The game is {where}. `save game.json` writes a copy of it.")
        elif not name.isprintable():
            self._screen.paragraph(f"{shortened(name)} cannot be the name of a file.")
        elif not path.parent.is_dir():
            self._screen.paragraph(f"There is no folder {path.parent}.")
        elif path not in self._written and path.exists():
            self._screen.paragraph(f"{path} already exists: name another file.")
        else:
            is_record = name.endswith(RECORD_ENDINGS)
            (self._session.record if is_record else self._session.save)(path)
            self._written.add(path)
            use = "show" if is_record else "play --resume"
            self._screen.paragraph(f"Wrote {path}: ringrift {use} {path}")
