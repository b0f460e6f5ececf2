"""The examples in docstrings and documents give what they say."""

from __future__ import annotations

import doctest
import importlib
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


def test_those_with_examples_are_there() -> None:
    assert set(MODULES) >= {"ringrift_cli.game.position", "ringrift_cli.game.batch"}
    assert "api.md" in {path.name for path in DOCUMENTS}
