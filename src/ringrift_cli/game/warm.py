"""Compiles all functions of a package at once, so that no later command waits for one of them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numba.core.event import Listener, install_listener

from ringrift_cli.game import engine, jit, perft, playout, replay, state
from ringrift_cli.game.position import Position
from ringrift_cli.game.topology import tables
from ringrift_cli.store.files import write_whole
from ringrift_cli.store.locks import locked

OnNotice = Callable[[str], None]


def ignore(_sentence: str) -> None:
    """An `OnNotice` that shows nothing."""


def functions_of(package: str) -> int:
    """Number of functions that are compiled for a package, about."""
    folders = {"players": ("search", "players")}.get(package, (package,))
    root = Path(__file__).parents[1]
    sources = [path.read_bytes() for name in folders for path in (root / name).glob("*.py")]
    return sum(source.count(mark) for source in sources for mark in (b"\n@rule(", b"\n@njit("))


class _Counting(Listener):  # type: ignore[misc]
    """Reports every function that Numba has compiled."""

    def __init__(self, on_function: Callable[[], None]) -> None:
        self._on_function = on_function

    def on_start(self, _event: object) -> None:
        pass

    def on_end(self, _event: object) -> None:
        self._on_function()


def compile_package(
    package: str,
    what: str,
    call: Callable[[], None],
    notice: OnNotice,
    on_function: Callable[[], None] = lambda: None,
) -> None:
    """Runs `call`, which calls every compiled entry of a package once, unless that is done.

    `on_function` is called after each function, about `functions_of` the package.

    A second process that comes at the same time waits, and then finds everything there.
    """
    code = jit.machine_code(package)
    if code.exists():
        return

    def waiting() -> None:
        notice(f"Another process is compiling {what}: waiting for it.")

    with locked(code.complete.with_suffix(".lock"), on_wait=waiting):
        if code.exists():
            return
        notice(f"Compiling {what} for this machine, once: it takes about half a minute.")
        start = time.monotonic()
        with install_listener("numba:compile", _Counting(on_function)):
            call()
        write_whole(code.complete, b"")
        notice(f"Compiled in {time.monotonic() - start:.0f} s.")


def compile_rules(
    notice: OnNotice = ignore, on_function: Callable[[], None] = lambda: None
) -> None:
    """Compiles the rules, unless that is done; arguments as of `compile_package`."""
    compile_package("game", "the rules", _call_all, notice, on_function)


def _call_all() -> None:
    _call_positions()
    _call_batches()
    perft.Perft("square8", 2).count(2)


def _call_positions() -> None:
    position = Position.initial("square8", pie_rule=True)
    for move in ("place 3,3 2", "move 3,3 3,6"):
        position = position.play(move)
    copy = Position.from_json(json.loads(json.dumps(position.to_json())))
    copy = Position.from_text(str(copy))
    copy.symmetric(1).play(copy.symmetric_action(copy.action("place 0,0 1"), 1))
    hash(copy)
    T, row, work = tables("square8", 2), copy.row, state.new_workspace()
    engine.first_block(T, row, 0, 0)
    engine.run_ahead(T, row, 0, 0, 0)
    engine.find_region(T, row, work, 0, 0)


def _call_batches() -> None:
    T = tables("square8", 2)
    rows = np.zeros((2, len(Position.initial("square8").row)), np.int32)
    playout.start_all(T, rows, np.ones(2, np.bool_), False)
    actions, offsets = playout.list_all(T, rows)
    first = actions[offsets[:-1]]
    playout.first_illegal(T, rows, first)
    playout.apply_all(T, rows, first)
    log, lengths = np.zeros((2, 512), np.int32), np.zeros(2, np.int64)
    playout.play_random(T, rows, playout.game_seeds(0, 0, 2), log, lengths)
    playout.start_all(T, rows, np.ones(2, np.bool_), False)
    playout.replay_all(T, rows, np.array([0, 1, 2]), first)
    replay.rows_at(T, first, np.arange(2), np.arange(3), np.ones(2, np.int32), pie_rule=False)
