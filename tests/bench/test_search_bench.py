"""Searches that are measured, and the positions that measurements begin with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ringrift_cli.bench.search import Searching, Uniform
from ringrift_cli.bench.train import precisions, random_data
from ringrift_cli.game import layout as L
from ringrift_cli.game.playout import list_all
from ringrift_cli.game.topology import tables
from ringrift_cli.selfplay.forests import on_cpu
from ringrift_cli.selfplay.mid_game import positions_under_way
from ringrift_cli.settings import SelfPlay
from tests import gpu_jobs
from tests.simulated import simulate


@pytest.mark.parametrize(("board", "players"), [("hex8", 2), ("square8", 4)])
def test_positions_of_all_parts_of_games(board: str, players: int) -> None:
    rows = positions_under_way(board, players, 200, seed=3)
    assert (rows == positions_under_way(board, players, 200, seed=3)).all()
    assert (rows[:, L.PHASE] != L.OVER).all()
    _, offsets = list_all(tables(board, players), rows)
    assert (np.diff(offsets) >= 2).all()
    plies = rows[:, L.PLY]
    assert len(set(plies.tolist())) > 25
    assert plies.max() > 35


def test_searches_settle_decisions_and_games_begin_again() -> None:
    play = SelfPlay(sims=4, considered=2)
    rows = positions_under_way("hex8", 2, 6, seed=1)
    forest = on_cpu("hex8", 2, play, Uniform(2), 6)
    searching = Searching(forest, rows, play)
    for _ in range(600):
        searching.step()
    assert 600 * 6 * 0.6 < forest.evaluated <= 600 * 6
    assert 600 < searching.decisions < 1500  # 4 simulations each, fewer where the end is certain
    assert (forest.heads[:, L.PHASE] != L.OVER).all()
    simulations, decisions = searching.rates(0.05)
    assert simulations > decisions > 0


def test_searches_in_the_memory_of_a_device(tmp_path: Path) -> None:
    rows = positions_under_way("hex8", 2, 2, seed=1)
    told = simulate(gpu_jobs.search, {"rows": rows}, tmp_path, quiet=False)
    assert told["evaluated"] >= 4
    assert (told["rates"] > 0).any()


def test_positions_to_train_on() -> None:
    data = random_data("hex8", 3, games=8)
    assert len(data.training) > 8 * 15
    assert len(data.validation) == 0
    assert precisions("cpu") == ("float32", "bfloat16")
