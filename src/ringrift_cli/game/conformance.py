"""Games recorded by any implementation of the rules, replayed and compared at every step.

One game is one line of JSON; tests/conformance/README.md describes it. `check_game` replays one
line; the first fault ends the check of a game. Our own records (record.py) are replayed too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from ringrift_cli.errors import RingriftError
from ringrift_cli.game import engine, notation, state
from ringrift_cli.game import layout as L
from ringrift_cli.game.record import READABLE, from_document, read_records
from ringrift_cli.game.result import result_of
from ringrift_cli.game.topology import BOARD_NAMES, PLAYER_COUNTS, IntArray, board_named, tables

DIGEST_LENGTH = 12  # hex digits
JSON_NAMES = {
    bool: "true or false",
    dict: "an object",
    int: "a number",
    list: "a list",
    str: "a text",
}
GAME_KEYS: Mapping[str, type] = {
    "board": str,
    "players": int,
    "pie_rule": bool,
    "seed": int,
    "steps": list,
    "final": str,
    "result": dict,
}
STEP_KEYS: Mapping[str, type] = {
    "move": str,
    "position_sha1": str,
    "legal_count": int,
    "legal_sha1": str,
}
OPTIONAL_STEP_KEYS: Mapping[str, type] = {"position": str, "legal": list}
RESULT_KEYS: Mapping[str, type] = {"winner": int, "reason": str, "ranks": list}


@dataclass(frozen=True)
class Fault:
    """Where a record and the rules part, or where a record cannot be read.

    `step` counts from 1, None where it is not about a step. Positions are position text; the
    recorded one is None where the record has only its digest. `only_recorded` and `only_own` are
    the legal moves that one side alone has, empty unless the record lists them.
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
class Check:
    """Outcome of a check: the steps that agree, what ended it, and how many games it was about."""

    steps: int
    fault: Fault | None
    games: int = 1


def check_game(line: bytes) -> Check:
    """Replays the game of one line and compares it at every step."""
    game = _parse(line)
    if isinstance(game, Fault):
        return Check(0, game)
    if game.get("format") == READABLE:
        return _check_record(game)
    replay = _Replay(game["board"], game["players"], game["pie_rule"])
    previous: str | None = None
    for number, step in enumerate(game["steps"], 1):
        own = replay.position()
        fault = replay.follow(step, own)
        if fault is not None:
            recorded = step.get("position")
            return Check(number - 1, _placed(fault, number, previous, recorded, own))
        previous = step["move"]
    steps = len(game["steps"])
    own = replay.position()
    fault = replay.conclude(game, own)
    if fault is not None:
        fault = _placed(fault, steps, previous, game["final"], own)
    return Check(steps, fault)


def _check_record(document: dict[str, Any]) -> Check:
    """Replays a line of our own readable form, which has moves and a result, no positions."""
    try:
        record = from_document(document)
    except RingriftError as error:
        return Check(0, Fault("record", error.message.rstrip(".")))
    return Check(len(record.actions), None)


def check_compact(path: Path) -> Check:
    """Replays all games of a compact file."""
    try:
        records = read_records(path)
    except RingriftError as error:
        return Check(0, Fault("record", error.message.removeprefix(f"{path}: ").rstrip(".")))
    return Check(sum(len(record.actions) for record in records), None, len(records))


def _placed(fault: Fault, step: int, previous: str | None, recorded: str | None, own: str) -> Fault:
    return replace(
        fault, step=step, previous_move=previous, recorded_position=recorded, own_position=own
    )


# ---- reading ------------------------------------------------------------------------------------


def _parse(line: bytes) -> dict[str, Any] | Fault:
    """The game of a line, its keys and types checked, or why there is none."""
    if not line.strip():
        return Fault("json", "the line is blank where a game should stand")
    cut = "" if line.endswith(b"\n") else ": the file is cut short, or is no file of games"
    try:
        game = json.loads(line.decode("utf-8"))
    except json.JSONDecodeError as error:
        return Fault("json", f"the line stops being JSON at character {error.pos + 1}{cut}")
    except (ValueError, RecursionError) as error:  # no UTF-8, endless digits or brackets
        return Fault("json", f"the line is no JSON ({error}){cut}")
    if isinstance(game, dict) and game.get("format") == READABLE:
        return game
    problem = _misshapen(game)
    return Fault("format", problem) if problem else game


