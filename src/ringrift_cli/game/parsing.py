"""Parses move texts, and explains why a move is not legal."""

from __future__ import annotations

import difflib
import re

from ringrift_cli.errors import IllegalMove, NotationError
from ringrift_cli.game import layout as L
from ringrift_cli.game.actions import Action, action_space
from ringrift_cli.game.notation import (
    GLOBAL_NAMES,
    PHASES,
    SLIDES,
    cell_name,
    cell_texts,
    legal_texts,
    move_text,
)
from ringrift_cli.game.topology import Board, IntArray

CELL = re.compile(r"(0|-?[1-9][0-9]?),(0|-?[1-9][0-9]?)")
SHAPES = {
    "place": "place CELL n",
    "move": "move FROM TO",
    "capture": "capture FROM TARGET TO",
    "chain": "chain FROM TARGET TO",
    "recover": "recover FROM TO line|fallback|strike",
    "line": "line CELLS all, or line CELLS CELLS",
    "eliminate": "eliminate CELL",
    "extract": "extract CELL",
    "region": "region CELLS",
    "forced": "forced CELL",
}
NEAR = 5  # legal moves named in an error


def _cell(board: Board, text: str, move: str) -> int:
    match = CELL.fullmatch(text)
    if match is None:
        raise NotationError(f"Move {move!r}: {text!r} is not a cell; expected x,y, as -1,3.")
    cell = board.cell(int(match[1]), int(match[2]))
    if cell is None:
        raise NotationError(f"Move {move!r}: there is no cell {text} on {board.name}.")
    return cell


def _cells(board: Board, text: str, move: str) -> list[int]:
    return [_cell(board, part, move) for part in text.split(";")]


def _towards(board: Board, start: int, end: int) -> tuple[int, int] | None:
    """Direction and distance from one cell to another; None if no straight line joins them."""
    (c0, r0), (c1, r1) = board.cells[start], board.cells[end]
    distance = max(abs(c1 - c0), abs(r1 - r0))
    for direction, (dx, dy) in enumerate(board.directions):
        if distance and (c0 + dx * distance, r0 + dy * distance) == (c1, r1):
            return direction, distance
    return None


def _straight(board: Board, kind: str, start: int, end: int) -> list[Action]:
    line = _towards(board, start, end)
    if line is None or (kind == "capture" and line[1] == 1):
        return []
    return [Action(kind, start, direction=line[0], distance=line[1])]


def _recover(board: Board, start: int, end: int, slide: str) -> list[Action]:
    line = _towards(board, start, end)
    if line is None or line[1] != 1:
        return []
    return [Action("recover", start, direction=line[0], slide=slide)]


def _line(board: Board, run: list[int], part: list[int] | None) -> list[Action]:
    line = _towards(board, run[0], run[-1])
    if line is None or line[0] >= len(board.axes):
        return []
    kind, first = ("line_all", run[0]) if part is None else ("line_part", part[0])
    return [Action(kind, first, axis=line[0])]


def _meanings(board: Board, text: str) -> list[Action]:
    """Possible meanings of a move text; `NotationError` for malformed text."""
    if text in GLOBAL_NAMES:
        return [Action(text)]
    word, *rest = text.split(" ")
    shape = SHAPES.get(word)
    if shape is None:
        known = ", ".join([*SHAPES, *GLOBAL_NAMES])
        raise NotationError(f"Move {text!r} begins with none of {known}.")
    if len(rest) != len(shape.split(",")[0].split(" ")) - 1:
        raise NotationError(f"Move {text!r} is not complete: expected {shape}.")
    if word == "line":
        part = None if rest[1] == "all" else _cells(board, rest[1], text)
        return _line(board, _cells(board, rest[0], text), part)
    if word == "region":
        lowest = min(_cells(board, rest[0], text))
        return [Action("region", lowest, border=b) for b in range(L.MAX_PLAYERS + 1)]
    cell = _cell(board, rest[0], text)
    if word == "place":
        if rest[1] not in ("1", "2", "3"):
            raise NotationError(f"Move {text!r}: 1, 2 or 3 rings are placed, not {rest[1]!r}.")
        return [Action("place", cell, rings=int(rest[1]))]
    if word == "move":
        return _straight(board, "move", cell, _cell(board, rest[1], text))
    if word in ("capture", "chain"):
        _cell(board, rest[1], text)
        return _straight(board, "capture", cell, _cell(board, rest[2], text))
    if word == "recover":
        if rest[2] not in SLIDES:
            raise NotationError(f"Move {text!r} ends with none of {', '.join(SLIDES)}.")
        return _recover(board, cell, _cell(board, rest[1], text), rest[2])
    return [Action(word, cell)]


def parse_move(board: Board, T: IntArray, S: IntArray, legal: IntArray, text: str) -> int:
    """The action of a move text among the legal ones, [n].

    `NotationError` for malformed text, `IllegalMove` for a move that is not legal here.
    """
    text = " ".join(text.split())
    space = action_space(board.name)
    allowed = set(legal.tolist())
    for meaning in _meanings(board, text):
        action = space.encode(meaning)
        if action in allowed and move_text(board, T, S, action) == text:
            return action
    raise illegal(board, T, S, legal, text)


