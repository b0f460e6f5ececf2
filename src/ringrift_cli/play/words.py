"""What `ringrift play` says of players, cells, choices, moves and results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ringrift_cli.text import counted

if TYPE_CHECKING:
    from ringrift_cli.game.position import Position
    from ringrift_cli.game.result import Result
    from ringrift_cli.play.choices import Choice, Effects
    from ringrift_cli.play.session import Sitter

LETTERS = "ABCD"
MOST_CELLS = 9  # of a line or region, that are named in a list
SKIPS = {  # what a skip is, and was
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
# What follows in the same turn, as the end of the words about a choice
FOLLOWS = {
    "capture": "can then capture",
    "chain": "must then capture on",
    "line": "a line then collapses",
    "region": "a region can then be taken",
}


@dataclass(frozen=True)
class Cast:
    """Who sits where now."""

    sitters: Sequence[Sitter]

    @property
    def one_person(self) -> bool:
        return sum(sitter.is_person for sitter in self.sitters) == 1

    def is_you(self, seat: int) -> bool:
        return self.one_person and self.sitters[seat - 1].is_person

    def name(self, seat: int) -> str:
        """`A (you)`, `B (level 5)`; `A (person)` where several people play."""
        return f"{LETTERS[seat - 1]} ({self.role(seat)})"

    def role(self, seat: int) -> str:
        return "you" if self.is_you(seat) else self.sitters[seat - 1].name

    def subject(self, seat: int) -> str:
        """The name as a sentence begins with it."""
        return f"You ({LETTERS[seat - 1]})" if self.is_you(seat) else self.name(seat)


def listed(words: Sequence[str], last: str = "and") -> str:
    """`a, b and c`."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def cap(rings: str) -> int:
    """Rings in the run of the top colour."""
    return len(rings) - len(rings.rstrip(rings[-1]))


def stack_symbol(rings: str) -> str:
    """A stack as the board draws it, from its rings: `A31` has height 3 and cap 1."""
    return f"{LETTERS[int(rings[-1]) - 1]}{len(rings)}{cap(rings)}"


def spelled(rings: str) -> str:
    """The rings of a stack by letters, from bottom to top."""
    return "".join(LETTERS[int(ring) - 1] for ring in rings)


def cell_words(cell: str, content: str) -> str:
    """What stands on a cell."""
    if not content:
        return f"{cell} is empty"
    owner = LETTERS[int(content[-1]) - 1]
    if content[0] == "m":
        return f"{cell} holds a marker of {owner}"
    if content[0] == "c":
        return f"{cell} is territory of {owner}"
    rings = content[1:]
    return (
        f"{cell} holds a stack of {owner}: {spelled(rings)} from bottom to top, "
        f"height {len(rings)}, cap {cap(rings)}"
    )


# ---- choices that can be taken ------------------------------------------------------------------


def choice_words(choice: Choice, done: Effects) -> str:
    """What a choice means beyond its text, and what it does."""
    meaning = SKIPS[choice.kind][0] if choice.kind in SKIPS else _meaning(choice, done)
    return ", ".join(filter(None, (meaning, *_effects(done, "your own"), *_prospects(done))))


def _meaning(choice: Choice, done: Effects) -> str:
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
            return SLIDES[choice.text.split(" ")[-1]]
        case "line" | "region":
            return _area(choice, done)
        case "extract":
            return f"your lowest ring in {spelled(start)} (bottom to top)"
        case "eliminate" | "forced":
            rest = start[: len(start) - done.eliminated]
            left = f"leaves {stack_symbol(rest)}" if rest else "nothing is left of it"
            return f"{counted(done.eliminated, 'ring')} off {stack_symbol(start)}, {left}"
    return ""


def _area(choice: Choice, done: Effects) -> str:
    size, cells = counted(len(choice.cells), "cell"), " ".join(choice.cells[:MOST_CELLS])
    if len(choice.cells) > MOST_CELLS:
        cells += " …"
    if choice.kind == "region":
        rings = sum(len(text) - 1 for text in done.was.values() if text.startswith("s"))
        holds = f"with {counted(rings, 'ring')}" if rings else "without rings"
        return f"a region of {size} {holds} ({cells})"
    if choice.text.endswith(" all"):
        return f"the whole line of {size} ({cells})"
    return f"{size} of the line, for nothing ({cells})"


