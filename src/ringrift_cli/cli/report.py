"""`ringrift report`: an HTML report of a run, or statistics of its games."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ringrift_cli.cli.options import (
    BoardOption,
    ConfigOption,
    ForceOption,
    JsonOption,
    PlayersOption,
    QuietOption,
    SetOption,
    VerboseOption,
    check_outputs,
    path_option,
)
from ringrift_cli.cli.output import Output
from ringrift_cli.cli.status import RunArgument, run_settings
from ringrift_cli.errors import UsageError
from ringrift_cli.settings import Run
from ringrift_cli.store.files import write_whole
from ringrift_cli.text import counted

NAME = "report.html"

OutOption = Annotated[
    Path | None,
    path_option(
        "--out",
        "HTML file to write, also over an earlier report.",
        show_default=f"{NAME} in the folder of the run",
    ),
]

GamesOption = Annotated[
    bool,
    typer.Option(
        "--games",
        help="Statistics of its games instead: seats, ways of winning, lengths, recoveries.",
    ),
]


def report(
    context: typer.Context,
    run: RunArgument = None,
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    games: GamesOption = False,
    out_file: OutOption = None,
    config_file: ConfigOption = None,
    settings: SetOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Write a run as one HTML page: Elo, losses, games, the gate's evidence, settings.

    The page is self-contained: it opens offline and can be mailed.

    \b
    Examples:
      ringrift report
      ringrift report --board square8 --players 3 --out square8-3p.html
      ringrift report --games runs/hex8-2p
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    if games:
        if out_file is not None:
            raise UsageError("Expected --games or --out, not both.", hint="ringrift report --games")
        _games(out, _games_folder(context, run))
        return
    config = run_settings(context, run)
    check_outputs(out_file, force=force)
    out.compile_rules()
    from ringrift_cli.loop.report import page

    text = page(config)
    path = out_file or config.folder / NAME
    write_whole(path, text.encode())
    out.result({"file": path, "bytes": len(text.encode())}, str(path))


def _games_folder(context: typer.Context, run: Path | None) -> Path:
    """The folder of shards of a run, or the folder itself if it is one of shards."""
    from ringrift_cli.store.manifest import MANIFEST

    if run is not None and (run / MANIFEST).is_file():
        return run
    from ringrift_cli.loop.cycle import Folders

    return Folders(run_settings(context, run).folder).data


def _games(out: Output, folder: Path) -> None:
    from ringrift_cli.data.pool import PoolStatistics, statistics

    def share(pool: PoolStatistics, count: int) -> tuple[str, str]:
        mean, low, high = pool.share(count)
        return f"{mean:.1%}", f"{low:.1%} to {high:.1%}"

    pools = statistics(folder)
    for pool in pools:
        low, middle, high = pool.lengths
        out.text(
            f"{pool.board}, {pool.players} players{', pie rule' if pool.pie_rule else ''}:"
            f" {counted(pool.games, 'game')} in {counted(pool.shards, 'shard')},"
            f" {counted(pool.positions, 'training position')}"
        )
        rows: list[tuple[str, int, str, str]] = [
            (f"won by seat {seat}", won, *share(pool, won))
            for seat, won in enumerate(pool.wins_by_seat, 1)
        ]
        rows += [(way.replace("_", " "), n, *share(pool, n)) for way, n in pool.reasons.items()]
        rows += [
            ("with a recovery", pool.games_with_recovery, *share(pool, pool.games_with_recovery))
        ]
        out.table(rows, ("games", "number", "share", "95 %"))
        out.text(
            f"Decisions per game: {pool.decisions / pool.games:.1f} on average, {middle} the"
            f" median, 90 % from {low} to {high}."
            f"\nRecoveries per game: {pool.recoveries / pool.games:.2f}."
        )
    out.result([asdict(pool) for pool in pools])
