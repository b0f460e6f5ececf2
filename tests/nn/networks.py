"""Networks and positions for the tests of this package."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ringrift_cli.game.playout import LongArray, list_all
from ringrift_cli.game.position import Position
from ringrift_cli.game.topology import IntArray, tables
from ringrift_cli.nn.network import Architecture, Network
from tests.walks import positions


def randomised(net: Network) -> Network:
    """The network with numbers that all matter, of norms too, in evaluation mode."""
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 2)
                module.weight.normal_(0.5, 0.3)
                module.bias.normal_(0, 0.3)
        for weight in (net.policy_here, net.policy_there, net.policy_bias, net.value.weight):
            weight.normal_(0, 0.3)
        for layer in (net.policy_pooled, net.policy_global, net.value_hidden, net.value):
            layer.bias.normal_(0, 0.3)
    return net.eval()


def network(board: str, players: int, seed: int = 0, blocks: int = 2) -> Network:
    """A small network, randomised."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return randomised(Network(Architecture(board, players, blocks, 16, 8, 12)))


def drawn(board: str, players: int, count: int, seed: int = 1) -> list[Position]:
    """`count` positions with decisions, from all of the first part of a random game."""
    plies = 40 + 20 * players
    game = [p for p in positions(board, players, seed, plies) if not p.is_over]
    return [game[i * len(game) // count] for i in range(count)]


def rows_of(drawn: list[Position]) -> tuple[IntArray, IntArray, LongArray]:
    """Rows, legal actions and offsets of positions of one board."""
    rows = np.stack([position.row for position in drawn])
    actions, offsets = list_all(tables(drawn[0].board_name, drawn[0].players), rows)
    return rows, actions, offsets
