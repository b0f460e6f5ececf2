"""Choices of a person at a decision, and descriptions of their effects.

A choice is identified by its number, its move text, or by cells: the start, then the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ringrift_cli.game import layout as L
from ringrift_cli.game.drawing_text import LETTERS
from ringrift_cli.game.notation import cell_name
from ringrift_cli.game.position import Position
from ringrift_cli.game.result import Result
from ringrift_cli.game.topology import board_named
from ringrift_cli.text import counted

STARTING = ("place", "move", "capture", "chain", "recover", "eliminate", "extract", "forced")
ENDING = ("move", "capture", "chain", "recover")
AREAS = ("line", "region")  # kinds that consist of a set of cells
BY_ONE_CELL = ("eliminate", "extract", "forced")  # kinds identified by a single cell
# Signs of choices 1, 2, … on the board, except letters of players, letters similar to digits, and
# commands.
SIGNS = "123456789EFGJKLMNPRSTUVWXYZ"
MAX_LISTED_CELLS = 9  # of a line or region

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
class MoveChoice:
    """One legal decision. `number` counts the choices of its question, from 1."""

    number: int
    action: int
    text: str

    @property
    def kind(self) -> str:
        return self.text.split(" ")[0]

    @property
    def cells(self) -> tuple[str, ...]:
        """Cells in the order of the move text; of a line only those that collapse."""
        words = [word for word in self.text.split(" ")[1:] if "," in word]
        return tuple(words[-1].split(";")) if self.kind in AREAS else tuple(words)

    @property
    def start(self) -> str | None:
        return self.cells[0] if self.kind in STARTING else None

    @property
    def end(self) -> str | None:
        return self.cells[-1] if self.kind in ENDING else None

    @property
    def target(self) -> str | None:
        """Cell of the captured stack."""
        return self.cells[1] if len(self.cells) == 3 and self.kind not in AREAS else None

    @property
    def rings(self) -> int | None:
        return int(self.text.split(" ")[2]) if self.kind == "place" else None

    @property
    def slide(self) -> str | None:
        """Kind of a recovery slide: `line`, `fallback` or `strike`."""
        return self.text.split(" ")[-1] if self.kind == "recover" else None


@dataclass(frozen=True)
class Question:
    """Decision of the seat to move; `kind` is a key of `play.help.HEADINGS`, or `over`."""

    kind: str
    seat: int
    choices: tuple[MoveChoice, ...]
    hand: int
    focus: str | None  # cell of the stack that must continue
    stack: str  # its rings from bottom to top
    recovered: bool  # whether the turn included a recovery
    line_length: int
    rings_to_win: int
    cells_to_win: int
    streak: tuple[int, int] | None  # the only seat able to act, and number of rounds

    def offers(self, what: str) -> bool:
        """Whether there is a choice of this kind or recovery slide."""
        return any(what in (choice.kind, choice.slide) for choice in self.choices)


def question(position: Position) -> Question:
    """The question in a position."""
    board, row = board_named(position.board_name), position.row
    focus = int(row[L.FOCUS])
    streak, holder = int(row[L.STREAK]), int(row[L.HOLDER])
    return Question(
        kind=_question_kind(position),
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


def _question_kind(position: Position) -> str:
    row = position.row
    pending = int(row[L.PENDING])
    if pending in PRICES:
        return PRICES[pending]
    if position.phase != "movement":
        return PHASE_QUESTIONS[position.phase]
    if row[L.FOCUS] >= 0:
        return "move_placed"
    return "move" if row[L.STACKS + position.seat - 1] > 0 else "recover"


def choices(position: Position) -> tuple[MoveChoice, ...]:
    """All choices, sorted by cell; those without a cell last."""
    cells = len(board_named(position.board_name).cells)

    def order(choice: MoveChoice) -> tuple[bool, int, int]:
        start = choice.action % cells if choice.kind in STARTING else 0
        return not choice.cells, start, choice.action

    pairs = zip(position.legal_actions().tolist(), position.legal_moves(), strict=True)
    ordered = sorted((MoveChoice(0, *pair) for pair in pairs), key=order)
    return tuple(MoveChoice(n, choice.action, choice.text) for n, choice in enumerate(ordered, 1))


# ---- selection by cells -------------------------------------------------------------------------


def shared_start(among: Sequence[MoveChoice]) -> str | None:
    """Common start cell of the choices; None if there is none."""
    starts = {choice.start for choice in among if choice.cells}
    return starts.pop() if len(starts) == 1 else None


def _choices_at(among: Sequence[MoveChoice], cell: str) -> tuple[MoveChoice, ...]:
    """Choices that start at a cell, or else end there, or else contain it."""
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


@dataclass(frozen=True)
class Selection:
    """Choices `left` of `every` after the cells of `path`; `decided` if one is selected."""

    every: tuple[MoveChoice, ...]
    left: tuple[MoveChoice, ...]
    path: tuple[str, ...] = ()
    decided: bool = False

    def at(self, cell: str) -> Selection | None:
        """The selection after a further cell; None if no choice matches.

        A cell that does not match after the previous ones starts a new path. The selection is
        decided if a single choice is left and its start was given or is not needed.
        """
        for before, path in ((self.left, self.path), (self.every, ())):
            found = _choices_at(before, cell)
            if found:
                start = shared_start(before)
                decided = len(found) == 1 and (
                    found[0].kind in BY_ONE_CELL or start not in (None, cell)
                )
                longer = path if path[-1:] == (cell,) else (*path, cell)
                return Selection(self.every, found, longer, decided)
        return None

    @property
    def labels(self) -> dict[int, MoveChoice]:
        """Choices by input number.

        Without a selected cell the numbers of the question apply. After that choices are numbered
        from 1, and placements by their rings.
        """
        if not self.path:
            return {choice.number: choice for choice in self.left}
        if all(choice.kind == "place" for choice in self.left) and shared_start(self.left):
            return {choice.rings or 0: choice for choice in self.left}
        return dict(enumerate(self.left, 1))


def sign_of(number: int) -> str:
    """Board sign of a choice; `*` if signs are exhausted."""
    return SIGNS[number - 1] if number <= len(SIGNS) else "*"


def marks(position: Position, labels: Mapping[int, MoveChoice]) -> dict[str, str]:
    """Signs to draw before cells to mark choices on the board.

    `*` at the start of a choice, or where several share a cell; the sign of a choice at its end, if
    all start at one cell, and on the cells of lines and regions. Without these empty if more than
    half of the board would be marked.
    """
    signs: dict[str, str] = {}
    one_start = shared_start(tuple(labels.values())) is not None
    for number, choice in labels.items():
        cells, sign = choice.cells[:1], "*"
        if choice.kind in AREAS or (one_start and choice.end is not None):
            cells = choice.cells if choice.kind in AREAS else choice.cells[-1:]
            sign = sign_of(number)
        for cell in cells:
            signs[cell] = sign if signs.get(cell, sign) == sign else "*"
    areas = any(choice.kind in AREAS for choice in labels.values())
    if not areas and len(signs) > len(position.text.cells) // 2:
        return {}
    for cell in signs:  # a sign directly before a stack would look like part of it
        if content(position, cell).startswith("s"):
            signs[cell] = "*"
    return signs


def cell_index(board: str, cell: str) -> int:
    """Index of a cell `x,y`; -1 if it is not on the board."""
    x, y = map(int, cell.split(","))
    found = board_named(board).cell(x, y)
    return -1 if found is None else found


def content(position: Position, cell: str) -> str:
    """Content of a cell, as in position text."""
    return position.text.cells[cell_index(position.board_name, cell)]


# ---- effects -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Effects:
    """Effects of a decision, from the view of its seat."""

    seat: int
    was: dict[str, str]  # previous content of the cells of the choice
    territory: int
    eliminated: int
    flipped: Mapping[int, int]  # flipped markers of other seats, by seat
    captured: int | None  # owner of the captured ring
    landed: str | None  # content of the target cell
    follow: str | None  # next question of the same turn
    result: Result | None


def effects(before: Position, choice: MoveChoice, after: Position) -> Effects:
    """Effects of a choice that led from `before` to `after`."""
    seat = before.seat
    old, new = before.text.cells, after.text.cells
    same_turn = after.turn == before.turn and not after.is_over
    moved = choice.end is not None and choice.kind != "recover"
    return Effects(
        seat,
        {cell: content(before, cell) for cell in choice.cells},
        new.count(f"c{seat}") - old.count(f"c{seat}"),
        after.eliminated[seat - 1] - before.eliminated[seat - 1],
        Counter(
            int(was[1])
            for was, now in zip(old, new, strict=True)
            if was[:1] == "m" and now == f"m{seat}" and was != now
        ),
        int(content(before, choice.target)[-1]) if choice.target else None,
        content(after, choice.end) if moved and choice.end else None,
        _question_kind(after) if same_turn else None,
        after.result(),
    )


# ---- text ---------------------------------------------------------------------------------------

SKIPS = {  # description of a skip as a choice, and as a past decision
    "skip_placement": ("place nothing this turn", "placed nothing"),
    "skip_capture": ("stop here, without a capture", "did not capture"),
    "skip_recovery": ("leave your markers where they are", "did not recover"),
    "skip_territory": ("take no (further) region", "took no further region"),
}
SLIDES = {
    "line": "making a line",
    "fallback": "to an empty cell",
    "strike": "into the stack there",
}
FOLLOWS = {
    "capture": "can then capture",
    "chain": "must then capture on",
    "line": "a line then collapses",
    "region": "a region can then be taken",
}


def cap(rings: str) -> int:
    """Cap height: consecutive top rings of one colour."""
    return len(rings) - len(rings.rstrip(rings[-1]))


def stack_symbol(rings: str) -> str:
    """Board symbol of a stack: `A31` has height 3 and cap 1."""
    return f"{LETTERS[int(rings[-1]) - 1]}{len(rings)}{cap(rings)}"


def ring_letters(rings: str) -> str:
    """Rings of a stack as letters, from bottom to top."""
    return "".join(LETTERS[int(ring) - 1] for ring in rings)


def consequence(choice: MoveChoice, done: Effects) -> str:
    """Explanation of a choice and its effects; may be empty."""
    prospect = FOLLOWS.get(done.follow or "", "")
    if done.result is not None:
        prospect = "ends the game: you " + ("win" if done.result.winner == done.seat else "lose")
    return ", ".join(filter(None, (_meaning(choice, done), *_changes(done, "your own"), prospect)))


def narration(choice: MoveChoice, done: Effects) -> str:
    """Description of a past decision, to follow the name of the player."""
    more = ", ".join(_changes(done, "its own"))
    return f"{_deed(choice, done)} ({more})" if more else _deed(choice, done)


def _meaning(choice: MoveChoice, done: Effects) -> str:
    start = done.was.get(choice.start or "", "")[1:]
    match choice.kind:
        case "swap":
            return "change seats: you become A, and A goes on as B"
        case "place":
            rings = start + str(done.seat) * (choice.rings or 0)
            on = f"on top of {stack_symbol(start)}: " if start else ""
            least = counted(len(rings), "cell")
            return f"{on}a stack {stack_symbol(rings)}, to go {least} or more"
        case "capture" | "chain":
            return f"over {stack_symbol(done.was[choice.cells[1]][1:])}"
        case "recover":
            return SLIDES[choice.slide or ""]
        case "line" | "region":
            return _area(choice, done)
        case "extract":
            return f"your lowest ring in {ring_letters(start)} (bottom to top)"
        case "eliminate" | "forced":
            rest = start[: len(start) - done.eliminated]
            left = f"leaves {stack_symbol(rest)}" if rest else "nothing is left of it"
            return f"{counted(done.eliminated, 'ring')} off {stack_symbol(start)}, {left}"
    return SKIPS[choice.kind][0] if choice.kind in SKIPS else ""


def _area(choice: MoveChoice, done: Effects) -> str:
    size, cells = counted(len(choice.cells), "cell"), " ".join(choice.cells[:MAX_LISTED_CELLS])
    if len(choice.cells) > MAX_LISTED_CELLS:
        cells += " …"
    if choice.kind == "region":
        rings = sum(len(text) - 1 for text in done.was.values() if text.startswith("s"))
        holds = f"with {counted(rings, 'ring')}" if rings else "without rings"
        return f"a region of {size} {holds} ({cells})"
    if choice.text.endswith(" all"):
        return f"the whole line of {size} ({cells})"
    return f"{size} of the line, for nothing ({cells})"


def _changes(done: Effects, own: str) -> list[str]:
    """Changes on the board; `own` denotes the seat's own rings."""
    parts = []
    if done.captured is not None:
        whose = own if done.captured == done.seat else LETTERS[done.captured - 1]
        parts.append(f"takes a ring of {whose}")
    parts += [
        f"turns {counted(count, 'marker')} of {LETTERS[owner - 1]}"
        for owner, count in sorted(done.flipped.items())
    ]
    if done.territory:
        parts.append(f"+{done.territory} territory")
    stalemate = done.result is not None and done.result.reason == "stalemate"
    if done.eliminated and not stalemate:  # whose count includes rings in hand
        parts.append(f"+{done.eliminated} eliminated")
    if done.landed == "":
        parts.append("the stack is used up")
    elif done.landed is not None and not done.landed.endswith(str(done.seat)):
        parts.append(f"the stack is then {LETTERS[int(done.landed[-1]) - 1]}'s")
    return parts


