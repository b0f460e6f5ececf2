"""The examples in docstrings and documents give what they say."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import ringrift_cli

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(ringrift_cli.__path__, "ringrift_cli.")
    if ".cuda" not in module.name and not module.name.endswith("__main__")
)
WITH_EXAMPLES = {"ringrift_cli.game.position", "ringrift_cli.game.batch"}
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
DOCUMENTS_WITH_EXAMPLES = {"api.md"}


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_a_module(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name))
    assert found.failed == 0
    assert found.attempted > 0 or name not in WITH_EXAMPLES


@pytest.mark.parametrize("path", DOCUMENTS, ids=[path.name for path in DOCUMENTS])
def test_examples_of_a_document(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # some write files
    found = doctest.testfile(str(path), module_relative=False)
    assert found.failed == 0
    assert found.attempted > 0 or path.name not in DOCUMENTS_WITH_EXAMPLES


def test_those_with_examples_are_there() -> None:
    assert set(MODULES) >= WITH_EXAMPLES
    assert {path.name for path in DOCUMENTS} >= DOCUMENTS_WITH_EXAMPLES
