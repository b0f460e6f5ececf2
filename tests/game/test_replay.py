"""Positions in the middle of games are those that playing leads to."""

from __future__ import annotations

import numpy as np
import pytest

from ringrift_cli.game.position import Position
from ringrift_cli.game.replay import rows_at
from ringrift_cli.game.topology import BOARD_NAMES, PLAYER_COUNTS, tables
from tests.searched import random_games

pytestmark = pytest.mark.usefixtures("compiled_rules")


@pytest.mark.parametrize("board", BOARD_NAMES)
@pytest.mark.parametrize("players", PLAYER_COUNTS)
def test_rows_are_those_of_played_positions(board: str, players: int) -> None:
    logs, _ = random_games(board, players, 2, seed=5)
    plies = [np.array([0, 3, 3, 17], np.int32), np.array([len(logs[1])], np.int32)]
    first = np.array([0, len(logs[0])])
    offsets = np.array([0, 4, 5])
    together, asked = np.concatenate(logs), np.concatenate(plies)
    rows = rows_at(tables(board, players), together, first, offsets, asked, pie_rule=False)
    expected = []
    for log, wanted in zip(logs, plies, strict=True):
        position = Position.initial(board, players)
        by_ply = [position.row]
        for action in log.tolist():
            position = position.play(action)
            by_ply.append(position.row)
        expected += [by_ply[ply] for ply in wanted.tolist()]
    assert (rows == np.stack(expected)).all()


def test_many_games_are_shared_among_threads_in_order() -> None:
    logs, ends = random_games("hex8", 2, 300, seed=1, pie_rule=True)
    lengths = np.array([len(log) for log in logs])
    first = np.cumsum(lengths) - lengths
    T, together = tables("hex8", 2), np.concatenate(logs)
    # nothing is asked of every third game
    counts = np.where(np.arange(300) % 3 == 2, 0, 1)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    plies = lengths[counts > 0].astype(np.int32)
    rows = rows_at(T, together, first, offsets, plies, pie_rule=True)
    assert (rows == ends[counts > 0]).all()
    none = rows_at(T, together, first[:0], offsets[:1], plies[:0], pie_rule=True)
    assert none.shape == (0, ends.shape[1])
