"""Interactive game: seats, decisions, undo and the saved-game file; independent of the display.

The file holds the setup and the moves, which are replayed when it is read. Random numbers of
players depend on seed and ply only, so a game continues identically after undo or from its file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec

from ringrift_cli.errors import (
    NotationError,
    PlayerError,
    RecordError,
    RingriftError,
    RulesMismatch,
)
from ringrift_cli.game import layout as L
from ringrift_cli.game import playout
from ringrift_cli.game.drawing_text import LETTERS
from ringrift_cli.game.position import Position
from ringrift_cli.game.record import GameRecord, write_records
from ringrift_cli.game.result import Result
from ringrift_cli.game.topology import board_named, check_pie, check_players
from ringrift_cli.game.version import rules_hash
from ringrift_cli.players.player import Choices, Decisions, Player
from ringrift_cli.store.files import write_whole

FORMAT = "ringrift-play"
VERSION = 1
WITHOUT_BEGINNING = "A record holds a game from its beginning, and this one began from a position."
RECORD_ENDINGS = (".jsonl", ".jsonl.gz", ".rrg")


class Seat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Occupant of a seat: a person, or a player by spec or level."""

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


class Players:
    """Display names of the players; "you" only for a single person."""

    def __init__(self, seats: Sequence[Seat]) -> None:
        self._seats = seats
        self.one_person = sum(seat.is_person for seat in seats) == 1

    def __len__(self) -> int:
        return len(self._seats)

    def is_you(self, seat: int) -> bool:
        return self.one_person and self._seats[seat - 1].is_person

    def role(self, seat: int) -> str:
        return "you" if self.is_you(seat) else self._seats[seat - 1].name

    def name(self, seat: int) -> str:
        """`A (you)`, `B (level 5)`; `A (person)` where several people play."""
        return f"{LETTERS[seat - 1]} ({self.role(seat)})"

    def subject(self, seat: int) -> str:
        """Name at the start of a sentence."""
        return f"You ({LETTERS[seat - 1]})" if self.is_you(seat) else self.name(seat)


class SavedGame(msgspec.Struct, frozen=True):
    """A game: initial seats, actions, and the seat that resigned.

    `start` is the document of the first position (`Position.to_json`), None for a new game.
    """

    board: str
    seats: tuple[Seat, ...]
    seed: int
    pie_rule: bool = False
    actions: tuple[int, ...] = ()
    resigned: int | None = None
    start: dict[str, Any] | None = None

    @property
    def players(self) -> int:
        return len(self.seats)

    def first(self) -> Position:
        """The position before the first action."""
        if self.start is not None:
            return Position.from_json(self.start)
        return Position.initial(self.board, self.players, pie_rule=self.pie_rule)

    def replayed(self) -> tuple[GameRecord, str | None]:
        """The game as a record, and a sentence for one that has not ended by the rules.

        Without an end the winner is that of a resignation between two players, or 0. `RecordError`
        for a game that began from a position.
        """
        if self.start is not None:
            raise RecordError(WITHOUT_BEGINNING, hint="ringrift play --resume FILE")
        position = self.first()
        for action in self.actions:
            position = position.play(action)
        result, sentence = position.result(), None
        if result is None and self.resigned is not None:
            won = 3 - self.resigned if self.players == 2 else 0
            result, sentence = Result(won, "resigned", ()), f"Player {self.resigned} resigned."
        elif result is None:
            result, sentence = Result(0, "", ()), "The game is not over."
        names = [seat.spec or "person" for seat in self.seats]
        made = {"policy": "play", "seats": names, "seed": self.seed}
        setting = (self.board, self.players, self.pie_rule)
        return GameRecord(*setting, self.actions, result, made), sentence


