"""`ringrift selfplay`: games of a model or of random players, recorded in shards."""

from __future__ import annotations

import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ringrift_cli.cli import completion
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
    StoreOption,
    VerboseOption,
    above_zero,
    configuration,
    number_option,
    path_option,
    setting,
)
from ringrift_cli.cli.output import Output, Progress, counted, refuse_typed, stop_requested, stopped
from ringrift_cli.errors import UsageError
from ringrift_cli.settings import Config, Run, SelfPlay

if TYPE_CHECKING:
    from ringrift_cli.selfplay.actor import Counts
    from ringrift_cli.selfplay.generate import Generated
    from ringrift_cli.selfplay.random_games import RandomSetting, Summary
    from ringrift_cli.selfplay.worker import GenerateSetting

POLICIES = ("model", "random")
RANDOM_GAMES = 1000
HEURISTIC = "heuristic"  # value of --model for search with the tuned heuristic
GPU_EVERY = 5.0  # seconds between readings of the GPU utilisation
# Parameters without effect on random games.
OF_A_MODEL = (
    *("model", "hours", "sims", "fast_sims", "full_share", "resign_below", "gpus", "concurrent"),
    *("follow", "generation", "run", "reanalyse", "store"),
)

OF_THE_LOOP = ("games", "generation", "run")  # what a worker of a store gets from the loop


