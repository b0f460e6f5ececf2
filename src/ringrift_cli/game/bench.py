"""Speed of the rules: random playouts on one core and on all."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

from ringrift_cli.game import layout as L
from ringrift_cli.game import playout
from ringrift_cli.game.topology import tables
from ringrift_cli.system import processor

ROUND = 0.25  # seconds that a round should take
BATCH = 4096


@dataclass(frozen=True)
class Machine:
    """What a figure was measured on."""

    processor: str
    cores: int
    python: str
    numba: str


@dataclass(frozen=True)
class Rate:
    """A second's worth."""

    games: float
    decisions: float


@dataclass(frozen=True)
class Speed:
    """Random playouts of one board and player count; the best round on one core, and on all."""

    board: str
    players: int
    one: Rate
    all: Rate
    decisions_per_game: float
    batch_megabytes: float

    @property
    def ratio(self) -> float:
        """All cores to one."""
        return self.all.decisions / self.one.decisions

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "board": self.board,
            "players": self.players,
            "one_core": {"games_per_s": self.one.games, "decisions_per_s": self.one.decisions},
            "all_cores": {"games_per_s": self.all.games, "decisions_per_s": self.all.decisions},
            "ratio": self.ratio,
            "decisions_per_game": self.decisions_per_game,
            "batch_4096_megabytes": self.batch_megabytes,
        }


def this_machine() -> Machine:
    """The processor as the kernel names it, and the versions that matter."""
    cores = playout.available_threads()
    return Machine(processor(), cores, platform.python_version(), numba.__version__)


class Playouts:
    """A batch that is played out again and again, each time with new games."""

    def __init__(self, board: str, players: int, games: int) -> None:
        self._T = tables(board, players)
        self._rows = np.zeros((games, int(self._T[L.T_ROW_SIZE])), np.int32)
        self._all = np.ones(games, np.bool_)
        self._log = np.empty((games, 0), np.int32)
        self._lengths = np.zeros(games, np.int64)
        self._seed = 0

    def play(self, threads: int) -> tuple[int, float]:
        """Decisions and seconds of one round."""
        playout.start_all(self._T, self._rows, self._all, False)
        self._seed += 1
        seeds = playout.game_seeds(self._seed, 0, len(self._rows))
        start = time.perf_counter()
        playout.play_random(self._T, self._rows, seeds, self._log, self._lengths, threads)
        return int(self._lengths.sum()), time.perf_counter() - start


def measure(board: str, players: int, seconds: float) -> Speed:
    """Plays rounds for about so many seconds, on one core and on all in turn."""
    trial = Playouts(board, players, 64)
    trial.play(1)  # loads the compiled rules
    _, took = trial.play(1)
    games = max(64, int(64 * ROUND / took))
    playouts = Playouts(board, players, games)
    best = {1: 0.0, playout.available_threads(): 0.0}
    per_game = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for threads, rate in best.items():
            decisions, took = playouts.play(threads)
            best[threads] = max(rate, decisions / took)
            per_game.append(decisions / games)
    mean = float(np.mean(per_game))
    one, all_cores = (Rate(rate / mean, rate) for rate in (best[1], best[max(best)]))
    megabytes = BATCH * 4 * int(tables(board, players)[L.T_ROW_SIZE]) / 1e6
    return Speed(board, players, one, all_cores, mean, megabytes)
