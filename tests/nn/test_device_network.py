"""Networks whose positions lie on a GPU: features and evaluations are those of the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ringrift_cli.game.playout import list_all
from ringrift_cli.game.topology import tables
from ringrift_cli.nn.evaluator import NetworkEvaluator
from ringrift_cli.nn.features import encode_all
from ringrift_cli.nn.network import Network, architecture
from tests import device_jobs
from tests.simulated import simulate
from tests.walks import CONFIGURATIONS, positions

QUICK = [("square8", 4), ("hexagonal", 2)]
EVERY = [
    pytest.param(*each, marks=[] if each in QUICK else [pytest.mark.long])
    for each in CONFIGURATIONS
]


@pytest.mark.parametrize(("board", "players"), EVERY)
def test_features_are_those_of_the_cpu(board: str, players: int, tmp_path: Path) -> None:
    each = 1 if board.endswith("8") else 40
    rows = np.stack([position.row for position in positions(board, players, 5)][::each])
    told = simulate(
        device_jobs.features,
        {"board": np.array(board), "players": np.array(players), "rows": rows},
        tmp_path,
    )
    planes, scalars = encode_all(tables(board, players), rows)
    assert (told["planes"] == planes).all()
    assert (told["scalars"] == scalars).all()


@pytest.mark.parametrize(("board", "players"), [("hex8", 3)])
def test_judgements_are_those_of_the_cpu(board: str, players: int, tmp_path: Path) -> None:
    T = tables(board, players)
    rows = np.stack([p.row for p in positions(board, players, 6) if not p.is_over])[::20]
    actions, offsets = list_all(T, rows)
    counts = np.diff(offsets).astype(np.int32)
    counts[1] = 0  # nothing is asked about this one
    lists = np.zeros((len(rows), counts.max()), np.int32)
    for i, n in enumerate(counts.tolist()):
        lists[i, :n] = actions[offsets[i] : offsets[i] + n]
    given = {"board": np.array(board), "players": np.array(players), "rows": rows}
    told = simulate(device_jobs.network, {**given, "lists": lists, "counts": counts}, tmp_path)
    torch.manual_seed(0)
    cpu = NetworkEvaluator(Network(architecture("tiny", board, players)).eval(), "cpu", "float32")
    logits, values = cpu.evaluate(rows, actions, offsets)
    for i, n in enumerate(counts.tolist()):
        near = logits[offsets[i] : offsets[i] + n]
        assert told["logits"][i, :n] == pytest.approx(near, abs=1e-5)
        if n > 0:
            assert told["chances"][i] == pytest.approx(values[i], abs=1e-6)
    assert (told["chances"][1] == 0).all()
    assert told["sound"][0] == 0
    assert told["unsound"][0] == 1
