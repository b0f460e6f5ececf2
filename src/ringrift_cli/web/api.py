"""The JSON interface for other programs: `/api/legal`, `/api/move`, `/api/analyse`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ringrift_cli.errors import RingriftError, UsageError
from ringrift_cli.game.position import Position
from ringrift_cli.game.result import Result
from ringrift_cli.play.session import SavedGame, Seat, Session, start_of
from ringrift_cli.review.analysis import CandidateMove, analyse, evaluator
from ringrift_cli.review.sources import LoadedGame
from ringrift_cli.settings import Run
from ringrift_cli.web.allowed import AllowedPlayers
from ringrift_cli.web.searches import StopCheck

MAX_BATCH = 16
MAX_SIMULATIONS = 5000
SECONDS = 30.0  # of a request, all of its batch together
Text = Annotated[str, Meta(max_length=100_000)]
Name = Annotated[str, Meta(max_length=80)]


class PositionRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A position: its text, a saved one as JSON, or the start of a game; then `moves`."""

    position: Annotated[
        Text | dict[str, Any] | None,
        Meta(description="Position text, a saved position, or null for a new game."),
    ] = None
    board: Annotated[Name, Meta(description="Board of a new game.")] = Run.board
    players: Annotated[int, Meta(description="Number of players of a new game.")] = Run.players
    pie_rule: bool = Run.pie_rule
    moves: Annotated[
        list[Text], Meta(max_length=20_000, description="Move texts from the position on.")
    ] = []

    def game(self) -> LoadedGame:
        """The position and moves; errors as of the position or move that is invalid."""
        if self.position is None:
            start = Position.initial(self.board, self.players, pie_rule=self.pie_rule)
        elif isinstance(self.position, dict):
            start = Position.from_json(self.position)
        else:
            start = Position.from_json(start_of(self.position))
        position, actions = start, []
        for move in self.moves:
            actions.append(position.action(move))
            position = position.play(actions[-1])
        return LoadedGame(start, tuple(actions))


class LegalRequest(PositionRequest, kw_only=True):
    """Asks for the legal moves of a position."""


class LegalAnswer(msgspec.Struct):
    """Legal moves by text, and the result of a finished game."""

    position: str
    seat: int
    phase: str
    moves: list[str]
    result: Result | None


class MoveRequest(PositionRequest, kw_only=True):
    """Asks a player for its move."""

    player: Annotated[Name, Meta(description="A name listed by GET /api/players.")] = "level-5"
    seed: Annotated[int, Meta(ge=0, le=2**53)] = Run.seed


class MoveAnswer(msgspec.Struct):
    """The move, the position after it, and win probabilities by seat if the player has them."""

    move: str
    position: str
    values: list[float] | None


class AnalyseRequest(PositionRequest, kw_only=True):
    """Asks for a search of a position."""

    evaluator: Annotated[Name, Meta(description="heuristic, or a network of /api/players")] = ""
    simulations: Annotated[int, Meta(ge=1, le=MAX_SIMULATIONS)] = 200
    candidates: Annotated[int, Meta(ge=1, le=50)] = 5


class AnalyseAnswer(msgspec.Struct):
    """Win probabilities by seat, and the best moves first."""

    simulations: int
    values: list[float]
    candidates: list[CandidateMove]


class ErrorAnswer(msgspec.Struct):
    """Why a request failed, and what to try."""

    error: str
    hint: str | None = None


def legal(request: LegalRequest, allowed: AllowedPlayers, stop: StopCheck) -> LegalAnswer:
    position = request.game().positions()[-1]
    moves, result = position.legal_moves(), position.result()
    return LegalAnswer(str(position), position.seat, position.phase, moves, result)


def move(request: MoveRequest, allowed: AllowedPlayers, stop: StopCheck) -> MoveAnswer:
    game = request.game()
    saved: SavedGame = msgspec.structs.replace(game.as_saved, seed=request.seed)
    seat = allowed.seat(request.player, saved.board, saved.players)
    if seat.is_person:
        raise UsageError("A person does not answer: choose a player of GET /api/players.")
    saved = msgspec.structs.replace(saved, seats=(Seat(),) * saved.players)
    session = Session(saved, lambda spec: allowed.player(spec, saved.board, saved.players))
    if session.is_over:
        raise UsageError("The game is over: there is no move.")
    choices = session.advice(seat, stop)
    session.play(int(choices.actions[0]))
    values = None if choices.values is None else choices.values[0].tolist()
    return MoveAnswer(session.moves[-1], str(session.position), values)


def analysed(request: AnalyseRequest, allowed: AllowedPlayers, stop: StopCheck) -> AnalyseAnswer:
    position = request.game().positions()[-1]
    using = evaluator(request.evaluator, position.board_name, position.players)
    *_, last = analyse(position, using, request.simulations, stop, request.candidates, 1e9)
    return AnalyseAnswer(last.simulations, last.values, last.candidates)


Method = tuple[type[Any], type[Any], Callable[[Any, AllowedPlayers, StopCheck], Any]]
METHODS: dict[str, Method] = {
    "legal": (LegalRequest, LegalAnswer, legal),
    "move": (MoveRequest, MoveAnswer, move),
    "analyse": (AnalyseRequest, AnalyseAnswer, analysed),
}


def answer(name: str, body: bytes, allowed: AllowedPlayers, stop: StopCheck) -> Any:
    """The answer to a request, or a list of answers and errors to a list of requests.

    Raises `msgspec.ValidationError` for an invalid document, `RingriftError` for an invalid single
    request.
    """
    kind, _, method = METHODS[name]
    if not body.lstrip().startswith(b"["):
        return method(msgspec.json.decode(body, type=kind), allowed, stop)
    batch = Annotated[list[kind], Meta(max_length=MAX_BATCH)]  # type: ignore[valid-type]
    answers = []
    for request in msgspec.json.decode(body, type=batch):
        try:
            answers.append(method(request, allowed, stop))
        except RingriftError as error:
            answers.append(ErrorAnswer(error.message, error.hint))
    return answers


def openapi() -> dict[str, Any]:
    """The OpenAPI document of the interface."""
    kinds = [kind for request, result, _ in METHODS.values() for kind in (request, result)]
    references, parts = msgspec.json.schema_components(
        [*kinds, ErrorAnswer], ref_template="#/components/schemas/{name}"
    )
    schema = dict(zip([*kinds, ErrorAnswer], references, strict=True))

    def content(kind: type[Any], *, batch: bool = True) -> dict[str, Any]:
        many = {"type": "array", "items": schema[kind], "maxItems": MAX_BATCH}
        either = {"oneOf": [schema[kind], many]} if batch else schema[kind]
        about = (kind.__doc__ or "").strip()
        return {"description": about, "content": {"application/json": {"schema": either}}}

    failed = content(ErrorAnswer, batch=False)
    return {
        "openapi": "3.1.0",
        "info": {"title": "RingRift", "version": "1", "description": __doc__},
        "paths": {
            f"/api/{name}": {
                "post": {
                    "summary": (request.__doc__ or "").strip(),
                    "requestBody": {"required": True, **content(request)},
                    "responses": {"200": content(result), "400": failed, "429": failed},
                }
            }
            for name, (request, result, _) in METHODS.items()
        },
        "components": {"schemas": parts},
    }
