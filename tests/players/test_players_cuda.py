"""The heuristic on a GPU: its kernel compiles for one."""

from __future__ import annotations

import numpy as np
import pytest

from ringrift_cli.players.cuda.playout import HeuristicBatch, Temper
from ringrift_cli.players.features import N
from tests.ptx import CAPABILITIES, PtxDevice


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_the_heuristic_compiles_without_a_gpu(
    capability: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    device = PtxDevice(capability, monkeypatch)
    batch = HeuristicBatch("hex8", 2, 4, device, np.ones(N))
    batch.play(device.zeros(4).long(), 8, Temper())
    assert device.kernels() == ["heuristic_kernel", "start_kernel"]
