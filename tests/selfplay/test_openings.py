"""Random openings: how far they go, and that they are legal games."""

from __future__ import annotations

import numpy as np
import pytest

from ringrift_cli.game import layout as L
from ringrift_cli.game.playout import game_seeds
from ringrift_cli.game.position import Position
from ringrift_cli.selfplay.openings import play_openings


@pytest.mark.parametrize(("players", "pie_rule"), [(2, False), (2, True), (4, False)])
def test_the_actions_lead_to_the_rows(players: int, pie_rule: bool) -> None:
    seeds = game_seeds(5, 0, 12)
    rows, actions = play_openings("hex8", players, seeds, 3, pie_rule=pie_rule)
    assert (rows[:, L.TURN] == 4).all()
    for row, course in zip(rows, actions, strict=True):
        position = Position.initial("hex8", players, pie_rule=pie_rule)
        for action in course:
            assert position.turn <= 3
            position = position.play(action)
        assert (position.row == row).all()
    assert len({tuple(course) for course in actions}) == 12


def test_an_opening_does_not_depend_on_those_beside_it() -> None:
    together, courses = play_openings("square8", 3, game_seeds(8, 0, 6), 6)
    alone, course = play_openings("square8", 3, game_seeds(8, 4, 1), 6)
    assert (alone[0] == together[4]).all()
    assert course == courses[4:5]


def test_the_generators_step_on() -> None:
    seeds = game_seeds(1, 0, 4)
    play_openings("hex8", 2, seeds, 2)
    assert (seeds != game_seeds(1, 0, 4)).all()


def test_no_turns_are_the_start_of_the_game() -> None:
    rows, actions = play_openings("hex8", 2, game_seeds(0, 0, 2), 0)
    assert (rows == Position.initial("hex8").row).all()
    assert actions == [[], []]


def test_openings_stop_before_the_end_of_a_game() -> None:
    rows, actions = play_openings("square8", 2, game_seeds(0, 0, 8), 10**6)
    assert (rows[:, L.PHASE] != L.OVER).all()
    assert (rows[:, L.TURN] > 10).all()
    for course in actions:
        position = Position.initial("square8")
        for action in course:
            position = position.play(action)
        ends = [position.play(action).is_over for action in position.legal_actions().tolist()]
        assert np.any(ends)