def _policy(text: str) -> str:
    if text not in POLICIES:
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(POLICIES)}.")
    return text


ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="NAME",
        help="Player: champion, previous, an identity in the registry, a checkpoint file, or"
        " heuristic, a search with the tuned heuristic.",
        envvar="RINGRIFT_MODEL",
        autocompletion=completion.models,
    ),
]
GamesOption = Annotated[int | None, number_option("--games", "Number of games.")]
HoursOption = Annotated[
    float | None,
    typer.Option(
        "--hours", parser=above_zero, metavar="H", help="Hours after which no game is started."
    ),
]
SimsOption = Annotated[int, setting("selfplay.sims", "--sims")]
FastSimsOption = Annotated[int, setting("selfplay.fast_sims", "--fast-sims")]
FullShareOption = Annotated[float, setting("selfplay.full_share", "--full-share")]
ResignOption = Annotated[float, setting("selfplay.resign_below", "--resign-below")]
ConcurrentOption = Annotated[int, setting("selfplay.concurrent", "--concurrent")]
GenerationOption = Annotated[
    int | None,
    number_option(
        "--generation",
        "Generation recorded in the shards.",
        least=0,
        show_default="that of the model",
    ),
]
RunOption = Annotated[
    str | None,
    typer.Option("--run", metavar="ID", help="Run of the learning loop that asked for the games."),
]
FollowOption = Annotated[
    bool,
    typer.Option("--follow", help="Switch to each new champion; with --store, player of the loop."),
]
ReanalyseOption = Annotated[
    list[Path] | None,
    path_option(
        "--reanalyse",
        "Shard, or folder of shards, whose games are searched again instead of new ones played"
        " (repeatable).",
        metavar="SHARDS",
    ),
]
PolicyOption = Annotated[
    str,
    typer.Option("--policy", parser=_policy, metavar="NAME", help="Kind of player: model, random."),
]
OutOption = Annotated[
    Path | None,
    path_option(
        "--out",
        "Folder of the shards.",
        metavar="FOLDER",
        envvar="RINGRIFT_OUT",
        show_default="runs/selfplay, or runs/POOL/selfplay with a model",
    ),
]
ReadableOption = Annotated[
    bool, typer.Option("--readable", help="Write random games as JSON lines with move text.")
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
    run: RunOption = None,
    reanalyse: ReanalyseOption = None,
    config_file: ConfigOption = None,
    settings: SetOption = None,
    policy: PolicyOption = "model",
    seed: SeedOption = Run.seed,
    store: StoreOption = Run.store,
    out_folder: OutOption = None,
    pie: PieOption = Run.pie_rule,
    readable: ReadableOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Play games on all GPUs or cores and record them.

    Games are written to shards named by their hash, listed in manifest.jsonl once complete. After
    Ctrl-C or SIGTERM, or for a greater --games, the same command continues. Games of a model
    are training data: each decision with a full search is recorded with its search policy.
    --reanalyse searches the recorded positions of stored games again, for new policies and values
    from a newer model; moves and results stay as they are.

    \b
    Examples:
      ringrift selfplay --policy random --board hex8 --games 10000 --seed 1 --out runs/random
      ringrift selfplay --board hex8 --gpus all --games 5000
      ringrift selfplay --board square8 --players 3 --model models/square8-3p/1f2e….json --hours 8
      ringrift selfplay --board hex8 --follow --store s3://bucket/ringrift --hours 8
      ringrift selfplay --board hex8 --reanalyse runs/hex8-2p/selfplay --out runs/reanalysed
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    if policy == "random":
        pool = configuration(context, "run").run
        refuse_typed(context, "is for games of a model, not for --policy random", only=OF_A_MODEL)
        from ringrift_cli.selfplay.random_games import RandomSetting

        chance = RandomSetting(
            pool.board, pool.players, games or RANDOM_GAMES, pool.seed, pool.pie_rule
        )
        _play_random(out, chance, out_folder or Path("runs/selfplay"), readable)
        return
    config = configuration(context, "run", "selfplay")
    if readable:
        raise UsageError("--readable is for random games; ringrift show reads a model's shards.")
    if not reanalyse and games is None and hours is None:
        raise UsageError("Expected --games or --hours.", hint="--games 1000, or --hours 8")
    for_store = follow and config.run.store != Run.store
    _refuse_idle_options(context, model, follow=follow, for_store=for_store, again=bool(reanalyse))
    out.compile_players()
    if for_store:
        _play_for_store(out, config, out_folder, hours)
        return
    wanted = replace(_setting(out, config, model, generation), run=run)
    if follow:
        wanted = replace(wanted, follow=Path(config.run.models))
    if reanalyse:
        from ringrift_cli.selfplay.reanalyse import shards_of

        sources = shards_of(reanalyse, wanted.board, wanted.players, wanted.pie_rule)
        wanted = replace(wanted, sources=sources)
    _play(out, wanted, out_folder or config.folder / "selfplay", games, hours)


def _refuse_idle_options(
    context: typer.Context, model: str, *, follow: bool, for_store: bool, again: bool
) -> None:
    """`UsageError` for an option on the command line that others leave without effect."""
    if again:
        refuse_typed(context, "is for new games, not for --reanalyse", only=("games", "follow"))
    if follow:
        if model != "champion":
            raise UsageError("--follow is for the current champion: leave out --model.")
    else:
        refuse_typed(context, "is for --follow", only=("store",))
    if for_store:
        refuse_typed(context, "follows from the loop, with --store", only=OF_THE_LOOP)


# ---- games of a model ---------------------------------------------------------------------------


def _setting(out: Output, config: Config, model: str, generation: int | None) -> GenerateSetting:
    """The setting of a command line; `UsageError` for a missing model or GPU."""
    from ringrift_cli.nn.checkpoint import generation_of, read_about
    from ringrift_cli.players.model import checkpoint_named
    from ringrift_cli.players.spec import teacher
    from ringrift_cli.selfplay.generate import devices_named, of_config
    from ringrift_cli.selfplay.worker import TEACHER

    run, devices = config.run, devices_named(config.run.gpus)
    path: Path | None = None
    if model == HEURISTIC:
        identity, own = teacher(TEACHER, run.board, run.players).identity, 0
    else:
        path, identity = checkpoint_named(model, run.board, run.players, run.pie_rule)
        own = generation_of(read_about(path)["about"])
    generation = own if generation is None else generation
    return of_config(
        config,
        path,
        identity,
        seed=run.seed,
        generation=generation,
        devices=devices,
        on_choice=out.choice,
    )


def gpu_use() -> str:
    """GPU utilisation from nvidia-smi, as `GPU 97 %`; empty without a GPU."""
    query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = done.stdout.split() if done.returncode == 0 else []
    return f"GPU {' '.join(f'{use} %' for use in found)}" if found else ""


class _Meter:
    """Progress of a run by games, by source shards, or by seconds if `hours` are given."""

    def __init__(self, progress: Progress, wanted: GenerateSetting, hours: float | None) -> None:
        self._progress, self._hours = progress, hours
        self._gpus = any(device.startswith("cuda") for device in wanted.devices)
        self._use, self._looked, self._seconds = "", -GPU_EVERY, 0.0
        self._of_shards, self._shards = bool(wanted.sources), 0

    def advance(self, more: Counts, so_far: Generated) -> None:
        seconds = max(so_far.seconds, 1e-9)
        now = time.monotonic()
        if self._gpus and now - self._looked >= GPU_EVERY:
            self._use, self._looked = gpu_use(), now
        parts = [
            counted(so_far.counts.games, "game"),
            f"{so_far.counts.games / seconds:.1f} games/s",
            f"{so_far.counts.evaluations / seconds:,.0f} evals/s",
            self._use,
        ]
        amount = more.games
        if self._of_shards:
            amount = len(so_far.shards) - self._shards
            self._shards = len(so_far.shards)
        if self._hours is not None:
            elapsed = min(so_far.seconds, 3600 * self._hours)
            amount = int(elapsed) - int(self._seconds)
            self._seconds = elapsed
        self._progress.advance(amount, ", ".join(filter(None, parts)))


def _play(
    out: Output, wanted: GenerateSetting, folder: Path, games: int | None, hours: float | None
) -> None:
    """Plays and prints the result; raises `typer.Exit` if stopped by a signal."""
    from ringrift_cli.loop.journal import JOURNAL
    from ringrift_cli.selfplay.generate import generate

    what = "Reanalysis" if wanted.sources else "Self-play"
    title = f"{what} {wanted.board} {wanted.players}p, {wanted.identity[:8]}"
    if hours is not None:
        total = int(3600 * hours)
    else:
        total = len(wanted.sources) if games is None else games
    with out.progress(title, total) as progress, stop_requested() as stop:
        done = generate(
            wanted,
            folder,
            games=games,
            seconds=None if hours is None else 3600 * hours,
            advance=_Meter(progress, wanted, hours if games is None else None).advance,
            should_stop=lambda: stop() != 0,
        )
    for note in done.notes:
        out.note(note)
    if wanted.run is None and (folder.parent / JOURNAL).exists():
        out.note(
            f"The learning loop in {folder.parent} does not train on these games; ringrift train"
            f" --data {folder} does."
        )
    document = {
        "board": wanted.board,
        "players": wanted.players,
        "pie_rule": wanted.pie_rule,
        "model": wanted.identity,
        "devices": list(wanted.devices),
        "folder": str(folder),
        **done.document(),
    }
    out.result(document, _generated_text(done, folder))
    if done.stopped:
        out.note("Stopped; finished games are saved. Run the same command to continue.")
        raise stopped(stop())


def _play_for_store(
    out: Output, config: Config, out_folder: Path | None, hours: float | None
) -> None:
    """Plays for the learning loop that mirrors its run in the store."""
    if hours is None:
        raise UsageError("--follow with --store needs --hours.", hint="--hours 8")
    folder = out_folder or Path("runs/worker") / config.pool
    out.compile_network()
    from ringrift_cli.loop.on_store import StoreWorker, mirror_of
    from ringrift_cli.selfplay.generate import devices_named

    mirror = mirror_of(config.run.store, config, out)
    worker = StoreWorker(config, mirror, folder, out.note)
    devices, shown = devices_named(config.run.gpus), 0.0
    began = time.monotonic()
    title = f"Self-play for {config.run.store}"
    with out.progress(title, int(3600 * hours)) as progress, stop_requested() as stop:

        def advance(so_far: Generated) -> None:
            nonlocal shown
            passed = min(time.monotonic() - began, 3600 * hours)
            progress.advance(int(passed) - int(shown), counted(so_far.counts.games, "game"))
            shown = passed

        done = worker.run(3600 * hours, devices, advance, lambda: stop() != 0)
        signal = stop()
    if done is None:
        out.note("No learning loop has said in the store who plays: ringrift cycle --store URL")
    document = {"folder": str(folder), "worker": worker.name, "games": worker.games}
    out.result(document, f"{counted(worker.games, 'game')} in {folder}")
    if signal:
        raise stopped(signal)


def _generated_text(done: Generated, folder: Path) -> str:
    counts, seconds = done.counts, max(done.seconds, 1e-9)
    text = (
        f"{counted(counts.games, 'game')}, {counted(counts.positions, 'training position')} in "
        f"{seconds:.1f} s ({counts.games / seconds:.1f} games/s, "
        f"{counts.evaluations / seconds:,.0f} evals/s): "
        f"{counted(len(done.shards), 'shard')} in {folder}"
    )
    if done.known:
        text += f"\n{counted(done.known, 'game')} of this setting had been recorded"
    if counts.resign_checked:
        text += (
            f"\nOf {counted(counts.resign_checked, 'played-through game')} that would have been "
            f"resigned, the seat that would have given up won {counts.resign_wrong}"
        )
    return text


# ---- random games -------------------------------------------------------------------------------


def _play_random(out: Output, wanted: RandomSetting, folder: Path, readable: bool) -> None:
    """Like `_play`, for uniformly random games."""
    out.compile_rules()
    from ringrift_cli.selfplay import random_games

    random_games.play_random(replace(wanted, games=1), 0, 1)  # loads the compiled rules
    known = random_games.recorded(folder, wanted, readable=readable)
    start, played = time.monotonic(), 0
    title = f"Self-play {wanted.board} {wanted.players}p"
    total = max(wanted.games - known, 0)
    with out.progress(title, total) as progress, stop_requested() as stop:

        def advance(more: int, _decisions: int) -> None:
            nonlocal played
            played += more
            rate = played / (time.monotonic() - start)
            progress.advance(more, f"{counted(played, 'game')}, {rate:,.0f} games/s")

        done = random_games.run(
            wanted,
            folder,
            known=known,
            readable=readable,
            advance=advance,
            should_stop=lambda: stop() != 0,
        )
    _report_random(out, wanted, done, folder, time.monotonic() - start)
    if done.stopped:
        games = done.known + done.games
        out.note(
            f"Stopped after {games:,} of {wanted.games:,} games; repeat the command to continue."
        )
        raise stopped(stop())


def _report_random(
    out: Output, wanted: RandomSetting, done: Summary, folder: Path, seconds: float
) -> None:
    document = {
        "board": wanted.board,
        "players": wanted.players,
        "policy": "random",
        "seed": wanted.seed,
        "pie_rule": wanted.pie_rule,
        "games": done.games,
        "known_games": done.known,
        "decisions": done.decisions,
        "seconds": round(seconds, 3),
        "games_per_second": round(done.games / seconds, 1),
        "stopped": done.stopped,
        "shards": [str(path) for path in done.shards],
    }
    text = (
        f"{counted(done.games, 'game')}, {counted(done.decisions, 'decision')} in {seconds:.1f} s"
        f" ({done.games / seconds:,.0f} games/s): {counted(len(done.shards), 'shard')} in {folder}"
    )
    if done.known:
        text += f"\n{counted(done.known, 'game')} of this run had been recorded"
    out.result(document, text)
