"""This package as deployed to hosts: its hash, its zip, and the command that starts its agent.

A host keeps each version in a folder named by its hash, so running jobs keep their code and both
ends of a connection run the same version.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import re
import shlex
import threading
import zipfile
from pathlib import Path

from ringrift_cli.errors import UsageError
from ringrift_cli.fleet import probe
from ringrift_cli.fleet.agent.layout import CODE, VENV

PACKAGE = Path(__file__).parents[1]
_hashing = threading.Lock()
EPOCH = (1980, 1, 1, 0, 0, 0)  # timestamp of every file, so that the zip is reproducible
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
START = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from ringrift_cli.fleet.agent.main import main; sys.exit(main())"
)
_UNPACK = """\
import hashlib, io, os, shutil, sys, tempfile, zipfile

folder, expected = sys.argv[1:]
data = sys.stdin.buffer.read()
if hashlib.sha256(data).hexdigest() != expected:
    sys.exit("it was damaged on the way")
archive = zipfile.ZipFile(io.BytesIO(data))


def held(name):
    try:
        with open(os.path.join(folder, name), "rb") as file:
            return file.read()
    except OSError:
        return None


if not all(held(name) == archive.read(name) for name in archive.namelist()):
    made = tempfile.mkdtemp(prefix=".code-", dir=os.path.dirname(folder))
    try:
        archive.extractall(made)
        os.sync()
        shutil.rmtree(folder, ignore_errors=True)
        os.rename(made, folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
"""
# For `python -c … FOLDER SHA256` with the zip as standard input. The folder appears atomically. A
# single line, since shells quote line ends differently.
UNPACK = f"import base64; exec(base64.b64decode('{base64.b64encode(_UNPACK.encode()).decode()}'))"


def _files() -> list[tuple[str, Path]]:
    found = [
        (path.relative_to(PACKAGE.parent).as_posix(), path)
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"
    ]
    return sorted(found)


def code_hash() -> str:
    """Hex SHA-256 of the names and contents of all files of the package; thread-safe."""
    with _hashing:  # connections to many hosts ask at the same time
        return _code_hash()


@functools.cache
def _code_hash() -> str:
    found = hashlib.sha256()
    for name, path in _files():
        data = path.read_bytes()
        found.update(f"{name}\0{len(data)}\0".encode())
        found.update(data)
    return found.hexdigest()


def zipped() -> bytes:
    """The package as a reproducible zip."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in _files():
            info = zipfile.ZipInfo(name, EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o100644 << 16
            archive.writestr(info, path.read_bytes())
    return packed.getvalue()


def command(python: str, work: str) -> str:
    """The login shell command (sh, bash, dash, zsh, fish, csh or tcsh) that starts the agent.

    Without our environment it prints facts about the host (probe.py). A leading ~ is the remote
    home. `UsageError` if a path is empty or has control characters.
    """
    for name, value in (("python", python), ("work", work)):
        if not value or CONTROL.search(value):
            raise UsageError(f"{name} is {value!r}: expected a path without control characters.")
    code, own = CODE + code_hash(), f"{VENV}/bin/python"
    agent = f'exec {own} -I -X utf8 -c {shlex.quote(START)} "$PWD"/{code}'
    script = (
        f"cd {probe.home(work)} 2>/dev/null && [ -x {own} ] && [ -d {code} ] && {agent};"
        f" {probe.script(python, work)}"
    )
    return probe.shell(script)
