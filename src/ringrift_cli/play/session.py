"""A game of people against players: who sits where, what was decided, and the file it is kept in.

Nothing here knows of a screen. The file holds the setting and the moves, which are replayed when it
is read; a player's random numbers depend on the seed and the ply alone, so that a game goes on the
same after an undo or from its file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ringrift_cli.errors import PlayerError, RecordError, RingriftError, RulesMismatch
from ringrift_cli.game import layout as L
from ringrift_cli.game import playout
from ringrift_cli.game.position import Position
from ringrift_cli.game.record import GameRecord, write_records
from ringrift_cli.game.topology import board_named, check_pie, check_players
from ringrift_cli.game.version import rules_hash
from ringrift_cli.players.player import Choices, Decisions, Player
from ringrift_cli.store.files import write_whole

FORMAT = "ringrift-play"
VERSION = 1
MakePlayer = Callable[[str], Player]


@dataclass(frozen=True)
class Sitter:
    """Who sits at a seat: a person, or the player of a spec, which a level may have named."""

    spec: str | None = None
    level: int | None = None

    @property
    def is_person(self) -> bool:
        return self.spec is None

    @property
    def name(self) -> str:
        if self.spec is None:
            return "person"
        return self.spec if self.level is None else f"level {self.level}"


@dataclass(frozen=True)
class Setting:
    """What is played. `sitters` are by the seats at the start: a swap exchanges two."""

    board: str
    sitters: tuple[Sitter, ...]
    seed: int
    pie_rule: bool = False

    @property
    def players(self) -> int:
        return len(self.sitters)


@dataclass(frozen=True)
class Saved:
    """A game in a file: the actions from the start, and the seat that resigned, if one did."""

    setting: Setting
    actions: tuple[int, ...] = ()
    resigned: int | None = None


class Session:
    """A game under way. Seats count from 1."""

    def __init__(self, saved: Saved, make: MakePlayer) -> None:
        """Makes all the players at once, so that one that cannot play is known before a game."""
        setting = saved.setting
        self.setting = setting
        self.resigned: int | None = None
        self._make = make
        self._made: dict[str, Player] = {}
        start = Position.initial(setting.board, setting.players, pie_rule=setting.pie_rule)
        self._positions = [start]
        self._actions: list[int] = []
        self._moves: list[str] = []
        for action in saved.actions:
            self._go(action)
        self.resigned = saved.resigned
        try:
            for sitter in setting.sitters:
                if sitter.spec is not None:
                    self.player(sitter.spec)
        except RingriftError:
            self.close()
            raise

    # ---- what stands -----------------------------------------------------------------------------

    @property
    def position(self) -> Position:
        return self._positions[-1]

    @property
    def positions(self) -> Sequence[Position]:
        """Every position from the start to now."""
        return self._positions

    @property
    def moves(self) -> Sequence[str]:
        """Texts of the moves from the start."""
        return self._moves

    @property
    def actions(self) -> Sequence[int]:
        return self._actions

    @property
    def is_over(self) -> bool:
        return self.position.is_over or self.resigned is not None

    def sitting(self, position: Position) -> tuple[Sitter, ...]:
        """Who sits where in a position of the game, by seat."""
        swapped = position.row[L.PIE] == L.PIE_SWAPPED
        return self.setting.sitters[::-1] if swapped else self.setting.sitters

    def mover(self, position: Position) -> Sitter:
        """Who decides in a position."""
        return self.sitting(position)[position.seat - 1]

    @property
    def persons_turn(self) -> bool:
        return not self.is_over and self.mover(self.position).is_person

    # ---- going on --------------------------------------------------------------------------------

    def play(self, action: int) -> None:
        """A person's decision; `IllegalMove` if it is none."""
        self._go(action)

    def _go(self, action: int) -> None:
        move = self.position.move(action)
        self._positions.append(self.position.play(action))
        self._actions.append(action)
        self._moves.append(move)

    def answer(self) -> None:
        """Lets the player who is to move decide once; `PlayerError` if it does not."""
        sitter = self.mover(self.position)
        assert sitter.spec is not None
        choices = self._ask(sitter.spec)
        self._go(int(choices.actions[0]))

    def advice(self, adviser: Sitter) -> Choices:
        """What another player would do now, and how it sees the chances."""
        assert adviser.spec is not None
        return self._ask(adviser.spec)

    def _ask(self, spec: str) -> Choices:
        position = self.position
        asked = Decisions(
            self.setting.board,
            self.setting.players,
            position.row[None],
            playout.game_seeds(self.setting.seed, position.ply, 1),
            [tuple(self._actions)],
            self.setting.pie_rule,
        )
        choices = self.player(spec).choose(asked)
        action = int(choices.actions[0])
        if action not in position.legal_actions():
            raise PlayerError(f"Player {spec!r} chose the action {action}, not legal in {position}")
        return choices

    def player(self, spec: str) -> Player:
        """The player of a spec, made when it is first needed."""
        if spec not in self._made:
            self._made[spec] = self._make(spec)
        return self._made[spec]

    def undo(self) -> int:
        """Takes back what was decided since the last decision of a person, and that.

        A resignation counts as one. Returns how many decisions are gone, 0 if there is none.
        """
        if self.resigned is not None:
            self.resigned = None
            return 1
        before = self.position.ply
        for ply in range(before - 1, -1, -1):
            if self.mover(self._positions[ply]).is_person:
                del self._positions[ply + 1 :], self._actions[ply:], self._moves[ply:]
                return before - ply
        return 0

    def resign(self) -> None:
        """The person to move gives up, which ends the game."""
        self.resigned = self.position.seat

    def close(self) -> None:
        """Lets go of the players."""
        while self._made:
            self._made.popitem()[1].close()

    # ---- keeping it ------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """The whole game as a versioned document."""
        setting = self.setting
        return {
            "format": FORMAT,
            "version": VERSION,
            "rules": rules_hash(),
            "board": setting.board,
            "players": setting.players,
            "pie_rule": setting.pie_rule,
            "seed": setting.seed,
            "seats": [{"spec": sitter.spec, "level": sitter.level} for sitter in setting.sitters],
            "moves": list(self._moves),
            "resigned": self.resigned,
            "position": str(self.position),
        }

    def save(self, path: Path) -> None:
        """Writes the game to a file in one step; `OutputError` if that fails."""
        write_whole(path, json.dumps(self.to_json(), indent=1).encode() + b"\n")

    def record(self, path: Path) -> None:
        """Writes the game as a record; `RecordError` unless the rules have ended it."""
        result = self.position.result()
        if result is None:
            state = "was given up" if self.resigned is not None else "is not over"
            raise RecordError(
                f"A record ({path.suffix}) holds a game played to its end, and this one {state}.",
                hint="save it under a name that ends in .json",
            )
        made = {
            "policy": "play",
            "seats": [sitter.spec or "person" for sitter in self.setting.sitters],
            "seed": self.setting.seed,
        }
        record = GameRecord(
            self.setting.board,
            self.setting.players,
            self.setting.pie_rule,
            tuple(self._actions),
            result,
            made,
        )
        write_records(path, [record])


