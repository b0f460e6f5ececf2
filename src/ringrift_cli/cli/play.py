"""`ringrift play`: interactive games in the terminal."""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import os
import signal
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringrift_cli.cli import completion
from ringrift_cli.cli.options import (
    BoardOption,
    JsonOption,
    PieOption,
    PlayersOption,
    check_folder,
    check_pie,
    number_option,
    path_option,
)
from ringrift_cli.cli.output import Output, counted, discard_stdout, stopped, was_typed
from ringrift_cli.errors import PlayerError, UsageError
from ringrift_cli.settings import Run

if TYPE_CHECKING:
    from ringrift_cli.play.dialogue import Dialogue, GameFiles
    from ringrift_cli.play.screen import Screen
    from ringrift_cli.play.session import SavedGame, Seat, Session

FOLDER = Path("runs/play")
STRONGEST = 10
HUNG_UP = 128 + signal.SIGHUP
CLOSED_TERMINAL = (errno.EPIPE, errno.EIO)
# Options that a saved game determines
SETTLED = ("board", "players", "level", "seat", "opponent", "pie", "seed", "save", "position")


def _seats(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part in ("1", "2", "3", "4") for part in parts) or len(set(parts)) < len(parts):
        raise typer.BadParameter(f"{text!r}: expected a seat from 1 to 4, or several, as 1,3.")
    return tuple(int(part) for part in parts)


LevelOption = Annotated[
    int,
    number_option(
        "--level",
        "Strength of the opponents, from 1 to 10.",
        most=STRONGEST,
        envvar="RINGRIFT_LEVEL",
    ),
]
OpponentOption = Annotated[
    list[str] | None,
    typer.Option(
        "--opponent",
        metavar="SPEC",
        help="Player spec instead of a level; one for all other seats, or one each.",
        autocompletion=completion.players,
    ),
]
SeatOption = Annotated[
    Any,  # a tuple of seats, which Typer would parse as several arguments
    typer.Option(
        "--seat", parser=_seats, metavar="N", help="Your seat; several, as 1,3, for several people."
    ),
]
SeedOption = Annotated[
    int | None,
    number_option(
        "--seed",
        "Random seed: the same seed and moves give the same answers.",
        least=0,
        envvar="RINGRIFT_PLAY_SEED",
        show_default="drawn",
    ),
]
SaveOption = Annotated[
    Path | None,
    path_option(
        "--save",
        "File of the game, written after every decision.",
        show_default="a new file in runs/play",
    ),
]
ResumeOption = Annotated[Path | None, path_option("--resume", "Saved game to continue.")]
PositionOption = Annotated[
    str | None,
    typer.Option(
        "--position",
        metavar="TEXT",
        help="First position instead of an empty board: position text, or a saved one as JSON.",
    ),
]
RecordOption = Annotated[
    Path | None, path_option("--record", "File for the record of the finished game (.jsonl, .rrg).")
]
HintOption = Annotated[
    str | None,
    typer.Option(
        "--hint",
        metavar="SPEC",
        help="Player that gives hints and evaluations.",
        autocompletion=completion.players,
        show_default="that of level 10",
    ),
]


def play(
    context: typer.Context,
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    level: LevelOption = 2,
    opponent: OpponentOption = None,
    seat: SeatOption = "1",
    pie: PieOption = Run.pie_rule,
    seed: SeedOption = None,
    save: SaveOption = None,
    resume: ResumeOption = None,
    position: PositionOption = None,
    record: RecordOption = None,
    hint: HintOption = None,
    as_json: JsonOption = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No explanations, for experienced players.")
    ] = False,
) -> None:
    """Play a game in the terminal, with explanations.

    The game is saved after every decision. Without a terminal, lines are read from stdin. Under
    --json the dialogue is on stderr, and stdout is one document with the final state of the game.

    Exit codes: 0 when the game is over or was left, 1 when a player failed, 130, 143 and 129 on
    Ctrl-C, SIGTERM and a closed terminal (the game is kept in all cases); 2 on wrong usage.

    \b
    Examples:
      ringrift play --board hex8 --level 1
      ringrift play --board square8 --players 3 --seat 2 --opponent heuristic --opponent random
      ringrift play --seat 1,2
      ringrift play --resume runs/play/hex8-2p-20260731-101500.json
      ringrift play --position "5./6./7./8./4. s221 4./8./7./6./5. | 1 movement | 17,16 | 0,0"
    """
    out = Output(as_json=as_json, quiet=quiet)
    typed = {name for name in (*SETTLED, "record") if was_typed(context, name)}
    _check_files(save, resume, record, typed - {"record"})
    out.compile_players()
    from ringrift_cli.play.dialogue import GameFiles
    from ringrift_cli.play.session import SavedGame, read_game, start_of

    if resume is not None:
        game = read_game(resume)
    else:
        start = None if position is None else start_of(position)
        if start is not None:
            wrong = [name for name in ("board", "players", "pie", "record") if name in typed]
            if wrong:
                raise UsageError(f"--position determines the game: it excludes --{wrong[0]}.")
            board, players, pie = start["board"], start["players"], start["pie_rule"] != "off"
        check_pie(pie, players)
        seats = _seat_players(board, players, seat, opponent or [], level, typed)
        number = int.from_bytes(os.urandom(4)) if seed is None else seed
        game = SavedGame(board, seats, number, pie, start=start)
    path = resume or save or _new_file(board, players)
    files = GameFiles(
        path,
        path in (resume, save),
        partial(_new_file, game.board, game.players),
        record,
        is_kept=resume is not None,
    )
    raise typer.Exit(_converse(out, game, files, hint, brief=quiet))


