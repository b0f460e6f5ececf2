"""Copies of a player answer as one."""

from __future__ import annotations

import threading
from itertools import pairwise

import numpy as np
import pytest

from ringrift_cli.errors import PlayerError
from ringrift_cli.evaluate.match import Match, play
from ringrift_cli.evaluate.results import Pool
from ringrift_cli.game.playout import game_seeds
from ringrift_cli.players.player import Choices, Decisions
from ringrift_cli.players.spec import make_player
from ringrift_cli.players.team import Team
from tests.walks import positions


class Counting:
    """Plays at random and notes how many positions it was asked, and in which thread."""

    made = 0

    def __init__(self, *, fails: bool = False, identity: str = "c" * 16) -> None:
        self.spec = self.name = "counting"
        self.identity = identity
        self._random, self._fails = make_player("random", "hex8", 2), fails
        self.asked, self.threads, self.closed = 0, set[int](), False

    def choose(self, asked: Decisions) -> Choices:
        self.asked += len(asked)
        self.threads.add(threading.get_ident())
        if self._fails:
            raise PlayerError("Player 'counting' fell asleep.")
        return self._random.choose(asked)

    def close(self) -> None:
        self.closed = True


def asked(count: int) -> Decisions:
    rows = np.stack([p.row for p in positions("hex8", 2, 1) if not p.is_over][:count])
    return Decisions("hex8", 2, rows, game_seeds(0, 0, count), [None] * count)


def test_a_team_answers_as_one_player_would() -> None:
    alone, shared = asked(30), asked(30)
    members: list[Counting] = []

    def make() -> Counting:
        members.append(Counting())
        return members[-1]

    team = Team(make, most=3)
    expected = make_player("random", "hex8", 2).choose(alone)
    assert (team.choose(shared).actions == expected.actions).all()
    assert (shared.seeds == alone.seeds).all()
    assert [member.asked for member in members] == [10, 10, 10]
    team.choose(asked(1))
    assert [member.asked for member in members] == [11, 10, 10]
    team.close()
    assert all(member.closed for member in members)


def test_members_come_when_they_are_needed() -> None:
    members: list[Counting] = []

    def make() -> Counting:
        members.append(Counting())
        return members[-1]

    team = Team(make, most=8)
    team.choose(asked(1))
    assert len(members) == 1
    team.choose(asked(2))
    assert len(members) == 2


def test_an_error_of_one_is_an_error_of_all() -> None:
    kinds = iter([False, True, False])
    team = Team(lambda: Counting(fails=next(kinds)), most=3)
    with pytest.raises(PlayerError, match="fell asleep"):
        team.choose(asked(9))


def test_copies_that_differ_are_refused() -> None:
    names = iter(["a" * 16, "b" * 16])
    team = Team(lambda: Counting(identity=next(names)), most=2)
    with pytest.raises(PlayerError, match="different identity each time"):
        team.choose(asked(2))


def test_a_game_stays_with_one_member_and_a_member_with_its_game() -> None:
    members: list[Noting] = []
    asked_of: dict[Counting, list[int]] = {}
    most_playing = 0

    class Noting(Counting):
        def choose(self, asked: Decisions) -> Choices:
            nonlocal most_playing
            assert asked.games is not None
            most_playing = max(most_playing, len(asked.playing))
            asked_of.setdefault(self, []).extend(asked.games)
            return super().choose(asked)

    def make() -> Noting:
        members.append(Noting())
        return members[-1]

    team = Team(make, most=3)
    match = Match(Pool("hex8", 2), (team, make_player("random", "hex8", 2)), seed=1)
    tasks = [(block, rotation) for block in range(5) for rotation in range(2)]
    played = [game for games in play(match, tasks) for game in games]
    assert {(game.block, game.rotation) for game in played} == {*tasks}
    assert most_playing == len(members) == 3
    for games in asked_of.values():
        begun = 1 + sum(game != before for before, game in pairwise(games))
        assert begun == len({*games})  # none of them was left and taken up again
    assert sum(len({*games}) for games in asked_of.values()) == 10
    assert match.names == ("counting", "random")