def is_record(path: Path) -> bool:
    """Whether a file name is one of a record and not of a saved game."""
    return path.name.endswith((".jsonl", ".jsonl.gz", ".rrg"))


# ---- reading ------------------------------------------------------------------------------------


def read_game(path: Path) -> Saved:
    """The game of a file that `Session.save` wrote, every move checked.

    Raises `RecordError` for a file that is none, `RulesMismatch` for one of another version.
    """
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise RecordError(f"{path}: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path} is no saved game: it is no JSON.") from error
    try:
        return _from_json(document)
    except RingriftError as error:
        kind = RulesMismatch if isinstance(error, RulesMismatch) else RecordError
        raise kind(f"{path}: {error.message}", error.hint) from error


def _from_json(document: Any) -> Saved:
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise RecordError(f"it is no saved game: its format is not {FORMAT!r}.")
    if document.get("version") != VERSION or document.get("rules") != rules_hash():
        raise RulesMismatch(
            f"saved by version {document.get('version')} under the rules {document.get('rules')}: "
            f"this is version {VERSION}, rules {rules_hash()}."
        )
    setting = Setting(
        board_named(_field(document, "board", str)).name,
        _sitters(document),
        _field(document, "seed", int),
        _field(document, "pie_rule", bool),
    )
    check_pie(setting.players, setting.pie_rule)
    position = Position.initial(setting.board, setting.players, pie_rule=setting.pie_rule)
    actions = []
    for move in _field(document, "moves", list):
        if not isinstance(move, str):
            raise RecordError(f"its move {move!r} is no text.")
        actions.append(position.action(move))
        position = position.play(actions[-1])
    if document.get("position") != str(position):
        raise RecordError("its moves do not lead to its position: the file was changed.")
    resigned = document.get("resigned")
    if resigned is not None and (position.is_over or resigned != position.seat):
        raise RecordError(f"seat {resigned!r} was not to move, and cannot have resigned.")
    return Saved(setting, tuple(actions), resigned)


def _sitters(document: dict[str, Any]) -> tuple[Sitter, ...]:
    seats = _field(document, "seats", list)
    check_players(len(seats))
    if len(seats) != document.get("players"):
        raise RecordError(f"it names {len(seats)} seats for {document.get('players')!r} players.")
    sitters = []
    for seat in seats:
        if not isinstance(seat, dict):
            raise RecordError(f"its seat {seat!r} is no JSON object.")
        spec, level = seat.get("spec"), seat.get("level")
        if not isinstance(spec, str | None) or type(level) not in (int, type(None)):
            raise RecordError(f"its seat {seat!r} is neither a person nor a player.")
        sitters.append(Sitter(spec, level))
    return tuple(sitters)


def _field(document: dict[str, Any], name: str, kind: type) -> Any:
    value = document.get(name)
    if type(value) is not kind or (isinstance(value, int) and value < 0):
        raise RecordError(f"its {name!r} is {value!r}, expected a {kind.__name__}.")
    return value
