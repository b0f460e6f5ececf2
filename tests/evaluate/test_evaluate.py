"""Matches, tests and ratings from end to end: who wins, and how sure that is."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ringrift_cli.errors import RingriftError, UsageError
from ringrift_cli.evaluate import evaluate
from ringrift_cli.evaluate.evaluate import (
    evaluate_sprt,
    new_match,
    play_gauntlet,
    play_match,
    play_sprt,
    rate,
)
from ringrift_cli.evaluate.ladder import BEGINNER, measure_ladder
from ringrift_cli.evaluate.match import Match
from ringrift_cli.evaluate.results import PlayedGame, Pool, Results
from ringrift_cli.game import playout
from ringrift_cli.players.player import Choices, Decisions
from ringrift_cli.stats.sprt import Sprt

HEX = Pool("hex8", 2)
SQUARE = Pool("square8", 2)


@pytest.fixture
def results(tmp_path: Path) -> Iterator[Results]:
    with Results(tmp_path / "r.sqlite") as opened:
        yield opened


def test_a_match_says_who_is_stronger(results: Results) -> None:
    report = play_match(new_match(SQUARE, ("heuristic", "random")), results, 60)
    strong, weak = report.entrants
    assert (report.games, report.blocks, report.duplicates) == (60, 30, 0)
    assert strong.wins + weak.wins == 60
    assert strong.elo_95[0] is not None
    assert strong.elo_95[0] > 200
    assert strong.likelihood_of_superiority > 0.999
    assert weak.score == pytest.approx(1 - strong.score)


def test_games_are_whole_blocks(results: Results) -> None:
    report = play_match(new_match(Pool("hex8", 4), ("heuristic", "random")), results, 9)
    assert (report.games, report.blocks) == (12, 3)
    assert sum(s.wins for s in report.entrants) == 12


def test_a_match_goes_on_where_it_was(results: Results) -> None:
    told: list[int] = []
    match = new_match(SQUARE, ("heuristic", "random"), seed=3)
    first = play_match(match, results, 20, advance=lambda games, _: told.append(games))
    again = play_match(match, results, 20, advance=lambda games, _: told.append(games))
    assert again == first
    assert told[-1] == 20  # what was there already is told at once
    told.clear()
    more = play_match(match, results, 50, advance=lambda games, _: told.append(games))
    assert told[0] == 20
    assert sum(told) == more.games == 50


def test_a_stopped_match_is_the_same_in_the_end(results: Results, tmp_path: Path) -> None:
    def stop_soon() -> bool:
        calls.append(1)
        return len(calls) > 12

    match = new_match(HEX, ("heuristic:blunder=0.5", "random"), seed=1)
    calls: list[int] = []
    nothing = play_match(match, results, 16, should_stop=stop_soon)
    assert not nothing.finished
    assert (nothing.games, nothing.entrants) == (0, ())
    calls = []
    play_match(match, results, 2)
    assert not play_match(match, results, 16, should_stop=stop_soon).finished
    finished = play_match(match, results, 16)
    with Results(tmp_path / "other.sqlite") as other:
        assert play_match(match, other, 16) == finished


class Fixed:
    """Always the lowest legal action: two of them play one game for ever."""

    def __init__(self, name: str) -> None:
        self.spec, self.identity = name, name * 16

    def choose(self, asked: Decisions) -> Choices:
        actions, offsets = playout.list_all(asked.T, asked.rows)
        chosen = [actions[a:b].min() for a, b in itertools.pairwise(offsets)]
        return Choices(np.array(chosen, np.int32))

    def close(self) -> None:
        pass


def test_a_match_of_repeats_fails(results: Results) -> None:
    match = Match(HEX, (Fixed("x"), Fixed("y")), opening_turns=0)
    with pytest.raises(RingriftError, match=r"Only 2 of \d+ games count"):
        play_match(match, results, 20)


def test_equal_players_come_out_even(results: Results) -> None:
    """Two players that act alike win one game of every opening each."""
    match = Match(HEX, (Fixed("x"), Fixed("y")))
    report = play_match(match, results, 40)
    assert [s.wins for s in report.entrants] == [20, 20]
    assert report.entrants[0].elo == 0
    verdict = play_sprt(match, results, Sprt(0, 30), 2000)
    assert verdict.decision == "H0"


def enter(results: Results, match: Match, winners: list[tuple[int, int]]) -> None:
    """Blocks as if they had been played."""
    key = match.enter(results)
    for block, entrants in enumerate(winners):
        for rotation, entrant in enumerate(entrants):
            order = match.seating(rotation)
            seats = tuple(match.entrants[e].identity for e in order)
            actions = (block, rotation)
            winner = order.index(entrant)
            game = PlayedGame(block, rotation, seats, winner, entrant, "stalemate", actions)
            results.add(key, match.pool, [game])


def test_a_test_hears_no_block_after_the_deciding_one(results: Results) -> None:
    match = new_match(HEX, ("heuristic", "random"))
    sprt = Sprt(0, 50)
    enter(results, match, [(0, 0)] * 30 + [(1, 1)] * 300)
    decision, llr, used = evaluate_sprt(results.blocks(match.enter(results), 2), sprt)
    assert decision == "H1"
    assert used < 30
    assert llr >= sprt.upper


def test_a_test_decides_truthfully_and_resumes(results: Results) -> None:
    sprt = Sprt(0, 60)
    match = new_match(SQUARE, ("heuristic", "heuristic:default,blunder=0.4"), seed=2)
    few = play_sprt(match, results, sprt, 6)
    assert few.decision is None
    assert few.match.games == 6
    verdict = play_sprt(match, results, sprt, 3000)
    assert verdict.decision == "H1"
    assert verdict.llr >= verdict.bounds[1]
    told: list[int] = []
    again = play_sprt(match, results, sprt, 3000, advance=lambda games, _: told.append(games))
    assert len(told) == 1  # what was there already; nothing was played
    assert again == verdict
    assert verdict.match.finished
    backwards = new_match(SQUARE, ("heuristic:default,blunder=0.4", "heuristic"), seed=2)
    assert play_sprt(backwards, results, sprt, 3000).decision == "H0"


def test_ratings_put_everybody_on_one_scale(results: Results) -> None:
    names = ("heuristic:default", "random", "heuristic:default,blunder=0.5")
    play_match(new_match(SQUARE, names[:2]), results, 200)
    play_match(new_match(SQUARE, names[1:]), results, 200)
    play_match(new_match(SQUARE, names[::2]), results, 200)
    play_match(new_match(HEX, names[:2]), results, 20)  # another pool
    rated = rate(SQUARE, results).ratings
    assert [r.player for r in rated] == [names[0], names[2], names[1]]
    assert rated[0].elo == evaluate.ANCHOR_RATING
    assert (rated[1].elo_95[1] or 2000) < 1200
    assert (rated[2].elo_95[1] or 2000) < (rated[1].elo or 0)
    assert sum(r.wins for r in rated) == 600
    with pytest.raises(RingriftError, match="Nobody has played heuristic:default on hex8 with 3"):
        rate(Pool("hex8", 3), results)


def test_difference_of_two_ratings_has_the_error_of_their_common_games(results: Results) -> None:
    """Two players that few games link to the anchor, and many to each other."""
    anchor, one, other = "heuristic:default", "random", "heuristic:default,blunder=0.5"
    fair = [(0, 0), (0, 1), (1, 1), (1, 0)]
    enter(results, new_match(SQUARE, (anchor, one)), 3 * fair)
    enter(results, new_match(SQUARE, (anchor, other)), 3 * fair)
    enter(results, new_match(SQUARE, (other, one)), 40 * [*fair, (0, 0)])
    rated = {r.player: r for r in rate(SQUARE, results).ratings}
    names = (rated[other].identity, rated[one].identity)
    found = evaluate.elo_difference(SQUARE, results, *names)
    assert found is not None
    difference, error = found
    assert difference == pytest.approx((rated[other].elo or 0) - (rated[one].elo or 0))
    halves = [((r.elo_95[1] or 0) - (r.elo_95[0] or 0)) / 2 for r in (rated[other], rated[one])]
    assert error < 0.4 * (halves[0] ** 2 + halves[1] ** 2) ** 0.5
    assert error < difference
    back = evaluate.elo_difference(SQUARE, results, *names[::-1])
    assert back == pytest.approx((-difference, error))
    assert evaluate.elo_difference(SQUARE, results, names[0], "f" * 16) is None


def test_ratings_hear_what_the_match_hears(results: Results) -> None:
    """Short games end first: those of a stopped match would say something else."""

    def stop_midway() -> bool:
        return len(results.played(key)) > 60

    match = new_match(HEX, ("heuristic:default,blunder=0.3", "heuristic:default"))
    key = match.enter(results)
    stopped = play_match(match, results, 256, should_stop=stop_midway)
    assert not stopped.finished
    assert len(results.rated_games(HEX)) == stopped.games < len(results.played(key))
    play_match(match, results, 60)
    rated = rate(HEX, results).ratings
    elo = play_match(match, results, 60).entrants[0].elo
    assert (rated[1].elo or 0) - 1200 == pytest.approx(elo, abs=1e-3)


def test_a_match_does_not_depend_on_others_in_the_file(results: Results) -> None:
    forth = play_match(new_match(HEX, ("mcts:sims=2", "random")), results, 8)
    back = play_match(new_match(HEX, ("random", "mcts:sims=2")), results, 8)
    assert (forth.games, back.games, back.duplicates) == (8, 8, 0)
    assert forth.entrants[0].wins == back.entrants[1].wins
    assert len(results.rated_games(HEX)) <= 8 + back.games


def test_the_anchor_keeps_its_name(results: Results) -> None:
    play_match(new_match(Pool("square19", 2), ("heuristic", "random")), results, 2)
    play_match(new_match(HEX, ("heuristic", "heuristic:default")), results, 4)
    rated = rate(HEX, results).ratings
    assert {r.player for r in rated} == {"heuristic", "heuristic:default"}


def test_a_player_does_not_play_itself() -> None:
    with pytest.raises(UsageError, match="'heuristic:default,noise=0' are one player"):
        new_match(HEX, ("heuristic:default", "heuristic:default,noise=0"))


def test_a_test_of_repeats_fails(results: Results) -> None:
    match = Match(HEX, (Fixed("x"), Fixed("y")), opening_turns=0)
    with pytest.raises(RingriftError, match="repeat earlier ones"):
        play_sprt(match, results, Sprt(0, 30), 20_000)


def test_levels_are_measured_against_the_one_below(results: Results) -> None:
    found = measure_ladder(SQUARE, (1, 2), results, 60)
    first, second = found.levels
    assert (first.level, first.opponent, first.holds) == (1, BEGINNER, True)  # a beginner can win
    assert second.holds
    assert second.score_95[0] > 0.5
    assert found.finished
    assert found.failing == []


def test_scores_of_many_players_are_converted_to_two(results: Results) -> None:
    stopped = measure_ladder(SQUARE, (4,), results, 60, should_stop=lambda: True)
    assert (stopped.levels, stopped.finished) == ((), False)
    pool = Pool("square8", 4)
    level = measure_ladder(pool, (3,), results, 40).levels[0]
    match = new_match(pool, (level.player, level.opponent))
    share = play_match(match, results, 40).entrants[0].score
    assert level.score == pytest.approx(3 * share / (3 * share + 1 - share))


def test_a_gauntlet_leaves_the_player_out(results: Results) -> None:
    found = play_gauntlet(HEX, "heuristic:default", results, 2)
    opponents = [one.entrants[1].player for one in found.matches]
    assert opponents == ["random", "mcts:sims=32,profile=default"]
    assert found.finished
    assert not play_gauntlet(HEX, "random", results, 2, should_stop=lambda: True).finished
