"""The web application: its pages and what they ask for."""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib import resources
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from ringrift_cli.errors import RingriftError, UsageError
from ringrift_cli.game.drawing_svg import draw_empty
from ringrift_cli.game.topology import BOARDS, check_pie, check_players
from ringrift_cli.play.lessons import lessons
from ringrift_cli.play.session import SavedGame, Seat
from ringrift_cli.review.analysis import analyse, analyse_game, evaluator, evaluators, ownership
from ringrift_cli.review.sources import GameFile, LoadedGame, as_lines, parse_text
from ringrift_cli.settings import Run
from ringrift_cli.web import api
from ringrift_cli.web.allowed import PERSON, AllowedPlayers
from ringrift_cli.web.games import Games, board_view, drawings
from ringrift_cli.web.safety import Access, Clients, Guard, refused
from ringrift_cli.web.searches import BusyError, SearchQueue, StopCheck
from ringrift_cli.web.watch import WatchedRun

PAGES = ("index", "play", "analyse", "watch", "api")
STATIC = ("style.css", "board.js", "play.js", "analyse.js", "watch.js")
MAX_LOADED = 64  # games held for analysis
LISTED_GAMES = 500
POSITION_S, GAME_S, READ_S = 120.0, 600.0, 20.0
MAX_POSITION_SIMULATIONS, MAX_GAME_SIMULATIONS = 100_000, 400
Short = Annotated[str, Meta(max_length=100)]
LongText = Annotated[str, Meta(max_length=1_000_000)]


class NewGame(msgspec.Struct, forbid_unknown_fields=True):
    """A new game: occupants by name, from an empty board, a text, or a lesson by number."""

    board: Short = Run.board
    players: int = Run.players
    seats: Annotated[list[Short], Meta(max_length=4)] = []
    pie_rule: bool = Run.pie_rule
    text: LongText = ""
    lesson: int | None = None


class GameCommand(msgspec.Struct, forbid_unknown_fields=True):
    """A command for a game; `action` for those that need one."""

    command: Short
    action: int = 0


class LoadRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A game to analyse: from text, from a source of the server, or a variation of a loaded one."""

    text: LongText = ""
    source: int | None = None
    number: int | None = None
    game: Short = ""
    ply: int = 0
    action: int | None = None


class AnalysisRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What to analyse of a loaded game: the position after `ply` decisions, or all of it."""

    game: Short
    ply: int = 0
    evaluator: Short = ""
    simulations: Annotated[int, Meta(ge=1, le=MAX_POSITION_SIMULATIONS)] = 2000


Document = TypeVar("Document")


