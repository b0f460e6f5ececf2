"""The functions made of vector instructions, against plain sums."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ringrift_cli.game.topology import BOARD_NAMES
from ringrift_cli.nn.packed import in_columns, shape_of, transformed
from ringrift_cli.nn.vector import (
    COLUMNS,
    FROM_INPUT,
    FROM_WEIGHT,
    POINTS,
    ROWS,
    TILE,
    TO_RESULT,
)
from tests.nn.networks import network


def test_a_tile_transformed_there_and_back_is_the_convolution() -> None:
    rng = np.random.default_rng(0)
    to_points, from_weight, to_result = map(np.array, (FROM_INPUT, FROM_WEIGHT, TO_RESULT))
    for _ in range(20):
        inputs, weight = rng.normal(size=(POINTS, POINTS)), rng.normal(size=(3, 3))
        points = (from_weight @ weight @ from_weight.T) * (to_points @ inputs @ to_points.T)
        windows = np.lib.stride_tricks.sliding_window_view(inputs, (3, 3))
        expected = np.einsum("ijkl,kl->ij", windows, weight)
        np.testing.assert_allclose(to_result @ points @ to_result.T, expected, atol=1e-12)


def test_weights_lie_as_the_products_read_them() -> None:
    weight = torch.randn(COLUMNS + 3, 5, 3, 3, dtype=torch.float64)
    laid = transformed(weight, 2 * COLUMNS).reshape(POINTS, POINTS, 2, 5, COLUMNS)
    g = np.array(FROM_WEIGHT)
    for out, source in ((0, 0), (COLUMNS + 2, 4)):
        expected = g @ weight[out, source].numpy() @ g.T
        found = laid[:, :, out // COLUMNS, source, out % COLUMNS]
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert not laid[:, :, 1, :, 3:].any()
    matrix = np.arange(4 * 2 * COLUMNS, dtype=np.float32).reshape(4, 2 * COLUMNS)
    assert in_columns(matrix)[1, 3, 0] == matrix[3, COLUMNS]


@pytest.mark.parametrize("board", BOARD_NAMES)
def test_blocks_are_well_filled_and_stay_in_the_picture(board: str) -> None:
    s = shape_of(network(board, 4))
    tiles = s.together * s.side * s.side
    assert tiles >= 0.9 * ROWS * -(-tiles // ROWS)
    assert s.side * TILE >= s.width
    described = -(-s.width * s.picture // ROWS) * ROWS
    assert s.picture + described <= s.picture * s.picture
    assert s.padded % COLUMNS == s.policy % COLUMNS == 0
