"""Positions that teach the rules, from lessons.yaml."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec
import yaml

from ringrift_cli.game.position import Position


class Lesson(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A position that teaches a rule: `find` are the moves that solve the `task`."""

    title: str
    rule: str
    position: str
    task: str
    find: list[str]
    praise: str

    def start(self) -> Position:
        return Position.from_text(self.position)


@cache
def lessons() -> list[Lesson]:
    """The lessons, the simplest first."""
    text = Path(__file__).with_name("lessons.yaml").read_text("utf-8")
    return msgspec.convert(yaml.load(text, yaml.CSafeLoader), list[Lesson])
