"""Inference on a GPU or in half precision, with batch norms folded and without auxiliary heads.

Outputs equal those of `Network.eval()` up to rounding. On a CPU, oneDNN convolutions fuse relu and
residual sum and use reordered weights; torch's convolutions are used elsewhere, and for precisions
without oneDNN support on this processor.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ringrift_cli.game.playout import LongArray
from ringrift_cli.game.topology import IntArray, tables
from ringrift_cli.nn.features import SingleArray, encode_padded
from ringrift_cli.nn.network import Block, Network

MAX_PASS = 4096  # positions in one pass
MAX_CPU_NUMBERS = 1 << 20  # size of an activation in a pass on a CPU, to fit the cache
PASS_STEP = 4  # smallest granularity of pass sizes
ONE = [1, 1]


def pass_size(count: int) -> int:
    """Rounds `count` up to one of few batch sizes, by at most 1/8 from 32 on.

    oneDNN and cuDNN compile kernels per batch size, which takes longer than a small batch.
    """
    step = max(PASS_STEP, 1 << max(0, (count - 1).bit_length() - 4))
    return -(-count // step) * step


def fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution equivalent to `conv` followed by `norm`."""
    assert norm.running_var is not None
    assert norm.running_mean is not None
    factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return conv.weight * factor[:, None, None, None], norm.bias - norm.running_mean * factor


def copied(layer: nn.Linear, like: Tensor) -> tuple[Tensor, Tensor]:
    """Copies of weight and bias of a linear layer, independent of further training."""
    return layer.weight.to(like, copy=True), layer.bias.to(like, copy=True)


def _onednn_weight(weight: Tensor, padding: int, shape: list[int]) -> Tensor:
    """The weight of a convolution, reordered for inputs of a shape."""
    laid_out: Tensor = torch.ops.mkldnn._reorder_convolution_weight(  # noqa: SLF001
        weight, [padding] * 2, ONE, ONE, 1, shape
    )
    return laid_out


def _onednn(x: Tensor, weight: Tensor, bias: Tensor, padding: int, then: str) -> Tensor:
    done: Tensor = torch.ops.mkldnn._convolution_pointwise(  # noqa: SLF001
        x, weight, bias, [padding] * 2, ONE, ONE, 1, then, [], ""
    )
    return done


@cache
def onednn_convolves(dtype: torch.dtype) -> bool:
    """Whether oneDNN has convolutions in a precision on this processor, by a trial run.

    bfloat16 requires AVX512BW or AVX-NE-CONVERT, float16 AVX512-FP16 or AVX-NE-CONVERT.
    """
    x, bias = torch.zeros(1, 16, 4, 4, dtype=dtype), torch.zeros(16, dtype=dtype)
    weight = torch.zeros(16, 16, 3, 3, dtype=dtype)
    try:
        _onednn(x, _onednn_weight(weight, 1, list(x.shape)), bias, 1, "relu")
    except (RuntimeError, AttributeError):  # AttributeError: this torch has no oneDNN
        return False
    return True


class Convolution:
    """A convolution with bias and same padding."""

    def __init__(self, weight: Tensor, bias: Tensor, like: Tensor) -> None:
        """`like`, [N, channels, W, W], has the layout, device and precision of the inputs."""
        self._padding = weight.shape[2] // 2
        self._bias = bias.to(like, copy=True)
        weight = weight.to(like, copy=True).contiguous(memory_format=torch.channels_last)
        self._fused = like.device.type == "cpu" and onednn_convolves(like.dtype)
        if self._fused:
            shape = [like.shape[0], weight.shape[1], *like.shape[2:]]
            weight = _onednn_weight(weight, self._padding, shape)
        self._weight = weight

    def __call__(self, x: Tensor, then: str = "none") -> Tensor:
        """The convolution of x, [N, channels, W, W], then "relu" or "none"."""
        if self._fused:
            return _onednn(x, self._weight, self._bias, self._padding, then)
        x = F.conv2d(x, self._weight, self._bias, padding=self._padding)
        return x.relu_() if then == "relu" else x

    def add_relu(self, x: Tensor, other: Tensor) -> Tensor:
        """relu(other + the convolution of x); may overwrite `other`."""
        if self._fused:
            done: Tensor = torch.ops.mkldnn._convolution_pointwise_.binary(
                other, x, self._weight, self._bias, [self._padding] * 2, ONE, ONE, 1,
                "add", 1.0, "relu", [], "",
            )  # fmt: skip
            return done
        return other.add_(self(x)).relu_()


