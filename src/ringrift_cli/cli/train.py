"""`ringrift train`: training of a network on self-play shards."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ringrift_cli.cli.options import (
    BoardOption,
    ConfigOption,
    JsonOption,
    PieOption,
    PlayersOption,
    QuietOption,
    SeedOption,
    SetOption,
    SizeOption,
    VerboseOption,
    configuration,
    number_option,
    path_option,
    setting,
)
from ringrift_cli.cli.output import Output, Progress, counted, stop_requested, stopped, was_typed
from ringrift_cli.errors import UsageError
from ringrift_cli.settings import NetworkSection, Run, Train

if TYPE_CHECKING:
    from ringrift_cli.train.trainer import Sources, TrainingPlan, TrainSetting, TrainSummary

DataOption = Annotated[
    Path | None,
    path_option(
        "--data",
        "Folder of shards of searched games.",
        metavar="FOLDER",
        envvar="RINGRIFT_DATA",
        show_default="runs/BOARD-Np/selfplay",
    ),
]
OutOption = Annotated[
    Path | None,
    path_option(
        "--out",
        "Folder of the training run.",
        metavar="FOLDER",
        envvar="RINGRIFT_OUT",
        show_default="runs/BOARD-Np/train",
    ),
]
ShardOption = Annotated[
    list[str] | None,
    typer.Option(
        "--shard",
        metavar="SHA256",
        help="Shard to train on instead of a window; repeatable.",
        show_default="a window",
    ),
]
ShardsOption = Annotated[
    Path | None, path_option("--shards", "File of hashes of shards, one per line.")
]
InitOption = Annotated[
    Path | None,
    path_option(
        "--init",
        "Model with the initial weights, of any board and number of players.",
        metavar="MODEL.json",
        show_default="network.init, unless --continue",
    ),
]
ContinueOption = Annotated[
    Path | None,
    path_option(
        "--continue",
        "Finished run to continue from: its weights (unless --init) and optimiser; the"
        " positions that it used are not new.",
        metavar="FOLDER",
    ),
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Resume the run in --out, if there is one.")
]
StepsOption = Annotated[
    int | None, number_option("--steps", "Number of steps, instead of --samples-per-position.")
]
SamplesOption = Annotated[float, setting("train.samples_per_position", "--samples-per-position")]
SurpriseOption = Annotated[float, setting("train.surprise_weight", "--surprise-weight")]
WindowOption = Annotated[int, setting("train.window", "--window")]
AgeOption = Annotated[float, setting("train.max_age", "--max-age", metavar="HOURS")]
BehindOption = Annotated[int, setting("train.max_generations_behind", "--max-generations-behind")]
MinutesOption = Annotated[float, setting("train.checkpoint_minutes", "--checkpoint-minutes")]
GenerationOption = Annotated[
    int | None,
    number_option(
        "--generation",
        "Generation of the model in training.",
        least=0,
        show_default="that of the initial model, plus 1",
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="NAME",
        help="Device: auto, cpu, cuda or cuda:1.",
        envvar="RINGRIFT_DEVICE",
    ),
]
DryRunOption = Annotated[
    bool,
    typer.Option("--dry-run", help="Show window and number of steps without training."),
]


def train(
    context: typer.Context,
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    pie: PieOption = Run.pie_rule,
    data: DataOption = None,
    out_folder: OutOption = None,
    size: SizeOption = NetworkSection.size,
    init: InitOption = None,
    follow: ContinueOption = None,
    resume: ResumeOption = False,
    steps: StepsOption = None,
    samples_per_position: SamplesOption = Train.samples_per_position,
    surprise_weight: SurpriseOption = Train.surprise_weight,
    window: WindowOption = Train.window,
    shard: ShardOption = None,
    shards: ShardsOption = None,
    max_age: AgeOption = Train.max_age,
    max_generations_behind: BehindOption = Train.max_generations_behind,
    generation: GenerationOption = None,
    checkpoint_minutes: MinutesOption = Train.checkpoint_minutes,
    device: DeviceOption = "auto",
    seed: SeedOption = Run.seed,
    config_file: ConfigOption = None,
    settings: SetOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Train a network on searched games.

    The steps follow from the number of new positions in a window over the newest shards and
    --samples-per-position. The model has averaged weights, validated on held-out games. Stale or
    damaged data, and data made under other rules, are refused.

    After Ctrl-C or a crash the same command with --resume continues from the last state.

    \b
    Examples:
      ringrift train --board hex8 --players 2 --data runs/hex8-2p/selfplay --size small
      ringrift train --board hex8 --continue runs/hex8-2p/train --out runs/hex8-2p/train-2
      ringrift train --board hexagonal --init models/hex8-2p/0123456789abcdef.json --steps 2000
      ringrift train --board hex8 --set train.batch=512 --max-age 24 --dry-run
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    config = configuration(context, "run", "network", "train")
    if steps is not None and was_typed(context, "samples_per_position"):
        raise UsageError("Expected --steps or --samples-per-position, not both.")
    hashes = _listed(shard, shards)
    out.compile_network()
    from ringrift_cli.train.settings import TrainSetting
    from ringrift_cli.train.start import Sources, next_generation
    from ringrift_cli.train.state import has_state

    folder = out_folder or config.folder / "train"
    resumes = resume and has_state(folder)
    if not (init or follow or resumes) and config.network.init != "none":
        init = Path(config.network.init)
    sources = Sources(data or config.folder / "selfplay", hashes, init, follow)
    continues = init or follow or resumes  # with its own network
    own_size = None if continues and not was_typed(context, "size") else config.network.size
    if generation is None:
        generation = next_generation(sources, config.run.board, config.run.players)
    if generation is None and was_typed(context, "max_generations_behind"):
        raise UsageError(
            "--max-generations-behind needs the generation of the model in training.",
            hint="--generation N",
        )
    run = (config.run.board, config.run.players, config.run.pie_rule, config.run.seed)
    wanted = TrainSetting(*run, config.train, own_size, generation, steps, device)
    if init:
        _note_pool(out, init, wanted)
    if dry_run:
        _plan(out, wanted, sources)
    else:
        _train(out, wanted, sources, folder, resume=resume)


def _note_pool(out: Output, init: Path, wanted: TrainSetting) -> None:
    """Tells that the initial weights are of another board or number of players."""
    from ringrift_cli.nn.checkpoint import read_about

    own = read_about(init)["architecture"]
    if (own["board"], own["players"]) != (wanted.board, wanted.players):
        out.note(
            f"Weights of a model for {own['board']} with {own['players']} players, taken over for"
            f" {wanted.board} with {wanted.players}."
        )


def _listed(shard: list[str] | None, file: Path | None) -> list[str] | None:
    """Hashes of the shards to train on, if given; `UsageError` for an unreadable file."""
    if file is None:
        return shard
    try:
        return [*(shard or []), *file.read_text(encoding="ascii").split()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--shards {file} cannot be read: {error}.") from error


def _plan(out: Output, wanted: TrainSetting, sources: Sources) -> None:
    from ringrift_cli.train.trainer import plan

    planned = plan(wanted, sources)
    out.result({"dry_run": True, **planned.document()}, _plan_text(planned, wanted, sources))


def _plan_text(planned: TrainingPlan, wanted: TrainSetting, sources: Sources) -> str:
    window = planned.window
    made = window.document()
    return (
        f"{counted(len(window.entries), 'shard')} of {sources.data}, made from {made['oldest']} to"
        f" {made['newest']}\n"
        f"  {counted(window.games, 'game')} with {counted(window.positions, 'position')} of"
        f" {window.total:,} in all; {planned.positions:,} to train on, {planned.new_positions:,}"
        " of them new\n"
        f"  {counted(planned.steps, 'step')} of {wanted.train.batch} positions"
    )


def _train(
    out: Output, wanted: TrainSetting, sources: Sources, folder: Path, *, resume: bool
) -> None:
    from ringrift_cli.train.trainer import train

    what, done = f"Training {wanted.board} {wanted.players}p", 0
    with stop_requested() as signalled, ExitStack() as shown:
        bar: Progress | None = None

        def on_step(step: int, steps: int, numbers: dict[str, float]) -> None:
            nonlocal bar, done
            if bar is None:  # the number of steps is known once the data are read
                bar = shown.enter_context(out.progress(what, steps))
            bar.advance(step - done, _note(numbers))
            done = step

        summary = train(
            wanted,
            sources,
            folder,
            resume=resume,
            on_step=on_step,
            on_choice=out.choice,
            should_stop=lambda: bool(signalled()),
        )
        signal = signalled()
    _report(out, summary, folder)
    if summary.stopped:
        out.note(f"Stopped at step {summary.steps}; repeat the command with --resume to continue.")
        raise stopped(signal)


def _note(numbers: dict[str, float]) -> str:
    if "policy" not in numbers:
        return ""
    note = f"policy {numbers['policy']:.3f}, value {numbers['value']:.3f}"
    if "validation_loss" in numbers:
        note += f", validation {numbers['validation_loss']:.3f}"
    speed, left = numbers["samples_per_second"], numbers["seconds_left"]
    return f"{note}, {speed:,.0f} samples/s, {left / 60:.1f} min left"


def _report(out: Output, summary: TrainSummary, folder: Path) -> None:
    window = summary.window
    done = f"{counted(summary.steps, 'step')} with {counted(summary.samples, 'sample')}"
    speed = f"{summary.seconds:.0f} s ({summary.samples_per_second:,.0f} samples/s)"
    read = f"{counted(window['shards'], 'shard')}, {counted(window['games'], 'game')}"
    held = f"{counted(summary.positions, 'position')} ({summary.new_positions:,} new)"
    lines = [f"{done} in {speed}, kept in {folder}", f"  window      {read}, {held}"]
    for name, first, last in (
        ("training", summary.train_first, summary.train_last),
        ("validation", summary.validation_first, summary.validation_last),
    ):
        if last:
            lines.append(
                f"  {name:<11} policy {first['policy']:.3f} -> {last['policy']:.3f}, value"
                f" {first['value']:.3f} -> {last['value']:.3f}"
            )
    if summary.validation_last:
        last = summary.validation_last
        lines.append(
            f"  on games never trained on: policy {last['policy_accuracy']:.1%}, winner"
            f" {last['value_accuracy']:.1%} right; calibration error {last['calibration']:.3f}"
        )
    if summary.early:
        lines.append("  stopped early: no improvement in validation; this is the best model")
    if summary.checkpoint:
        lines.append(f"Model: {summary.checkpoint}")
    out.result({**summary.document(), "out": str(folder)}, "\n".join(lines))
