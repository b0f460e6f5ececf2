"""Text output and line input, on a terminal or redirected."""

from __future__ import annotations

import contextlib
import io
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import TextIO

MAX_WIDTH = 96
ROWS_FOR_ALL = 48  # of a terminal that shows board, legend and explanations at once
FULL_WIDTH = 110  # of the widest drawing
UNBROKEN = "\N{NO-BREAK SPACE}"  # not a wrapping position
STEP_KEYS = "Enter or n: next   p: back   a number: to that decision   q: leave"

Completer = Callable[[str], list[str]]


class Screen:
    """Writes text and reads lines, with line editing on a terminal (`complete_with`)."""

    def __init__(self, stream: TextIO, *, colour: bool) -> None:
        self._stream = stream
        self.colour = colour
        self.written = 0  # lines
        self._size_told = False  # that the terminal is too low
        # Under --json the dialogue is on stderr, which Python's line editor does not write to.
        self._editable = False  # whether lines can be edited
        self._keys: TextIO = sys.stdin or io.StringIO()  # a closed stdin is None
        self.is_terminal = self._keys.isatty() and stream.isatty() and stream is sys.stdout
        if isinstance(self._keys, io.TextIOWrapper):
            self._keys.reconfigure(errors="replace")  # undecodable input must not end the game

    @property
    def width(self) -> int:
        columns = MAX_WIDTH
        if self.is_terminal:
            columns = shutil.get_terminal_size((MAX_WIDTH, 24)).columns
        return max(40, min(columns - 1, MAX_WIDTH))

    @property
    def columns(self) -> int:
        """Columns for a drawing, which is not wrapped."""
        return shutil.get_terminal_size().columns if self.is_terminal else FULL_WIDTH

    @property
    def rows(self) -> int | None:
        """Rows of the terminal; None for other output."""
        return shutil.get_terminal_size().lines if self.is_terminal else None

    @property
    def is_low(self) -> bool:
        """Whether board, legend and explanations do not fit at once."""
        return self.rows is not None and self.rows < ROWS_FOR_ALL

    def tell_size(self, needed: int, what: str) -> None:
        """Says once which size of the terminal `what` needs, if this one is too low."""
        if self.rows is None or needed <= self.rows or self._size_told:
            return
        self._size_told = True
        self.paragraph(
            f"{what} {needed} rows, and this terminal has {self.rows}: in a larger window all stays"
            " visible."
        )

    def write(self, text: str = "") -> None:
        """Writes lines without wrapping."""
        self.written += text.count("\n") + 1
        self._stream.write(text + "\n")
        self._stream.flush()

    def paragraph(self, text: str, first: str = "", rest: str = "") -> None:
        """Writes wrapped text, indented by `first` and `rest`."""
        filled = textwrap.fill(
            text,
            self.width,
            initial_indent=first,
            subsequent_indent=rest,
            break_long_words=False,
            break_on_hyphens=False,
        )
        self.write(filled.replace(UNBROKEN, " "))

    def table(self, rows: Mapping[str, str]) -> None:
        """Writes terms and meanings in two columns."""
        left = max(map(len, rows)) + 4
        for name, meaning in rows.items():
            self.paragraph(meaning, f"  {name}".ljust(left), " " * left)

    def heading(self, text: str) -> None:
        self.write(f"\x1b[1m{text}\x1b[0m" if self.colour else text)

    def faint(self, text: str) -> None:
        self.write(f"\x1b[2m{text}\x1b[0m" if self.colour else text)

    def rule(self) -> None:
        """Writes a separator line."""
        self.write()
        self.faint("-" * self.width)

    @contextlib.contextmanager
    def thinking(self, name: str) -> Iterator[None]:
        """Shows on a terminal that a player is thinking."""
        show = self.is_terminal and self.colour
        if show:
            self._stream.write(f"{name} is thinking …")
            self._stream.flush()
        try:
            yield
        finally:
            if show:
                self._stream.write("\r\x1b[K")
                self._stream.flush()

    def ask(self, prompt: str) -> str | None:
        """Reads a line; None at the end of the input."""
        if self._editable:
            try:
                return input(prompt)
            except EOFError:
                self.write()
                return None
        self._stream.write(prompt)
        self._stream.flush()
        line = self._keys.readline()
        if not self._keys.isatty():  # echo, which a terminal does by itself
            self.write(line.rstrip("\n"))
        return line.rstrip("\n") if line else None

    def ask_ply(self, ply: int, last: int) -> int | None:
        """Reads the next decision to show, 0 to `last`; None to leave, as does Enter at the end."""
        while True:
            answer = self.ask(f"{STEP_KEYS} > ")
            word = (answer or "").strip().lower()
            if answer is None or word in ("q", "quit") or (word == "" and ply == last):
                return None
            found = next_ply(word, ply, last)
            if found is not None:
                return found
            self.write(f"{shortened(answer)} is not one of these.")

    def complete_with(self, completer: Completer) -> None:
        """Enables line editing on a terminal, with Tab completion by `completer`."""
        if not self.is_terminal:
            return
        try:
            import readline
        except ImportError:  # Python built without readline
            return
        self._editable = True
        found: list[str] = []

        def complete(text: str, state: int) -> str | None:
            if state == 0:
                found[:] = completer(text)
            return found[state] if state < len(found) else None

        readline.set_completer_delims("\n")
        readline.set_completer(complete)
        readline.parse_and_bind("tab: complete")


def next_ply(word: str, ply: int, last: int) -> int | None:
    """Decision, 0 to `last`, for a key of `STEP_KEYS`; None for other input."""
    if word in ("", "n"):
        return min(ply + 1, last)
    if word == "p":
        return max(ply - 1, 0)
    if word.isdecimal() and word.isascii():
        return min(int(word[:9]), last)
    return None


def shortened(text: str) -> str:
    """Input in quotes, truncated if too long."""
    return repr(text if len(text) <= 60 else text[:60] + "…")
