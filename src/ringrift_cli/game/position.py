"""A position of a game, as a value: playing a move gives a new position.

>>> from ringrift_cli.game.position import Position
>>> start = Position.initial("hex8", players=2)
>>> len(start.legal_moves())
183
>>> after = start.play("place 0,0 2").play("move 0,0 2,0")
>>> after.seat, after.phase
(2, 'ring_placement')
>>> print(after)
5./6./7./8./4. m1 1. s11 2./8./7./6./5. | 2 ring_placement | 16,18 | 0,0
"""

from __future__ import annotations

import operator
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from ringrift_cli.game import engine, saved, state
from ringrift_cli.game import layout as L
from ringrift_cli.game.drawing_svg import draw_svg, svg_to_png
from ringrift_cli.game.drawing_text import draw_text
from ringrift_cli.game.hashing import zobrist
from ringrift_cli.game.notation import (
    PHASES,
    PositionText,
    legal_texts,
    move_text,
    parse_position,
    position_text,
)
from ringrift_cli.game.parsing import illegal_action, parse_move
from ringrift_cli.game.result import Result, result_of
from ringrift_cli.game.symmetry import cells_array, symmetries, transform_action, transform_row
from ringrift_cli.game.topology import (
    Board,
    IntArray,
    board_named,
    check_pie,
    check_players,
    tables,
)


class BoardView:
    """A drawing of a position. Printed, it is text; a notebook shows it as SVG."""

    def __init__(self, position: PositionText) -> None:
        self._position = position

    def __str__(self) -> str:
        return self.text()

    __repr__ = __str__

    def text(self, *, colour: bool = False) -> str:
        """The board in characters, with ANSI colours if asked."""
        return draw_text(self._position, colour=colour)

    def svg(self, size: int = 640) -> str:
        """The board as an SVG document, `size` units wide."""
        return draw_svg(self._position, size=size)

    def png(self, width: int = 640) -> bytes:
        """The board as a PNG file, `width` pixels wide."""
        return svg_to_png(self.svg(), width)

    def _repr_svg_(self) -> str:
        return self.svg()


