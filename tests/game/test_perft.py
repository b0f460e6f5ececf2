"""Counts of decision sequences: as they were, and as a slow independent expansion finds them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ringrift_cli.errors import UsageError
from ringrift_cli.game.perft import Perft
from ringrift_cli.game.topology import BOARD_NAMES, PLAYER_COUNTS
from tests.reference import ReferenceGame

# Sequences of 1, 2, ... decisions from the start. A first turn is a placement and the move of that
# stack, so up to the fourth decision it does not matter how many players are to come.
COUNTS = {
    ("square8", 2): (192, 3_192, 596_904, 9_666_692),
    ("square8", 3): (192, 3_192, 596_904, 9_666_692),
    ("square8", 4): (192, 3_192, 596_904, 9_666_692),
    ("hex8", 2): (183, 2_430, 432_540, 5_583_042),
    ("hex8", 3): (183, 2_430, 432_540, 5_583_042),
    ("hex8", 4): (183, 2_430, 432_540, 5_583_042),
    ("square19", 2): (1_083, 56_520, 60_928_560),
    ("square19", 3): (1_083, 56_520, 60_928_560),
    ("square19", 4): (1_083, 56_520, 60_928_560),
    ("hexagonal", 2): (1_407, 70_062, 98_226_924),
    ("hexagonal", 3): (1_407, 70_062, 98_226_924),
    ("hexagonal", 4): (1_407, 70_062, 98_226_924),
}
PIE_COUNTS = {
    "square8": (192, 3_192, 600_096, 10_263_596),
    "hex8": (183, 2_430, 434_970, 6_015_582),
}
DEEP_COUNTS = {
    ("square8", 2, 5): 1_508_662_988,
    ("square8", 3, 5): 1_500_477_516,
    ("square8", 4, 5): 1_500_477_516,
    ("hex8", 2, 5): 852_104_184,
    ("hex8", 3, 5): 847_244_082,
    ("hex8", 4, 5): 847_244_082,
    ("square19", 2, 4): 3_154_944_888,
    ("square19", 3, 4): 3_154_944_888,
    ("hexagonal", 2, 4): 4_857_426_042,
    ("hexagonal", 3, 4): 4_857_426_042,
}


@pytest.mark.parametrize(("board", "players"), COUNTS)
def test_counts(board: str, players: int) -> None:
    game = Perft(board, players)
    counts = COUNTS[board, players]
    assert tuple(game.count(depth) for depth in range(1, len(counts) + 1)) == counts


def test_counts_cover_every_game() -> None:
    assert set(COUNTS) == {(board, n) for board in BOARD_NAMES for n in PLAYER_COUNTS}


@pytest.mark.parametrize("board", PIE_COUNTS)
def test_counts_with_the_pie_rule(board: str) -> None:
    game = Perft(board, 2, pie=True)
    counts = PIE_COUNTS[board]
    assert tuple(game.count(depth) for depth in range(1, len(counts) + 1)) == counts


def test_swap_adds_one_answer_to_each_opening_turn() -> None:
    turns = Perft("square8", 2).count(2)
    assert Perft("square8", 2, pie=True).count(3) - Perft("square8", 2).count(3) == turns


@pytest.mark.long
@pytest.mark.parametrize(("board", "players", "depth"), DEEP_COUNTS)
def test_deep_counts(board: str, players: int, depth: int) -> None:
    assert Perft(board, players).count(depth) == DEEP_COUNTS[board, players, depth]


# ---- against the reference -----------------------------------------------------------------------


def slow_count(board: str, players: int, pie: bool, moves: Sequence[str], depth: int) -> int:
    """Sequences of `depth` decisions after the moves, by playing every one of them."""
    game = ReferenceGame(board, players, pie)
    for move in moves:
        game.play(move)
    legal = game.legal()
    if depth == 1:
        return len(legal)
    return sum(slow_count(board, players, pie, [*moves, move], depth - 1) for move in legal)


@pytest.mark.parametrize("players", PLAYER_COUNTS)
@pytest.mark.parametrize("board", ["square8", "hex8"])
def test_small_boards_agree_with_the_reference(board: str, players: int) -> None:
    legal = ReferenceGame(board, players, False).legal()
    slow = {move: slow_count(board, players, False, [move], 1) for move in legal}
    assert dict(Perft(board, players).divide(2)) == slow


@pytest.mark.parametrize("players", PLAYER_COUNTS)
@pytest.mark.parametrize("board", ["square19", "hexagonal"])
def test_large_boards_agree_with_the_reference(board: str, players: int) -> None:
    legal = ReferenceGame(board, players, False).legal()
    fast = dict(Perft(board, players).divide(2))
    assert set(fast) == set(legal)
    for move in legal[:: len(legal) // 12]:
        assert fast[move] == slow_count(board, players, False, [move], 1)


@pytest.mark.parametrize(
    ("board", "players", "pie"),
    [("square8", 2, True), ("square8", 3, False), ("hex8", 2, True), ("hex8", 4, False)],
)
def test_three_decisions_agree_with_the_reference(board: str, players: int, pie: bool) -> None:
    fast = dict(Perft(board, players, pie=pie).divide(3))
    for move in list(fast)[::60]:
        assert fast[move] == slow_count(board, players, pie, [move], 2)


# ---- usage ---------------------------------------------------------------------------------------


def test_divide_adds_up_to_the_count() -> None:
    game = Perft("hex8", 2)
    by_move = dict(game.divide(3))
    assert len(by_move) == game.first_moves == 183
    assert sum(by_move.values()) == game.count(3)
    assert set(dict(game.divide(1)).values()) == {1}


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(UsageError, match="hex9"):
        Perft("hex9", 2)
    with pytest.raises(UsageError, match="not 5"):
        Perft("hex8", 5)
