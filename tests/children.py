"""Child processes of tests."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

RINGRIFT = (sys.executable, "-m", "ringrift_cli")


def restore_signals() -> None:
    """Lets SIGINT and SIGTERM do in this process, and in children, what they do by default.

    `nohup make test &` and some CI runners start their children with SIGINT ignored, which is
    inherited: then nothing that Ctrl-C is sent to would notice it.
    """
    for number, handler in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGTERM, signal.SIG_DFL),
    ):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)


@contextlib.contextmanager
def child(*command: object, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process of a session of its own, in text mode with pipes for stdout and stderr.

    It is killed at the end; where the test fails, all that it started in its session is, too.
    `options` are those of `subprocess.Popen`.
    """
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    process = subprocess.Popen([*map(str, command)], start_new_session=True, **options)
    try:
        yield process
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        raise
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
