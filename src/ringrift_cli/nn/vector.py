"""Convolutions for a CPU, as compiled functions: Winograd's algorithm on vector registers.

A 3 x 3 convolution of a picture is cut into tiles of 3 x 3 results. A tile's 5 x 5 inputs d and the
3 x 3 weights g are transformed, multiplied number by number, and transformed back:

    Y = A' [(G g G') * (B' d B)] A         (Lavin and Gray 2015, arXiv:1509.09308; here F(3x3, 3x3))

That takes 25 products for 9 results where the plain sum takes 81. Over channels the products are 25
matrix products, which is where the time goes: `multiply` keeps a block of results in registers.

The functions are emitted as explicit vector instructions, since compilers do not find these. They
take float32 arrays, offsets into them and strides, without bounds checks.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any

import llvmlite.ir as ir
import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ringrift_cli.game.jit import processor_features

WIDE = "avx512f" in processor_features()
FUSED = "fma" in processor_features() or platform.machine() not in ("x86_64", "AMD64")
LANES = 16 if WIDE else 8  # numbers in a vector
ROWS = 12 if WIDE else 6  # of a block: its results fill 24 of 32 registers, or 12 of 16
COLUMNS = 2 * LANES
TILE = 3  # results of a tile, each way
POINTS = 5  # inputs of a tile, each way

# F(3x3, 3x3) for the points 0, 1, -1, 2 and infinity
FROM_INPUT = (  # B'
    (2, -1, -2, 1, 0),
    (0, -2, -1, 1, 0),
    (0, 2, -3, 1, 0),
    (0, -1, 0, 1, 0),
    (0, 2, -1, -2, 1),
)
FROM_WEIGHT = (  # G
    (1 / 2, 0, 0),
    (-1 / 2, -1 / 2, -1 / 2),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 6, 1 / 3, 2 / 3),
    (0, 0, 1),
)
TO_RESULT = ((1, 1, 1, 1, 0), (0, 1, -1, 2, 0), (0, 1, 1, 4, 1))  # A'

_INT = ir.IntType(64)
_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_INDEX = ir.IntType(32)


class Code:
    """Emits the LLVM instructions of one function."""

    def __init__(self, builder: Any) -> None:
        self.b = builder

    def number(self, value: int) -> Any:
        return ir.Constant(_INT, value)

    def at(self, array: Any, *offsets: Any) -> Any:
        """The address of the item at the sum of the offsets."""
        total = offsets[0]
        for offset in offsets[1:]:
            total = self.b.add(total, offset)
        return self.b.gep(array, [total])

    def load(self, address: Any) -> Any:
        return self.b.load(self.b.bitcast(address, _VECTOR.as_pointer()), align=4)

    def store(self, value: Any, address: Any) -> None:
        self.b.store(value, self.b.bitcast(address, _VECTOR.as_pointer()), align=4)

    def splat(self, scalar: Any) -> Any:
        """Broadcasts a scalar to a vector."""
        nothing = ir.Constant(_VECTOR, ir.Undefined)
        one = self.b.insert_element(nothing, scalar, ir.Constant(_INDEX, 0))
        zeros = ir.Constant(ir.VectorType(_INDEX, LANES), [0] * LANES)
        return self.b.shuffle_vector(one, nothing, zeros)

    def constant(self, value: float) -> Any:
        return ir.Constant(_VECTOR, [float(np.float32(value))] * LANES)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """a * b + c; two instructions without FMA support, where LLVM would call a function."""
        if not FUSED:
            return self.b.fadd(self.b.fmul(a, b), c)
        kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
        name = f"llvm.fma.v{LANES}f32"
        return self.b.call(cgutils.get_or_insert_function(self.b.module, kind, name), [a, b, c])

    def rectified(self, x: Any) -> Any:
        zero = self.constant(0)
        return self.b.select(self.b.fcmp_ordered(">", x, zero), x, zero)

    def combine(self, factors: Iterable[float], vectors: Iterable[Any]) -> Any:
        """Linear combination of vectors; starts with a factor of 1 if there is one."""
        terms = [(f, v) for f, v in zip(factors, vectors, strict=True) if f != 0]
        (factor, total), *rest = sorted(terms, key=lambda term: term[0] != 1)
        if factor != 1:
            total = self.b.fmul(self.constant(factor), total)
        for factor, vector in rest:
            if factor == 1:
                total = self.b.fadd(total, vector)
            elif factor == -1:
                total = self.b.fsub(total, vector)
            else:
                total = self.fma(self.constant(factor), vector, total)
        return total

    def transform(self, matrix: Sequence[Sequence[float]], square: Any) -> list[list[Any]]:
        """matrix * square * transposed matrix, for a square of vectors by row and column."""
        half = [
            [self.combine(row, column) for column in zip(*square, strict=True)] for row in matrix
        ]
        return [[self.combine(row, line) for row in matrix] for line in half]


def vector_function(returns: Any = types.none) -> Callable[[Callable[..., Any]], Any]:
    """Decorator for functions that emit the body of a compiled function of the same arguments.

    Array arguments are passed to `write` as addresses, all others as int64.
    """

    def decorate(write: Callable[..., Any]) -> Any:
        def typed(_typing: Any, *arguments: Any) -> Any:
            def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
                given = [
                    context.make_array(kind)(context, builder, value).data
                    if isinstance(kind, types.Array)
                    else value
                    for kind, value in zip(signature.args, values, strict=True)
                ]
                written = write(Code(builder), *given)
                return context.get_dummy_value() if written is None else written

            kinds = [one if isinstance(one, types.Array) else types.int64 for one in arguments]
            return returns(*kinds), generate

        return intrinsic(wraps(write)(typed))

    return decorate


# ---- products -----------------------------------------------------------------------------------


@vector_function()
def multiply(
    code: Code,
    a: Any,
    at: Any,
    step: Any,
    b: Any,
    of: Any,
    depth: Any,
    c: Any,
    to: Any,
    jump: Any,
) -> None:
    """c[to + jump i + j] = sum over k < depth of a[at + step i + k] b[of + COLUMNS k + j].

    For i below ROWS and j below COLUMNS.
    """
    builder = code.b
    sums = [[cgutils.alloca_once(builder, _VECTOR) for _ in range(2)] for _ in range(ROWS)]
    for pair in sums:
        for total in pair:
            builder.store(code.constant(0), total)
    rows = [builder.add(at, builder.mul(step, code.number(row))) for row in range(ROWS)]
    with cgutils.for_range(builder, depth) as loop:
        column = builder.add(of, builder.mul(loop.index, code.number(COLUMNS)))
        weights = [code.load(code.at(b, column, code.number(half * LANES))) for half in range(2)]
        for row, pair in zip(rows, sums, strict=True):
            factor = code.splat(builder.load(code.at(a, row, loop.index)))
            for weight, total in zip(weights, pair, strict=True):
                builder.store(code.fma(factor, weight, builder.load(total)), total)
    for row, pair in enumerate(sums):
        start = builder.add(to, builder.mul(jump, code.number(row)))
        for half, total in enumerate(pair):
            code.store(builder.load(total), code.at(c, start, code.number(half * LANES)))


@vector_function(types.float32)
def dot(code: Code, a: Any, at: Any, b: Any, of: Any, length: Any) -> Any:
    """Sum of a[at + k] b[of + k] for k < `length`, a multiple of LANES."""
    builder = code.b
    sums = cgutils.alloca_once(builder, _VECTOR)
    builder.store(code.constant(0), sums)
    with cgutils.for_range(builder, builder.udiv(length, code.number(LANES))) as loop:
        k = builder.mul(loop.index, code.number(LANES))
        left, right = code.load(code.at(a, at, k)), code.load(code.at(b, of, k))
        builder.store(code.fma(left, right, builder.load(sums)), sums)
    total = builder.load(sums)
    half = LANES // 2
    while half:
        order = [(i + half) % LANES for i in range(LANES)]
        turned = ir.Constant(ir.VectorType(_INDEX, LANES), order)
        total = builder.fadd(total, builder.shuffle_vector(total, total, turned))
        half //= 2
    return builder.extract_element(total, ir.Constant(_INDEX, 0))


@vector_function()
def add_scaled(
    code: Code, x: Any, at: Any, weight: Any, of: Any, factors: Any, k: Any, length: Any
) -> None:
    """x[at + j] += factors[k] * weight[of + j] for j < `length`, a multiple of LANES.

    `factors` are float32 or uint8.
    """
    builder = code.b
    factor = builder.load(code.at(factors, k))
    if isinstance(factor.type, ir.IntType):
        factor = builder.uitofp(factor, ir.FloatType())
    scale = code.splat(factor)
    with cgutils.for_range(builder, builder.udiv(length, code.number(LANES))) as loop:
        j = builder.mul(loop.index, code.number(LANES))
        address = code.at(x, at, j)
        code.store(code.fma(scale, code.load(code.at(weight, of, j)), code.load(address)), address)


@vector_function()
def linear(code: Code, x: Any, count: Any, weight: Any, bias: Any, outputs: Any, out: Any) -> None:
    """out[j] = bias[j] + sum over k < `count` of x[k] weight[outputs k + j].

    For j < `outputs`, a multiple of LANES.
    """
    builder = code.b
    total = cgutils.alloca_once(builder, _VECTOR)
    with cgutils.for_range(builder, builder.udiv(outputs, code.number(LANES))) as loop:
        j = builder.mul(loop.index, code.number(LANES))
        builder.store(code.load(code.at(bias, j)), total)
        with cgutils.for_range(builder, count) as rows:
            factor = code.splat(builder.load(code.at(x, rows.index)))
            line = code.load(code.at(weight, builder.mul(rows.index, outputs), j))
            builder.store(code.fma(factor, line, builder.load(total)), total)
        code.store(builder.load(total), code.at(out, j))


@vector_function()
def rectify_on_board(code: Code, x: Any, at: Any, bias: Any, mask: Any, cell: Any, n: Any) -> None:
    """x[at + j] = mask[cell] * relu(x[at + j] + bias[j]) for j < n, a multiple of LANES."""
    builder = code.b
    on_board = code.splat(builder.load(code.at(mask, cell)))
    with cgutils.for_range(builder, builder.udiv(n, code.number(LANES))) as loop:
        j = builder.mul(loop.index, code.number(LANES))
        address = code.at(x, at, j)
        total = builder.fadd(code.load(address), code.load(code.at(bias, j)))
        code.store(builder.fmul(code.rectified(total), on_board), address)


@vector_function()
def sum_and_most(code: Code, x: Any, count: Any, length: Any, out: Any) -> None:
    """Sums x[length i + j] over i < `count` to out[j], and their maximum to out[length + j].

    For j < `length`, a multiple of LANES. The maximum is 0 or more.
    """
    builder = code.b
    totals = [cgutils.alloca_once(builder, _VECTOR) for _ in range(2)]
    with cgutils.for_range(builder, builder.udiv(length, code.number(LANES))) as loop:
        j = builder.mul(loop.index, code.number(LANES))
        for total in totals:
            builder.store(code.constant(0), total)
        with cgutils.for_range(builder, count) as rows:
            value = code.load(code.at(x, builder.mul(rows.index, length), j))
            total, most = (builder.load(total) for total in totals)
            builder.store(builder.fadd(total, value), totals[0])
            more = builder.fcmp_ordered(">", value, most)
            builder.store(builder.select(more, value, most), totals[1])
        code.store(builder.load(totals[0]), code.at(out, j))
        code.store(builder.load(totals[1]), code.at(out, length, j))


# ---- tile transforms ----------------------------------------------------------------------------


@vector_function()
def take_tile(
    code: Code,
    x: Any,
    at: Any,
    row: Any,
    column: Any,
    channels: Any,
    v: Any,
    to: Any,
    jump: Any,
) -> None:
    """Transforms the inputs of the tile that starts at x[at]; `channels` is a multiple of LANES.

    `row` and `column` are strides of x. Point p is written to v[to + jump p].
    """
    builder = code.b
    with cgutils.for_range(builder, builder.udiv(channels, code.number(LANES))) as loop:
        channel = builder.mul(loop.index, code.number(LANES))
        inputs = []
        for i in range(POINTS):
            start = builder.add(at, builder.mul(row, code.number(i)))
            offsets = [builder.mul(column, code.number(j)) for j in range(POINTS)]
            inputs.append([code.load(code.at(x, start, offset, channel)) for offset in offsets])
        turned = code.transform(FROM_INPUT, inputs)
        for point, vector in enumerate(vector for line in turned for vector in line):
            start = builder.add(to, builder.mul(jump, code.number(point)))
            code.store(vector, code.at(v, start, channel))


@vector_function()
def give_tile(
    code: Code, m: Any, at: Any, jump: Any, bias: Any, of: Any, mask: Any, cell: Any, width: Any,
    channels: Any, y: Any, add: Any,
) -> None:  # fmt: skip
    """Transforms the products m[at + jump p] to the results of a tile in y.

    `cell` is the first cell, in rows of `width` cells with `channels` values each. With `add` 1
    (otherwise 0) the old value is added, then bias[of + channel]; then relu and mask are applied.
    """
    builder = code.b
    with cgutils.for_range(builder, builder.udiv(channels, code.number(LANES))) as loop:
        channel = builder.mul(loop.index, code.number(LANES))
        points = []
        for point in range(POINTS * POINTS):
            start = builder.add(at, builder.mul(jump, code.number(point)))
            points.append(code.load(code.at(m, start, channel)))
        lines = [points[i : i + POINTS] for i in range(0, len(points), POINTS)]
        shift = code.load(code.at(bias, of, channel))
        residual = code.splat(builder.sitofp(add, ir.FloatType()))
        for i, line in enumerate(code.transform(TO_RESULT, lines)):
            for j, vector in enumerate(line):
                to = builder.add(
                    cell, builder.add(builder.mul(width, code.number(i)), code.number(j))
                )
                address = code.at(y, builder.mul(to, channels), channel)
                total = builder.fadd(vector, shift)
                total = code.fma(residual, code.load(address), total)
                on_board = code.splat(builder.load(code.at(mask, to)))
                code.store(builder.fmul(code.rectified(total), on_board), address)
