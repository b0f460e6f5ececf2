"""Compilation of the rules: one `njit` for the whole package, and the bit operations Python lacks.

Numba's own cache notices a change in the file of the function it compiled, but not in the files of
the functions that one calls. The rules span many files, so their cache folder is named by a hash of
all of them: machine code is reused exactly as long as no rule changed.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import llvmlite.ir as ir
import numba
from numba import types
from numba.extending import intrinsic

F = TypeVar("F", bound=Callable[..., Any])

CACHE_VARIABLE = "RINGRIFT_CACHE_DIR"


def _source_hash() -> str:
    digest = hashlib.sha256(f"{numba.__version__} {sys.version_info[:2]}".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def cache_dir() -> Path:
    """Folder of this version's machine code; `RINGRIFT_CACHE_DIR` moves it."""
    base = os.environ.get(CACHE_VARIABLE) or os.environ.get("XDG_CACHE_HOME")
    root = Path(base) if base else Path.home() / ".cache"
    return root / "ringrift" / f"rules-{_source_hash()}"


CACHE_DIR = cache_dir()


def is_compiled() -> bool:
    """Whether an earlier process left machine code of these very sources on this machine."""
    return any(CACHE_DIR.rglob("*.nbc"))


def njit(*, parallel: bool = False, nogil: bool = True) -> Callable[[F], F]:
    """`numba.njit` with the cache of this version of the rules."""

    def decorate(function: F) -> F:
        before = numba.config.CACHE_DIR  # type: ignore[attr-defined]
        numba.config.CACHE_DIR = str(CACHE_DIR)  # type: ignore[attr-defined]
        try:
            compiled = numba.njit(cache=True, nogil=nogil, parallel=parallel)(function)
        finally:
            numba.config.CACHE_DIR = before  # type: ignore[attr-defined]
        return cast(F, compiled)

    return decorate


def _bit_intrinsic(name: str) -> Any:
    def typed(_typing: Any, _x: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            if name == "ctpop":
                return builder.ctpop(args[0])
            return getattr(builder, name)(args[0], ir.Constant(ir.IntType(1), 0))

        return types.int32(types.int32), generate

    return intrinsic(typed)


_cttz = _bit_intrinsic("cttz")
_ctlz = _bit_intrinsic("ctlz")
_ctpop = _bit_intrinsic("ctpop")


@njit()
def lowest(x: int) -> int:
    """Index of the lowest set bit of a 32-bit word; 32 for zero."""
    return _cttz(x)  # type: ignore[no-any-return]


@njit()
def highest(x: int) -> int:
    """Index of the highest set bit of a 32-bit word; -1 for zero."""
    return 31 - _ctlz(x)  # type: ignore[no-any-return]


@njit()
def popcount(x: int) -> int:
    """Number of set bits of a 32-bit word."""
    return _ctpop(x)  # type: ignore[no-any-return]
