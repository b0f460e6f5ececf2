"""Statistics of the games in a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ringrift_cli.data.pool import statistics
from ringrift_cli.data.shard import write_searched
from ringrift_cli.errors import RecordError
from ringrift_cli.game.actions import action_space
from ringrift_cli.game.notation import REASONS
from ringrift_cli.stats.elo import wilson_interval
from tests.conftest import Ringrift
from tests.searched import searched_games

MADE = {"model": "0123456789abcdef", "generation": 3}

pytestmark = pytest.mark.usefixtures("compiled_rules")


def test_statistics_are_those_of_the_games(tmp_path: Path, ringrift: Ringrift) -> None:
    games = [searched_games("hex8", 3, 12, seed=seed) for seed in (1, 2)]
    for part in games:
        write_searched(tmp_path, MADE, part, "hex8", 3, False)
    write_searched(tmp_path, MADE, searched_games("square8", 2, 2, seed=3), "square8", 2, False)
    every = [game for part in games for game in part]
    space = action_space("hex8")
    recoveries = [
        sum(space.decode(int(action)).kind == "recover" for action in game.actions)
        for game in every
    ]
    assert sum(recoveries) > 0
    found = {(pool.board, pool.players): pool for pool in statistics(tmp_path)}
    assert set(found) == {("hex8", 3), ("square8", 2)}
    pool = found["hex8", 3]
    assert (pool.shards, pool.games) == (2, 24)
    assert pool.decisions == sum(len(game.actions) for game in every)
    assert pool.positions == sum(len(game.plies) for game in every)
    winners = [game.winner for game in every]
    assert pool.wins_by_seat == tuple(winners.count(seat) for seat in range(3))
    ways = [REASONS[game.reason] for game in every]
    assert pool.reasons == {way: ways.count(way) for way in set(ways)}
    assert list(pool.reasons.values()) == sorted(pool.reasons.values(), reverse=True)
    assert pool.recoveries == sum(recoveries)
    assert pool.games_with_recovery == sum(count > 0 for count in recoveries)
    assert pool.lengths[1] in {len(game.actions) for game in every}
    assert pool.share(6) == (0.25, *wilson_interval(6, 24))
    run = ringrift("report", "--games", str(tmp_path), "--json")
    document = {(one["board"], one["players"]): one for one in json.loads(run.out)}
    assert document["hex8", 3]["wins_by_seat"] == list(pool.wins_by_seat)
    text = ringrift("report", "--games", str(tmp_path)).out
    assert "hex8, 3 players: 24 games in 2 shards" in text
    assert f"won by seat 2 {pool.wins_by_seat[1]} " in " ".join(text.split())


def test_a_folder_without_searched_games(tmp_path: Path, ringrift: Ringrift) -> None:
    with pytest.raises(RecordError, match="has no searched games"):
        statistics(tmp_path)
    run = ringrift("report", "--games", str(tmp_path))
    assert run.code == 2
    assert "is not a run" in run.err