def _deed(choice: MoveChoice, done: Effects) -> str:
    cells = choice.cells
    stack = done.was.get(choice.start or "", "")
    symbol = stack_symbol(stack[1:]) if stack.startswith("s") else ""
    match choice.kind:
        case "swap":
            return "swapped seats"
        case "place":
            rings = counted(choice.rings or 0, "ring")
            return f"put {rings} on {cells[0]}" + (f", where {symbol} stood" if symbol else "")
        case "move":
            return f"moved {symbol} from {cells[0]} to {cells[1]}"
        case "capture" | "chain":
            over = stack_symbol(done.was[cells[1]][1:])
            return f"captured: {symbol} from {cells[0]} over {over} on {cells[1]} to {cells[2]}"
        case "recover":
            slide = SLIDES[choice.slide or ""]
            return f"recovered: a marker slid from {cells[0]} to {cells[1]}, {slide}"
        case "line":
            return f"collapsed {counted(len(cells), 'cell')} of a line"
        case "region":
            return f"took a region of {counted(len(cells), 'cell')}"
        case "eliminate":
            return f"paid with {symbol} on {cells[0]}"
        case "extract":
            return f"paid with the lowest ring in {symbol} on {cells[0]}"
        case "forced":
            return f"could do nothing and gave up the cap of {symbol} on {cells[0]}"
    return SKIPS[choice.kind][1]
