"""The shape of the package: who may import whom, and how long files and functions may be."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache
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
    {"game", "objects"},
    {"nn"},
    {"search", "runtime"},
    {"data", "players"},
    {"envs", "selfplay", "train"},
    {"evaluate", "play"},
    {"bench", "loop", "tune"},
    {"review", "observe"},
    {"web"},
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
    "": 1115,
    "bench": 1785,
    "cli": 7835,
    "data": 1565,
    "envs": 400,
    "evaluate": 2430,
    "fleet": 9720,
    "game": 7000,
    "loop": 5100,
    "nn": 3500,
    "observe": 960,
    "objects": 200,
    "play": 2155,
    "players": 3140,
    "review": 780,
    "runtime": 670,
    "search": 1910,
    "selfplay": 1520,
    "stats": 940,
    "store": 510,
    "train": 1620,
    "tune": 1040,
    "web": 1500,
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


def all_imports(tree: ast.AST) -> set[str]:
    return imports_among(ast.walk(tree))


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports_on_load(tree: ast.AST) -> set[str]:
    """Modules that loading the file loads: not those inside functions or for type checkers."""

    def loaded(node: ast.AST) -> Iterator[ast.AST]:
        yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            return
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return
        for child in ast.iter_child_nodes(node):
            yield from loaded(child)

    return imports_among(loaded(tree))


@cache
def loaded_by(path: Path) -> set[str]:
    return imports_on_load(parsed(path))


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
        for module in loaded_by(waiting.pop()):
            new = files_loaded_with(module) - seen
            waiting |= new
            seen |= new
            others.add(module.split(".")[0])
    return others - {"ringrift_cli"}


def faults(by_file: dict[Path, set[str]]) -> dict[str, set[str]]:
    """Files with what they may not have; empty if all is well."""
    return {module_name(path): wrong for path, wrong in by_file.items() if wrong}


@pytest.fixture(scope="session", autouse=True)
def compiled_rules() -> None:
    """Nothing is run here, so nothing has to be compiled."""


def test_imports_point_down() -> None:
    wrong: dict[Path, set[str]] = {}
    for path in FILES:
        own = package_of(module_name(path))
        allowed = {"cli"} if path.name == "__main__.py" else BELOW.get(own or "", set())
        reached = {package_of(module) for module in all_imports(parsed(path))} - {own, None}
        wrong[path] = {room for room in reached if room} - allowed
    assert faults(wrong) == {}


def test_rules_import_only_rules() -> None:
    wrong: dict[Path, set[str]] = {}
    for path in [PACKAGE / "game" / f"{name}.py" for name in sorted(RULES)]:
        imports = all_imports(parsed(path))
        own = {
            module.split(".")[2] for module in imports if module.startswith("ringrift_cli.game.")
        }
        wrong[path] = own - RULES | {module.split(".")[0] for module in imports} & {"typer", "rich"}
    assert faults(wrong) == {}


def test_command_line_loads_nothing_heavy() -> None:
    commands = (PACKAGE / "cli").glob("*.py")
    assert faults({path: others_loaded_with(path) & HEAVY for path in commands}) == {}


def test_rooms_keep_their_budgets() -> None:
    over: dict[str, tuple[int, int]] = {}
    for room, budget in BUDGET.items():
        folder = PACKAGE / room
        files = folder.rglob("*.py") if room else folder.glob("*.py")
        lines = sum(len(path.read_text().splitlines()) for path in files)
        over |= {room: (lines, budget)} if lines > budget else {}
    assert over == {}


def test_every_room_has_a_floor_and_a_budget() -> None:
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert rooms == set(BELOW) == set(BUDGET) - {""}


def test_files_and_functions_can_be_read() -> None:
    assert [p for p in FILES if len(p.read_text().splitlines()) >= MOST_LINES_OF_FILE] == []
    functions = {
        path: {
            node.name
            for node in ast.walk(parsed(path))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and (node.end_lineno or node.lineno) - node.lineno + 1 >= MOST_LINES_OF_FUNCTION
        }
        for path in FILES
    }
    assert faults(functions) == {}


def test_no_two_classes_have_the_same_name() -> None:
    where: dict[str, list[str]] = {}
    for path in FILES:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ClassDef):
                where.setdefault(node.name, []).append(module_name(path))
    assert {name: modules for name, modules in where.items() if len(modules) > 1} == {}


def test_the_checks_see_what_they_forbid() -> None:
    source = """
import numpy
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import torch
def late():
    from ringrift_cli.game import engine
"""
    assert imports_on_load(ast.parse(source)) == {"numpy", "typing", "typing.TYPE_CHECKING"}
    assert {"torch", "ringrift_cli.game.engine"} <= all_imports(ast.parse(source))
    assert package_of("ringrift_cli.game.engine") == "game"
    assert package_of("ringrift_cli.errors") is None
    assert "numpy" in others_loaded_with(PACKAGE / "game" / "engine.py")
    assert PACKAGE / "game" / "__init__.py" in files_loaded_with("ringrift_cli.game.engine")