def illegal(board: Board, T: IntArray, S: IntArray, legal: IntArray, text: str) -> IllegalMove:
    """The error for a move that is not legal here, with the reason and similar legal moves."""
    if len(legal) == 0:
        return IllegalMove(f"Illegal move {text!r}: the game is over.")
    texts = legal_texts(board, T, S, legal)
    near = difflib.get_close_matches(text, texts, NEAR, 0) or texts[:NEAR]
    phase = PHASES[S[L.PHASE]]
    return IllegalMove(
        f"Illegal move {text!r}: {_reason(board, T, S, text, texts)} "
        f"(player {int(S[L.SEAT]) + 1}, {phase}).",
        hint=f"{', '.join(near)} ({len(texts)} legal in all)",
    )


def illegal_action(
    board: Board, T: IntArray, S: IntArray, legal: IntArray, action: int
) -> IllegalMove:
    """The error for a number that is not a legal action here."""
    space = action_space(board.name)
    if not 0 <= action < space.size:
        return IllegalMove(
            f"There is no action {action} on {board.name}: they are 0 to {space.size - 1}."
        )
    if len(legal) == 0:
        return IllegalMove(f"Illegal action {action}: the game is over.")
    meaning = space.decode(action)
    where = "" if meaning.cell is None else f" at {cell_name(board, meaning.cell)}"
    kinds = ", ".join(sorted({space.decode(a).kind for a in legal.tolist()}))
    return IllegalMove(
        f"Illegal action {action} ({meaning.kind}{where}): player {int(S[L.SEAT]) + 1} has "
        f"{len(legal)} others, of the kinds {kinds}.",
        hint=move_text(board, T, S, int(legal[0])),
    )


def _reason(board: Board, T: IntArray, S: IntArray, text: str, texts: list[str]) -> str:
    word, *rest = text.split(" ")
    kinds = sorted({t.split(" ")[0] for t in texts})
    if word not in kinds:
        return f"the choice now is between {', '.join(kinds)}"
    if word == "place":
        return _place_reason(board, T, S, _cell(board, rest[0], text), int(rest[1]))
    if word in ("move", "capture", "chain"):
        cells = [_cell(board, part, text) for part in rest]
        return _travel_reason(board, T, S, cells)
    if word == "recover":
        slides = {t.split(" ")[-1] for t in texts if t.startswith("recover")}
        if rest[2] not in slides:
            return f"the recoveries possible now are of the kind {', '.join(sorted(slides))}"
        return "the marker must be yours and slide one step to a free cell"
    return f"it is not among the {sum(t.startswith(word) for t in texts)} legal moves of this kind"


def _place_reason(board: Board, T: IntArray, S: IntArray, cell: int, rings: int) -> str:
    what, name = cell_texts(T, S)[cell], cell_name(board, cell)
    hand = int(S[L.HAND + S[L.SEAT]])
    if what[:1] in ("m", "c"):
        return f"{name} holds {'a marker' if what[0] == 'm' else 'collapsed territory'}"
    if what and rings > 1:
        return f"on the stack on {name} exactly 1 ring is placed"
    if rings > hand:
        return f"player {int(S[L.SEAT]) + 1} has {hand} in hand"
    return f"the stack on {name} could neither move nor capture (a dead placement)"


def _travel_reason(board: Board, T: IntArray, S: IntArray, cells: list[int]) -> str:
    """Why the stack on the first cell cannot go to the last."""
    start, end, seat = cells[0], cells[-1], int(S[L.SEAT]) + 1
    whats = cell_texts(T, S)
    name = cell_name(board, start)
    if not whats[start].startswith("s"):
        return f"there is no stack on {name}"
    if not whats[start].endswith(str(seat)):
        return f"the stack on {name} is player {whats[start][-1]}'s"
    focus = int(S[L.FOCUS])
    if focus not in (-1, start):
        return f"the stack on {cell_name(board, focus)} has to move now"
    line = _towards(board, start, end)
    if line is None:
        return f"{name} and {cell_name(board, end)} are not on one line"
    height = len(whats[start]) - 1
    if line[1] < height:
        return f"a stack of height {height} travels at least {height} cells, not {line[1]}"
    if len(cells) == 3 and not whats[cells[1]].startswith("s"):
        return f"there is no stack to capture on {cell_name(board, cells[1])}"
    if len(cells) == 3 and _cap(whats[cells[1]]) > _cap(whats[start]):
        return (
            f"the cap of {cell_name(board, cells[1])} is {_cap(whats[cells[1]])}, "
            f"more than the {_cap(whats[start])} of {name}"
        )
    return "the path or the landing cell is blocked"


def _cap(stack: str) -> int:
    rings = stack[1:]
    return len(rings) - len(rings.rstrip(rings[-1]))
