"""The loop of the remote half: requests in, answers out, until the other end closes.

Requests may be sent ahead of the answers, up to 64 KiB of them: they are answered in order, and
what is answered is written out when no more requests are waiting.
"""

from __future__ import annotations

import contextlib
import functools
import os
import select
import sys
from importlib import import_module
from types import TracebackType
from typing import NamedTuple

from ringrift_cli.errors import RingriftError
from ringrift_cli.fleet.remote.base import Ask, Gone, Half, Refusal, as_refused
from ringrift_cli.fleet.remote.wire import AT_ONCE, Buffer, Wire, WireError

IDLE = 3600.0  # s without a request after which the other end is taken for dead


class Op(NamedTuple):
    """An operation: the function that does it, and which arguments it takes.

    Its module is loaded when it is asked for: most connections want one thing, and soon.
    """

    module: str
    function: str
    arguments: tuple[str, ...]


OPS: dict[str, Op] = {
    "facts": Op("facts", "facts", ("deadline_s",)),
    "start": Op("jobs", "start", ("job",)),
    "jobs": Op("jobs", "jobs", ("ids",)),
    "stop": Op("jobs", "stop", ("id", "grace_s", "insist")),
    "log": Op("jobs", "log", ("id", "offset", "most")),
    "shards": Op("shards", "shards", ("roots",)),
    "lines": Op("shards", "lines", ("folder", "sha256s")),
    "enter": Op("shards", "enter", ("folder", "entries")),
    "files": Op("files", "files", ("root", "hash", "fresh")),
    "hash": Op("files", "hash_files", ("paths",)),
    "send": Op("files", "send", ("path", "offset")),
    "put": Op("put", "put", ("path", "size", "sha256", "replace")),
    "remove": Op("files", "remove", ("paths",)),
}


class Pipes:
    """Standard input and output; answers are held back while more requests are waiting."""

    def __init__(self, source: int, sink: int) -> None:
        self.source = source
        self.sink = sink
        self.held: list[bytes] = []
        self.size = 0

    def read(self, most: int) -> bytes:
        """Up to so many bytes; b"" when the other end has closed, or was silent for an hour."""
        self.flush()
        ready, _, _ = select.select([self.source], [], [], IDLE)
        return os.read(self.source, most) if ready else b""

    def write(self, data: Buffer) -> None:
        if len(data) >= AT_ONCE:
            self.flush()
            self._out(data)
            return
        self.held.append(bytes(data))
        self.size += len(data)
        if self.size >= AT_ONCE:
            self.flush()

    def flush(self) -> None:
        held, self.held, self.size = self.held, [], 0
        if held:
            self._out(b"".join(held))

    def _out(self, data: Buffer) -> None:
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self.sink, left) :]
        except OSError as error:
            raise Gone from error


def serve(work: str, source: int, sink: int) -> int:
    """Answers whatever comes over two descriptors; an exit code."""
    pipes = Pipes(source, sink)
    half = Half(os.path.realpath(work), Wire(pipes.read, pipes.write), pipes.flush)
    os.chdir(half.work)
    sys.excepthook = functools.partial(_broken, half)
    try:
        while _answer_one(half):
            pass
        pipes.flush()
    except Gone:
        return 0
    except WireError as error:
        half.send({"end": "error", "kind": "wire", "sentence": f"{error}."})
        pipes.flush()
        return 1
    return 0


def _answer_one(half: Half) -> bool:
    """Answers the next request; False if there are no more."""
    ask = half.wire.receive()
    if ask is None:
        return False
    if not isinstance(ask, dict):
        raise WireError("bytes came where a request was expected")
    try:
        done = act(half, ask)
        last = None if done is None else {"end": "ok", **done}
    except (Refusal, RingriftError, OSError) as error:
        last = as_refused(error, half.work)
    if last is not None:
        half.send(last)
    return True


def act(half: Half, ask: Ask) -> Ask | None:
    """Does what is asked; what its last frame says, None if that was sent."""
    op = OPS.get(str(ask.get("op")))
    if op is None:
        raise Refusal("usage", f"op is {ask.get('op')!r:.80}: expected one of {', '.join(OPS)}.")
    unknown = sorted(set(ask) - {"op", *op.arguments})
    if unknown:
        raise Refusal("usage", f"{ask['op']} takes no {unknown[0]!r:.80}.")
    module = import_module(f"ringrift_cli.fleet.remote.{op.module}")
    done: Ask | None = getattr(module, op.function)(half, ask)
    return done


def _broken(half: Half, kind: type, error: BaseException, trace: TracebackType | None) -> None:
    """A mistake of ours is told to the other end too, before it ends us."""
    import traceback

    sys.__excepthook__(kind, error, trace)
    last = traceback.extract_tb(trace)[-1]
    place = f"{os.path.basename(last.filename)}, line {last.lineno}"
    sentence = f"The remote half broke down in {place}: {kind.__name__}: {error}."
    with contextlib.suppress(Gone):
        half.send({"end": "error", "kind": "bug", "sentence": sentence})
        half.flush()
