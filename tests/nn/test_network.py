"""The network: its shapes, its heads, and that nothing lies beyond the edge of the board."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ringrift_cli.errors import RecordError, UsageError
from ringrift_cli.game import layout as L
from ringrift_cli.game.actions import ActionSpace
from ringrift_cli.game.topology import BOARDS, tables
from ringrift_cli.nn.features import encode_all
from ringrift_cli.nn.network import (
    SIZES,
    Architecture,
    Heads,
    Network,
    action_tables,
    architecture,
    board_mask,
)
from tests.nn.networks import drawn, network, rows_of
from tests.walks import CONFIGURATIONS


def inputs(board: str, players: int, count: int = 4) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What `forward` takes: drawn positions, their legal actions, and all without a cell."""
    rows, actions, offsets = rows_of(drawn(board, players, count))
    planes, scalars = encode_all(tables(board, players), rows)
    position = np.append(np.repeat(np.arange(count), np.diff(offsets)), [count - 1] * L.GLOBALS)
    every = np.append(actions, tables(board, players)[L.T_GLOBAL] + np.arange(L.GLOBALS))
    arrays = (planes, scalars, position, every.astype(np.int64))
    p, s, n, a = (torch.from_numpy(array) for array in arrays)
    return p, s, n, a


# ---- architecture -------------------------------------------------------------------------------


def test_architecture_is_what_its_json_says() -> None:
    made = architecture("small", "hex8", 3)
    assert (made.blocks, made.channels) == SIZES["small"]
    assert Architecture.from_json(made.to_json()) == made


@pytest.mark.parametrize(
    "change",
    [{"blocks": None}, {"blocks": "4"}, {"blocks": True}, {"board": 8}, {"more": 1}, "no object"],
)
def test_architecture_from_other_json_is_refused(change: dict[str, object] | str) -> None:
    document: object = change
    if isinstance(change, dict):
        document = {**architecture("tiny", "hex8", 2).to_json(), **change}
        document = {key: value for key, value in document.items() if value is not None}
    with pytest.raises(RecordError, match="architecture"):
        Architecture.from_json(document)


def test_wrong_sizes_boards_and_players_are_named() -> None:
    with pytest.raises(UsageError, match=r"'gigantic'.*tiny, small, medium, large, huge"):
        architecture("gigantic", "hex8", 2)
    with pytest.raises(UsageError, match="'hex9'"):
        architecture("tiny", "hex9", 2)
    with pytest.raises(UsageError, match="not 5"):
        architecture("tiny", "hex8", 5)
    with pytest.raises(UsageError, match="1 or more blocks, not 0"):
        dataclasses.replace(architecture("tiny", "hex8", 2), blocks=0)


def test_sizes_grow() -> None:
    counts = [
        sum(weight.numel() for weight in Network(architecture(size, "hex8", 2)).parameters())
        for size in SIZES
    ]
    assert counts == sorted(counts)
    assert counts[0] < 100_000
    assert counts[-1] > 10_000_000


# ---- where the policy finds an action -----------------------------------------------------------


