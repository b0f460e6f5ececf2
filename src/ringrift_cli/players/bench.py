"""Speed of the heuristic: self-play on one core and on all."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from ringrift_cli.errors import UsageError
from ringrift_cli.game import layout as L
from ringrift_cli.game import playout
from ringrift_cli.game.topology import tables
from ringrift_cli.players.player import Decisions, Player
from ringrift_cli.players.spec import make_player
from ringrift_cli.runtime.processes import threads_limited
from ringrift_cli.system import pinned


@dataclass(frozen=True)
class PlayerSpeed:
    """Self-play speed of one player: best round on one core and on all cores."""

    spec: str
    board: str
    players: int
    one_core: float  # seconds a decision
    all_cores: float  # seconds a decision
    decisions_per_game: float

    @property
    def games_per_second(self) -> tuple[float, float]:
        """On one core, and on all cores."""
        one, every = (1 / (s * self.decisions_per_game) for s in (self.one_core, self.all_cores))
        return one, every

    def document(self) -> dict[str, Any]:
        """For JSON."""
        one, every = self.games_per_second
        return {
            "player": self.spec,
            "board": self.board,
            "players": self.players,
            "one_core": {"ms_per_decision": 1000 * self.one_core, "games_per_s": one},
            "all_cores": {"ms_per_decision": 1000 * self.all_cores, "games_per_s": every},
            "decisions_per_game": self.decisions_per_game,
        }


def self_play(player: Player, board: str, players: int, games: int, seed: int) -> tuple[int, float]:
    """Plays `games` complete games in parallel; returns decisions and seconds."""
    T = tables(board, players)
    rows = np.zeros((games, int(T[L.T_ROW_SIZE])), np.int32)
    playout.start_all(T, rows, np.ones(games, np.bool_), False)
    seeds = playout.game_seeds(seed, 0, games)
    decisions, start = 0, time.perf_counter()
    while len(rows):
        choices = player.choose(Decisions(board, players, rows, seeds, [None] * len(rows)))
        playout.apply_all(T, rows, choices.actions)
        decisions += len(rows)
        going = rows[:, L.PHASE] != L.OVER
        rows, seeds = rows[going], seeds[going]
    return decisions, time.perf_counter() - start


def measure(spec: str, board: str, players: int, seconds: float, games: int) -> PlayerSpeed:
    """Plays rounds of `games` games for about `seconds`, alternating one core and all cores.

    Each pair of rounds plays the same games; at least one pair. `UsageError` for external programs.
    """
    if spec.startswith("exec:"):
        raise UsageError("External programs cannot be measured, only built-in players.")
    player = make_player(spec, board, players)
    self_play(player, board, players, 2, 0)  # loads the compiled functions
    best = {1: float("inf"), playout.available_threads(): float("inf")}
    lengths: list[float] = []
    end, seed = time.perf_counter() + seconds, 0
    while seed == 0 or time.perf_counter() < end:
        seed += 1
        with threads_limited(1), pinned():
            decisions, took = self_play(player, board, players, games, seed)
        best[1] = min(best[1], took / decisions)
        lengths.append(decisions / games)
        decisions, took = self_play(player, board, players, games, seed)
        best[max(best)] = min(best[max(best)], took / decisions)
    player.close()
    mean = float(np.mean(lengths))
    return PlayerSpeed(spec, board, players, best[1], best[max(best)], mean)
