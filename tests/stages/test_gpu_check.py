"""The check for machines with a GPU, as far as it runs without one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ringrift_cli.game import layout as L
from ringrift_cli.stages import gpu_check


def test_positions_are_of_all_depths() -> None:
    rows, actions, offsets = gpu_check.sample("hex8", 3, 64)
    assert (rows[:, L.PHASE] != L.OVER).all()
    assert len(set(rows[:, L.PLY].tolist())) > 5
    assert (np.diff(offsets) > 0).all()
    assert offsets[-1] == len(actions)


def test_half_precision_is_near_and_float32_nearer() -> None:
    exact = gpu_check.differences("square8", 2, "cpu", "float32")
    rough = gpu_check.differences("square8", 2, "cpu", "bfloat16")
    assert max(exact) == 0
    assert 0 < max(rough) < 0.2


def test_without_a_gpu_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_check.main() == 1
    assert "no CUDA GPU" in capsys.readouterr().err
