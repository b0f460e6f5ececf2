"""The scalar driver: the rules on the arrays of one game.

`T` is `topology.tables(board, players)`, `S` a game row (`state.new_row`), `W` a workspace
(`state.new_workspace`); all are contiguous int32 arrays.
"""

from __future__ import annotations

from ringrift_cli.game import lines, movement, territory, turn
from ringrift_cli.game.jit import njit, pointer
from ringrift_cli.game.topology import IntArray


@njit()
def new_game(T: IntArray, S: IntArray, pie: bool) -> None:
    """Makes `S` a new game at its first decision; `pie` counts only with two players."""
    turn.start(pointer(T), pointer(S), pie)


@njit()
def legal(T: IntArray, S: IntArray, W: IntArray, out: IntArray) -> int:
    """Writes the legal actions to `out`, [T_MAX_LEGAL], and returns how many; 0 only when over."""
    return turn.legal(pointer(T), pointer(S), pointer(W), pointer(out))


@njit()
def apply(T: IntArray, S: IntArray, W: IntArray, action: int) -> None:
    """Carries out a legal action and goes on to the next decision or the end of the game.

    An action that is not legal leaves the row in an undefined state: callers check.
    """
    turn.apply(pointer(T), pointer(S), pointer(W), action)


@njit()
def resume(T: IntArray, S: IntArray, W: IntArray) -> None:
    """Passes through phases without a decision, for a row set up by hand."""
    turn.advance(pointer(T), pointer(S), pointer(W))


@njit()
def first_block(T: IntArray, S: IntArray, cell: int, direction: int) -> int:
    """Steps from `cell` to the first stack, collapsed cell or edge."""
    return movement.first_block(pointer(T), pointer(S), cell, direction)


@njit()
def run_ahead(T: IntArray, S: IntArray, p: int, cell: int, direction: int) -> int:
    """Markers of `p` in a row from the cell next to `cell` on."""
    return lines.run_ahead(pointer(T), pointer(S), p, cell, direction)


@njit()
def find_region(T: IntArray, S: IntArray, W: IntArray, border: int, cell: int) -> None:
    """Fills W_FOUND with the row words of the region that a border and a cell name."""
    territory.find_region(pointer(T), pointer(S), pointer(W), border, cell)