class Position:
    """A position with all of its state, at a decision or at the end of the game.

    Positions do not change: `play` returns another one. Seats count from 1.
    """

    __slots__ = ("_S", "_T", "_info", "_legal")

    def __init__(self, info: Board, players: int, row: IntArray, rules: int = L.RULES) -> None:
        """From a game row, which the position takes over; see `initial` for a new game."""
        self._info = info
        self._T = tables(info.name, players, rules)
        self._S = row
        self._legal: IntArray | None = None

    # ---- making one ----------------------------------------------------------------------------

    @classmethod
    def initial(
        cls, board: str, players: int = 2, *, pie_rule: bool = False, rules: int = L.RULES
    ) -> Position:
        """The start of a game; `UsageError` for an unknown board or a wrong number of players.

        `rules` is the version of the rules (version.py).
        """
        info = board_named(board)
        T = tables(info.name, check_players(players), rules)
        row = state.new_row(T)
        engine.new_game(T, row, check_pie(players, pie_rule))
        return cls(info, players, row, rules)

    @classmethod
    def from_text(cls, text: str, *, focus: str | None = None) -> Position:
        """From position text, which does not carry the whole state (see `saved.from_text`)."""
        parsed = parse_position(text)
        info = board_named(parsed.board)
        return cls(info, parsed.players, saved.from_text(info, parsed, focus))

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Position:
        """From what `to_json` gave; `NotationError` or `RulesMismatch` if it is not that."""
        return cls(*saved.from_json(document))

    def to_json(self) -> dict[str, Any]:
        """The complete state as a versioned document for `json.dumps`."""
        return saved.to_json(self._info, self._T, self._S)

    # ---- what stands and who is to move ----------------------------------------------------------

    @property
    def text(self) -> PositionText:
        """Cells, seat, phase, hands and eliminated rings; `str` of it is the position text."""
        return position_text(self._info, self._T, self._S)

    @property
    def board(self) -> BoardView:
        """A drawing of the position."""
        return BoardView(self.text)

    @property
    def board_name(self) -> str:
        return self._info.name

    @property
    def players(self) -> int:
        return int(self._T[L.T_PLAYERS])

    @property
    def rules(self) -> int:
        """The version of the rules that the game follows (version.py)."""
        return int(self._T[L.T_RULES])

    @property
    def seat(self) -> int:
        """Whose turn it is, from 1."""
        return int(self._S[L.SEAT]) + 1

    @property
    def phase(self) -> str:
        return PHASES[self._S[L.PHASE]]

    @property
    def ply(self) -> int:
        """Decisions made so far."""
        return int(self._S[L.PLY])

    @property
    def turn(self) -> int:
        """The number of the turn, from 1."""
        return int(self._S[L.TURN])

    def _by_seat(self, at: int) -> tuple[int, ...]:
        return tuple(int(n) for n in self._S[at : at + self.players])

    @property
    def hands(self) -> tuple[int, ...]:
        """Rings in hand, by seat."""
        return self._by_seat(L.HAND)

    @property
    def eliminated(self) -> tuple[int, ...]:
        """Eliminated rings credited, by seat."""
        return self._by_seat(L.ELIMINATED)

    @property
    def territory(self) -> tuple[int, ...]:
        """Cells of territory, by seat."""
        return self._by_seat(L.TERRITORY)

    @property
    def markers(self) -> tuple[int, ...]:
        """Markers on the board, by seat."""
        return self._by_seat(L.MARKERS)

    @property
    def row(self) -> IntArray:
        """The game row (layout.py), a copy: [row size] int32."""
        return self._S.copy()

    # ---- playing ---------------------------------------------------------------------------------

    def legal_actions(self) -> IntArray:
        """The legal actions in rising order, [n] int32; empty only when the game is over."""
        if self._legal is None:
            out = np.empty(int(self._T[L.T_MAX_LEGAL]), np.int32)
            count = engine.legal(self._T, self._S, state.new_workspace(), out)
            self._legal = np.sort(out[:count])
            self._legal.setflags(write=False)
        return self._legal

    def legal_mask(self) -> npt.NDArray[np.bool_]:
        """True for each legal action, [actions] bool."""
        mask = np.zeros(int(self._T[L.T_ACTIONS]), np.bool_)
        mask[self.legal_actions()] = True
        return mask

    def legal_moves(self) -> list[str]:
        """Texts of the legal moves, in the order of `legal_actions`."""
        return legal_texts(self._info, self._T, self._S, self.legal_actions())

    def action(self, move: str) -> int:
        """The action of a move text; `NotationError` or `IllegalMove` if there is none."""
        return parse_move(self._info, self._T, self._S, self.legal_actions(), move)

    def move(self, action: int) -> str:
        """The text of a legal action; `IllegalMove` for another number."""
        self._check(action)
        return move_text(self._info, self._T, self._S, action)

    def _check(self, action: int) -> None:
        legal = self.legal_actions()
        at = int(np.searchsorted(legal, action))
        if at == len(legal) or legal[at] != action:
            raise illegal_action(self._info, self._T, self._S, legal, action)

    def play(self, move: str | SupportsIndex) -> Position:
        """The position after a move, given as text or as an action.

        Raises `NotationError` for text that is no move, `IllegalMove` with the reason and the legal
        moves near it for one that is not allowed here.
        """
        if isinstance(move, str):
            action = self.action(move)
        else:
            action = operator.index(move)
            self._check(action)
        row = self._S.copy()
        engine.apply(self._T, row, state.new_workspace(), action)
        return Position(self._info, self.players, row, self.rules)

    @property
    def is_over(self) -> bool:
        return bool(self._S[L.PHASE] == L.OVER)

    def result(self) -> Result | None:
        """Winner, reason and ranks; None while the game goes on."""
        return result_of(self._T, self._S) if self.is_over else None

    # ---- as a value -----------------------------------------------------------------------------

    @property
    def zobrist(self) -> int:
        """A 64-bit hash of all that bears on the rest of the game (hashing.py)."""
        return int(zobrist(self._T, self._S))

    def symmetric(self, symmetry: int) -> Position:
        """The position under a symmetry of the board, by its number in `symmetries`."""
        row = state.new_row(self._T)
        by = symmetries(self._info)[symmetry]
        transform_row(self._T, self._S, cells_array(by), row)
        return Position(self._info, self.players, row, self.rules)

    def symmetric_action(self, action: int, symmetry: int) -> int:
        """The action in `symmetric(symmetry)` that a legal action here becomes."""
        self._check(action)
        by = symmetries(self._info)[symmetry]
        return transform_action(self._info, self._T, self._S, action, by)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Position):
            return NotImplemented
        return self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return self.zobrist

    def __str__(self) -> str:
        return str(self.text)

    def __repr__(self) -> str:
        return f"<Position {self.board_name} {self}>"
