"""Compiled inference on a CPU in float32 or int8, from game rows to logits.

A thread processes a few positions at a time, enough to fill the blocks of `vector.multiply`, so its
working set stays in the cache: small batches are as fast as large ones, threads are independent,
and results do not depend on the batch. Convolutions of blocks are those of vector.py, in little
more than half the time of oneDNN's (folded.py), or of int8.py. Few planes of a cell are not 0, so
the stem adds up their weights.

Pictures are [P, P, channels] with zeros around the board: P = 3 t + 2, where t x t tiles cover it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ringrift_cli.game.jit import njit, pointer, rule
from ringrift_cli.game.playout import LongArray, Seeds
from ringrift_cli.game.topology import IntArray
from ringrift_cli.nn.features import ByteArray, SingleArray, encode_planes, encode_scalars
from ringrift_cli.nn.int8 import ByteMemory, ByteWeights, convolve_bytes, narrow
from ringrift_cli.nn.vector import (
    COLUMNS,
    LANES,
    POINTS,
    ROWS,
    TILE,
    add_scaled,
    dot,
    give_tile,
    linear,
    multiply,
    rectify_on_board,
    sum_and_most,
    take_tile,
)


class Shape(NamedTuple):
    """Sizes of a network."""

    width: int  # of the board
    side: int  # t
    picture: int  # P = 3 t + 2
    together: int  # n, positions processed at once
    planes: int
    board_plane: int  # 1 in all positions, part of `Weights.base`
    scalars: int
    blocks: int
    channels: int
    padded: int  # channels
    policy: int  # padded
    hidden: int  # padded
    players: int
    cells: int
    is_int8: bool


class Weights(NamedTuple):
    """Weights in kernel layout; C and D are the padded channels and policy features."""

    mask: SingleArray  # [P * P]
    stem: SingleArray  # [planes, 3, 3, C], flattened
    base: SingleArray  # [P * P * C] what the stem's weights of the board's plane add up to
    stem_bias: SingleArray  # [C]
    stem_scalars: SingleArray  # [K, C]
    convs: SingleArray  # [2 blocks, ...] layout of `transformed`; empty with int8
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
    value: SingleArray  # [hidden, LANES] of the players
    value_bias: SingleArray  # [LANES]


class Places(NamedTuple):
    """Feature rows and plane of each action."""

    here: IntArray  # [T_ACTIONS]
    there: IntArray  # [T_ACTIONS]
    plane: IntArray  # [T_ACTIONS]


class ConvolutionMemory(NamedTuple):
    """Buffers of one thread. The zero borders around boards are initialised once."""

    bytes: ByteArray  # [W, W, planes padded to 8]
    words: Seeds  # [W * W, planes / 8] the same memory
    scalars: SingleArray  # [n, K]
    x: SingleArray  # [(n + 1) * P * P * C] the trunk
    y: SingleArray  # [(n + 1) * P * P * C] inside a block
    shift: SingleArray  # [C] the stem's bias
    turned: SingleArray  # [25 * tiles * channels] transformed inputs, by point and tile
    products: SingleArray  # [25 * tiles * C]
    pooled: SingleArray  # [2 C + K], scalars last
    added: SingleArray  # [C]
    shifts: SingleArray  # [n, 2 D]
    features: SingleArray  # [(n + 1) * P * P * D] the first cell is the extra one
    hidden: SingleArray  # [hidden]
    value: SingleArray  # [LANES]


# ---- compiled -----------------------------------------------------------------------------------


@njit()
def evaluate_rows(
    T: IntArray,
    s: Shape,
    w: Weights,
    q: ByteWeights,
    places: Places,
    room: ConvolutionMemory,
    byte_room: ByteMemory,
    rows: IntArray,
    actions: IntArray,
    offsets: LongArray,
    logits: SingleArray,
    values: SingleArray,
) -> None:
    """Computes `PackedNetwork.evaluate` for some rows; offsets are into all actions."""
    cells = s.picture * s.picture
    size = cells * s.padded
    for first in range(0, len(rows), s.together):
        n = min(s.together, len(rows) - first)
        for i in range(n):
            show(pointer(T), pointer(rows[first + i]), s, w, room, i)
        if s.is_int8:
            trunk_in_bytes(s, w, q, room, byte_room, n)
        else:
            trunk(s, w, room, n)
        for i in range(n):
            x, shifts = room.x[i * size : (i + 1) * size], room.shifts[i]
            pool(s, x, room.pooled)
            room.pooled[2 * s.padded :] = room.scalars[i]
            linear(room.pooled, len(room.pooled), w.hidden, w.hidden_bias, s.hidden, room.hidden)
            rectify(room.hidden)
            linear(room.hidden, s.hidden, w.value, w.value_bias, LANES, room.value)
            values[first + i] = room.value[: s.players]
            linear(room.pooled, 2 * s.padded, w.shifts, w.shifts_bias, 2 * s.policy, shifts)
            if not s.is_int8:
                describe(s, w.policy_cell, shifts, x, room.features[i * cells * s.policy :])
        if s.is_int8:
            describe_bytes(s, q, room, byte_room, n)
        for i in range(n):
            features = room.features[i * cells * s.policy : (i + 1) * cells * s.policy]
            for j in range(s.policy):
                features[j] = max(room.shifts[i, s.policy + j], np.float32(0))
            for k in range(offsets[first + i], offsets[first + i + 1]):
                logits[k] = score(s, w, places, features, actions[k])


@rule()
def show(T: IntArray, S: IntArray, s: Shape, w: Weights, room: ConvolutionMemory, i: int) -> None:
    """The stem of a row as the i-th position of room.x."""
    scalars = room.scalars[i]
    scalars[:] = 0
    encode_scalars(T, S, scalars)
    linear(scalars, s.scalars, w.stem_scalars, w.stem_bias, s.padded, room.shift)
    room.bytes[:] = 0
    encode_planes(T, S, room.bytes)
    size = s.picture * s.picture * s.padded
    x = room.x[i * size : (i + 1) * size]
    x[:] = w.base
    words = room.words
    for row in range(s.width):
        for column in range(s.width):
            room.bytes[row, column, s.board_plane] = 0  # in w.base
            cell = row * s.width + column
            last = (row + 2) * s.picture + column + 2  # cell that the first weight belongs to
            for word in range(words.shape[1]):
                if words[cell, word] != 0:
                    for plane in range(8 * word, min(8 * word + 8, s.planes)):
                        if room.bytes[row, column, plane] != 0:
                            add_plane(s, w, room, x, plane, cell, last)
    for cell in range(len(w.mask)):
        rectify_on_board(x, cell * s.padded, room.shift, w.mask, cell, s.padded)


@rule()
def add_plane(
    s: Shape, w: Weights, room: ConvolutionMemory, x: SingleArray, plane: int, cell: int, last: int
) -> None:
    """Adds the stem's weights of a plane of a cell to the cells around it, the last one first."""
    wide = room.bytes.shape[2]
    for i in range(3):
        for j in range(3):
            at = (last - i * s.picture - j) * s.padded
            of = (9 * plane + 3 * i + j) * s.padded
            add_scaled(x, at, w.stem, of, room.bytes, cell * wide + plane, s.padded)


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
    sum_and_most(x, s.picture * s.picture, s.padded, pooled)
    for c in range(s.padded):
        pooled[c] /= np.float32(s.cells)


