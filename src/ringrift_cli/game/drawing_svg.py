"""A position as a picture: SVG, and PNG made from it.

Coordinates are those of the SVG, y downward, in a picture 640 wide. Letters are drawn as lines, not
as text: a picture looks the same wherever it is shown, and no machine needs a font for its PNG.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from html import escape
from math import sqrt
from pathlib import Path

import yaml

from ringrift_cli.game.drawing_text import territory_counts, turn_text
from ringrift_cli.game.notation import PositionText
from ringrift_cli.game.topology import BOARDS, Board
from ringrift_cli.version import MARK

WIDTH = 640.0
MARGIN = 40.0  # left and right of a square board
PAPER = "#fbf9f4"
FREE = "#efe8da"
INK = "#2b2a33"
FAINT = "#857d6e"
HIGHLIGHT = "#efe8da"


@dataclass(frozen=True)
class Colours:
    """Shades of one player. Their lightness differs between players, for colour-blind eyes."""

    face: str
    side: str
    hole: str
    land: str  # territory
    inlay: str  # the sign on territory


COLOURS = (
    Colours("#3c72b8", "#2d5c9a", "#163459", "#a9c1e0", "#7d9fce"),
    Colours("#dc5440", "#c23f2d", "#661a10", "#efb3a6", "#e28b7a"),
    Colours("#f2b93b", "#dca128", "#6e4a05", "#f7dd9c", "#e7bf60"),
    Colours("#6fc3b2", "#52a896", "#17564a", "#bfe3da", "#8ccbbd"),
)

# The signs of players 2, 3 and 4; that of player 1 is a disc of radius 1.
SIGN_CORNERS = (
    (),
    ((0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)),
    ((0, -1.2), (1.2, 0.85), (-1.2, 0.85)),
    ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
)

GLYPHS = Path(__file__).with_name("glyphs.yaml")
GLYPH_GAP = 1.75
GLYPH_SPACE = 3.6
UNKNOWN_GLYPH = (3.6, "m0 0v-6h3.6v6z")
DIGIT_HEIGHT = 7.0


def draw_svg(
    position: PositionText, *, marks: Mapping[int, str] | None = None, size: int = 640
) -> str:
    """A self-contained SVG of the position, `size` wide; the height follows from the board.

    `marks` puts a badge with one character on cells, by cell index.
    """
    board = BOARDS[position.board]
    grid = _grid(board)
    height = grid.bottom + 62 + 34 * position.players
    frame = (
        f'width="{size}" height="{round(size * height / WIDTH)}" '
        f'viewBox="0 0 {_n(WIDTH)} {_n(height)}"'
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {frame}><!-- {MARK} -->',
        f"<title>RingRift, {position.board}. {turn_text(position)}</title>",
        f'<rect width="{_n(WIDTH)}" height="{_n(height)}" rx="10" fill="{PAPER}"/>',
        *_coordinates(board, grid),
        *_cells(position, grid),
        *_pieces(position, grid),
        *_badges(grid, marks or {}),
        *_caption(board, position, grid.bottom),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


@cache
def draw_empty(name: str) -> str:
    """An SVG of an empty board for a page that fills its cells, coloured by a style sheet.

    Cell i is the path `cell-i`; the group `on-i`, centred on it, is for the drawing of its content
    (`draw_content`); the groups `below` and `above` lie under and over all contents.
    """
    board = BOARDS[name]
    grid = _grid(board)
    across = grid.pitch - max(1.0, grid.pitch * 0.045)
    outlines = (
        f'<path id="cell-{i}" class="cell" d="{_cell_outline(grid, x, y, across)}"/>'
        for i, (x, y) in enumerate(grid.centres)
    )
    far_to_near = sorted(enumerate(grid.centres), key=lambda cell: cell[1][1])
    places = (
        f'<g id="on-{i}" transform="translate({_n(x)} {_n(y)})"></g>' for i, (x, y) in far_to_near
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_n(WIDTH)} {_n(grid.bottom)}"'
        f' data-pitch="{_n(grid.pitch)}"><g class="coordinates">'
        f"{''.join(_coordinates(board, grid))}</g><g>{''.join(outlines)}</g>"
        f'<g id="below"></g><g id="pieces">{"".join(places)}</g><g id="above"></g></svg>'
    )


@lru_cache(10_000)
def draw_content(name: str, text: str) -> str:
    """SVG elements of the content of a cell, as in `PositionText`, centred on 0, 0."""
    pitch = _grid(BOARDS[name]).pitch
    return "".join(_stack(text, 0, 0, pitch)) if text[0] == "s" else _sign(text, 0, 0, pitch)


def svg_to_png(svg: str, width: int) -> bytes:
    """PNG bytes of an SVG, `width` pixels wide, with `MARK` after the 33 bytes of the header."""
    import resvg_py

    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=width, skip_system_fonts=True))
    text = b"tEXtSoftware\0" + MARK.encode()
    chunk = (len(text) - 4).to_bytes(4) + text + zlib.crc32(text).to_bytes(4)
    return png[:33] + chunk + png[33:]


# ---- places -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Grid:
    """Where the cells of a board lie in the picture."""

    hexagonal: bool
    pitch: float  # from a cell to the next in its row
    centres: tuple[tuple[float, float], ...]  # by cell index
    bottom: float  # where the caption begins


@cache
def _grid(board: Board) -> Grid:
    if not board.hexagonal:
        pitch = (WIDTH - 2 * MARGIN) / board.width
        top = 24.0
        centres = tuple(
            (MARGIN + (c + 0.5) * pitch, top + (board.width - r - 0.5) * pitch)
            for c, r in board.cells
        )
        return Grid(False, pitch, centres, top + board.width * pitch + 30)
    # The labels of y and x need two thirds of a cell at the left and at the right.
    pitch = WIDTH / (board.width + 1.6)
    rise = pitch * sqrt(3) / 2
    top = 1.25 * pitch + 16
    centres = tuple(
        (
            WIDTH / 2 + pitch * (c - board.origin + (r - board.origin) / 2),
            top + rise * (board.width - 1 - r),
        )
        for c, r in board.cells
    )
    return Grid(True, pitch, centres, top + rise * (board.width - 1) + pitch * 0.7 + 8)


def _coordinates(board: Board, grid: Grid) -> list[str]:
    """y at the left of each row; x below each column, on a hex board where its climb ends."""
    height = min(11.0, max(7.5, grid.pitch * 0.2))
    labels = []
    for step in range(board.width):
        name = str(step - board.origin)
        row = [grid.centres[i] for i, (_, r) in enumerate(board.cells) if r == step]
        column = [grid.centres[i] for i, (c, _) in enumerate(board.cells) if c == step]
        left, y = row[0]
        labels.append(_label(name, left - grid.pitch * 0.5 - 8, y, height, FAINT, anchor=1))
        if grid.hexagonal:
            x, top = column[-1]
            labels += _climb(name, x, top, grid.pitch, height)
        else:
            x, bottom = column[0]
            labels.append(_label(name, x, bottom + grid.pitch / 2 + 16, height, FAINT))
    return labels


def _climb(name: str, x: float, y: float, pitch: float, height: float) -> list[str]:
    """A label up and to the right of the hex cell at x, y, with a stroke that leads to it."""
    right, up = 0.5, sqrt(3) / 2
    start, end, away = 0.54 * pitch, 0.67 * pitch, 0.7 * pitch + 0.75 * height
    path = f"M{_n(x + start * right)} {_n(y - start * up)}L{_n(x + end * right)} {_n(y - end * up)}"
    return [
        f'<path d="{path}" stroke="{FAINT}" stroke-linecap="round"/>',
        _label(name, x + away * right, y - away * up, height, FAINT),
    ]


# ---- cells and pieces ---------------------------------------------------------------------------


def _cells(position: PositionText, grid: Grid) -> list[str]:
    parts = []
    gap = max(1.0, grid.pitch * 0.045)
    for text, (x, y) in zip(position.cells, grid.centres, strict=True):
        land = text.startswith("c")
        fill = COLOURS[int(text[1]) - 1].land if land else FREE
        shape = _cell_outline(grid, x, y, grid.pitch - gap)
        parts.append(f'<path class="cell" d="{shape}" fill="{fill}"/>')
    return parts


def _cell_outline(grid: Grid, x: float, y: float, across: float) -> str:
    return _hexagon(x, y, across) if grid.hexagonal else _square(x, y, across)


def _hexagon(x: float, y: float, across: float) -> str:
    """A hexagon that stands on a corner, `across` wide."""
    half, side = across / 2, across / sqrt(3)
    return (
        f"M{_n(x)} {_n(y - side)}l{_n(half)} {_n(side / 2)}v{_n(side)}l{_n(-half)} {_n(side / 2)}"
        f"l{_n(-half)} {_n(-side / 2)}v{_n(-side)}z"
    )


def _square(x: float, y: float, across: float) -> str:
    """A square with rounded corners."""
    edge, r = _n(across * 0.8), _n(across * 0.1)
    return (
        f"M{_n(x - across * 0.4)} {_n(y - across * 0.5)}h{edge}q{r} 0 {r} {r}v{edge}q0 {r}-{r} {r}"
        f"h-{edge}q-{r} 0-{r}-{r}v-{edge}q0-{r} {r}-{r}z"
    )


def _pieces(position: PositionText, grid: Grid) -> list[str]:
    """What stands on the cells, from the far side of the board to the near one."""
    parts = []
    for cell in sorted(range(len(position.cells)), key=lambda i: grid.centres[i][1]):
        text = position.cells[cell]
        x, y = grid.centres[cell]
        if text.startswith("s"):
            parts += _stack(text, x, y, grid.pitch)
        elif text:
            parts.append(_sign(text, x, y, grid.pitch))
    return parts


def _sign(text: str, x: float, y: float, pitch: float) -> str:
    """A marker, or the inlay of territory: disc, diamond, triangle or square, by player."""
    player = int(text[1]) - 1
    r = pitch * (0.2 if text[0] == "m" else 0.15)
    if player == 0:
        arc = f"a{_n(r)} {_n(r)} 0 1 0"
        path = f"M{_n(x - r)} {_n(y)}{arc} {_n(2 * r)} 0{arc} {_n(-2 * r)} 0z"
    else:
        corners = SIGN_CORNERS[player]
        path = "M" + "L".join(f"{_n(x + r * dx)} {_n(y + r * dy)}" for dx, dy in corners) + "z"
    colours = COLOURS[player]
    if text[0] == "c":
        return f'<path class="land" d="{path}" fill="{colours.inlay}"/>'
    return (
        f'<path class="marker" d="{path}" fill="{colours.face}" stroke="{colours.side}" '
        f'stroke-width="{_n(pitch * 0.035)}" stroke-linejoin="round"/>'
    )


def _stack(text: str, x: float, y: float, pitch: float) -> list[str]:
    """A pile of rings seen from the front and above, with its height on the topmost ring."""
    rings = [int(ring) - 1 for ring in text[1:]]
    rx, ry = pitch * 0.37, pitch * 0.245
    thick = min(pitch * 0.1, pitch * 0.42 / len(rings))
    pile = 2 * ry + thick * len(rings)
    base = y + pile / 2 - ry  # centre of the pile's lowest ellipse
    width = f'stroke-width="{_n(max(0.5, pitch * 0.014))}"'
    parts = [_ellipse("shadow", x, base + ry * 0.18, rx * 1.1, ry * 1.05, INK, ' opacity=".16"')]
    for level, player in enumerate(rings):
        low = base - level * thick
        arc = f"a{_n(rx)} {_n(ry)} 0 0"
        path = (
            f"M{_n(x - rx)} {_n(low)}v{_n(-thick)}{arc} 1 {_n(2 * rx)} 0v{_n(thick)}"
            f"{arc} 1 {_n(-2 * rx)} 0z"
        )
        colours = COLOURS[player]
        stroke = f'stroke="{colours.hole}" {width}'
        parts.append(f'<path class="ring" d="{path}" fill="{colours.side}" {stroke}/>')
    top = COLOURS[rings[-1]]
    face = base - len(rings) * thick
    parts.append(_ellipse("face", x, face, rx, ry, top.face, f' stroke="{top.hole}" {width}'))
    parts.append(_ellipse("hole", x, face, rx * 0.74, ry * 0.74, top.hole))
    parts.append(_label(str(len(rings)), x, face, ry * 0.92, "#ffffff", 1.15))
    return parts


def _ellipse(kind: str, x: float, y: float, rx: float, ry: float, fill: str, more: str = "") -> str:
    return (
        f'<ellipse class="{kind}" cx="{_n(x)}" cy="{_n(y)}" rx="{_n(rx)}" ry="{_n(ry)}" '
        f'fill="{fill}"{more}/>'
    )


def _badges(grid: Grid, marks: Mapping[int, str]) -> list[str]:
    """An outline of each marked cell, and over all outlines the badges."""
    outlines, badges = [], []
    radius = max(6.0, grid.pitch * 0.15)
    stroke = f'stroke="{INK}" stroke-width="{_n(max(1.2, grid.pitch * 0.035))}"'
    for cell, sign in marks.items():
        x, y = grid.centres[cell]
        outline = _cell_outline(grid, x, y, grid.pitch * 0.95)
        outlines.append(f'<path class="mark" d="{outline}" fill="none" {stroke}/>')
        x, y = x - grid.pitch * 0.36, y - grid.pitch * 0.34
        badges.append(_ellipse("badge", x, y, radius, radius, INK))
        badges.append(_label(sign, x, y, radius * 0.95, "#ffffff", 1.1))
    return outlines + badges


# ---- caption and letters ------------------------------------------------------------------------


def _caption(board: Board, position: PositionText, top: float) -> list[str]:
    rings = board.elimination_threshold(position.players)
    cells = board.territory_threshold(position.players)
    y = top + 18
    parts = [_label(turn_text(position), 40, y, 11, INK, 1.15, anchor=0)]
    for name, x in (("in hand", 385), ("eliminated", 495), ("territory", 600)):
        parts.append(_label(name, x, y + 1, 8.5, FAINT, anchor=1))
    counts = zip(position.hands, position.eliminated, territory_counts(position), strict=True)
    for p, (hand, out, land) in enumerate(counts):
        y += 34
        if position.seat == p + 1 and position.phase != "game_over":
            parts.append(
                f'<rect x="26" y="{_n(y - 15)}" width="{_n(WIDTH - 52)}" height="30" rx="8" '
                f'fill="{HIGHLIGHT}"/>'
            )
        parts.append(_sign(f"m{p + 1}", 48, y, 42))
        parts.append(_label(f"Player {p + 1}", 66, y, 10.5, INK, anchor=0))
        parts.append(_label(str(hand), 385, y, 10.5, INK, anchor=1))
        for count, limit, x in ((out, rings, 495), (land, cells, 600)):
            parts.append(_label(f"{count} of {limit}", x, y, 10.5, INK, anchor=1))
    return parts


@cache
def _glyphs() -> dict[str, tuple[float, str]]:
    """Advance width and path of each letter."""
    found: dict[str, tuple[float, str]] = yaml.load(GLYPHS.read_text(), yaml.CSafeLoader)
    return found


def _label(
    text: str,
    x: float,
    y: float,
    height: float,
    colour: str,
    weight: float = 0.9,
    *,
    anchor: float = 0.5,
) -> str:
    """Letters drawn as lines. `height` is that of a digit, and y the middle of it.

    `anchor` says which part of the text lies left of x.
    """
    path, pen = "", 0.0
    for letter in text:
        if letter == " ":
            pen += GLYPH_SPACE
            continue
        advance, glyph = _glyphs().get(letter, UNKNOWN_GLYPH)
        path += f"M{_n(pen)} 0{glyph}"
        pen += advance + GLYPH_GAP
    scale = height / DIGIT_HEIGHT
    left = x - anchor * (pen - GLYPH_GAP) * scale
    return (
        f'<path class="label" aria-label="{escape(text)}" d="{path}" fill="none" stroke="{colour}" '
        f'stroke-width="{weight}" stroke-linecap="round" stroke-linejoin="round" '
        f'transform="translate({_n(left)} {_n(y + height / 2)}) scale({scale:.4g})"/>'
    )


def _n(number: float) -> str:
    """A coordinate, to a hundredth, as short as can be."""
    return f"{number:.2f}".rstrip("0").rstrip(".").replace("-0.", "-.") or "0"
