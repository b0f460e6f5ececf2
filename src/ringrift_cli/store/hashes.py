"""SHA-256 digests of bytes and of files, in hexadecimal."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ringrift_cli.errors import OutputError


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sha256_of_file(path: Path) -> str:
    """Hex digest of the content of a file; `OutputError` if it cannot be read."""
    try:
        with path.open("rb", buffering=0) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise OutputError(f"Cannot read {path}: {error.strerror}.") from error
