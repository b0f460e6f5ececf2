"""The check for machines with a GPU, as far as it runs without one: all of it, in the simulator."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ringrift_cli.bench import gpu_check
from ringrift_cli.bench.gpu_agreement import Agreement, Extent, sample
from ringrift_cli.bench.gpu_check import Figure, GpuMeasurements, table
from ringrift_cli.game import layout as L
from tests import gpu_jobs
from tests.simulated import simulate

KINDS = ("games", "masks", "features", "heuristic", "search")
SAME = Agreement("hex8", 2, 10_000, dict.fromkeys(KINDS, 0), (1e-6, 1e-7), (1e-2, 1e-3))


def test_positions_are_of_all_depths() -> None:
    rows, actions, offsets = sample("hex8", 3, 64)
    assert (rows[:, L.PHASE] != L.OVER).all()
    assert len(set(rows[:, L.PLY].tolist())) > 5
    assert (np.diff(offsets) > 0).all()
    assert offsets[-1] == len(actions)


def test_the_whole_check_runs_in_the_simulator(tmp_path: Path) -> None:
    told = simulate(gpu_jobs.check, {}, tmp_path, quiet=False)
    assert int(told["code"]) == 0
    text = str(told["text"])
    assert text.startswith("the simulator, ")
    for players in (2, 3, 4):
        assert f"square8    {players}p" in text
    assert text.count("equal") == 3
    assert "hex8, random games, memory by word" in text
    assert "features and masks, 2 positions" in text
    assert "self-play, 2 simulations: share of that" in text
    assert "trees alone, 2 simulations" in text
    assert text.endswith("CPU and GPU agree everywhere\n")


def test_what_differs_is_found_and_fails(tmp_path: Path) -> None:
    told = simulate(gpu_jobs.broken, {}, tmp_path, quiet=False)
    assert int(told["code"]) == 1
    assert "DIFFERENT" in str(told["text"])
    assert all(int(told[kind]) > 0 for kind in KINDS)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"differing": {**SAME.differing, kind: 1}} for kind in KINDS),
        {"exact": (2e-3, 0.0)},
        {"exact": (0.0, 2e-3)},
        {"exact": (float("nan"), 0.0)},
    ],
)
def test_one_difference_is_enough(wrong: dict[str, Any]) -> None:
    assert SAME.holds
    worse = replace(SAME, **wrong)
    assert not worse.holds
    lines = table("a GPU", [SAME, worse], [Figure("playouts", "9 games/s", ">= 10", False)], 1.0)
    assert sum("DIFFERENT" in line for line in lines) == 1
    assert lines[-1] == "1 configurations DIFFER"
    assert any("MISSED" in line for line in lines)


def test_its_extent_is_what_was_promised() -> None:
    extent, effort = Extent(), GpuMeasurements()
    assert extent.games == (10_000, 500)
    assert effort.positions == 8192
    assert (effort.memory_board, effort.memory_games, effort.memory_walks) == (
        "hexagonal",
        1024,
        64,
    )
    assert effort.sims == (32, 64)


def test_without_a_gpu_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_check.main() == 1
    assert "no CUDA GPU" in capsys.readouterr().err