class _GameFile(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The JSON document of a saved game; `seats` as at the start, `position` after the moves."""

    format: str
    version: int
    rules: str
    board: str
    players: int
    pie_rule: bool
    seed: Annotated[int, msgspec.Meta(ge=0)]
    seats: tuple[Seat, ...]
    moves: list[str]
    resigned: int | None
    position: str
    start: dict[str, Any] | None = None


class Session:
    """A game in progress: positions, actions and move texts. Seats count from 1."""

    def __init__(self, saved: SavedGame, make_player: Callable[[str], Player]) -> None:
        """Creates all players, so that invalid ones are rejected before the game."""
        self.setup = saved
        self.resigned = saved.resigned
        self.positions = [saved.first()]
        self.actions: list[int] = []
        self.moves: list[str] = []
        self._make_player = make_player
        self._players: dict[str, Player] = {}
        self._undone: list[tuple[list[int], int | None]] = []  # actions and resignation, by undo
        for action in saved.actions:
            self.play(action)
        try:
            for seat in saved.seats:
                if seat.spec is not None:
                    self.player(seat.spec)
        except RingriftError:
            self.close()
            raise

    @property
    def position(self) -> Position:
        return self.positions[-1]

    @property
    def is_over(self) -> bool:
        return self.position.is_over or self.resigned is not None

    @property
    def winner(self) -> int | None:
        """Winning seat, by the rules or by resignation of the only opponent."""
        result = self.position.result()
        if result is None and self.resigned is not None and self.setup.players == 2:
            return 3 - self.resigned
        return result.winner if result else None

    def seats(self, position: Position) -> tuple[Seat, ...]:
        """Occupants by seat in a position; a swap exchanges them."""
        first, now = (at.row[L.PIE] == L.PIE_SWAPPED for at in (self.positions[0], position))
        return self.setup.seats[::-1] if first != now else self.setup.seats

    def mover(self, position: Position) -> Seat:
        """Occupant of the seat to move."""
        return self.seats(position)[position.seat - 1]

    @property
    def persons_turn(self) -> bool:
        return not self.is_over and self.mover(self.position).is_person

    # ---- decisions -------------------------------------------------------------------------------

    def play(self, action: int) -> None:
        """Plays an action; `IllegalMove` if it is not legal."""
        self._apply(action)
        self._undone.clear()

    def _apply(self, action: int) -> None:
        move = self.position.move(action)
        self.positions.append(self.position.play(action))
        self.actions.append(action)
        self.moves.append(move)

    def answer(self) -> None:
        """Plays one decision of the player to move; `PlayerError` if it fails."""
        self.play(int(self.advice(self.mover(self.position)).actions[0]))

    def advice(self, adviser: Seat, should_stop: Callable[[], bool] = lambda: False) -> Choices:
        """Move and win probabilities of an adviser; `PlayerError` if it fails.

        `should_stop` ends a search early.
        """
        assert adviser.spec is not None
        position = self.position
        request = Decisions(
            self.setup.board,
            self.setup.players,
            position.row[None],
            playout.game_seeds(self.setup.seed, position.ply, 1),
            [tuple(self.actions) if self.setup.start is None else None],
            self.setup.pie_rule,
            should_stop,
        )
        choices = self.player(adviser.spec).choose(request)
        action = int(choices.actions[0])
        if action not in position.legal_actions():
            raise PlayerError(
                f"Player {adviser.spec!r} chose the action {action}, not legal in {position}"
            )
        return choices

    def player(self, spec: str) -> Player:
        """Player of a spec, created on first use."""
        if spec not in self._players:
            self._players[spec] = self._make_player(spec)
        return self._players[spec]

    def undo(self) -> int:
        """Reverts the last decision of a person and all later ones, or a resignation.

        Returns the number of reverted decisions, 0 if there is none of a person.
        """
        if self.resigned is not None:
            self._undone.append(([], self.resigned))
            self.resigned = None
            return 1
        before = len(self.actions)
        for ply in range(before - 1, -1, -1):
            if self.mover(self.positions[ply]).is_person:
                self._undone.append((self.actions[ply:], None))
                del self.positions[ply + 1 :], self.actions[ply:], self.moves[ply:]
                return before - ply
        return 0

    def redo(self) -> int:
        """Takes back the last `undo`; the number of decisions, 0 if there is none."""
        if not self._undone:
            return 0
        actions, self.resigned = self._undone.pop()
        for action in actions:
            self._apply(action)
        return len(actions) or 1

    def restart(self, seed: int) -> None:
        """Begins another game of the same setup, with another seed."""
        self.setup = msgspec.structs.replace(self.setup, seed=seed, actions=(), resigned=None)
        self.resigned = None
        del self.positions[1:], self.actions[:], self.moves[:], self._undone[:]

    def resign(self) -> None:
        """Resigns for the person to move, which ends the game."""
        self.resigned = self.position.seat
        self._undone.clear()

    def close(self) -> None:
        """Closes the players."""
        while self._players:
            self._players.popitem()[1].close()

    # ---- files -----------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Writes the game to a file atomically; `OutputError` if that fails."""
        write_whole(path, self.document())

    def document(self) -> bytes:
        """The JSON document of the game, which `parse_game` reads."""
        setup = self.setup
        document = _GameFile(
            FORMAT,
            VERSION,
            rules_hash(),
            setup.board,
            setup.players,
            setup.pie_rule,
            setup.seed,
            setup.seats,
            self.moves,
            self.resigned,
            str(self.position),
            setup.start,
        )
        return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"

    def record(self, path: Path) -> None:
        """Writes the game as a record; `RecordError` unless it ended by the rules."""
        result = self.position.result()
        if self.setup.start is not None:
            raise RecordError(WITHOUT_BEGINNING, hint="save it under a name that ends in .json")
        if result is None:
            state = "was given up" if self.resigned is not None else "is not over"
            raise RecordError(
                f"A record ({path.suffix}) holds a game played to its end, and this one {state}.",
                hint="save it under a name that ends in .json",
            )
        setup = self.setup
        seats = [seat.spec or "person" for seat in setup.seats]
        made = {"policy": "play", "seats": seats, "seed": setup.seed}
        game = (setup.board, setup.players, setup.pie_rule, tuple(self.actions), result, made)
        write_records(path, [GameRecord(*game)])


def read_game(path: Path) -> SavedGame:
    """Reads a game written by `Session.save`; every move is checked.

    Raises `RecordError` for a damaged or foreign file, `RulesMismatch` for one of another version.
    """
    try:
        document = msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise RecordError(f"{path}: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path} is not a saved game: it is not valid JSON.") from error
    try:
        return parse_game(document)
    except RingriftError as error:
        kind = RulesMismatch if isinstance(error, RulesMismatch) else RecordError
        raise kind(f"{path}: {error.message}", error.hint) from error


def start_of(text: str) -> dict[str, Any]:
    """The document of a position given as position text or as that document.

    `NotationError` or `RulesMismatch` if it is neither.
    """
    if not text.lstrip().startswith("{"):
        return Position.from_text(text.strip()).to_json()
    try:
        document: dict[str, Any] = msgspec.json.decode(text)
    except (ValueError, RecursionError) as error:
        raise NotationError(f"The saved position is not valid JSON: {error}.") from error
    return Position.from_json(document).to_json()


def parse_game(document: object) -> SavedGame:
    """The game of a document, replayed to its position; errors as `read_game`."""
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise RecordError(f"this is not a saved game: its format is not {FORMAT!r}.")
    if document.get("version") != VERSION or document.get("rules") != rules_hash():
        raise RulesMismatch(
            f"saved by version {document.get('version')} under the rules {document.get('rules')}: "
            f"this is version {VERSION}, rules {rules_hash()}."
        )
    try:
        file = msgspec.convert(document, _GameFile)
    except msgspec.ValidationError as error:
        raise RecordError(f"{error}.") from error
    check_players(len(file.seats))
    if len(file.seats) != file.players:
        raise RecordError(f"it names {len(file.seats)} seats for {file.players} players.")
    check_pie(file.players, file.pie_rule)
    board = board_named(file.board).name
    setup = SavedGame(board, file.seats, file.seed, file.pie_rule, start=file.start)
    position, actions = setup.first(), []
    if (position.board_name, position.players) != (board, file.players):
        raise RecordError(f"it begins from a position of {position.board_name}, not of {board}.")
    for move in file.moves:
        actions.append(position.action(move))
        position = position.play(actions[-1])
    if file.position != str(position):
        raise RecordError("its moves do not lead to its position: the file was changed.")
    if file.resigned is not None and (position.is_over or file.resigned != position.seat):
        raise RecordError(f"seat {file.resigned} was not to move, and cannot have resigned.")
    return msgspec.structs.replace(setup, actions=tuple(actions), resigned=file.resigned)
