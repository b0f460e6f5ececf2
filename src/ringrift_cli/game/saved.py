"""Game rows as JSON, which is complete, and from position text, which is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta

from ringrift_cli.errors import NotationError, RulesMismatch
from ringrift_cli.game import engine, state
from ringrift_cli.game import layout as L
from ringrift_cli.game.jit import njit, pointer
from ringrift_cli.game.movement import any_stack_can_move
from ringrift_cli.game.notation import (
    PHASES,
    REASONS,
    PositionText,
    cell_name,
    cell_texts,
    parse_rows,
    rows_text,
)
from ringrift_cli.game.topology import PLAYER_COUNTS, Board, IntArray, tables
from ringrift_cli.game.version import rules_hash, rules_version
from ringrift_cli.game.victory import begin_turn

FORMAT = "ringrift-position"
VERSION = 1
PENDING = ("nothing", "ring", "cap", "extraction", "buried_extraction", "line")
PIE = ("off", "on", "swapped")
COUNTS = (("hands", L.HAND), ("eliminated", L.ELIMINATED), ("out_on_turn", L.OUT))
SEATS = (
    ("seat", L.SEAT),
    ("round_first", L.FIRST),
    ("streak_holder", L.HOLDER),
    ("winner", L.WINNER),
    ("last_actor", L.LAST_ACTOR),
)
FLAGS = (("changed", L.CHANGED), ("recovered", L.RECOVERED), ("mobile", L.MOBILE))
NUMBERS = (("turn", L.TURN, 1), ("ply", L.PLY, 0), ("streak", L.STREAK, 0))  # and minimum
CHOICES = (
    ("phase", L.PHASE, PHASES),
    ("pending", L.PENDING, PENDING),
    ("pie_rule", L.PIE, PIE),
    ("reason", L.REASON, REASONS),
)
MASKS = (("round_seen", L.SEEN), ("round_active", L.ACTIVE))


@njit()
def _put(T: IntArray, S: IntArray, cell: int, kind: int, p: int) -> None:
    if kind == L.MARKER:
        state.add_marker(pointer(T), pointer(S), cell, p)
    else:
        state.collapse(pointer(T), pointer(S), cell, p)


@njit()
def _put_stack(
    T: IntArray, S: IntArray, cell: int, top: int, bottom: int, height: int, cap: int
) -> None:
    state.drop(pointer(T), pointer(S), cell, top, bottom, height, cap)


@njit()
def _begin(T: IntArray, S: IntArray) -> None:
    begin_turn(pointer(T), pointer(S))


@njit()
def _is_mobile(T: IntArray, S: IntArray, p: int) -> bool:
    return any_stack_can_move(pointer(T), pointer(S), p)


def _fill(
    board: Board, T: IntArray, cells: Sequence[str], hands: Sequence[int], out: Sequence[int]
) -> IntArray:
    """A row with these cells, hands and eliminated rings, seat 0 to place; checks the rings."""
    S = state.new_row(T)
    engine.new_game(T, S, False)
    players, rings = int(T[L.T_PLAYERS]), int(T[L.T_RINGS])
    stacks = "".join(text for text in cells if text[:1] == "s")
    if any(stacks.count(str(p + 1)) + hands[p] > rings for p in range(players)):
        raise NotationError(f"A player has more than {rings} rings in hand and on the board.")
    used = [0] * players
    for cell, text in enumerate(cells):
        if text[:1] == "s":
            owners = [int(c) - 1 for c in text[1:]]
            below = -1
            numbers = []
            for p in owners:
                ring = p * rings + used[p]
                used[p] += 1
                S[int(T[L.T_S_BELOW]) + ring] = below
                below = ring
                numbers.append(ring)
            cap = len(text[1:]) - len(text[1:].rstrip(text[-1]))
            _put_stack(T, S, cell, numbers[-1], numbers[0], len(owners), cap)
        elif text:
            kind = L.MARKER if text[0] == "m" else L.COLLAPSED
            _put(T, S, cell, kind, int(text[1]) - 1)
    if sum(used) + sum(hands) + sum(out) != players * rings:
        raise NotationError(
            f"The rings do not add up: {sum(used)} on the board, {sum(hands)} in hand and "
            f"{sum(out)} eliminated are not {players} times {rings}."
        )
    for p in range(players):
        S[L.HAND + p] = hands[p]
        S[L.RINGS + p] = used[p]
        S[L.ELIMINATED + p] = out[p]
    return S


def to_json(board: Board, T: IntArray, S: IntArray) -> dict[str, Any]:
    """The complete state of a row. Seats count from 1; null for none."""
    players = int(T[L.T_PLAYERS])
    focus = int(S[L.FOCUS])
    document: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "rules": rules_hash(int(T[L.T_RULES])),
        "board": board.name,
        "players": players,
        "cells": rows_text(board, cell_texts(T, S)),
        "focus": None if focus < 0 else cell_name(board, focus),
    }
    for name, at in COUNTS:
        document[name] = [int(n) for n in S[at : at + players]]
    for name, at in SEATS:
        document[name] = int(S[at]) + 1 or None
    for name, at in FLAGS:
        document[name] = bool(S[at])
    for name, at, _ in NUMBERS:
        document[name] = int(S[at])
    for name, at, choices in CHOICES:
        document[name] = choices[S[at]]
    for name, at in MASKS:
        document[name] = [p + 1 for p in range(players) if S[at] >> p & 1]
    return document


Seat = Annotated[int, Meta(ge=1, le=L.MAX_PLAYERS)]
FIELDS: dict[str, Any] = {
    "board": str,
    "players": Literal[PLAYER_COUNTS],
    "cells": str,
    **{name: list[Annotated[int, Meta(ge=0, le=L.FULL)]] for name, _ in COUNTS},
    **{name: bool for name, _ in FLAGS},
    **{name: Annotated[int, Meta(ge=least, le=L.FULL)] for name, _, least in NUMBERS},
    **{name: Literal[choices] for name, _, choices in CHOICES},
    **{name: list[Seat] for name, _ in MASKS},
}
OPTIONAL = ("focus", str | None, None), *((name, Seat | None, None) for name, _ in SEATS)
SCHEMA = msgspec.defstruct("SavedPosition", [*FIELDS.items(), *OPTIONAL])


def from_json(document: Any) -> tuple[Board, int, IntArray, int]:
    """Board, players, row and version of the rules of a saved position.

    `NotationError` if it is invalid, `RulesMismatch` for another version.
    """
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise NotationError(f"Not a saved position: its format is not {FORMAT!r}.")
    rules = rules_version(document.get("rules"))
    if document.get("version") != VERSION or rules is None:
        raise RulesMismatch(
            f"Saved position of version {document.get('version')} under rules "
            f"{document.get('rules')}: this is version {VERSION}, rules {rules_hash()}."
        )
    try:
        found = msgspec.structs.asdict(msgspec.convert(document, SCHEMA))
    except msgspec.ValidationError as error:
        raise NotationError(f"Saved position: {error}.") from error
    players = found["players"]
    seats = [found[name] or 0 for name, _ in SEATS] + [n for name, _ in MASKS for n in found[name]]
    if max(seats) > players or any(len(found[name]) != players for name, _ in COUNTS):
        raise NotationError(f"Saved position: its seats or counts do not fit {players} players.")
    board, cells = parse_rows(found["cells"], players)
    if board.name != found["board"]:
        raise NotationError(f"Saved position: its cells are those of {board.name}.")
    T = tables(board.name, players, rules)
    S = _fill(board, T, cells, found["hands"], found["eliminated"])
    for name, at in COUNTS:
        S[at : at + players] = found[name]
    for name, at in SEATS:
        S[at] = (found[name] or 0) - 1
    for name, at in FLAGS:
        S[at] = found[name]
    for name, at, _ in NUMBERS:
        S[at] = found[name]
    for name, at, choices in CHOICES:
        S[at] = choices.index(found[name])
    for name, at in MASKS:
        S[at] = sum(1 << (seat - 1) for seat in {*found[name]})
    S[L.FOCUS] = _focus(board, found["focus"])
    _check_consistent(T, S)
    return board, players, S, rules


def _focus(board: Board, name: str | None) -> int:
    if name is None:
        return -1
    for cell in range(len(board.cells)):
        if cell_name(board, cell) == name:
            return cell
    raise NotationError(f"There is no cell {name!r} on {board.name}.")


# The phase of each pending payment, and whether it belongs to the turn of a recovery
DUES = {
    L.RING_PRICE: (L.LINES, None),
    L.CAP_PRICE: (L.REGIONS, False),
    L.EXTRACTION: (L.MOVEMENT, True),
    L.BURIED_EXTRACTION: (L.REGIONS, True),
    L.LINE_CHOICE: (L.MOVEMENT, True),
}


def _check_consistent(T: IntArray, S: IntArray) -> None:
    """`NotationError` unless the row is at a decision, with legal actions, or a finished game."""
    over = bool(S[L.PHASE] == L.OVER)
    if S[L.SEAT] < 0 or over != bool(S[L.WINNER] >= 0) or over != bool(S[L.REASON]):
        raise NotationError("The position has no seat to move, or a winner without being over.")
    phase, recovered = DUES.get(int(S[L.PENDING]), (S[L.PHASE], None))
    if phase != S[L.PHASE] or recovered not in (None, bool(S[L.RECOVERED])):
        raise NotationError(
            f"The pending payment does not belong to the phase {PHASES[S[L.PHASE]]}."
        )
    _check_focus(T, S)
    if over:
        return
    W = state.new_workspace()
    out = np.empty(int(T[L.T_MAX_LEGAL]), np.int32)
    if engine.legal(T, S, W, out) == 0:
        raise NotationError(f"The position has no legal move in its phase {PHASES[S[L.PHASE]]}.")
    begins = S[L.PHASE] == L.PLACEMENT or (S[L.PHASE] == L.MOVEMENT and S[L.FOCUS] < 0)
    if begins and _is_mobile(T, S, int(S[L.SEAT])) != bool(S[L.MOBILE]):
        raise NotationError("Saved position: 'mobile' contradicts its cells.")
    further = S.copy()
    engine.resume(T, further, W)
    if further[L.PHASE] != S[L.PHASE]:
        raise NotationError(f"There is nothing to decide in its phase {PHASES[S[L.PHASE]]}.")


def _check_focus(T: IntArray, S: IntArray) -> None:
    """`NotationError` unless the row has a focus cell exactly where its phase needs one."""
    phase, focus, seat = int(S[L.PHASE]), int(S[L.FOCUS]), int(S[L.SEAT])
    slid = S[L.PENDING] == L.LINE_CHOICE
    moving = phase in (L.MOVEMENT, L.CAPTURE, L.CHAIN) and S[L.PENDING] == L.NOTHING
    if focus < 0 and (slid or phase in (L.CAPTURE, L.CHAIN)):
        raise NotationError(
            f"In the phase {PHASES[phase]} a position needs a focus cell, which position text"
            " lacks: give the cell, or use a saved position (JSON)."
        )
    if focus >= 0:
        word = int(S[T[L.T_S_CELL] + focus])
        own = (L.MARKER if slid else L.STACK) << 2 | seat
        if not (slid or moving) or word & 15 != own:
            raise NotationError(
                f"In the phase {PHASES[phase]} player {seat + 1} cannot continue from that cell."
            )


def from_text(board: Board, text: PositionText, focus: str | None) -> IntArray:
    """A row from position text.

    The text is not the whole state. Assumed are: no pending payment, no pie rule, a new round, and
    a change of the board in this turn unless its phase is the first or the last. `focus`, "x,y", is
    the stack that has to continue. Phases without a decision are passed through, as in play.
    `NotationError` for a finished position, whose winner is unknown.
    """
    T = tables(board.name, text.players)
    if text.phase == "game_over":
        raise NotationError("Position text of a finished game lacks the winner: use its record.")
    S = _fill(board, T, text.cells, text.hands, text.eliminated)
    S[L.SEAT] = text.seat - 1
    S[L.PHASE] = PHASES.index(text.phase)
    S[L.FOCUS] = _focus(board, focus)
    S[L.FIRST], S[L.SEEN], S[L.ACTIVE] = -1, 0, 0
    S[L.CHANGED] = text.phase not in ("ring_placement", "forced_elimination")
    if text.phase == "ring_placement":
        _begin(T, S)
    S[L.MOBILE] = _is_mobile(T, S, int(S[L.SEAT]))
    engine.resume(T, S, state.new_workspace())
    _check_consistent(T, S)
    return S
