"""The CUDA driver: the very functions of the CPU as device functions, a thread for each game."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numba import cuda

from ringrift_cli.errors import RingriftError
from ringrift_cli.game import layout as L
from ringrift_cli.game import playout, turn
from ringrift_cli.game.topology import IntArray, tables

THREADS = 128  # of a block


def start_kernel(T: IntArray, rows: IntArray, pie: bool) -> None:
    """Makes a new game of every row, [N, row size]."""
    i = cuda.grid(1)
    if i < rows.shape[0]:
        turn.start(T, rows[i], pie)


def play_kernel(
    T: IntArray,
    rows: IntArray,
    seeds: playout.Seeds,
    works: IntArray,
    lists: IntArray,
    logs: IntArray,
    lengths: playout.LongArray,
) -> None:
    """`playout.play_random`, a thread a row.

    Rows [N, row size], seeds [N], works [N, WORK], lists [N, max legal], logs [N, K], lengths [N].
    """
    i = cuda.grid(1)
    if i < rows.shape[0]:
        lengths[i] = playout.play_row(
            T, rows[i], works[i], lists[i], seeds, i, logs[i], logs.shape[1]
        )


@cache
def _kernels() -> tuple[Any, Any]:
    """Both kernels, compiled when they are first launched."""
    return cuda.jit(start_kernel), cuda.jit(play_kernel)


@dataclass(frozen=True)
class Played:
    """Final rows [N, row size], actions [N, K] and lengths [N] of a batch of games, on the host."""

    rows: IntArray
    logs: IntArray
    lengths: playout.LongArray


def play_random(board: str, players: int, seed: int, games: int, *, log: int) -> Played:
    """Plays the games that `playout.play_random` plays for the same seeds, on the GPU.

    `log` is the room for the actions of a game; 0 plays to the end without one. `RingriftError`
    where there is no GPU.
    """
    if not cuda.is_available():
        raise RingriftError("There is no CUDA GPU here that numba can use.", hint="nvidia-smi")
    size = tables(board, players)
    T = cuda.to_device(size)
    rows = cuda.device_array((games, int(size[L.T_ROW_SIZE])), np.int32)
    works = cuda.device_array((games, L.WORK), np.int32)
    lists = cuda.device_array((games, int(size[L.T_MAX_LEGAL])), np.int32)
    logs = cuda.to_device(np.zeros((games, log), np.int32))
    lengths = cuda.to_device(np.zeros(games, np.int64))
    seeds = cuda.to_device(playout.game_seeds(seed, 0, games))
    grid = (games + THREADS - 1) // THREADS
    start, play = _kernels()
    start[grid, THREADS](T, rows, False)
    play[grid, THREADS](T, rows, seeds, works, lists, logs, lengths)
    return Played(rows.copy_to_host(), logs.copy_to_host(), lengths.copy_to_host())
