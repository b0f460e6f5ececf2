"""What a person is asked at a decision: the question, its choices, and what each of them does.

A choice can be told by its number, its text, or by pointing at cells one after the other:
where it starts, then where it ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ringrift_cli.game import layout as L
from ringrift_cli.game.notation import cell_name
from ringrift_cli.game.position import Position
from ringrift_cli.game.result import Result
from ringrift_cli.game.topology import board_named

STARTING = ("place", "move", "capture", "chain", "recover", "eliminate", "extract", "forced")
ENDING = ("move", "capture", "chain", "recover")
AREAS = ("line", "region")  # choices that are a set of cells
BY_ONE_CELL = ("eliminate", "extract", "forced")  # choices that one cell names completely
# The signs of choices 1, 2, … on the board. Letters of players, and such as look like digits or are
# commands, are left out.
SIGNS = "123456789EFGJKLMNPRSTUVWXYZ"

PRICES = {
    L.RING_PRICE: "line_price",
    L.CAP_PRICE: "region_price",
    L.EXTRACTION: "recovery_price",
    L.BURIED_EXTRACTION: "region_extraction",
    L.LINE_CHOICE: "recovery_line",
}
PHASE_QUESTIONS = {
    "ring_placement": "place",
    "capture": "capture",
    "chain_capture": "chain",
    "line_processing": "line",
    "territory_processing": "region",
    "forced_elimination": "forced",
    "game_over": "over",
}


@dataclass(frozen=True)
class Choice:
    """One legal decision. `number` counts the choices of its question, from 1."""

    number: int
    action: int
    text: str

    @property
    def kind(self) -> str:
        return self.text.split(" ")[0]

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells named, in the order of the text; of a line those that collapse."""
        words = [word for word in self.text.split(" ")[1:] if "," in word]
        return tuple(words[-1].split(";")) if self.kind in AREAS else tuple(words)

    @property
    def start(self) -> str | None:
        """The cell it is about, or sets out from."""
        return self.cells[0] if self.kind in STARTING else None

    @property
    def end(self) -> str | None:
        return self.cells[-1] if self.kind in ENDING else None

    @property
    def target(self) -> str | None:
        return self.cells[1] if len(self.cells) == 3 and self.kind not in AREAS else None

    @property
    def rings(self) -> int | None:
        return int(self.text.split(" ")[2]) if self.kind == "place" else None


@dataclass(frozen=True)
class Question:
    """What the seat to move is asked; `kind` is a value of the tables above, `move` or `recover`.

    `focus` is the cell of the stack that has to go on, `stack` its rings from bottom to top.
    `recovered` tells whether the turn held a recovery, `streak` is who alone could act in the last
    full rounds, and in how many.
    """

    kind: str
    seat: int
    choices: tuple[Choice, ...]
    hand: int
    focus: str | None
    stack: str
    recovered: bool
    line_length: int
    rings_to_win: int
    cells_to_win: int
    streak: tuple[int, int] | None

    def offers(self, kind: str) -> bool:
        """Whether there is a choice of a kind."""
        return any(choice.kind == kind for choice in self.choices)


def question(position: Position) -> Question:
    """What is asked in a position."""
    board, row = board_named(position.board_name), position.row
    focus = int(row[L.FOCUS])
    streak, holder = int(row[L.STREAK]), int(row[L.HOLDER])
    return Question(
        kind=_kind(position),
        seat=position.seat,
        choices=choices(position),
        hand=position.hands[position.seat - 1],
        focus=None if focus < 0 else cell_name(board, focus),
        stack="" if focus < 0 else position.text.cells[focus][1:],
        recovered=bool(row[L.RECOVERED]),
        line_length=board.line_length(position.players),
        rings_to_win=board.elimination_threshold(position.players),
        cells_to_win=board.territory_threshold(position.players),
        streak=(holder + 1, streak) if streak > 0 and holder >= 0 else None,
    )


def _kind(position: Position) -> str:
    row = position.row
    pending = int(row[L.PENDING])
    if pending in PRICES:
        return PRICES[pending]
    if position.phase != "movement":
        return PHASE_QUESTIONS[position.phase]
    if row[L.FOCUS] >= 0:
        return "move_placed"
    return "move" if row[L.STACKS + position.seat - 1] > 0 else "recover"


def choices(position: Position) -> tuple[Choice, ...]:
    """All choices, cell by cell, those without a cell last."""
    cells = len(board_named(position.board_name).cells)
    pairs = list(zip(position.legal_actions().tolist(), position.legal_moves(), strict=True))
    pairs.sort(key=lambda pair: (not Choice(0, *pair).cells, _by_cell(pair, cells)))
    return tuple(Choice(number, *pair) for number, pair in enumerate(pairs, 1))


def _by_cell(pair: tuple[int, str], cells: int) -> tuple[int, int]:
    action, text = pair
    starts = text.split(" ")[0] in STARTING
    return (action % cells if starts else 0, action)


# ---- pointing -----------------------------------------------------------------------------------


