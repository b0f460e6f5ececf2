"""Compilation of the rules: one `njit` for the whole package, and the bit operations Python lacks.

Numba's own cache goes by the place and time of the file of the function it compiled, and misses
the files of the functions that one calls. Compiled code spans many files, so the cache folder of a
package is named by a hash of all that its functions may call: machine code is reused exactly as
long as none of that changed, by every copy of the package on this machine.

In CUDA's simulator (`NUMBA_ENABLE_CUDASIM=1`) kernels are plain Python, and so is everything here:
the very same functions run without being compiled, over arrays that compute like compiled code.
"""

from __future__ import annotations

import errno
import hashlib
import operator
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import llvmlite.ir as ir
import numba
import numpy as np
from numba import types
from numba.core import caching
from numba.core.registry import cpu_target
from numba.core.typing.templates import AbstractTemplate, infer_global
from numba.extending import intrinsic, lower_builtin, models, register_model

from ringrift_cli.errors import OutputError

F = TypeVar("F", bound=Callable[..., Any])

CACHE_VARIABLE = "RINGRIFT_CACHE_DIR"
SIMULATED = bool(numba.config.ENABLE_CUDASIM)
if SIMULATED:  # generators are meant to overflow
    warnings.filterwarnings("ignore", "overflow encountered", RuntimeWarning)
COMPILED = ("game", "nn", "search", "players")  # packages that hold some; they call those before


@dataclass(frozen=True)
class MachineCode:
    """Where the compiled functions of one package of ringrift_cli are kept."""

    package: str
    folder: Path
    complete: Path  # written once everything is there

    def exists(self) -> bool:
        """Whether an earlier process compiled all of these very sources on this machine."""
        return self.complete.exists()


def _compiled_sources(package: str) -> list[Path]:
    """Files whose functions end up in the package's machine code: its own, those below, offsets."""
    root = Path(__file__).parents[1]
    folders = COMPILED[: COMPILED.index(package) + 1]
    files = sorted(path for name in folders for path in (root / name).rglob("*.py"))
    marks = (b"\n@rule(", b"\n@njit(", b"import intrinsic\n")
    return [
        path
        for path in files
        if path.name == "layout.py" or any(mark in path.read_bytes() for mark in marks)
    ]


def _source_hash(sources: list[Path]) -> str:
    digest = hashlib.sha256(f"{numba.__version__} {sys.version_info[:2]}".encode())
    for path in sources:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def cache_root() -> Path:
    """Folder of all machine code; `RINGRIFT_CACHE_DIR` moves it."""
    base = os.environ.get(CACHE_VARIABLE) or os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "ringrift"


@cache
def processor_features() -> frozenset[str]:
    """LLVM's names of the features that code is compiled for, as "avx512f".

    `NUMBA_CPU_NAME` and `NUMBA_CPU_FEATURES` ("+avx2,+fma") replace those of the processor.
    """
    _triple, _name, features = cpu_target.target_context.codegen().magic_tuple()
    return frozenset(word[1:] for word in features.split(",") if word.startswith("+"))


def _usable(folder: Path) -> Path:
    """The folder, made; Numba would quietly take another one if it could not write there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise OutputError(
            f"Cannot keep compiled rules in {folder}: {error.strerror}.",
            hint=f"{CACHE_VARIABLE}=/another/folder ringrift …",
        ) from error
    return folder


@cache
def machine_code(package: str) -> MachineCode:
    """The machine code of a package of `COMPILED`; its folder is made if need be."""
    folder = _usable(cache_root() / f"{package}-{_source_hash(_compiled_sources(package))}")
    processor = repr(cpu_target.target_context.codegen().magic_tuple())
    marker = f"complete-{hashlib.sha256(processor.encode()).hexdigest()[:16]}"
    return MachineCode(package, folder, folder / marker)


class _Kept(caching._CacheLocator):  # type: ignore[misc] # noqa: SLF001
    """Place of a function's machine code, which depends on sources, not on where they are."""

    def __init__(self, function: Callable[..., Any], file: str) -> None:
        self._function, self._py_file = function, file  # Numba's warnings name the file

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> _Kept:
        return cls(py_func, py_file)

    def get_cache_path(self) -> str:
        return str(machine_code(self._function.__module__.split(".")[1]).folder)

    def get_source_stamp(self) -> str:
        return Path(self.get_cache_path()).name

    def get_disambiguator(self) -> str:
        return f"{self._function.__module__}-{self._function.__code__.co_firstlineno}"


