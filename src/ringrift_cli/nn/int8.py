"""Compiled int8 convolutions for processors with AVX512-VNNI.

Inputs are bytes, weights int8 with a scale per output channel; a channel of inputs has a scale of
its own, folded into the weights (as in SmoothQuant; Xiao et al. 2023, arXiv:2211.10438). Sums are
exact, in int32. Stem, trunk, pooling and value head remain in float32; a pooled bias is added to
the sums of the next convolution. Only cells on the board are computed.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import llvmlite.ir as ir
import numpy as np
import numpy.typing as npt
import torch
from numba.core import cgutils
from torch import Tensor, nn

from ringrift_cli.game import layout as L
from ringrift_cli.game import playout
from ringrift_cli.game.jit import processor_features, rule
from ringrift_cli.game.topology import IntArray, tables
from ringrift_cli.nn.features import ByteArray, SingleArray, encode_all
from ringrift_cli.nn.network import Network
from ringrift_cli.nn.vector import COLUMNS, LANES, ROWS, Code, vector_function

SignedArray = npt.NDArray[np.int8]

HAS_VNNI = "avx512vnni" in processor_features()
GROUP = 4  # inputs that an instruction multiplies and adds up, for each of LANES outputs
MOST = 255  # largest byte
GAMES, STAGES = 32, 16  # random games, and positions of each, from which ranges are taken
PLIES = 8  # decisions between two stages: the number of cells, divided by this
CALIBRATION_CELLS = 1 << 14  # limits the number of positions
RANGE_STEPS = 8  # in a factor of 2; ranges are rounded so that the order of sums does not matter
MIN_RANGE = 1 / 16  # of the widest channel's

_BYTE, _WORD, _FLOAT = ir.IntType(8), ir.IntType(32), ir.FloatType()
_BYTES, _SUMS, _FLOATS = (ir.VectorType(kind, LANES) for kind in (_BYTE, _WORD, _FLOAT))
_GROUPS = ir.VectorType(_BYTE, GROUP * LANES)


class ByteWeights(NamedTuple):
    """Convolutions in int8; R rows are the cells of all positions of a pass, padded to ROWS.

    Cells are of one kind if the same of their 3 x 3 inputs are on the board.
    """

    convs: SignedArray  # [2 blocks, ...] layout of `quantised`
    factors: SingleArray  # [2 blocks, C] output of a sum of 1
    biases: SingleArray  # [2 blocks, kinds * C]
    inverses: SingleArray  # [2 blocks + 1, C] bytes of an input of 1
    pooled: SingleArray  # [blocks, C, kinds * C] what a bias of the inputs adds to outputs
    policy: SignedArray  # layout of `quantised`
    policy_factors: SingleArray  # [D]
    taps: IntArray  # [9] offsets of the inputs of a cell
    tap: IntArray  # [1] that of the cell itself
    corner: IntArray  # [R] first cell of the 3 x 3 inputs
    cell: IntArray  # [R]
    uniform: IntArray  # [R] rows of biases: 0
    shifts: IntArray  # [R] rows of biases of the policy: the even ones, by position
    kind: IntArray  # [R] rows of biases by position and kind


class ByteMemory(NamedTuple):
    """Buffers of one thread; cells off the board remain 0."""

    x: ByteArray  # [(n + 1) * P * P * C]
    y: ByteArray  # [(n + 1) * P * P * C]
    unused: ByteArray  # [(n + 1) * P * P * D]
    biases: SingleArray  # [n, kinds * C]


# ---- instructions -------------------------------------------------------------------------------


def _byte_products(b: Any, total: Any, inputs: Any, weights: Any) -> Any:
    """total + the sums of GROUP products of unsigned inputs and signed weights."""
    kind = ir.FunctionType(_SUMS, [_SUMS, _GROUPS, _GROUPS])
    name = "llvm.x86.avx512.vpdpbusd.512"
    return b.call(cgutils.get_or_insert_function(b.module, kind, name), [total, inputs, weights])


def _item(code: Code, table: Any, index: Any) -> Any:
    return code.b.sext(code.b.load(code.b.gep(table, [index])), ir.IntType(64))


def _store_bytes(code: Code, value: Any, inverse: Any, address: Any) -> None:
    """Stores value * inverse as bytes; `value` is not negative."""
    scaled, most = code.fma(value, inverse, code.constant(0.5)), code.constant(MOST)
    scaled = code.b.select(code.b.fcmp_ordered("<", scaled, most), scaled, most)
    whole = code.b.trunc(code.b.fptosi(scaled, _SUMS), _BYTES)
    code.b.store(whole, code.b.bitcast(address, _BYTES.as_pointer()), align=1)


@vector_function()
def narrow(code: Code, x: Any, at: Any, inverse: Any, channels: Any, y: Any) -> None:
    """y[at + c] = bytes of x[at + c] for c < `channels`."""
    with cgutils.for_range(code.b, code.b.udiv(channels, code.number(LANES))) as loop:
        channel = code.b.mul(loop.index, code.number(LANES))
        factor = code.load(code.at(inverse, channel))
        _store_bytes(code, code.load(code.at(x, at, channel)), factor, code.at(y, at, channel))


@vector_function()
def multiply_bytes(
    code: Code, x: Any, wide: Any, taps: Any, count: Any, groups: Any, weights: Any, of: Any,
    corner: Any, cell: Any, row: Any, k: Any, factors: Any, biases: Any, add: Any, inverse: Any,
    column: Any, padded: Any, out: Any, y: Any,
) -> None:  # fmt: skip
    """relu(factors * sum + biases + add * out) for the rows from k on and COLUMNS from `column` on.

    A row sums the products of inputs x[wide * corner + taps[t] + …], for t < `count`. Results go to
    `out`, [.., padded], at `cell`, and as bytes to y; biases, [.., padded], are those of `row`.
    """
    if not HAS_VNNI:
        return  # compiled, but never called
    b, number = code.b, code.number
    zero = ir.Constant(_SUMS, [0] * LANES)
    sums = [[cgutils.alloca_once(b, _SUMS) for _ in range(2)] for _ in range(ROWS)]
    for total in (total for pair in sums for total in pair):
        b.store(zero, total)
    rows = [b.add(k, number(i)) for i in range(ROWS)]
    corners = [b.mul(_item(code, corner, at), wide) for at in rows]
    at = cgutils.alloca_once_value(b, of)
    with cgutils.for_range(b, count) as tap:
        shift = _item(code, taps, tap.index)
        starts = [b.gep(x, [b.add(start, shift)]) for start in corners]
        with cgutils.for_range(b, groups) as group:
            halves = [b.gep(weights, [b.add(b.load(at), number(64 * half))]) for half in range(2)]
            loaded = [b.load(b.bitcast(w, _GROUPS.as_pointer()), align=1) for w in halves]
            b.store(b.add(b.load(at), number(GROUP * COLUMNS)), at)
            for start, pair in zip(starts, sums, strict=True):
                address = b.gep(start, [b.mul(group.index, number(GROUP))])
                word = b.load(b.bitcast(address, _WORD.as_pointer()), align=1)
                one = b.insert_element(zero, word, ir.Constant(_WORD, 0))
                inputs = b.bitcast(b.shuffle_vector(one, zero, zero), _GROUPS)
                for total, weight in zip(pair, loaded, strict=True):
                    b.store(_byte_products(b, b.load(total), inputs, weight), total)
    residual = code.splat(b.sitofp(add, _FLOAT))
    for half in range(2):
        channel = b.add(column, number(half * LANES))
        factor, scale = code.load(code.at(factors, channel)), code.load(code.at(inverse, channel))
        for at_row, pair in zip(rows, sums, strict=True):
            bias = code.load(code.at(biases, b.mul(_item(code, row, at_row), padded), channel))
            place = b.mul(_item(code, cell, at_row), padded)
            address = code.at(out, place, channel)
            total = code.fma(b.sitofp(b.load(pair[half]), _FLOATS), factor, bias)
            total = code.rectified(code.fma(residual, code.load(address), total))
            code.store(total, address)
            _store_bytes(code, total, scale, code.at(y, place, channel))


# ---- compiled -----------------------------------------------------------------------------------


@rule()
def convolve_bytes(
    q: ByteWeights,
    rows: int,
    x: ByteArray,
    channels: tuple[int, int],
    taps: IntArray,
    weights: SignedArray,
    factors: SingleArray,
    biases: SingleArray,
    row: IntArray,
    inverse: SingleArray,
    add: int,
    out: SingleArray,
    y: ByteArray,
) -> None:
    """`multiply_bytes` for the first `rows` cells and all outputs.

    `channels` of x are (with, without padding).
    """
    wide, depth = channels
    groups, padded = (depth + GROUP - 1) // GROUP, len(factors)
    for column in range(0, padded, COLUMNS):
        of = column * len(taps) * groups * GROUP
        for k in range(0, rows, ROWS):
            multiply_bytes(
                x, wide, taps, len(taps), groups, weights, of, q.corner, q.cell, row, k, factors,
                biases, add, inverse, column, padded, out, y,
            )  # fmt: skip


# ---- packing of weights -------------------------------------------------------------------------


def quantised(weight: Tensor, steps: SingleArray, outputs: int) -> tuple[SignedArray, SingleArray]:
    """A convolution, [out, in, k, k], in int8, and the factors of its sums, [outputs].

    `steps`, [in], is the input of a byte of 1. Laid out as [outputs / COLUMNS, k * k, in / GROUP,
    COLUMNS, GROUP], flattened.
    """
    size, inputs = weight.shape[:2]
    exact = weight.detach().cpu().double().numpy().reshape(size, inputs, -1)
    exact = exact * steps[:inputs, None]
    factors = np.abs(exact).max((1, 2)) / 127
    factors[factors == 0] = 1
    padded = np.zeros((outputs, -(-inputs // GROUP) * GROUP, exact.shape[2]), np.int8)
    padded[:size, :inputs] = np.rint(exact / factors[:, None, None])
    blocks = padded.reshape(outputs // COLUMNS, COLUMNS, -1, GROUP, exact.shape[2])
    scaled = np.zeros(outputs, np.float32)
    scaled[:size] = factors
    return np.ascontiguousarray(blocks.transpose(0, 4, 2, 1, 3)).ravel(), scaled


def ranges(network: Network) -> SingleArray:
    """Largest inputs, before pooled biases, of the convolutions of blocks and of the policy.

    [2 blocks + 1, channels]. Taken from positions of random games that depend only on the board.
    """
    a, found = network.architecture, []
    still = copy.deepcopy(network).cpu().eval()

    def note(_module: nn.Module, inputs: Any, output: Tensor | None = None) -> None:
        x = inputs[0] if output is None else output
        found.append((x * still.mask).amax((0, 2, 3)).clamp_(min=0))

    for block in still.residual_blocks():
        block.conv1.register_forward_pre_hook(note)
        block.norm1.register_forward_hook(note)
    rows = random_rows(a.board, a.players)
    inputs = [torch.from_numpy(array) for array in encode_all(tables(a.board, a.players), rows)]
    with torch.no_grad():
        note(still, (still.trunk(*inputs),))
    most: SingleArray = torch.stack(found).numpy()
    most = np.maximum(most, np.maximum(most.max(1, keepdims=True), 1e-6) * MIN_RANGE)
    rounded: SingleArray = np.exp2(np.ceil(np.log2(most) * RANGE_STEPS) / RANGE_STEPS)
    return rounded


def random_rows(board: str, players: int) -> IntArray:
    """Positions of random games, evenly over their length, [N, row size]."""
    T = tables(board, players)
    cells = int(T[L.T_CELLS])
    rows = np.zeros((GAMES, int(T[L.T_ROW_SIZE])), np.int32)
    playout.start_all(T, rows, np.ones(GAMES, np.bool_), False)
    seeds, found = playout.game_seeds(0, 0, GAMES), []
    log, lengths = np.zeros((GAMES, cells // PLIES), np.int32), np.zeros(GAMES, np.int64)
    for _ in range(STAGES):
        found.append(rows[rows[:, L.PHASE] != L.OVER])
        playout.play_random(T, rows, seeds, log, lengths)
    every = np.concatenate(found)
    return every[:: -(-len(every) * cells // CALIBRATION_CELLS)]
