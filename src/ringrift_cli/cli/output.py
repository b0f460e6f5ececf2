"""All that the command line says: stdout is data, stderr is for people.

`--json` leaves stdout to exactly one JSON document. `-q` silences the notes and the progress, never
data or an error; `-v` adds details. `NO_COLOR` and a stdout that is no terminal turn colour off.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import typer

from ringrift_cli.errors import OutputError
from ringrift_cli.text import counted

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from ringrift_cli.runtime.profiles import Choice

__all__ = [
    "LINE_EVERY",
    "Output",
    "Progress",
    "counted",
    "discard_stdout",
    "need_subcommand",
    "stop_requested",
    "stopped",
    "was_typed",
]

LINE_EVERY = 10.0  # seconds between progress lines where there is no terminal


def need_subcommand(context: typer.Context) -> None:
    """Explains a group of commands that was called without one; wrong usage."""
    if context.invoked_subcommand is None:
        sys.stderr.write(context.get_help() + "\n")
        raise typer.Exit(2)


def was_typed(context: typer.Context, name: str) -> bool:
    """Whether an option stands on the command line, not only in the environment."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def discard_stdout() -> None:
    """Sends to nowhere what stdout could not take, or Python would try again when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Progress(Protocol):
    """How far a long step has come."""

    def advance(self, amount: int, note: str = "") -> None:
        """Adds `amount` of what the total counts; `note` says the rest, as `310 games`."""


class _Silent:
    def advance(self, amount: int, note: str = "") -> None:
        pass


class _Lines:
    """A plain line every so often: what a log file or a mail from cron can hold."""

    def __init__(self, out: Output, what: str, total: int) -> None:
        self._out, self._what, self._total = out, what, total
        self._done = 0
        self._start = self._said = time.monotonic()

    def advance(self, amount: int, note: str = "") -> None:
        self._done += amount
        now = time.monotonic()
        if now - self._said >= LINE_EVERY:
            self._said = now
            percent = f"{100 * self._done // max(self._total, 1)} %"
            seconds = f"{now - self._start:.0f} s"
            self._out.note(f"{self._what}: {', '.join(filter(None, (percent, note, seconds)))}")


class _Bar:
    def __init__(self, bar: RichProgress, task: TaskID) -> None:
        self._bar, self._task = bar, task

    def advance(self, amount: int, note: str = "") -> None:
        self._bar.update(self._task, advance=amount, note=note)


class Output:
    """Where one command writes. Every command makes one from its `--json`, `-q` and `-v`."""

    def __init__(
        self, *, as_json: bool = False, quiet: bool = False, verbose: bool = False
    ) -> None:
        self.as_json = as_json
        self._quiet = quiet
        self._verbose = verbose

    @property
    def colour(self) -> bool:
        """Whether data may carry colour."""
        return (
            sys.stdout.isatty()
            and not os.environ.get("NO_COLOR")
            and os.environ.get("TERM") != "dumb"
        )

    def result(self, document: Mapping[str, object], text: str) -> None:
        """The outcome of the command: the document under `--json`, the text otherwise.

        Errors as `data`.
        """
        self.data((json.dumps(document) if self.as_json else text.rstrip("\n")) + "\n")

    def data(self, text: str) -> None:
        """A part of what goes to stdout, as it is.

        `OutputError` if stdout cannot take it; `BrokenPipeError` if its reader has gone.
        """
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:
            discard_stdout()
            raise
        except OSError as error:
            discard_stdout()
            raise OutputError(f"Cannot write to stdout: {error.strerror}.") from error

    def note(self, text: str) -> None:
        """Something worth knowing, unless `-q`."""
        if not self._quiet:
            self._say(text)

    def detail(self, text: str) -> None:
        """Something only `-v` asks for."""
        if self._verbose:
            self._say(text)

    def choice(self, choice: Choice) -> None:
        """A setting that was chosen, under `-v`; a profile that could not be used, always."""
        (self.note if choice.refused else self.detail)(choice.text)

    def error(self, sentence: str, hint: str | None = None) -> None:
        """Why the command fails, and what to try."""
        self._say(f"ringrift: {sentence}")
        if hint:
            self._say(f"  try: {hint}")

    def _say(self, text: str) -> None:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Progress]:
        """A bar on stderr where that is a terminal, else a plain line about every 10 s."""
        if self._quiet:
            yield _Silent()
        elif not sys.stderr.isatty():
            yield _Lines(self, what, total)
        else:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f} %"),
                TextColumn("{task.fields[note]}"),
                TimeElapsedColumn(),
            )
            with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
                yield _Bar(bar, bar.add_task(what, total=total, note=""))

    def compile_rules(self) -> None:
        """Compiles the rules if this machine has not done so yet, and says so."""
        from ringrift_cli.game import jit

        code = jit.machine_code("game")
        if code.exists():
            self.detail(f"Compiled rules: {code.folder}")
            return
        from ringrift_cli.game.warm import compile_rules

        compile_rules(self.note)

    def compile_network(self) -> None:
        """Compiles the rules and what networks need, if that is not done yet, and says so."""
        self.compile_rules()
        from ringrift_cli.game import jit

        code = jit.machine_code("nn")
        if code.exists():
            self.detail(f"Compiled networks' functions: {code.folder}")
            return
        from ringrift_cli.nn.warm import compile_network

        compile_network(self.note)

    def compile_players(self) -> None:
        """Compiles the rules and the players if this machine has not done so yet, and says so."""
        self.compile_rules()
        from ringrift_cli.game import jit

        code = jit.machine_code("players")
        if code.exists():
            self.detail(f"Compiled players: {code.folder}")
            return
        from ringrift_cli.players.warm import compile_players

        compile_players(self.note)


def stopped(number: int) -> typer.Exit:
    """How a command ends that a signal stopped in order: with the exit code that shells expect."""
    return typer.Exit(128 + number)


@contextmanager
def stop_requested(wake: Callable[[], None] = lambda: None) -> Iterator[Callable[[], int]]:
    """Until it ends, Ctrl-C and SIGTERM only set what the yielded function tells: 0, or the signal.

    `wake` is called then. The second one ends the program at once.
    """
    asked: list[int] = []

    def ask(number: int, _frame: object) -> None:
        asked.append(number)
        for restored, handler in before.items():
            signal.signal(restored, handler)
        wake()

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, ask)
    try:
        yield lambda: asked[0] if asked else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