@dataclass
class Site:
    """What a server has to show; used from one event loop."""

    access: Access = field(default_factory=Access)
    player_specs: Sequence[str] = ()
    files: Sequence[GameFile] = ()
    runs: Sequence[WatchedRun] = ()

    def __post_init__(self) -> None:
        self.allowed = AllowedPlayers(self.player_specs)
        self.searches = SearchQueue()
        self.clients = Clients()
        self.games = Games(self.allowed, self.searches)
        self.loaded: OrderedDict[str, LoadedGame] = OrderedDict()

    def end(self) -> None:
        """Asks all jobs and streams to end soon."""
        self.searches.close()
        for run in self.runs:
            run.is_closed = True

    # ---- requests --------------------------------------------------------------------------------

    def client(self, request: Request) -> str:
        return self.clients.key(request.headers, _address(request))

    async def run(self, request: Request, job: Callable[[], Document]) -> Document:
        """The result of a job that may take long."""
        return await self.searches.run(self.client(request), lambda stop: job(), READ_S)

    async def document(self, request: Request, kind: type[Document]) -> Document:
        return msgspec.json.decode(await request.body(), type=kind)

    async def page(self, request: Request) -> Response:
        name = request.path_params.get("page", "index")
        if name not in PAGES:
            return refused(404, "There is no such page.")
        answer = Response(_resource(f"{name}.html"), media_type="text/html")
        self.clients.welcome(request.headers, _address(request), answer)
        return answer

    async def static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in STATIC:
            return refused(404, "There is no such file.")
        kind = "css" if name.endswith(".css") else "javascript"
        return Response(_resource(name), media_type=f"text/{kind}")

    async def board(self, request: Request) -> Response:
        name = request.path_params["board"]
        if name not in BOARDS:
            return refused(404, f"There is no such board: {', '.join(BOARDS)}.")
        return Response(draw_empty(name), media_type="image/svg+xml")

    async def info(self, request: Request) -> Response:
        """Boards with their cells, lessons, runs."""
        boards = {
            name: {
                "hexagonal": board.hexagonal,
                "cells": ["{},{}".format(*board.coordinates(i)) for i in range(len(board.cells))],
            }
            for name, board in BOARDS.items()
        }
        titles, runs = [one.title for one in lessons()], [run.name for run in self.runs]
        return _json({"boards": boards, "lessons": titles, "runs": runs})

    async def players(self, request: Request) -> Response:
        board = request.query_params.get("board", "")
        if board not in BOARDS:
            return refused(400, f"board: expected one of {', '.join(BOARDS)}.")
        count = request.query_params.get("players", "2")
        number = check_players(int(count) if count.isdecimal() and len(count) == 1 else 0)
        listed = [
            {"name": name, "label": label} for name, label, _ in self.allowed.listed(board, number)
        ]
        people = [{"name": PERSON, "label": "A person"}]
        return _json({"players": people + listed, "evaluators": evaluators(board, number)})

    # ---- play ------------------------------------------------------------------------------------

    async def new_game(self, request: Request) -> Response:
        asked = await self.document(request, NewGame)
        client, lesson = self.client(request), None
        if asked.lesson is not None:
            lesson = _numbered(lessons(), asked.lesson)
            setup = LoadedGame(lesson.start()).as_saved
        elif asked.text:
            setup = (await self.run(request, lambda: parse_text(asked.text))).as_saved
        else:
            if asked.board not in BOARDS:
                raise UsageError(f"Unknown board: expected one of {', '.join(BOARDS)}.")
            people = (Seat(),) * check_players(asked.players)
            check_pie(asked.players, asked.pie_rule)
            setup = SavedGame(asked.board, people, secrets.randbits(32), asked.pie_rule)
        if asked.seats:
            if len(asked.seats) != setup.players:
                raise UsageError(f"This is a game of {setup.players} players: name as many.")
            setup = self.games.seated(setup, asked.seats)
        made = await self.run(request, lambda: self.games.make(client, setup, lesson))
        return _json(self.games.add(made).view())

    async def game(self, request: Request) -> Response:
        return _json(self.games.find(request.path_params["key"]).view())

    async def command(self, request: Request) -> Response:
        game = self.games.find(request.path_params["key"])
        asked = await self.document(request, GameCommand)
        client = self.client(request)
        return _json(await self.games.command(game, client, asked.command, asked.action))

    async def saved(self, request: Request) -> Response:
        """The game as a file, or as text to share."""
        game = self.games.find(request.path_params["key"])
        if request.path_params["form"] == "text":
            return Response(as_lines(game.session.setup, game.session.moves))
        headers = {"content-disposition": 'attachment; filename="ringrift.json"'}
        return Response(game.session.document(), headers=headers, media_type="application/json")

    # ---- analyse ---------------------------------------------------------------------------------

    def _sources(self) -> list[GameFile]:
        return [*self.files, *(file for run in self.runs for file in run.files())]

    async def sources(self, request: Request) -> Response:
        """The recorded games of the command line and of its runs."""

        def listed() -> list[dict[str, Any]]:
            return [
                {"label": file.path.name, "numbers": list(file.numbers())[-LISTED_GAMES:]}
                for file in self._sources()
            ]

        return _json(await self.run(request, listed))

    async def load(self, request: Request) -> Response:
        asked = await self.document(request, LoadRequest)

        def read() -> tuple[LoadedGame, dict[str, Any]]:
            if asked.text:
                game = parse_text(asked.text)
            elif asked.source is not None:
                game = _numbered(self._sources(), asked.source).game(asked.number)
            else:
                game = self._loaded(asked.game)
                actions = game.actions[: max(0, asked.ply)]
                more = () if asked.action is None else (asked.action,)
                game = LoadedGame(game.start, (*actions, *more), game.names)
            return game, _game_view(game)

        game, view = await self.run(request, read)
        key = secrets.token_urlsafe(16)
        self.loaded[key] = game
        while len(self.loaded) > MAX_LOADED:
            self.loaded.popitem(last=False)
        return _json({"game": key, **view})

    def _loaded(self, key: str) -> LoadedGame:
        if key not in self.loaded:
            raise UsageError("The server does not hold this game any more.", hint="load it again")
        self.loaded.move_to_end(key)
        return self.loaded[key]

    async def analyse(self, request: Request) -> Response:
        """Streams the search of a position, or of all positions of a game."""
        whole = request.path_params["what"] == "game"
        asked = await self.document(request, AnalysisRequest)
        if whole and asked.simulations > MAX_GAME_SIMULATIONS:
            raise UsageError(f"A game is analysed with at most {MAX_GAME_SIMULATIONS} simulations.")
        game, number = self._loaded(asked.game), asked.simulations

        def states(stop: StopCheck) -> Iterator[Any]:
            using = evaluator(asked.evaluator, game.start.board_name, game.start.players)
            if whole:
                yield from analyse_game(game.positions(), game.actions, using, number, stop)
                return
            position = game.position(asked.ply)
            if (owners := ownership(position)) is not None:
                yield {"ownership": owners}
            yield from analyse(position, using, number, stop)

        seconds = GAME_S if whole else POSITION_S
        return _stream(self.searches.stream(self.client(request), states, seconds))

    # ---- serve -----------------------------------------------------------------------------------

    async def api_call(self, request: Request) -> Response:
        name, body = request.path_params["method"], await request.body()
        if name not in api.METHODS:
            return refused(404, f"There are /api/{', /api/'.join(api.METHODS)}.")
        job = partial(api.answer, name, body, self.allowed)
        return _json(await self.searches.run(self.client(request), job, api.SECONDS))

    async def openapi(self, request: Request) -> Response:
        return _json(api.openapi())

    # ---- watch -----------------------------------------------------------------------------------

    async def run_events(self, request: Request) -> Response:
        """Streams the page of a run, whenever it changes."""
        return _stream(_numbered(self.runs, request.path_params["run"]).changes())


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _numbered(items: Sequence[Document], number: int) -> Document:
    if not 0 <= number < len(items):
        raise UsageError(f"There is no number {number} here, but {len(items)}, counted from 0.")
    return items[number]