def _misshapen(game: object) -> str | None:
    """What a decoded line lacks to be a game."""
    if not isinstance(game, dict):
        return "the line is no JSON object"
    if "sha256" in game:
        return "the line is an entry of a manifest, not a game"
    problem = _missing(game, GAME_KEYS, "the game") or _missing(
        game["result"], RESULT_KEYS, "the result"
    )
    if problem:
        return problem
    if game["board"] not in BOARD_NAMES:
        return f"the board is {game['board']!r}: expected one of {', '.join(BOARD_NAMES)}"
    if game["players"] not in PLAYER_COUNTS:
        return f"the game has {game['players']} players: expected 2, 3 or 4"
    for number, step in enumerate(game["steps"], 1):
        where = f"step {number}"
        if not isinstance(step, dict):
            return f"{where} is no JSON object"
        optional = {key: kind for key, kind in OPTIONAL_STEP_KEYS.items() if key in step}
        problem = _missing(step, {**STEP_KEYS, **optional}, where)
        if problem:
            return problem
        if not all(isinstance(move, str) for move in step.get("legal", ())):
            return f"{where} lists a legal move that is no text"
    return None


def _missing(holder: Mapping[str, object], keys: Mapping[str, type], where: str) -> str | None:
    for key, kind in keys.items():
        if key not in holder:
            return f"{where} has no {key!r}"
        if type(holder[key]) is not kind:  # true is an int to isinstance
            return f"{key!r} of {where} is {holder[key]!r:.40}: expected {JSON_NAMES[kind]}"
    return None


# ---- replaying ----------------------------------------------------------------------------------


def _digest(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:DIGEST_LENGTH]


class _Replay:
    """A game that follows a record one decision at a time."""

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

    def follow(self, step: Mapping[str, Any], own: str) -> Fault | None:
        """Compares a step with the position `own` and plays its move."""
        move = step["move"]
        if self._is_over():
            return Fault("end", f"the record goes on with {move!r}, but the game is over")
        if step.get("position", own) != own:
            return Fault("position", "the positions differ")
        if step["position_sha1"] != _digest(own):
            return _differ("position_sha1", "digest of the position", step, _digest(own))
        actions = self.legal()
        texts = notation.legal_texts(self._board, self._T, self._S, actions)
        fault = _compare_legal(step, sorted(texts))
        if fault is not None:
            return fault
        if move not in texts:
            near = " or ".join(get_close_matches(move, texts)) or "nothing like it"
            return Fault("move", f"the recorded move {move!r} is not legal; near it: {near}")
        self.play(int(actions[texts.index(move)]))
        return None

    def conclude(self, game: Mapping[str, Any], own: str) -> Fault | None:
        """Compares the end of the record with the position `own` after its last step."""
        if not self._is_over():
            count = len(self.legal())
            seat, phase = self._S[L.SEAT] + 1, notation.PHASES[self._S[L.PHASE]]
            return Fault(
                "end",
                "the record stops, but the game is not over: "
                f"seat {seat} has {count} legal moves in {phase}",
            )
        if game["final"] != own:
            return Fault("final", "the final positions differ")
        result = result_of(self._T, self._S)
        values = {
            "winner": result.winner,
            "reason": result.reason,
            "ranks": list(result.ranks),
        }
        for key, value in values.items():
            if game["result"][key] != value:
                return _differ(key, f"{key} of the result", game["result"], value)
        return None


def _differ(key: str, name: str, recorded: Mapping[str, Any], own: object) -> Fault:
    return Fault(key, f"the {name} is {recorded[key]!r} in the record, {own!r} by the rules")


def _compare_legal(step: Mapping[str, Any], own: list[str]) -> Fault | None:
    """Compares list, number and digest of the legal moves with `own`, which is sorted."""
    listed = step.get("legal", own)
    if sorted(listed) != own:
        return Fault(
            "legal",
            "the legal moves differ",
            only_recorded=tuple(sorted(set(listed) - set(own))),
            only_own=tuple(sorted(set(own) - set(listed))),
        )
    if step["legal_count"] != len(own):
        return _differ("legal_count", "number of legal moves", step, len(own))
    digest = _digest("\n".join(own))
    if step["legal_sha1"] != digest:
        return _differ("legal_sha1", "digest of the legal moves", step, digest)
    return None
