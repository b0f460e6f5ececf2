"""Proves on a machine with a GPU that it plays the CPU's games, move for move, and how fast.

python -m ringrift_cli.game.cuda.check
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

import numpy as np
from numba import cuda

from ringrift_cli.errors import RingriftError
from ringrift_cli.game import layout as L
from ringrift_cli.game import playout
from ringrift_cli.game.cuda.playout import Played, play_random
from ringrift_cli.game.topology import BOARD_NAMES, PLAYER_COUNTS, board_named, tables

SMALL_GAMES, LARGE_GAMES = 10_000, 500
LARGE = 100  # cells
LOG = 4096  # decisions compared; longer games are compared by their final rows
SEED = 2026


@dataclass(frozen=True)
class Outcome:
    """One configuration: how many games differ, and games/s of both sides."""

    board: str
    players: int
    games: int
    differing: int
    cpu_games_per_s: float
    gpu_games_per_s: float


def play_on_cpu(board: str, players: int, games: int, log: int) -> Played:
    """The same games as `cuda.playout.play_random`, by the CPU."""
    T = tables(board, players)
    rows = np.zeros((games, int(T[L.T_ROW_SIZE])), np.int32)
    logs, lengths = np.zeros((games, log), np.int32), np.zeros(games, np.int64)
    playout.start_all(T, rows, np.ones(games, np.bool_), False)
    playout.play_random(T, rows, playout.game_seeds(SEED, 0, games), logs, lengths)
    return Played(rows, logs, lengths)


def compare(board: str, players: int) -> Outcome:
    """Plays the games of one configuration on both sides; the second run of each is timed."""
    games = LARGE_GAMES if len(board_named(board).cells) > LARGE else SMALL_GAMES
    on_cpu = play_on_cpu(board, players, games, LOG)
    on_gpu = play_random(board, players, SEED, games, log=LOG)
    same = (on_cpu.rows == on_gpu.rows).all(axis=1) & (on_cpu.logs == on_gpu.logs).all(axis=1)
    same &= on_cpu.lengths == on_gpu.lengths
    start = time.perf_counter()
    play_on_cpu(board, players, games, 0)
    middle = time.perf_counter()
    play_random(board, players, SEED, games, log=0)
    end = time.perf_counter()
    return Outcome(
        board, players, games, int((~same).sum()), games / (middle - start), games / (end - middle)
    )


def main() -> int:
    """Prints a table; 0 if every game of every configuration is the same."""
    failed = 0
    play_random("square8", 2, SEED, 1, log=0)  # compiles the kernels, or says why it cannot
    sys.stdout.write(f"{cuda.get_current_device().name}\n")
    head = f"{'board':<10}{'players':>8}{'games':>8}{'differ':>8}"
    sys.stdout.write(f"{head}{'CPU games/s':>13}{'GPU games/s':>13}\n")
    for board in BOARD_NAMES:
        for players in PLAYER_COUNTS:
            o = compare(board, players)
            failed += o.differing
            sys.stdout.write(
                f"{board:<10}{players:>8}{o.games:>8}{o.differing:>8}"
                f"{o.cpu_games_per_s:>13,.0f}{o.gpu_games_per_s:>13,.0f}\n"
            )
            sys.stdout.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RingriftError as error:
        sys.exit(f"ringrift: {error.message}")
