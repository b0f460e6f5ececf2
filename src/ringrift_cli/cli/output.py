"""All output of the command line: data on stdout, everything else on stderr.

Under `--json` stdout carries exactly one JSON document, the argument of `Output.result`; text,
tables and fields are not printed then. `-q` suppresses notes and progress, never data or errors;
`-v` adds details. `NO_COLOR`, `TERM=dumb` and a stdout that is not a terminal disable colour.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Protocol

import typer

from ringrift_cli.errors import OutputError, UsageError
from ringrift_cli.text import CONTROL, counted, printable, printable_lines

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
    "refuse_typed",
    "stop_requested",
    "stopped",
    "was_typed",
]

LINE_EVERY = 10.0  # seconds between progress lines where stderr is not a terminal
GAP = "  "  # between columns
MAX_LISTED = 4  # items of a list that `fields` prints
NUMBER = re.compile(r"([-+]?\$?[\d.,]+(e[-+]\d+)?( ± \d+)?|[-+]∞|-)( ?[%A-Za-z°]+)?")

Cell = str | int | float | None


def need_subcommand(context: typer.Context) -> None:
    """Prints the help of a command group that was called without a command; exit code 2."""
    if context.invoked_subcommand is None:
        sys.stderr.write(context.get_help() + "\n")
        raise typer.Exit(2)


def was_typed(context: typer.Context, name: str) -> bool:
    """Whether an option was given on the command line, not only in the environment."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def refuse_typed(
    context: typer.Context,
    why: str,
    *,
    only: Container[str] = (),
    but: Container[str] | None = None,
) -> None:
    """`UsageError` for a parameter on the command line among `only`, or not among `but`."""
    for parameter in context.command.params:
        name = str(parameter.name)
        refused = name in only if but is None else name not in but
        if refused and was_typed(context, name):
            given = parameter.opts[0] if parameter.opts[0].startswith("-") else name.upper()
            raise UsageError(f"{given} {why}.", hint=f"leave out {given}")


def discard_stdout() -> None:
    """Redirects stdout to /dev/null; otherwise Python would write the rest again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Progress(Protocol):
    """Progress of a long step."""

    def advance(self, amount: int, note: str = "") -> None:
        """Adds `amount` in units of the total; `note` is shown beside it, as `310 games`."""


class _Silent:
    def advance(self, amount: int, note: str = "") -> None:
        pass


class _Lines:
    """A plain line every `LINE_EVERY` seconds, for log files and mail from cron."""

    def __init__(self, out: Output, what: str, total: int) -> None:
        self._out, self._what, self._total = out, what, total
        self._done = 0
        self._start = self._printed = time.monotonic()

    def advance(self, amount: int, note: str = "") -> None:
        self._done += amount
        now = time.monotonic()
        if now - self._printed >= LINE_EVERY:
            self._printed = now
            percent = f"{100 * self._done // max(self._total, 1)} %"
            seconds = f"{now - self._start:.0f} s"
            self._out.note(f"{self._what}: {', '.join(filter(None, (percent, note, seconds)))}")


class _Bar:
    def __init__(self, bar: RichProgress, task: TaskID) -> None:
        self._bar, self._task = bar, task

    def advance(self, amount: int, note: str = "") -> None:
        self._bar.update(self._task, advance=amount, note=note)


class Output:
    """Output of one command, made from its `--json`, `-q` and `-v`."""

    def __init__(
        self, *, as_json: bool = False, quiet: bool = False, verbose: bool = False
    ) -> None:
        self.as_json = as_json
        self._quiet = quiet
        self._verbose = verbose

    @property
    def colour(self) -> bool:
        """Whether stdout takes colour."""
        return (
            sys.stdout.isatty()
            and not os.environ.get("NO_COLOR")
            and os.environ.get("TERM") != "dumb"
        )

    # ---- data on stdout -------------------------------------------------------------------------

    def result(self, document: object, text: str = "") -> None:
        """Prints the document under `--json`, the text otherwise.

        The document is a mapping, dataclass or msgspec Struct; numbers that are not finite become
        null. Errors as `data`.
        """
        if self.as_json:
            text = CONTROL.sub(lambda found: json.dumps(found[0])[1:-1], json_text(document))
            self.data(text + "\n")
        else:
            self.text(text)

    def text(self, text: str) -> None:
        """Prints lines for people; nothing under `--json` or for an empty text.

        What a terminal would obey, other than colours, is replaced: it may come from another host.
        """
        if text and not self.as_json:
            self.data(printable_lines(text, colour=self.colour).rstrip("\n") + "\n")

    def table(
        self,
        rows: Iterable[Sequence[Cell]],
        columns: Sequence[str],
        *,
        red: Sequence[bool] = (),
        drop: Sequence[str] = (),
    ) -> None:
        """Prints rows of cells in aligned columns, numbers to the right, None as `-`.

        `red` marks rows in colour. Columns named in `drop` are left out, in this order, until the
        table fits into the terminal. Nothing under `--json`.
        """
        cells = [[_cell(value) for value in row] for row in rows]
        shown = list(range(len(columns)))
        widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
        room = shutil.get_terminal_size((100, 24)).columns
        for name in drop:
            if sum(widths[i] + len(GAP) for i in shown) > room:
                shown.remove(columns.index(name))
        right = [all(NUMBER.fullmatch(row[i]) for row in cells if row[i]) for i in shown]

        def line(row: Sequence[str]) -> str:
            padded = (
                f"{row[i]:{'>' if numeric else '<'}{widths[i]}}"
                for i, numeric in zip(shown, right, strict=True)
            )
            return GAP.join(padded).rstrip()

        lines = [self._styled(line(columns), "1")] if any(columns) else []
        for number, row in enumerate(cells):
            marked = number < len(red) and red[number]
            lines.append(self._styled(line(row), "31") if marked else line(row))
        self.text("\n".join(lines))

    def fields(self, mapping: Mapping[str, object]) -> None:
        """Prints a name and its value per line, nested mappings indented, long lists by length.

        Empty texts and mappings, and None, are left out. Nothing under `--json`.
        """
        self.text("\n".join(_field_lines(mapping)))

    def _styled(self, text: str, code: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self.colour else text

    def data(self, text: str) -> None:
        """Writes to stdout as it is, under `--json` too.

        `OutputError` if writing fails; `BrokenPipeError` if the reader has ended.
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
        """Prints a line on stderr, unless `-q`."""
        if not self._quiet:
            self._write_error(text)

    def detail(self, text: str) -> None:
        """Prints a line on stderr, only under `-v`."""
        if self._verbose:
            self._write_error(text)

    def choice(self, choice: Choice) -> None:
        """Reports a chosen setting under `-v`; a profile that could not be used, always."""
        (self.note if choice.refused else self.detail)(choice.text)

    def error(self, sentence: str, hint: str | None = None) -> None:
        """Prints the cause of a failure and what to try."""
        self._write_error(f"ringrift: {sentence}")
        if hint:
            self._write_error(f"  try: {hint}")

    def _write_error(self, text: str) -> None:
        sys.stderr.write(printable_lines(text) + "\n")
        sys.stderr.flush()

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Progress]:
        """A progress bar on stderr, or a plain line every 10 s if it is not a terminal."""
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

    # ---- questions and preparations -------------------------------------------------------------

    def confirm(self, question: str, *, yes: bool, flag: str = "--yes") -> None:
        """Asks the user unless `yes`; aborts on refusal, `UsageError` without a terminal."""
        if yes:
            return
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise UsageError(f"{question} There is no terminal to ask.", hint=flag)
        typer.confirm(question, abort=True, err=True)

    def compile_rules(self) -> None:
        """Compiles the rules unless cached, with progress on stderr."""
        if not self._compiled("game", "rules"):
            from ringrift_cli.game.warm import compile_rules

            self._compile("game", "rules", compile_rules)

    def compile_network(self) -> None:
        """Compiles the rules and the networks' functions; as `compile_rules`."""
        self.compile_rules()
        if not self._compiled("nn", "networks' functions"):
            from ringrift_cli.nn.warm import compile_network

            self._compile("nn", "networks' functions", compile_network)

    def compile_players(self) -> None:
        """Compiles the rules and the players; as `compile_rules`."""
        self.compile_rules()
        if not self._compiled("players", "players"):
            from ringrift_cli.players.warm import compile_players

            self._compile("players", "players", compile_players)

    def _compile(self, package: str, what: str, compiler: Callable[..., None]) -> None:
        from ringrift_cli.game.warm import functions_of

        total = functions_of(package)
        with self.progress(f"Compiling the {what}", total) as bar:
            done = count(1)  # more than `total` where functions are compiled for several types
            compiler(self.note, lambda: bar.advance(int(next(done) < total)))

    def _compiled(self, package: str, what: str) -> bool:
        from ringrift_cli.game import jit

        code = jit.machine_code(package)
        if code.exists():
            self.detail(f"Compiled {what}: {code.folder}")
        return code.exists()


