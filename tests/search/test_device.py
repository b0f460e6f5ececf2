"""The search on a GPU: its kernels compile for one, and in the simulator it is the CPU's search."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from ringrift_cli.game.cuda.device import Device
from ringrift_cli.game.playout import game_seeds
from ringrift_cli.game.topology import IntArray, tables
from ringrift_cli.nn.cuda.evaluator import DeviceNetwork
from ringrift_cli.nn.folded import Folded
from ringrift_cli.nn.network import Network, architecture
from ringrift_cli.search.cuda import memory
from ringrift_cli.search.cuda.check import Arithmetic, DeviceArithmetic, Trace, trace
from ringrift_cli.search.cuda.forest import DeviceForest
from ringrift_cli.search.forest import Forest
from ringrift_cli.selfplay.actor import Actor
from ringrift_cli.selfplay.forests import on_cpu
from tests import device_jobs
from tests.ptx import TARGETS, PtxDevice, Target
from tests.simulated import simulate
from tests.walks import Walk

SEARCH = ["begin_kernel", "expand_kernel", "play_kernel", "simulate_kernel"]
NETWORK = ["chances_kernel", "encode_kernel", "logits_kernel"]


@pytest.mark.parametrize("target", TARGETS)
def test_the_search_compiles_without_a_gpu(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    T, device = tables("hex8", 2), PtxDevice(target, monkeypatch)
    network = Network(architecture("tiny", "hex8", 2)).eval()
    folded = Folded(network, torch.device("cpu"), torch.float32)
    forest = DeviceForest(T, 4, DeviceArithmetic(2, device), device, simulations=4)
    forest.step()
    forest.play(np.array([0]), np.array([0]))
    assert device.kernels() == SEARCH
    DeviceForest(T, 4, DeviceNetwork(folded, T, 4, device), device, simulations=4).step()
    assert device.kernels() == sorted([*SEARCH, *NETWORK, "expand_kernel"])  # of other logits


# ---- memory --------------------------------------------------------------------------------------


@pytest.mark.parametrize("players", [2, 3, 4])
@pytest.mark.parametrize("board", ["hexagonal", "hex8"])
def test_memory_is_what_its_docstring_says(board: str, players: int) -> None:
    class OnCpu(Device):
        def __init__(self) -> None:
            self.torch = torch.device("cpu")

    T = tables(board, players)
    room = memory.room_for(T, 64)
    one = memory.allocate(T, 1, room, 16, OnCpu())
    logits = 4 * one.lists.shape[1]
    tensors = [*one.trees, *one.plans, *one[2:]]
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    assert size + logits == memory.bytes_needed(T, 1, room)
    assert room.edges >= one.lists.shape[1]  # any one position fits
    if board == "hexagonal":  # 1,024 games, and most of 16 GB is left for the network
        assert memory.bytes_needed(T, 1024, room) < 6.3e9


# ---- in the simulator ----------------------------------------------------------------------------


def with_choice(board: str, players: int, plies: list[int]) -> IntArray:
    """Positions of random games near these decisions, each with two legal actions or more."""
    rows = []
    for seed, ply in enumerate(plies):
        walk = Walk(board, players, seed)
        for before, _, _ in walk.steps():
            if before.ply >= ply and len(before.legal_actions()) > 1:
                rows.append(before.row)
                break
    assert len(rows) > len(plies) // 2  # the others are of games that were over before
    return np.stack(rows)


@pytest.mark.parametrize(
    ("board", "players", "plies", "simulations", "decisions"),
    [
        ("hex8", 2, [0, 1, 2, 20, 40, 50, 60, 70, 75], 20, 4),
        ("square8", 4, [0, 30, 50, 70], 10, 2),
        ("hexagonal", 3, [200], 4, 1),
        pytest.param("square8", 2, [*range(0, 80, 4)], 64, 8, marks=pytest.mark.long),
        pytest.param("hex8", 3, [*range(0, 100, 5)], 64, 3, marks=pytest.mark.long),
        pytest.param("square19", 2, [0, 100, 200, 300], 16, 3, marks=pytest.mark.long),
    ],
)
def test_the_search_is_that_of_the_cpu(
    board: str, players: int, plies: list[int], simulations: int, decisions: int, tmp_path: Path
) -> None:
    """In half of these games there is a pie rule (walks.py), and some end on the way."""
    rows = with_choice(board, players, plies)
    seeds, considered = game_seeds(3, 0, len(rows)), 8
    forest = Forest(tables(board, players), len(rows), Arithmetic(players), considered=considered)
    expected = trace(forest, rows, seeds, decisions, simulations, considered)
    told = simulate(
        device_jobs.search,
        {
            "board": np.array(board), "players": np.array(players), "rows": rows, "seeds": seeds,
            "simulations": np.array(simulations), "considered": np.array(considered),
            "decisions": np.array(decisions),
        },
        tmp_path,
    )  # fmt: skip
    assert int(told.pop("evaluated")) == forest.evaluated
    assert int(told.pop("cramped")) == 0
    found = Trace(**told)
    assert found.differing(expected) == 0
    for name, array in found.arrays().items():
        assert (array == expected.arrays()[name]).all(), name  # to the last bit


def test_self_play_is_that_of_the_cpu(tmp_path: Path) -> None:
    given = {"board": np.array("hex8"), "players": np.array(2), "games": np.array(2)}
    told = simulate(device_jobs.selfplay, given, tmp_path)
    forest = on_cpu("hex8", 2, device_jobs.QUICK, Arithmetic(2), 2)
    left, ended = iter(range(2)), itertools.count()
    actor = Actor("hex8", 2, device_jobs.QUICK, forest, lambda: next(left, None), seed=3)
    while actor.playing:
        for game in actor.step():
            number = next(ended)
            assert (told[f"actions-{number}"] == game.actions).all()
            assert (told[f"targets-{number}"] == game.targets).all()
    assert next(ended) == 2
    assert told["evaluations"] == actor.counts.evaluations


def test_traces_that_differ_are_told_apart() -> None:
    rows = with_choice("hex8", 2, [0, 20, 30])
    seeds, T = game_seeds(1, 0, 3), tables("hex8", 2)

    def traced(simulations: int) -> Trace:
        return trace(Forest(T, 3, Arithmetic(2), considered=4), rows, seeds, 2, simulations, 4)

    assert traced(8).differing(traced(8)) == 0
    assert traced(8).differing(traced(9)) > 0
    assert traced(8).differing(trace(Forest(T, 3, Arithmetic(2)), rows, seeds, 1, 8, 4)) > 0
