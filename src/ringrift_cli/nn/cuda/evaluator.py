"""Network evaluator for positions in GPU memory."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ringrift_cli.game import layout as L
from ringrift_cli.game.cuda.device import Device
from ringrift_cli.game.topology import IntArray
from ringrift_cli.nn.cuda import kernels
from ringrift_cli.nn.features import global_count, plane_count
from ringrift_cli.nn.folded import Folded

SCORE_THREADS = 64  # that score the actions of a position


class Encoder:
    """Encodes `count` rows at a time into fixed tensors.

    `planes` [N, W, W, C] uint8 and `scalars` [N, K] float32 are those of the last rows.
    """

    def __init__(self, T: IntArray, count: int, device: Device) -> None:
        self._device, self._cells = device, int(T[L.T_CELLS])
        self._T = device.view(device.moved(np.array(T)))
        players, width = int(T[L.T_PLAYERS]), int(T[L.T_ROWS])
        shape = (count, width, width, plane_count(players))
        self.planes = device.zeros(*shape, of=torch.uint8)
        self.scalars = device.zeros(count, global_count(players), of=torch.float32)
        self._views = device.view(self.planes), device.view(self.scalars)

    def encode(self, rows: Tensor) -> None:
        """Writes the features of rows, [N, row size] int32."""
        self.planes.zero_()
        self.scalars.zero_()
        self._device.launch(
            kernels.encode_kernel, len(rows) * self._cells, self._T, self._device.view(rows),
            *self._views, self._cells,
        )  # fmt: skip


class DeviceNetwork:
    """Evaluates `count` positions at a time (search/cuda/forest.py, `DeviceEvaluator`).

    Several instances may share a network; each has its own buffers.
    """

    def __init__(self, network: Folded, T: IntArray, count: int, device: Device) -> None:
        self._device, self._network = device, network
        self._encoder = Encoder(T, count, device)
        self.wrong = device.zeros(1)
        self._wrong = device.view(self.wrong)
        self._chances = device.zeros(count, int(T[L.T_PLAYERS]), of=torch.float64)
        self._logits = device.zeros(count, int(T[L.T_MAX_LEGAL]), of=torch.float32)
        scorer = network.scorer
        self._tables = [device.view(table) for table in scorer[:3]]
        self._weights = [device.view(weights.float().contiguous()) for weights in scorer[3:]]

    @torch.inference_mode()
    def evaluate(self, rows: Tensor, lists: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of actions, [N, max legal] float32; win probabilities, [N, players] float64.

        Row i has the legal actions `lists[i, : counts[i]]`; rows without any are ignored.
        `wrong` is set on an output that is not finite.
        """
        device = self._device
        self._encoder.encode(rows)
        seen, values = self._network.positions(self._encoder.planes, self._encoder.scalars)
        row_view, list_view, count_view = (device.view(each) for each in (rows, lists, counts))
        device.launch(
            kernels.chances_kernel, len(rows), row_view, count_view, device.view(values),
            device.view(self._chances), self._wrong,
        )  # fmt: skip
        device.launch_blocks(
            kernels.logits_kernel, len(rows), SCORE_THREADS, device.view(seen.float()), list_view,
            count_view, *self._tables, *self._weights, device.view(self._logits), self._wrong,
        )  # fmt: skip
        return self._logits, self._chances