@pytest.mark.parametrize("board", BOARDS)
def test_tables_say_where_an_action_is_and_where_it_leads(board: str) -> None:
    info, space = BOARDS[board], ActionSpace(board)
    found = action_tables(info)
    every = np.random.default_rng(0).permutation(space.size)[:4000].tolist()
    for action in [*every, *range(space.size - 5, space.size)]:
        meaning = space.decode(action)
        plane, here, there = (int(t[action]) for t in (found.plane, found.here, found.there))
        if meaning.cell is None:
            assert (here, there) == (info.width**2, info.width**2)
            assert plane == space.planes + action - space.planes * space.cells
            continue
        column, row = info.cells[meaning.cell]
        assert (plane, here) == (action // space.cells, row * info.width + column)
        if meaning.direction is not None:
            dx, dy = info.directions[meaning.direction]
            steps = meaning.distance or 1
            if info.contains(column + steps * dx, row + steps * dy):
                column, row = column + steps * dx, row + steps * dy
        assert there == row * info.width + column


# ---- heads --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("board", "players"), CONFIGURATIONS)
def test_heads_have_their_shapes_and_dense_agrees(board: str, players: int) -> None:
    net, (planes, scalars, position, action) = network(board, players), inputs(board, players)
    with torch.no_grad():
        heads = net(planes, scalars, position, action)
        dense, value = net.dense(planes, scalars)
    width = BOARDS[board].width
    assert heads.logits.shape == action.shape
    assert heads.value.shape == heads.eliminated.shape == (4, players)
    assert heads.owner.shape == (4, width * width, players + 1)
    assert dense.shape == (4, ActionSpace(board).size)
    torch.testing.assert_close(dense[position, action], heads.logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(value, heads.value)
    assert heads.logits.std() > 0.05  # otherwise the above says little
    assert all(torch.isfinite(head).all() for head in heads)


@pytest.mark.parametrize("board", ["hex8", "hexagonal", "square8"])
def test_nothing_lies_beyond_the_edge(board: str) -> None:
    net, (planes, scalars, _, _) = network(board, 2, blocks=4), inputs(board, 2)
    mask = board_mask(BOARDS[board])
    assert int(mask.sum()) == len(BOARDS[board].cells)
    with torch.no_grad():
        x = net.trunk(planes, scalars)
    assert (x * (1 - mask) == 0).all()
    assert (x * mask != 0).any()


def test_off_board_cells_do_not_bear_on_a_hexagonal_board() -> None:
    """The hexagon on a larger picture, that is with more emptiness around, gives the same trunk."""
    net, (planes, scalars, _, _) = network("hex8", 2, blocks=4), inputs("hex8", 2)
    with torch.no_grad():
        narrow = net.trunk(planes, scalars)
        wide = nn.functional.pad(planes, (0, 0, 2, 2, 2, 2))
        net.mask = nn.functional.pad(net.mask, (2, 2, 2, 2))
        torch.testing.assert_close(net.trunk(wide, scalars)[:, :, 2:-2, 2:-2], narrow)


@pytest.mark.parametrize("players", [2, 3, 4])
def test_new_network_is_near_uniform(players: int) -> None:
    torch.manual_seed(players)
    net = Network(architecture("small", "hex8", players)).eval()
    planes, scalars, position, action = inputs("hex8", players, 16)
    with torch.no_grad():
        heads = net(planes, scalars, position, action)
    assert heads.logits.abs().max() < 0.5
    assert (heads.value.softmax(1) - 1 / players).abs().max() < 0.1


def loss_of(heads: Heads) -> Tensor:
    return sum((head.square().mean() for head in heads), torch.zeros(()))


def backward(loss: Tensor) -> None:
    loss.backward()  # type: ignore[no-untyped-call]


def test_every_weight_has_a_gradient() -> None:
    net, given = network("hex8", 3, blocks=4).train(), inputs("hex8", 3)
    backward(loss_of(net(*given)))
    still = [
        name
        for name, weight in net.named_parameters()
        if weight.grad is None or not (weight.grad != 0).any()
    ]
    assert not still


def test_learns_a_handful_of_positions_by_heart() -> None:
    torch.manual_seed(0)
    net = Network(architecture("tiny", "hex8", 2)).train()
    planes, scalars, position, action = inputs("hex8", 2, 8)
    winner = torch.arange(8) % 2
    optimiser = torch.optim.Adam(net.parameters(), 0.01)
    losses = []
    for _ in range(40):
        heads = net(planes, scalars, position, action)
        policy = torch.zeros(())
        for i in range(8):
            policy = policy - heads.logits[position == i].log_softmax(0)[i % 3] / 8
        loss = policy + nn.functional.cross_entropy(heads.value, winner)
        optimiser.zero_grad()
        backward(loss)
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[0] > 3
    assert losses[-1] < 0.3


def test_same_seed_same_network() -> None:
    made = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        made.append(Network(architecture("tiny", "hex8", 2)).stem.weight)
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])
