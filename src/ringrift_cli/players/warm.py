"""Compiles players and search at once, so that no later command waits for a part of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ringrift_cli.game import jit
from ringrift_cli.game.playout import game_seeds
from ringrift_cli.game.position import Position
from ringrift_cli.game.warm import compile_package
from ringrift_cli.players import scoring
from ringrift_cli.players.player import Decisions
from ringrift_cli.players.spec import make_player


def compile_players(tell: Callable[[str], None] = lambda sentence: None) -> None:
    """Compiles the players, unless that is done; `tell` hears what happens.

    The rules are compiled before (game/warm.py).
    """
    compile_package(jit.machine_code("players"), "the players", _call_all, tell)


def _call_all() -> None:
    start = Position.initial("square8")
    rows = np.stack([start.row, start.row])
    for spec in ("random", "heuristic:default", "mcts:sims=2"):
        asked = Decisions("square8", 2, rows, game_seeds(0, 0, 2), [None, None])
        make_player(spec, "square8", 2).choose(asked)
    scoring.count_all(asked.T, rows)
