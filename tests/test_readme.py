"""The README's session: every command with an output is run, and prints what stands there.

`…` stands for any text on a line, and alone on a line for any lines.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```\n(\$ .*?)^```$", re.MULTILINE | re.DOTALL)
PROMPT = "$ "
ANY = "…"


def session() -> list[tuple[str, str]]:
    """Each command of the README that has an output, and the output."""
    found = []
    for block in BLOCK.findall(README):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            if output.strip():
                found.append((command.strip(), output.strip("\n")))
    return found


def pattern(output: str) -> str:
    """A regular expression of an output; spaces at the ends of lines do not count."""
    lines = [
        r"(?:.*\n)*?" if line.strip() == ANY else re.escape(line.rstrip()) + r" *\n"
        for line in output.splitlines()
    ]
    return "".join(lines).replace(re.escape(ANY), ".*?")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like a clone, in which the commands of the session find the recorded games."""
    found = tmp_path_factory.mktemp("clone")
    (found / "tests").symlink_to(ROOT / "tests")
    return found


def test_commands_print_what_the_readme_shows(folder: Path) -> None:
    commands = session()
    assert len(commands) >= 8
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "COLUMNS": "100", "NO_COLOR": "1"}
    environment["RINGRIFT_RESULTS"] = str(folder / "results.sqlite")
    wrong = []
    for command, output in commands:
        done = subprocess.run(
            command,
            check=False,
            shell=True,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        if done.returncode or not re.fullmatch(pattern(output), done.stdout):
            wrong.append(f"$ {command}\n{done.stdout}{done.stderr}")
    assert wrong == []


def test_a_pattern_holds_an_output_to_every_word() -> None:
    shown = pattern("a … s: 1\n…\nend")
    assert re.fullmatch(shown, "a 12 s: 1\nend\n")
    assert re.fullmatch(shown, "a 12 s: 1\nmore\nand more\nend\n")
    assert not re.fullmatch(shown, "a 12 s: 2\nend\n")
    assert not re.fullmatch(shown, "a 12 s: 1\nend\nmore\n")
