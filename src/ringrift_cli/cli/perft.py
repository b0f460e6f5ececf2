"""`ringrift perft`: how many sequences of decisions a game allows, depth by depth."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringrift_cli.cli.options import (
    BoardOption,
    JsonOption,
    PieOption,
    PlayersOption,
    QuietOption,
    VerboseOption,
    check_pie,
    whole_number,
)
from ringrift_cli.cli.output import Output
from ringrift_cli.settings import Run

if TYPE_CHECKING:
    from ringrift_cli.game.perft import Perft


def perft(
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    depth: Annotated[
        int,
        typer.Option(
            "--depth", parser=whole_number(1), metavar="N", help="Decisions to look ahead."
        ),
    ] = 3,
    divide: Annotated[
        bool, typer.Option("--divide", help="Also count each first move by itself.")
    ] = False,
    pie: PieOption = Run.pie_rule,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Count the sequences of decisions from the start, depth by depth.

    Two implementations of the rules that agree here agree on every legal move on the way; with
    --divide, the first moves whose counts differ tell where to look.

    \b
    Examples:
      ringrift perft --board hex8 --players 2 --depth 3
      ringrift perft --board square8 --players 3 --depth 2 --divide
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    check_pie(pie, players)
    out.compile_rules()
    from ringrift_cli.game.perft import Perft

    Perft("square8", 2).count(2)  # loads the compiled rules
    game = Perft(board, players, pie=pie)
    depths = []
    by_move: dict[str, int] = {}
    for level in range(1, depth + 1):
        start = time.monotonic()
        by_move = _divide(out, game, level)
        depths.append((level, sum(by_move.values()), time.monotonic() - start))
        if level < depth:
            out.note(f"depth {level}: {depths[-1][1]:,}")
    document: dict[str, Any] = {
        "board": board,
        "players": players,
        "pie_rule": pie,
        "depths": [
            {"depth": level, "sequences": count, "seconds": round(seconds, 6)}
            for level, count, seconds in depths
        ],
    }
    if divide:
        document["divide"] = by_move
    out.result(document, _text(depths, by_move if divide else {}))


def _divide(out: Output, game: Perft, depth: int) -> dict[str, int]:
    """Sequences of `depth` decisions by first move, in the order of the rules."""
    by_move = {}
    with out.progress(f"Depth {depth}", game.first_moves) as progress:
        for move, count in game.divide(depth):
            by_move[move] = count
            progress.advance(1)
    return by_move


def _text(depths: list[tuple[int, int, float]], by_move: dict[str, int]) -> str:
    lines = [f"{move}: {count}" for move, count in by_move.items()]
    if lines:
        lines.append("")
    lines.append(f"{'depth':>5} {'sequences':>20} {'seconds':>9} {'per second':>14}")
    lines += [
        f"{depth:>5} {count:>20,} {seconds:>9.3f} {count / max(seconds, 1e-9):>14,.0f}"
        for depth, count, seconds in depths
    ]
    return "\n".join(lines)
