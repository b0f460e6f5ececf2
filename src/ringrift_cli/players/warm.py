"""Ahead-of-time compilation of players and search."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ringrift_cli.game.playout import game_seeds
from ringrift_cli.game.position import Position
from ringrift_cli.game.warm import OnNotice, compile_package, ignore
from ringrift_cli.players import scoring
from ringrift_cli.players.player import Decisions
from ringrift_cli.players.spec import make_player


def compile_players(
    notice: OnNotice = ignore, on_function: Callable[[], None] = lambda: None
) -> None:
    """Compiles the players unless cached; requires compiled rules."""
    compile_package("players", "the players", _call_all, notice, on_function)


def _call_all() -> None:
    start = Position.initial("square8")
    rows = np.stack([start.row, start.row])
    for spec in ("random", "heuristic:default", "mcts:sims=2"):
        asked = Decisions("square8", 2, rows, game_seeds(0, 0, 2), [None, None])
        make_player(spec, "square8", 2).choose(asked)
    scoring.count_all(asked.T, rows)
