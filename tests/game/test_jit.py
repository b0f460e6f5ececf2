"""Machine code that is kept."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ringrift_cli.game.jit import CACHE_VARIABLE, cache_root

PACKAGE = Path(__file__).parents[2] / "src" / "ringrift_cli"
CHECK = """\
from ringrift_cli.game.warm import compile_rules
from ringrift_cli.nn.warm import compile_network
from ringrift_cli.players.warm import compile_players
for compile_all in (compile_rules, compile_network, compile_players):
    compile_all(print)
import ringrift_cli
print(ringrift_cli.__file__)
"""


@pytest.mark.usefixtures("compiled_rules")
def test_a_copy_of_the_package_elsewhere_compiles_nothing(tmp_path: Path) -> None:
    copy = shutil.copytree(
        PACKAGE, tmp_path / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__")
    )
    for source in copy.rglob("*.py"):
        source.touch()
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path),
        CACHE_VARIABLE: str(cache_root().parent),
    }
    run = subprocess.run(
        [sys.executable, "-c", CHECK], env=environment, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout) == (0, f"{copy / '__init__.py'}\n"), run.stderr
