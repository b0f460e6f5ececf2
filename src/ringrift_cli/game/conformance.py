"""Replays games recorded by any implementation of the rules and compares every step.

A game is a line of JSON (tests/conformance/README.md); its check ends at the first fault. Records
of this package (record.py) are replayed too.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from ringrift_cli.errors import RingriftError
from ringrift_cli.game import engine, notation, state
from ringrift_cli.game import layout as L
from ringrift_cli.game.record import (
    FORMAT,
    GameRecord,
    RecordedGame,
    RecordedStep,
    from_document,
    read_records,
)
from ringrift_cli.game.result import result_of
from ringrift_cli.game.topology import BOARD_NAMES, IntArray, board_named, tables

DIGEST_LENGTH = 12  # hex digits


class _Kind(msgspec.Struct):
    """Keys by which records of this package and manifest entries are recognised."""

    format: str | UnsetType = UNSET
    sha256: str | UnsetType = UNSET


@dataclass(frozen=True)
class Fault:
    """A difference between a record and the rules, or a defect of a record.

    `step` counts from 1; None if the fault has no step. Positions are position text; the recorded
    one is None if the record has only its digest. `only_recorded` and `only_own` are the legal
    moves on one side only, empty unless the record lists them.
    """

    kind: str
    sentence: str
    step: int | None = None
    previous_move: str | None = None
    recorded_position: str | None = None
    own_position: str | None = None
    only_recorded: tuple[str, ...] = ()
    only_own: tuple[str, ...] = ()


@dataclass(frozen=True)
class StepCheck:
    """Outcome of a check."""

    steps: int  # that agree
    fault: Fault | None  # that ended the check
    games: int = 1
    rules: int = L.RULES  # version under which the games were replayed


def check_game(line: bytes) -> StepCheck:
    """Replays the game of one line and compares it at every step."""
    game = _parse(line)
    if isinstance(game, Fault):
        return StepCheck(0, game)
    if isinstance(game, dict):
        return _check_record(game)
    replay = _Replay(game.board, game.players, game.pie_rule)
    previous: str | None = None
    for number, step in enumerate(game.steps, 1):
        own = replay.position()
        fault = replay.follow(step, own)
        if fault is not None:
            recorded = None if step.position is UNSET else step.position
            return StepCheck(number - 1, _placed(fault, number, previous, recorded, own))
        previous = step.move
    steps = len(game.steps)
    own = replay.position()
    fault = replay.conclude(game, own)
    if fault is not None:
        fault = _placed(fault, steps, previous, game.final, own)
    return StepCheck(steps, fault)


def _check_record(document: dict[str, Any]) -> StepCheck:
    """Replays a line of a readable record, which has moves and a result, but no positions."""
    try:
        return _agreeing([from_document(document)])
    except RingriftError as error:
        return StepCheck(0, Fault("record", error.message.rstrip(".")))


def check_compact(path: Path) -> StepCheck:
    """Replays all games of a compact file."""
    try:
        return _agreeing(read_records(path))
    except RingriftError as error:
        return StepCheck(0, Fault("record", error.message.removeprefix(f"{path}: ").rstrip(".")))


def _agreeing(records: list[GameRecord]) -> StepCheck:
    steps = sum(len(record.actions) for record in records)
    return StepCheck(steps, None, len(records), records[0].rules)


def _placed(fault: Fault, step: int, previous: str | None, recorded: str | None, own: str) -> Fault:
    return replace(
        fault, step=step, previous_move=previous, recorded_position=recorded, own_position=own
    )


# ---- reading ------------------------------------------------------------------------------------


def _parse(line: bytes) -> RecordedGame | dict[str, Any] | Fault:
    """The game of a line, the document of a readable record, or the fault of the line."""
    if not line.strip():
        return Fault("json", "the line is blank, expected a game")
    try:
        kind = msgspec.json.decode(line, type=_Kind)
        if kind.format == FORMAT:
            return dict(msgspec.json.decode(line))
        if kind.sha256 is not UNSET:
            return Fault("format", "the line is a manifest entry, not a game")
        game = msgspec.json.decode(line, type=RecordedGame)
    except msgspec.ValidationError as error:
        return Fault("format", f"the line is not a game: {error}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        cut = "" if line.endswith(b"\n") else ": the file is truncated, or not a file of games"
        return Fault("json", f"the line is not JSON ({error}){cut}")
    if game.board not in BOARD_NAMES:
        expected = ", ".join(BOARD_NAMES)
        return Fault("format", f"the board is {game.board!r}: expected one of {expected}")
    return game


# ---- replaying ----------------------------------------------------------------------------------


def _digest(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:DIGEST_LENGTH]


class _Replay:
    """Replays a record, one decision at a time."""

    def __init__(self, board: str, players: int, pie: bool) -> None:
        self._board = board_named(board)
        self._T = tables(board, players)
        self._S = state.new_row(self._T)
        self._W = state.new_workspace()
        self._out = np.zeros(int(self._T[L.T_MAX_LEGAL]), np.int32)
        engine.new_game(self._T, self._S, pie)

    def position(self) -> str:
        return str(notation.position_text(self._board, self._T, self._S))

    def legal(self) -> IntArray:
        """The legal actions, [n]; the next call overwrites them."""
        return self._out[: engine.legal(self._T, self._S, self._W, self._out)]

    def play(self, action: int) -> None:
        engine.apply(self._T, self._S, self._W, action)

    def _is_over(self) -> bool:
        return bool(self._S[L.PHASE] == L.OVER)

    def follow(self, step: RecordedStep, own: str) -> Fault | None:
        """Compares a step with the position `own` and plays its move."""
        if self._is_over():
            return Fault("end", f"the record has the move {step.move!r} after the end of the game")
        if step.position not in (UNSET, own):
            return Fault("position", "the positions differ")
        if step.position_sha1 != _digest(own):
            return _differ(
                "position_sha1", "digest of the position", step.position_sha1, _digest(own)
            )
        actions = self.legal()
        texts = notation.legal_texts(self._board, self._T, self._S, actions)
        fault = _compare_legal(step, sorted(texts))
        if fault is not None:
            return fault
        if step.move not in texts:
            near = " or ".join(get_close_matches(step.move, texts)) or "nothing like it"
            return Fault("move", f"the recorded move {step.move!r} is not legal; near it: {near}")
        self.play(int(actions[texts.index(step.move)]))
        return None

    def conclude(self, game: RecordedGame, own: str) -> Fault | None:
        """Compares the end of the record with the position `own` after its last step."""
        if not self._is_over():
            count = len(self.legal())
            seat, phase = self._S[L.SEAT] + 1, notation.PHASES[self._S[L.PHASE]]
            return Fault(
                "end",
                "the record stops, but the game is not over: "
                f"seat {seat} has {count} legal moves in {phase}",
            )
        if game.final != own:
            return Fault("final", "the final positions differ")
        result = result_of(self._T, self._S)
        for key, recorded, ours in (
            ("winner", game.result.winner, result.winner),
            ("reason", game.result.reason, result.reason),
            ("ranks", game.result.ranks, list(result.ranks)),
        ):
            if recorded != ours:
                return _differ(key, f"{key} of the result", recorded, ours)
        return None


def _differ(kind: str, name: str, recorded: object, own: object) -> Fault:
    return Fault(kind, f"the {name} is {recorded!r} in the record, {own!r} by the rules")


def _compare_legal(step: RecordedStep, own: list[str]) -> Fault | None:
    """Compares list, number and digest of the legal moves with `own`, which is sorted."""
    if step.legal is not UNSET and sorted(step.legal) != own:
        return Fault(
            "legal",
            "the legal moves differ",
            only_recorded=tuple(sorted(set(step.legal) - set(own))),
            only_own=tuple(sorted(set(own) - set(step.legal))),
        )
    if step.legal_count != len(own):
        return _differ("legal_count", "number of legal moves", step.legal_count, len(own))
    digest = _digest("\n".join(own))
    if step.legal_sha1 != digest:
        return _differ("legal_sha1", "digest of the legal moves", step.legal_sha1, digest)
    return None
