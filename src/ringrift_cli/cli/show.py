"""`ringrift show`: a position or a recorded game, in the terminal or as a picture."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringrift_cli.cli.options import JsonOption, QuietOption, VerboseOption, whole_number
from ringrift_cli.cli.output import Output, counted
from ringrift_cli.errors import NotationError, RecordError, UsageError
from ringrift_cli.play.screen import Screen

if TYPE_CHECKING:
    from ringrift_cli.game.notation import PositionText
    from ringrift_cli.game.record import GameRecord

WIDTH = 800  # pixels of a picture
WidthOption = Annotated[
    int | None,
    typer.Option(
        "--width",
        parser=whole_number(64, 8192),
        metavar="N",
        help="Pixels of a picture.",
        show_default=str(WIDTH),
    ),
]


def show(
    what: Annotated[
        str, typer.Argument(metavar="FILE|TEXT", help="A record, a saved position, or its text.")
    ],
    game: Annotated[
        int | None,
        typer.Option(
            "--game",
            parser=whole_number(1),
            metavar="N",
            help="Which game of a record.",
            show_default="the first",
        ),
    ] = None,
    ply: Annotated[
        int | None,
        typer.Option(
            "--ply",
            parser=whole_number(0),
            metavar="N",
            help="The position after N decisions.",
            show_default="step through, or the end where there is no terminal",
        ),
    ] = None,
    moves: Annotated[
        bool, typer.Option("--moves", help="Also list the moves of the game, or the legal ones.")
    ] = False,
    svg: Annotated[
        Path | None, typer.Option("--svg", metavar="FILE", help="Write the board as SVG.")
    ] = None,
    png: Annotated[
        Path | None, typer.Option("--png", metavar="FILE", help="Write the board as PNG.")
    ] = None,
    wanted_width: WidthOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Draw a position, or step through a recorded game.

    \b
    Examples:
      ringrift show tests/conformance/hex8-2p.jsonl.gz
      ringrift show games.rrg --game 3 --ply 20 --svg board.svg
      ringrift show "5./6./7./8./4. s112 4./8./7./6./5. | 1 ring_placement | 16,17 | 0,0"
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    width = _picture_width(wanted_width, svg, png)
    if " | " in what:
        _refuse_game(game, ply)
        _show_text(out, what, svg, png, width, moves=moves)
        return
    path = Path(what)
    if not _is_file(path):
        raise NotationError(
            f"{what!r} is neither a file nor position text (ROWS | SEAT PHASE | …).",
            hint="ringrift show --help",
        )
    out.compile_rules()
    saved = _saved_position(path)
    if saved is not None:
        from ringrift_cli.game.position import Position

        _refuse_game(game, ply)
        position = Position.from_json(saved).text
        _show_position(out, position, svg, png, width, moves=moves, state=saved)
        return
    record = _chosen(path, game or 1, ply)
    listing = svg is not None or png is not None or as_json or moves
    if ply is None and not listing and sys.stdin.isatty() and sys.stdout.isatty():
        _step_through(out, record)
    else:
        _show_game(out, record, len(record.actions) if ply is None else ply, svg, png, width, moves)


def _picture_width(wanted: int | None, svg: Path | None, png: Path | None) -> int:
    if wanted is not None and svg is None and png is None:
        raise UsageError("--width is the size of a picture: add --svg FILE or --png FILE.")
    return wanted or WIDTH


def _chosen(path: Path, game: int, ply: int | None) -> GameRecord:
    """A game of a file, which must have as many decisions as `ply`."""
    from ringrift_cli.data.shard import ENDING, read_searched
    from ringrift_cli.game.record import read_records

    records = read_searched(path).records() if path.suffix == ENDING else read_records(path)
    if game > len(records):
        raise RecordError(f"{path} holds {counted(len(records), 'game')}: there is no game {game}.")
    record = records[game - 1]
    if ply is not None and ply > len(record.actions):
        decisions = counted(len(record.actions), "decision")
        raise RecordError(f"Game {game} has {decisions}: {ply} is past its end.")
    return record


def _refuse_game(game: int | None, ply: int | None) -> None:
    if game is not None or ply is not None:
        raise UsageError("A position has no --game and no --ply: they are for records of games.")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # text too long for the name of a file
        return False


def _saved_position(path: Path) -> dict[str, Any] | None:
    """The document of a saved position; None for a file of another kind."""
    from ringrift_cli.game.saved import FORMAT

    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) and document.get("format") == FORMAT else None


def _pictures(
    out: Output, position: PositionText, svg: Path | None, png: Path | None, width: int
) -> list[str]:
    """Writes the pictures that are asked for; their paths."""
    from ringrift_cli.game.drawing_svg import draw_svg, svg_to_png
    from ringrift_cli.store.files import write_whole

    written: list[str] = []
    if svg is None and png is None:
        return written
    drawing = draw_svg(position, size=width)
    for path in filter(None, (svg, png)):
        write_whole(path, drawing.encode() if path is svg else svg_to_png(drawing, width))
        out.note(f"Wrote {path}.")
        written.append(str(path))
    return written


def _show_text(
    out: Output, text: str, svg: Path | None, png: Path | None, width: int, *, moves: bool
) -> None:
    from ringrift_cli.game.notation import parse_position

    position = parse_position(text)
    if moves:
        out.compile_rules()
    _show_position(out, position, svg, png, width, moves=moves)


def _show_position(
    out: Output,
    position: PositionText,
    svg: Path | None,
    png: Path | None,
    width: int,
    *,
    moves: bool,
    state: dict[str, Any] | None = None,
) -> None:
    from ringrift_cli.game.drawing_text import draw_text

    text = draw_text(position, colour=out.colour)
    document: dict[str, Any] = {"position": str(position), "board": position.board}
    if moves:
        from ringrift_cli.game.position import Position

        known = Position.from_json(state) if state else Position.from_text(str(position))
        legal = known.legal_moves()
        document["legal"] = legal
        text += f"\n{len(legal)} legal moves: {', '.join(legal)}"
    document["files"] = _pictures(out, position, svg, png, width)
    out.result(document, text)


def _show_game(
    out: Output,
    record: GameRecord,
    ply: int,
    svg: Path | None,
    png: Path | None,
    width: int,
    moves: bool,
) -> None:
    from ringrift_cli.game.drawing_text import draw_text

    played = list(record.positions())
    texts = [at.move(action) for at, action in played if action is not None]
    position = played[ply][0].text
    result = record.result
    last = texts[ply - 1] if ply else None
    lines = [
        _headline(record, ply, last),
        draw_text(position, colour=out.colour, marks=_marks(record, last)).rstrip("\n"),
        f"Player {result.winner} won: {result.reason.replace('_', ' ')}.",
    ]
    if moves:
        lines.append(_move_list(played, texts))
    document = {
        "board": record.board,
        "players": record.players,
        "pie_rule": record.pie_rule,
        "ply": ply,
        "position": str(position),
        "moves": texts,
        "winner": result.winner,
        "reason": result.reason,
        "ranks": list(result.ranks),
        "files": _pictures(out, position, svg, png, width),
    }
    out.result(document, "\n".join(lines))


def _move_list(played: Sequence[tuple[Any, int | None]], texts: Sequence[str]) -> str:
    """The moves, a line a turn."""
    lines: list[str] = []
    turn = 0
    for (position, _), text in zip(played, texts, strict=False):
        if position.turn != turn:
            turn = position.turn
            lines.append(f"{turn:>4}. player {position.seat}: {text}")
        else:
            lines[-1] += f", {text}"
    return "\n".join(lines)


def _headline(record: GameRecord, ply: int, last: str | None) -> str:
    place = f"decision {ply} of {len(record.actions)}"
    after = f", after {last}" if last else ""
    return f"{record.board}, {record.players} players, {place}{after}"


def _marks(record: GameRecord, last: str | None) -> dict[int, str]:
    """The cell where the last decision ended, marked."""
    from ringrift_cli.game.topology import board_named

    cells = [part for part in (last or "").split(" ") if "," in part and ";" not in part]
    if not cells:
        return {}
    x, y = map(int, cells[-1].split(","))
    cell = board_named(record.board).cell(x, y)
    return {} if cell is None else {cell: ">"}


def _step_through(out: Output, record: GameRecord) -> None:
    """Draws position after position as the person asks for them."""
    from ringrift_cli.game.drawing_text import draw_text

    screen = Screen(sys.stdout, colour=out.colour)
    played = list(record.positions())
    texts = [at.move(action) for at, action in played if action is not None]
    ply: int | None = 0
    while ply is not None:
        position = played[ply][0]
        last = texts[ply - 1] if ply else None
        board = draw_text(position.text, colour=out.colour, marks=_marks(record, last))
        sys.stdout.write("\033[2J\033[H" if out.colour else "\n")
        sys.stdout.write(f"{_headline(record, ply, last)}\n{board}\n")
        if ply == len(texts):
            reason = record.result.reason.replace("_", " ")
            sys.stdout.write(f"Player {record.result.winner} won: {reason}.\n")
        else:
            sys.stdout.write(f"Player {position.seat} now plays {texts[ply]}.\n")
        ply = screen.ask_ply(ply, len(texts))
