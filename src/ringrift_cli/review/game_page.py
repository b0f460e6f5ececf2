"""The analysis of a game as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ringrift_cli.game.position import Position
from ringrift_cli.loop.charts import ChartLine, Point, line_chart
from ringrift_cli.loop.report import XMLNS, html_table, style
from ringrift_cli.review.analysis import GameAnalysis
from ringrift_cli.review.sources import LoadedGame
from ringrift_cli.version import MARK

WORST = 8  # decisions shown with their board


def game_page(
    title: str, game: LoadedGame, positions: Sequence[Position], found: GameAnalysis
) -> str:
    """Chances of all seats along the game, and its worst decisions with their boards."""
    rows = [one.values for one in found.decisions] + [found.final]
    lines = [
        ChartLine(
            f"seat {seat + 1}" + (f": {game.names[seat]}" if game.names else ""),
            [Point(ply, 100 * values[seat]) for ply, values in enumerate(rows)],
        )
        for seat in range(len(found.final))
    ]
    marked = sorted((one for one in found.decisions if one.mark), key=lambda one: -one.lost)
    boards = "".join(
        f"<figure>{positions[one.ply].board.svg(300).replace(XMLNS, '')}<figcaption>"
        f"{one.ply}: seat {one.seat} played {escape(one.move)}, better {escape(one.best)}"
        f"</figcaption></figure>"
        for one in marked[:WORST]
    )
    table = html_table(
        ("decision", "seat", "move", "better", "cost", "mark"),
        [
            [str(one.ply), str(one.seat), one.move, one.best, f"{one.lost:.0%}", one.mark or ""]
            for one in marked
        ],
    )
    chart = line_chart(lines, "Chances, per cent", "decision", from_zero=True)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="generator" content="{MARK}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style()}</style></head><body>"
        f"<h1>{escape(title)}</h1>{chart}<h2>What cost most</h2>"
        f'<div class="boards">{boards}</div>{table}</body></html>\n'
    )
