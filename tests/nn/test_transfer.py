"""Networks that take the weights of another board or number of players."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ringrift_cli.game import layout as L
from ringrift_cli.game.topology import board_named, tables
from ringrift_cli.nn.network import Network, action_tables, architecture
from ringrift_cli.nn.transfer import policy_planes, transferred
from ringrift_cli.settings import BOARDS


def network(board: str, players: int) -> Network:
    torch.manual_seed(1)
    made = Network(architecture("tiny", board, players)).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter)
    return made


@pytest.mark.parametrize("board", BOARDS)
def test_planes_are_those_of_the_action_space(board: str) -> None:
    found, here = policy_planes(board_named(board)), action_tables(board_named(board))
    cells = int(tables(board, 2)[L.T_CELLS])
    assert len(found) == len({*found}) == int(tables(board, 2)[L.T_PLANES]) + L.GLOBALS
    width = board_named(board).width
    for number, (kind, way, distance) in enumerate(found):
        if kind in ("move", "capture"):
            assert isinstance(way, tuple)
            own, to = (at[number * cells : (number + 1) * cells] for at in (here.here, here.there))
            on = own != to
            assert np.all((to - own)[on] == distance * (way[1] * width + way[0]))


@pytest.mark.parametrize(
    ("board", "players", "to", "seats"),
    [("hex8", 2, "hexagonal", 2), ("square8", 2, "square19", 4), ("hex8", 2, "hex8", 3)],
)
def test_there_and_back_nothing_is_lost(board: str, players: int, to: str, seats: int) -> None:
    own = network(board, players)
    moved = transferred(own, to, seats)
    assert (moved.architecture.board, moved.architecture.players) == (to, seats)
    back = transferred(moved, board, players).state_dict()
    planes = policy_planes(board_named(board))
    played = torch.tensor(
        [
            n
            for n, (kind, way, _) in enumerate(planes)
            if kind != "region" or way in range(players + 1)
        ]
    )
    for name, kept in own.state_dict().items():
        found, tensor = back[name], kept
        if name in ("policy_here", "policy_there", "policy_bias"):
            found, tensor = found[played], tensor[played]
        assert torch.equal(found, tensor)


def test_a_longer_move_takes_the_weights_of_the_longest() -> None:
    own = network("hex8", 2)
    moved = transferred(own, "hexagonal", 2)
    old, new = policy_planes(board_named("hex8")), policy_planes(board_named("hexagonal"))
    way = board_named("hex8").directions[4]
    for distance, longest in ((3, 3), (8, 8), (20, 8)):
        there = own.policy_here[old.index(("move", way, longest))]
        assert torch.equal(moved.policy_here[new.index(("move", way, distance))], there)


def test_further_opponents_are_like_the_last() -> None:
    moved = transferred(network("hex8", 2), "hex8", 4)
    assert torch.equal(moved.value.weight[1], moved.value.weight[3])
    assert not torch.equal(moved.value.weight[0], moved.value.weight[1])


def test_borders_of_further_seats_are_like_that_of_the_last() -> None:
    own = network("hex8", 2)
    moved, planes = transferred(own, "hex8", 4), policy_planes(board_named("hex8"))
    for border, known in ((0, 0), (1, 1), (2, 2), (3, 2), (4, 2)):
        new, old = planes.index(("region", border, 0)), planes.index(("region", known, 0))
        assert torch.equal(moved.policy_here[new], own.policy_here[old])


def test_directions_that_a_board_lacks_are_new_and_seeded() -> None:
    own = network("hex8", 2)
    made = [transferred(own, "square8", 2, seed) for seed in (0, 0, 1)]
    assert torch.equal(made[0].policy_here, made[1].policy_here)
    assert not torch.equal(made[0].policy_here, made[2].policy_here)
    planes = policy_planes(board_named("square8"))
    shared = planes.index(("move", board_named("hex8").directions[0], 2))
    assert torch.equal(made[0].policy_here[shared], made[2].policy_here[shared])


def test_the_pool_itself_keeps_its_network() -> None:
    own = network("hex8", 3)
    assert transferred(own, "hex8", 3) is own
