"""Weights of a network for another board or number of players.

The trunk works on any board. A policy plane takes the weights of the plane of the same kind,
direction and option, at the same distance or the longest there is. Further opponents take the
weights of the last one. What has no counterpart (a direction that hexagonal boards lack) stays as
in a new network.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ringrift_cli.game import layout as L
from ringrift_cli.game.topology import Board, board_named
from ringrift_cli.nn import features as F
from ringrift_cli.nn.network import Architecture, Network

Plane = tuple[str, object, int]  # kind, direction or option, distance


def policy_planes(board: Board) -> list[Plane]:
    """The planes of the action space in order (docs/actions.md), and the actions without a cell."""
    far, ways = board.max_distance, board.directions
    planes: list[Plane] = [("place", option, 0) for option in range(3)]
    planes += [("move", way, distance) for way in ways for distance in range(1, far + 1)]
    planes += [("capture", way, distance) for way in ways for distance in range(2, far + 1)]
    planes += [("recover", (option, way), 0) for option in range(3) for way in ways]
    planes += [(kind, axis, 0) for kind in ("line_all", "line_part") for axis in board.axes]
    planes += [("eliminate", 0, 0), ("extract", 0, 0)]
    planes += [("region", option, 0) for option in range(5)]
    planes += [("forced", 0, 0)]
    return planes + [("global", option, 0) for option in range(L.GLOBALS)]


def transferred(network: Network, board: str, players: int, seed: int = 0) -> Network:
    """A network of the same size for another pool, in evaluation mode; the seed fills what is new.

    A network of the pool itself is returned as it is.
    """
    own = network.architecture
    if (own.board, own.players) == (board, players):
        return network
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = Network(
            Architecture(board, players, own.blocks, own.channels, own.policy, own.hidden)
        )
    new, old = made.state_dict(), network.state_dict()
    seats = [min(seat, own.players - 1) for seat in range(players)]
    planes = _blocks(seats, own.players, F.SEAT_PLANES, F.SHARED_PLANES)
    scalars = _blocks(seats, own.players, F.SEAT_SCALARS, F.SHARED_SCALARS)
    scalars += [F.SEAT_SCALARS * own.players + F.SHARED_SCALARS + seat for seat in seats]
    pooled = 2 * own.channels
    columns = {
        "stem.weight": planes,
        "stem_scalars.weight": scalars,
        "value_hidden.weight": [*range(pooled), *(pooled + scalar for scalar in scalars)],
    }
    rows = {
        "value.weight": seats,
        "value.bias": seats,
        "eliminated.weight": seats,
        "eliminated.bias": seats,
        "owner.weight": [0, *(1 + seat for seat in seats)],
        "owner.bias": [0, *(1 + seat for seat in seats)],
    }
    known, wanted = _counterparts(board_named(own.board), own.players, board_named(board))
    for name, tensor in old.items():
        if name in ("policy_here", "policy_there", "policy_bias"):
            new[name][wanted] = tensor[known]
        elif name in columns:
            new[name] = tensor[:, columns[name]]
        else:
            new[name] = tensor[rows[name]] if name in rows else tensor
    made.load_state_dict(new)
    return made.eval()


def _blocks(seats: list[int], players: int, each: int, shared: int) -> list[int]:
    """Old indices of features that come by seat, `each` of them, and then `shared` ones."""
    by_seat = [each * seat + feature for seat in seats for feature in range(each)]
    return [*by_seat, *(each * players + feature for feature in range(shared))]


def _counterparts(old: Board, players: int, new: Board) -> tuple[Tensor, Tensor]:
    """Planes of the old board, and the planes of the new one that take their weights.

    `players` is the number that the old network knows.
    """
    number = {plane: index for index, plane in enumerate(policy_planes(old))}
    pairs = []
    for index, (kind, way, distance) in enumerate(policy_planes(new)):
        seat = min(way, players) if kind == "region" and isinstance(way, int) else way  # 1 to 4
        found = number.get((kind, seat, min(distance, old.max_distance)))
        if found is not None:
            pairs.append((found, index))
    known, wanted = torch.tensor(pairs).T
    return known, wanted
