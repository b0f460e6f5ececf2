"""`ringrift bench`: how fast is this machine?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringrift_cli.cli import bench_text as text
from ringrift_cli.cli.bench_modes import (
    Asked,
    BatchOption,
    DiscoverOption,
    MemoryOption,
    PlotOption,
    RoundsOption,
    SecondsOption,
    ToleranceOption,
    ValidateOption,
    run,
)
from ringrift_cli.cli.options import (
    BoardOption,
    GpusOption,
    JsonOption,
    PlayersOption,
    QuietOption,
    VerboseOption,
    whole_number,
)
from ringrift_cli.cli.output import Output, need_subcommand, was_typed
from ringrift_cli.errors import UsageError
from ringrift_cli.settings import Run

if TYPE_CHECKING:
    from ringrift_cli.game.bench import Machine, Speed
    from ringrift_cli.players.bench import PlayerSpeed

SECONDS, SELF_PLAY_SECONDS = 5, 4  # of a configuration, and of a round beside the evaluator's

SizeOption = Annotated[str, typer.Option("--size", metavar="NAME", help="Of a new network.")]
NetworkOption = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME", help="A model of the registry, or a file."),
]

app = typer.Typer(name="bench", rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def bench(context: typer.Context) -> None:
    """Measure the speed of this machine, and find its best settings.

    \b
    Examples:
      ringrift bench engine --board hex8 --players 2
      ringrift bench selfplay --board hex8 --size small --discover
      ringrift bench selfplay --board hex8 --size small --validate
      ringrift bench player heuristic --board hex8

    What --discover finds is kept in a profile of this machine's cores, or of each kind of its GPUs;
    self-play and training use it. Profiles are in $RINGRIFT_PROFILES, else ringrift/machines of
    $XDG_CONFIG_HOME or ~/.config.
    """
    need_subcommand(context)


@app.command()
def engine(
    context: typer.Context,
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    every: Annotated[
        bool, typer.Option("--all", help="Every board and number of players, not just one.")
    ] = False,
    gpus: Annotated[
        str,
        typer.Option(
            "--gpus", metavar="all|none|0,1", help="GPUs to measure instead of the processor."
        ),
    ] = "none",
    batch: BatchOption = None,
    seconds: SecondsOption = None,
    rounds: RoundsOption = None,
    discover: DiscoverOption = False,
    memory: MemoryOption = None,
    validate: ValidateOption = False,
    tolerance: ToleranceOption = None,
    plot: PlotOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Random playouts with all legal moves generated at every decision.

    On the CPU without --batch, --discover and --validate one core and all cores take turns for 5 s
    (or --seconds), and the best round of each counts: other programs can only slow a round down.

    \b
    Examples:
      ringrift bench engine --board hex8 --players 2 --json
      ringrift bench engine --all --seconds 10
      ringrift bench engine --board hex8 --gpus all --discover --plot engine.svg
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    asked = Asked(batch, seconds, rounds, discover, memory, validate, tolerance, plot)
    chosen = _configurations(context, every, board, players)
    out.compile_rules()
    if batch is not None or asked.of_a_profile or gpus != "none":
        if every:
            raise UsageError("--all is for cores alone: leave it out, and name a --board.")
        from ringrift_cli.bench.subject import Subject

        run(out, Subject("engine", board, players), gpus, asked)
        return
    if rounds is not None:
        raise UsageError("--rounds is for --batch, --discover and --validate.")
    from ringrift_cli.game import bench as measure

    speeds = []
    with out.progress("Random playouts", len(chosen)) as progress:
        for name, n in chosen:
            speeds.append(measure.measure(name, n, seconds or SECONDS))
            progress.advance(1, f"{name} {n}p")
    machine = measure.this_machine()
    out.result(_document(machine, "engine", speeds), text.engine_table(machine, speeds))


@app.command()
def player(
    context: typer.Context,
    spec: Annotated[str, typer.Argument(metavar="PLAYER", help="Who plays itself.")] = "heuristic",
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    every: Annotated[
        bool, typer.Option("--all", help="Every board and number of players, not just one.")
    ] = False,
    games: Annotated[
        int,
        typer.Option("--games", parser=whole_number(1), metavar="N", help="Played at once."),
    ] = 128,
    seconds: Annotated[
        int,
        typer.Option(
            "--seconds", parser=whole_number(1), metavar="N", help="For each configuration."
        ),
    ] = 5,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Self-play of a player: time for a decision, games a second.

    One core and all cores take turns, and the best round of each counts.

    \b
    Examples:
      ringrift bench player heuristic --board hex8 --players 2
      ringrift bench player mcts:sims=50 --games 32 --json
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    out.compile_players()
    from ringrift_cli.game.bench import this_machine
    from ringrift_cli.players.bench import measure

    chosen = _configurations(context, every, board, players)
    speeds = []
    with out.progress(f"Self-play of {spec}", len(chosen)) as progress:
        for name, n in chosen:
            speeds.append(measure(spec, name, n, seconds, games))
            progress.advance(1, f"{name} {n}p")
    machine = this_machine()
    out.result(_document(machine, "players", speeds), text.player_table(machine, speeds))


@app.command()
def search(
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    size: SizeOption = "small",
    model: NetworkOption = None,
    gpus: GpusOption = Run.gpus,
    batch: BatchOption = None,
    seconds: SecondsOption = None,
    rounds: RoundsOption = None,
    discover: DiscoverOption = False,
    memory: MemoryOption = None,
    validate: ValidateOption = False,
    tolerance: ToleranceOption = None,
    plot: PlotOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Many games searched at once: with a network, and with a judge that costs nothing.

    The second is the speed of the trees alone. Simulations are walks that end in a position to be
    judged, 32 for each decision.

    \b
    Examples:
      ringrift bench search --board hex8 --size small
      ringrift bench search --board hexagonal --batch 64 --seconds 5 --json
      ringrift bench search --board hex8 --discover --memory 4
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    asked = Asked(batch, seconds, rounds, discover, memory, validate, tolerance, plot)
    out.compile_players()
    from ringrift_cli.bench.subject import Subject

    run(out, Subject("search", board, players, size=size, model=model), gpus, asked)


@app.command()
def selfplay(
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    size: SizeOption = "small",
    model: NetworkOption = None,
    gpus: GpusOption = Run.gpus,
    batch: BatchOption = None,
    seconds: SecondsOption = None,
    rounds: RoundsOption = None,
    discover: DiscoverOption = False,
    memory: MemoryOption = None,
    validate: ValidateOption = False,
    tolerance: ToleranceOption = None,
    plot: PlotOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Self-play with a network, and how much of the network's own speed it keeps.

    Rounds of self-play (4 s, or --seconds) and rounds of evaluation alone take turns in the same
    processes. The ratio is that of evaluations a second in self-play to those of the evaluator
    alone, at the batch size at which it is fastest. With --discover and --validate self-play alone
    is measured.

    \b
    Examples:
      ringrift bench selfplay --board hex8 --size small
      ringrift bench selfplay --board hexagonal --players 4 --gpus 0 --batch 512 --json
      ringrift bench selfplay --board hex8 --discover --plot selfplay.png
      ringrift bench selfplay --board hex8 --validate --tolerance 0.1
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    asked = Asked(batch, seconds, rounds, discover, memory, validate, tolerance, plot)
    out.compile_players()
    from ringrift_cli.bench.subject import Subject

    subject = Subject("selfplay", board, players, size=size, model=model)
    if asked.of_a_profile:
        run(out, subject, gpus, asked)
        return
    from ringrift_cli.bench.selfplay import BenchSetting, measure
    from ringrift_cli.game.bench import this_machine
    from ringrift_cli.selfplay.generate import devices_named, games_at_once

    devices = devices_named(gpus)
    games = games_at_once(devices, batch, subject.key(), out.choice)
    length = float(seconds or SELF_PLAY_SECONDS)
    effort = asked.effort()
    setting = BenchSetting(board, players, devices, size, model, games, length, effort.rounds)
    with out.progress("Self-play and its evaluator", effort.rounds) as progress:
        speed = measure(setting, lambda: progress.advance(1))
    machine = this_machine()
    document = {**speed.document(), "machine": vars(machine)}
    out.result(document, text.selfplay(speed, machine))


@app.command()
def train(
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    size: SizeOption = "small",
    gpus: GpusOption = Run.gpus,
    batch: BatchOption = None,
    seconds: SecondsOption = None,
    rounds: RoundsOption = None,
    discover: DiscoverOption = False,
    memory: MemoryOption = None,
    validate: ValidateOption = False,
    tolerance: ToleranceOption = None,
    plot: PlotOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Training steps on positions of random games: loader, both passes and the optimiser.

    --discover tries torch's threads and the precision at a batch of 256, then other batches; only
    threads and precision are saved, because the batch decides what is learned. Training uses them
    where neither was asked for.

    \b
    Examples:
      ringrift bench train --board hex8 --size small
      ringrift bench train --board hex8 --batch 512 --seconds 5 --json
      ringrift bench train --board hex8 --discover --plot train.svg
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    asked = Asked(batch, seconds, rounds, discover, memory, validate, tolerance, plot)
    out.compile_network()
    from ringrift_cli.bench.subject import Subject

    run(out, Subject("train", board, players, size=size), gpus, asked)


def _configurations(
    context: typer.Context, every: bool, board: str, players: int
) -> list[tuple[str, int]]:
    """The board and number of players, or all of them."""
    if not every:
        return [(board, players)]
    if any(was_typed(context, name) for name in ("board", "players")):
        raise UsageError("--all measures every board and number of players: leave out the others.")
    from ringrift_cli.game.topology import BOARD_NAMES, PLAYER_COUNTS

    return [(name, n) for name in BOARD_NAMES for n in PLAYER_COUNTS]


def _document(
    machine: Machine, what: str, speeds: Sequence[Speed] | Sequence[PlayerSpeed]
) -> dict[str, Any]:
    from dataclasses import asdict

    return {"machine": asdict(machine), what: [speed.document() for speed in speeds]}
