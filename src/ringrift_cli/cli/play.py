"""`ringrift play`: a person plays in the terminal, against players or other people."""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringrift_cli.cli.options import (
    BoardOption,
    JsonOption,
    PieOption,
    PlayersOption,
    check_pie,
    whole_number,
)
from ringrift_cli.cli.output import Output, counted, discard_stdout, stopped, was_typed
from ringrift_cli.errors import PlayerError, UsageError
from ringrift_cli.settings import Run

if TYPE_CHECKING:
    from ringrift_cli.play.dialogue import Keeping
    from ringrift_cli.play.session import Saved, Session, Sitter

FOLDER = Path("runs/play")
STRONGEST = 10
INTERRUPTED = 130
HUNG_UP = 128 + signal.SIGHUP
GONE = (errno.EPIPE, errno.EIO)  # what is written to a terminal that has been closed
# Options that a saved game settles
SETTLED = ("board", "players", "level", "seat", "opponent", "pie", "seed", "save")


def _seats(text: str) -> tuple[int, ...]:
    """The parser of `--seat`: one seat or several."""
    parts = text.split(",")
    if not all(part in ("1", "2", "3", "4") for part in parts) or len(set(parts)) < len(parts):
        raise typer.BadParameter(f"{text!r} is no seat from 1 to 4, nor several, as 1,3.")
    return tuple(int(part) for part in parts)


LevelOption = Annotated[
    int,
    typer.Option(
        "--level",
        parser=whole_number(1, STRONGEST),
        metavar="N",
        help="How strong the opponents are, from 1 to 10.",
        envvar="RINGRIFT_LEVEL",
    ),
]
OpponentOption = Annotated[
    list[str] | None,
    typer.Option(
        "--opponent",
        metavar="SPEC",
        help="A player by its spec instead of a level; one for all other seats, or one each.",
    ),
]
SeatOption = Annotated[
    Any,  # a tuple of seats, which Typer would take for several arguments
    typer.Option(
        "--seat",
        parser=_seats,
        metavar="N",
        help="Where you sit; several seats, as 1,3, for several people.",
    ),
]
DrawnSeedOption = Annotated[
    int | None,
    typer.Option(
        "--seed",
        parser=whole_number(0),
        metavar="N",
        help="The same seed and moves, the same answers.",
        envvar="RINGRIFT_PLAY_SEED",
        show_default="drawn",
    ),
]
SaveOption = Annotated[
    Path | None,
    typer.Option(
        "--save",
        metavar="FILE",
        help="Keep the game there, after every decision.",
        show_default="a new file in runs/play",
    ),
]
ResumeOption = Annotated[
    Path | None,
    typer.Option("--resume", metavar="FILE", help="Go on with the game kept there."),
]
RecordOption = Annotated[
    Path | None,
    typer.Option("--record", metavar="FILE", help="Record the finished game there (.jsonl, .rrg)."),
]
AdviserOption = Annotated[
    str | None,
    typer.Option(
        "--hint",
        metavar="SPEC",
        help="The player that gives hints and evaluations.",
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
    seed: DrawnSeedOption = None,
    save: SaveOption = None,
    resume: ResumeOption = None,
    record: RecordOption = None,
    adviser: AdviserOption = None,
    as_json: JsonOption = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No explanations, for who knows the game.")
    ] = False,
) -> None:
    """Play a game in the terminal; everything is explained as it comes up.

    The game is saved after every decision, so that nothing is lost whatever ends the program.
    Without a terminal the lines of stdin are taken one after the other. Under --json the game is
    on stderr, and stdout tells at the end how it stands.

    Exit codes: 0 when the game is over or was left, 1 when a player failed, 130, 143 and 129 on
    Ctrl-C, SIGTERM and a closed terminal, and in all of these the game is kept; 2 on wrong usage.

    \b
    Examples:
      ringrift play --board hex8 --level 1
      ringrift play --board square8 --players 3 --seat 2 --opponent heuristic --opponent random
      ringrift play --seat 1,2
      ringrift play --resume runs/play/hex8-2p-20260731-101500.json
    """
    out = Output(as_json=as_json, quiet=quiet)
    typed = {name for name in SETTLED if was_typed(context, name)}
    _check_files(save, resume, record, typed)
    out.compile_players()
    from ringrift_cli.play.dialogue import Keeping
    from ringrift_cli.play.session import Saved, Setting, read_game

    if resume is not None:
        saved = read_game(resume)
    else:
        check_pie(pie, players)
        sitters = _sitters(board, players, seat, opponent, level, typed)
        number = int.from_bytes(os.urandom(4)) if seed is None else seed
        saved = Saved(Setting(board, sitters, number, pie))
    path = resume or save or _new_file(board, players)
    keeping = Keeping(path, resume is not None or save is not None, record, resume is not None)
    raise typer.Exit(_converse(out, saved, keeping, adviser, brief=quiet))


