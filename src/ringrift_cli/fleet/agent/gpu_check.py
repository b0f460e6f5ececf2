"""Runs a kernel of torch and one of Numba on every GPU that the environment of a host sees."""

from __future__ import annotations

import sys
from typing import Any


def main() -> None:
    """The program: ends with an error unless there is a GPU and both kernels work on all."""
    import numpy as np
    import torch

    built = f"torch {torch.__version__} for CUDA {torch.version.cuda}"
    count = torch.cuda.device_count()
    if not count:
        sys.exit(f"{built} sees none")
    try:
        from numba import cuda
    except ImportError as error:
        sys.exit(f"numba-cuda is missing: {error}")

    @cuda.jit  # type: ignore[untyped-decorator]
    def add_one(row: Any) -> None:
        at = cuda.grid(1)
        if at < row.size:
            row[at] += 1

    for index in range(count):
        try:
            matrix = torch.ones(64, 64, device=f"cuda:{index}")
            product = float((matrix @ matrix).sum())
            with cuda.gpus[index]:
                row = cuda.to_device(np.zeros(64, np.int32))
                add_one[1, 64](row)
                total = int(row.copy_to_host().sum())
        except Exception as error:  # noqa: BLE001  whatever driver and compiler raise
            sys.exit(f"GPU {index}, {built}: {type(error).__name__}: {error}")
        if (product, total) != (64.0**3, 64):
            sys.exit(f"GPU {index}, {built}: it computes {product:g} and {total}")


if __name__ == "__main__":
    main()
