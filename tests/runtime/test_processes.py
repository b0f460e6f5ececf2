"""Processes side by side: their share of the cores, and that none is left."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection

import pytest

from ringrift_cli.game.playout import THREADS_VARIABLE
from ringrift_cli.runtime import processes
from ringrift_cli.runtime.processes import ProcessGroup, signals_held

CONTEXT = multiprocessing.get_context("spawn")


def tell_threads(sending: Connection) -> None:
    sending.send(os.environ[THREADS_VARIABLE])


def hang(sending: Connection) -> None:
    sending.send("there")
    time.sleep(600)


@pytest.mark.parametrize("before", [None, "7"])
def test_each_has_its_share_of_the_cores(
    monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    monkeypatch.delenv(THREADS_VARIABLE, raising=False)
    if before is not None:
        monkeypatch.setenv(THREADS_VARIABLE, before)
    monkeypatch.setattr(processes, "available_threads", lambda: 7)
    receiving, sending = CONTEXT.Pipe(duplex=False)
    with ProcessGroup(CONTEXT, 2) as group:
        group.start(tell_threads, sending, name="one")
        assert os.environ.get(THREADS_VARIABLE) == before
        assert receiving.recv() == "3"
        group.patience = 60
    (process,) = group.processes
    assert (process.name, process.exitcode) == ("one", 0)


def test_none_is_left_and_all_are_waited_for_at_once() -> None:
    receiving, sending = CONTEXT.Pipe(duplex=False)
    with ProcessGroup(CONTEXT, 3) as group:
        group.patience = 3.0
        for number in range(3):
            group.start(hang, sending, name=str(number))
        for _ in range(3):
            assert receiving.recv() == "there"
        start = time.monotonic()
    assert time.monotonic() - start < 8.5
    assert [process.exitcode for process in group.processes] == [-signal.SIGKILL] * 3


def test_none_is_left_after_an_error() -> None:
    with CONTEXT.Pipe(duplex=False)[1] as sending, pytest.raises(KeyboardInterrupt):
        begin_and_fail(sending)
    assert not multiprocessing.active_children()


def begin_and_fail(sending: Connection) -> None:
    with ProcessGroup(CONTEXT, 1) as group:
        group.patience = 0.1
        group.start(hang, sending, name="one")
        raise KeyboardInterrupt


@pytest.mark.parametrize("main_thread", [True, False])
def test_signals_are_held_while_a_process_begins(main_thread: bool) -> None:
    def held() -> None:
        with signals_held():
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        assert blocked >= {signal.SIGINT, signal.SIGTERM}
        assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & {signal.SIGINT, signal.SIGTERM}

    if main_thread:
        held()
        held_in_every_thread()
    else:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(held).result()


def held_in_every_thread() -> None:
    """A signal that another thread takes is handled afterwards: by its handler, once."""
    done: list[bool] = []
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()  # a thread that does not block signals

        def interrupted() -> None:
            with signals_held():
                os.kill(os.getpid(), signal.SIGINT)
                pool.submit(time.sleep, 0.1).result()
                done.append(True)

        with pytest.raises(KeyboardInterrupt):
            interrupted()
    assert done
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
