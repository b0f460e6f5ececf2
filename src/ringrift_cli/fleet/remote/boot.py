"""The first thing that runs on a host: it takes in the remote half, once, and starts it.

The text of this file is what `python -c` is given (bundle.py). It must parse on every Python 3 from
3.6 on, so that one that is too old is told to be so, and it can import nothing of ours.
"""

import hashlib
import json
import os
import sys

LEAST = (3, 8)
PROBLEMS = (ImportError, SyntaxError, ValueError, EOFError)  # of a folder that was damaged


class Failed(Exception):
    """`kind` and a sentence."""


def say(pipe: int, message: object) -> None:
    """Sends a frame."""
    text = json.dumps(message).encode("ascii")
    write(pipe, b"J%d\n%s" % (len(text), text))


def write(pipe: int, data: bytes) -> None:
    """Writes all of it."""
    while data:
        data = data[os.write(pipe, data) :]


def take(count: int) -> bytes:
    """Exactly so many bytes, and none of what comes after them."""
    data = b""
    while len(data) < count:
        more = os.read(0, count - len(data))
        if not more:
            raise Failed("wire", "The connection ended while the remote half was sent.")
        data += more
    return data


def take_frame() -> bytes:
    """A frame of bytes."""
    header = b""
    while not header.endswith(b"\n") and len(header) < 10:
        header += take(1)
    if header[:1] != b"B" or not header[1:-1].isdigit() or int(header[1:]) > 1 << 20:
        raise Failed("wire", f"Expected the remote half, got {header!r}.")
    return take(int(header[1:]))


def unpack(data: bytes, inner: str, folder: str) -> None:
    """Makes the folder in one step. Others may be doing the same: whoever is first is right."""
    import io
    import shutil
    import tempfile
    import zipfile

    made = tempfile.mkdtemp(prefix=".remote-", dir=inner)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            packed.extractall(made)
        for place, _folders, names in os.walk(made):
            for name in names:  # a folder that outlives a power cut must be whole
                with open(os.path.join(place, name), "rb") as file:
                    os.fsync(file.fileno())
        os.rename(made, folder)
    except OSError:
        if not os.path.isdir(folder):
            raise
    finally:
        shutil.rmtree(made, ignore_errors=True)


def prepare(pipe: int, work: str, sha: str) -> str:
    """The folder of the remote half, once it is there."""
    if sys.version_info < LEAST:
        version, least = (".".join(map(str, v[:2])) for v in (sys.version_info, LEAST))
        text = f"{sys.executable} is Python {version}: expected {least} or later."
        raise Failed("python", text)
    inner = os.path.join(work, ".ringrift")
    folder = os.path.join(inner, "remote-" + sha)
    try:
        os.makedirs(inner, mode=0o700, exist_ok=True)
        if not os.path.isdir(folder):
            say(pipe, {"need": sha})
            data = take_frame()
            if hashlib.sha256(data).hexdigest() != sha:
                raise Failed("wire", "The remote half was damaged on the way.")
            unpack(data, inner, folder)
    except OSError as error:
        kind = "disk" if error.errno in (28, 122) else "work"  # ENOSPC, EDQUOT
        text = f"The work folder {work} cannot be used: {error.strerror}."
        raise Failed(kind, text)  # noqa: B904 - nobody sees the cause
    return folder


def boot() -> int:
    """Greets, makes ready, and hands the pipes over; an exit code."""
    pipe = os.dup(1)
    os.dup2(2, 1)  # a stray print must not end up among the frames
    write(pipe, b"RINGRIFT 1\n")
    work, sha = os.path.abspath(os.path.expanduser(sys.argv[1])), sys.argv[2]
    try:
        folder = prepare(pipe, work, sha)
        sys.path.insert(0, folder)
        try:
            from ringrift_cli.fleet.remote.main import serve
        except PROBLEMS as error:
            import shutil

            shutil.rmtree(folder, ignore_errors=True)
            text = f"The remote half in {folder} was damaged ({error}) and is removed: try again."
            raise Failed("damaged", text)  # noqa: B904
    except Failed as failed:
        say(pipe, {"end": "error", "kind": failed.args[0], "sentence": failed.args[1]})
        return 1
    say(pipe, {"have": sha})
    return serve(work, 0, pipe)


if __name__ == "__main__":
    sys.exit(boot())