@rule()
def trunk(s: Shape, w: Weights, room: ConvolutionMemory, n: int) -> None:
    """Applies the blocks to room.x, of n positions."""
    size = s.picture * s.picture * s.padded
    for block in range(s.blocks):
        weight, bias = w.convs[2 * block], w.biases[2 * block]
        convolve(s, n, room.x, weight, bias, w.mask, room, room.y, 0)
        if w.pools[block] != 0:
            for i in range(n):
                y = room.y[i * size : (i + 1) * size]
                pool(s, y, room.pooled)
                weight, bias = w.pooled[block], w.pooled_bias[block]
                linear(room.pooled, 2 * s.padded, weight, bias, s.padded, room.added)
                add_on_board(s, w.mask, room.added, y)
        weight, bias = w.convs[2 * block + 1], w.biases[2 * block + 1]
        convolve(s, n, room.y, weight, bias, w.mask, room, room.x, 1)


@rule()
def trunk_in_bytes(
    s: Shape, w: Weights, q: ByteWeights, room: ConvolutionMemory, byte_room: ByteMemory, n: int
) -> None:
    """As `trunk`, in int8; byte_room.x too becomes the result."""
    size, rows, channels = s.picture * s.picture * s.padded, n * s.cells, (s.padded, s.channels)
    for at in range(0, n * size, s.padded):
        narrow(room.x, at, q.inverses[0], s.padded, byte_room.x)
    for block in range(s.blocks):
        first, second = 2 * block, 2 * block + 1
        convolve_bytes(
            q, rows, byte_room.x, channels, q.taps, q.convs[first], q.factors[first],
            q.biases[first], q.uniform, q.inverses[second], 0, room.y, byte_room.y,
        )  # fmt: skip
        biases, which = q.biases[second], q.uniform
        if w.pools[block] != 0:
            for i in range(n):
                pool(s, room.y[i * size : (i + 1) * size], room.pooled)
                weight, bias = w.pooled[block], w.pooled_bias[block]
                linear(room.pooled, 2 * s.padded, weight, bias, s.padded, room.added)
                weight, bias, to = q.pooled[block], q.biases[second], byte_room.biases[i]
                linear(room.added, s.padded, weight, bias, len(to), to)
            biases, which = byte_room.biases.ravel(), q.kind
        convolve_bytes(
            q, rows, byte_room.y, channels, q.taps, q.convs[second], q.factors[second], biases,
            which, q.inverses[second + 1], 1, room.x, byte_room.x,
        )  # fmt: skip


