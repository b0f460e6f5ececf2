"""Self-play of an actor: whole legal games, targets that are what the search found, resignation."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ringrift_cli.data.shard import SearchedGame, read_searched, write_searched
from ringrift_cli.data.shard_checks import RESIGNED
from ringrift_cli.game import layout as L
from ringrift_cli.game import playout
from ringrift_cli.game.playout import LongArray
from ringrift_cli.game.position import Position
from ringrift_cli.game.topology import IntArray, tables
from ringrift_cli.players import scoring
from ringrift_cli.players.heuristic import WIDTH, effective_weights
from ringrift_cli.players.profiles import profile_named
from ringrift_cli.search.forest import Evaluator
from ringrift_cli.search.tree import FloatArray
from ringrift_cli.selfplay.actor import Actor
from ringrift_cli.selfplay.forests import on_cpu
from ringrift_cli.settings import SelfPlay
from tests.search.test_forest import ByRow, Uniform
from tests.walks import CONFIGURATIONS

QUICK = SelfPlay(sims=6, fast_sims=2, considered=4, fast_considered=2, sparring_share=0.0)


def numbers(count: int) -> Callable[[], int | None]:
    left = iter(range(count))
    return lambda: next(left, None)


def actor_of(
    board: str,
    players: int,
    setting: SelfPlay,
    evaluator: Evaluator,
    concurrent: int,
    next_number: Callable[[], int | None],
    seed: int = 0,
) -> Actor:
    forest = on_cpu(board, players, setting, evaluator, concurrent)
    return Actor(board, players, setting, forest, next_number, seed=seed)


def play(actor: Actor) -> list[SearchedGame]:
    games = []
    while actor.playing:
        games += actor.step()
    return games


@pytest.mark.parametrize(("board", "players"), CONFIGURATIONS)
def test_games_are_whole_and_make_a_shard(board: str, players: int, tmp_path: Path) -> None:
    count = 5 if board.endswith("8") else 2
    actor = actor_of(board, players, QUICK, ByRow(players), 3, numbers(count), seed=4)
    games = play(actor)
    assert len(games) == count == actor.counts.games
    assert actor.counts.decisions == sum(len(game.actions) for game in games)
    assert actor.counts.positions == sum(len(game.plies) for game in games)
    path = write_searched(tmp_path, {"model": "none"}, games, board, players, False)
    shard = read_searched(path)  # replays every game, and knows its winner
    assert len(shard.games) == count
    for game in games:
        share = len(game.plies) / len(game.actions)
        assert 0.05 < share < 0.5
        assert (game.surprise >= 0).all()
        assert game.values.sum(axis=1) == pytest.approx(1, abs=1e-3)


def test_games_depend_on_their_numbers_and_the_seed_alone() -> None:
    def games(concurrent: int, seed: int) -> set[tuple[int, ...]]:
        evaluator = ByRow(2)
        quiet = replace(QUICK, full_share=0.5)
        actor = actor_of("hex8", 2, quiet, evaluator, concurrent, numbers(6), seed=seed)
        return {tuple(game.actions.tolist()) for game in play(actor)}

    assert games(6, 1) == games(2, 1) == games(1, 1)
    assert not games(6, 1) & games(6, 2)


def test_every_decision_with_a_choice_is_searched_in_full_if_asked() -> None:
    every = replace(QUICK, full_share=1.0, random_opening_share=0.0)
    [game] = play(actor_of("square8", 2, every, ByRow(2), 1, numbers(1)))
    position, choices = Position.initial("square8"), []
    for ply, action in enumerate(game.actions.tolist()):
        if len(position.legal_actions()) > 1:
            choices.append(ply)
        position = position.play(action)
    assert game.plies.tolist() == choices
    assert position.is_over


class SureOf(Uniform):
    """Thinks that seat 0 wins, whatever happens."""

    def evaluate(
        self, rows: IntArray, actions: IntArray, offsets: LongArray
    ) -> tuple[FloatArray, FloatArray]:
        return np.zeros(len(actions)), np.tile([0.99, 0.01], (len(rows), 1))


@pytest.mark.parametrize("patience", [1, 3])
def test_the_hopeless_resign_but_not_in_control_games(patience: int, tmp_path: Path) -> None:
    giving_up = replace(
        QUICK, full_share=0.5, resign_below=0.05, resign_decisions=patience,
        resign_control_share=0.0,
    )  # fmt: skip
    actor = actor_of("hex8", 2, giving_up, SureOf(2), 8, numbers(20))
    games = play(actor)
    resigned = [game for game in games if game.reason == RESIGNED]
    assert len(resigned) > 15
    assert all(game.winner == 0 for game in resigned)
    assert actor.counts.resign_checked == 0
    assert all(len(game.plies) == 0 or game.plies[-1] < len(game.actions) for game in games)
    path = write_searched(tmp_path, {"model": "none"}, games, "hex8", 2, False)
    assert len(read_searched(path).games) == 20

    control = replace(giving_up, resign_control_share=1.0)
    actor = actor_of("hex8", 2, control, SureOf(2), 8, numbers(20))
    games = play(actor)
    assert all(game.reason != RESIGNED for game in games)
    assert actor.counts.resign_checked > 15
    wrong = sum(game.winner == 1 for game in games)
    assert actor.counts.resign_wrong <= wrong


def test_with_more_players_nobody_resigns() -> None:
    class Sure(Uniform):
        def evaluate(
            self, rows: IntArray, actions: IntArray, offsets: LongArray
        ) -> tuple[FloatArray, FloatArray]:
            return np.zeros(len(actions)), np.tile([0.98, 0.01, 0.01], (len(rows), 1))

    giving_up = replace(QUICK, resign_below=0.05, resign_control_share=0.0)
    games = play(actor_of("hex8", 3, giving_up, Sure(3), 4, numbers(4)))
    assert all(game.reason != RESIGNED for game in games)


def test_openings_are_drawn_and_differ() -> None:
    class Deaf(Uniform):
        """Knows nothing: every game would begin alike."""

    fixed = replace(QUICK, full_share=0.01, opening_decisions=0, random_opening_share=0.0)
    first = {game.actions[0] for game in play(actor_of("hex8", 2, fixed, Deaf(2), 12, numbers(12)))}
    drawn = replace(fixed, opening_decisions=12)
    other = {game.actions[0] for game in play(actor_of("hex8", 2, drawn, Deaf(2), 12, numbers(12)))}
    random = replace(fixed, random_opening_share=1.0)
    third = {
        game.actions[0] for game in play(actor_of("hex8", 2, random, Deaf(2), 12, numbers(12)))
    }
    assert len(first) <= 2
    assert len(other) > 6
    assert len(third) > 6


def test_the_evaluator_sees_a_row_of_every_game() -> None:
    class Watching(ByRow):
        def __init__(self) -> None:
            super().__init__(2)
            self.sizes: list[int] = []

        def evaluate(
            self, rows: IntArray, actions: IntArray, offsets: LongArray
        ) -> tuple[FloatArray, FloatArray]:
            assert (rows[:, L.PHASE] != L.OVER).all()
            self.sizes.append(len(rows))
            return super().evaluate(rows, actions, offsets)

    watching = Watching()
    endless = itertools.count()
    actor = actor_of("hex8", 2, QUICK, watching, 32, lambda: next(endless))
    for _ in range(400):
        actor.step()
    assert np.mean(watching.sizes) > 0.75 * 32
    assert actor.counts.evaluations == sum(watching.sizes)


@pytest.mark.parametrize(
    ("board", "players", "pie"),
    [("hex8", 2, False), ("square8", 2, True), ("square8", 3, False), ("hex8", 4, False)],
)
def test_a_sparring_partner_plays_one_seat_as_the_tuned_heuristic(
    board: str, players: int, pie: bool, tmp_path: Path
) -> None:
    setting = replace(QUICK, sparring_share=1.0, full_share=1.0)
    forest = on_cpu(board, players, setting, ByRow(players), 3)
    actor = Actor(board, players, setting, forest, numbers(6), seed=5, pie_rule=pie)
    games = play(actor)
    assert len(games) == 6
    path = write_searched(tmp_path, {"model": "none"}, games, board, players, pie)
    assert len(read_searched(path).games) == 6  # legal to the end, with their winners
    weights = effective_weights(profile_named("tuned", board, players))[None]
    partners = set()
    for game in games:
        position, searched = Position.initial(board, players, pie_rule=pie), {*game.plies.tolist()}
        movers: dict[bool, set[int]] = {True: set(), False: set()}  # whether searched
        started = game.plies[0]
        for ply, action in enumerate(game.actions.tolist()):
            if ply >= started and len(position.legal_actions()) > 1:
                swapped = position.row[L.PIE] == L.PIE_SWAPPED
                movers[ply in searched].add(3 - position.seat if swapped else position.seat)
                if ply not in searched:
                    rows, T = position.row[None], tables(board, players)
                    actions, offsets = playout.list_all(T, rows)
                    none = np.zeros(1, np.int64)
                    scores, _ = scoring.score_all(T, rows, actions, offsets, weights, none, WIDTH)
                    assert scores[actions == action] == scores.max()  # equal ones are drawn
            position = position.play(action)
        assert not movers[True] & movers[False]
        assert len(movers[False]) <= 1
        partners |= movers[False]
    assert len(partners) > 1  # every seat in turn


@pytest.mark.parametrize("partner", ["heuristic:tuned,noise=1,blunder=0.1", "mcts:sims=4"])
def test_games_with_a_partner_depend_on_their_numbers_and_the_seed_alone(partner: str) -> None:
    setting = replace(QUICK, sparring_share=0.5, partner=partner)

    def games(concurrent: int) -> set[tuple[int, ...]]:
        actor = actor_of("hex8", 2, setting, ByRow(2), concurrent, numbers(8), seed=2)
        return {tuple(game.actions.tolist()) for game in play(actor)}

    assert games(8) == games(3) == games(1)
