"""The engine against the reference from boards that no game would lead to.

Cells are filled at random, from almost empty to almost full: crossing lines, borders within
borders, towers and players on their last ring stand side by side. From there both play on.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from ringrift_cli.errors import NotationError
from ringrift_cli.game.notation import PositionText
from ringrift_cli.game.position import Position
from ringrift_cli.game.topology import BOARDS
from tests.plain import check_row
from tests.reference import NEXT_PHASE, ReferenceGame
from tests.walks import CONFIGURATIONS, SMALL

PHASES = ("ring_placement", "movement", "line_processing", "territory_processing")
PLIES = 12


def random_cells(rng: np.random.Generator, board: str, players: int) -> list[str]:
    """Text of every cell; the owners in parts of the board, as games have them."""
    info = BOARDS[board]
    shares = rng.dirichlet([0.8, 1.0, 0.6, 0.5])  # empty, markers, territory, stacks
    favour = rng.dirichlet(np.full(players, 0.7), size=4)  # owners by quarter of the board
    left = [info.rings] * players
    texts = []
    for column, row in info.cells:
        quarter = 2 * (2 * column < info.width) + (2 * row < info.width)
        kind = rng.choice(4, p=shares)
        if kind in (1, 2):
            texts.append("-mc"[kind] + str(rng.choice(players, p=favour[quarter]) + 1))
            continue
        stack = ""
        for _ in range(int(rng.geometric(0.45)) if kind == 3 else 0):
            p = int(rng.choice(players, p=favour[quarter]))
            if left[p] > 0:
                left[p] -= 1
                stack += str(p + 1)
        texts.append("s" + stack if stack else "")
    return texts


def random_text(rng: np.random.Generator, board: str, players: int) -> PositionText:
    """A position; hands and eliminated rings as they come, below what would have won."""
    info, cells = BOARDS[board], random_cells(rng, board, players)
    on_board = Counter("".join(text[1:] for text in cells if text.startswith("s")))
    spare = [info.rings - on_board[str(p + 1)] for p in range(players)]
    hands = [int(rng.integers(0, n + 1)) if rng.random() < 0.6 else 0 for n in spare]
    gone = sum(spare) - sum(hands)
    eliminated = [int(n) for n in rng.multinomial(gone, rng.dirichlet(np.full(players, 3.0)))]
    seat = int(rng.integers(players)) + 1
    phase = PHASES[int(rng.integers(len(PHASES)))]
    return PositionText(board, players, tuple(cells), seat, phase, tuple(hands), tuple(eliminated))


def is_decided(text: PositionText) -> bool:
    """Whether a real game would not have come here: someone has won, or the mover is out."""
    info = BOARDS[text.board]
    land = [text.cells.count(f"c{p + 1}") for p in range(text.players)]
    rings = "".join(cell[1:] for cell in text.cells if cell.startswith("s"))
    if text.hands[text.seat - 1] == 0 and str(text.seat) not in rings:
        return True
    return max(text.eliminated) >= info.elimination_threshold(text.players) or any(
        n >= info.territory_threshold(text.players) and 2 * n > sum(land) for n in land
    )


def reference_at(text: PositionText) -> ReferenceGame:
    """The reference at a position, with what `Position.from_text` takes as known."""
    game = ReferenceGame(text.board, text.players, False)
    info = BOARDS[text.board]
    for cell, content in enumerate(text.cells):
        if content.startswith("s"):
            game.at.stacks[info.coordinates(cell)] = [int(ring) for ring in content[1:]]
        elif content:
            held = game.at.markers if content[0] == "m" else game.at.collapsed
            held[info.coordinates(cell)] = int(content[1])
    game.at.hand = dict(zip(game.seats, text.hands, strict=True))
    game.at.eliminated = dict(zip(game.seats, text.eliminated, strict=True))
    game.first_seat, game.record = None, {}
    if text.phase == "ring_placement":
        game.begin_turn(text.seat)
    else:
        assert text.phase in NEXT_PHASE
        game.seat, game.phase, game.acted = text.seat, text.phase, True
        game.moving = None
    game.settle()
    return game


def play_on(text: PositionText, rng: np.random.Generator, plies: int) -> int:
    """Plays both sides in step; how many decisions there were."""
    game = reference_at(text)
    try:
        position = Position.from_text(str(text))
    except NotationError:
        assert game.reason is not None, str(text)  # it is over at once: the text does not say who
        return 0
    for ply in range(plies):
        here = f"from {text}\nat {position}"
        check_row(position)
        assert str(position) == game.text(), here
        own, expected = sorted(position.legal_moves()), sorted(game.legal())
        assert own == expected, f"{here}\n{set(own) ^ set(expected)}"
        if not own:
            result = position.result()
            assert result is not None
            assert (result.winner, result.reason) == (game.winner, game.reason), here
            assert list(result.ranks) == game.ranks(), here
            return ply
        kinds = sorted({move.split()[0] for move in own})
        kind = kinds[int(rng.integers(len(kinds)))]
        moves = [move for move in own if move.split()[0] == kind]
        move = moves[int(rng.integers(len(moves)))]
        position = position.play(move)
        game.play(move)
    return plies


def explore(board: str, players: int, boards: range) -> int:
    decisions = 0
    for number in boards:
        rng = np.random.default_rng([number, players, len(board)])
        text = random_text(rng, board, players)
        if not is_decided(text):
            decisions += play_on(text, rng, PLIES)
    return decisions


@pytest.mark.parametrize(("board", "players"), SMALL)
def test_both_play_on_alike(board: str, players: int) -> None:
    assert explore(board, players, range(90)) > 200


@pytest.mark.parametrize(("board", "players"), sorted(set(CONFIGURATIONS) - set(SMALL)))
def test_both_play_on_alike_on_large_boards(board: str, players: int) -> None:
    assert explore(board, players, range(4)) > 5


@pytest.mark.long
@pytest.mark.parametrize(("board", "players"), CONFIGURATIONS)
def test_both_play_on_alike_long(board: str, players: int) -> None:
    boards = 1_000 if (board, players) in SMALL else 60
    assert explore(board, players, range(1_000, 1_000 + boards)) > boards
