"""A position in the terminal.

Every cell takes four columns: three for what stands there, and before them one for a mark.

     .   empty      a   marker      [a]  territory      A52  stack of height 5 and cap 2

Compact, it takes two columns: one for a mark, and one for what stands there.

    .   empty   a   marker   #%&=  territory of A, B, C, D   A   stack, of any height

Letters are players, A for player 1. On a hex board row y is indented by half a cell more than row
y - 1, so that all six neighbours of a cell lie next to it:

     o   o          (-1,1)  (0,1)
    o  o  o     (-1,0)  (0,0)  (1,0)
     o   o          (0,-1)  (1,-1)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ringrift_cli.game.notation import PositionText
from ringrift_cli.game.topology import BOARDS, Board

COLUMNS, COMPACT = 4, 2  # of the terminal, for one cell
TERRITORY = "#%&="  # by seat, in a compact drawing
LIST_WIDTH, COMPACT_WIDTH = 96, 76
SHORT_LIST = 12  # stacks; longer lists are abridged
LETTERS = "ABCD"
# Blue, red, yellow, teal: of different lightness, so that they differ for colour-blind eyes too
COLOURS = (33, 203, 220, 80)
# ANSI parameters by kind of cell: marker, territory in black on the colour, stack in bold
STYLES = {"m": "38;5;{}", "c": "38;5;16;48;5;{}", "s": "1;38;5;{}"}
LEGEND = (
    " .  empty",
    " a  marker of A",
    "[a] territory of A",
    "A52 stack of A: height 5, cap 2 (+ is 10 or more)",
)
COMPACT_LEGEND = (
    " .  empty",
    " a  marker of A",
    "#%&=  territory of A, B, C, D",
    "A  stack of A",
)
PHASE_WORDS = {
    "ring_placement": "ring placement",
    "movement": "movement",
    "capture": "capture",
    "chain_capture": "chain capture",
    "line_processing": "lines",
    "territory_processing": "territory",
    "forced_elimination": "forced elimination",
    "game_over": "game over",
}

Piece = tuple[int, str, str]  # screen column, text, style as ANSI parameters
Paint = Callable[[str, str], str]


@dataclass(frozen=True)
class BoardText:
    """A drawing in its parts, lines each."""

    grid: Sequence[str]  # the cells and their coordinates
    legend: Sequence[str]
    turn: str
    counts: Sequence[str]  # of each player, with a heading
    stacks: Sequence[str]  # what stacks hold; none if there is nothing to say
    compact: bool


def draw_text(
    position: PositionText,
    *,
    colour: bool = False,
    marks: Mapping[int, str] | None = None,
    width: int | None = None,
    rows: int | None = None,
) -> str:
    """The board with coordinates, a legend, the counts of each player and what stacks hold.

    `marks` puts a character before cells, by cell index. Without `colour` the text is plain ASCII
    (as long as the marks are). At most 110 columns wide; compact if the cells need more than
    `width`. If all this takes more than `rows`, legend and blank lines are left out.
    """
    parts = draw_parts(position, colour=colour, marks=marks, width=width)
    lines = [*parts.grid, "", *parts.legend, "", parts.turn, "", *parts.counts]
    if parts.stacks:
        lines += ["", *parts.stacks]
    if rows is not None and len(lines) > rows:
        lines = [*parts.grid, parts.turn, *parts.counts, *parts.stacks]
    return "\n".join(lines) + "\n"


def draw_parts(
    position: PositionText,
    *,
    colour: bool = False,
    marks: Mapping[int, str] | None = None,
    names: Sequence[str] | None = None,
    width: int | None = None,
) -> BoardText:
    """The parts of `draw_text`, for another arrangement; `names` of the players, by seat."""
    board = BOARDS[position.board]
    paint = _painter(colour=colour)
    draw = _hex_rows if board.hexagonal else _square_rows
    rows = draw(board, position, marks or {}, COLUMNS)
    compact = width is not None and max(map(_end, rows)) > width
    if compact:
        rows = draw(board, position, marks or {}, COMPACT)
    seats = range(1, position.players + 1)
    return BoardText(
        [_row_text(row, paint) for row in rows],
        _legend(position, bool(marks), width, compact=compact),
        turn_text(position),
        _counts(board, position, paint, names or [f"player {seat}" for seat in seats]),
        _stack_list(board, position, width, compact=compact),
        compact,
    )


# ---- the grid -----------------------------------------------------------------------------------


def _cell_symbol(text: str, columns: int) -> str:
    """A cell of position text, in all its columns but the first."""
    if not text:
        return " . " if columns == COLUMNS else "."
    letter = LETTERS[int(text[-1]) - 1]
    if columns == COMPACT:
        return {"m": letter.lower(), "c": TERRITORY[int(text[-1]) - 1], "s": letter}[text[0]]
    if text[0] == "m":
        return f" {letter.lower()} "
    if text[0] == "c":
        return f"[{letter.lower()}]"
    return letter + _digit(len(text) - 1) + _digit(_cap(text))


def _cap(stack: str) -> int:
    """Rings in the run of the top colour."""
    rings = stack[1:]
    return len(rings) - len(rings.rstrip(rings[-1]))


def _digit(number: int) -> str:
    return str(number) if number < 10 else "+"


def _cell_pieces(text: str, mark: str, column: int, columns: int) -> list[Piece]:
    style = "2"
    if text:
        style = STYLES[text[0]].format(COLOURS[int(text[-1]) - 1])
    piece = _trimmed(column + 1, _cell_symbol(text, columns), style)
    return [(piece[0] - 1, mark, "1;7"), piece] if mark else [piece]


def _trimmed(column: int, text: str, style: str) -> Piece:
    """A piece without the spaces around its text."""
    return column + len(text) - len(text.lstrip()), text.strip(), style


def _screen_column(board: Board, column: int, row: int, columns: int) -> int:
    """Where a cell begins, counted from the leftmost cell of the board."""
    if not board.hexagonal:
        return columns * column
    return columns * column + columns // 2 * (row - board.origin)


def _cell_rows(
    board: Board, position: PositionText, marks: Mapping[int, str], margin: int, columns: int
) -> list[list[Piece]]:
    """The cells, and y before each row; one list a row, by rising y."""
    rows: list[list[Piece]] = [[] for _ in range(board.width)]
    for cell, (column, row) in enumerate(board.cells):
        at = margin + _screen_column(board, column, row, columns)
        if not rows[row]:
            y = str(row - board.origin)
            rows[row].append((at - 1 - len(y), y, "2"))
        rows[row] += _cell_pieces(position.cells[cell], marks.get(cell, ""), at, columns)
    return rows


def _square_rows(
    board: Board, position: PositionText, marks: Mapping[int, str], columns: int
) -> list[list[Piece]]:
    """Highest y first; x below."""
    margin = 3
    rows = _cell_rows(board, position, marks, margin, columns)[::-1]
    labels: list[Piece] = []
    for x in range(board.width):
        label = f"{x:^3}" if columns == COLUMNS else str(x)
        _add_label(labels, _trimmed(margin + columns * x + 1, label, "2"), gap=1)
    return [*rows, labels]


def _add_label(row: list[Piece], label: Piece, gap: int = 0) -> None:
    """Adds a coordinate at the end of a row, unless there is no room for it."""
    if not row or label[0] >= _end(row) + gap:
        row.append(label)


def _end(row: list[Piece]) -> int:
    """The column behind the last piece."""
    return row[-1][0] + len(row[-1][1]) if row else 0


def _hex_rows(
    board: Board, position: PositionText, marks: Mapping[int, str], columns: int
) -> list[list[Piece]]:
    """Highest y first. Cells of one x climb to the right, and the label `/x` ends their climb.

    Only there is room for it: at the lower end it would meet the y of another row.
    """
    margin = 4
    rows = [*_cell_rows(board, position, marks, margin, columns), []]
    for column in range(board.width):
        above = max(row for c, row in board.cells if c == column) + 1
        at = margin + _screen_column(board, column, above, columns)
        _add_label(rows[above], (at + 1, f"/{column - board.origin}", "2"))
    return rows[::-1]


def _painter(*, colour: bool) -> Paint:
    return lambda text, style: f"\x1b[{style}m{text}\x1b[0m" if colour else text


def _row_text(pieces: list[Piece], paint: Paint) -> str:
    line, width = "", 0
    for column, text, style in pieces:
        line += " " * (column - width) + paint(text, style)
        width = column + len(text)
    return line


# ---- below the grid -----------------------------------------------------------------------------


def filled(items: Sequence[str], gap: str, width: int | None) -> list[str]:
    """Lines of up to `width` columns, broken between items only."""
    lines = [items[0]]
    for item in items[1:]:
        if width is not None and len(lines[-1]) + len(gap) + len(item) > width:
            lines.append(item)
        else:
            lines[-1] += gap + item
    return lines


def _legend(position: PositionText, marked: bool, width: int | None, *, compact: bool) -> list[str]:
    lines = filled(COMPACT_LEGEND if compact else LEGEND, "   ", width)
    if BOARDS[position.board].hexagonal:
        lines.append("A row has one y, at its left. Cells of one x climb to the right, to /x.")
    if marked:
        lines.append("A sign before a cell marks it.")
    return lines


def turn_text(position: PositionText) -> str:
    """Whose turn it is, and the phase."""
    if position.phase == "game_over":
        return "Game over"
    return f"Player {position.seat} to move: {PHASE_WORDS[position.phase]}"


def territory_counts(position: PositionText) -> list[int]:
    """Collapsed cells by seat."""
    return [position.cells.count(f"c{seat}") for seat in range(1, position.players + 1)]


def _counts(board: Board, position: PositionText, paint: Paint, names: Sequence[str]) -> list[str]:
    rings = board.elimination_threshold(position.players)
    cells = board.territory_threshold(position.players)
    width = max(map(len, names))
    lines = [f"  {'player':<{width + 2}} hand   eliminated    territory"]
    counts = zip(position.hands, position.eliminated, territory_counts(position), strict=True)
    for p, (hand, eliminated, territory) in enumerate(counts):
        to_move = position.seat == p + 1 and position.phase != "game_over"
        name = paint(f"{LETTERS[p]} {names[p]:<{width}}", STYLES["s"].format(COLOURS[p]))
        lines.append(
            f"{'>' if to_move else ' '} {name} {hand:>6}"
            f"{eliminated:>6} of {rings:<3}{territory:>6} of {cells}"
        )
    return lines


def _stack_list(
    board: Board, position: PositionText, width: int | None, *, compact: bool
) -> list[str]:
    """Stacks from bottom to top: all if they are few, else those whose symbol says too little."""
    stacks = {cell: text for cell, text in enumerate(position.cells) if text.startswith("s")}
    title = "Stacks, bottom to top:"
    if len(stacks) > SHORT_LIST and not compact:
        title = "Stacks of several colours or of 10 rings and more, bottom to top:"
        stacks = {
            cell: text for cell, text in stacks.items() if len(set(text)) > 2 or len(text) > 10
        }
    if not stacks:
        return []
    entries = []
    for cell, text in stacks.items():
        x, y = board.coordinates(cell)
        entries.append(f"{x},{y}=" + "".join(LETTERS[int(ring) - 1] for ring in text[1:]))
    most = COMPACT_WIDTH if compact else LIST_WIDTH
    most = most if width is None else min(most, width - 2)
    return [title, *("  " + line for line in filled(entries, " ", most))]