@rule()
def describe_bytes(
    s: Shape, q: ByteWeights, room: ConvolutionMemory, byte_room: ByteMemory, n: int
) -> None:
    """As `describe`, in int8, of n positions."""
    convolve_bytes(
        q, n * s.cells, byte_room.x, (s.padded, s.channels), q.tap, q.policy, q.policy_factors,
        room.shifts.ravel(), q.shifts, q.policy_factors, 0, room.features, byte_room.unused,
    )  # fmt: skip


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
    weight: SingleArray,
    bias: SingleArray,
    mask: SingleArray,
    room: ConvolutionMemory,
    y: SingleArray,
    add: int,
) -> None:
    """y = mask * relu(bias + the 3 x 3 convolution of x + add * y), of n pictures."""
    wide, depth = s.padded, s.channels
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
            room.products, k * s.padded, jump * s.padded, bias, 0, mask, cell, s.picture,
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
    """Policy features of each cell."""
    first, count = s.picture, rounded_rows(s.width * s.picture)
    for column in range(0, s.policy, COLUMNS):
        of = column * s.channels
        for row in range(first, first + count, ROWS):
            at, to = row * s.padded, row * s.policy + column
            multiply(x, at, s.padded, weight, of, s.channels, features, to, s.policy)
    for row in range(first, first + count):
        for j in range(s.policy):
            at = row * s.policy + j
            features[at] = max(features[at] + shifts[j], np.float32(0))


@rule()
def score(s: Shape, w: Weights, places: Places, features: SingleArray, action: int) -> float:
    """The logit of an action."""
    plane, size = places.plane[action], s.policy
    here, there = places.here[action] * size, places.there[action] * size
    named = dot(features, here, w.here, plane * size, size)
    return named + dot(features, there, w.there, plane * size, size) + w.bias[plane]
