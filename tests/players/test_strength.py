"""Who beats whom: the players are as strong as they are said to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringrift_cli.evaluate.evaluate import Standing, new_match, play_match
from ringrift_cli.evaluate.results import Pool, Results
from tests.walks import CONFIGURATIONS, SMALL


def standing(
    tmp_path: Path, board: str, players: int, specs: tuple[str, ...], games: int
) -> Standing:
    """The first entrant after a match."""
    match = new_match(Pool(board, players), specs)
    with Results(tmp_path / "r.sqlite") as results:
        return play_match(match, results, games).entrants[0]


@pytest.mark.parametrize("board", ["hex8", "square8"])
def test_the_default_heuristic_beats_random_in_97_of_100_games(board: str, tmp_path: Path) -> None:
    found = standing(tmp_path, board, 2, ("heuristic:default", "random"), 400)
    assert found.score_95[0] > 0.95
    assert found.score >= 0.97


@pytest.mark.parametrize(("board", "players"), CONFIGURATIONS)
def test_the_heuristic_is_far_above_its_fair_share(
    board: str, players: int, tmp_path: Path
) -> None:
    games = 60 if (board, players) in SMALL else 6 * players
    found = standing(tmp_path, board, players, ("heuristic", "random"), games)
    assert found.score > (1 + 1 / players) / 2
    assert found.score_95[0] > 1 / players


@pytest.mark.parametrize(("players", "games"), [(2, 24), (3, 48)])
def test_search_beats_the_heuristic_it_searches_with(
    players: int, games: int, tmp_path: Path
) -> None:
    specs = ("mcts:sims=40,profile=default", "heuristic:default")
    found = standing(tmp_path, "hex8", players, specs, games)
    assert found.score_95[0] > 1 / players


def test_blunders_cost_games(tmp_path: Path) -> None:
    specs = ("heuristic:default", "heuristic:default,blunder=0.3")
    assert standing(tmp_path, "square8", 2, specs, 60).score_95[0] > 0.5


@pytest.mark.long
@pytest.mark.parametrize("considered", [0, 16])
@pytest.mark.parametrize(("board", "players"), SMALL)
def test_more_simulations_are_not_weaker(
    board: str, players: int, considered: int, tmp_path: Path
) -> None:
    more, fewer = (f"mcts:sims={n},profile=default,considered={considered}" for n in (64, 8))
    found = standing(tmp_path, board, players, (more, fewer), 40 * players)
    assert found.score_95[0] > 1 / players
