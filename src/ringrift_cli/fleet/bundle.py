"""The remote half as a zip, the command line that starts it, and its handing over.

A host needs a Python of 3.8 or later and nothing else. What runs there is named by the hash of what
we would send, so that both ends are of one version, and is sent only where it is missing.
"""

from __future__ import annotations

import ast
import base64
import functools
import io
import re
import zipfile
import zlib
from pathlib import Path

from ringrift_cli.errors import RemoteError, UsageError
from ringrift_cli.fleet.remote.wire import Wire, WireError
from ringrift_cli.store.hashes import sha256

PACKAGE = Path(__file__).parents[1]
SHIPPED = (
    "__init__.py",
    "errors.py",
    "store/__init__.py",
    "store/files.py",
    "store/locks.py",
    "fleet/__init__.py",
    "fleet/remote/*.py",
)
EPOCH = (1980, 1, 1, 0, 0, 0)  # the time of every file, so that equal files make equal zips
SPECIAL = re.compile(r"[^\w@%+=:,./-]", re.ASCII)
CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@functools.cache
def zipped() -> bytes:
    """The remote half; the same bytes for the same files. At most 1 MiB."""
    names = {path for pattern in SHIPPED for path in PACKAGE.glob(pattern)}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(names):
            info = zipfile.ZipInfo(path.relative_to(PACKAGE.parent).as_posix(), EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o100644 << 16
            archive.writestr(info, path.read_bytes())
    return packed.getvalue()


@functools.cache
def sha() -> str:
    """The name of the remote half: hex SHA-256 of `zipped()`."""
    return sha256(zipped())


def command(host_python: str, work: str) -> str:
    """The line that a host's shell is given: any of sh, bash, dash, zsh, fish, csh and tcsh.

    A leading ~ of both is the home there. `UsageError` if one is empty or has control characters.
    """
    for name, value in (("python", host_python), ("work", work)):
        if not value or CONTROL.search(value):
            raise UsageError(f"{name} is {value!r}: expected a path without control characters.")
    home = "~/" if host_python.startswith("~/") else ""
    python = home + quote(host_python[len(home) :])
    return f"exec {python} -I -X utf8 -c '{_boot()}' {quote(work)} {sha()}"


def quote(word: str) -> str:
    """A word for any shell: no quotes mean the same in all of them, but a backslash does."""
    return SPECIAL.sub(lambda found: _escaped(found.group()), word) or "''"


def _escaped(character: str) -> str:
    return character if ord(character) > 127 else "\\" + character


@functools.cache
def _boot() -> str:
    """boot.py as one line without single quotes and whatever else a shell may take for its own."""
    source = ast.unparse(ast.parse((PACKAGE / "fleet/remote/boot.py").read_bytes()))
    packed = base64.b64encode(zlib.compress(source.encode(), 9)).decode()
    return f'import base64,zlib;exec(zlib.decompress(base64.b64decode("{packed}")))'


def hand_over(wire: Wire) -> None:
    """Brings a remote half that was just started to where it takes requests.

    It passes over noise of login scripts, and sends the zip if it is asked for. `WireError` if
    something else answers, `RemoteError` (kind python, work, disk, damaged, wire) if the host
    cannot.
    """
    wire.expect_greeting()
    said = wire.receive()
    if said == {"need": sha()}:
        wire.send_bytes(zipped())
        said = wire.receive()
    if said == {"have": sha()}:
        return
    if isinstance(said, dict) and said.get("end") == "error":
        raise RemoteError(str(said.get("sentence")), kind=str(said.get("kind")))
    if said is None:
        raise WireError("it closed the connection after its greeting")
    raise WireError(f"it said {str(said)[:60]!r} where its version was expected")
