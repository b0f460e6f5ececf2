"""Tuning of many configurations, one after another, each in a folder of its own.

Each is a run of `ringrift cmaes` on this machine, so its journal is here from its first line, is
replayed here when it continues, and outlives the hosts that play its games.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from ringrift_cli.errors import UsageError
from ringrift_cli.evaluate.rounds import GameRound
from ringrift_cli.game.topology import BOARD_NAMES, tables
from ringrift_cli.nn.registry import pool_name
from ringrift_cli.players.features import units
from ringrift_cli.players.profiles import profile_named
from ringrift_cli.settings import Tune
from ringrift_cli.store.journal import JournalFile
from ringrift_cli.tune import final_test
from ringrift_cli.tune.journal import JOURNAL, Generation

MEASURED_S = 0.5  # least processor seconds of a measured batch
PLAYERS = (2, 3, 4)


class Configuration(msgspec.Struct, frozen=True):
    """A configuration of a matrix and where it stands."""

    name: str  # as `hex8-2p`
    board: str
    players: int
    folder: str
    generations: int  # in its journal
    games: int  # of these
    state: str  # new, begun, tested, or accepted


def configurations(names: Sequence[str], folder: Path, generations: int) -> list[Configuration]:
    """The named configurations; all of them for none. `UsageError` for an unknown name."""
    known = {
        pool_name(board, players): (board, players)
        for board, players in itertools.product(BOARD_NAMES, PLAYERS)
    }
    for name in names:
        if name not in known:
            raise UsageError(
                f"Unknown configuration {name!r}: expected one of {', '.join(known)}.",
                hint="--configs hex8-2p,square8-2p",
            )
    found = []
    for name in dict.fromkeys(names or known):
        own = folder / name
        entries = JournalFile(own / JOURNAL, Generation).read()
        verdict = final_test.read(own)
        state = "begun" if (own / JOURNAL).exists() else "new"
        if verdict is not None and verdict.finished and verdict.generations >= generations:
            state = "accepted" if verdict.accepted else "tested"
        games = sum(entry.games for entry in entries)
        found.append(Configuration(name, *known[name], str(own), len(entries), games, state))
    return found


def games_left(one: Configuration, generations: int, tune: Tune) -> int:
    """Projected games of the remaining generations: as those so far, or as they begin."""
    if one.state in ("tested", "accepted"):
        return 0
    usual = one.games / one.generations if one.generations else tune.population * tune.games
    return round(usual * max(0, generations - one.generations))


def core_seconds_per_game(board: str, players: int) -> float:
    """Measured now on this machine: processor time of games of the default heuristic."""
    weights = (profile_named("default", board, players).array * units(tables(board, players)))[None]
    openings, spent, games = 1, 0.0, 1
    while spent < MEASURED_S:  # larger batches cost less per game; the last one counts
        began = time.process_time()
        meets = np.zeros(openings, np.int64)
        games = GameRound(board, players, openings, weights, meets).play(weights).size
        spent = time.process_time() - began
        openings *= 2
    return spent / games
