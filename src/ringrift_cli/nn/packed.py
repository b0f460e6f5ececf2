"""Inference on a CPU in float32 or int8: packs the weights of a network for compiled.py.

Channels are zero-padded to the block size of `vector.multiply`.
"""

from __future__ import annotations

import threading

import numpy as np
import torch
from torch import Tensor

from ringrift_cli.game.playout import LongArray, available_threads, spread
from ringrift_cli.game.topology import IntArray, board_named, tables
from ringrift_cli.nn.compiled import ConvolutionMemory, Places, Shape, Weights, evaluate_rows
from ringrift_cli.nn.features import (
    BOARD,
    SEAT_PLANES,
    SingleArray,
    global_count,
    plane_count,
)
from ringrift_cli.nn.folded import fold
from ringrift_cli.nn.int8 import MOST, ByteMemory, ByteWeights, quantised, ranges
from ringrift_cli.nn.network import Network, action_tables
from ringrift_cli.nn.vector import COLUMNS, FROM_WEIGHT, LANES, POINTS, ROWS, TILE

MIN_FILLED = 0.9  # minimum share of used rows in blocks of `multiply`
MIN_BLOCK = 2  # positions per thread, in multiples of `Shape.together`


class PackedNetwork:
    """A snapshot of a network, for rows of its board and players."""

    def __init__(self, network: Network, is_int8: bool = False) -> None:
        """int8 requires `int8.HAS_VNNI`."""
        a = network.architecture
        self._T = tables(a.board, a.players)
        self._shape = shape_of(network, is_int8)
        self._weights = weights_of(network, self._shape)
        self._bytes = byte_weights_of(network, self._shape)
        self._places = places_of(network, self._shape)
        self._own = threading.local()  # buffers of each thread

    def evaluate(
        self, rows: IntArray, actions: IntArray, offsets: LongArray
    ) -> tuple[SingleArray, SingleArray]:
        """Logits of the actions, [M], and value logits by relative seat, [N, players].

        Row i has the legal actions `actions[offsets[i] : offsets[i + 1]]`. Uses torch's number of
        threads.
        """
        logits = np.empty(len(actions), np.float32)
        values = np.empty((len(rows), self._shape.players), np.float32)

        def work(a: int, b: int) -> None:
            evaluate_rows(
                self._T, self._shape, self._weights, self._bytes, self._places, *self._rooms(),
                rows[a:b], actions, offsets[a : b + 1], logits, values[a:b],
            )  # fmt: skip

        smallest = MIN_BLOCK * self._shape.together
        threads = min(torch.get_num_threads(), available_threads())
        spread(work, len(rows), threads, smallest)
        return logits, values

    def _rooms(self) -> tuple[ConvolutionMemory, ByteMemory]:
        if not hasattr(self._own, "rooms"):
            kinds = self._bytes.biases.shape[1] // self._shape.padded
            self._own.rooms = new_room(self._shape), new_byte_room(self._shape, kinds)
        rooms: tuple[ConvolutionMemory, ByteMemory] = self._own.rooms
        return rooms


# ---- packing of weights -------------------------------------------------------------------------