def _effects(done: Effects, own: str) -> list[str]:
    """What changes. `own` is how the seat's own things are called."""
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
    if done.eliminated and not stalemate:  # which counts the rings in hand as well
        parts.append(f"+{done.eliminated} eliminated")
    if done.landed == "":
        parts.append("the stack is used up")
    elif done.landed is not None and not done.landed.endswith(str(done.seat)):
        parts.append(f"the stack is then {LETTERS[int(done.landed[-1]) - 1]}'s")
    return parts


def _prospects(done: Effects) -> list[str]:
    if done.result is not None:
        return ["ends the game: you " + ("win" if done.result.winner == done.seat else "lose")]
    return [FOLLOWS[done.follow]] if done.follow in FOLLOWS else []


# ---- decisions that were taken ------------------------------------------------------------------


def told_words(choice: Choice, done: Effects) -> str:
    """A decision that was taken, as the rest of a sentence that begins with who took it."""
    words = SKIPS[choice.kind][1] if choice.kind in SKIPS else _deed(choice, done)
    more = ", ".join(_effects(done, "its own"))
    return f"{words} ({more})" if more else words


def _deed(choice: Choice, done: Effects) -> str:
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
            slide = SLIDES[choice.text.split(" ")[-1]]
            return f"recovered: a marker slid from {cells[0]} to {cells[1]}, {slide}"
        case "line":
            return f"collapsed {counted(len(cells), 'cell')} of a line"
        case "region":
            return f"took a region of {counted(len(cells), 'cell')}"
        case "eliminate":
            return f"paid with {symbol} on {cells[0]}"
        case "extract":
            return f"paid with the lowest ring in {symbol} on {cells[0]}"
    return f"could do nothing and gave up the cap of {symbol} on {cells[0]}"


# ---- results ------------------------------------------------------------------------------------


def result_words(position: Position, result: Result, cast: Cast, needed: tuple[int, int]) -> str:
    """Who won and why. `needed` are the rings and the cells that win."""
    seat = result.winner
    rings, cells = position.eliminated[seat - 1], position.territory[seat - 1]
    why = {
        "ring_elimination": (
            f"by ring elimination: {rings} eliminated rings, where {needed[0]} were needed"
        ),
        "territory_control": (
            f"by territory: {cells} cells, where {needed[1]} were needed and more than all others "
            "have together"
        ),
        "last_player_standing": (
            "as the last player standing: nobody else could place, move or capture any more"
        ),
        "stalemate": (
            "the stalemate: no stack is on the board and nobody can place; the most territory "
            "decided, then eliminated rings, then markers"
        ),
    }[result.reason]
    return f"{cast.subject(seat)} won {why}."


def standings(position: Position, result: Result, cast: Cast) -> list[str]:
    """A line for each rank."""
    order = sorted(range(1, position.players + 1), key=lambda seat: result.ranks[seat - 1])
    width = max(len(cast.name(seat)) for seat in order)
    return [
        f"  {result.ranks[seat - 1]}. {cast.name(seat):<{width}}"
        f"   territory {position.territory[seat - 1]}, eliminated "
        f"{position.eliminated[seat - 1]}, markers {position.markers[seat - 1]}"
        for seat in order
    ]


def resigned_words(seat: int, cast: Cast) -> str:
    """How a game ended that somebody gave up."""
    text = f"{cast.subject(seat)} resigned"
    if len(cast.sitters) > 2:
        return f"{text}: the game stops here, without a winner."
    return f"{text}: {cast.subject(3 - seat)} won."


def chances_words(values: Sequence[float], cast: Cast) -> str:
    """The chances to win by seat, in per cent."""
    return ", ".join(
        f"{cast.name(seat)} {100 * value:.0f} %" for seat, value in enumerate(values, 1)
    )
