"""Matches: fair blocks, games that their setting decides, and players that fail."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from ringrift_cli.errors import PlayerError, UsageError
from ringrift_cli.evaluate.match import Match, play
from ringrift_cli.evaluate.results import PlayedGame, Pool
from ringrift_cli.game.record import GameRecord
from ringrift_cli.game.result import Result
from ringrift_cli.players.player import Choices, Decisions, Player
from ringrift_cli.players.spec import make_player


def entrants(pool: Pool, *specs: str) -> tuple[Player, ...]:
    return tuple(make_player(spec, pool.board, pool.players) for spec in specs)


def tasks(match: Match, blocks: int) -> list[tuple[int, int]]:
    return list(itertools.product(range(blocks), range(match.rotations)))


def played(match: Match, blocks: int, concurrent: int = 64) -> list[PlayedGame]:
    found = play(match, tasks(match, blocks), concurrent=concurrent)
    return sorted(itertools.chain(*found), key=lambda game: (game.block, game.rotation))


@pytest.mark.parametrize(
    ("players", "specs", "seatings"),
    [
        (2, ("random", "heuristic"), [(0, 1), (1, 0)]),
        (3, ("random", "heuristic"), [(0, 1, 1), (1, 0, 1), (1, 1, 0)]),
        (3, ("random", "heuristic", "mcts:sims=1"), [(0, 1, 2), (2, 0, 1), (1, 2, 0)]),
        (4, ("random", "heuristic"), [(0, 1, 1, 1), (1, 0, 1, 1), (1, 1, 0, 1), (1, 1, 1, 0)]),
        (
            4,
            ("random", "heuristic", "mcts:sims=1"),
            [(0, 1, 2, 2), (2, 0, 1, 2), (2, 2, 0, 1), (1, 2, 2, 0)],
        ),
    ],
)
def test_everybody_sits_everywhere(
    players: int, specs: tuple[str, ...], seatings: list[tuple[int, ...]]
) -> None:
    pool = Pool("hex8", players)
    match = Match(pool, entrants(pool, *specs))
    assert [match.seating(r) for r in range(match.rotations)] == seatings


def test_the_games_of_a_block_share_their_opening_and_no_other_does() -> None:
    pool = Pool("hex8", 3)
    match = Match(pool, entrants(pool, "random", "heuristic"), seed=4)
    by_block: dict[int, set[tuple[int, ...]]] = {}
    for game in played(match, 12):
        opening = []
        record = GameRecord("hex8", 3, False, game.actions, Result(1, "", ()))
        for position, action in record.positions():
            if position.turn > match.turns:
                break
            assert action is not None
            opening.append(action)
        by_block.setdefault(game.block, set()).add(tuple(opening))
    assert all(len(openings) == 1 for openings in by_block.values())
    assert len(set.union(*by_block.values())) == 12


def test_games_are_the_same_however_many_are_played_at_once() -> None:
    pool = Pool("square8", 2)
    match = Match(pool, entrants(pool, "heuristic:blunder=0.2", "random"))
    assert played(match, 10, concurrent=64) == played(match, 10, concurrent=3)


def test_games_replay_to_their_result() -> None:
    pool = Pool("square8", 4)
    match = Match(pool, entrants(pool, "heuristic", "random"))
    for game in played(match, 3):
        record = GameRecord("square8", 4, False, game.actions, Result(1, "", ()))
        *_, (last, _) = record.positions()
        result = last.result()
        assert result is not None
        assert (result.winner - 1, result.reason) == (game.winner, game.reason)
        seats = match.seating(game.rotation)
        assert game.entrant == seats[game.winner]
        assert game.seats == tuple(match.entrants[e].identity for e in seats)


class Swapper:
    """Swaps whenever it may, and otherwise plays at random."""

    spec = "swapper"
    identity = "5" * 16

    def __init__(self) -> None:
        self._random = make_player("random", "hex8", 2)
        self.swaps = 0

    def choose(self, asked: Decisions) -> Choices:
        from ringrift_cli.game import layout as L
        from ringrift_cli.game import playout

        choices = self._random.choose(asked)
        actions, offsets = playout.list_all(asked.T, asked.rows)
        swap = asked.T[L.T_GLOBAL] + L.SWAP
        for i in range(len(asked)):
            if swap in actions[offsets[i] : offsets[i + 1]]:
                choices.actions[i] = swap
                self.swaps += 1
        return choices

    def close(self) -> None:
        pass


def test_after_a_swap_the_seats_score_for_those_who_sit_there_now() -> None:
    pool = Pool("hex8", 2, pie_rule=True)
    swapper = Swapper()
    match = Match(pool, (swapper, make_player("random", "hex8", 2)))
    games = played(match, 20)
    assert match.turns == 1
    random = match.entrants[1].identity
    for game in games:
        if game.rotation == 1:  # the swapper sat second, so it was offered the swap
            assert game.seats == (swapper.identity, random)
        assert game.entrant == (0 if game.seats[game.winner] == swapper.identity else 1)
    assert swapper.swaps == 20


class Failing:
    """Plays at random, and fails at some decision in one of several ways."""

    spec = "failing"
    identity = "f" * 16

    def __init__(self, how: str) -> None:
        self._random, self._how, self._left = make_player("random", "hex8", 2), how, 10

    def choose(self, asked: Decisions) -> Choices:
        self._left -= 1
        choices = self._random.choose(asked)
        if self._left < 0 and self._how == "raise":
            raise PlayerError("Player 'failing' has gone away.")
        if self._left < 0:
            choices.actions[-1] = int(self._how)
        return choices

    def close(self) -> None:
        pass


@pytest.mark.parametrize("how", ["raise", "-1", "-7", "0", "7630", "99999"])
def test_a_failing_player_voids_its_game(how: str) -> None:
    pool = Pool("hex8", 2)
    match = Match(pool, (Failing(how), make_player("random", "hex8", 2)))
    with pytest.raises(PlayerError, match="failing"):
        list(play(match, tasks(match, 20)))


def test_stopping_begins_and_ends_no_game() -> None:
    pool = Pool("hex8", 2)
    match = Match(pool, entrants(pool, "random", "heuristic"))
    assert list(play(match, tasks(match, 5), should_stop=lambda: True)) == []


def test_a_decision_that_was_cut_short_counts_for_nothing() -> None:
    class Asking:
        """Plays at random, and asks for a stop while it thinks about its 200th position."""

        spec, identity = "asking", "a" * 16

        def __init__(self) -> None:
            self._random, self.left = make_player("random", "hex8", 2), 200

        def choose(self, asked: Decisions) -> Choices:
            self.left -= len(asked)
            return self._random.choose(asked)

        def close(self) -> None:
            pass

    pool = Pool("hex8", 2)
    asking = Asking()
    match = Match(pool, (asking, make_player("random", "hex8", 2)))
    found = list(play(match, tasks(match, 50), concurrent=4, should_stop=lambda: asking.left <= 0))
    expected = {(g.block, g.rotation): g for g in played(match, 50)}
    games = list(itertools.chain(*found))
    assert 0 < len(games) < 100
    assert all(expected[game.block, game.rotation] == game for game in games)


@pytest.mark.parametrize(
    ("players", "count", "sentence"),
    [
        (2, 1, "takes 2 players, not 1"),
        (2, 3, "takes 2 players, not 3"),
        (4, 5, "2 to 4 different"),
    ],
)
def test_a_match_needs_the_right_number(players: int, count: int, sentence: str) -> None:
    pool = Pool("hex8", players)
    with pytest.raises(UsageError, match=sentence):
        Match(pool, entrants(pool, *[f"mcts:sims={n}" for n in range(1, count + 1)]))


def test_seats_win_about_alike_between_equals() -> None:
    pool = Pool("hex8", 2)
    match = Match(pool, entrants(pool, "random", "heuristic:default,width=0,blunder=1"))
    wins = Counter(game.entrant for game in played(match, 400, concurrent=800))
    assert abs(wins[0] - 400) < 3 * np.sqrt(800) / 2 * 1.2
