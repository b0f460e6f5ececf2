"""Compiled float32 inference on a CPU, from game rows to logits.

A thread processes a few positions at a time, enough to fill the blocks of `vector.multiply`, so its
working set stays in the cache: small batches are as fast as large ones, threads are independent,
and results do not depend on the batch. It takes little more than half the time of oneDNN's float32
convolutions (folded.py), which are at the limit of direct convolution.

Pictures are [P, P, channels] with zeros around the board: P = 3 t + 2, where t x t tiles cover it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ringrift_cli.game.jit import njit, pointer, rule
from ringrift_cli.game.playout import LongArray
from ringrift_cli.game.topology import IntArray
from ringrift_cli.nn.features import ByteArray, SingleArray, encode_planes, encode_scalars
from ringrift_cli.nn.vector import (
    COLUMNS,
    POINTS,
    ROWS,
    TILE,
    dot,
    give_tile,
    multiply,
    take_tile,
)


class Shape(NamedTuple):
    """Sizes of a network."""

    width: int  # of the board
    side: int  # t
    picture: int  # P = 3 t + 2
    together: int  # n, positions processed at once
    planes: int
    planes_padded: int  # a multiple of LANES
    scalars: int
    blocks: int
    channels: int
    padded: int  # channels
    policy: int  # padded
    hidden: int
    players: int
    cells: int


class Weights(NamedTuple):
    """Weights in kernel layout; C and D are the padded channels and policy features."""

    mask: SingleArray  # [P * P]
    stem: SingleArray  # layout of `transformed`
    stem_bias: SingleArray  # [C]
    stem_scalars: SingleArray  # [K, C]
    convs: SingleArray  # [2 blocks, ...] layout of `transformed`
    biases: SingleArray  # [2 blocks, C]
    pools: IntArray  # [blocks] whether the block pools
    pooled: SingleArray  # [blocks, 2 C, C]
    pooled_bias: SingleArray  # [blocks, C]
    policy_cell: SingleArray  # [D / COLUMNS, channels, COLUMNS], flattened
    shifts: SingleArray  # [2 C, 2 D]: policy bias of all cells, and the extra global cell
    shifts_bias: SingleArray  # [2 D]
    here: SingleArray  # [planes of the policy, D], flattened
    there: SingleArray  # [planes of the policy, D], flattened
    bias: SingleArray  # [planes of the policy]
    hidden: SingleArray  # [2 C + K, hidden]
    hidden_bias: SingleArray  # [hidden]
    value: SingleArray  # [hidden, players]
    value_bias: SingleArray  # [players]


class Places(NamedTuple):
    """Feature rows and plane of each action."""

    here: IntArray  # [T_ACTIONS]
    there: IntArray  # [T_ACTIONS]
    plane: IntArray  # [T_ACTIONS]


class ConvolutionMemory(NamedTuple):
    """Buffers of one thread. The zero borders around boards are initialised once."""

    bytes: ByteArray  # [W, W, planes]
    scalars: SingleArray  # [n, K]
    planes: SingleArray  # [n * P * P * planes padded]
    x: SingleArray  # [n * P * P * C] the trunk
    y: SingleArray  # [n * P * P * C] inside a block
    shift: SingleArray  # [n, C] the stem's bias
    turned: SingleArray  # [25 * tiles * channels] transformed inputs, by point and tile
    products: SingleArray  # [25 * tiles * C]
    pooled: SingleArray  # [2 C + K], scalars last
    added: SingleArray  # [C]
    shifts: SingleArray  # [2 D]
    features: SingleArray  # [(policy rows + 1) * D]
    hidden: SingleArray  # [hidden]


# ---- compiled -----------------------------------------------------------------------------------


@njit()
def evaluate_rows(
    T: IntArray,
    s: Shape,
    w: Weights,
    places: Places,
    room: ConvolutionMemory,
    rows: IntArray,
    actions: IntArray,
    offsets: LongArray,
    logits: SingleArray,
    values: SingleArray,
) -> None:
    """Computes `PackedNetwork.evaluate` for some rows; offsets are into all actions."""
    size = s.picture * s.picture * s.padded
    for first in range(0, len(rows), s.together):
        n = min(s.together, len(rows) - first)
        for i in range(n):
            show(pointer(T), pointer(rows[first + i]), s, w, room, i)
        trunk(s, w, room, n)
        for i in range(n):
            x = room.x[i * size : (i + 1) * size]
            pool(s, x, room.pooled)
            room.pooled[2 * s.padded :] = room.scalars[i]
            linear(room.pooled, w.hidden, w.hidden_bias, room.hidden)
            rectify(room.hidden)
            linear(room.hidden, w.value, w.value_bias, values[first + i])
            linear(room.pooled[: 2 * s.padded], w.shifts, w.shifts_bias, room.shifts)
            describe(s, w.policy_cell, room.shifts, x, room.features)
            for k in range(offsets[first + i], offsets[first + i + 1]):
                logits[k] = score(s, w, places, room.features, actions[k])


@rule()
def show(T: IntArray, S: IntArray, s: Shape, w: Weights, room: ConvolutionMemory, i: int) -> None:
    """Encodes a row as the i-th position: planes, scalars, bias of the stem."""
    room.bytes[:] = 0
    encode_planes(T, S, room.bytes)
    size = s.picture * s.picture * s.planes_padded
    for row in range(s.width):
        for column in range(s.width):
            at = i * size + ((row + 1) * s.picture + column + 1) * s.planes_padded
            for plane in range(s.planes):
                room.planes[at + plane] = room.bytes[row, column, plane]
    room.scalars[i] = 0
    encode_scalars(T, S, room.scalars[i])
    linear(room.scalars[i], w.stem_scalars, w.stem_bias, room.shift[i])


@rule()
def linear(x: SingleArray, weight: SingleArray, bias: SingleArray, out: SingleArray) -> None:
    """out = bias + x weight; x [inputs], weight [inputs, outputs], bias and out [outputs]."""
    for j in range(len(out)):
        out[j] = bias[j]
    for k in range(len(x)):
        factor, line = x[k], weight[k]
        if factor != 0:
            for j in range(len(out)):
                out[j] += factor * line[j]


@rule()
def rectify(x: SingleArray) -> None:
    """In-place relu."""
    for j in range(len(x)):
        x[j] = max(x[j], np.float32(0))


@rule()
def pool(s: Shape, x: SingleArray, pooled: SingleArray) -> None:
    """Writes mean and maximum over the board to the first 2 C of `pooled`.

    `x` must be 0 off the board and not negative.
    """
    pooled[: 2 * s.padded] = 0
    mean, most = pooled[: s.padded], pooled[s.padded : 2 * s.padded]
    for at in range(0, len(x), s.padded):
        cell = x[at : at + s.padded]
        for c in range(s.padded):
            mean[c] += cell[c]
            most[c] = max(most[c], cell[c])
    for c in range(s.padded):
        mean[c] /= np.float32(s.cells)


@rule()
def trunk(s: Shape, w: Weights, room: ConvolutionMemory, n: int) -> None:
    """Computes the trunk features room.x from the planes of n positions."""
    size = s.picture * s.picture * s.padded
    planes = (s.planes_padded, s.planes)
    channels = (s.padded, s.channels)
    shift = room.shift.ravel()
    convolve(s, n, room.planes, planes, w.stem, shift, s.padded, w.mask, room, room.x, 0)
    for block in range(s.blocks):
        weight, bias = w.convs[2 * block], w.biases[2 * block]
        convolve(s, n, room.x, channels, weight, bias, 0, w.mask, room, room.y, 0)
        if w.pools[block] != 0:
            for i in range(n):
                y = room.y[i * size : (i + 1) * size]
                pool(s, y, room.pooled)
                pooled = room.pooled[: 2 * s.padded]
                linear(pooled, w.pooled[block], w.pooled_bias[block], room.added)
                add_on_board(s, w.mask, room.added, y)
        weight, bias = w.convs[2 * block + 1], w.biases[2 * block + 1]
        convolve(s, n, room.y, channels, weight, bias, 0, w.mask, room, room.x, 1)


@rule()
def add_on_board(s: Shape, mask: SingleArray, added: SingleArray, y: SingleArray) -> None:
    """Adds `added`, [C], to each cell on the board."""
    for cell in range(len(mask)):
        if mask[cell] != 0:
            for c in range(s.padded):
                y[cell * s.padded + c] += added[c]


@rule()
def convolve(
    s: Shape,
    n: int,
    x: SingleArray,
    channels: tuple[int, int],
    weight: SingleArray,
    bias: SingleArray,
    step: int,
    mask: SingleArray,
    room: ConvolutionMemory,
    y: SingleArray,
    add: int,
) -> None:
    """y = mask * relu(bias + the 3 x 3 convolution of x + add * y), of n pictures.

    `channels` of x are (with, without padding). Position i's bias begins at bias[i * step].
    """
    wide, depth = channels
    size, tiles = s.picture * s.picture, s.side * s.side
    line, jump = s.picture * wide, rounded_rows(n * tiles)
    for k in range(n * tiles):
        i, tile = k // tiles, k % tiles
        cell = i * size + TILE * (tile // s.side * s.picture + tile % s.side)
        take_tile(x, cell * wide, line, wide, wide, room.turned, k * wide, jump * wide)
    of = 0
    for point in range(POINTS * POINTS):
        for column in range(0, s.padded, COLUMNS):
            for k in range(0, n * tiles, ROWS):
                at = point * jump + k
                multiply(
                    room.turned, at * wide, wide, weight, of, depth,
                    room.products, at * s.padded + column, s.padded,
                )  # fmt: skip
            of += depth * COLUMNS
    for k in range(n * tiles):
        i, tile = k // tiles, k % tiles
        cell = (TILE * (tile // s.side) + 1) * s.picture + TILE * (tile % s.side) + 1
        give_tile(
            room.products, k * s.padded, jump * s.padded, bias, i * step, mask, cell, s.picture,
            s.padded, y[i * size * s.padded :], add,
        )  # fmt: skip


@rule()
def rounded_rows(number: int) -> int:
    """Rounds up to a multiple of ROWS."""
    return (number + ROWS - 1) // ROWS * ROWS


@rule()
def describe(
    s: Shape, weight: SingleArray, shifts: SingleArray, x: SingleArray, features: SingleArray
) -> None:
    """Policy features of each cell and of the extra global cell."""
    count = rounded_rows(s.width * s.picture)
    for column in range(0, s.policy, COLUMNS):
        of = column * s.channels
        for row in range(0, count, ROWS):
            at, to = (s.picture + row) * s.padded, row * s.policy + column
            multiply(x, at, s.padded, weight, of, s.channels, features, to, s.policy)
    for row in range(count):
        for j in range(s.policy):
            at = row * s.policy + j
            features[at] = max(features[at] + shifts[j], np.float32(0))
    for j in range(s.policy):
        features[count * s.policy + j] = max(shifts[s.policy + j], np.float32(0))


@rule()
def score(s: Shape, w: Weights, places: Places, features: SingleArray, action: int) -> float:
    """The logit of an action."""
    plane, size = places.plane[action], s.policy
    here, there = places.here[action] * size, places.there[action] * size
    named = dot(features, here, w.here, plane * size, size)
    return named + dot(features, there, w.there, plane * size, size) + w.bias[plane]
