"""The shape of the package: who may import whom, and how long files and functions may be."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src"
PACKAGE = ROOT / "ringrift_cli"
FILES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES_OF_FILE = 800
MOST_LINES_OF_FUNCTION = 80

# Rooms by floor, from the ground up: a room imports from lower floors only.
FLOORS = (
    {"store", "stats"},
    {"game"},
    {"nn"},
    {"search", "runtime"},
    {"data", "players"},
    {"selfplay", "train"},
    {"evaluate", "play"},
    {"bench", "loop", "tune"},
    {"cli"},
)
# `fleet` knows no games: what must be true of a file that arrives is handed to it.
BELOW = {
    room: set().union(*FLOORS[:number]) for number, floor in enumerate(FLOORS) for room in floor
} | {"fleet": {"store"}}
for room in ("loop", "cli"):
    BELOW[room].add("fleet")
# Lines of a room, comments and docstrings included; "" is the package's own folder.
BUDGET = {
    "": 760,
    "bench": 1950,
    "cli": 7400,
    "data": 1600,
    "evaluate": 1600,
    "fleet": 8100,
    "game": 6850,
    "loop": 3150,
    "nn": 2950,
    "play": 2040,
    "players": 2850,
    "runtime": 400,
    "search": 1900,
    "selfplay": 1250,
    "stats": 1050,
    "store": 350,
    "train": 1650,
    "tune": 1100,
}
# The rules proper, which CUDA kernels call too: they know neither texts nor files nor screens.
RULES = {
    "engine",
    "jit",
    "layout",
    "lines",
    "movement",
    "placement",
    "recovery",
    "state",
    "territory",
    "topology",
    "turn",
    "victory",
}
# Too slow to load for --help.
HEAVY = {"numba", "numpy", "rich", "torch"}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_among(nodes: Iterable[ast.AST]) -> set[str]:
    """Modules that the nodes import; of `from a import b` both `a` and `a.b`."""
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def all_imports(source: str) -> set[str]:
    return imports_among(ast.walk(ast.parse(source)))


def imports_on_load(source: str) -> set[str]:
    """Modules that loading the file loads: not those inside functions or for type checkers."""

    def loaded(node: ast.AST) -> Iterator[ast.AST]:
        yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            return
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return
        for child in ast.iter_child_nodes(node):
            yield from loaded(child)

    return imports_among(loaded(ast.parse(source)))


def package_of(module: str) -> str | None:
    """The package of ringrift_cli that a module lies in; None for root modules and others."""
    parts = module.split(".")
    return parts[1] if parts[0] == "ringrift_cli" and len(parts) > 1 and parts[1] in BELOW else None


def files_loaded_with(module: str) -> set[Path]:
    """The files of ringrift_cli that an import loads first: the module's and its packages'."""
    parts = module.split(".")
    stems = [ROOT.joinpath(*parts[: n + 1]) for n in range(len(parts))]
    return {path for stem in stems for path in (stem.with_suffix(".py"), stem / "__init__.py")} & {
        *FILES
    }


def others_loaded_with(path: Path) -> set[str]:
    """Packages of others that loading a file loads, by whatever path."""
    waiting, seen, others = {path}, {path}, set()
    while waiting:
        for module in imports_on_load(waiting.pop().read_text()):
            new = files_loaded_with(module) - seen
            waiting |= new
            seen |= new
            others.add(module.split(".")[0])
    return others - {"ringrift_cli"}


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_point_down(path: Path) -> None:
    own = package_of(module_name(path))
    reached = {package_of(module) for module in all_imports(path.read_text())} - {own, None}
    if path.name == "__main__.py":
        assert reached == {"cli"}
    else:
        assert reached <= BELOW.get(own or "", set())


@pytest.mark.parametrize("name", sorted(RULES))
def test_rules_import_only_rules(name: str) -> None:
    imports = all_imports((PACKAGE / "game" / f"{name}.py").read_text())
    own = {module.split(".")[2] for module in imports if module.startswith("ringrift_cli.game.")}
    assert own <= RULES
    assert not {module.split(".")[0] for module in imports} & {"typer", "rich"}


@pytest.mark.parametrize("path", sorted((PACKAGE / "cli").glob("*.py")), ids=module_name)
def test_command_line_loads_nothing_heavy(path: Path) -> None:
    assert not others_loaded_with(path) & HEAVY


@pytest.mark.parametrize("room", sorted(BUDGET))
def test_a_room_keeps_its_budget(room: str) -> None:
    folder = PACKAGE / room
    files = folder.rglob("*.py") if room else folder.glob("*.py")
    assert sum(len(path.read_text().splitlines()) for path in files) <= BUDGET[room]


def test_every_room_has_a_floor_and_a_budget() -> None:
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert rooms == set(BELOW) == set(BUDGET) - {""}


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_files_and_functions_can_be_read(path: Path) -> None:
    source = path.read_text()
    assert len(source.splitlines()) < MOST_LINES_OF_FILE
    lengths = {
        node.name: (node.end_lineno or node.lineno) - node.lineno + 1
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name for name, lines in lengths.items() if lines >= MOST_LINES_OF_FUNCTION} == set()


def test_the_checks_see_what_they_forbid() -> None:
    source = """
import numpy
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import torch
def late():
    from ringrift_cli.game import engine
"""
    assert imports_on_load(source) == {"numpy", "typing", "typing.TYPE_CHECKING"}
    assert {"torch", "ringrift_cli.game.engine"} <= all_imports(source)
    assert package_of("ringrift_cli.game.engine") == "game"
    assert package_of("ringrift_cli.errors") is None
    assert "numpy" in others_loaded_with(PACKAGE / "game" / "engine.py")
    assert PACKAGE / "game" / "__init__.py" in files_loaded_with("ringrift_cli.game.engine")
