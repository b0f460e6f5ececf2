"""What `ringrift play` explains: each question as it comes up, the commands, the rules in short."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringrift_cli.play.words import LETTERS, Cast, cap, cell_words, listed, stack_symbol
from ringrift_cli.text import counted

if TYPE_CHECKING:
    from ringrift_cli.play.choices import Question

HEADINGS = {
    "place": "place rings",
    "move": "move a stack",
    "move_placed": "move the stack you placed on",
    "recover": "recover, or not",
    "recovery_line": "choose the line",
    "recovery_price": "pay for the recovery",
    "capture": "capture, or stop",
    "chain": "the capture goes on",
    "line": "a line collapses",
    "line_price": "pay for the line",
    "region": "take a region, or stop",
    "region_price": "pay for the region",
    "region_extraction": "pay for the region",
    "forced": "forced elimination",
}
TRAVEL = (
    "It leaves a marker of yours behind. Markers of others that it passes become yours, your own "
    "become your territory. If it ends on a marker, that marker and the stack's top ring go."
)
JUMP = (
    "jump in a straight line over one stack, even your own, whose cap is at most {cap}, and land "
    "behind it, at least {height} from where you start. Its top ring goes under your stack."
)


def heading(asked: Question, cast: Cast) -> str:
    """Whose decision it is, and of what kind."""
    letter = LETTERS[asked.seat - 1]
    if cast.one_person:
        return f"Your turn ({letter}): {HEADINGS[asked.kind]}."
    return f"{letter}, your turn: {HEADINGS[asked.kind]}."


def explanation(asked: Question) -> str:
    """What is asked, what is allowed and what it means."""
    return {
        "place": _place,
        "move": _move,
        "move_placed": _move_placed,
        "recover": _recover,
        "recovery_line": _line,
        "recovery_price": _extraction,
        "capture": _capture,
        "chain": _chain,
        "line": _line,
        "line_price": _line_price,
        "region": _region,
        "region_price": _region_price,
        "region_extraction": _extraction,
        "forced": _forced,
    }[asked.kind](asked)


def _counts(asked: Question) -> str:
    return f"counts towards your {asked.rings_to_win} eliminated rings"


def _place(asked: Question) -> str:
    numbers = listed([str(n) for n in range(1, min(3, asked.hand) + 1)], "or")
    text = (
        f"You have {counted(asked.hand, 'ring')} in hand. Put {numbers} on an empty cell, or "
        "exactly 1 on top of any stack, even another player's: the stack is then yours. You must "
        "move it at once, in a straight line and at least as many cells as it is high; where it "
        "could not, you cannot place. More rings are a stronger stack that has to go farther."
    )
    if asked.offers("skip_placement"):
        text += " Or skip: place nothing, and go on with what you have on the board."
    else:
        text += " You cannot skip this, as nothing else of yours can move."
    if asked.offers("swap"):
        text += (
            " Or swap (pie rule, only now): you take over the seat of A and everything of it, and "
            "A goes on here as B."
        )
    return text


def _jump(asked: Question) -> str:
    return JUMP.format(cap=cap(asked.stack), height=len(asked.stack))


def _move_placed(asked: Question) -> str:
    symbol, height = stack_symbol(asked.stack), len(asked.stack)
    text = (
        f"The stack on {asked.focus} ({symbol}: height {height}, cap {cap(asked.stack)}) has to "
        f"go. It goes in a straight line, {counted(height, 'cell')} or more, over empty cells and "
        f"markers only, to an empty cell or a marker. {TRAVEL}"
    )
    return f"{text} It can also capture: {_jump(asked)}" if asked.offers("capture") else text


def _move(asked: Question) -> str:
    why = "You have no ring to place" if asked.hand == 0 else "You place nothing"
    text = f"{why}: one of your stacks has to move"
    if not asked.offers("move"):
        text += " and can only capture"
    else:
        text += (
            ". It goes in a straight line, at least as many cells as it is high, over empty cells "
            "and markers only, to an empty cell or a marker"
        )
    text += f". {TRAVEL}"
    if asked.offers("capture"):
        jump = JUMP.format(cap="that of your stack", height="its height")
        text += f" To capture, {jump}"
    return text


def _capture(asked: Question) -> str:
    return (
        f"Your stack on {asked.focus} ({stack_symbol(asked.stack)}) can capture from there: "
        f"{_jump(asked)} After a capture it must capture again as long as it can. Or skip: it "
        "stays where it is."
    )


def _chain(asked: Question) -> str:
    return (
        f"Your stack on {asked.focus} ({stack_symbol(asked.stack)}) can capture again, so it must: "
        f"{_jump(asked)} Where to is your choice; it may jump over the same stack again."
    )


def _recover(asked: Question) -> str:
    slides = {choice.text.split(" ")[-1] for choice in asked.choices if choice.kind == "recover"}
    text = (
        "No stack is yours, but you have rings under others, so you may recover: slide one of "
        "your markers one step. "
    )
    if "line" in slides:
        text += (
            f"There it makes a row of {asked.line_length} or more markers of yours, which becomes "
            "your territory. "
        )
    if "fallback" in slides:
        text += "To an empty cell (fallback) nothing else happens. "
    if "strike" in slides:
        text += "Into a stack (strike) the marker is used up and the stack loses its top ring. "
    if "line" not in slides:
        text += "The price is your lowest ring in a stack, which you choose next. "
    return f"{text}Each ring that goes {_counts(asked)}. Or skip."


def _line(asked: Question) -> str:
    length = asked.line_length
    price = "the top ring of one of your stacks"
    if asked.kind == "recovery_line":
        price = "your lowest ring in a stack"
    text = (
        f"{length} or more of your markers in a row are a line: it becomes your territory, for "
        f"good. A line of exactly {length} goes as a whole and costs {price}; the ring "
        f"{_counts(asked)}. Of a longer line you may take just {length} cells instead, for nothing."
    )
    if asked.kind == "line":
        text += " A player without a stack pays nothing."
    return text


def _line_price(asked: Question) -> str:
    return (
        "The line costs the top ring of one of your stacks: choose which. The ring "
        f"{_counts(asked)}. Whoever owns the ring below it then has the stack."
    )


def _region(asked: Question) -> str:
    price = "the cap of one of your stacks (the rings of yours on its top)"
    if asked.recovered:
        price = "your lowest ring in a stack, because this turn held a recovery"
    return (
        "Markers and territory have cut off a part of the board where not everybody has a stack: "
        f"you may take it. Each ring in it is eliminated and {_counts(asked)}; its cells and the "
        f"markers around it become your territory. You pay for it afterwards, with {price}. Or "
        "skip."
    )


def _region_price(asked: Question) -> str:
    return (
        "The region costs the cap of one of your stacks, all the rings of yours on its top: choose "
        f"which. Each ring {_counts(asked)}. Whoever owns the ring below then has the stack."
    )


def _extraction(asked: Question) -> str:
    what = "recovery" if asked.kind == "recovery_price" else "region"
    return (
        f"The {what} costs your lowest ring in one of these stacks: choose which. It "
        f"{_counts(asked)}."
    )


def _forced(asked: Question) -> str:
    return (
        "You could not place, move or capture, so one of your stacks loses its cap, the rings of "
        f"yours on its top: choose which. Each ring {_counts(asked)}."
    )


def streak_words(asked: Question, cast: Cast) -> str | None:
    """A warning that the game may be about to end because only one player can act."""
    if asked.streak is None:
        return None
    seat, rounds = asked.streak
    last = "last round" if rounds == 1 else f"last {rounds} rounds"
    return (
        f"Only {cast.name(seat)} could place, move or capture in the {last}: after 3 such rounds "
        "that wins the game."
    )


# ---- why a cell cannot be chosen ----------------------------------------------------------------


def refusal(asked: Question, cell: str, content: str) -> str:
    """Why no choice begins at a cell, or contains it: one sentence."""
    what = cell_words(cell, content)
    mine = content.startswith("s") and content.endswith(str(asked.seat))
    match asked.kind:
        case "place":
            why = "a stack there could not move, for every way is blocked or too short"
            if content[:1] == "m":
                why = "rings go on empty cells and on stacks"
            elif content[:1] == "c":
                why = "nothing ever stands there again"
        case "move":
            why = "choose a stack of yours that can move, marked *"
            if mine:
                why = "it cannot move, for every way is blocked or shorter than it is high"
        case "recover":
            why = "choose a marker of yours that can slide, marked *"
        case "line" | "recovery_line":
            why = "it is in none of the lines to choose from"
        case "region":
            why = "it is in none of the regions to choose from"
        case "capture" | "chain":
            why = f"the stack on {asked.focus} cannot land there; the cells where it can are marked"
        case _:
            why = "choose one of the stacks marked *"
    return f"{what[0].upper()}{what[1:]}: {why}."


# ---- commands and rules -------------------------------------------------------------------------

COMMANDS = {
    "moves": "all choices with their numbers; `moves 0,0`: those at that cell",
    "more": "the next page of a long list, or just Enter",
    "back": "forget the cell that was chosen",
    "hint": "what a strong player would do; `go` then does it",
    "go": "do what the hint said",
    "eval": "the chances of every player, as a strong player sees them",
    "undo": "back to your last decision",
    "board": "the board and the question again",
    "brief": "no explanations from now on, or explanations again",
    "log": "the moves of the game so far",
    "replay": "step through the game so far",
    "rules": "the rules in short",
    "save": "`save game.json`: a copy; `save game.jsonl`: a record of a finished game",
    "resign": "give up",
    "quit": "leave; the game is kept, to go on later",
    "help": "this",
}
WAYS = {
    "cell": "0,0 for the cell x = 0, y = 0; then the cell to go to, or the number of rings",
    "number": "7 for choice 7; Enter where there is only one",
    "text": "place 0,0 2 or move 0,0 2,0 or skip, as in docs/notation.md",
}


def goal_text(asked: Question, players: int) -> str:
    """How the game is won, in one sentence."""
    more = " and more than all others together" if players > 2 else ""
    return (
        f"You win with {asked.rings_to_win} eliminated rings to your credit (whoever owned them), "
        f"or with {asked.cells_to_win} cells of territory{more}, or by being the only one who can "
        "act for three rounds."
    )


def rules_table(asked: Question, players: int) -> dict[str, str]:
    """The rules in short, with the numbers of this game."""
    length = asked.line_length
    return {
        "Goal": goal_text(asked, players),
        "Stacks": "Rings are piled to stacks. The owner of the top ring has the stack. Its "
        "height is the number of its rings, its cap the run of rings of the top colour on its top.",
        "Turn": "First place 1 to 3 rings on an empty cell, or 1 on top of any stack, or skip. "
        "Then move: the stack you placed on, or, if you skipped, any of yours. Then come your "
        "lines and regions.",
        "Moving": "A stack goes in a straight line, at least as many cells as it is high, over "
        "empty cells and markers, to an empty cell or a marker.",
        "Capturing": "Or it jumps over one stack whose cap is not greater than its own. The top "
        "ring of that goes to the bottom of the jumping stack. After a move a stack may capture; "
        "after a capture it must go on as long as it can.",
        "Trail": "A stack leaves a marker where it starts. It turns markers of others on its way "
        "into yours, and yours into territory. Ending on a marker costs the marker and the "
        "stack's top ring, which counts as eliminated by you.",
        "Lines": f"{length} of your markers in a row become territory; the price is the top ring "
        f"of one of your stacks. Of a longer row you may take {length} for nothing.",
        "Regions": "A part of the board that markers and territory cut off, and in which not "
        "everybody has a stack, can be taken by who has a stack outside it; it may well be the "
        "greater part. Its rings are eliminated, its cells and the markers around it become "
        "territory. The price is the cap of one of your stacks.",
        "Territory": "is for good: nothing stands on it or passes over it any more.",
        "Recovery": "Without a stack, but with rings under others, you may slide a marker one "
        "step, into a line if you can; the price is mostly your lowest ring in a stack.",
        "Forced": "If you can do nothing at all, one of your stacks loses its cap.",
        "More": "docs/rules.md, with pictures",
    }