def pointed_at(among: Sequence[Choice], cell: str) -> tuple[Choice, ...]:
    """The choices that a cell may mean: that start there, or else end there, or else take it."""
    for matches in (
        lambda choice: choice.start == cell,
        lambda choice: choice.end == cell,
        lambda choice: choice.target == cell,
        lambda choice: choice.kind in AREAS and cell in choice.cells,
    ):
        found = tuple(choice for choice in among if matches(choice))
        if found:
            return found
    return ()


def shared_start(among: Sequence[Choice]) -> str | None:
    """The cell from which all choices set out; None if they differ, or there is none."""
    starts = {choice.start for choice in among if choice.cells}
    return starts.pop() if len(starts) == 1 else None


def decides(before: Sequence[Choice], cell: str, found: Sequence[Choice]) -> bool:
    """Whether pointing at a cell is a decision: one choice, whose start was known or is enough."""
    if len(found) != 1:
        return False
    start = shared_start(before)
    return found[0].kind in BY_ONE_CELL or (start is not None and start != cell)


@dataclass(frozen=True)
class Pointing:
    """The cells of `path` were pointed at and leave the choices `left` of `every` one.

    `decided` if the last cell has decided it.
    """

    every: tuple[Choice, ...]
    left: tuple[Choice, ...]
    path: tuple[str, ...] = ()
    decided: bool = False

    def at(self, cell: str) -> Pointing | None:
        """After a further cell; None if no choice is there.

        A cell that means nothing behind the others begins anew.
        """
        for before, path in ((self.left, self.path), (self.every, ())):
            found = pointed_at(before, cell)
            if found:
                longer = path if path[-1:] == (cell,) else (*path, cell)
                return Pointing(self.every, found, longer, decides(before, cell, found))
        return None


def labels(among: Sequence[Choice], *, chosen: bool) -> dict[int, Choice]:
    """The numbers by which choices are picked.

    All choices of a question have their own numbers. Once a cell is `chosen`, they count from 1;
    placements on it go by their rings.
    """
    if not chosen:
        return {choice.number: choice for choice in among}
    if all(choice.kind == "place" for choice in among) and shared_start(among) is not None:
        return {choice.rings or 0: choice for choice in among}
    return dict(enumerate(among, 1))


def sign_of(number: int) -> str:
    """The sign that stands on the board for a choice; `*` where there are too many."""
    return SIGNS[number - 1] if number <= len(SIGNS) else "*"


def marks(position: Position, among: Mapping[int, Choice]) -> dict[str, str]:
    """Signs for the cells that can be pointed at: that of the choice where it is the only one of
    the cell, else `*`.

    Nothing if they are more than half of the board: then the sentence has to say it.
    """
    signs: dict[str, str] = {}
    texts = position.text.cells
    one_start = shared_start(tuple(among.values())) is not None
    for number, choice in among.items():
        cells, sign = choice.cells[:1], "*"
        if choice.kind in AREAS or (one_start and choice.end is not None):
            cells = choice.cells if choice.kind in AREAS else choice.cells[-1:]
            sign = sign_of(number)
        for cell in cells:
            signs[cell] = sign if signs.get(cell, sign) == sign else "*"
    if len(signs) > len(texts) // 2:
        return {}
    for cell in signs:  # a sign right before a stack would read as a part of it
        if content(position, cell).startswith("s"):
            signs[cell] = "*"
    return signs


def cell_index(board: str, cell: str) -> int:
    """The index of a cell `x,y`; -1 if the board has none."""
    x, y = map(int, cell.split(","))
    found = board_named(board).cell(x, y)
    return -1 if found is None else found


def content(position: Position, cell: str) -> str:
    """What position text says of a cell."""
    return position.text.cells[cell_index(position.board_name, cell)]


# ---- what a choice does -------------------------------------------------------------------------


@dataclass(frozen=True)
class Effects:
    """What a decision changed for the seat that took it.

    `was` says what stood on the cells that the choice names, `flipped` counts the markers of other
    seats that turned over, `captured` is the owner of a captured ring, `landed` what
    stands where the stack has gone, `follow` what the seat is asked next in the same turn.
    """

    seat: int
    was: dict[str, str]
    territory: int
    eliminated: int
    flipped: dict[int, int] = field(default_factory=dict)
    captured: int | None = None
    landed: str | None = None
    follow: str | None = None
    result: Result | None = None


def effects(before: Position, choice: Choice, after: Position) -> Effects:
    """What a choice did between two positions."""
    seat = before.seat
    old, new = before.text.cells, after.text.cells
    flipped: dict[int, int] = {}
    for was, now in zip(old, new, strict=True):
        if was[:1] == "m" and now == f"m{seat}" and was != now:
            flipped[int(was[1])] = flipped.get(int(was[1]), 0) + 1
    captured = landed = None
    if choice.target is not None:
        captured = int(content(before, choice.target)[-1])
    if choice.end is not None and choice.kind != "recover":
        landed = content(after, choice.end)
    same_turn = after.turn == before.turn and not after.is_over
    return Effects(
        seat,
        {cell: content(before, cell) for cell in choice.cells},
        new.count(f"c{seat}") - old.count(f"c{seat}"),
        after.eliminated[seat - 1] - before.eliminated[seat - 1],
        flipped,
        captured,
        landed,
        _kind(after) if same_turn else None,
        after.result(),
    )
