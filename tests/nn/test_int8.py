"""Inference in int8: near to float32 on every board, exact in what it repeats."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ringrift_cli.errors import UsageError
from ringrift_cli.game import layout as L
from ringrift_cli.game.topology import tables
from ringrift_cli.nn.checkpoint import identity_of, load
from ringrift_cli.nn.evaluator import NetworkEvaluator, picked_precision
from ringrift_cli.nn.int8 import HAS_VNNI, RANGE_STEPS, quantised, random_rows, ranges
from ringrift_cli.nn.network import Network, architecture
from ringrift_cli.nn.vector import COLUMNS
from ringrift_cli.players.model import checkpoint_named
from tests.nn.networks import drawn, network, randomised, rows_of
from tests.walks import CONFIGURATIONS

needs_vnni = pytest.mark.skipif(not HAS_VNNI, reason="requires AVX512-VNNI")


def assert_near(net: Network, board: str, players: int, count: int) -> None:
    given = rows_of(drawn(board, players, count))
    judge = NetworkEvaluator(net, precision="int8")
    found = judge.evaluate(*given)
    expected = NetworkEvaluator(net, precision="float32").evaluate(*given)
    off = (found[0] - expected[0]) / expected[0].std()
    assert 0 < np.sqrt((off**2).mean()) < 0.1
    assert np.abs(found[1] - expected[1]).max() < 0.05
    assert judge.identity == f"{identity_of(net)}-int8"


@needs_vnni
@pytest.mark.parametrize(("board", "players"), CONFIGURATIONS)
def test_comes_near_on_every_board(board: str, players: int) -> None:
    assert_near(network(board, players, blocks=4), board, players, 7)


@needs_vnni
@pytest.mark.parametrize("size", ["tiny", "small", "medium"])
def test_comes_near_in_every_width(size: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        net = randomised(Network(architecture(size, "hex8", 2)))
    assert_near(net, "hex8", 2, 5)


@needs_vnni
def test_a_trained_network_plays_the_same() -> None:
    path, _ = checkpoint_named("shipped", "hex8", 2)
    net, (rows, actions, offsets) = load(path).network, rows_of(drawn("hex8", 2, 50))
    found, expected = (
        NetworkEvaluator(net, precision=precision).evaluate(rows, actions, offsets)
        for precision in ("int8", "float32")
    )
    divergences = []
    for i in range(len(rows)):
        own = slice(offsets[i], offsets[i + 1])
        p, q = (np.exp(x[0][own] - np.logaddexp.reduce(x[0][own])) for x in (expected, found))
        divergences.append((p * np.log(p / q)).sum())
    assert np.mean(divergences) < 0.002
    assert np.sqrt(((found[1] - expected[1]) ** 2).mean()) < 0.02


@needs_vnni
def test_rows_do_not_influence_each_other() -> None:
    rows, actions, offsets = rows_of(drawn("hex8", 3, 21))
    judge = NetworkEvaluator(network("hex8", 3), precision="int8")
    whole = judge.evaluate(rows, actions, offsets)
    for i in reversed(range(len(rows))):
        own = slice(offsets[i], offsets[i + 1])
        found = judge.evaluate(rows[i : i + 1], actions[own], offsets[i : i + 2] - offsets[i])
        assert np.array_equal(found[0], whole[0][own])
        assert np.array_equal(found[1], whole[1][i : i + 1])


def test_ranges_are_reproducible_and_hold_for_their_positions() -> None:
    net = network("square8", 2)
    found = ranges(net)
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    again = ranges(net)
    torch.set_num_threads(threads)
    assert np.array_equal(found, again)
    assert found.shape == (2 * 2 + 1, 16)
    steps = np.log2(found / found.max(1, keepdims=True)) * RANGE_STEPS
    assert steps.min() >= -4 * RANGE_STEPS - 1
    norm = net.residual_blocks()[0].norm1
    with torch.no_grad():
        norm.weight.mul_(2)
        norm.bias.mul_(2)
    np.testing.assert_allclose(ranges(net)[1], 2 * found[1], rtol=1e-6)


@pytest.mark.parametrize("board", ["square8", "hexagonal"])
def test_random_rows_are_of_games_under_way(board: str) -> None:
    rows = random_rows(board, 3)
    assert (rows[:, L.PHASE] != L.OVER).all()
    assert len(np.unique(rows, axis=0)) > 0.8 * len(rows)
    assert len(rows) * int(tables(board, 3)[L.T_CELLS]) <= 1 << 14


def test_weights_lie_as_the_products_read_them() -> None:
    weight = torch.randn(COLUMNS + 2, 6, 3, 3, dtype=torch.float64)
    steps = np.linspace(0.1, 0.3, 6, dtype=np.float32)
    laid, factors = quantised(weight, steps, 2 * COLUMNS)
    laid = laid.reshape(2, 9, 2, COLUMNS, 4)
    for out, source in ((0, 0), (COLUMNS + 1, 5)):
        expected = weight[out, source].numpy().ravel() * steps[source]
        found = laid[out // COLUMNS, :, source // 4, out % COLUMNS, source % 4] * factors[out]
        np.testing.assert_allclose(found, expected, atol=0.51 * factors[out])
    assert np.abs(laid).max() == 127
    assert not laid[:, :, 1, :, 2:].any()
    assert not factors[COLUMNS + 2 :].any()


def test_is_for_cpus_only() -> None:
    with pytest.raises(UsageError, match="int8 on CPUs only") as caught:
        picked_precision("int8", torch.device("cuda"), 32)
    assert caught.value.hint == "precision=auto"
