"""Position text and move text.

    ROWS | SEAT PHASE | HANDS | ELIMINATED
    5./6./7./8./9./8./7./6./5. | 1 ring_placement | 18,18 | 0,0

Rows go by rising y, cells in a row by rising x: `m1` a marker of player 1, `c2` a cell collapsed to
player 2, `s1123` a stack from bottom to top, `k.` a run of k empty cells. Moves are listed in
docs/notation.md. The text of a move depends on its position: a capture names its target, a line and
a region all their cells.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np

from ringrift_cli.errors import NotationError
from ringrift_cli.game import engine, state
from ringrift_cli.game import layout as L
from ringrift_cli.game.topology import BOARDS, PLAYER_COUNTS, Board, IntArray

PHASES = (
    "ring_placement",
    "movement",
    "capture",
    "chain_capture",
    "line_processing",
    "territory_processing",
    "forced_elimination",
    "game_over",
)
REASONS = (
    "",
    "ring_elimination",
    "territory_control",
    "last_player_standing",
    "stalemate",
)
GLOBAL_NAMES = ("skip_placement", "skip_capture", "skip_recovery", "skip_territory", "swap")
SLIDES = ("line", "fallback", "strike")
BOARD_BY_ROWS = {board.width: board for board in BOARDS.values()}


# ---- positions ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class PositionText:
    """A parsed position text. Cells in cell order: "", "m1", "c2" or "s1123"; seats from 1."""

    board: str
    players: int
    cells: tuple[str, ...]
    seat: int
    phase: str
    hands: tuple[int, ...]
    eliminated: tuple[int, ...]

    def __str__(self) -> str:
        rows = rows_text(BOARDS[self.board], self.cells)
        hands, out = (",".join(map(str, counts)) for counts in (self.hands, self.eliminated))
        return f"{rows} | {self.seat} {self.phase} | {hands} | {out}"


@cache
def _row_spans(name: str) -> tuple[tuple[int, int], ...]:
    """First cell of each row of a board, and first after it."""
    rows = [row for _, row in BOARDS[name].cells]
    firsts = [rows.index(row) for row in range(BOARDS[name].width)]
    return tuple(pairwise([*firsts, len(rows)]))


def rows_text(board: Board, cells: tuple[str, ...] | list[str]) -> str:
    """The ROWS of position text."""
    rows: list[str] = []
    for first, end in _row_spans(board.name):
        tokens: list[str] = []
        empty = 0
        for cell in cells[first:end]:
            if not cell:
                empty += 1
                continue
            if empty:
                tokens.append(f"{empty}.")
                empty = 0
            tokens.append(cell)
        if empty:
            tokens.append(f"{empty}.")
        rows.append(" ".join(tokens))
    return "/".join(rows)


def parse_rows(text: str, players: int) -> tuple[Board, tuple[str, ...]]:
    """Board, determined by the number of rows, and cells of ROWS."""
    rows = text.split("/")
    board = BOARD_BY_ROWS.get(len(rows))
    if board is None:
        raise NotationError(
            f"Position has {len(rows)} rows: expected 8 (square8), 9 (hex8), 19 (square19) "
            "or 25 (hexagonal)."
        )
    cells: list[str] = []
    for y, row in enumerate(rows):
        found: list[str] = []
        for token in row.split():
            if re.fullmatch(r"[1-9]\d{0,2}\.", token):
                found.extend([""] * int(token[:-1]))
            elif re.fullmatch(rf"[mc][1-{players}]|s[1-{players}]+", token):
                found.append(token)
            else:
                raise NotationError(
                    f"Cell {token!r} in row {y + 1} of the position is not one of k. (empty), "
                    f"m1, c1 or s112 with players 1 to {players}."
                )
        width = sum(r == y for _, r in board.cells)
        if len(found) != width:
            raise NotationError(
                f"Row {y + 1} of the position holds {len(found)} cells: {board.name} has {width}."
            )
        cells.extend(found)
    return board, tuple(cells)


def _numbers(text: str, what: str) -> tuple[int, ...]:
    if not re.fullmatch(r"[0-9]{1,4}(,[0-9]{1,4})+", text):
        raise NotationError(
            f"Position has {what} {text!r}: expected one number a player, as 18,18."
        )
    return tuple(int(part) for part in text.split(","))


def parse_position(text: str) -> PositionText:
    """Parses position text; `NotationError` if it is malformed."""
    fields = [field.strip() for field in text.strip().split("|")]
    if len(fields) != 4:
        raise NotationError(
            f"Position text has {len(fields)} fields: expected "
            "ROWS | SEAT PHASE | HANDS | ELIMINATED."
        )
    hands, eliminated = _numbers(fields[2], "hands"), _numbers(fields[3], "eliminated rings")
    players = len(hands)
    if players not in PLAYER_COUNTS or len(eliminated) != players:
        raise NotationError(
            f"Position has hands of {players} and eliminated rings of {len(eliminated)} players: "
            "expected the same 2, 3 or 4."
        )
    board, cells = parse_rows(fields[0], players)
    turn = fields[1].split()
    if len(turn) != 2 or turn[0] not in [str(p + 1) for p in range(players)]:
        raise NotationError(
            f"Position has the turn {fields[1]!r}: expected a seat from 1 to {players} and a phase."
        )
    if turn[1] not in PHASES:
        raise NotationError(f"Unknown phase {turn[1]!r}: expected one of {', '.join(PHASES)}.")
    return PositionText(board.name, players, cells, int(turn[0]), turn[1], hands, eliminated)


def cell_texts(T: IntArray, S: IntArray) -> list[str]:
    """Text of each cell, in cell order; "" for an empty one."""
    texts = []
    cells, rings = int(T[L.T_CELLS]), int(T[L.T_RINGS])
    words, ends = (S[T[at] : T[at] + cells].tolist() for at in (L.T_S_CELL, L.T_S_ENDS))
    links = S[T[L.T_S_BELOW] : T[L.T_S_BELOW] + T[L.T_PLAYERS] * rings].tolist()
    for word, end in zip(words, ends, strict=True):
        if word == 0:
            texts.append("")
        elif word >> 2 & 3 == L.STACK:
            ring, owners = end & 0xFFFF, ""
            while ring >= 0:
                owners = str(ring // rings + 1) + owners
                ring = links[ring]
            texts.append("s" + owners)
        else:
            texts.append(f"{'m' if word >> 2 & 3 == L.MARKER else 'c'}{(word & 3) + 1}")
    return texts


def position_text(board: Board, T: IntArray, S: IntArray) -> PositionText:
    """The position text of a row."""
    players = int(T[L.T_PLAYERS])
    return PositionText(
        board.name,
        players,
        tuple(cell_texts(T, S)),
        int(S[L.SEAT]) + 1,
        PHASES[S[L.PHASE]],
        tuple(int(n) for n in S[L.HAND : L.HAND + players]),
        tuple(int(n) for n in S[L.ELIMINATED : L.ELIMINATED + players]),
    )


# ---- moves --------------------------------------------------------------------------------------


@cache
def _names(board: Board) -> tuple[str, ...]:
    """`x,y` of each cell."""
    return tuple(f"{x},{y}" for x, y in map(board.coordinates, range(len(board.cells))))


def cell_name(board: Board, cell: int) -> str:
    """`x,y`."""
    return _names(board)[cell]


def _away(board: Board, cell: int, direction: int, distance: int) -> int:
    (column, row), (dx, dy) = board.cells[cell], board.directions[direction]
    return board.index[column + distance * dx, row + distance * dy]


def _run(board: Board, first: int, axis: int, count: int) -> str:
    names = _names(board)
    return ";".join(names[_away(board, first, axis, k)] for k in range(count))


@cache
def _known_texts(name: str, players: int) -> dict[int, str]:
    """Texts that do not depend on the position, by action; filled as they are asked for."""
    return {}


def _fixed_text(board: Board, T: IntArray, action: int) -> str | None:
    """Text of an action that does not depend on the position; None for one that does."""
    if action >= T[L.T_GLOBAL]:
        return GLOBAL_NAMES[action - int(T[L.T_GLOBAL])]
    cells = len(board.cells)
    plane, cell = divmod(action, cells)
    name = _names(board)[cell]
    if action < T[L.T_MOVE]:
        return f"place {name} {plane + 1}"
    if action < T[L.T_CAPTURE]:
        direction, distance = divmod(plane - int(T[L.T_MOVE]) // cells, board.max_distance)
        return f"move {name} {_names(board)[_away(board, cell, direction, distance + 1)]}"
    if action < T[L.T_RECOVER]:
        return None
    if action < T[L.T_LINE_ALL]:
        slide, direction = divmod(plane - int(T[L.T_RECOVER]) // cells, 2 * len(board.axes))
        return f"recover {name} {_names(board)[_away(board, cell, direction, 1)]} {SLIDES[slide]}"
    if action < T[L.T_ELIMINATE] or T[L.T_REGION] <= action < T[L.T_FORCED]:
        return None
    if action < T[L.T_EXTRACT]:
        return f"eliminate {name}"
    if action < T[L.T_REGION]:
        return f"extract {name}"
    return f"forced {name}"


def _capture_text(board: Board, T: IntArray, S: IntArray, action: int) -> str:
    plane, cell = divmod(action - int(T[L.T_CAPTURE]), len(board.cells))
    direction, distance = divmod(plane, board.max_distance - 1)
    over = engine.first_block(T, S, cell, direction)
    names = _names(board)
    word = "chain" if S[L.PHASE] == L.CHAIN else "capture"
    target, landing = (_away(board, cell, direction, d) for d in (over, distance + 2))
    return f"{word} {names[cell]} {names[target]} {names[landing]}"


def _line_text(board: Board, T: IntArray, S: IntArray, action: int) -> str:
    p, length = int(S[L.SEAT]), int(T[L.T_LINE])
    whole = action < T[L.T_LINE_PART]
    base = int(T[L.T_LINE_ALL] if whole else T[L.T_LINE_PART])
    axis, first = divmod(action - base, len(board.cells))
    back = engine.run_ahead(T, S, p, first, axis + len(board.axes))
    run = back + 1 + engine.run_ahead(T, S, p, first, axis)
    start = _away(board, first, axis + len(board.axes), back)
    collapsed = "all" if whole else _run(board, first, axis, length)
    return f"line {_run(board, start, axis, run)} {collapsed}"


def region_cells(board: Board, T: IntArray, S: IntArray, action: int) -> list[int]:
    """Cells of the region that an action names, by rising y, then x."""
    W = state.new_workspace()
    border, cell = divmod(action - int(T[L.T_REGION]), len(board.cells))
    engine.find_region(T, S, W, border, cell)
    found = W[L.W_FOUND + L.PAD : L.W_FOUND + L.PAD + board.width].tolist()
    return [i for i, (column, row) in enumerate(board.cells) if found[row] >> (column + 1) & 1]


def _text_here(board: Board, T: IntArray, S: IntArray, action: int) -> str:
    """Text of an action that depends on the position."""
    if action < T[L.T_RECOVER]:
        return _capture_text(board, T, S, action)
    if action < T[L.T_ELIMINATE]:
        return _line_text(board, T, S, action)
    names = _names(board)
    return "region " + ";".join(names[c] for c in region_cells(board, T, S, action))


def legal_texts(board: Board, T: IntArray, S: IntArray, actions: IntArray) -> list[str]:
    """Texts of actions that are legal in the row, in their order."""
    known = _known_texts(board.name, int(T[L.T_PLAYERS]))
    texts = []
    for action in actions.tolist():
        text = known.get(action)
        if text is None:
            text = _fixed_text(board, T, action)
            if text is None:
                text = _text_here(board, T, S, action)
            else:
                known[action] = text
        texts.append(text)
    return texts


def move_text(board: Board, T: IntArray, S: IntArray, action: int) -> str:
    """Text of an action that is legal in the row."""
    return legal_texts(board, T, S, np.array([action], np.int32))[0]
