"""The rules as CUDA kernels: they compile, and in the simulator they play the CPU's games.

Running them needs a GPU (`make gpu-check`).
"""

from __future__ import annotations

import pytest
from numba import cuda

from ringrift_cli.errors import RingriftError
from ringrift_cli.game.cuda.batch import DeviceBatch
from ringrift_cli.game.cuda.device import Device
from tests.ptx import CAPABILITIES, PtxDevice

RULES = ["apply_kernel", "legal_kernel", "mask_kernel", "start_kernel", "winners_kernel"]


def launch_all(batch: DeviceBatch, device: Device) -> None:
    batch.mask()
    batch.apply(device.zeros(len(batch)))
    batch.ended()


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_the_rules_compile_without_a_gpu(
    capability: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    device = PtxDevice(capability, monkeypatch)
    batch = DeviceBatch("hex8", 2, 4, device)
    launch_all(batch, device)
    assert device.kernels() == RULES
    batch.play_random(device.zeros(4).long(), 8)
    batch.play_many(device.zeros(9).long())
    assert device.kernels() == sorted([*RULES, "play_kernel", "play_many_kernel"])


@pytest.mark.parametrize(
    "capability", [CAPABILITIES[0], pytest.param(CAPABILITIES[1], marks=pytest.mark.long)]
)
def test_the_rules_compile_for_words_of_all_games_side_by_side(
    capability: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    device = PtxDevice(capability, monkeypatch)
    batch = DeviceBatch("hex8", 2, 4, device, by_word=True)
    batch.play_many(device.zeros(9).long())
    assert device.kernels() == ["play_many_kernel", "start_kernel"]
    ([_, rows, *_], *_) = [types for name, types in device.ptx if name == "play_many_kernel"]
    assert rows.layout == "F"


@pytest.mark.skipif(cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_driver_says_so() -> None:
    with pytest.raises(RingriftError, match="no CUDA GPU"):
        Device("cuda:0")
