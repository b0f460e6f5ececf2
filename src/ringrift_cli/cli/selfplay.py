"""`ringrift selfplay`: games of a model or of chance, recorded in shards."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringrift_cli.cli.options import (
    BoardOption,
    ConfigOption,
    GpusOption,
    JsonOption,
    PieOption,
    PlayersOption,
    QuietOption,
    SeedOption,
    SetOption,
    VerboseOption,
    configuration,
    file_path,
    setting,
    whole_number,
)
from ringrift_cli.cli.output import Output, counted, stop_requested, stopped, was_typed
from ringrift_cli.errors import UsageError
from ringrift_cli.settings import Run, SelfPlay

if TYPE_CHECKING:
    from ringrift_cli.selfplay.random_games import Setting, Summary

POLICIES = ("model", "random")
RANDOM_GAMES = 1000
OF_A_MODEL = {  # options that random games have no use for, by parameter
    "model": "--model",
    "hours": "--hours",
    "sims": "--sims",
    "fast_sims": "--fast-sims",
    "full_share": "--full-share",
    "resign_below": "--resign-below",
    "gpus": "--gpus",
    "concurrent": "--concurrent",
    "follow": "--follow",
    "generation": "--generation",
    "config_file": "--config",
    "settings": "--set",
}


def _policy(text: str) -> str:
    if text not in POLICIES:
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(POLICIES)}.")
    return text


ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="NAME",
        help="champion, previous, an identity in the registry, a checkpoint file, or heuristic: a"
        " search with the tuned heuristic.",
        envvar="RINGRIFT_MODEL",
    ),
]
GamesOption = Annotated[
    int | None, typer.Option("--games", parser=whole_number(1), metavar="N", help="Games to play.")
]
HoursOption = Annotated[
    float | None,
    typer.Option("--hours", metavar="H", help="Begin no game after so many hours."),
]
SimsOption = Annotated[int, setting("selfplay.sims", "--sims")]
FastSimsOption = Annotated[int, setting("selfplay.fast_sims", "--fast-sims")]
FullShareOption = Annotated[float, setting("selfplay.full_share", "--full-share")]
ResignOption = Annotated[float, setting("selfplay.resign_below", "--resign-below")]
ConcurrentOption = Annotated[int, setting("selfplay.concurrent", "--concurrent")]
GenerationOption = Annotated[
    int | None,
    typer.Option(
        "--generation",
        parser=whole_number(0),
        metavar="N",
        help="What the shards say of their age.",
        show_default="that of the model",
    ),
]
FollowOption = Annotated[
    bool, typer.Option("--follow", help="Let a new champion play the games that begin then.")
]
PolicyOption = Annotated[
    str, typer.Option("--policy", parser=_policy, metavar="NAME", help="Who plays: model, random.")
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        parser=file_path,
        metavar="FOLDER",
        help="Where the shards go.",
        envvar="RINGRIFT_OUT",
        show_default="runs/selfplay, or runs/POOL/selfplay with a model",
    ),
]
ReadableOption = Annotated[
    bool, typer.Option("--readable", help="Random games as JSON lines with move text.")
]


def selfplay(
    context: typer.Context,
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    games: GamesOption = None,
    hours: HoursOption = None,
    model: ModelOption = "champion",
    gpus: GpusOption = Run.gpus,
    sims: SimsOption = SelfPlay.sims,
    fast_sims: FastSimsOption = SelfPlay.fast_sims,
    full_share: FullShareOption = SelfPlay.full_share,
    resign_below: ResignOption = SelfPlay.resign_below,
    concurrent: ConcurrentOption = SelfPlay.concurrent,
    follow: FollowOption = False,
    generation: GenerationOption = None,
    config_file: ConfigOption = None,
    settings: SetOption = None,
    policy: PolicyOption = "model",
    seed: SeedOption = Run.seed,
    out_folder: OutOption = None,
    pie: PieOption = Run.pie_rule,
    readable: ReadableOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Play games on all GPUs or cores and record them.

    Games go to shards named by their content, each entered in manifest.jsonl once it is whole.
    Ctrl-C and SIGTERM write the games that are over; the same command then goes on behind them, as
    it does with a greater --games. What a model plays is training data: with each decision that was
    searched in full goes what the search found. How it plays is what the section selfplay of
    ringrift.yaml says, unless an option or --set selfplay.KEY=VALUE says otherwise.

    \b
    Examples:
      ringrift selfplay --board hex8 --gpus all --games 5000
      ringrift selfplay --board square8 --players 3 --model models/square8-3p/1f2e….json --hours 8
      ringrift selfplay --policy random --board hex8 --games 10000 --seed 1 --out runs/random
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    config = configuration(context, "run", "selfplay")
    run = config.run
    if policy == "random":
        _refuse_of_a_model(context)
        folder = out_folder or Path("runs/selfplay")
        _play_random(
            out,
            run.board,
            run.players,
            games or RANDOM_GAMES,
            run.seed,
            folder,
            run.pie_rule,
            readable,
        )
        return
    if readable:
        raise UsageError("--readable is for random games; ringrift show reads a model's shards.")
    _check_length(games, hours)
    if follow and model != "champion":
        raise UsageError("--follow is for the champion, whoever that is: leave out --model.")
    out.compile_players()
    from ringrift_cli.cli import selfplay_model

    made = selfplay_model.setting_of(
        model,
        run.board,
        run.players,
        run.pie_rule,
        run.seed,
        run.gpus,
        config.selfplay,
        generation,
        out.choice,
    )
    if follow:
        made = replace(made, follow=Path(run.models))
    selfplay_model.play(out, made, out_folder or config.folder / "selfplay", games, hours)


def _refuse_of_a_model(context: typer.Context) -> None:
    """`UsageError` for an option on the command line that decides nothing in random games."""
    for name, option in OF_A_MODEL.items():
        if was_typed(context, name):
            raise UsageError(
                f"{option} is for games of a model, not for --policy random.",
                hint=f"leave out {option}, or --policy random",
            )


def _check_length(games: int | None, hours: float | None) -> None:
    """`UsageError` unless exactly one of them says how long a model is to play."""
    if games is not None and hours is not None:
        raise UsageError("--games and --hours both say when to stop: expected one of them.")
    if hours is not None and not 0 < hours < float("inf"):
        raise UsageError(f"--hours is {hours:g}, expected a time above 0.")
    if games is None and hours is None:
        raise UsageError("How long shall a model play?", hint="--games 1000, or --hours 8")


def _play_random(
    out: Output,
    board: str,
    players: int,
    games: int,
    seed: int,
    out_folder: Path,
    pie: bool,
    readable: bool,
) -> None:
    """Plays uniformly random games."""
    out.compile_rules()
    from ringrift_cli.selfplay import random_games as stage

    setting = stage.Setting(board, players, games, seed, pie)
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
