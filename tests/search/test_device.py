"""The search on a GPU: its kernels compile for one, with the network and without."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ringrift_cli.game.topology import tables
from ringrift_cli.nn.cuda.evaluator import DeviceNetwork
from ringrift_cli.nn.folded import Folded
from ringrift_cli.nn.network import Network, architecture
from ringrift_cli.search.cuda.check import DeviceArithmetic
from ringrift_cli.search.cuda.forest import DeviceForest
from tests.ptx import CAPABILITIES, PtxDevice

SEARCH = ["begin_kernel", "expand_kernel", "play_kernel", "walk_kernel"]
NETWORK = ["chances_kernel", "encode_kernel", "logits_kernel"]


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_the_search_compiles_without_a_gpu(
    capability: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    T, device = tables("hex8", 2), PtxDevice(capability, monkeypatch)
    network = Network(architecture("tiny", "hex8", 2)).eval()
    folded = Folded(network, torch.device("cpu"), torch.float32)
    forest = DeviceForest(T, 4, DeviceArithmetic(2, device), device, walks=4)
    forest.step()
    forest.play(np.array([0]), np.array([0]))
    assert device.kernels() == SEARCH
    DeviceForest(T, 4, DeviceNetwork(folded, T, 4, device), device, walks=4).step()
    assert device.kernels() == sorted([*SEARCH, *NETWORK, "expand_kernel"])  # of other logits
