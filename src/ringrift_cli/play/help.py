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


def heading(question: Question, players: Players) -> str:
    """Heading of a question: seat and kind of decision."""
    letter = LETTERS[question.seat - 1]
    if players.one_person:
        return f"Your turn ({letter}): {HEADINGS[question.kind]}."
    return f"{letter}, your turn: {HEADINGS[question.kind]}."


def explanation(question: Question) -> str:
    """Explanation of a question: allowed choices and their meaning."""
    kind, height, parts = question.kind, len(question.stack), TEXTS["parts"]
    offered, missing = TEXTS["if_offered"].get(kind, {}), TEXTS["if_not_offered"].get(kind, {})
    sentences = [TEXTS["explanations"][kind]]
    sentences += [text for what, text in offered.items() if question.offers(what)]
    sentences += [text for what, text in missing.items() if not question.offers(what)]
    top_cap = cap(question.stack) if question.stack else 0
    lowest = "your lowest ring in a stack"
    fields = {
        "hand": counted(question.hand, "ring"),
        "numbers": listed([str(n) for n in range(1, min(3, question.hand) + 1)], "or"),
        "focus": question.focus,
        "symbol": stack_symbol(question.stack) if question.stack else "",
        "height": height,
        "cap": top_cap,
        "distance": counted(height, "cell"),
        "no_placement": "You place nothing" if question.hand else "You have no ring to place",
        "travel": parts["travel"],
        "jump": parts["jump"].format(cap=top_cap, height=height),
        "any_jump": parts["jump"].format(cap="that of your stack", height="its height"),
        "length": question.line_length,
        "line_price": lowest if kind == "recovery_line" else "the top ring of one of your stacks",
        "region_price": f"{lowest}, because this turn held a recovery"
        if question.recovered
        else "the cap of one of your stacks (the rings of yours on its top)",
        "counts": f"counts towards your {question.rings_to_win} eliminated rings",
    }
    return " ".join(sentences).format(**fields, line=parts["line"].format(**fields))


def streak_warning(question: Question, players: Players) -> str | None:
    """Warning of an imminent last-player-standing victory."""
    if question.streak is None:
        return None
    seat, rounds = question.streak
    last = "last round" if rounds == 1 else f"last {rounds} rounds"
    return (
        f"Only {players.name(seat)} could place, move or capture in the {last}: after 3 such "
        "rounds that wins the game."
    )


def refusal(question: Question, cell: str, content: str) -> str:
    """Reason why a cell cannot be chosen, one sentence."""
    reasons = TEXTS["refusals"]
    why = reasons.get(question.kind, reasons["other"]).format(focus=question.focus)
    if question.kind == "place" and content[:1] in ("m", "c"):
        why = reasons["on_marker" if content[0] == "m" else "on_territory"]
    elif question.kind == "move" and content[:1] == "s" and content.endswith(str(question.seat)):
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


def rules_summary(question: Question, position: Position) -> dict[str, str]:
    """Summary of the rules by subject, with the numbers of this game; `Goal` is one sentence."""
    more = " and more than all others together" if position.players > 2 else ""
    fields = {
        "rings": question.rings_to_win,
        "cells": question.cells_to_win,
        "length": question.line_length,
    }
    return {name: text.format(**fields, more=more) for name, text in TEXTS["rules"].items()}
