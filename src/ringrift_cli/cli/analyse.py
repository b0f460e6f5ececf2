"""`ringrift analyse`: win chances along a recorded game, and its mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ringrift_cli.cli import completion
from ringrift_cli.cli.options import (
    ForceOption,
    JsonOption,
    QuietOption,
    check_outputs,
    file_path,
    number_option,
    path_option,
)
from ringrift_cli.cli.output import Output
from ringrift_cli.errors import UsageError

if TYPE_CHECKING:
    from ringrift_cli.review.analysis import DecisionAnalysis

MAX_MOVE = 44  # characters in the table


def analyse(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", parser=file_path, help="Record, shard, results file or saved game."
        ),
    ],
    game: Annotated[
        int | None,
        number_option("--game", "Number of the game.", show_default="the first"),
    ] = None,
    evaluator: Annotated[
        str,
        typer.Option(
            "--evaluator",
            metavar="NAME",
            help="heuristic, champion or shipped.",
            show_default="the champion, else the shipped network, else heuristic",
            autocompletion=completion.models,
        ),
    ] = "",
    simulations: Annotated[
        int, number_option("--sims", "Simulations per position.", most=100_000)
    ] = 64,
    html: Annotated[Path | None, path_option("--html", "HTML page to write.")] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Search every position of a recorded game: win chances and the decisions that cost most.

    \b
    Examples:
      ringrift analyse games.rrg --game 3
      ringrift analyse runs/results.sqlite --game 12 --sims 200 --html analysis.html
    """
    out = Output(as_json=as_json, quiet=quiet)
    check_outputs(html, force=force)
    out.compile_players()
    from ringrift_cli.review.analysis import GameAnalysis, analyse_game
    from ringrift_cli.review.analysis import evaluator as find_evaluator
    from ringrift_cli.review.game_page import game_page
    from ringrift_cli.review.sources import GameFile
    from ringrift_cli.store.files import write_whole

    loaded = GameFile(file).game(game)
    positions = loaded.positions()
    board, players = positions[0].board_name, positions[0].players
    if not loaded.actions:
        raise UsageError(f"{file} has no decisions to analyse.")
    found = GameAnalysis(0, 0)
    using = find_evaluator(evaluator, board, players)
    with out.progress("positions", len(positions)) as progress:
        for state in analyse_game(positions, loaded.actions, using, simulations):
            progress.advance(state.done - found.done)
            found = state
    if html is not None:
        title = f"{file.name}, game {game or 1}"
        write_whole(html, game_page(title, loaded, positions, found).encode())
        out.note(f"Wrote {html}.")
    marked = [one for one in found.decisions if one.mark]
    out.table([_row(one) for one in marked], ("decision", "seat", "move", "better", "cost", "mark"))
    if not marked:
        out.text("No mistake was found.")
    out.result(
        {
            "file": file,
            "game": game or 1,
            "board": board,
            "players": players,
            "simulations": simulations,
            "decisions": found.decisions,
            "final": found.final,
            "html": html,
        }
    )


def _row(one: DecisionAnalysis) -> tuple[str | int | None, ...]:
    move, best = one.move[:MAX_MOVE], one.best[:MAX_MOVE]
    return one.ply, one.seat, move, best, f"{one.lost:.0%}", one.mark
