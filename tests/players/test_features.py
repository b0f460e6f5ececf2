"""Every feature against plain Python, and whether every weight changes play."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ringrift_cli.game import playout
from ringrift_cli.game.position import Position
from ringrift_cli.game.topology import IntArray, tables
from ringrift_cli.players import scoring
from ringrift_cli.players.features import FEATURES, NAMES, N, units
from ringrift_cli.players.heuristic import effective_weights
from ringrift_cli.players.profiles import profile_named
from tests.players.reference_features import Reference
from tests.walks import CONFIGURATIONS, SMALL, positions

RARE = {"recovery", "forced", "stranded", "last_standing"}  # not in every handful of games


def compare(position: Position) -> set[str]:
    """Compares all features of a position; returns those that are not 0 for all seats."""
    T = tables(position.board_name, position.players)
    counts = scoring.count_all(T, position.row[None])[0]
    reference = Reference(position)
    for p in range(position.players):
        expected = reference.count(p)
        found = dict(zip(NAMES, counts[p].tolist(), strict=True))
        wrong = {n: (expected[n], found[n]) for n in NAMES if expected[n] != found[n]}
        assert not wrong, f"seat {p} of {position}: expected, found {wrong}"
    return {name for name, column in zip(NAMES, counts.T, strict=True) if column.any()}


@pytest.mark.parametrize(("board", "players"), SMALL)
def test_features_agree_with_plain_python(board: str, players: int) -> None:
    seen: set[str] = set()
    for seed in range(4):
        for position in positions(board, players, seed):
            if not position.is_over and position.ply % 5 == seed:
                seen |= compare(position)
    assert set(NAMES) - seen <= {*RARE, "triples"}


@pytest.mark.parametrize(("board", "players"), [c for c in CONFIGURATIONS if c not in SMALL])
def test_features_agree_with_plain_python_on_large_boards(board: str, players: int) -> None:
    compared = 0
    for position in positions(board, players, 1, 600):
        if not position.is_over and position.ply % 60 == 7:
            compare(position)
            compared += 1
    assert compared >= 5


def test_rare_features_occur() -> None:
    seen: set[str] = set()
    for seed in range(40):
        for position in positions("hex8", 2, seed):
            if not position.is_over and (not position.hands[0] or not position.hands[1]):
                seen |= compare(position)
        if seen >= RARE:
            return
    pytest.fail(f"never seen: {sorted(RARE - seen)}")


def test_units_make_boards_alike() -> None:
    hex8, hexagonal = units(tables("hex8", 2)), units(tables("hexagonal", 2))
    markers = NAMES.index("markers")
    assert hex8[markers] == 1.0
    assert hexagonal[markers] == pytest.approx(61 / 469)
    assert len(FEATURES) == N == len(hex8)


def choose(T: IntArray, rows: IntArray, weights: scoring.FloatArray) -> list[int]:
    """The best action of each row; the first of equals."""
    actions, offsets = playout.list_all(T, rows)
    which = np.zeros(len(rows), np.int64)
    scores, _ = scoring.score_all(T, rows, actions, offsets, weights[None], which)
    spans = itertools.pairwise(offsets)
    return [int(actions[a + np.argmax(scores[a:b])]) for a, b in spans]


@pytest.mark.parametrize(("board", "players"), [("square8", 2), ("hex8", 3), ("square8", 4)])
def test_every_weight_changes_play(board: str, players: int) -> None:
    T = tables(board, players)
    weights = effective_weights(profile_named("default", board, players))
    expected = ["triples"] if players > 2 else []  # there three in a row are a line
    idle = [name for name in NAMES if name not in expected]
    for first in range(0, 60, 6):
        seeds = range(first, first + 6)
        found = [p for seed in seeds for p in positions(board, players, seed) if not p.is_over]
        rows = np.stack([p.row for p in found])
        usual = choose(T, rows, weights)
        for name in list(idle):
            i, changed = NAMES.index(name), weights.copy()
            changed[i] = 50 * units(T)[i] if weights[i] <= 0 else -50 * units(T)[i]
            if choose(T, rows, changed) != usual:
                idle.remove(name)
        if not idle:
            return
    assert idle == []