class BoardShape:
    """Operations that depend on the board: mask, and pooling over its cells."""

    def __init__(self, network: Network, like: Tensor) -> None:
        self._square = bool((network.mask == 1).all())
        self._mask = network.mask.to(like)  # [1, 1, W, W]
        self._per_cell = 1 / network.cells

    def keep(self, x: Tensor) -> Tensor:
        """Sets x to 0 off the board, in place."""
        return x if self._square else x.mul_(self._mask)

    def pool(self, x: Tensor) -> Tensor:
        """As network.pool; x must be 0 off the board and not negative."""
        mean = x.sum((2, 3)).mul_(self._per_cell)
        return torch.cat([mean, F.max_pool2d(x, x.shape[2:]).flatten(1)], 1)

    def add(self, x: Tensor, bias: Tensor) -> Tensor:
        """Adds a bias, [N, channels], on the board, in place."""
        bias = bias[:, :, None, None]
        return x.add_(bias) if self._square else x.addcmul_(bias, self._mask)


class FoldedBlock:
    """Inference form of `network.Block`."""

    def __init__(self, block: Block, board: BoardShape, like: Tensor) -> None:
        self._board = board
        self._conv1 = Convolution(*fold(block.conv1, block.norm1), like)
        self._conv2 = Convolution(*fold(block.conv2, block.norm2), like)
        self._pooled = None
        if block.pooled is not None:
            self._pooled = copied(block.pooled, like)

    def __call__(self, x: Tensor) -> Tensor:
        y = self._board.keep(self._conv1(x, "relu"))
        if self._pooled is not None:
            y = self._board.add(y, F.linear(self._board.pool(y), *self._pooled))
        return self._board.keep(self._conv2.add_relu(y, x))


class Scorer(NamedTuple):
    """Parameters that map policy features to action logits (tables: network.ActionTables).

    The logit is features[here] * weights_here[plane] + features[there] * weights_there[plane],
    summed, + bias[plane], where features are relu'd, [W * W + 1, policy] for each position.
    """

    here: Tensor  # [T_ACTIONS] int64
    there: Tensor  # [T_ACTIONS] int64
    plane: Tensor  # [T_ACTIONS] int64
    weights_here: Tensor  # [planes, policy]
    weights_there: Tensor  # [planes, policy]
    bias: Tensor  # [planes] float32


