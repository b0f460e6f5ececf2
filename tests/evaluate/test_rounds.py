"""Games for tuning: the same for all candidates, and played as the heuristic player plays."""

from __future__ import annotations

import numpy as np
import pytest

from ringrift_cli.evaluate.rounds import GameRound, TuningStopped, derived, opening_rows, play_out
from ringrift_cli.game import layout as L
from ringrift_cli.game import playout
from ringrift_cli.game.topology import IntArray, tables
from ringrift_cli.players.heuristic import effective_weights
from ringrift_cli.players.player import Decisions
from ringrift_cli.players.profiles import profile_named
from ringrift_cli.players.scoring import FloatArray
from ringrift_cli.players.spec import make_player


def default_weights(board: str = "hex8", players: int = 2) -> FloatArray:
    return effective_weights(profile_named("default", board, players))


def some_weights(number: int, seed: int) -> FloatArray:
    """Variations of the default weights, [number, features]."""
    default = default_weights()
    return default * np.exp(np.random.default_rng(seed).standard_normal((number, len(default))))


def test_identical_candidates_win_identical_games() -> None:
    """Common random numbers: what differs between two candidates is their weights alone."""
    one, other = some_weights(2, seed=1)
    round_ = GameRound("hex8", 2, 7, some_weights(3, seed=2), np.array([0, 1, 2, 0]))
    won = round_.play(np.array([one, other, one]))
    assert won.shape == (3, 4, 2)
    assert (won[0] == won[2]).all()
    assert (won[0] != won[1]).any()
    # nor does it matter who else is there, or that nobody is
    assert (round_.play(np.array([other]))[0] == won[1]).all()


def test_other_seeds_are_other_games() -> None:
    weights, meets = some_weights(2, seed=1), np.zeros(8, np.int64)
    won = [GameRound("hex8", 2, seed, weights[1:], meets).play(weights[:1]) for seed in (1, 1, 2)]
    assert (won[0] == won[1]).all()
    assert (won[0] != won[2]).any()


def test_a_round_goes_on_where_another_ends() -> None:
    weights, meets = some_weights(2, seed=3), np.zeros(6, np.int64)
    whole = GameRound("hex8", 2, 5, weights[1:], meets).play(weights[:1])
    parts = [
        GameRound("hex8", 2, 5, weights[1:], meets[:count], first).play(weights[:1])
        for first, count in ((0, 4), (4, 2))
    ]
    assert (np.concatenate(parts, axis=1) == whole).all()


def test_games_are_those_of_heuristic_players() -> None:
    """The batch picks the very actions that two players pick, shown one position at a time."""
    T = tables("hex8", 2)
    default, random = default_weights(), some_weights(1, seed=4)[0]
    starts = opening_rows("hex8", 2, 11, 0, 3)
    seeds = playout.game_seeds(3, 0, 3)
    seats = np.array([[0, 1], [1, 0], [0, 0]])
    winners = play_out("hex8", 2, starts, seats, np.array([default, random]), seeds)
    players = [make_player("heuristic:default", "hex8", 2) for _ in range(2)]
    players[1]._weights = random[None]  # type: ignore[attr-defined] # noqa: SLF001
    for i in range(3):
        row, seed = starts[i : i + 1].copy(), seeds[i : i + 1].copy()
        while row[0, L.PHASE] != L.OVER:
            player = players[seats[i, row[0, L.SEAT]]]
            playout.apply_all(
                T, row, player.choose(Decisions("hex8", 2, row, seed, [None])).actions
            )
        assert winners[i] == row[0, L.WINNER]


@pytest.mark.parametrize("players", [3, 4])
def test_the_candidate_takes_every_seat_once(players: int) -> None:
    """Weights that only want to be blocked lose in every seat, and their mirror image wins."""
    good = default_weights("square8", players)
    meets = np.zeros(6, np.int64)
    weak = GameRound("square8", players, 1, good[None], meets).play(-good[None])
    strong = GameRound("square8", players, 1, -good[None], meets).play(good[None])
    assert weak.shape == strong.shape == (1, 6, players)
    assert weak.mean() < 0.5 / players
    assert (strong.mean(axis=(0, 1)) > 1 / players).all()


def test_openings_are_numbered_and_behind_two_turns_of_each() -> None:
    rows = opening_rows("hex8", 3, 9, 0, 40)
    assert (opening_rows("hex8", 3, 9, 30, 10) == rows[30:]).all()
    assert (rows[:, L.TURN] == 7).all()
    assert len({row.tobytes() for row in rows}) == 40
    assert (opening_rows("hex8", 3, 10, 0, 40) != rows).any(axis=1).all()


def test_paths_have_seeds_of_their_own() -> None:
    seeds = {derived(0), derived(1), derived(0, 1), derived(0, 1, 2), derived(0, 12), derived(1, 2)}
    assert len(seeds) == 6
    assert derived(0, 1, 2) == derived(0, 1, 2)


def test_stopping_voids_the_games_in_hand() -> None:
    asked: list[int] = []

    def after_three() -> bool:
        asked.append(1)
        return len(asked) > 3

    weights = some_weights(2, seed=1)
    with pytest.raises(TuningStopped):
        GameRound("hex8", 2, 0, weights[1:], np.zeros(2, np.int64)).play(weights[:1], after_three)
    assert len(asked) == 4


def test_the_watch_sees_every_decision() -> None:
    seen: list[IntArray] = []
    starts = opening_rows("hex8", 2, 0, 0, 2)
    weights, seats = default_weights()[None], np.zeros((2, 2), np.int64)
    seeds = playout.game_seeds(0, 0, 2)
    play_out("hex8", 2, starts, seats, weights, seeds, watch=lambda rows: seen.append(rows.copy()))
    assert (seen[0] == starts).all()
    assert all((rows[:, L.PHASE] != L.OVER).all() for rows in seen)
    assert len(seen) > 20
