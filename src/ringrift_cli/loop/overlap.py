"""Work on other machines while a step runs here."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ringrift_cli.errors import FleetError
from ringrift_cli.loop.protocol import ShouldStop, Stopped


@contextmanager
def meanwhile(
    act: Callable[[ShouldStop], None], should_stop: ShouldStop, failed: Callable[[str], None]
) -> Iterator[None]:
    """Runs `act` in a thread during the block; it is asked to stop at the end, and waited for.

    A `FleetError` of `act`, no machine can go on, is given to `failed` and ends only `act`; other
    errors are raised after the block.
    """
    over = threading.Event()
    broken: list[BaseException] = []

    def run() -> None:
        try:
            act(lambda: over.is_set() or should_stop())
        except Stopped:
            pass
        except FleetError as error:
            failed(error.message)
        except BaseException as error:  # noqa: BLE001  raised in the caller's thread
            broken.append(error)

    thread = threading.Thread(target=run, name="overlap")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if broken:
        raise broken[0]
