"""The texts of `ringrift play`: each question explained, refusals, the commands, the rules."""

from __future__ import annotations

from ringrift_cli.game.drawing_text import LETTERS
from ringrift_cli.play.choices import Question, cap, ring_letters, stack_symbol
from ringrift_cli.play.session import Players
from ringrift_cli.text import counted, listed

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
LINE = (
    "{length} or more of your markers in a row are a line: it becomes your territory, for good. A "
    "line of exactly {length} goes as a whole and costs {line_price}; the ring {counts}. Of a "
    "longer line you may take just {length} cells instead, for nothing."
)
# What is asked and what it means; the fields are those of `explanation`.
EXPLANATIONS = {
    "place": "You have {hand} in hand. Put {numbers} on an empty cell, or exactly 1 on top of any "
    "stack, even another player's: the stack is then yours. You must move it at once, in a "
    "straight line and at least as many cells as it is high; where it could not, you cannot place. "
    "More rings are a stronger stack that has to go farther.",
    "move_placed": "The stack on {focus} ({symbol}: height {height}, cap {cap}) has to go. It goes "
    "in a straight line, {distance} or more, over empty cells and markers only, to an empty cell "
    "or a marker. " + TRAVEL,
    "move": "{no_placement}: one of your stacks has to move. It goes in a straight line, at least "
    "as many cells as it is high, over empty cells and markers only, to an empty cell or a marker. "
    + TRAVEL,
    "capture": "Your stack on {focus} ({symbol}) can capture from there: {jump} After a capture it "
    "must capture again as long as it can. Or skip: it stays where it is.",
    "chain": "Your stack on {focus} ({symbol}) can capture again, so it must: {jump} Where to is "
    "your choice; it may jump over the same stack again.",
    "recover": "No stack is yours, but you have rings under others, so you may recover, or skip: "
    "slide one of your markers one step. Each ring that goes {counts}.",
    "line": LINE + " A player without a stack pays nothing.",
    "recovery_line": LINE,
    "line_price": "The line costs the top ring of one of your stacks: choose which. The ring "
    "{counts}. Whoever owns the ring below it then has the stack.",
    "region": "Markers and territory have cut off a part of the board where not everybody has a "
    "stack: you may take it. Each ring in it is eliminated and {counts}; its cells and the markers "
    "around it become your territory. You pay for it afterwards, with {region_price}. Or skip.",
    "region_price": "The region costs the cap of one of your stacks, all the rings of yours on its "
    "top: choose which. Each ring {counts}. Whoever owns the ring below then has the stack.",
    "recovery_price": "The recovery costs your lowest ring in one of these stacks: choose which. "
    "It {counts}.",
    "region_extraction": "The region costs your lowest ring in one of these stacks: choose which. "
    "It {counts}.",
    "forced": "You could not place, move or capture, so one of your stacks loses its cap, the "
    "rings of yours on its top: choose which. Each ring {counts}.",
}
# Sentences that follow where the question offers a choice or a slide, and where it does not
IF_OFFERED = {
    "place": {
        "skip_placement": "Or skip: place nothing, and go on with what you have on the board.",
        "swap": "Or swap (pie rule, only now): you take over the seat of A and everything of it, "
        "and A goes on here as B.",
    },
    "move_placed": {"capture": "It can also capture: {jump}"},
    "move": {"capture": "To capture, {any_jump}"},
    "recover": {
        "line": "There it makes a row of {length} or more markers of yours, which becomes your "
        "territory.",
        "fallback": "To an empty cell (fallback) nothing else happens.",
        "strike": "Into a stack (strike) the marker is used up and the stack loses its top ring.",
    },
}
IF_NOT_OFFERED = {
    "place": {"skip_placement": "You cannot skip this, as nothing else of yours can move."},
    "move": {"move": "Here they can only capture."},
    "recover": {"line": "The price is your lowest ring in a stack, which you choose next."},
}


def heading(asked: Question, players: Players) -> str:
    """Whose decision it is, and of what kind."""
    letter = LETTERS[asked.seat - 1]
    if players.one_person:
        return f"Your turn ({letter}): {HEADINGS[asked.kind]}."
    return f"{letter}, your turn: {HEADINGS[asked.kind]}."


