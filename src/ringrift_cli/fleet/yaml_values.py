"""Values of a YAML file with the place where each stands, for messages that say where to look."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ringrift_cli.errors import UsageError
from ringrift_cli.settings import NULL, WORDS

if TYPE_CHECKING:
    from yaml import Node


@dataclass(frozen=True)
class At:
    """A value of a file, and the name that messages give it; "" is the file itself.

    Every reader raises `UsageError` for what it does not expect, with the file and line.
    """

    path: Path
    node: Node
    name: str

    @property
    def line(self) -> int:
        """Where it begins, counted from 1."""
        return int(self.node.start_mark.line) + 1

    def error(self, what: str) -> UsageError:
        """That something about it cannot be; `what` follows its name and ends the sentence."""
        return UsageError(f"{self.path}, line {self.line}: {self.name or 'the file'} {what}")

    def wrong(self, expected: str) -> UsageError:
        """That it is something else than expected; it quotes what is there."""
        import yaml

        if self.node.tag == NULL:
            said = "empty"
        elif isinstance(self.node, yaml.ScalarNode):
            value = str(self.node.value)
            said = repr(value if len(value) < 60 else value[:60] + "…")
        else:
            kind = "list" if isinstance(self.node, yaml.SequenceNode) else "mapping"
            said = f"a {kind}" if self.node.value else f"an empty {kind}"
        return self.error(f"is {said}, expected {expected}.")

    def keys(self, known: Collection[str]) -> dict[str, At]:
        """What a mapping holds, by key; every key must be known."""
        import yaml

        if not isinstance(self.node, yaml.MappingNode):
            raise self.wrong("keys, as `name: value`")
        found: dict[str, At] = {}
        for key, value in self.node.value:
            name = str(key.value)
            at = At(self.path, value, f"{self.name}.{name}" if self.name else name)
            place = At(self.path, key, self.name)
            if name in found:
                raise place.error(f"has {name!r} twice.")
            if name not in known:
                raise place.error(f"has an unknown key {name!r}{meant(name, list(known))}")
            found[name] = at
        return found

    def items(self, expected: str = "a list") -> list[At]:
        """What a list holds; a key without a value is an empty one."""
        import yaml

        if self.node.tag == NULL:
            return []
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.wrong(expected)
        return [
            At(self.path, node, f"{self.name}[{number}]")
            for number, node in enumerate(self.node.value)
        ]

    def text(self, expected: str, pattern: re.Pattern[str]) -> str:
        """A single value, as it is written, that matches as a whole."""
        import yaml

        if (
            not isinstance(self.node, yaml.ScalarNode)
            or self.node.tag == NULL
            or not pattern.fullmatch(self.node.value)
        ):
            raise self.wrong(expected)
        return str(self.node.value)

    def whole(self, least: int, most: int) -> int:
        """A whole number, both bounds included."""
        expected = f"a whole number from {least} to {most}"
        number = int(self.text(expected, re.compile(r"[0-9]{1,9}")))
        if not least <= number <= most:
            raise self.wrong(expected)
        return number

    def number(self, what: str, above: float | None = None) -> float:
        """A number of 0 or more, or of more than `above`; `what` says of what, with its unit."""
        expected = f"{what} of 0 or more" if above is None else f"{what} of more than {above:g}"
        number = float(self.text(expected, re.compile(r"[0-9]{1,12}(\.[0-9]{0,12})?|\.[0-9]+")))
        if above is not None and number <= above:
            raise self.wrong(expected)
        return number

    def flag(self) -> bool:
        """True or false, in any of the words for it."""
        word = self.text("true or false", re.compile(r"\w+")).lower()
        if word not in WORDS:
            raise self.wrong("true or false")
        return WORDS[word]

    def among(self, known: tuple[str, ...], least: int = 0) -> tuple[str, ...]:
        """At least so many words of a list, each known; one that is there twice counts once."""
        expected = f"a list of some of {', '.join(known)}"
        items = self.items(expected)
        words = []
        for one in items:
            word = one.text(f"one of {', '.join(known)}", re.compile(r".*"))
            if word not in known:
                raise one.wrong(f"one of {', '.join(known)}")
            words.append(word)
        if len(items) < least:
            raise self.wrong(expected)
        return tuple(dict.fromkeys(words))


def meant(name: str, known: list[str]) -> str:
    """The end of a sentence about a name that is not known: the nearest, or all there are."""
    near = difflib.get_close_matches(name, known, 1, 0.5)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; there are {', '.join(known)}." if known else "; there are none."
