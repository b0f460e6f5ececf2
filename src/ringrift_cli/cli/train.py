"""`ringrift train`: a network from the shards of self-play."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringrift_cli import settings as config
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
from ringrift_cli.cli.output import Output, Progress, counted, stop_requested, stopped
from ringrift_cli.errors import UsageError
from ringrift_cli.settings import Run

if TYPE_CHECKING:
    from ringrift_cli.train.trainer import Plan, Sources, TrainSetting, TrainSummary

DEFAULTS = config.Train()

DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="FOLDER",
        help="Shards of searched games, with their manifest.",
        envvar="RINGRIFT_DATA",
        show_default="runs/BOARD-Np/selfplay",
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FOLDER",
        help="Where the run is kept; one run a folder.",
        envvar="RINGRIFT_OUT",
        show_default="runs/BOARD-Np/train",
    ),
]
ShardOption = Annotated[
    list[str] | None,
    typer.Option(
        "--shard",
        metavar="SHA256",
        help="Train on exactly this shard; once for each. Instead of --window.",
        show_default="a window",
    ),
]
ShardsOption = Annotated[
    Path | None,
    typer.Option(
        "--shards", metavar="FILE", help="The same of those that a file names, a line each."
    ),
]
SizeOption = Annotated[
    str | None,
    typer.Option(
        "--size",
        metavar="NAME",
        help="A new network: tiny, small, medium, large or huge.",
        show_default="small",
    ),
]
InitOption = Annotated[
    Path | None,
    typer.Option("--init", metavar="MODEL.json", help="Begin with the weights of this model."),
]
ContinueOption = Annotated[
    Path | None,
    typer.Option(
        "--continue",
        metavar="FOLDER",
        help="Follow this finished run: its weights (unless --init), its optimiser, and what it"
        " was trained on is not new.",
    ),
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Go on with the run in --out, if there is one.")
]
StepsOption = Annotated[
    int | None,
    typer.Option(
        "--steps",
        parser=whole_number(1),
        metavar="N",
        help="Steps in all, instead of --samples-per-position.",
    ),
]
SamplesOption = Annotated[
    float | None,
    typer.Option(
        "--samples-per-position",
        metavar="X",
        help="How often a new position is seen on average: that caps the steps.",
        show_default=f"{DEFAULTS.samples_per_position:g}",
    ),
]
SurpriseOption = Annotated[
    float,
    typer.Option(
        "--surprise-weight",
        metavar="S",
        help="0: all positions alike; 1: as often as the search was surprised there.",
    ),
]
WindowOption = Annotated[
    int,
    typer.Option(
        "--window",
        parser=whole_number(1),
        metavar="N",
        help="Positions that are all used; of more the newest, in a window that grows slower.",
    ),
]
AgeOption = Annotated[
    float | None,
    typer.Option("--max-age", metavar="HOURS", help="Refuse data whose newest shard is older."),
]
BehindOption = Annotated[
    int | None,
    typer.Option(
        "--max-generations-behind",
        parser=whole_number(0),
        metavar="N",
        help="Refuse data whose newest shard a model this far before --generation made.",
    ),
]
GenerationOption = Annotated[
    int | None,
    typer.Option(
        "--generation",
        parser=whole_number(0),
        metavar="N",
        help="Number of the model that comes out.",
    ),
]
MinutesOption = Annotated[
    float,
    typer.Option(
        "--checkpoint-minutes",
        metavar="M",
        help="Between two states from which --resume can go on.",
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="NAME",
        help="auto, cpu, cuda or cuda:1.",
        envvar="RINGRIFT_DEVICE",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any other number of the run, as batch=512 or learning_rate=0.001; once for each."
        " docs/training.md lists them.",
        show_default="none",
    ),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Say what it would train on, and stop.")
]


def train(
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    pie: PieOption = Run.pie_rule,
    data: DataOption = None,
    out_folder: OutOption = None,
    size: SizeOption = None,
    init: InitOption = None,
    follow: ContinueOption = None,
    resume: ResumeOption = False,
    steps: StepsOption = None,
    samples_per_position: SamplesOption = None,
    surprise_weight: SurpriseOption = DEFAULTS.surprise_weight,
    window: WindowOption = DEFAULTS.window,
    shard: ShardOption = None,
    shards: ShardsOption = None,
    max_age: AgeOption = None,
    max_generations_behind: BehindOption = None,
    generation: GenerationOption = None,
    checkpoint_minutes: MinutesOption = DEFAULTS.checkpoint_minutes,
    device: DeviceOption = "auto",
    seed: SeedOption = Run.seed,
    others: SetOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Train a network on searched games.

    It sees a window over the newest shards, so often that each new position comes up
    --samples-per-position times. What comes out are averaged weights, measured on games that are
    never trained on. Data that are stale, damaged or made under other rules are refused.

    Ctrl-C leaves a state: the same command with --resume goes on exactly there, as after a crash.

    \b
    Examples:
      ringrift train --board hex8 --players 2 --data runs/hex8-2p/selfplay --size small
      ringrift train --board hex8 --continue runs/hex8-2p/train --out runs/hex8-2p/train-2
      ringrift train --board square8 --init models/square8-2p/0123456789abcdef.json --steps 2000
      ringrift train --board hex8 --set batch=512 --max-age 24 --dry-run
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    check_pie(pie, players)
    if steps is not None and samples_per_position is not None:
        raise UsageError("Expected --steps or --samples-per-position, not both.")
    pool = Path("runs") / f"{board}-{players}p{'-pie' if pie else ''}"
    hashes = _listed(shard, shards)
    sources: dict[str, Any] = {"data": data or pool / "selfplay", "hashes": hashes}
    sources |= {"init": init, "previous": follow}
    options: dict[str, Any] = {
        "board": board,
        "players": players,
        "pie_rule": pie,
        "size": size,
        "seed": seed,
        "steps": steps,
        "surprise_weight": surprise_weight,
        "window": window,
        "max_age": max_age,
        "max_generations_behind": max_generations_behind,
        "generation": generation,
        "checkpoint_minutes": checkpoint_minutes,
        "device": device,
    }
    if samples_per_position is not None:
        options["samples_per_position"] = samples_per_position
    out.compile_network()
    from ringrift_cli.train.trainer import Sources, TrainSetting

    setting = TrainSetting(**options).changed(others or [])
    if dry_run:
        _plan(out, setting, Sources(**sources))
    else:
        _train(out, setting, Sources(**sources), out_folder or pool / "train", resume=resume)


def _listed(shard: list[str] | None, file: Path | None) -> list[str] | None:
    """The shards to train on, if they are named; `UsageError` for a file that cannot be read."""
    if file is None:
        return shard
    try:
        return [*(shard or []), *file.read_text(encoding="ascii").split()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--shards {file} cannot be read: {error}.") from error


def _plan(out: Output, setting: TrainSetting, sources: Sources) -> None:
    """Says what a run would train on."""
    from ringrift_cli.train.trainer import plan

    planned = plan(setting, sources)
    out.result({"dry_run": True, **planned.document()}, _plan_text(planned, setting, sources))


def _plan_text(planned: Plan, setting: TrainSetting, sources: Sources) -> str:
    window = planned.window
    said = window.document()
    return (
        f"{counted(len(window.entries), 'shard')} of {sources.data}, made from {said['oldest']} to"
        f" {said['newest']}\n"
        f"  {counted(window.games, 'game')} with {counted(window.positions, 'position')} of"
        f" {window.total:,} in all; {planned.positions:,} to train on, {planned.new_positions:,}"
        " of them new\n"
        f"  {counted(planned.steps, 'step')} of {setting.batch} positions"
    )


def _train(
    out: Output, setting: TrainSetting, sources: Sources, folder: Path, *, resume: bool
) -> None:
    """Trains and tells."""
    from ringrift_cli.train.trainer import train

    what, done = f"Training {setting.board} {setting.players}p", 0
    with stop_requested() as signalled, ExitStack() as shown:
        bar: Progress | None = None

        def tell(step: int, steps: int, numbers: dict[str, float]) -> None:
            nonlocal bar, done
            if bar is None:  # how many steps there are is known once the data are read
                bar = shown.enter_context(out.progress(what, steps))
            bar.advance(step - done, _note(numbers))
            done = step

        summary = train(
            setting,
            sources,
            folder,
            resume=resume,
            tell=tell,
            say=out.choice,
            should_stop=lambda: bool(signalled()),
        )
        signal = signalled()
    _report(out, summary, folder)
    if summary.stopped:
        out.note(f"Stopped at step {summary.steps}: the same command with --resume goes on there.")
        raise stopped(signal)


def _note(numbers: dict[str, float]) -> str:
    """How a run stands, of what is known so far."""
    if "policy" not in numbers:
        return ""
    note = f"policy {numbers['policy']:.3f}, value {numbers['value']:.3f}"
    if "validation_loss" in numbers:
        note += f", validation {numbers['validation_loss']:.3f}"
    speed, left = numbers["samples_per_second"], numbers["seconds_left"]
    return f"{note}, {speed:,.0f} samples/s, {left / 60:.1f} min left"


def _report(out: Output, summary: TrainSummary, folder: Path) -> None:
    """Prints what a run came to."""
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
        lines.append("  stopped early: validations got no better; this is the best model")
    if summary.checkpoint:
        lines.append(f"Model: {summary.checkpoint}")
    out.result({**summary.document(), "out": str(folder)}, "\n".join(lines))
