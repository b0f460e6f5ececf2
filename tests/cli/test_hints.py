"""Commands that messages suggest exist, with these options and arguments."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import typer

from ringrift_cli.cli.app import command_tree

SOURCE = Path(__file__).parents[2] / "src" / "ringrift_cli"
SUGGESTED = re.compile(r"ringrift ((?:(?!, |; |: |\. |\)|`|'| \(|\|| && |…)[^\n])+)")
PROSE = {"does", "for", "reads", "shows", "that", "trains", "with"}
PLACE = "x1"  # for what is filled in


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of the string literals, without docstrings; `PLACE` for what is filled in."""
    inside: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            inside.add(id(node.value))
        if isinstance(node, ast.JoinedStr):
            inside |= {id(part) for part in ast.walk(node)} - {id(node)}
    for node in ast.walk(tree):
        if id(node) in inside:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        elif isinstance(node, ast.JoinedStr):
            parts = (one.value if isinstance(one, ast.Constant) else PLACE for one in node.values)
            yield node.lineno, "".join(map(str, parts))


def suggestions() -> Iterator[tuple[str, str]]:
    for path in sorted(SOURCE.rglob("*.py")):
        for line, text in texts(ast.parse(path.read_text())):
            for found in SUGGESTED.finditer(text):
                yield f"{path.relative_to(SOURCE)}:{line}", found[1].strip().rstrip(".")


def fault(text: str) -> str | None:
    """Why a suggested command would be refused; None for prose that only begins like one."""
    words = shlex.split(text.replace('"', ""))
    words = words[: next((n for n, word in enumerate(words) if word in PROSE), None)]
    command = command_tree()
    context = typer.Context(command)
    if not words or words[0] not in command.commands:
        return None
    while words and words[0] in getattr(command, "commands", ()):
        command = command.commands[words.pop(0)]
        context = typer.Context(command, parent=context)
    if words[:1] == [PLACE] and hasattr(command, "commands"):
        return None  # a subcommand that is filled in
    try:
        _, left, _ = command.make_parser(context).parse_args(words)
    except typer.TyperException as error:
        return f"ringrift {text}: {error.message}"
    return f"ringrift {text}: {left} is too much" if left else None


def test_suggested_commands_exist() -> None:
    found = dict(suggestions())
    assert len(found) > 50
    assert fault("fleet status desk") == "ringrift fleet status desk: ['desk'] is too much"
    assert "No such option" in str(fault("fleet status --none"))
    faults = {where: fault(text) for where, text in found.items()}
    assert {where: why for where, why in faults.items() if why} == {}
