"""The examples in docstrings and documents give what they say."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
MODULES = sorted(
    ".".join(path.relative_to(SOURCE).with_suffix("").parts)
    for path in SOURCE.rglob("*.py")
    if ">>> " in path.read_text()
)
DOCUMENTS = [
    path for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
    if ">>> " in path.read_text()
]  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_a_module(name: str) -> None:
    tried = doctest.testmod(importlib.import_module(name))
    assert (tried.failed, tried.attempted > 0) == (0, True)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.name))
def test_examples_of_a_document(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # some write files
    tried = doctest.testfile(str(path), module_relative=False)
    assert (tried.failed, tried.attempted > 0) == (0, True)


def test_sections_of_the_api_import_what_they_use() -> None:
    """Whoever starts to read in the middle has the imports of the first section only."""
    _, first, *sections = re.split(r"(?m)^## ", (ROOT / "docs" / "api.md").read_text())

    def imported(section: str) -> set[str]:
        names = re.findall(r"(?m)^>>> from ringrift_cli\S* import (.*)$", section)
        return {name.strip() for line in names for name in line.split(",")}

    known = set().union(*map(imported, sections))
    for section in sections:
        code = " ".join(re.findall(r"(?m)^(?:>>>|\.\.\.) (.*)$", section))
        used = {name for name in known if re.search(rf"\b{name}\b", code)}
        assert used <= imported(section) | imported(first), section[:40]


def test_those_with_examples_are_there() -> None:
    assert set(MODULES) >= {"ringrift_cli.game.position", "ringrift_cli.game.batch"}
    assert "api.md" in {path.name for path in DOCUMENTS}
