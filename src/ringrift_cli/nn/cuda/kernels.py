"""GPU kernels for network input features and outputs.

Planes are written by one thread per cell, since one per position would visit up to 469 cells while
most of the device is idle. Logits are computed by one block per position, whose threads share its
legal actions.
"""

from __future__ import annotations

import math

from numba import cuda

from ringrift_cli.game import layout as L
from ringrift_cli.game.jit import pointer, wide
from ringrift_cli.game.playout import LongArray
from ringrift_cli.game.topology import IntArray
from ringrift_cli.nn import features
from ringrift_cli.nn.evaluator import FloatArray
from ringrift_cli.nn.features import ByteArray, SingleArray

MAX_OUTPUT = 1e30  # larger network outputs count as not finite


def encode_kernel(
    T: IntArray, rows: IntArray, planes: ByteArray, scalars: SingleArray, cells: int
) -> None:
    """Writes features to zeros: planes [N, W, W, C] and scalars [N, K] of rows [N, row size]."""
    i = cuda.grid(1)
    g, cell = i // cells, i % cells
    if g < rows.shape[0]:
        features.encode_cell(pointer(T), pointer(rows[g]), wide(cell), planes[g])
        if cell == 0:
            features.encode_scalars(pointer(T), pointer(rows[g]), scalars[g])


def chances_kernel(
    rows: IntArray, counts: IntArray, values: SingleArray, chances: FloatArray, wrong: IntArray
) -> None:
    """Win probabilities by absolute seat, [N, players], from logits by relative seat.

    `wrong`, [1], is set if a position with legal actions has a logit that is not finite.
    """
    i = cuda.grid(1)
    if i >= rows.shape[0] or counts[i] <= 0:
        return
    players, mover = chances.shape[1], rows[i, L.SEAT]
    top, total = -math.inf, 0.0
    for r in range(players):
        if not abs(values[i, r]) < MAX_OUTPUT:
            wrong[0] = 1
        top = max(top, values[i, r])
    for r in range(players):
        seat = (mover + r) % players
        chances[i, seat] = math.exp(values[i, r] - top)
        total += chances[i, seat]
    for seat in range(players):
        chances[i, seat] /= total


def logits_kernel(
    seen: SingleArray,
    lists: IntArray,
    counts: IntArray,
    here: LongArray,
    there: LongArray,
    plane: LongArray,
    weights_here: SingleArray,
    weights_there: SingleArray,
    bias: SingleArray,
    logits: SingleArray,
    wrong: IntArray,
) -> None:
    """Logits of `lists[i, : counts[i]]` to the same indices of `logits`, [N, max legal].

    `seen`, [N, W * W + 1, policy], are the policy features; the others are those of
    folded.Scorer. One block per position.
    """
    i, k = cuda.blockIdx.x, cuda.threadIdx.x
    while k < counts[i]:
        action = lists[i, k]
        a, b, p = here[action], there[action], plane[action]
        total = bias[p]
        for f in range(seen.shape[2]):
            total += seen[i, a, f] * weights_here[p, f] + seen[i, b, f] * weights_there[p, f]
        if not abs(total) < MAX_OUTPUT:
            wrong[0] = 1
        logits[i, k] = total
        k += cuda.blockDim.x
