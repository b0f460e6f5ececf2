"""`ringrift selfplay`: games played on all cores, recorded in shards."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from ringrift_cli.cli.output import Output, counted, stop_requested, stopped

if TYPE_CHECKING:
    from ringrift_cli.stages.selfplay import Setting, Summary

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
    same seed gives the same games, however many cores play them. Ctrl-C and SIGTERM
    write the games played so far; the same command then goes on behind them, as it does with a
    greater --games.

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
    stage.play_random(stage.Setting(board, players, 1, 0), 0, 1)  # loads the compiled rules
    known = stage.recorded(out_folder, setting, readable=readable)
    start = time.monotonic()
    to_play = max(games - known, 0)
    title = f"Self-play {board} {players}p"
    with out.progress(title, to_play) as progress, stop_requested() as stop:
        played = 0

        def advance(more: int, _decisions: int) -> None:
            nonlocal played
            played += more
            rate = played / (time.monotonic() - start)
            progress.advance(more, f"{counted(played, 'game')}, {rate:,.0f} games/s")

        summary = stage.run(
            setting,
            out_folder,
            known=known,
            readable=readable,
            advance=advance,
            should_stop=lambda: stop() != 0,
        )
    _report(out, setting, summary, out_folder, time.monotonic() - start)
    if summary.stopped:
        done = summary.known + summary.games
        out.note(f"Stopped after {done:,} of {games:,} games: the same command goes on there.")
        raise stopped(stop())


def _report(out: Output, setting: Setting, summary: Summary, folder: Path, seconds: float) -> None:
    """Prints what a run did."""
    document: dict[str, Any] = {
        "board": setting.board,
        "players": setting.players,
        "policy": setting.policy,
        "seed": setting.seed,
        "pie_rule": setting.pie_rule,
        "games": summary.games,
        "known_games": summary.known,
        "decisions": summary.decisions,
        "seconds": round(seconds, 3),
        "games_per_second": round(summary.games / seconds, 1),
        "stopped": summary.stopped,
        "shards": [str(path) for path in summary.shards],
    }
    text = (
        f"{counted(summary.games, 'game')}, {counted(summary.decisions, 'decision')} in "
        f"{seconds:.1f} s ({summary.games / seconds:,.0f} games/s): "
        f"{counted(len(summary.shards), 'shard')} in {folder}"
    )
    if summary.known:
        text += f"\n{counted(summary.known, 'game')} of this run were there already"
    out.result(document, text)
