"""A device that compiles what is launched on it, for a machine without a GPU.

The drivers run as they are: what a kernel is compiled for are the types that it is launched with.
Optimising takes ten times as long as all the rest, so only long tests do it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numba import cuda, typeof
from torch import Tensor

from ringrift_cli.game.cuda.device import Device, Kernel

TARGETS = [  # compute capability, whether the code is optimised
    (9, 0, False),
    *(pytest.param(target, marks=pytest.mark.long) for target in ((8, 0, True), (9, 0, True))),
]
Target = tuple[int, int, bool]


class PtxDevice(Device):
    """Keeps the PTX of every kernel, by its name and the types of its arguments."""

    def __init__(self, target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
        self.torch, self.name = torch.device("cpu"), "ptx"
        *capability, self._optimised = target
        self._capability = tuple(capability)
        self.ptx: dict[tuple[str, Any], str] = {}
        # Numba asks the device for its capability when it compiles the functions a kernel calls.
        there = SimpleNamespace(compute_capability=self._capability)
        monkeypatch.setattr("numba.cuda.dispatcher.get_current_device", lambda: there)
        for module in ("search.cuda.forest", "search.cuda.sequence"):  # no streams, no graphs
            monkeypatch.setattr(f"ringrift_cli.{module}.SIMULATED", True)

    def view(self, tensor: Tensor, kind: type[np.generic] | None = None) -> Any:
        array = tensor.detach().numpy()
        return array if kind is None else array.view(kind)

    @contextmanager
    def active(self) -> Iterator[None]:
        yield

    def launch_blocks(self, kernel: Kernel, blocks: int, threads: int, *arguments: Any) -> None:
        assert blocks > 0
        assert 0 < threads <= 1024
        types = tuple(typeof(argument) for argument in arguments)
        if (kernel.__name__, types) not in self.ptx:
            ptx, _ = cuda.compile(
                kernel, types, device=False, abi="numba", cc=self._capability, opt=self._optimised
            )
            major, minor = self._capability
            assert f".target sm_{major}{minor}" in ptx
            assert ".visible .entry" in ptx
            assert "malloc" not in ptx  # nothing allocates
            self.ptx[kernel.__name__, types] = ptx

    def wait(self) -> None:
        pass

    def kernels(self) -> list[str]:
        """The names of the kernels that were compiled, one for each set of types."""
        return sorted(name for name, _ in self.ptx)
