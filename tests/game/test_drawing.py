"""Drawings say what the position says, cell by cell and where a player would look for it."""

from __future__ import annotations

import importlib.util
import re
import struct
from collections.abc import Iterator
from itertools import cycle
from math import dist, isclose
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree as ET

import pytest

from ringrift_cli.game.drawing_svg import draw_svg, svg_to_png
from ringrift_cli.game.drawing_text import draw_parts, draw_text
from ringrift_cli.game.notation import PositionText, parse_position
from ringrift_cli.game.topology import BOARD_NAMES, BOARDS

DOCS = Path(__file__).parents[2] / "docs"
ANSI = re.compile(r"\x1b\[[\d;]*m")

# Cell text and the symbol that draws it
SYMBOLS = {
    "": ".",
    "m1": "a",
    "m4": "d",
    "c2": "[b]",
    "c3": "[c]",
    "s1": "A11",
    "s2111": "A43",
    "s12": "B21",
    "s3333": "C44",
    "s1" + "4" * 9: "D+9",
    "s" + "4" * 12: "D++",
}
FEW = "5./3. c2 2./2. c1 4./4. s22111 s12 2./3. s2 5./5. m2 2./2. m1 4./6./5."


def full_board(board: str, phase: str = "movement") -> PositionText:
    """A position of four players with every kind of cell all over the board."""
    kinds = cycle([*SYMBOLS, "", ""])
    cells = tuple(next(kinds) for _ in BOARDS[board].cells)
    return PositionText(board, 4, cells, 3, phase, (5, 0, 17, 8), (1, 22, 3, 0))


def few(phase: str = "movement") -> PositionText:
    """A position of two players with three stacks."""
    return parse_position(f"{FEW} | 2 {phase} | 12,14 | 2,0")


def grid_lines(text: str) -> list[str]:
    """The lines of the board, without what stands below it."""
    return text.partition("\n\n")[0].split("\n")


def row_line(lines: list[str], y: int) -> tuple[int, str]:
    """Line number and line of the row that is labelled y."""
    found = [(i, line) for i, line in enumerate(lines) if re.match(rf" *{y} ", line)]
    assert found, f"no row is labelled {y} in\n" + "\n".join(lines)
    return found[0]


# ---- text --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BOARD_NAMES)
def test_each_row_holds_its_cells_in_order(name: str) -> None:
    board, position = BOARDS[name], full_board(name)
    lines = grid_lines(draw_text(position))
    for row in range(board.width):
        y = row - board.origin
        words = row_line(lines, y)[1].split("/")[0].split()
        cells = [position.cells[i] for i, (_, r) in enumerate(board.cells) if r == row]
        assert words == [str(y), *(SYMBOLS[cell] for cell in cells)]


@pytest.mark.parametrize("name", BOARD_NAMES)
def test_each_cell_stands_where_its_coordinates_say(name: str) -> None:
    """A step in x is four columns; a step in y a line up and, on hex boards, two columns."""
    board, position = BOARDS[name], full_board(name)
    lines = grid_lines(draw_text(position))
    x0, y0 = board.coordinates(0)
    first_line, line = row_line(lines, y0)
    first_column = line.index(SYMBOLS[position.cells[0]], len(str(y0)) + line.index(str(y0)))
    for cell, text in enumerate(position.cells):
        x, y = board.coordinates(cell)
        centre = first_column + 4 * (x - x0) + (2 * (y - y0) if board.hexagonal else 0)
        at = lines[first_line - (y - y0)][centre - 1 : centre + 2].strip()
        assert at == SYMBOLS[text], f"{x},{y}"


@pytest.mark.parametrize("name", ["square8", "square19"])
def test_x_of_a_square_board_stands_below_its_column(name: str) -> None:
    board = BOARDS[name]
    empty = PositionText(name, 2, ("",) * len(board.cells), 1, "movement", (1, 1), (0, 0))
    lines = grid_lines(draw_text(empty))
    assert lines[-1].split() == [str(x) for x in range(board.width)]
    for x in range(board.width):
        column = [i for i, sign in enumerate(lines[-2]) if sign == "."][x]
        assert str(x) in lines[-1][column - 1 : column + 2]


@pytest.mark.parametrize("name", ["hex8", "hexagonal"])
def test_x_of_a_hex_board_stands_at_the_upper_end_of_its_climb(name: str) -> None:
    board = BOARDS[name]
    empty = PositionText(name, 2, ("",) * len(board.cells), 1, "movement", (1, 1), (0, 0))
    lines = grid_lines(draw_text(empty))
    for column in range(board.width):
        x = column - board.origin
        top = max(r for c, r in board.cells if c == column)
        number, line = row_line(lines, top - board.origin)
        of_row = [c for c, r in board.cells if r == top]
        dots = [i for i, sign in enumerate(line) if sign == "."]
        label = re.match(r"/-?\d+", lines[number - 1][dots[of_row.index(column)] + 1 :])
        assert label is not None, f"nothing climbs from x = {x}"
        assert label[0] == f"/{x}"


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("name", BOARD_NAMES)
def test_the_drawing_fits_110_columns(name: str, colour: bool) -> None:
    text = draw_text(full_board(name), colour=colour, marks={0: "*"})
    assert max(len(ANSI.sub("", line)) for line in text.split("\n")) <= 110


