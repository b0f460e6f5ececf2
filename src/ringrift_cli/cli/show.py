"""`ringrift show`: a position or a recorded game, in the terminal or as a picture."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringrift_cli.cli.options import (
    ForceOption,
    JsonOption,
    QuietOption,
    VerboseOption,
    check_outputs,
    number_option,
    path_option,
)
from ringrift_cli.cli.output import Output, counted
from ringrift_cli.errors import NotationError, RecordError, UsageError

if TYPE_CHECKING:
    from ringrift_cli.game.notation import PositionText
    from ringrift_cli.game.record import GameRecord

WIDTH = 800  # pixels of a picture
WidthOption = Annotated[
    int | None,
    number_option(
        "--width", "Width of a picture in pixels.", least=64, most=8192, show_default=str(WIDTH)
    ),
]


def show(
    what: Annotated[
        str,
        typer.Argument(
            metavar="FILE|TEXT",
            help="Record, shard, results file, saved game or position, or text of a position.",
        ),
    ],
    game: Annotated[
        int | None,
        number_option("--game", "Number of the game in a record.", show_default="the first"),
    ] = None,
    ply: Annotated[
        int | None,
        number_option(
            "--ply",
            "Number of decisions before the position.",
            least=0,
            show_default="step through, or the end where there is no terminal",
        ),
    ] = None,
    moves: Annotated[
        bool, typer.Option("--moves", help="List of the moves of the game, or of the legal moves.")
    ] = False,
    svg: Annotated[Path | None, path_option("--svg", "SVG file of the board.")] = None,
    png: Annotated[Path | None, path_option("--png", "PNG file of the board.")] = None,
    width: WidthOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Draw a position, or step through a recorded game.

    \b
    Examples:
      ringrift show tests/conformance/hex8-2p.jsonl.gz
      ringrift show games.rrg --game 3 --ply 20 --svg board.svg
      ringrift show runs/results.sqlite --game 12
      ringrift show "5./6./7./8./4. s112 4./8./7./6./5. | 1 ring_placement | 16,17 | 0,0"
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    if width is not None and svg is None and png is None:
        raise UsageError("--width is the size of a picture: add --svg FILE or --png FILE.")
    check_outputs(svg, png, force=force)
    pictures = _Pictures(out, svg, png, width or WIDTH)
    path = Path(what).expanduser()
    is_position = " | " in what
    if not is_position and not _is_file(path):
        raise NotationError(
            f"{what!r} is neither a file nor position text (ROWS | SEAT PHASE | …).",
            hint="ringrift show --help",
        )
    if not is_position or moves:
        out.compile_rules()
    saved = None if is_position else _saved_position(path)
    if not is_position and saved is None:
        record, ending = _record(path, game, ply)
        listing = pictures.wanted or as_json or moves
        step = ply is None and not listing and sys.stdin.isatty() and sys.stdout.isatty()
        _show_game(out, record, ending, ply, pictures, moves=moves, step=step)
        return
    if game is not None or ply is not None:
        raise UsageError("A position has no --game and no --ply: they are for records of games.")
    _show_position(out, what, saved, pictures, moves=moves)


def _columns() -> int | None:
    """Columns of the terminal; None for other output."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # too long for a file name
        return False


def _saved_position(path: Path) -> dict[str, Any] | None:
    """The document of a saved position; None for any other file."""
    from ringrift_cli.game.saved import FORMAT

    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) and document.get("format") == FORMAT else None


def _record(path: Path, game: int | None, ply: int | None) -> tuple[GameRecord, str | None]:
    """Game number `game` of a file, and how a saved one ends; `RecordError` without `ply`."""
    from ringrift_cli.review.sources import GameFile

    record, ending = GameFile(path).record(game)
    if ply is not None and ply > len(record.actions):
        decisions = counted(len(record.actions), "decision")
        raise RecordError(f"Game {game or 1} has {decisions}: {ply} is past its end.")
    return record, ending


class _Pictures:
    """Picture files to write."""

    def __init__(self, out: Output, svg: Path | None, png: Path | None, width: int) -> None:
        self._out, self._svg, self._png, self._width = out, svg, png, width

    @property
    def wanted(self) -> bool:
        return self._svg is not None or self._png is not None

    def write(self, position: PositionText) -> list[Path]:
        """Writes the files; their paths."""
        from ringrift_cli.game.drawing_svg import draw_svg, svg_to_png
        from ringrift_cli.store.files import write_whole

        drawing = draw_svg(position, size=self._width) if self.wanted else ""
        paths = [path for path in (self._svg, self._png) if path is not None]
        for path in paths:
            png = path is not self._svg
            write_whole(path, svg_to_png(drawing, self._width) if png else drawing.encode())
            self._out.note(f"Wrote {path}.")
        return paths


def _show_position(
    out: Output, text: str, saved: dict[str, Any] | None, pictures: _Pictures, *, moves: bool
) -> None:
    from ringrift_cli.game.drawing_text import draw_text
    from ringrift_cli.game.notation import parse_position
    from ringrift_cli.game.position import Position
    from ringrift_cli.game.version import earlier_rules

    known = None if saved is None else Position.from_json(saved)
    position = parse_position(text) if known is None else known.text
    document: dict[str, Any] = {"position": str(position), "board": position.board}
    if known is not None:
        document["rules"] = known.rules
    if moves:
        document["legal"] = (known or Position.from_text(str(position))).legal_moves()
    document["files"] = pictures.write(position)
    out.text(draw_text(position, colour=out.colour, width=_columns()))
    if known is not None and (note := earlier_rules(known.rules)):
        out.text(note)
    if moves:
        legal = document["legal"]
        out.text(f"{len(legal)} legal moves: {', '.join(legal)}")
    out.result(document)


def _show_game(
    out: Output,
    record: GameRecord,
    ending: str | None,
    ply: int | None,
    pictures: _Pictures,
    *,
    moves: bool,
    step: bool,
) -> None:
    from ringrift_cli.play.record_view import RecordView
    from ringrift_cli.play.screen import Screen

    view = RecordView(record, ending)
    if step:
        view.step_through(Screen(sys.stdout, colour=out.colour))
        return
    ply = len(view.moves) if ply is None else ply
    position = view.position(ply).text
    files = pictures.write(position)
    out.text(view.drawing(ply, colour=out.colour, width=_columns()))
    out.text(view.ending)
    if moves:
        out.text(view.move_list())
    result = record.result
    out.result(
        {
            "board": record.board,
            "players": record.players,
            "pie_rule": record.pie_rule,
            "rules": record.rules,
            "ply": ply,
            "position": str(position),
            "moves": view.moves,
            "winner": result.winner or None,
            "reason": result.reason or None,
            "ranks": result.ranks,
            "files": files,
        }
    )
