"""Ahead-of-time compilation of network functions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ringrift_cli.game.playout import list_all
from ringrift_cli.game.position import Position
from ringrift_cli.game.topology import tables
from ringrift_cli.game.warm import OnNotice, compile_package, ignore
from ringrift_cli.nn import features, symmetry


def compile_network(
    notice: OnNotice = ignore, on_function: Callable[[], None] = lambda: None
) -> None:
    """Compiles the network functions unless cached; requires compiled rules."""
    compile_package("nn", "the networks' functions", _call_all, notice, on_function)


def _call_all() -> None:
    from ringrift_cli.nn.network import Network, architecture  # they load torch
    from ringrift_cli.nn.packed import PackedNetwork

    T = tables("square8", 2)
    start = Position.initial("square8")
    rows = np.stack([start.row, start.row])
    actions, offsets = list_all(T, rows)
    features.encode_all(T, rows)
    symmetry.transform_all("square8", 2, rows, actions, offsets, np.array([0, 1]))
    PackedNetwork(Network(architecture("tiny", "square8", 2))).evaluate(rows, actions, offsets)