def _converse(
    out: Output, saved: Saved, keeping: Keeping, adviser: str | None, *, brief: bool
) -> int:
    """Plays until the person leaves, or something ends it; returns the exit code."""
    from ringrift_cli.play.dialogue import Dialogue
    from ringrift_cli.play.screen import Screen
    from ringrift_cli.play.session import Session, Sitter
    from ringrift_cli.players.spec import make_player

    setting = saved.setting
    strongest = _level_spec(STRONGEST, setting.board, setting.players)
    helper = Sitter(adviser) if adviser else Sitter(strongest, STRONGEST)
    session = Session(saved, lambda spec: make_player(spec, setting.board, setting.players))
    with _held(session, keeping), _signals_raise():
        if adviser is not None:
            session.player(adviser)
        screen = Screen(
            sys.stderr if out.as_json else sys.stdout, colour=out.colour and not out.as_json
        )
        code = 0
        try:
            Dialogue(session, screen, keeping, helper, brief=brief).run()
        except KeyboardInterrupt:
            code = INTERRUPTED
            screen.say()
        except typer.Exit as stop:
            code = stop.exit_code
        if code != HUNG_UP:
            _report(out, session, keeping)
    return code


def _check_files(
    save: Path | None, resume: Path | None, record: Path | None, typed: set[str]
) -> None:
    """`UsageError` for options that contradict each other, or would write over a file."""
    if resume is not None and typed:
        names = ", ".join(f"--{name}" for name in SETTLED if name in typed)
        raise UsageError(f"--resume takes all from the file: it does not go with {names}.")
    for name, path in (("save", save), ("record", record)):
        if path is not None and path.exists():
            hint = f"ringrift play --resume {path}" if name == "save" else "another name"
            raise UsageError(f"--{name} {path}: the file is there already.", hint=hint)
    if record is not None and not record.name.endswith((".jsonl", ".jsonl.gz", ".rrg")):
        raise UsageError(f"--record {record}: a record ends in .jsonl, .jsonl.gz or .rrg.")


def _level_spec(level: int, board: str, players: int) -> str:
    from ringrift_cli.players.ladder import level_spec

    return level_spec(level, board, players)


def _sitters(
    board: str,
    players: int,
    seats: Sequence[int],
    opponents: Sequence[str] | None,
    level: int,
    typed: set[str],
) -> tuple[Sitter, ...]:
    """Who sits where: people at their seats, opponents at the others in the order given."""
    from ringrift_cli.play.session import Sitter

    if max(seats) > players:
        raise UsageError(f"--seat {max(seats)}: there are only {players} players.")
    others = players - len(seats)
    if opponents and "level" in typed:
        raise UsageError("--level and --opponent both say who plays: give one of them.")
    if not others and (opponents or "level" in typed):
        raise UsageError("People sit at all seats: there is none for --level or --opponent.")
    if opponents and len(opponents) not in (1, others):
        raise UsageError(
            f"--opponent is given {len(opponents)} times, but {counted(others, 'seat')} "
            f"{'is' if others == 1 else 'are'} left: give one for all, or one each."
        )
    if opponents:
        named = [Sitter(spec) for spec in [*opponents] * others][:others]
    else:
        named = [Sitter(_level_spec(level, board, players), level) for _ in range(others)]
    return tuple(Sitter() if seat in seats else named.pop(0) for seat in range(1, players + 1))


def _new_file(board: str, players: int) -> Path:
    """A name that no game has yet."""
    now = dt.datetime.now(dt.UTC).strftime("%Y%m%d-%H%M%S")
    path = FOLDER / f"{board}-{players}p-{now}.json"
    number = 1
    while path.exists():
        number += 1
        path = FOLDER / f"{board}-{players}p-{now}-{number}.json"
    return path


@contextlib.contextmanager
def _signals_raise() -> Iterator[None]:
    """SIGTERM and a closed terminal end the program in order, with their exit codes."""

    def leave(number: int, _frame: object) -> None:
        raise stopped(number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _held(session: Session, keeping: Keeping) -> Iterator[None]:
    """Lets go of the players; where one fails, or the terminal is gone, the game is kept."""
    try:
        yield
    except PlayerError as error:
        raise PlayerError(error.message, hint=_resume(keeping) or error.hint) from error
    except OSError as error:
        if error.errno not in GONE:
            raise
        discard_stdout()
        raise typer.Exit(HUNG_UP) from None
    finally:
        session.close()


def _resume(keeping: Keeping) -> str | None:
    return f"ringrift play --resume {keeping.path}" if keeping.is_kept else None


def _where(keeping: Keeping) -> str:
    if not keeping.is_kept:
        return "The game is not kept."
    return f"The game is kept in {keeping.path}: {_resume(keeping)}"


def _winner(session: Session) -> int | None:
    """The seat that won, also because the only opponent resigned."""
    result = session.position.result()
    if result is not None:
        return result.winner
    if session.resigned is not None and session.setting.players == 2:
        return 3 - session.resigned
    return None


def _report(out: Output, session: Session, keeping: Keeping) -> None:
    """How the game stands when it is left."""
    position, setting = session.position, session.setting
    result = position.result()
    document: dict[str, Any] = {
        "board": setting.board,
        "players": setting.players,
        "pie_rule": setting.pie_rule,
        "seed": setting.seed,
        "seats": [sitter.spec for sitter in session.sitting(position)],
        "moves": list(session.moves),
        "position": str(position),
        "over": session.is_over,
        "resigned": session.resigned,
        "winner": _winner(session),
        "reason": result.reason if result else None,
        "ranks": list(result.ranks) if result else None,
        "kept": str(keeping.path) if keeping.is_kept else None,
        "record": str(keeping.record) if keeping.is_recorded else None,
    }
    lines = [_where(keeping)]
    if keeping.is_recorded:
        lines.append(f"Recorded in {keeping.record}: ringrift show {keeping.record}")
    out.result(document, "\n".join(lines))