class Folded:
    """A snapshot of a network, for rows of its board and players."""

    @torch.inference_mode()
    def __init__(
        self, network: Network, device: torch.device, dtype: torch.dtype, most: int = MAX_PASS
    ) -> None:
        """Processes at most `most` positions in a pass."""
        a, n = network.architecture, network
        width = n.mask.shape[-1]
        self._T, self._players = tables(a.board, a.players), a.players
        self._places = width * width + 1
        if device.type == "cpu":
            most = min(most, max(MAX_CPU_NUMBERS // (self._places * a.channels), 1))
        self._most, self._device, self._dtype, self._policy = most, device, dtype, a.policy
        like = torch.empty(pass_size(most), a.channels, width, width, dtype=dtype, device=device)
        like = like.contiguous(memory_format=torch.channels_last)
        self._board = BoardShape(n, like)
        weight, bias = fold(n.stem, n.stem_norm)
        self._stem = Convolution(weight * n.scales, bias, like)
        single = torch.empty(0, device=device)  # small layers use float32
        self._stem_scalars = n.stem_scalars.weight.to(single, copy=True)
        self._blocks = [FoldedBlock(block, self._board, like) for block in n.residual_blocks()]
        zeros = torch.zeros(a.policy, device=n.mask.device)
        self._policy_cell = Convolution(n.policy_cell.weight, zeros, like)
        shifts = (n.policy_pooled, n.policy_global)
        self._shifts = (
            torch.cat([layer.weight for layer in shifts]).to(like),
            torch.cat([layer.bias for layer in shifts]).to(like),
        )
        self._here = n.policy_here.to(like, copy=True)
        self._there = n.policy_there.to(like, copy=True)
        self._bias = n.policy_bias.to(single, copy=True)
        self._hidden, self._value = copied(n.value_hidden, single), copied(n.value, single)
        self._tables = [table.to(device) for table in (n.here, n.there, n.plane)]

    @property
    def scorer(self) -> Scorer:
        """Parameters for scoring actions outside of `actions`."""
        here, there, plane = self._tables
        return Scorer(here, there, plane, self._here, self._there, self._bias)

    def evaluate(
        self, rows: IntArray, actions: IntArray, offsets: LongArray
    ) -> tuple[SingleArray, SingleArray]:
        """Logits of the actions, [M], and value logits by relative seat, [N, players].

        Row i has the legal actions `actions[offsets[i] : offsets[i + 1]]`.
        """
        logits = np.empty(len(actions), np.float32)
        values = np.empty((len(rows), self._players), np.float32)
        for a in range(0, len(rows), self._most):
            b = min(a + self._most, len(rows))
            of = slice(offsets[a], offsets[b])
            counts = np.diff(offsets[a : b + 1])
            logits[of], values[a:b] = self._pass(rows[a:b], actions[of], counts)
        return logits, values

    def _pass(
        self, rows: IntArray, actions: IntArray, counts: LongArray
    ) -> tuple[SingleArray, SingleArray]:
        # torch's threads spin while waiting, so concurrent encoder threads would slow down both
        threads = 1 if self._device.type == "cpu" else None
        planes, scalars = encode_padded(self._T, rows, pass_size(len(rows)), threads)
        features, value = self.positions(self._moved(planes), self._moved(scalars))
        first = self._moved(np.repeat(np.arange(len(rows)) * self._places, counts))
        action = self._moved(actions)
        here, there, plane = (table[action] for table in self._tables)
        logits = self.actions(features, here + first, there + first, plane)
        return logits.cpu().numpy(), value[: len(rows)].cpu().numpy()

    def _moved(self, array: npt.NDArray[np.generic]) -> Tensor:
        tensor = torch.from_numpy(array)
        if self._device.type == "cpu":
            return tensor
        return tensor.pin_memory().to(self._device, non_blocking=True)

    @torch.inference_mode()
    def positions(self, planes: Tensor, scalars: Tensor) -> tuple[Tensor, Tensor]:
        """Policy features, [N, W * W + 1, policy], and value logits, [N, players] float32.

        Inputs: planes, [N, W, W, C] uint8, and scalars, [N, K] float32.
        """
        x = self._stem(planes.permute(0, 3, 1, 2).to(self._dtype))
        shift = F.linear(scalars, self._stem_scalars).to(self._dtype)
        x = self._board.keep(x.add_(shift[:, :, None, None]).relu_())
        for block in self._blocks:
            x = block(x)
        pooled = self._board.pool(x)
        hidden = F.linear(torch.cat([pooled.float(), scalars], 1), *self._hidden).relu_()
        shifts = F.linear(pooled, *self._shifts)
        cells = self._policy_cell(x).permute(0, 2, 3, 1).flatten(1, 2)
        features = cells.new_empty(len(x), cells.shape[1] + 1, self._policy)
        torch.add(cells, shifts[:, None, : self._policy], out=features[:, :-1])
        features[:, -1] = shifts[:, self._policy :]
        return features.relu_(), F.linear(hidden, *self._value)

    @torch.inference_mode()
    def actions(self, features: Tensor, here: Tensor, there: Tensor, plane: Tensor) -> Tensor:
        """Logits, [M] float32, of actions by plane and by the rows of flattened features, [M]."""
        flat = features.flatten(0, 1)
        found = flat.index_select(0, here).mul_(self._here.index_select(0, plane))
        found.addcmul_(flat.index_select(0, there), self._there.index_select(0, plane))
        return found.sum(1, dtype=torch.float32).add_(self._bias.index_select(0, plane))
