"""What a game row should say, found again from its cells by plain Python.

The row keeps the same board many times over, as words and counts that the rules update piece by
piece. `check_row` builds all of them anew and compares.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ringrift_cli.game import layout as L
from ringrift_cli.game.position import Position
from ringrift_cli.game.topology import BOARDS, Board, IntArray, tables

Bits = np.ndarray[Any, Any]


@cache
def neighbours(board: Board) -> tuple[tuple[int, ...], ...]:
    """Cells next to each cell in the sense of territory: four on squares, six on hexagons."""
    steps = [d for d in board.directions if board.hexagonal or 0 in d]
    index = board.index
    return tuple(
        tuple(index[c + dx, r + dy] for dx, dy in steps if (c + dx, r + dy) in index)
        for c, r in board.cells
    )


def components(board: Board, open_cells: set[int]) -> int:
    """Into how many pieces the open cells fall."""
    near = neighbours(board)
    left, pieces = set(open_cells), 0
    while left:
        pieces += 1
        waiting = [left.pop()]
        while waiting:
            for other in near[waiting.pop()]:
                if other in left:
                    left.remove(other)
                    waiting.append(other)
    return pieces


def cap_of(stack: str) -> int:
    """Length of the run of the top colour."""
    return len(stack) - len(stack.rstrip(stack[-1]))


def progress(position: Position) -> int:
    """Markers, territory and eliminated rings, which bound the length of a game."""
    return sum(position.markers) + sum(position.territory) + sum(position.eliminated)


def read_stacks(T: IntArray, S: IntArray) -> dict[int, str]:
    """Stacks by cell, bottom to top, from the links; every ring lies in one place."""
    stacks: dict[int, str] = {}
    seen: set[int] = set()
    rings, players = int(T[L.T_RINGS]), int(T[L.T_PLAYERS])
    for cell in range(int(T[L.T_CELLS])):
        word = int(S[T[L.T_S_CELL] + cell])
        if word >> 2 & 3 != L.STACK:
            continue
        ends = int(S[T[L.T_S_ENDS] + cell])
        ring, owners = ends & 0xFFFF, ""
        while ring >= 0:
            assert ring not in seen, f"ring {ring} lies in two places"
            assert 0 <= ring < players * rings
            seen.add(ring)
            last, owners = ring, str(ring // rings + 1) + owners
            ring = int(S[T[L.T_S_BELOW] + ring])
        assert last == ends >> 16, f"the lowest ring of cell {cell} is {last}"
        owner = int(owners[-1]) - 1
        assert word == len(owners) << 12 | cap_of(owners) << 4 | L.STACK << 2 | owner
        stacks[cell] = owners
    for p in range(players):  # the rings in hand are those with the highest numbers
        in_hand = range(p * rings + rings - int(S[L.HAND + p]), (p + 1) * rings)
        assert not seen & set(in_hand)
    return stacks


def row_words(T: IntArray, cells: set[int]) -> Bits:
    """The row words of a set of cells, [stride]."""
    words = np.zeros(int(T[L.T_STRIDE]), np.int32)
    for cell in cells:
        words[L.PAD + T[L.T_ROW + cell]] |= 1 << (T[L.T_COLUMN + cell] + 1)
    return words


def line_words(T: IntArray, free: set[int]) -> Bits:
    """The line words, [words], when all but these cells block."""
    words = np.full(int(T[L.T_WORDS]), L.FULL, np.int32)
    for cell in free:
        for axis in range(int(T[L.T_AXES])):
            words[T[L.T_WORD + 4 * cell + axis]] &= ~(1 << T[L.T_BIT + 4 * cell + axis])
    return words


def expect(S: IntArray, at: int, words: Bits, what: str) -> None:
    found = S[at : at + len(words)]
    assert np.array_equal(found, words), f"{what}: {np.flatnonzero(found != words)}"


def check_row(position: Position) -> None:
    """Asserts that all of a position's row agrees with what its cells say."""
    board, players = BOARDS[position.board_name], position.players
    T, S = tables(board.name, players), position.row
    stride, every = int(T[L.T_STRIDE]), range(len(board.cells))
    stacks = read_stacks(T, S)
    words = [int(S[T[L.T_S_CELL] + cell]) for cell in every]
    assert {word for word in words if word >> 2 & 3 != L.STACK} <= {
        0,
        *(kind << 2 | p for kind in (L.MARKER, L.COLLAPSED) for p in range(players)),
    }
    markers = [{c for c in every if words[c] == L.MARKER << 2 | p} for p in range(players)]
    collapsed = [{c for c in every if words[c] == L.COLLAPSED << 2 | p} for p in range(players)]
    ground = set().union(*collapsed)
    expect(S, T[L.T_S_BLOCK], line_words(T, set(every) - ground - set(stacks)), "blockers")
    off_board = ~T[L.T_ROW_MASK : L.T_ROW_MASK + stride] & L.FULL
    expect(S, T[L.T_S_COLLAPSED], row_words(T, ground) | off_board, "collapsed")
    for p in range(players):
        mine = {cell for cell, rings in stacks.items() if rings[-1] == str(p + 1)}
        expect(S, T[L.T_S_MARKER] + p * stride, row_words(T, markers[p]), "markers")
        expect(S, T[L.T_S_CONTROL] + p * stride, row_words(T, mine), "control")
        own = sum(rings.count(str(p + 1)) for rings in stacks.values())
        counts = tuple(S[at + p] for at in (L.STACKS, L.MARKERS, L.TERRITORY, L.RINGS))
        assert counts == (len(mine), len(markers[p]), len(collapsed[p]), own)
        assert 0 <= S[L.HAND + p] <= board.rings - own
    for n in (1, 2, 3):
        low = {cell for cell, rings in stacks.items() if cap_of(rings) <= n}
        expect(S, T[L.T_S_CAP] + (n - 1) * stride, row_words(T, low), f"caps up to {n}")
    total = int(S[L.HAND : L.HAND + 4].sum() + S[L.ELIMINATED : L.ELIMINATED + 4].sum())
    assert total + sum(map(len, stacks.values())) == players * board.rings
    check_joined(board, S, ground, markers)
    check_duties(S, stacks, words)


def check_duties(S: IntArray, stacks: dict[int, str], words: list[int]) -> None:
    """What must go on, and what is owed, fit the phase and the board."""
    phase, pending, focus, p = (int(S[at]) for at in (L.PHASE, L.PENDING, L.FOCUS, L.SEAT))
    assert pending == L.NOTHING or phase in (L.MOVEMENT, L.LINES, L.REGIONS)
    assert (phase == L.OVER) == (S[L.WINNER] >= 0) == (S[L.REASON] != L.NO_REASON)
    if phase in (L.CAPTURE, L.CHAIN):
        assert focus >= 0
    if pending == L.LINE_CHOICE:
        assert words[focus] == L.MARKER << 2 | p
    elif focus >= 0:
        assert phase in (L.MOVEMENT, L.CAPTURE, L.CHAIN)
        assert stacks[focus][-1] == str(p + 1)


def check_joined(board: Board, S: IntArray, ground: set[int], markers: list[set[int]]) -> None:
    """A border that is noted as joined really leaves the board in one piece."""
    open_cells = set(range(len(board.cells))) - ground
    for border, walls in enumerate([set(), *markers]):
        if S[L.JOINED] >> border & 1:
            assert components(board, open_cells - walls) <= 1, f"border {border} cuts something off"
