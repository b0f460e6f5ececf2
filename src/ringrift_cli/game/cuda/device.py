"""Where kernels run: a GPU that shares its memory with torch, or CUDA's simulator.

All memory is torch's. A kernel is given views of tensors and is put on torch's current stream, so
that it takes its turn among torch's own kernels and can be captured with them in a CUDA graph.

With `NUMBA_ENABLE_CUDASIM=1` in the environment the same kernels run as plain Python over tensors
of the CPU, on a machine without a GPU: slowly, and with the results that compiled code has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch
from numba import cuda
from torch import Tensor

from ringrift_cli.errors import RingriftError
from ringrift_cli.game.jit import SIMULATED, Plain, keep

if not SIMULATED:
    from numba.cuda.core import config  # type: ignore[import-not-found]
    from numba.cuda.dispatcher import CUDACache

    config.CUDA_LOW_OCCUPANCY_WARNINGS = 0  # a batch is as large as it is asked to be

THREADS = 32 if SIMULATED else 128  # of a block; the simulator starts one of Python's for each
Kernel = Callable[..., None]


@cache
def compiled(kernel: Kernel) -> Any:
    """The kernel for launches; numba compiles it when it first sees arguments of some types.

    Machine code is kept with that of the CPU: the folder is that of all the functions it may call.
    """
    if SIMULATED:
        return cuda.jit(kernel)
    found = cuda.jit(kernel)
    keep(found, CUDACache)
    return found


class Device:
    """A device by torch's name: `cuda:N`, or `cpu` in the simulator.

    `RingriftError` if numba or torch cannot use it.
    """

    def __init__(self, name: str) -> None:
        self.torch = torch.device(name)
        if SIMULATED:
            usable = self.torch.type == "cpu"
        else:
            usable = self.torch.type == "cuda" and torch.cuda.is_available() and cuda.is_available()
        if not usable:
            raise RingriftError(
                f"There is no CUDA GPU here that numba and torch can use as {name}.",
                hint="nvidia-smi",
            )
        self.name = name

    def zeros(self, *shape: int, of: torch.dtype = torch.int32) -> Tensor:
        """A tensor of zeros on the device."""
        return torch.zeros(shape, dtype=of, device=self.torch)

    def moved(self, array: np.ndarray) -> Tensor:
        """A copy of an array on the device; uint64 as the int64 of the same bits."""
        bits = array.view(np.int64) if array.dtype == np.uint64 else array
        return torch.tensor(bits, device=self.torch)

    def view(self, tensor: Tensor, kind: type[np.generic] | None = None) -> Any:
        """A tensor as kernels take it, its bits read as `kind`; the memory is the same."""
        if SIMULATED:
            array = tensor.numpy()
            return Plain(array if kind is None else array.view(kind))
        with self.active():
            shared = cuda.as_cuda_array(tensor.detach())
            return shared if kind is None else shared.view(kind)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Makes the device that of torch and of numba in this thread."""
        if SIMULATED:
            yield
            return
        with torch.cuda.device(self.torch), cuda.gpus[torch.cuda.current_device()]:
            yield

    def launch(self, kernel: Kernel, threads: int, *arguments: Any) -> None:
        """Queues `threads` threads of a kernel on torch's current stream; see `view`."""
        self.launch_blocks(kernel, -(-threads // THREADS), THREADS, *arguments)

    def launch_blocks(self, kernel: Kernel, blocks: int, threads: int, *arguments: Any) -> None:
        """As `launch`, in blocks of the given number of threads."""
        if SIMULATED:
            compiled(kernel)[blocks, threads](*arguments)
            return
        with self.active():
            stream = cuda.external_stream(torch.cuda.current_stream().cuda_stream)
            compiled(kernel)[blocks, threads, stream](*arguments)

    def wait(self) -> None:
        """Returns when all that was launched is done; an error of a kernel is raised here."""
        if not SIMULATED:
            torch.cuda.synchronize(self.torch)
