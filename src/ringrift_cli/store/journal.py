"""Append-only files of JSON lines, each of one type.

A line is durable when `append` returns. A crash can leave an incomplete last line, which was never
acknowledged: `read` ignores it and `recover` truncates it.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from ringrift_cli.errors import RecordError
from ringrift_cli.store.files import append

T = TypeVar("T")


def decode_lines(
    lines: Iterable[bytes], kind: type[T], path: Path, hint: str | None = None
) -> list[T]:
    """Decodes the lines of a file as `kind`; `RecordError` names the file, line and field."""
    decoder, number = msgspec.json.Decoder(kind), itertools.count(1)
    try:
        return [decoder.decode(line) for line in lines if next(number)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(f"{path}, line {next(number) - 1}: {error}.", hint) from error


@dataclass(frozen=True)
class JournalFile(Generic[T]):
    """A journal with lines of type `kind`; a single writer process at a time."""

    path: Path
    kind: type[T]
    hint: str | None = None  # of the error for a damaged journal

    def read(self) -> list[T]:
        """Returns the complete lines; `RecordError` for a damaged one."""
        whole, _ = self._whole()
        return decode_lines(whole.splitlines(), self.kind, self.path, self.hint)

    def recover(self) -> list[T]:
        """Like `read`, and truncates an incomplete last line; for the writer only."""
        lines = self.read()
        whole, size = self._whole()
        if len(whole) < size:
            os.truncate(self.path, len(whole))
        return lines

    def append(self, line: T) -> None:
        """Appends a line durably; on `OutputError` the file is unchanged."""
        append(self.path, msgspec.json.encode(line) + b"\n")

    def _whole(self) -> tuple[bytes, int]:
        data = self.path.read_bytes() if self.path.exists() else b""
        return data[: data.rfind(b"\n") + 1], len(data)