@pytest.mark.parametrize("name", BOARD_NAMES)
def test_colour_adds_only_colour(name: str) -> None:
    position, marks = full_board(name), {3: ">"}
    plain = draw_text(position, marks=marks)
    assert plain.isascii()
    assert all(line == line.rstrip() for line in plain.split("\n"))
    assert "\x1b" not in plain
    coloured = draw_text(position, colour=True, marks=marks)
    assert ANSI.sub("", coloured) == plain
    shades = {coloured.split(name)[0].rsplit("\x1b", 1)[1] for name in ("A p", "B p", "C p", "D p")}
    assert len(shades) == 4


def test_a_mark_stands_right_before_its_cell() -> None:
    board = BOARDS["hex8"]
    marks = {board.index[-1 + 4, 0 + 4]: "*", board.index[1 + 4, -1 + 4]: ">", 0: "o"}
    text = draw_text(few(), marks=marks)
    assert "*B11" in row_line(grid_lines(text), 0)[1]
    assert row_line(grid_lines(text), -4)[1].split() == ["-4", "o.", ".", ".", ".", "."]
    assert ">A53" in row_line(grid_lines(text), -1)[1]
    assert "mark" in text.split("\n\n")[1]


def test_the_panel_names_the_turn_and_counts_everything() -> None:
    text = draw_text(full_board("square8", "chain_capture"))
    assert "Player 3 to move: chain capture" in text
    cells = full_board("square8").cells
    rows = [line.split() for line in text.split("\n") if " player " in line and " of " in line]
    land = [cells.count(f"c{seat}") for seat in (1, 2, 3, 4)]
    assert land[1] > 0
    assert rows == [
        f"A player 1 5 1 of 30 {land[0]} of 17".split(),
        f"B player 2 0 22 of 30 {land[1]} of 17".split(),
        f"> C player 3 17 3 of 30 {land[2]} of 17".split(),
        f"D player 4 8 0 of 30 {land[3]} of 17".split(),
    ]


def test_the_parts_can_be_arranged_anew_and_the_players_named() -> None:
    position = few()
    parts = draw_parts(position, marks={0: "*"}, names=["(you)", "(level 10)"])
    joined = draw_text(position, marks={0: "*"})
    for lines in (parts.grid, parts.legend, [parts.turn], parts.stacks):
        assert "\n".join(lines) in joined
    assert [line.split("  ")[0] for line in parts.counts[1:]] == ["", "> B (level 10)"]
    assert parts.counts[1].startswith("  A (you)      ")
    assert len({line.index(" of 18") for line in parts.counts[1:]}) == 1
    assert draw_parts(position).counts[0] in joined


def test_nobody_is_to_move_when_the_game_is_over() -> None:
    text = draw_text(few("game_over"))
    assert "Game over" in text
    assert "to move" not in text
    assert "> " not in text


def test_few_stacks_are_all_spelled_out() -> None:
    assert draw_text(few()).endswith(
        "Stacks, bottom to top:\n  1,-1=BBAAA 2,-1=AB -1,0=B\n",
    )


def test_of_many_stacks_those_are_spelled_out_whose_symbol_says_too_little() -> None:
    position = full_board("square19")
    listed = draw_text(position).split("bottom to top:\n")[1].split()
    board, expected = BOARDS["square19"], []
    for cell, text in enumerate(position.cells):
        if text in ("s2111", "s12", "s1" + "4" * 9, "s" + "4" * 12):
            x, y = board.coordinates(cell)
            expected.append(f"{x},{y}={text[1:].translate(str.maketrans('1234', 'ABCD'))}")
    assert listed == expected


# ---- SVG ---------------------------------------------------------------------------------------


def shapes(svg: str, kind: str) -> list[ET.Element]:
    return [e for e in ET.fromstring(svg).iter() if e.get("class") == kind]


def labels(svg: str) -> list[str]:
    return [e.attrib["aria-label"] for e in shapes(svg, "label")]


def first_y(shape: ET.Element) -> float:
    """The y at which a path begins."""
    return float(shape.attrib["d"].split()[1].split("v")[0])


@pytest.mark.parametrize("name", BOARD_NAMES)
def test_svg_has_a_shape_for_each_cell_ring_and_marker(name: str) -> None:
    position = full_board(name)
    svg = draw_svg(position)
    stacks = [text for text in position.cells if text.startswith("s")]
    assert len(shapes(svg, "cell")) == len(BOARDS[name].cells)
    assert len(shapes(svg, "ring")) == sum(len(text) - 1 for text in stacks)
    assert len(shapes(svg, "face")) == len(stacks)
    on_board = sum(text.startswith("m") for text in position.cells)
    assert len(shapes(svg, "marker")) == on_board + position.players  # and one in each caption row
    assert len(shapes(svg, "land")) == sum(text.startswith("c") for text in position.cells)
    assert "<text" not in svg  # it would need a font


