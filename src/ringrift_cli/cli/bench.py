"""`ringrift bench`: how fast is this machine?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringrift_cli.cli.options import (
    BoardOption,
    ConcurrentOption,
    GpusOption,
    JsonOption,
    PlayersOption,
    QuietOption,
    VerboseOption,
    whole_number,
)
from ringrift_cli.cli.output import Output, need_subcommand, was_typed
from ringrift_cli.errors import UsageError

if TYPE_CHECKING:
    from ringrift_cli.game.bench import Machine, Speed
    from ringrift_cli.players.bench import PlayerSpeed
    from ringrift_cli.stages.selfplay_bench import SelfPlaySpeed

SizeOption = Annotated[str, typer.Option("--size", metavar="NAME", help="Of a new network.")]
NetworkOption = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME", help="A model of the registry, or a file."),
]
RoundOption = Annotated[
    int, typer.Option("--seconds", parser=whole_number(1), metavar="N", help="Of a round.")
]
RoundsOption = Annotated[
    int, typer.Option("--rounds", parser=whole_number(1), metavar="N", help="Of each kind.")
]

app = typer.Typer(name="bench", rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def bench(context: typer.Context) -> None:
    """Measure the speed of this machine.

    \b
    Examples:
      ringrift bench engine --board hex8 --players 2
      ringrift bench player heuristic --board hex8
      ringrift bench selfplay --board hex8 --size small
    """
    need_subcommand(context)


@app.command()
def engine(
    context: typer.Context,
    board: BoardOption = "hex8",
    players: PlayersOption = 2,
    every: Annotated[
        bool, typer.Option("--all", help="Every board and number of players, not just one.")
    ] = False,
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
    """Random playouts with all legal moves generated at every decision.

    One core and all cores take turns, and the best round of each counts: other programs can only
    slow a round down.

    \b
    Examples:
      ringrift bench engine --board hex8 --players 2 --json
      ringrift bench engine --all --seconds 10
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    chosen = _configurations(context, every, board, players)
    out.compile_rules()
    from ringrift_cli.game import bench as measure

    speeds = []
    with out.progress("Random playouts", len(chosen)) as progress:
        for name, n in chosen:
            speeds.append(measure.measure(name, n, seconds))
            progress.advance(1, f"{name} {n}p")
    machine = measure.this_machine()
    out.result(_document(machine, "engine", speeds), _table(machine, speeds))


@app.command()
def player(
    context: typer.Context,
    spec: Annotated[str, typer.Argument(metavar="PLAYER", help="Who plays itself.")] = "heuristic",
    board: BoardOption = "hex8",
    players: PlayersOption = 2,
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
    out.result(_document(machine, "players", speeds), _player_table(machine, speeds))


@app.command()
def selfplay(
    board: BoardOption = "hex8",
    players: PlayersOption = 2,
    size: SizeOption = "small",
    model: NetworkOption = None,
    gpus: GpusOption = "all",
    concurrent: ConcurrentOption = None,
    seconds: RoundOption = 4,
    rounds: RoundsOption = 3,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Self-play with a network, and how much of the network's own speed it keeps.

    Rounds of self-play and rounds of evaluation alone take turns in the same processes. The ratio
    is that of evaluations a second in self-play to those of the evaluator alone, at the batch size
    at which it is fastest.

    \b
    Examples:
      ringrift bench selfplay --board hex8 --size small
      ringrift bench selfplay --board hexagonal --players 4 --gpus 0 --json
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    out.compile_players()
    from ringrift_cli.game.bench import this_machine
    from ringrift_cli.stages.generate import devices_named, games_at_once
    from ringrift_cli.stages.selfplay_bench import BenchSetting, measure

    devices = devices_named(gpus)
    setting = BenchSetting(
        board,
        players,
        devices,
        size,
        model,
        games_at_once(devices, concurrent),
        float(seconds),
        rounds,
    )
    with out.progress("Self-play and its evaluator", rounds) as progress:
        speed = measure(setting, lambda: progress.advance(1))
    machine = this_machine()
    document = {**speed.document(), "machine": vars(machine)}
    out.result(document, _selfplay_text(speed, machine))


def _selfplay_text(speed: SelfPlaySpeed, machine: Machine) -> str:
    of, device = speed.setting, speed.setting.devices[0].partition(":")[0]
    network = f"{of.model or of.size}, {speed.precision}"
    processes = f"{len(of.devices)} x {device}, {of.concurrent} games each"
    rates = f"{speed.games:,.1f} games/s, {speed.decisions:,.0f} decisions/s"
    lines = [
        f"{of.board} {of.players}p, {network}, {processes}",
        f"{machine.processor}, {machine.cores} cores",
        f"  {speed.selfplay:>10,.0f} evals/s  self-play: {rates}",
    ]
    for batch, rate in speed.alone.items():
        lines.append(f"  {rate:>10,.0f} evals/s  evaluator alone, {batch} positions a batch")
    used = "of the evaluator's speed is used (median round)"
    lines.append(f"  {speed.ratio:>10.1%}          {used}")
    return "\n".join(lines)


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


def _machine_line(machine: Machine) -> str:
    cores = f"{machine.cores} cores"
    return f"{machine.processor}, {cores}, Python {machine.python}, numba {machine.numba}"


def _player_table(machine: Machine, speeds: list[PlayerSpeed]) -> str:
    cores = f"{machine.cores} cores"
    lines = [
        _machine_line(machine),
        "",
        (
            f"{'board':<10}{'players':>8}{'ms/decision':>13}{'games/s':>9}"
            f"{'on ' + cores:>12}{'games/s':>9}{'per game':>10}"
        ),
    ]
    for s in speeds:
        one, every = s.games_per_second
        lines.append(
            f"{s.board:<10}{s.players:>8}{1000 * s.one_core:>13.3f}{one:>9.1f}"
            f"{1000 * s.all_cores:>12.3f}{every:>9.1f}{s.decisions_per_game:>10.1f}"
        )
    return "\n".join(lines)


def _table(machine: Machine, speeds: list[Speed]) -> str:
    cores = f"{machine.cores} cores"
    head = (
        f"{'board':<10}{'players':>8}{'decisions/s':>14}{'games/s':>10}"
        f"{'on ' + cores:>14}{'games/s':>10}{'ratio':>7}{'per game':>10}{'MB/4096':>9}"
    )
    lines = [
        _machine_line(machine),
        "",
        head,
    ]
    lines += [
        f"{s.board:<10}{s.players:>8}{s.one.decisions:>14,.0f}{s.one.games:>10,.0f}"
        f"{s.all.decisions:>14,.0f}{s.all.games:>10,.0f}{s.ratio:>7.2f}"
        f"{s.decisions_per_game:>10.1f}{s.batch_megabytes:>9.1f}"
        for s in speeds
    ]
    return "\n".join(lines)
