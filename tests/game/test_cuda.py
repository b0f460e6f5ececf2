"""The rules compile as CUDA device functions; running them needs a GPU (`make gpu-check`)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from numba import cuda, types

from ringrift_cli.errors import RingriftError
from ringrift_cli.game.cuda import playout

ROW = types.int32[::1]
ROWS = types.int32[:, ::1]
SEEDS, LENGTHS = types.uint64[::1], types.int64[::1]
KERNELS = {
    playout.start_kernel: (ROW, ROWS, types.boolean),
    playout.play_kernel: (ROW, ROWS, SEEDS, ROWS, ROWS, ROWS, LENGTHS),
}


@pytest.mark.parametrize("capability", [(8, 0), (9, 0)])
@pytest.mark.parametrize("kernel", KERNELS)
def test_kernels_compile_without_a_gpu(
    kernel: Any, capability: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Numba asks the device for its capability when it compiles the functions a kernel calls.
    device = SimpleNamespace(compute_capability=capability)
    monkeypatch.setattr("numba.cuda.dispatcher.get_current_device", lambda: device)
    ptx, _ = cuda.compile(kernel, KERNELS[kernel], device=False, abi="numba", cc=capability)
    assert f".target sm_{capability[0]}{capability[1]}" in ptx
    assert ".visible .entry" in ptx
    assert "malloc" not in ptx  # the rules allocate nothing


@pytest.mark.skipif(cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_driver_says_so() -> None:
    with pytest.raises(RingriftError, match="no CUDA GPU"):
        playout.play_random("hex8", 2, 0, 1, log=0)
