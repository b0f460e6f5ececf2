"""`ringrift selfplay`: games played on all cores, recorded in shards."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from ringrift_cli.cli.options import (
    BoardOption,
    JsonOption,
    PieOption,
    PlayersOption,
    QuietOption,
    SeedOption,
    VerboseOption,
    check_pie,
    whole_number,
)
from ringrift_cli.cli.output import Output, stop_requested

POLICIES = ("random",)


def _policy(text: str) -> str:
    if text not in POLICIES:
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(POLICIES)}.")
    return text


def selfplay(
    board: BoardOption = "hex8",
    players: PlayersOption = 2,
    games: Annotated[
        int,
        typer.Option("--games", parser=whole_number(1), metavar="N", help="Games to play."),
    ] = 1000,
    policy: Annotated[
        str,
        typer.Option("--policy", parser=_policy, metavar="NAME", help="Who plays: random."),
    ] = "random",
    seed: SeedOption = 0,
    out_folder: Annotated[
        Path,
        typer.Option("--out", metavar="FOLDER", help="Where the shards go.", envvar="RINGRIFT_OUT"),
    ] = Path("runs/selfplay"),
    pie: PieOption = False,
    readable: Annotated[
        bool, typer.Option("--readable", help="Write JSON lines with move text, not compact files.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Play games on all cores and record them.

    Games go to shards named by their content, each entered in manifest.jsonl once it is whole. The
    same seed gives the same games, however many cores play them. Ctrl-C and SIGTERM finish the
    shard in hand.

    \b
    Examples:
      ringrift selfplay --policy random --board hex8 --games 10000 --seed 1 --out runs/random
      ringrift selfplay --board square19 --players 4 --games 50 --readable
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    check_pie(pie, players)
    out.compile_rules()
    from ringrift_cli.stages import selfplay as stage

    setting = stage.Setting(board, players, games, seed, pie, policy)
    start = time.monotonic()
    with out.progress(f"Self-play {board} {players}p", games) as progress, stop_requested() as stop:
        done = [0, 0]

        def advance(more: int, decisions: int) -> None:
            done[0] += more
            done[1] += decisions
            rate = done[0] / (time.monotonic() - start)
            progress.advance(more, f"{done[0]:,} games, {rate:,.0f} games/s")

        summary = stage.run(
            setting, out_folder, readable=readable, advance=advance, should_stop=stop
        )
    seconds = time.monotonic() - start
    document: dict[str, Any] = {
        "board": board,
        "players": players,
        "policy": policy,
        "seed": seed,
        "pie_rule": pie,
        "games": summary.games,
        "decisions": summary.decisions,
        "seconds": round(seconds, 3),
        "games_per_second": round(summary.games / seconds, 1),
        "stopped": summary.stopped,
        "new_shards": summary.new_shards,
        "shards": [str(path) for path in summary.shards],
    }
    known = len(summary.shards) - summary.new_shards
    text = (
        f"{summary.games:,} games, {summary.decisions:,} decisions in {seconds:.1f} s "
        f"({summary.games / seconds:,.0f} games/s): {len(summary.shards)} shards in {out_folder}"
        + (f", {known} of them there already" if known else "")
    )
    out.result(document, text)
    if summary.stopped:
        out.note(f"Stopped after {summary.games:,} of {games:,} games; all of them are recorded.")
        raise typer.Exit(130)
