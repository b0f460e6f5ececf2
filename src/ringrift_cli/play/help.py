"""The texts of `ringrift play`: questions, refusals, commands and rules, from texts.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ringrift_cli.game.drawing_text import LETTERS
from ringrift_cli.game.position import Position
from ringrift_cli.play.choices import Question, cap, ring_letters, stack_symbol
from ringrift_cli.play.session import Players
from ringrift_cli.text import counted, listed

TEXTS: dict[str, Any] = yaml.load(
    Path(__file__).with_name("texts.yaml").read_text(), yaml.CSafeLoader
)
HEADINGS: dict[str, str] = TEXTS["headings"]
COMMANDS: dict[str, str] = TEXTS["commands"]


def heading(asked: Question, players: Players) -> str:
    """Whose decision it is, and of what kind."""
    letter = LETTERS[asked.seat - 1]
    if players.one_person:
        return f"Your turn ({letter}): {HEADINGS[asked.kind]}."
    return f"{letter}, your turn: {HEADINGS[asked.kind]}."


def explanation(asked: Question) -> str:
    """What has to be decided, what is allowed and what it means."""
    kind, height, parts = asked.kind, len(asked.stack), TEXTS["parts"]
    offered, missing = TEXTS["if_offered"].get(kind, {}), TEXTS["if_not_offered"].get(kind, {})
    sentences = [TEXTS["explanations"][kind]]
    sentences += [text for what, text in offered.items() if asked.offers(what)]
    sentences += [text for what, text in missing.items() if not asked.offers(what)]
    top_cap = cap(asked.stack) if asked.stack else 0
    lowest = "your lowest ring in a stack"
    fields = {
        "hand": counted(asked.hand, "ring"),
        "numbers": listed([str(n) for n in range(1, min(3, asked.hand) + 1)], "or"),
        "focus": asked.focus,
        "symbol": stack_symbol(asked.stack) if asked.stack else "",
        "height": height,
        "cap": top_cap,
        "distance": counted(height, "cell"),
        "no_placement": "You place nothing" if asked.hand else "You have no ring to place",
        "travel": parts["travel"],
        "jump": parts["jump"].format(cap=top_cap, height=height),
        "any_jump": parts["jump"].format(cap="that of your stack", height="its height"),
        "length": asked.line_length,
        "line_price": lowest if kind == "recovery_line" else "the top ring of one of your stacks",
        "region_price": f"{lowest}, because this turn held a recovery"
        if asked.recovered
        else "the cap of one of your stacks (the rings of yours on its top)",
        "counts": f"counts towards your {asked.rings_to_win} eliminated rings",
    }
    return " ".join(sentences).format(**fields, line=parts["line"].format(**fields))


def streak_warning(asked: Question, players: Players) -> str | None:
    """A warning that the game may be about to end because only one player can act."""
    if asked.streak is None:
        return None
    seat, rounds = asked.streak
    last = "last round" if rounds == 1 else f"last {rounds} rounds"
    return (
        f"Only {players.name(seat)} could place, move or capture in the {last}: after 3 such "
        "rounds that wins the game."
    )


def refusal(asked: Question, cell: str, content: str) -> str:
    """Why no choice starts at a cell, or contains it: one sentence."""
    reasons = TEXTS["refusals"]
    why = reasons.get(asked.kind, reasons["other"]).format(focus=asked.focus)
    if asked.kind == "place" and content[:1] in ("m", "c"):
        why = reasons["on_marker" if content[0] == "m" else "on_territory"]
    elif asked.kind == "move" and content[:1] == "s" and content.endswith(str(asked.seat)):
        why = reasons["blocked"]
    return f"{_content_text(cell, content)}: {why}."


def _content_text(cell: str, content: str) -> str:
    if not content:
        return f"{cell} is empty"
    owner, rings = LETTERS[int(content[-1]) - 1], content[1:]
    if content[0] != "s":
        return f"{cell} {'holds a marker' if content[0] == 'm' else 'is territory'} of {owner}"
    return (
        f"{cell} holds a stack of {owner}: {ring_letters(rings)} from bottom to top, "
        f"height {len(rings)}, cap {cap(rings)}"
    )


def rules_summary(asked: Question, position: Position) -> dict[str, str]:
    """The rules in short, by subject, with the numbers of this game; `Goal` is one sentence."""
    more = " and more than all others together" if position.players > 2 else ""
    fields = {"rings": asked.rings_to_win, "cells": asked.cells_to_win, "length": asked.line_length}
    return {name: text.format(**fields, more=more) for name, text in TEXTS["rules"].items()}