def rounded(number: int, by: int) -> int:
    """Rounds `number` up to a multiple of `by`."""
    return -(-number // by) * by


def padded(tensor: Tensor, *shape: int) -> SingleArray:
    """A tensor zero-padded to a shape."""
    room = np.zeros(shape, np.float32)
    room[tuple(slice(size) for size in tensor.shape)] = tensor.detach().cpu().numpy()
    return room


def in_columns(matrix: SingleArray) -> SingleArray:
    """Reshapes [..., depth, columns] to [..., columns / COLUMNS, depth, COLUMNS]."""
    *front, depth, columns = matrix.shape
    split = matrix.reshape(*front, depth, columns // COLUMNS, COLUMNS)
    return np.ascontiguousarray(np.moveaxis(split, -2, -3))


def transformed(weight: Tensor, columns: int) -> SingleArray:
    """A 3 x 3 convolution, [out, in, 3, 3], as [25, columns / COLUMNS, in, COLUMNS], flattened."""
    g = torch.tensor(FROM_WEIGHT, dtype=torch.float64)
    points = torch.einsum("pi,ocij,qj->pqco", g, weight.detach().cpu().double(), g).flatten(0, 1)
    return in_columns(padded(points, POINTS * POINTS, weight.shape[1], columns)).ravel()


def shape_of(network: Network, is_int8: bool = False) -> Shape:
    """Sizes of a network."""
    a = network.architecture
    width = board_named(a.board).width
    side = rounded(width, TILE) // TILE
    together = 1
    while together * side * side < MIN_FILLED * rounded(together * side * side, ROWS):
        together += 1
    return Shape(
        width=width,
        side=side,
        picture=TILE * side + 2,
        together=together,
        planes=plane_count(a.players),
        board_plane=SEAT_PLANES * a.players + BOARD,
        scalars=global_count(a.players),
        blocks=a.blocks,
        channels=a.channels,
        padded=rounded(a.channels, COLUMNS),
        policy=rounded(a.policy, COLUMNS),
        hidden=rounded(a.hidden, LANES),
        players=a.players,
        cells=network.cells,
        is_int8=is_int8,
    )


def from_pooled(weight: Tensor, s: Shape, columns: int, rest: int = 0) -> SingleArray:
    """Packs a linear layer on pooled channels and `rest` inputs to [2 C + rest, columns]."""
    mean, most, others = torch.split(weight, [s.channels, s.channels, rest], 1)
    parts = ((mean, s.padded), (most, s.padded), (others, rest))
    return np.concatenate([padded(part.t(), size, columns) for part, size in parts])


def weights_of(network: Network, s: Shape) -> Weights:
    """Packs the current weights of a network."""
    n = network
    mask = mask_of(network, s)
    weight, stem_bias = fold(n.stem, n.stem_norm)
    stem = padded((weight * n.scales).permute(1, 2, 3, 0), s.planes, 3, 3, s.padded)
    base = np.zeros((s.picture, s.picture, s.padded), np.float32)
    for i, j in np.ndindex(3, 3):
        reached = mask[i : s.width + i, j : s.width + j, None] * stem[s.board_plane, i, j]
        base[1 : s.width + 1, 1 : s.width + 1] += reached
    convs, biases = [np.zeros(0, np.float32)] * s.is_int8, []
    pooled = np.zeros((s.blocks, 2 * s.padded, s.padded), np.float32)
    pooled_bias = np.zeros((s.blocks, s.padded), np.float32)
    for i, block in enumerate(n.residual_blocks()):
        for conv, norm in ((block.conv1, block.norm1), (block.conv2, block.norm2)):
            weight, bias = fold(conv, norm)
            if not s.is_int8:
                convs.append(transformed(weight, s.padded))
            biases.append(padded(bias, s.padded))
        if block.pooled is not None:
            pooled[i] = from_pooled(block.pooled.weight, s, s.padded)
            pooled_bias[i] = padded(block.pooled.bias, s.padded)
    cell = padded(n.policy_cell.weight[:, :, 0, 0].t(), s.channels, s.policy)
    shifts = [from_pooled(x.weight, s, s.policy) for x in (n.policy_pooled, n.policy_global)]
    shifts_bias = [padded(x.bias, s.policy) for x in (n.policy_pooled, n.policy_global)]
    planes = len(n.policy_bias)
    return Weights(
        mask=mask.ravel(),
        stem=stem.ravel(),
        base=base.ravel(),
        stem_bias=padded(stem_bias, s.padded),
        stem_scalars=padded(n.stem_scalars.weight.t(), s.scalars, s.padded),
        convs=np.stack(convs),
        biases=np.stack(biases),
        pools=np.array([block.pooled is not None for block in n.residual_blocks()], np.int32),
        pooled=pooled,
        pooled_bias=pooled_bias,
        policy_cell=in_columns(cell).ravel(),
        shifts=np.concatenate(shifts, 1),
        shifts_bias=np.concatenate(shifts_bias),
        here=padded(n.policy_here, planes, s.policy).ravel(),
        there=padded(n.policy_there, planes, s.policy).ravel(),
        bias=padded(n.policy_bias, planes),
        hidden=from_pooled(n.value_hidden.weight, s, s.hidden, s.scalars),
        hidden_bias=padded(n.value_hidden.bias, s.hidden),
        value=padded(n.value.weight.t(), s.hidden, LANES),
        value_bias=padded(n.value.bias, LANES),
    )


def mask_of(network: Network, s: Shape) -> SingleArray:
    """1 on the board, [P, P]."""
    mask = np.zeros((s.picture, s.picture), np.float32)
    for column, row in board_named(network.architecture.board).cells:
        mask[row + 1, column + 1] = 1
    return mask


def byte_weights_of(network: Network, s: Shape) -> ByteWeights:
    """Packs the convolutions of the blocks and of the policy in int8; empty for float32."""
    mask = mask_of(network, s)
    cells = np.flatnonzero(mask)
    corners = cells - s.picture - 1
    taps = (np.arange(3)[:, None] * s.picture + np.arange(3)).ravel()
    kinds, kind = np.unique(mask.ravel()[corners[:, None] + taps], axis=0, return_inverse=True)

    def each(items: LongArray, step: int, unused: int = 0) -> IntArray:
        """Of the cells of all positions, with the step from one to the next."""
        every = (np.arange(s.together)[:, None] * step + items).ravel()
        rest = rounded(len(every), ROWS) - len(every)
        return np.append(every, np.full(rest, unused)).astype(np.int32)

    size, none = s.picture**2, np.zeros_like(cells)
    last = s.together * size
    found = ranges(network) if s.is_int8 else np.ones((2 * s.blocks + 1, s.channels), np.float32)
    convs, factors, biases = [], [], []
    pooled = np.zeros((s.blocks, s.padded, len(kinds), s.padded), np.float32)
    for i, block in enumerate(network.residual_blocks()):
        for j, (conv, norm) in enumerate(((block.conv1, block.norm1), (block.conv2, block.norm2))):
            weight, bias = fold(conv, norm)
            conv_bytes, factor = quantised(weight, found[2 * i + j] / MOST, s.padded)
            convs.append(conv_bytes)
            factors.append(factor)
            biases.append(np.tile(padded(bias, s.padded), len(kinds)))
        if block.pooled is not None:
            reached = np.einsum("oit,kt->iko", weight.detach().cpu().flatten(2).numpy(), kinds)
            pooled[i, : s.channels, :, : s.channels] = reached
    policy, policy_factors = quantised(network.policy_cell.weight, found[-1] / MOST, s.policy)
    inverses = np.ones((2 * s.blocks + 1, s.padded), np.float32)
    inverses[:, : s.channels] = MOST / found
    return ByteWeights(
        convs=np.stack(convs),
        factors=np.stack(factors),
        biases=np.stack(biases),
        inverses=inverses,
        pooled=pooled.reshape(s.blocks, s.padded, -1),
        policy=policy,
        policy_factors=policy_factors,
        taps=(taps * s.padded).astype(np.int32),
        tap=np.array([taps[4] * s.padded], np.int32),
        corner=each(corners, size, last),
        cell=each(cells, size, last + s.picture + 1),
        uniform=each(none, 0),
        shifts=each(none, 2),
        kind=each(kind.ravel(), len(kinds)),
    )


def places_of(network: Network, s: Shape) -> Places:
    """Feature rows of each action."""
    found = action_tables(board_named(network.architecture.board))

    def place(cell: LongArray) -> IntArray:
        row, column = np.divmod(cell, s.width)
        rows = np.where(cell == s.width**2, 0, (row + 1) * s.picture + column + 1)
        return rows.astype(np.int32)

    return Places(place(found.here), place(found.there), found.plane.astype(np.int32))


def new_room(s: Shape) -> ConvolutionMemory:
    """Zeroed buffers; the borders around boards are never written."""
    n, picture = s.together, s.picture * s.picture
    tiles = 0 if s.is_int8 else rounded(n * s.side * s.side, ROWS)

    def zeros(*shape: int) -> SingleArray:
        return np.zeros(shape, np.float32)

    planes = np.zeros((s.width, s.width, rounded(s.planes, 8)), np.uint8)
    return ConvolutionMemory(
        bytes=planes,
        words=planes.view(np.uint64).reshape(s.width**2, -1),
        scalars=zeros(n, s.scalars),
        x=zeros((n + 1) * picture * s.padded),
        y=zeros((n + 1) * picture * s.padded),
        shift=zeros(s.padded),
        turned=zeros(POINTS * POINTS * tiles * s.padded),
        products=zeros(POINTS * POINTS * tiles * s.padded),
        pooled=zeros(2 * s.padded + s.scalars),
        added=zeros(s.padded),
        shifts=zeros(n, 2 * s.policy),
        features=zeros((n + 1) * picture * s.policy),
        hidden=zeros(s.hidden),
        value=zeros(LANES),
    )


def new_byte_room(s: Shape, kinds: int) -> ByteMemory:
    """Zeroed buffers for int8."""
    size = (s.together + 1) * s.picture * s.picture if s.is_int8 else 0
    biases = np.zeros((s.together, kinds * s.padded), np.float32)
    x, y, unused = (np.zeros(size * wide, np.uint8) for wide in (s.padded, s.padded, s.policy))
    return ByteMemory(x, y, unused, biases)
