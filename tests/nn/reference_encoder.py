"""The features counted again in plain Python, from what a saved position says."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ringrift_cli.game.notation import PHASES
from ringrift_cli.game.position import Position
from ringrift_cli.game.topology import BOARDS
from tests.walks import saved

OWED = ("nothing", "ring", "cap", "extraction", "buried_extraction", "line")
PIE = ("off", "on", "swapped")


def planes(position: Position) -> npt.NDArray[np.int64]:
    """[W, W, C]."""
    board, players = BOARDS[position.board_name], position.players
    picture = np.zeros((board.width, board.width, 10 * players + 13), np.int64)
    shared = 10 * players
    for (column, row), text in zip(board.cells, position.text.cells, strict=True):
        cell = picture[row, column]
        cell[shared] = 1
        owners = [(int(seat) - position.seat) % players for seat in text[1:]]
        if text[:1] == "m":
            cell[10 * owners[0] + 1] = 1
        elif text[:1] == "c":
            cell[10 * owners[0] + 2] = 1
        elif text[:1] == "s":
            rings = owners[::-1]  # the top first
            cap = next((i for i, own in enumerate(rings) if own != rings[0]), len(rings))
            cell[10 * rings[0]] = 1
            for depth, own in enumerate(rings[1:6]):
                cell[10 * own + 3 + depth] = 1
            cell[10 * rings[-1] + 8] = 1
            for own in range(players):
                cell[10 * own + 9] = min(rings.count(own), 255)
            cell[shared + min(len(rings), 5)] = 1
            cell[shared + 6] = min(len(rings), 255)
            cell[shared + 6 + min(cap, 4)] = 1
            cell[shared + 11] = min(cap, 255)
    focus = saved(position)["focus"]
    if focus is not None:
        x, y = map(int, focus.split(","))
        picture[y + board.origin, x + board.origin, shared + 12] = 1
    return picture


def scalars(position: Position) -> npt.NDArray[np.float64]:
    """[K]."""
    board, players, document = BOARDS[position.board_name], position.players, saved(position)
    texts = position.text.cells
    numbers: list[float] = []
    for relative in range(players):
        seat = (position.seat - 1 + relative) % players + 1
        on_board = sum(text[1:].count(str(seat)) for text in texts if text[:1] == "s")
        holds = document["streak_holder"] == seat
        numbers += [
            document["hands"][seat - 1] / board.rings,
            document["eliminated"][seat - 1] / board.elimination_threshold(players),
            texts.count(f"c{seat}") / board.territory_threshold(players),
            on_board / board.rings,
            sum(text[:1] == "s" and text[-1] == str(seat) for text in texts) / len(texts),
            texts.count(f"m{seat}") / len(texts),
            document["hands"][seat - 1] + on_board > 0,
            document["round_first"] == seat,
            seat in document["round_seen"],
            seat in document["round_active"],
            holds,
            min(document["streak"], 3) / 3 if holds else 0,
            document["last_actor"] == seat,
        ]
    numbers += [document["phase"] == name for name in PHASES[:7]]
    numbers += [document["pending"] == name for name in OWED]
    numbers += [document[name] for name in ("changed", "recovered", "mobile")]
    numbers += [document["pie_rule"] == name for name in PIE]
    numbers += [document["pie_rule"] == "on" and document["turn"] <= 2]
    numbers += [document["turn"] / len(texts)]
    numbers += [position.seat == seat + 1 for seat in range(players)]
    return np.array(numbers, np.float64)
