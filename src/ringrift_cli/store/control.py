"""Run control: a file in the folder of a run asks the process at work to pause, go on or stop.

Whoever can write the file controls the run, from any machine; nothing listens. A pause lasts until
it is taken back, also over restarts; a request to stop ends with the process that it stops.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

import msgspec

from ringrift_cli.errors import RecordError
from ringrift_cli.store.files import stamp, write_whole
from ringrift_cli.text import now

CONTROL = "control.json"
RUN: Final = "run"
PAUSE: Final = "pause"
STOP: Final = "stop"
Wanted = Literal["run", "pause", "stop"]
POLL_S = 0.5


class ControlRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of the file."""

    wanted: Wanted
    time: str
    host: str  # that asked


def encoded(wanted: Wanted) -> bytes:
    """A request of this machine, made now."""
    return msgspec.json.encode(ControlRequest(wanted, now(), socket.gethostname())) + b"\n"


def ask(folder: Path, wanted: Wanted) -> None:
    """Replaces the request of a run."""
    write_whole(folder / CONTROL, encoded(wanted))


def asked(folder: Path) -> Wanted:
    """What is asked of a run; `RecordError` if the file is damaged."""
    path = folder / CONTROL
    try:
        return msgspec.json.decode(path.read_bytes(), type=ControlRequest).wanted
    except FileNotFoundError:
        return RUN
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}: {error}.", hint=f"ringrift runs resume {folder}") from error


class RunControl:
    """The stop check of a process that works on a run, with the requests of its file.

    `should_stop` is the check without them. A request to stop that is older than this is dropped.
    """

    def __init__(self, folder: Path, should_stop: Callable[[], bool]) -> None:
        self._folder, self._should_stop = folder, should_stop
        self._stamp, self._wanted = (0, 0), asked(folder)
        self._obeyed = False  # a request, since the last call of `resumed`
        if self._wanted == STOP:
            ask(folder, RUN)

    def should_stop(self) -> bool:
        """Whether a step is to stop: to end, or to wait in `resumed`."""
        if self._now() != RUN:
            self._obeyed = True
        return self._obeyed or self._should_stop()

    def resumed(self, on_notice: Callable[[str], None]) -> bool:
        """Waits while a pause lasts; returns whether the run goes on.

        It does not unless a pause stopped it, or if it is to end meanwhile.
        """
        obeyed, self._obeyed = self._obeyed, False
        if obeyed and self._now() == PAUSE:
            on_notice(f"Paused: ringrift runs resume {self._folder}")
        while obeyed and self._now() == PAUSE and not self._should_stop():
            time.sleep(POLL_S)
        return obeyed and self._now() == RUN and not self._should_stop()

    def _now(self) -> Wanted:
        current = stamp(self._folder / CONTROL)
        if current != self._stamp:
            self._stamp, self._wanted = current, asked(self._folder)
        return self._wanted