@pytest.mark.parametrize("name", BOARD_NAMES)
def test_svg_labels_rows_columns_and_heights(name: str) -> None:
    board, position = BOARDS[name], full_board(name)
    heights = [str(len(text) - 1) for text in position.cells if text.startswith("s")]
    found = labels(draw_svg(position))
    numbers = [label for label in found if re.fullmatch(r"-?\d+", label)]
    axis = [str(n - board.origin) for n in range(board.width)]
    hands = [str(hand) for hand in position.hands]
    assert sorted(numbers) == sorted(axis + axis + heights + hands)
    assert "Player 3 to move: movement" in found
    assert f"22 of {board.elimination_threshold(4)}" in found
    assert f"{position.cells.count('c2')} of {board.territory_threshold(4)}" in found


def test_svg_piles_rings_from_bottom_to_top() -> None:
    cells = ["s1123", *[""] * 63]
    svg = draw_svg(PositionText("square8", 3, tuple(cells), 1, "movement", (1, 1, 1), (0, 0, 0)))
    rings = shapes(svg, "ring")
    fills = [ring.attrib["fill"] for ring in rings]
    assert fills[0] == fills[1]
    assert len(set(fills)) == 3
    bottoms = [first_y(ring) for ring in rings]
    assert bottoms == sorted(bottoms, reverse=True)
    assert len(set(bottoms)) == 4
    face = shapes(svg, "face")[0]
    assert float(face.attrib["cy"]) < bottoms[-1]


def badge_places(name: str, named: list[tuple[int, int]]) -> Iterator[tuple[float, float]]:
    """Where the badges of these cells are drawn: as far from each other as the cells."""
    board = BOARDS[name]
    empty = PositionText(name, 2, ("",) * len(board.cells), 1, "movement", (1, 1), (0, 0))
    marks = {board.index[x + board.origin, y + board.origin]: "*" for x, y in named}
    for badge in shapes(draw_svg(empty, marks=marks), "badge"):
        yield float(badge.attrib["cx"]), -float(badge.attrib["cy"])


@pytest.mark.parametrize("name", ["hex8", "hexagonal"])
def test_svg_puts_the_six_neighbours_of_a_hex_cell_around_it(name: str) -> None:
    steps = [(1, 0), (0, 1), (-1, 1), (-1, 0), (0, -1), (1, -1)]  # counter-clockwise from the right
    centre, *around = badge_places(name, [(0, 0), *steps])
    pitch = dist(centre, around[0])
    for here, there in zip(around, around[1:] + around[:1], strict=True):
        assert isclose(dist(centre, here), pitch, abs_tol=0.05)
        assert isclose(dist(here, there), pitch, abs_tol=0.05)
    assert around[0][0] > centre[0]
    assert around[1][1] > centre[1]


@pytest.mark.parametrize("name", ["square8", "square19"])
def test_svg_puts_x_to_the_right_and_y_upward_on_squares(name: str) -> None:
    centre, right, above = badge_places(name, [(3, 3), (4, 3), (3, 4)])
    pitch = right[0] - centre[0]
    assert pitch > 0
    assert isclose(right[1], centre[1], abs_tol=0.02)
    assert isclose(above[1] - centre[1], pitch, abs_tol=0.02)
    assert isclose(above[0], centre[0], abs_tol=0.02)


@pytest.mark.parametrize("sign", ["<", "&", '"', "é", "Q"])
def test_any_mark_leaves_the_svg_well_formed(sign: str) -> None:
    svg = draw_svg(few(), marks={7: sign})
    assert sign in labels(svg)
    assert len(shapes(svg, "mark")) == 1


# ---- PNG ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BOARD_NAMES)
def test_png_has_the_width_asked_for_and_the_proportions_of_the_svg(name: str) -> None:
    svg = draw_svg(full_board(name), size=400)
    frame = ET.fromstring(svg)
    assert frame.attrib["width"] == "400"
    png = svg_to_png(svg, 300)
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", png[16:24])
    assert width == 300
    assert abs(height - 300 * int(frame.attrib["height"]) / 400) <= 1


# ---- the figures of the documents ----------------------------------------------------------------


@pytest.fixture(scope="module")
def figures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_figures", DOCS / "make_figures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_figures_are_drawn_as_drawings_are_now(figures: ModuleType) -> None:
    files = {path.stem: path.read_text("utf-8") for path in figures.FOLDER.glob("*.svg")}
    drawn = {name: figures.drawing(figure) for name, figure in figures.FIGURES.items()}
    stale = [name for name in files.keys() | drawn.keys() if files.get(name) != drawn.get(name)]
    assert not stale, "run: python docs/make_figures.py"


def test_the_rules_show_each_figure(figures: ModuleType) -> None:
    shown = re.findall(r'src="images/rules/([\w-]+)\.svg"', (DOCS / "rules.md").read_text("utf-8"))
    assert sorted(shown) == sorted(figures.FIGURES)