def explanation(asked: Question) -> str:
    """What has to be decided, what is allowed and what it means."""
    kind, height = asked.kind, len(asked.stack)
    offered, missing = IF_OFFERED.get(kind, {}), IF_NOT_OFFERED.get(kind, {})
    parts = [EXPLANATIONS[kind]]
    parts += [text for what, text in offered.items() if asked.offers(what)]
    parts += [text for what, text in missing.items() if not asked.offers(what)]
    top_cap = cap(asked.stack) if asked.stack else 0
    lowest = "your lowest ring in a stack"
    return " ".join(parts).format(
        hand=counted(asked.hand, "ring"),
        numbers=listed([str(n) for n in range(1, min(3, asked.hand) + 1)], "or"),
        focus=asked.focus,
        symbol=stack_symbol(asked.stack) if asked.stack else "",
        height=height,
        cap=top_cap,
        distance=counted(height, "cell"),
        no_placement="You place nothing" if asked.hand else "You have no ring to place",
        jump=JUMP.format(cap=top_cap, height=height),
        any_jump=JUMP.format(cap="that of your stack", height="its height"),
        length=asked.line_length,
        line_price=lowest if kind == "recovery_line" else "the top ring of one of your stacks",
        region_price=f"{lowest}, because this turn held a recovery"
        if asked.recovered
        else "the cap of one of your stacks (the rings of yours on its top)",
        counts=f"counts towards your {asked.rings_to_win} eliminated rings",
    )


def streak_warning(asked: Question, players: Players) -> str | None:
    """A warning that the game may be about to end because only one player can act."""
    if asked.streak is None:
        return None
    seat, rounds = asked.streak
    last = "last round" if rounds == 1 else f"last {rounds} rounds"
    return (
        f"Only {players.name(seat)} could place, move or capture in the {last}: after 3 such "
        "rounds that wins the game."
    )


# ---- why a cell cannot be chosen ----------------------------------------------------------------

REFUSALS = {
    "place": "a stack there could not move, for every way is blocked or too short",
    "move": "choose a stack of yours that can move, marked *",
    "recover": "choose a marker of yours that can slide, marked *",
    "line": "it is in none of the lines to choose from",
    "recovery_line": "it is in none of the lines to choose from",
    "region": "it is in none of the regions to choose from",
    "capture": "the stack on {focus} cannot land there; the cells where it can are marked",
    "chain": "the stack on {focus} cannot land there; the cells where it can are marked",
}


def refusal(asked: Question, cell: str, content: str) -> str:
    """Why no choice starts at a cell, or contains it: one sentence."""
    why = REFUSALS.get(asked.kind, "choose one of the stacks marked *").format(focus=asked.focus)
    if asked.kind == "place" and content[:1] == "m":
        why = "rings go on empty cells and on stacks"
    elif asked.kind == "place" and content[:1] == "c":
        why = "nothing ever stands there again"
    elif asked.kind == "move" and content[:1] == "s" and content.endswith(str(asked.seat)):
        why = "it cannot move, for every way is blocked or shorter than it is high"
    return f"{_content_text(cell, content)}: {why}."


def _content_text(cell: str, content: str) -> str:
    if not content:
        return f"{cell} is empty"
    owner, rings = LETTERS[int(content[-1]) - 1], content[1:]
    if content[0] != "s":
        return f"{cell} {'holds a marker' if content[0] == 'm' else 'is territory'} of {owner}"
    return (
        f"{cell} holds a stack of {owner}: {ring_letters(rings)} from bottom to top, "
        f"height {len(rings)}, cap {cap(rings)}"
    )


# ---- commands and rules -------------------------------------------------------------------------

COMMANDS = {
    "moves": "all choices with their numbers; `moves 0,0`: those at that cell",
    "more": "the next page of a long list, or just Enter",
    "back": "forget the cell that was chosen",
    "hint": "what a strong player would do; `go` then does it",
    "go": "take the move of the hint",
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
INPUT_FORMS = {
    "cell": "0,0 for the cell x = 0, y = 0; then the cell to go to, or the number of rings",
    "number": "7 for choice 7; Enter where there is only one",
    "text": "place 0,0 2 or move 0,0 2,0 or skip, as in docs/notation.md",
}


def goal(asked: Question, players: int) -> str:
    """How the game is won, in one sentence."""
    more = " and more than all others together" if players > 2 else ""
    return (
        f"You win with {asked.rings_to_win} eliminated rings to your credit (whoever owned them), "
        f"or with {asked.cells_to_win} cells of territory{more}, or by being the only one who can "
        "act for three rounds."
    )


def rules_summary(asked: Question, players: int) -> dict[str, str]:
    """The rules in short, with the numbers of this game."""
    length = asked.line_length
    return {
        "Goal": goal(asked, players),
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