def keep(dispatcher: Any, cache_type: Any) -> None:
    """Makes a dispatcher keep its machine code; `cache_type` is the cache of its target."""
    found = type("Kept", (cache_type._impl_class,), {"_locator_classes": [_Kept]})  # noqa: SLF001
    dispatcher._cache = type("KeptCache", (cache_type,), {"_impl_class": found})(  # noqa: SLF001
        dispatcher.py_func
    )


class Plain:
    """An array in the simulator, whose items are Python's numbers.

    Compiled code computes with 64 bits whatever the items of an array are; NumPy's own items would
    overflow, or round to single precision. Items of generators, uint64, stay NumPy's.
    """

    def __init__(self, array: np.ndarray) -> None:
        self._array = array
        self.shape = array.shape

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, index: Any) -> Any:
        item = self._array[index]
        if isinstance(item, np.ndarray):
            return Plain(item)
        return item if isinstance(item, np.uint64) else item.item()

    def __setitem__(self, index: Any, value: Any) -> None:
        self._array[index] = value


def _plain(argument: Any) -> Any:
    if isinstance(argument, np.ndarray):
        return Plain(argument)
    if isinstance(argument, tuple) and hasattr(argument, "_fields"):
        return type(argument)(*map(_plain, argument))
    return argument


def _plainly(function: F) -> F:
    """An entry as the simulator runs it."""
    return cast(F, wraps(function)(lambda *arguments: function(*map(_plain, arguments))))


def njit(**flags: bool) -> Callable[[F], F]:
    """`numba.njit` without the GIL, whose machine code is kept."""

    def decorate(function: F) -> F:
        if SIMULATED:
            return _plainly(function)
        compiled = numba.njit(nogil=True, **flags)(function)
        keep(compiled, caching.FunctionCache)
        return cast(F, compiled)

    return decorate


def _instruction(plain: Callable[..., Any]) -> Callable[[Callable[..., Any]], Any]:
    """For functions that write instructions; the simulator calls `plain` in their place."""
    return lambda typed: plain if SIMULATED else intrinsic(typed)


def _bit_intrinsic(name: str, plain: Callable[[int], int]) -> Any:
    def typed(_typing: Any, _x: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            if name == "ctpop":
                return builder.ctpop(args[0])
            return getattr(builder, name)(args[0], ir.Constant(ir.IntType(1), 0))

        return types.int32(types.int32), generate

    return _instruction(plain)(typed)


def rule() -> Callable[[F], F]:
    """For functions with rows that only compiled code calls: no wrapper for Python is built.

    That halves the time to compile. A call from Python would jump to the missing wrapper, so it is
    refused.
    """

    def decorate(function: F) -> F:
        if SIMULATED:
            return function
        compiled = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)

        def refuse(*_arguments: object) -> None:
            name = f"{function.__module__}.{function.__qualname__}"
            raise TypeError(
                f"{name} is for compiled code: Python calls entries, such as those of engine.py"
            )

        compiled._compile_for_args = refuse  # type: ignore[attr-defined] # noqa: SLF001
        return compiled

    return decorate


class RowType(types.Type):  # type: ignore[misc]
    """The address of the first item of an int32 array, indexed like the array, items as int64.

    An array is seven values in a call, its indices are tested for being negative, and its items
    would be of another type than loop counters, so that every rule would be compiled for both. The
    rules call each other a lot: the drivers hand them addresses.
    """

    def __init__(self) -> None:
        super().__init__(name="row")


class SpacedRowType(types.Type):  # type: ignore[misc]
    """A row whose items do not follow each other: the address of the first, and their distance.

    A GPU may keep word k of all games side by side, so that threads in step read one stretch.
    """

    def __init__(self) -> None:
        super().__init__(name="spaced row")


row_type, spaced_row_type = RowType(), SpacedRowType()


@register_model(RowType)
class RowModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, row: Any) -> None:
        super().__init__(manager, row, ir.IntType(32).as_pointer())


