"""Container format of compact records (record.py) and of shards (data/shard.py):

name and version of the format, one line
header, one line of JSON: rules, codec, board, players, pie_rule, made, counts
zlib stream of the columns, concatenated, little-endian
SHA-256 of everything before it, 32 bytes
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from ringrift_cli.errors import RecordError, RingriftError, RulesMismatch
from ringrift_cli.game.topology import BOARD_NAMES, PLAYER_COUNTS
from ringrift_cli.game.version import codec_hash

DIGEST = 32
MAX_BODY = 1 << 31  # bytes

Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Layout = Sequence[tuple[str, int]]  # type and length of each column
Arrays = list[npt.NDArray[Any]]


class Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Header fields of all formats; each adds its counts."""

    rules: str
    codec: str
    board: str
    players: int
    pie_rule: bool
    made: dict[str, Any]  # origin of the games
    games: Positive
    decisions: Positive


H = TypeVar("H", bound=Header)


def pack(magic: bytes, header: Header, layout: Layout, columns: Arrays) -> bytes:
    """A container; `magic` is its first line. Converts the columns to the types of `layout`."""
    typed = zip(columns, layout, strict=True)
    body = b"".join(column.astype(kind).tobytes() for column, (kind, _) in typed)
    data = magic + json.dumps(msgspec.to_builtins(header)).encode() + b"\n" + zlib.compress(body)
    return data + hashlib.sha256(data).digest()


def unpack(
    data: bytes,
    magic: bytes,
    kind: type[H],
    layout: Callable[[H], Layout],
    *,
    is_verified: bool = False,
) -> tuple[H, Arrays]:
    """Header and columns of a container; `is_verified` if the SHA-256 of `data` was compared.

    `RecordError` if it is damaged or its header does not fit its body, `RulesMismatch` for another
    version of the format or other action numbers; the rules are for the caller to compare.
    """
    if not data.startswith(magic):
        if data.startswith(magic.split(b" ", maxsplit=1)[0]):
            raise RulesMismatch(f"its format is another version than {magic.split()[1].decode()}.")
        raise RecordError(f"it does not begin with {magic.split()[0].decode()}.")
    body_end = len(data) - DIGEST
    if not is_verified and (
        body_end < len(magic) or hashlib.sha256(data[:body_end]).digest() != data[body_end:]
    ):
        raise RecordError("its checksum does not match: the file is truncated or damaged.")
    line, _, packed = data[len(magic) : body_end].partition(b"\n")
    try:
        header = msgspec.json.decode(line, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(f"its header is not valid: {error}.") from error
    if header.codec != codec_hash():
        raise RulesMismatch(
            f"its actions are numbered by the codec {header.codec}, expected {codec_hash()}."
        )
    check_setting(header.board, header.players, header.pie_rule)
    expected = layout(header)
    body = _decompressed(packed, sum(np.dtype(of).itemsize * size for of, size in expected))
    columns: Arrays = []
    at = 0
    for of, size in expected:
        columns.append(np.frombuffer(body, of, size, at))
        at += columns[-1].nbytes
    return header, columns


@contextmanager
def located(place: object) -> Iterator[None]:
    """Prefixes errors within by a place, a file; `RecordError` if it cannot be read."""
    try:
        yield
    except OSError as error:
        raise RecordError(f"{place}: {error.strerror}.") from error
    except RingriftError as error:
        raise type(error)(f"{place}: {error.message}", error.hint) from error


def check_setting(board: object, players: object, pie_rule: bool) -> None:
    """`RecordError` unless there are such games."""
    if board not in BOARD_NAMES or players not in PLAYER_COUNTS or (pie_rule and players != 2):
        raise RecordError(
            f"board {board!r:.40}, players {players!r:.40}, pie_rule {pie_rule!r}: expected a board"
            f" of {', '.join(BOARD_NAMES)}, 2 to 4 players, and the pie rule with 2 only."
        )


def _decompressed(packed: bytes, size: int) -> bytes:
    """Exactly `size` bytes; refuses a decompression bomb without unpacking it."""
    if size > MAX_BODY:
        raise RecordError(f"its header counts {size} bytes, more than the {MAX_BODY} allowed.")
    stream = zlib.decompressobj()
    try:
        body = stream.decompress(packed, size + 1)
    except zlib.error as error:
        raise RecordError("its body is not compressed.") from error
    if len(body) != size or not stream.eof:
        raise RecordError(f"its body has {len(body)} bytes or more, expected {size}.")
    return body
