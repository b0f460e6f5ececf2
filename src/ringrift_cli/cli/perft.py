"""`ringrift perft`: number of decision sequences from the start, by depth."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from ringrift_cli.cli.options import (
    BoardOption,
    JsonOption,
    PieOption,
    PlayersOption,
    QuietOption,
    VerboseOption,
    check_pie,
    number_option,
)
from ringrift_cli.cli.output import Output
from ringrift_cli.settings import Run


def perft(
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    depth: Annotated[int, number_option("--depth", "Maximum number of decisions.")] = 3,
    divide: Annotated[bool, typer.Option("--divide", help="Counts by first move.")] = False,
    pie: PieOption = Run.pie_rule,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Count the sequences of decisions from the start, depth by depth.

    Equal counts of two implementations of the rules indicate equal legal moves; --divide helps to
    locate a difference.

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
    depths: list[dict[str, Any]] = []
    by_move: dict[str, int] = {}  # sequences of the last depth by first move
    for level in range(1, depth + 1):
        start = time.monotonic()
        with out.progress(f"Depth {level}", game.first_moves) as progress:
            by_move.clear()
            for move, count in game.divide(level):
                by_move[move] = count
                progress.advance(1)
        total, seconds = sum(by_move.values()), round(time.monotonic() - start, 6)
        depths.append({"depth": level, "sequences": total, "seconds": seconds})
        if level < depth:
            out.note(f"depth {level}: {total:,}")
    document = {"board": board, "players": players, "pie_rule": pie, "depths": depths}
    if divide:
        document["divide"] = by_move
        out.text("\n".join(f"{move}: {count}" for move, count in by_move.items()) + "\n\n")
    rows = [
        (
            d["depth"],
            d["sequences"],
            f"{d['seconds']:.3f}",
            round(d["sequences"] / max(d["seconds"], 1e-9)),
        )
        for d in depths
    ]
    out.table(rows, ("depth", "sequences", "seconds", "per second"))
    out.result(document)