@register_model(SpacedRowType)
class SpacedRowModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, row: Any) -> None:
        pair = (ir.IntType(32).as_pointer(), ir.IntType(64))
        super().__init__(manager, row, ir.LiteralStructType(pair))


@_instruction(_plain)
def pointer(_typing: Any, array: Any) -> Any:
    """The row that begins with the first item of an int32 array, [K], contiguous or not."""
    row = row_type if array.layout == "C" else spaced_row_type

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        made = context.make_array(signature.args[0])(context, builder, args[0])
        if row is row_type:
            return made.data
        bytes_apart = builder.extract_value(made.strides, 0)
        apart = builder.ashr(bytes_apart, ir.Constant(ir.IntType(64), 2))
        pair = context.get_value_type(row)(ir.Undefined)
        return builder.insert_value(builder.insert_value(pair, made.data, 0), apart, 1)

    return row(array), generate


@infer_global(operator.getitem)
class _GetItem(AbstractTemplate):  # type: ignore[misc]
    def generic(self, args: Any, _keywords: Any) -> Any:
        if isinstance(args[0], RowType | SpacedRowType) and isinstance(args[1], types.Integer):
            return types.int64(args[0], types.intp)
        return None


@infer_global(operator.setitem)
class _SetItem(AbstractTemplate):  # type: ignore[misc]
    def generic(self, args: Any, _keywords: Any) -> Any:
        if isinstance(args[0], RowType | SpacedRowType) and isinstance(args[1], types.Integer):
            return types.none(args[0], types.intp, types.int32)
        return None


def _address(builder: Any, row: Any, index: Any) -> Any:
    if isinstance(row.type, ir.PointerType):
        return builder.gep(row, [index])
    apart = builder.extract_value(row, 1)
    return builder.gep(builder.extract_value(row, 0), [builder.mul(index, apart)])


@lower_builtin(operator.getitem, RowType, types.intp)  # type: ignore[untyped-decorator]
@lower_builtin(operator.getitem, SpacedRowType, types.intp)  # type: ignore[untyped-decorator]
def _load(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
    item = builder.load(_address(builder, args[0], args[1]))
    return builder.sext(item, ir.IntType(64))


@lower_builtin(operator.setitem, RowType, types.intp, types.int32)  # type: ignore[untyped-decorator]
@lower_builtin(operator.setitem, SpacedRowType, types.intp, types.int32)  # type: ignore[untyped-decorator]
def _store(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
    builder.store(args[2], _address(builder, args[0], args[1]))
    return context.get_dummy_value()


@_instruction(operator.mul)
def product(_typing: Any, _x: Any, _y: Any) -> Any:
    """x * y, rounded before anything is added to it.

    A GPU would fuse a sum with a product in it into one instruction with a single rounding, and
    reach another number than a CPU.
    """

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        if not builder.module.triple.startswith("nvptx"):
            return builder.fmul(*args)
        double = ir.DoubleType()
        kind = ir.FunctionType(double, [double, double])
        rounded = builder.module.declare_intrinsic("llvm.nvvm.mul.rn.d", fnty=kind)
        return builder.call(rounded, args)

    return types.float64(types.float64, types.float64), generate


def _plain_lowest(x: int) -> int:
    return (x & -x).bit_length() - 1 if x & 0xFFFFFFFF else 32


_cttz = _bit_intrinsic("cttz", _plain_lowest)
_ctlz = _bit_intrinsic("ctlz", lambda x: 32 - (x & 0xFFFFFFFF).bit_length())
_ctpop = _bit_intrinsic("ctpop", lambda x: (x & 0xFFFFFFFF).bit_count())


@njit()
def lowest(x: int) -> int:
    """Index of the lowest set bit of a 32-bit word; 32 for zero."""
    return _cttz(x)


@njit()
def highest(x: int) -> int:
    """Index of the highest set bit of a 32-bit word; -1 for zero."""
    return 31 - _ctlz(x)


@njit()
def popcount(x: int) -> int:
    """Number of set bits of a 32-bit word."""
    return _ctpop(x)


@njit()
def wide(x: int) -> int:
    """The number as int64: an item of an int32 array would have every rule compiled once more."""
    return x if SIMULATED else np.int64(x)  # type: ignore[return-value]
