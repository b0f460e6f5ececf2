"""After `compile_network` nothing of this package is compiled any more."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import numpy as np
from ringrift_cli.game import jit
from ringrift_cli.game.playout import list_all
from ringrift_cli.game.position import Position
from ringrift_cli.game.topology import tables
from ringrift_cli.nn import compiled, features, symmetry, warm
from ringrift_cli.nn.evaluator import NetworkEvaluator
from ringrift_cli.nn.network import Network, architecture

said = []
warm.compile_network(said.append)
T, rows = tables("hex8", 3), Position.initial("hex8", 3).row[None]
actions, offsets = list_all(T, rows)
features.encode_all(T, rows)
symmetry.transform_all("hex8", 3, rows, actions, offsets, np.array([0]))
NetworkEvaluator(Network(architecture("small", "hex8", 3)), precision="float32").evaluate(
    rows, actions, offsets
)
entries = (features._encode, symmetry._transform, compiled.evaluate_rows)
misses = [sum(entry.stats.cache_misses.values()) for entry in entries]
hits = [sum(entry.stats.cache_hits.values()) for entry in entries]
print(misses, hits, said)
"""


def test_everything_is_in_the_cache() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[0, 0, 0] [1, 1, 1] []\n"