def _check_files(
    save: Path | None, resume: Path | None, record: Path | None, typed: set[str]
) -> None:
    """`UsageError` for contradictory options or existing output files."""
    if resume is not None and typed:
        names = ", ".join(f"--{name}" for name in SETTLED if name in typed)
        raise UsageError(f"--resume takes all from the file: it does not go with {names}.")
    for name, path in (("save", save), ("record", record)):
        if path is not None:
            check_folder(path)
        if path is not None and path.exists():
            hint = f"ringrift play --resume {path}" if name == "save" else "another name"
            raise UsageError(f"--{name} {path}: the file already exists.", hint=hint)
    if record is not None and not record.name.endswith((".jsonl", ".jsonl.gz", ".rrg")):
        raise UsageError(f"--record {record}: a record ends in .jsonl, .jsonl.gz or .rrg.")


def _seat_players(
    board: str,
    players: int,
    people: tuple[int, ...],
    opponents: list[str],
    level: int,
    typed: set[str],
) -> tuple[Seat, ...]:
    """Players by seat: people at their seats, opponents at the others in the order given."""
    from ringrift_cli.play.session import Seat
    from ringrift_cli.players.spec import pinned

    if max(people) > players:
        raise UsageError(f"--seat {max(people)}: there are only {players} players.")
    others = players - len(people)
    if opponents and "level" in typed:
        raise UsageError("Expected --level or --opponent, not both.")
    if not others and (opponents or "level" in typed):
        raise UsageError("People sit at all seats: there is none for --level or --opponent.")
    if opponents and len(opponents) not in (1, others):
        raise UsageError(
            f"--opponent is given {len(opponents)} times, but {counted(others, 'seat')} "
            f"{'is' if others == 1 else 'are'} left: give one for all, or one each."
        )
    pins = [pinned(spec, board, players) for spec in opponents]
    named = [Seat(spec) for spec in pins * (others if len(pins) == 1 else 1)]
    if not opponents:
        named = [Seat(_level_spec(level, board, players), level)] * others
    return tuple(Seat() if seat in people else named.pop(0) for seat in range(1, players + 1))


def _level_spec(level: int, board: str, players: int) -> str:
    from ringrift_cli.players.ladder import level_spec

    return level_spec(level, board, players)


def _new_file(board: str, players: int) -> Path:
    """Path of a new saved game in runs/play."""
    stem = f"{board}-{players}p-{dt.datetime.now(dt.UTC):%Y%m%d-%H%M%S}"
    path, number = FOLDER / f"{stem}.json", 1
    while path.exists():
        number += 1
        path = FOLDER / f"{stem}-{number}.json"
    return path


def _converse(
    out: Output, game: SavedGame, files: GameFiles, hint: str | None, *, brief: bool
) -> int:
    """Runs the dialogue to its end; returns the exit code."""
    from ringrift_cli.play.dialogue import Dialogue
    from ringrift_cli.play.screen import Screen
    from ringrift_cli.play.session import Seat, Session
    from ringrift_cli.players.program import conversation
    from ringrift_cli.players.spec import make_player

    conversation.on_line = out.detail

    strongest = _level_spec(STRONGEST, game.board, game.players)
    adviser = Seat(hint) if hint else Seat(strongest, STRONGEST)
    session = Session(game, lambda spec: make_player(spec, game.board, game.players))
    with contextlib.closing(session), _signals_raise():
        if hint is not None:
            session.player(hint)
        stream = sys.stderr if out.as_json else sys.stdout
        screen = Screen(stream, colour=out.colour and not out.as_json)
        try:
            code = _run(Dialogue(session, screen, files, adviser, brief=brief), screen)
            if code != HUNG_UP:
                _report(out, session, files)
        except PlayerError as error:
            resume = files.resume_command if files.is_kept else None
            raise PlayerError(error.message, hint=resume or error.hint) from error
        except OSError as error:
            if error.errno not in CLOSED_TERMINAL:
                raise
            discard_stdout()
            return HUNG_UP
    return code


def _run(dialogue: Dialogue, screen: Screen) -> int:
    try:
        dialogue.run()
    except KeyboardInterrupt:
        screen.write()
        return 128 + signal.SIGINT
    except typer.Exit as stop:
        return stop.exit_code
    return 0


@contextlib.contextmanager
def _signals_raise() -> Iterator[None]:
    """Turns SIGTERM and SIGHUP into an orderly exit with their exit codes."""

    def leave(number: int, _frame: object) -> None:
        raise stopped(number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _report(out: Output, session: Session, files: GameFiles) -> None:
    """Prints the final state of the game."""
    position, setup = session.position, session.setup
    result = position.result()
    document: dict[str, Any] = {
        "board": setup.board,
        "players": setup.players,
        "pie_rule": setup.pie_rule,
        "seed": setup.seed,
        "seats": [seat.spec for seat in session.seats(position)],
        "moves": session.moves,
        "position": str(position),
        "over": session.is_over,
        "resigned": session.resigned,
        "winner": session.winner,
        "reason": result.reason if result else None,
        "ranks": list(result.ranks) if result else None,
        "kept": str(files.path) if files.is_kept else None,
        "record": str(files.record) if files.is_recorded else None,
    }
    kept = f"The game is kept in {files.path}: {files.resume_command}"
    lines = [kept if files.is_kept else "The game is not kept."]
    if files.is_recorded:
        lines.append(f"Recorded in {files.record}: ringrift show {files.record}")
    out.result(document, "\n".join(lines))
