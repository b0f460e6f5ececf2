"""Every command line that help and documents name can be typed as it stands."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.cli.test_options import EVERY

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CliError: Any = typer.BadParameter.__mro__[2]  # of Typer's own Click


def commands_in(text: str) -> Iterator[list[str]]:
    """The words after `ringrift` of each line that is a command."""
    for line in text.replace("\\\n", " ").splitlines():
        found = re.match(r"\s*(?:\$ )?(?:[A-Z_]+=\S+ )*ringrift (.*)", line)
        if found:
            lexer = shlex.shlex(
                found[1].replace(" 2> ", " > "), posix=True, punctuation_chars="|&;<>"
            )
            lexer.whitespace_split = True
            words = list(itertools.takewhile(lambda word: not set(word) <= set("|&;<>"), lexer))
            if words and not words[0].startswith(("-", "…")):
                yield words


def in_documents() -> Iterator[tuple[str, list[str]]]:
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for block in BLOCK.findall(path.read_text("utf-8")):
            lines = block.splitlines()
            typed = [line for line in lines if line.startswith("$ ")] or lines
            for words in commands_in("\n".join(typed)):
                yield path.name, words


def in_help() -> Iterator[tuple[str, list[str]]]:
    for name, command in EVERY.items():
        for words in commands_in((command.help or "").partition("Example")[2]):
            yield f"{name} --help", words


def parse(words: list[str]) -> None:
    """Parses a command line without running it."""
    command, name = EVERY[""], ""
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        name = f"{name} {words[0]}".strip()
        if name not in EVERY:
            raise typer.BadParameter(f"there is no command {name!r}")
        command, words = EVERY[name], words[1:]
    if words not in ([], ["--help"]):
        # the group's names of the help option: each command keeps the first ones that it is given
        command.make_context(name, list(words), help_option_names=["-h", "--help"])


@pytest.mark.parametrize("source", [in_help, in_documents])
def test_every_example_is_a_command_line(
    source: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(source)
    found = list(source())
    assert len(found) > 30
    monkeypatch.chdir(tmp_path)
    for option in ("ringrift.yaml", "hosts.yaml"):
        Path(option).write_text("")
    wrong = []
    for where, words in found:
        try:
            parse(words)
        except CliError as error:
            wrong.append((where, " ".join(words), error.format_message()))
    assert wrong == []
