"""Network evaluator for search (search/forest.py, `Evaluator`)."""

from __future__ import annotations

import threading

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
from ringrift_cli.nn.int8 import HAS_VNNI
from ringrift_cli.nn.network import Network
from ringrift_cli.nn.packed import PackedNetwork
from ringrift_cli.system import processor_flags

FloatArray = npt.NDArray[np.float64]

PRECISIONS = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "int8": torch.int8,
}
MIN_AMX_CHANNELS = 64  # narrower networks do not fill AMX tiles


def fastest_precision(device: torch.device, channels: int) -> torch.dtype:
    """The fastest precision of a device for a network with `channels` channels.

    On a CPU int8 with AVX512-VNNI, else float32 (compiled.py), except for wide networks with AMX.
    AVX512-BF16 alone has no more throughput than float32 on Intel processors; direct convolutions
    in it took 1.8 times as long.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    wide = channels >= MIN_AMX_CHANNELS
    amx = "amx_bf16" in processor_flags() and onednn_convolves(torch.bfloat16)
    if wide and amx:
        return torch.bfloat16
    return torch.int8 if HAS_VNNI else torch.float32


def picked_precision(name: str, device: torch.device, channels: int) -> torch.dtype:
    """Resolves a precision name, "auto" or one of PRECISIONS, for `channels` channels.

    `UsageError` for another name, or a precision without convolutions on this processor.
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
    if device.type != "cpu" and name == "int8":
        raise UsageError("Networks run in int8 on CPUs only.", hint="precision=auto")
    return PRECISIONS[name]


def cpu_precisions() -> list[str]:
    """Names of the precisions supported by this processor."""
    return [
        name
        for name, dtype in PRECISIONS.items()
        if dtype == torch.float32 or (HAS_VNNI if dtype == torch.int8 else onednn_convolves(dtype))
    ]


class NetworkEvaluator:
    """Evaluates positions with a snapshot of a network; thread-safe.

    `identity` is that of the network (checkpoint.py), with the precision appended unless float32;
    `network` is the inference form in `precision`; `positions` counts evaluated positions.
    """

    def __init__(self, network: Network, device: str = "cpu", precision: str = "auto") -> None:
        """`device` is a torch device name; `precision` and errors as in `picked_precision`."""
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
        if where.type == "cpu" and dtype in (torch.float32, torch.int8):
            self.network = PackedNetwork(network, dtype == torch.int8)
        else:
            self.network = Folded(network, where, dtype)

    def evaluate(
        self, rows: IntArray, actions: IntArray, offsets: LongArray
    ) -> tuple[FloatArray, FloatArray]:
        """Logits of the legal actions, [M], and win probabilities by absolute seat, [N, players].

        Row i has the legal actions `actions[offsets[i] : offsets[i + 1]]`. On a CPU it uses as many
        threads as torch (`torch.set_num_threads`). `RingriftError` if an output is not finite.
        """
        logits, values = self.network.evaluate(rows, actions, offsets)
        if not (np.isfinite(logits).all() and np.isfinite(values).all()):
            raise RingriftError(
                f"The network {self.identity} has an output that is not finite ({self.precision}).",
                hint="precision=float32, or another checkpoint",
            )
        with self._count:
            self.positions += len(rows)
        return logits.astype(np.float64), self._win_probabilities(values, rows[:, L.SEAT])

    def _win_probabilities(self, values: SingleArray, movers: IntArray) -> FloatArray:
        """By absolute seat, [N, players], from logits by relative seat."""
        logits = values.astype(np.float64)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        seats = (np.arange(self._players) - movers[:, None]) % self._players
        return np.take_along_axis(shares, seats, axis=1)