def json_text(document: object) -> str:
    """One line of JSON; numbers that are not finite become null."""
    import msgspec

    try:
        return msgspec.json.encode(document, enc_hook=_builtin).decode()
    except UnicodeEncodeError:  # a file name is not valid UTF-8
        return json.dumps(msgspec.to_builtins(document, enc_hook=_builtin))


def _builtin(value: Any) -> object:
    """JSON value of a path or NumPy number."""
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _cell(value: Cell) -> str:
    if value is None:
        return "-"
    return printable(value) if isinstance(value, str) else f"{value:,}"


def _field_lines(mapping: Mapping[str, object], indent: str = "") -> list[str]:
    lines = []
    known = {name: value for name, value in mapping.items() if value not in (None, "", {})}
    width = max((len(n) for n, v in known.items() if not isinstance(v, Mapping)), default=0)
    for name, value in known.items():
        if isinstance(value, Mapping) and value:
            lines += [f"{indent}{name}", *_field_lines(value, indent + GAP)]
        else:
            lines.append(f"{indent}{name:<{width}}{GAP}{_field(value)}")
    return lines


def _field(value: object) -> str:
    if not isinstance(value, list | tuple):
        return printable(str(value))
    if len(value) > MAX_LISTED:
        return f"{len(value)} items (--json)"
    return printable(", ".join(map(str, value)))


def stopped(number: int) -> typer.Exit:
    """The end of a command stopped by a signal, with the exit code that shells expect."""
    return typer.Exit(128 + number)


@contextmanager
def stop_requested(wake: Callable[[], None] = lambda: None) -> Iterator[Callable[[], int]]:
    """Defers Ctrl-C and SIGTERM: the yielded function returns 0, or the signal that has come.

    The first signal calls `wake`; the second one ends the program at once.
    """
    received: list[int] = []

    def receive(number: int, _frame: object) -> None:
        received.append(number)
        for restored, handler in before.items():
            signal.signal(restored, handler)
        wake()

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, receive)
    try:
        yield lambda: received[0] if received else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
