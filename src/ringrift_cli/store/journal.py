"""Append-only files of JSON lines, each of one type.

A line is on the disk when `append` returns. A crash can leave a last line without a newline: it was
not built upon, so `read` ignores it and `recover` removes it.
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
    """The lines of a file as `kind`; `RecordError` names the file, the line and the field."""
    decoder, number = msgspec.json.Decoder(kind), itertools.count(1)
    try:
        return [decoder.decode(line) for line in lines if next(number)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(f"{path}, line {next(number) - 1}: {error}.", hint) from error


@dataclass(frozen=True)
class JournalFile(Generic[T]):
    """A journal with lines of type `kind`; only one process at a time may write to it."""

    path: Path
    kind: type[T]
    hint: str | None = None  # what to do about a damaged one

    def read(self) -> list[T]:
        """The complete lines; `RecordError` names a damaged one."""
        whole, _ = self._whole()
        return decode_lines(whole.splitlines(), self.kind, self.path, self.hint)

    def recover(self) -> list[T]:
        """As `read`, and removes an incomplete last line from the file: for its writer."""
        lines = self.read()
        whole, size = self._whole()
        if len(whole) < size:
            os.truncate(self.path, len(whole))
        return lines

    def append(self, line: T) -> None:
        """Adds a line durably; `OutputError` if that fails, and then the file is as before."""
        append(self.path, msgspec.json.encode(line) + b"\n")

    def _whole(self) -> tuple[bytes, int]:
        data = self.path.read_bytes() if self.path.exists() else b""
        return data[: data.rfind(b"\n") + 1], len(data)
