"""The loop of the agent: requests in, replies out, until the other end closes.

Requests may be sent ahead of the replies, up to 64 KiB of them: they are answered in order, and
replies are written out when no more requests are waiting.
"""

from __future__ import annotations

import contextlib
import functools
import os
import select
import sys
from collections.abc import Iterator
from importlib import import_module
from types import TracebackType
from typing import Any

import msgspec

from ringrift_cli.errors import RingriftError
from ringrift_cli.fleet import messages
from ringrift_cli.fleet.agent.context import Context, Gone, Refusal, failure
from ringrift_cli.fleet.wire import AT_ONCE, GREETING, Buffer, Wire, WireError
from ringrift_cli.version import __version__

IDLE = 3600.0  # seconds without a request before the agent ends
# Modules are loaded when they are asked for: most connections want one thing, and soon.
HANDLERS: dict[type, tuple[str, str]] = {
    messages.AskFacts: ("facts", "facts"),
    messages.Start: ("jobs", "start"),
    messages.Jobs: ("jobs", "jobs"),
    messages.Stop: ("jobs", "stop"),
    messages.ReadLog: ("jobs", "log"),
    messages.Shards: ("shards", "shards"),
    messages.Entries: ("shards", "entries"),
    messages.Enter: ("shards", "enter"),
    messages.Files: ("files", "files"),
    messages.Hash: ("files", "hash_files"),
    messages.Send: ("files", "send"),
    messages.Remove: ("files", "remove"),
    messages.Put: ("put", "put"),
    messages.Clean: ("clean", "clean"),
    messages.Dismiss: ("clean", "dismiss"),
    messages.Perform: ("perform", "perform"),
}


class Pipes:
    """Standard input and output; replies are held back while more requests are waiting."""

    def __init__(self, source: int, sink: int) -> None:
        self.source = source
        self.sink = os.fdopen(sink, "wb", AT_ONCE)

    def read(self, most: int) -> bytes:
        """Up to `most` bytes; b"" after the end of the stream or an hour of silence."""
        self.flush()
        ready, _, _ = select.select([self.source], [], [], IDLE)
        return os.read(self.source, most) if ready else b""

    def write(self, data: Buffer) -> None:
        with _or_gone():
            self.sink.write(data)

    def flush(self) -> None:
        with _or_gone():
            self.sink.flush()


@contextlib.contextmanager
def _or_gone() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Gone from error


def main() -> int:
    """Serves standard input and output in the working folder; an exit code.

    `sys.argv[1]` is the folder of the code, which is named by its hash.
    """
    sink = os.dup(1)
    os.dup2(2, 1)  # a stray print must not end up among the frames
    pipes = Pipes(0, sink)
    context = Context(os.path.realpath("."), Wire(pipes.read, pipes.write), pipes.flush)
    sys.excepthook = functools.partial(_broken, context)
    pipes.write(GREETING)
    context.send(messages.Hello(version=__version__, code=sys.argv[1].rpartition("-")[2]))
    try:
        while _answer_one(context):
            pass
        pipes.flush()
    except Gone:
        return 0
    except WireError as error:
        context.send(messages.Failed(kind="wire", sentence=f"{error}."))
        pipes.flush()
        return 1
    return 0


def _answer_one(context: Context) -> bool:
    """Serves the next request; False at the end of the stream."""
    text = context.wire.receive()
    if text is None:
        return False
    if not isinstance(text, msgspec.Raw):
        raise WireError("bytes came where a request was expected")
    try:
        last = _act(context, text)
    except (Refusal, RingriftError, OSError) as error:
        last = failure(error, context.work)
    if last is not None:
        context.send(last)
    return True


def _act(context: Context, text: msgspec.Raw) -> messages.Record | None:
    """Carries out a request; the last frame of the reply, None if that was sent."""
    try:
        request = messages.request_decoder().decode(text)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Refusal("usage", f"The request makes no sense: {error}.") from error
    module, function = HANDLERS[type(request)]
    handler: Any = getattr(import_module(f"ringrift_cli.fleet.agent.{module}"), function)
    last: messages.Record | None = handler(context, request)
    return last


def _broken(
    context: Context, kind: type, error: BaseException, trace: TracebackType | None
) -> None:
    """Tells the other end, too, of a mistake in the agent, before it ends the agent."""
    import traceback

    sys.__excepthook__(kind, error, trace)
    last = traceback.extract_tb(trace)[-1]
    place = f"{os.path.basename(last.filename)}, line {last.lineno}"
    sentence = f"The agent broke down in {place}: {kind.__name__}: {error}."
    with contextlib.suppress(Gone):
        context.send(messages.Failed(kind="bug", sentence=sentence))
        context.flush()
