"""Games that the tests play: random ones of every kind, and positions set up by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ringrift_cli.game.actions import KINDS, action_space
from ringrift_cli.game.position import Position
from ringrift_cli.game.topology import BOARD_NAMES, BOARDS, PLAYER_COUNTS

CONFIGURATIONS = [(board, players) for board in BOARD_NAMES for players in PLAYER_COUNTS]
SMALL = [(board, players) for board, players in CONFIGURATIONS if board.endswith("8")]
KIND_NAMES = (*(name for name, _ in KINDS), "global")


def kinds(board: str, actions: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The kind of each action, as an index into `KIND_NAMES`."""
    space = action_space(board)
    firsts = [*(space.first(name) for name, _ in KINDS), space.planes * space.cells]
    return np.searchsorted(firsts, actions, side="right") - 1


class Walk:
    """One random game. Its players like some kinds of move up to 100 times more than others.

    Uniformly random moves hardly ever lead to recoveries, forced eliminations or a stalemate.
    """

    def __init__(self, board: str, players: int, seed: int) -> None:
        self.rng = np.random.default_rng([seed, players, BOARD_NAMES.index(board)])
        self.taste = 10 ** self.rng.uniform(-1, 1, (players, len(KIND_NAMES)))
        pie_rule = players == 2 and bool(seed % 2)
        self.position = Position.initial(board, players, pie_rule=pie_rule)

    def choose(self) -> int:
        """An action for the player to move."""
        legal = self.position.legal_actions()
        found = kinds(self.position.board_name, legal)
        present, counts = np.unique(found, return_counts=True)
        weights = self.taste[self.position.seat - 1, present]
        kind = int(self.rng.choice(len(present), p=weights / weights.sum()))
        return int(legal[found == present[kind]][self.rng.integers(counts[kind])])

    def steps(self, plies: int | None = None) -> Iterator[tuple[Position, int, Position]]:
        """Position, action, next position, to the end of the game or for so many plies."""
        played = 0
        while not self.position.is_over and (plies is None or played < plies):
            before, action = self.position, self.choose()
            self.position = before.play(action)
            played += 1
            yield before, action, self.position


def positions(board: str, players: int, seed: int, plies: int | None = None) -> Iterator[Position]:
    """The positions of a random game, the last one included."""
    walk = Walk(board, players, seed)
    yield walk.position
    for _, _, after in walk.steps(plies):
        yield after


def saved(position: Position) -> dict[str, Any]:
    """A saved position as another program would read it."""
    document: dict[str, Any] = json.loads(json.dumps(position.to_json()))
    return document


def set_up(
    board: str,
    players: int,
    cells: Mapping[str, str],
    *,
    seat: int = 1,
    phase: str = "ring_placement",
    hands: tuple[int, ...] | None = None,
    eliminated: tuple[int, ...] | None = None,
    focus: str | None = None,
    **state: Any,
) -> Position:
    """A position by hand: `cells` has "m1", "c2" or "s112" by "x,y", several cells split by blanks.

    What is not said: all rings that are not on the board are in hand; those that are neither have
    been eliminated, in equal parts. `state` overrides fields of the saved form, as `streak`.
    """
    info = BOARDS[board]
    texts = [""] * len(info.cells)
    for names, content in cells.items():
        for name in names.split():
            x, y = map(int, name.split(","))
            cell = info.cell(x, y)
            assert cell is not None, f"{name} is not on {board}"
            texts[cell] = content
    rings = "".join(text[1:] for text in texts if text.startswith("s"))
    counts = [rings.count(str(p + 1)) for p in range(players)]
    hands = hands or tuple(info.rings - count for count in counts)
    gone = players * info.rings - sum(counts) - sum(hands)
    if eliminated is None:
        eliminated = tuple(gone // players + (p < gone % players) for p in range(players))
    rows = []
    for row in range(info.width):
        row_cells = [texts[i] or "1." for i, (_, r) in enumerate(info.cells) if r == row]
        rows.append(" ".join(row_cells))
    numbers = " | ".join(",".join(map(str, each)) for each in (hands, eliminated))
    text = f"{'/'.join(rows)} | {seat} {phase} | {numbers}"
    position = Position.from_text(text, focus=focus)
    if not state:
        return position
    return Position.from_json({**saved(position), **state})


def play(position: Position, *moves: str) -> Position:
    """The position after the moves."""
    for move in moves:
        position = position.play(move)
    return position


def legal(position: Position, *words: str) -> list[str]:
    """The legal moves that begin with one of the words, all if there is none; sorted."""
    moves = position.legal_moves()
    return sorted(move for move in moves if not words or move.split()[0] in words)
