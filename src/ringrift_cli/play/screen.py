"""The screen and keyboard of `ringrift play`, or whatever stands in for them in a script."""

from __future__ import annotations

import contextlib
import io
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import TextIO

WIDEST = 96
UNBROKEN = "\N{NO-BREAK SPACE}"  # no line ends there

Completer = Callable[[str], list[str]]


class Screen:
    """Writes text and reads lines.

    On a terminal lines can be edited and completed, and earlier ones fetched back.
    """

    def __init__(self, stream: TextIO, *, colour: bool) -> None:
        self._stream = stream
        self._colour = colour
        # Under --json the dialogue is on stderr, which Python's line editor does not write to.
        self._keys: TextIO = sys.stdin or io.StringIO()  # a closed stdin is None
        self.is_terminal = self._keys.isatty() and stream.isatty() and stream is sys.stdout
        if isinstance(self._keys, io.TextIOWrapper):
            # Bytes that are no text must not end the game.
            self._keys.reconfigure(errors="replace")

    @property
    def colour(self) -> bool:
        return self._colour

    @property
    def width(self) -> int:
        columns = shutil.get_terminal_size((WIDEST, 24)).columns if self.is_terminal else WIDEST
        return max(40, min(columns - 1, WIDEST))

    def say(self, text: str = "") -> None:
        """A line, or several, as they are."""
        self._stream.write(text + "\n")
        self._stream.flush()

    def tell(self, text: str) -> None:
        """A paragraph, wrapped."""
        self._wrap(text, "", "")

    def item(self, label: str, text: str) -> None:
        """An entry of a list, wrapped behind its label."""
        self._wrap(text, f"{label}  ", " " * (len(label) + 4))

    def table(self, rows: Mapping[str, str]) -> None:
        """A word and what it means, in two columns."""
        left = max(len(name) for name in rows) + 4
        for name, meaning in rows.items():
            self._wrap(meaning, f"  {name}".ljust(left), " " * left)

    def _wrap(self, text: str, first: str, rest: str) -> None:
        filled = textwrap.fill(
            text,
            self.width,
            initial_indent=first,
            subsequent_indent=rest,
            break_long_words=False,
            break_on_hyphens=False,
        )
        self.say(filled.replace(UNBROKEN, " "))

    def heading(self, text: str) -> None:
        self.say(f"\x1b[1m{text}\x1b[0m" if self._colour else text)

    def faint(self, text: str) -> None:
        self.say(f"\x1b[2m{text}\x1b[0m" if self._colour else text)

    def rule(self) -> None:
        """A line between two boards."""
        self.say()
        self.faint("-" * self.width)

    @contextlib.contextmanager
    def thinking(self, name: str) -> Iterator[None]:
        """Says on a terminal who is thinking, and takes that back."""
        said = f"{name} is thinking …"
        show = self.is_terminal and self._colour
        if show:
            self._stream.write(said)
            self._stream.flush()
        try:
            yield
        finally:
            if show:
                self._stream.write("\r\x1b[K")
                self._stream.flush()

    def ask(self, prompt: str) -> str | None:
        """A line that is typed; None at the end of the input."""
        if self.is_terminal:
            try:
                return input(prompt)
            except EOFError:
                self.say()
                return None
        self._stream.write(prompt)
        self._stream.flush()
        line = self._keys.readline()
        if not self._keys.isatty():  # a terminal has shown it
            self.say(line.rstrip("\n"))
        return line.rstrip("\n") if line else None

    def complete_with(self, completer: Completer) -> None:
        """Lets Tab complete a line, on a terminal, to what the completer names for its start."""
        if not self.is_terminal:
            return
        try:
            import readline
        except ImportError:  # a Python without it can still be played with
            return
        found: list[str] = []

        def complete(text: str, state: int) -> str | None:
            if state == 0:
                found[:] = completer(text)
            return found[state] if state < len(found) else None

        readline.set_completer_delims("\n")
        readline.set_completer(complete)
        readline.parse_and_bind("tab: complete")
