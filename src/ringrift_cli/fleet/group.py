"""Parallel calls on many hosts; each host yields its own result or error.

A hanging host occupies only its own thread: when the time is up it is reported as unreachable.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from ringrift_cli.errors import HostUnreachable, RingriftError
from ringrift_cli.fleet.hosts import Host

T = TypeVar("T")
TICK = 0.2  # seconds between two checks of `should_stop`


@dataclass(frozen=True)
class Answer(Generic[T]):
    """Result of one host: a value or an error."""

    host: Host
    value: T | None
    error: RingriftError | None
    seconds: float


def each(
    hosts: Sequence[Host],
    act: Callable[[Host], T],
    *,
    within: float | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Answer[T]]:
    """Runs `act` for all hosts in parallel and yields answers as they arrive.

    After `within` seconds, or when `should_stop` returns True, the remaining hosts yield
    `HostUnreachable`. Exceptions of `act` other than `RingriftError` are raised here.
    """
    done: queue.SimpleQueue[Answer[T] | BaseException] = queue.SimpleQueue()
    start = time.monotonic()

    def work(host: Host) -> None:
        began = time.monotonic()
        try:
            value, error = act(host), None
        except RingriftError as failure:
            value, error = None, failure
        except BaseException as failure:  # noqa: BLE001  raised in the caller's thread
            done.put(failure)
            return
        done.put(Answer(host, value, error, time.monotonic() - began))

    waiting = {host.name: host for host in hosts}
    for host in hosts:
        threading.Thread(target=work, args=(host,), daemon=True, name=f"host {host.name}").start()
    while waiting:
        left = TICK if within is None else start + within - time.monotonic()
        if left <= 0 or should_stop():
            break
        try:
            answer = done.get(timeout=min(left, TICK))
        except queue.Empty:
            continue
        if isinstance(answer, BaseException):
            raise answer
        del waiting[answer.host.name]
        yield answer
    spent = time.monotonic() - start
    for host in waiting.values():
        why = f"{host.name} did not answer within {spent:.1f} s."
        error = HostUnreachable(why, silence_s=0.0)
        yield Answer(host, None, error, spent)


def gather(
    hosts: Sequence[Host], act: Callable[[Host], T], *, within: float | None = None
) -> list[Answer[T]]:
    """The answers of `each`, in the order of the hosts."""
    found = {answer.host.name: answer for answer in each(hosts, act, within=within)}
    return [found[host.name] for host in hosts]
