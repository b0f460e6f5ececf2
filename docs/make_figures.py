"""Draws the figures of rules.md and of the README: python docs/make_figures.py

Each figure of rules.md is a position text; marks are lettered in the order in which rules.md speaks
of them. The README shows a position of a recorded game.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ringrift_cli.game.drawing_svg import draw_svg
from ringrift_cli.game.notation import parse_position
from ringrift_cli.game.record import read_records
from ringrift_cli.game.topology import BOARDS

IMAGES = Path(__file__).parent / "images"
FOLDER = IMAGES / "rules"
WIDTH = 480

# The picture of the README: the position after so many decisions of a game, counted from 1.
GAMES = Path(__file__).parents[1] / "tests" / "conformance" / "hex8-3p.jsonl.gz"
GAME, PLY, GAME_WIDTH = 46, 90, 640


class Figure(NamedTuple):
    position: str
    marks: str = ""  # cells; the first is marked a


FIGURES = {
    "game": Figure(
        "1. s133 1. m3 1./2. s222 m1 m1 1./s111 1. m3 s23 s2223 2./2. m3 1. s222 m3 2."
        "/s1 3. s3 c3 1. s11 m3/s22 s112 2. m3 1. m2 s1111/m2 3. s22 c2 m3/m3 5."
        "/m2 m3 c1 m1 m2 | 1 movement | 5,0,9 | 0,3,4"
    ),
    "coordinates": Figure(
        "5./6./7./8./9./8./7./6./5. | 1 ring_placement | 18,18 | 0,0",
        "1,-2 2,-2 2,-3 1,-3 0,-2 0,-1 1,-1",
    ),
    "cells": Figure(
        "5./3. c2 2./2. c1 4./4. s22111 s12 2./3. s2 5./5. m2 2./2. m1 4./6./5. "
        "| 1 ring_placement | 12,14 | 2,0",
        "-2,2 1,1 0,-2 -1,0 2,-1 1,-1",
    ),
    "placement": Figure(
        "1. c2 4. c1 1./c2 s222 4. c1 c2/8./8./8./2. s2221 1. s11 3./8./8. "
        "| 1 ring_placement | 12,10 | 2,3",
        "0,0 7,0 1,1",
    ),
    "move": Figure(
        "5./6./7./8./3. c2 s11 2. s222 1./4. m2 3./7./1. c1 2. m1 1./5. | 1 movement | 14,13 | 1,3",
        "2,0 0,2 0,3 0,4 -2,2 0,-2 0,-3 0,-4 2,-2 3,-3 4,-4",
    ),
    "capture": Figure(
        "5./6./7./8./1. s111 1. s22 1. m2 1. s2 1./8./4. s2 2./6./5. | 1 movement | 13,12 | 2,2",
        "0,0 1,0 2,0",
    ),
    "capture-after": Figure(
        "5./6./7./8./1. m1 1. s2 1. m1 s2111 s2 1./8./4. s2 2./6./5. "
        "| 1 chain_capture | 13,12 | 2,2",
        "-2,0 -3,0 -4,0 -2,4",
    ),
    "travel": Figure(
        "8./8./1. s21 m2 m1 1. m2 2./8./8./8./1. s11 4. s2 1./8. | 1 movement | 12,14 | 3,2",
        "1,2 5,2",
    ),
    "travel-after": Figure(
        "8./8./1. m1 m1 c1 1. s2 2./8./8./8./1. s11 4. s2 1./8. | 2 ring_placement | 12,14 | 4,2"
    ),
    "recovery": Figure(
        "5./2. s122 3./7./8./3. m1 m1 m1 3./6. m1 1./2. s122 4./6./5. | 1 movement | 0,11 | 8,11",
        "2,1 2,0 -2,2 1,-3",
    ),
    "line": Figure(
        "8./2. m2 5./8./1. m1 m1 m1 m1 m1 2./8./4. s211 3./6. s22 1./8. "
        "| 1 line_processing | 12,12 | 4,3",
        "1,3 5,3 4,5",
    ),
    "region": Figure(
        "5./6./6. m1/1. m1 2. m2 1. m1 m2/2. s211 3. m1 s12 1./6. m1 1./6. m1/3. s22 2./5. "
        "| 1 territory_processing | 11,9 | 5,4",
        "3,0 1,-1 -2,0 -2,-1",
    ),
    "region-after": Figure(
        "5./6./6. c1/1. m1 2. c1 1. c1 c1/2. s2 3. c1 c1 c1/6. c1 c1/6. c1/3. s22 2./5. "
        "| 2 ring_placement | 11,9 | 9,4"
    ),
    "forced": Figure(
        "s2211 1. s222 5./8./s222 1. s222 5./6. m2 1./8./5. m1 2./8./8. "
        "| 1 forced_elimination | 0,4 | 10,9",
        "0,0",
    ),
}


def drawing(figure: Figure) -> str:
    """The SVG of a figure."""
    position = parse_position(figure.position)
    board = BOARDS[position.board]
    marks: dict[int, str] = {}
    for letter, name in zip("abcdefghijkl", figure.marks.split(), strict=False):
        x, y = map(int, name.split(","))
        marks[board.index[x + board.origin, y + board.origin]] = letter
    return draw_svg(position, marks=marks, size=WIDTH)


def recorded_game() -> str:
    """The SVG of the README."""
    positions = [position for position, _ in read_records(GAMES)[GAME - 1].positions()]
    return positions[PLY].board.svg(GAME_WIDTH)


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, figure in FIGURES.items():
        (FOLDER / f"{name}.svg").write_text(drawing(figure), encoding="utf-8")
    (IMAGES / "game.svg").write_text(recorded_game(), encoding="utf-8")


if __name__ == "__main__":
    main()
