"""A network as the judge of positions that a search asks (search/forest.py, `Evaluator`)."""

from __future__ import annotations

import threading
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ringrift_cli.errors import RingriftError, UsageError
from ringrift_cli.game import layout as L
from ringrift_cli.game.playout import LongArray
from ringrift_cli.game.topology import IntArray
from ringrift_cli.nn.checkpoint import identity_of
from ringrift_cli.nn.features import SingleArray
from ringrift_cli.nn.folded import Folded, onednn_convolves
from ringrift_cli.nn.network import Network
from ringrift_cli.nn.packed import PackedNetwork

FloatArray = npt.NDArray[np.float64]

PRECISIONS = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
LEAST_AMX_CHANNELS = 64  # narrower networks leave AMX's tiles half empty


@cache
def _cpu_words() -> frozenset[str]:
    try:
        return frozenset(Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].split())
    except OSError:
        return frozenset()


def fastest_precision(device: torch.device, channels: int) -> torch.dtype:
    """The precision in which a device is fastest for a network with so many channels.

    On a CPU that is float32 (compiled.py), but for wide networks where there is AMX. AVX512-BF16
    alone multiplies no more numbers in a cycle on Intel's processors than float32 does; plain
    convolutions in it took 1.8 times as long there.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    wide = channels >= LEAST_AMX_CHANNELS
    amx = "amx_bf16" in _cpu_words() and onednn_convolves(torch.bfloat16)
    return torch.bfloat16 if wide and amx else torch.float32


def picked_precision(name: str, device: torch.device, channels: int) -> torch.dtype:
    """The precision of a name, "auto" or one of PRECISIONS, for a network with so many channels.

    `UsageError` for another name, or for a precision that this processor cannot convolve in.
    """
    if name == "auto":
        return fastest_precision(device, channels)
    if name not in PRECISIONS:
        raise UsageError(
            f"Unknown precision {name!r}: expected auto or one of {', '.join(PRECISIONS)}."
        )
    if device.type == "cpu" and name not in cpu_precisions():
        raise UsageError(
            f"This processor has no convolutions in {name}.",
            hint=f"precision={' or precision='.join(cpu_precisions())}",
        )
    return PRECISIONS[name]


def cpu_precisions() -> list[str]:
    """The names of the precisions in which this processor evaluates networks."""
    return [
        name
        for name, dtype in PRECISIONS.items()
        if dtype == torch.float32 or onednn_convolves(dtype)
    ]


class NetworkEvaluator:
    """Evaluates positions with a network as it was when this was made; for any number of threads.

    `identity` is the network's (checkpoint.py), and the precision where that is not float32;
    `network` computes, in `precision`, and `positions` counts what it has evaluated so far.
    """

    def __init__(self, network: Network, device: str = "cpu", precision: str = "auto") -> None:
        """`device` is torch's name of one; `precision` and errors as for `picked_precision`."""
        a, where = network.architecture, torch.device(device)
        dtype = picked_precision(precision, where, a.channels)
        self.precision = str(dtype).removeprefix("torch.")
        self.identity = identity_of(network)
        if dtype != torch.float32:
            self.identity += f"-{self.precision}"
        self.positions = 0
        self._count = threading.Lock()
        self._players = a.players
        self.network: PackedNetwork | Folded
        if where.type == "cpu" and dtype == torch.float32:
            self.network = PackedNetwork(network)
        else:
            self.network = Folded(network, where, dtype)

    def evaluate(
        self, rows: IntArray, actions: IntArray, offsets: LongArray
    ) -> tuple[FloatArray, FloatArray]:
        """Logits of the legal actions, [M], and chances to win by absolute seat, [N, players].

        Row i may play `actions[offsets[i] : offsets[i + 1]]`. The chances of a row sum to 1. On a
        CPU, as many threads work on it as torch may use (`torch.set_num_threads`).
        `RingriftError` if the network says something that is no number.
        """
        logits, values = self.network.evaluate(rows, actions, offsets)
        if not (np.isfinite(logits).all() and np.isfinite(values).all()):
            raise RingriftError(
                f"The network {self.identity} evaluates a position by numbers that are not finite"
                f" (in {self.precision}).",
                hint="precision=float32, or another checkpoint",
            )
        with self._count:
            self.positions += len(rows)
        return logits.astype(np.float64), self._chances(values, rows[:, L.SEAT])

    def _chances(self, values: SingleArray, movers: IntArray) -> FloatArray:
        """By absolute seat, [N, players], of logits by relative seat."""
        logits = values.astype(np.float64)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        seats = (np.arange(self._players) - movers[:, None]) % self._players
        return np.take_along_axis(shares, seats, axis=1)
