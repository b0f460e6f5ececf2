"""The container of packed games, of compact records (record.py) and of shards (data/shard.py):

name and version of the format, a line
header, a line of JSON: rules, codec, board, players, pie_rule, made, counts
zlib of the columns, one after the other, all little-endian
SHA-256 of everything before it, 32 bytes
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from ringrift_cli.errors import RecordError, RingriftError, RulesMismatch
from ringrift_cli.game.topology import BOARD_NAMES, PLAYER_COUNTS
from ringrift_cli.game.version import codec_hash

DIGEST = 32
MOST_BODY = 1 << 31  # bytes

Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]


class Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a container says of its games; each format adds its counts."""

    rules: str
    codec: str
    board: str
    players: int
    pie_rule: bool
    made: dict[str, Any]  # what made the games
    games: Positive
    decisions: Positive

    @property
    def body_bytes(self) -> int:
        """Size of the columns before compression."""
        raise NotImplementedError


H = TypeVar("H", bound=Header)


def pack(magic: bytes, header: Header, body: bytes) -> bytes:
    """A container; `magic` is its first line."""
    data = magic + json.dumps(msgspec.to_builtins(header)).encode() + b"\n" + zlib.compress(body)
    return data + hashlib.sha256(data).digest()


def unpack(
    data: bytes, magic: bytes, kind: type[H], *, is_verified: bool = False
) -> tuple[H, bytes]:
    """Header and columns of a container.

    `RecordError` if it is damaged or its header does not fit its body, `RulesMismatch` for another
    version of the format or other action numbers; the rules are for the caller to compare. Whoever
    has compared the hash of all of it says that it `is_verified`.
    """
    if not data.startswith(magic):
        if data.startswith(magic.split(b" ", maxsplit=1)[0]):
            raise RulesMismatch(f"its format is another version than {magic.split()[1].decode()}.")
        raise RecordError(f"it does not begin with {magic.split()[0].decode()}.")
    body_end = len(data) - DIGEST
    if not is_verified and (
        body_end < len(magic) or hashlib.sha256(data[:body_end]).digest() != data[body_end:]
    ):
        raise RecordError("the checksum does not fit: the file is cut short or damaged.")
    line, _, packed = data[len(magic) : body_end].partition(b"\n")
    try:
        header = msgspec.json.decode(line, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(f"its header is not valid: {error}.") from error
    if header.codec != codec_hash():
        raise RulesMismatch(
            f"its actions are numbered by {header.codec}, but these by {codec_hash()}."
        )
    check_setting(header.board, header.players)
    return header, _decompressed(packed, header.body_bytes)


@contextmanager
def located(place: object) -> Iterator[None]:
    """Errors inside name the place, a file; `RecordError` if it cannot be read."""
    try:
        yield
    except OSError as error:
        raise RecordError(f"{place}: {error.strerror}.") from error
    except RingriftError as error:
        raise type(error)(f"{place}: {error.message}", error.hint) from error


def check_setting(board: str, players: int, *, pie_rule: bool = False) -> None:
    """`RecordError` if there are no such games."""
    if board not in BOARD_NAMES or players not in PLAYER_COUNTS or (pie_rule and players != 2):
        raise RecordError(
            f"board {board!r:.40}, players {players!r:.40} and pie_rule {pie_rule!r} are no game."
        )


def _decompressed(packed: bytes, size: int) -> bytes:
    """Exactly `size` bytes; what was packed so as to fill any memory is not unpacked."""
    if size > MOST_BODY:
        raise RecordError(f"its header counts {size} bytes, more than the {MOST_BODY} allowed.")
    stream = zlib.decompressobj()
    try:
        body = stream.decompress(packed, size + 1)
    except zlib.error as error:
        raise RecordError("its body is not compressed.") from error
    if len(body) != size or not stream.eof:
        raise RecordError(f"its body holds {len(body)} bytes or more, not {size}.")
    return body
