"""The heuristic on a GPU: its kernel compiles for one, and plays the CPU's games."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ringrift_cli.game.playout import game_seeds
from ringrift_cli.players.cuda.playout import HeuristicBatch, Temper, play_on_cpu
from ringrift_cli.players.features import N
from tests import device_jobs
from tests.ptx import TARGETS, PtxDevice, Target
from tests.simulated import simulate


@pytest.mark.parametrize("target", TARGETS)
def test_the_heuristic_compiles_without_a_gpu(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = PtxDevice(target, monkeypatch)
    batch = HeuristicBatch("hex8", 2, 4, device, np.ones(N))
    batch.play(device.zeros(4).long(), 8, Temper())
    assert device.kernels() == ["heuristic_kernel", "start_kernel"]


@pytest.mark.parametrize(
    ("board", "players", "log", "width", "careless"),
    [
        ("square8", 2, 4, 0, (0.0, 0.0)),
        ("hex8", 3, 6, 2, (0.3, 0.2)),
        pytest.param("hex8", 2, 200, 4, (0.1, 0.1), marks=pytest.mark.long),
        pytest.param("hexagonal", 2, 3, 1, (0.0, 0.0), marks=pytest.mark.long),
    ],
)
def test_the_heuristic_plays_the_games_of_the_cpu(
    board: str, players: int, log: int, width: int, careless: tuple[float, float], tmp_path: Path
) -> None:
    weights, seeds = np.random.default_rng(1).normal(size=N), game_seeds(5, 0, 3)
    told = simulate(
        device_jobs.heuristic,
        {
            "board": np.array(board), "players": np.array(players), "seeds": seeds,
            "weights": weights, "log": np.array(log), "width": np.array(width),
            "careless": np.array(careless),
        },
        tmp_path,
    )  # fmt: skip
    rows, logs, lengths = play_on_cpu(board, players, seeds, log, weights, Temper(width, *careless))
    assert (told["rows"] == rows).all()
    assert (told["logs"] == logs).all()
    assert (told["lengths"] == lengths).all()
