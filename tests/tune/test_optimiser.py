"""The optimiser: a function of its seed and of what it is told."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ringrift_cli
from ringrift_cli.tune.optimiser import MOST_EFFORT, Optimiser

DIMENSIONS = 12


def optimised(generations: int, *, noise: float = 0.0, seed: int = 1) -> Optimiser:
    """After so many generations on a sphere around 0.5, with noise on its values."""
    optimiser = Optimiser(DIMENSIONS, 0.3, 20, seed)
    rng = np.random.default_rng(5)

    def value(x: float) -> float:
        return x + noise * rng.standard_normal()

    for _ in range(generations):
        exact = ((optimiser.ask() - 0.5) ** 2).sum(axis=1).tolist()
        fitness = [value(x) for x in exact]
        optimiser.tell(fitness, [value(exact[k]) for k in optimiser.again(fitness)])
    return optimiser


def test_it_finds_a_minimum() -> None:
    found = optimised(60)
    assert found.mean == pytest.approx(np.full(DIMENSIONS, 0.5), abs=0.05)
    assert found.sigma < 0.1


def test_nobody_elses_random_numbers_matter() -> None:
    np.random.seed(1)  # noqa: NPY002 - the state that pycma uses unless it is told otherwise
    one = optimised(5)
    np.random.seed(2)  # noqa: NPY002
    other = optimised(5)
    assert (one.mean == other.mean).all()
    assert one.digest() == other.digest()
    assert optimised(5, seed=2).digest() != one.digest()
    assert optimised(6).digest() != one.digest()


def test_effort_rises_under_noise_and_not_without() -> None:
    assert optimised(60).effort == 1.0
    noisy = optimised(60, noise=100.0)
    assert noisy.effort == MOST_EFFORT
    assert noisy.noise > 0


def test_a_fitness_that_is_no_number_is_refused() -> None:
    optimiser = Optimiser(DIMENSIONS, 0.3, 20, 0)
    optimiser.ask()
    with pytest.raises(ValueError, match="not finite"):
        optimiser.tell([float("nan")] * 20, [0.0] * 3)


def test_every_import_of_matplotlib_hides_the_backend() -> None:
    package = Path(ringrift_cli.__file__).parent
    for path in package.rglob("*.py"):
        tree = ast.parse(path.read_text())
        typed = [n for n in ast.walk(tree) if isinstance(n, ast.If) and "TYPE_CH" in ast.dump(n)]
        blocks = [n for n in ast.walk(tree) if isinstance(n, ast.With) and "no_back" in ast.dump(n)]
        safe = {inner for block in (*typed, *blocks) for inner in ast.walk(block)}
        for node in set(ast.walk(tree)) - safe:
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {"matplotlib", "cma"} & {name.split(".")[0] for name in names}, path


@pytest.mark.parametrize("backend", ["module://no_such_package.backend", "no_such_backend"])
def test_a_backend_of_matplotlib_that_does_not_exist_changes_nothing(backend: str) -> None:
    """pycma imports pyplot; pictures are drawn without it."""
    program = (
        "from ringrift_cli.tune.optimiser import Optimiser; Optimiser(3, 0.3, 6, 1).ask()\n"
        "from ringrift_cli.plotting import new_figure, picture\n"
        "figure = new_figure(1, 1); figure.subplots()\n"
        "assert picture(figure, 'png').startswith(b'\\x89PNG')\n"
        "assert picture(figure, 'svg').startswith(b'<?xml')\n"
    )
    environment = {**os.environ, "MPLBACKEND": backend}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, timeout=120)