def _resource(name: str) -> bytes:
    return resources.files("ringrift_cli.web").joinpath("static", name).read_bytes()


def _json(document: object) -> Response:
    return Response(msgspec.json.encode(document), media_type="application/json")


def _stream(states: AsyncIterator[Any]) -> Response:
    """Server-sent events; an error becomes the last one."""

    async def events() -> AsyncIterator[bytes]:
        try:
            async for state in states:
                yield b"data: " + msgspec.json.encode(state) + b"\n\n"
        except RingriftError as error:
            failure = {"error": error.message, "hint": error.hint}
            yield b"data: " + msgspec.json.encode(failure) + b"\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


def _game_view(game: LoadedGame) -> dict[str, Any]:
    """All positions of a game: the first, then what each decision changed."""
    positions = game.positions()
    steps, drawn = [], dict[str, str]()
    for before, after, action in zip(positions, positions[1:], game.actions, strict=False):
        view = board_view(after, before)
        old, new = before.text.cells, after.text.cells
        drawn |= view.pop("drawings")
        del view["cells"], view["text"]
        pairs = zip(old, new, strict=True)
        changed = {str(i): now for i, (was, now) in enumerate(pairs) if was != now}
        steps.append({**view, "move": before.move(action), "action": action, "changed": changed})
    result = positions[-1].result()
    return {
        "first": {**board_view(positions[0]), "drawings": drawings(positions[0]) | drawn},
        "steps": steps,
        "names": game.names,
        "ending": f"Player {result.winner} won: {result.reason.replace('_', ' ')}."
        if result
        else "",
    }


async def _failed(request: Request, error: Exception) -> Response:
    if isinstance(error, RingriftError):
        return refused(429 if isinstance(error, BusyError) else 400, error.message, error.hint)
    return refused(400, f"Invalid request: {error}.")


def build(site: Site) -> Starlette:
    """The application."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        site.end()
        await asyncio.to_thread(site.allowed.close)

    get, post = ["GET"], ["POST"]
    routes = [
        Route("/", site.page, methods=get),
        Route("/static/{name}", site.static, methods=get),
        Route("/boards/{board}", site.board, methods=get),
        Route("/info", site.info, methods=get),
        Route("/players", site.players, methods=get),
        Route("/games", site.new_game, methods=post),
        Route("/games/{key}", site.game, methods=get),
        Route("/games/{key}", site.command, methods=post),
        Route("/games/{key}/{form}", site.saved, methods=get),
        Route("/analysis/sources", site.sources, methods=get),
        Route("/analysis/load", site.load, methods=post),
        Route("/analysis/{what}", site.analyse, methods=post),
        Route("/runs/{run:int}/events", site.run_events, methods=get),
        Route("/api/openapi.json", site.openapi, methods=get),
        Route("/api/players", site.players, methods=get),
        Route("/api/{method}", site.api_call, methods=post),
        Route("/{page}", site.page, methods=get),
    ]
    errors: dict[Any, Any] = {RingriftError: _failed, msgspec.DecodeError: _failed}
    guard = Middleware(Guard, access=site.access)
    return Starlette(
        routes=routes, middleware=[guard], exception_handlers=errors, lifespan=lifespan
    )
