"""`ringrift bench`: benchmarks, and performance profiles of this machine."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringrift_cli.cli import completion
from ringrift_cli.cli.options import (
    BoardOption,
    ForceOption,
    GpusOption,
    JsonOption,
    PlayersOption,
    QuietOption,
    SizeOption,
    VerboseOption,
    check_outputs,
    number_option,
    plot_option,
)
from ringrift_cli.cli.output import Output, Progress, counted, need_subcommand, was_typed
from ringrift_cli.errors import UsageError
from ringrift_cli.settings import NetworkSection, Run

if TYPE_CHECKING:
    from ringrift_cli.bench.discover import Discovery, Rung
    from ringrift_cli.bench.measure import BenchSetting, BenchSubject, Measure, MeasureTime

SECONDS, SELF_PLAY_SECONDS = 5, 4  # per configuration; per round of self-play
ROUND, ROUNDS, ROUNDS_TO_VALIDATE = 2, 3, 5
TOLERANCE = 0.15
SHORT_NAMES = {"free_simulations": "free sims", "free_decisions": "free decisions"}

ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME",
        help="Model of the registry, or checkpoint file.",
        autocompletion=completion.models,
    ),
]
AllOption = Annotated[
    bool, typer.Option("--all", help="All boards and numbers of players, not just one.")
]
BatchOption = Annotated[
    int | None,
    number_option(
        "--batch",
        "Concurrent games (of self-play in each process), or positions per training step.",
        show_default="the value used in production",
    ),
]
SecondsOption = Annotated[
    int | None,
    number_option("--seconds", "Seconds per round.", metavar="S", show_default=str(ROUND)),
]
RoundsOption = Annotated[
    int | None,
    number_option(
        "--rounds",
        "Rounds per setting.",
        show_default=f"{ROUNDS}, {ROUNDS_TO_VALIDATE} with --validate",
    ),
]
DiscoverOption = Annotated[
    bool, typer.Option("--discover", help="Measure a range of settings and save the best one.")
]
MemoryOption = Annotated[
    float | None,
    typer.Option(
        "--memory",
        metavar="GB",
        help="Memory limit of --discover.",
        show_default="80 % of the free memory",
    ),
]
ValidateOption = Annotated[
    bool,
    typer.Option("--validate", help="Measure the saved setting again; exit code 1 if slower."),
]
ToleranceOption = Annotated[
    float | None,
    typer.Option(
        "--tolerance",
        metavar="SHARE",
        help="Slowdown tolerated by --validate, as a share.",
        show_default=f"{TOLERANCE:g}",
    ),
]
PlotOption = Annotated[
    Path | None, plot_option("Plot of the settings measured by --discover: .png or .svg.")
]

app = typer.Typer(name="bench", rich_markup_mode=None)


@dataclass(frozen=True)
class MeasureOptions:
    """Measurement options; `UsageError` for contradictory ones."""

    batch: BatchOption = None
    seconds: SecondsOption = None
    rounds: RoundsOption = None
    discover: DiscoverOption = False
    memory: MemoryOption = None
    validate: ValidateOption = False
    tolerance: ToleranceOption = None
    plot: PlotOption = None
    force: ForceOption = False

    def __post_init__(self) -> None:
        modes = {
            "--batch": self.batch is not None,
            "--discover": self.discover,
            "--validate": self.validate,
        }
        chosen = [name for name, wanted in modes.items() if wanted]
        if len(chosen) > 1:
            raise UsageError(f"{' and '.join(chosen)}: expected only one of them.")
        if not self.discover and (self.memory is not None or self.plot is not None):
            option = "--memory" if self.memory is not None else "--plot"
            raise UsageError(f"{option} is for --discover.", hint="--discover")
        if self.tolerance is not None and not self.validate:
            raise UsageError("--tolerance is for --validate.", hint="--validate")
        if self.memory is not None and not 0 < self.memory < float("inf"):
            raise UsageError(f"--memory is {self.memory:g}, expected gigabytes above 0.")
        if self.tolerance is not None and not 0 <= self.tolerance < 1:
            raise UsageError(f"--tolerance is {self.tolerance:g}, expected a share below 1.")
        check_outputs(self.plot, force=self.force)

    @property
    def of_a_profile(self) -> bool:
        """Whether a profile is created or validated."""
        return self.discover or self.validate

    def time(self) -> MeasureTime:
        """Duration of the measurement of each setting."""
        from ringrift_cli.bench.measure import MeasureTime

        rounds = ROUNDS_TO_VALIDATE if self.validate else ROUNDS
        return MeasureTime(float(self.seconds or ROUND), self.rounds or rounds)


def measuring(command: Callable[..., None]) -> Callable[..., None]:
    """Decorator: adds the options of `MeasureOptions` and `Output` to a command."""

    def output(
        as_json: JsonOption = False, quiet: QuietOption = False, verbose: VerboseOption = False
    ) -> Output:
        return Output(as_json=as_json, quiet=quiet, verbose=verbose)

    how = inspect.signature(MeasureOptions, eval_str=True).parameters
    where = inspect.signature(output, eval_str=True).parameters
    own = list(inspect.signature(command, eval_str=True).parameters.values())[2:]

    @functools.wraps(command)
    def run(**values: Any) -> None:
        options = MeasureOptions(**{name: values.pop(name) for name in how})
        out = output(**{name: values.pop(name) for name in where})
        command(options, out, **values)

    signature = inspect.Signature([*own, *how.values(), *where.values()])
    run.__signature__ = signature  # type: ignore[attr-defined]
    return run


# ---- commands -----------------------------------------------------------------------------------


@app.callback(invoke_without_command=True)
def bench(context: typer.Context) -> None:
    """Measure the speed of this machine and find its best settings.

    \b
    Examples:
      ringrift bench engine --board hex8 --players 2
      ringrift bench selfplay --board hex8 --size small --discover
      ringrift bench selfplay --board hex8 --size small --validate
      ringrift bench player heuristic --board hex8

    --discover saves the best setting in a profile of the CPU, or of each kind of GPU, which
    self-play and training use. Profiles are in $RINGRIFT_PROFILES, else ringrift/machines of
    $XDG_CONFIG_HOME or ~/.config.
    """
    need_subcommand(context)


@app.command()
@measuring
def engine(
    options: MeasureOptions,
    out: Output,
    context: typer.Context,
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    every: AllOption = False,
    gpus: Annotated[
        str,
        typer.Option(
            "--gpus", metavar="all|none|0,1", help="GPUs to measure instead of the processor."
        ),
    ] = "none",
) -> None:
    """Random playouts with all legal moves generated at every decision.

    On the CPU without --batch, --discover and --validate, one core and all cores are measured
    alternately for 5 s (or --seconds); the best round of each is reported.

    \b
    Examples:
      ringrift bench engine --board hex8 --players 2 --json
      ringrift bench engine --all --seconds 10
      ringrift bench engine --board hex8 --gpus all --discover --plot engine.svg
    """
    chosen = _configurations(context, every, board, players)
    out.compile_rules()
    if options.batch is not None or options.of_a_profile or gpus != "none":
        if every:
            raise UsageError("--all is for the CPU only; expected --board.")
        _run(out, "engine", gpus, options, board=board, players=players)
        return
    if options.rounds is not None:
        raise UsageError("--rounds is for --batch, --discover and --validate.")
    from ringrift_cli.game.bench import measure

    speeds = []
    with out.progress("Random playouts", len(chosen)) as progress:
        for name, n in chosen:
            speeds.append(measure(name, n, options.seconds or SECONDS))
            progress.advance(1, f"{name} {n}p")
    cores = _machine_line(out)
    columns = ("board", "players", "decisions/s", "games/s", f"on {cores}", "games/s", "ratio",
               "per game", "MB/4096")  # fmt: skip
    rows = [
        (
            s.board, s.players, f"{s.one.decisions:,.0f}", f"{s.one.games:,.0f}",
            f"{s.all.decisions:,.0f}", f"{s.all.games:,.0f}", f"{s.ratio:.2f}",
            f"{s.decisions_per_game:.1f}", f"{s.batch_megabytes:.1f}",
        )
        for s in speeds
    ]  # fmt: skip
    out.table(rows, columns)
    out.result({**_machine(), "engine": [speed.document() for speed in speeds]})


@app.command()
def player(
    context: typer.Context,
    spec: Annotated[
        str,
        typer.Argument(metavar="PLAYER", help="Player spec.", autocompletion=completion.players),
    ] = "heuristic",
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    every: AllOption = False,
    games: Annotated[int, number_option("--games", "Concurrent games.")] = 128,
    seconds: Annotated[int, number_option("--seconds", "Seconds per configuration.")] = SECONDS,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Self-play of a player: time per decision, games per second.

    One core and all cores are measured alternately; the best round of each is reported.

    \b
    Examples:
      ringrift bench player heuristic --board hex8 --players 2
      ringrift bench player mcts:sims=50 --games 32 --json
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    out.compile_players()
    from ringrift_cli.players.bench import measure

    chosen = _configurations(context, every, board, players)
    speeds = []
    with out.progress(f"Self-play of {spec}", len(chosen)) as progress:
        for name, n in chosen:
            speeds.append(measure(spec, name, n, seconds, games))
            progress.advance(1, f"{name} {n}p")
    columns = ("board", "players", "ms/decision", "games/s", f"on {_machine_line(out)}", "games/s",
               "per game")  # fmt: skip
    rows = [
        (
            s.board, s.players, f"{1000 * s.one_core:.3f}", f"{s.games_per_second[0]:.1f}",
            f"{1000 * s.all_cores:.3f}", f"{s.games_per_second[1]:.1f}",
            f"{s.decisions_per_game:.1f}",
        )
        for s in speeds
    ]  # fmt: skip
    out.table(rows, columns)
    out.result({**_machine(), "players": [speed.document() for speed in speeds]})


@app.command()
@measuring
def search(
    options: MeasureOptions,
    out: Output,
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    size: SizeOption = NetworkSection.size,
    model: ModelOption = None,
    gpus: GpusOption = Run.gpus,
) -> None:
    """Concurrent searches with a network, and with a free evaluator.

    The free evaluator gives the speed of the tree search alone. Only simulations that end in an
    evaluated position count, 32 per decision.

    \b
    Examples:
      ringrift bench search --board hex8 --size small
      ringrift bench search --board hexagonal --batch 64 --seconds 5 --json
      ringrift bench search --board hex8 --discover --memory 4
    """
    out.compile_players()
    _run(out, "search", gpus, options, board=board, players=players, size=size, model=model)


@app.command()
@measuring
def selfplay(
    options: MeasureOptions,
    out: Output,
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    size: SizeOption = NetworkSection.size,
    model: ModelOption = None,
    gpus: GpusOption = Run.gpus,
) -> None:
    """Self-play with a network, relative to the throughput of the network alone.

    Rounds of self-play (4 s, or --seconds) alternate with rounds of evaluation alone in the same
    processes. The ratio compares evaluations per second in self-play with those of the evaluator
    at its fastest batch size. --discover and --validate measure self-play only.

    \b
    Examples:
      ringrift bench selfplay --board hex8 --size small
      ringrift bench selfplay --board hexagonal --players 4 --gpus 0 --batch 512 --json
      ringrift bench selfplay --board hex8 --discover --plot selfplay.png
      ringrift bench selfplay --board hex8 --validate --tolerance 0.1
    """
    out.compile_players()
    if options.of_a_profile:
        _run(out, "selfplay", gpus, options, board=board, players=players, size=size, model=model)
        return
    from ringrift_cli.bench.measure import BenchSetting, BenchSubject, measure
    from ringrift_cli.bench.selfplay import report
    from ringrift_cli.selfplay.generate import devices_named, games_at_once

    subject = BenchSubject("selfplay", board, players, size=size, model=model)
    devices = devices_named(gpus)
    games = games_at_once(devices, options.batch, subject.key(), out.choice)
    length = float(options.seconds or SELF_PLAY_SECONDS)
    time = replace(options.time(), seconds=length, evaluator_alone=True)
    with out.progress("Self-play and its evaluator", time.rounds) as progress:
        advance = lambda: progress.advance(1)  # noqa: E731
        found = report(
            subject, devices, measure(subject, BenchSetting(games), time, advance, devices)
        )
    out.text(
        f"{board} {players}p, {found['network']}, {found['precision']}, {len(devices)} x"
        f" {devices[0].partition(':')[0]}, {games} games each, {found['memory_bytes'] / 1e9:.1f} GB"
    )
    _machine_line(out, versions=False)
    games_per_s = f"{found['games_per_s']:,.2f} games/s of {found['decisions_per_game']:.0f}"
    rates = f"{found['decisions_per_s']:,.0f} decisions/s, about {games_per_s}"
    rows = [(f"{found['selfplay_evals_per_s']:,.0f}", "evals/s", f"self-play: {rates}")]
    for positions, rate in found["evaluator_evals_per_s"].items():
        what = f"evaluator alone, {positions} positions per batch"
        rows.append((f"{rate:,.0f}", "evals/s", what))
    rows.append((f"{found['ratio']:.1%}", "", "of the evaluator's speed is used (median round)"))
    out.table(rows, ("", "", ""))
    out.result({**found, **_machine()})


@app.command()
@measuring
def train(
    options: MeasureOptions,
    out: Output,
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    size: SizeOption = NetworkSection.size,
    gpus: GpusOption = Run.gpus,
) -> None:
    """Training steps on positions of random games: loader, forward and backward pass, optimiser.

    --discover varies threads and precision at a batch of 256, then the batch. Only threads and
    precision are saved, since the batch affects the result of training. Training uses them unless
    the environment or the settings give others.

    \b
    Examples:
      ringrift bench train --board hex8 --size small
      ringrift bench train --board hex8 --batch 512 --seconds 5 --json
      ringrift bench train --board hex8 --discover --plot train.svg
    """
    out.compile_network()
    _run(out, "train", gpus, options, board=board, players=players, size=size)


def _configurations(
    context: typer.Context, every: bool, board: str, players: int
) -> list[tuple[str, int]]:
    """The board and number of players, or with --all every combination."""
    if not every:
        return [(board, players)]
    if any(was_typed(context, name) for name in ("board", "players")):
        raise UsageError("--all measures every board and number of players: leave out the others.")
    from ringrift_cli.game.topology import BOARD_NAMES, PLAYER_COUNTS

    return [(name, n) for name in BOARD_NAMES for n in PLAYER_COUNTS]


def _machine() -> dict[str, Any]:
    from ringrift_cli.game.bench import this_machine

    return {"machine": asdict(this_machine())}


def _machine_line(out: Output, *, versions: bool = True) -> str:
    """Prints a description of the machine; returns the number of cores."""
    machine = _machine()["machine"]
    cores = counted(machine["cores"], "core")
    more = f", Python {machine['python']}, numba {machine['numba']}" if versions else ""
    out.text(f"{machine['processor']}, {cores}{more}")
    return cores


# ---- settings and profiles ----------------------------------------------------------------------


def _run(out: Output, kind: str, gpus: str, options: MeasureOptions, **of: Any) -> None:
    """Measures on all cores, or on each kind of GPU, and prints the result.

    Raises `typer.Exit` with 1 if a profile is not confirmed.
    """
    from ringrift_cli.bench.measure import BenchSubject
    from ringrift_cli.runtime.machine import device_name
    from ringrift_cli.selfplay.generate import devices_named

    subjects: dict[str, BenchSubject] = {}
    for device in devices_named(gpus):
        subjects.setdefault(device_name(device), BenchSubject(kind, device=device, **of))
    key = next(iter(subjects.values())).key()  # fails early for a missing model
    mode = _discover if options.discover else _validate if options.validate else _one_setting
    outcome = {
        "kind": kind,
        "board": key.board,
        "players": key.players,
        "network": None if kind == "engine" else key.network,
        **mode(out, subjects, options),
    }
    out.result({**_machine(), **outcome})
    if not outcome.get("holds", True):
        raise typer.Exit(1)


def _measure_of(subject: BenchSubject, time: MeasureTime, progress: Progress) -> Measure:
    """Measures a setting, with progress per round."""
    from ringrift_cli.bench.measure import measure

    return lambda one: measure(subject, one, time, lambda: progress.advance(1, str(one)))


def _one_setting(
    out: Output, subjects: dict[str, BenchSubject], options: MeasureOptions
) -> dict[str, Any]:
    from ringrift_cli.bench.measure import measured_or_halved

    documents = []
    for device, subject in subjects.items():
        own = _own_setting(out, device, subject, options.batch)
        time = options.time()
        with out.progress(str(subject.key()), time.rounds) as progress:
            found = measured_or_halved(_measure_of(subject, time, progress), own, out.note)
        documents.append({"device": device, "setting": str(found.setting), **found.document()})
        out.text(f"{subject.key()}\n{device}\n  {found.setting}")
        rows = []
        for name in found.rounds[0]:
            unit = name.removeprefix("free_")
            free = "" if unit == name else ", with an evaluator that costs nothing"
            rows.append((f"{found.rate(name):,.1f}", f"{unit}/s{free}"))
        if found.ratio is not None:
            what = "times as many: how much faster the trees alone are"
            rows.append((f"{found.ratio:.1f}", what))
        out.table(rows, ("", ""))
        out.text(
            f"  medians of {counted(len(found.rounds), 'round')}, which spread over"
            f" {found.spread:.0%}; {found.memory / 1e9:.2f} GB at most"
        )
    return {"devices": documents}


def _own_setting(
    out: Output, device: str, subject: BenchSubject, batch: int | None
) -> BenchSetting:
    """The given batch, else the setting used in production."""
    from ringrift_cli.bench.discover import default_batch
    from ringrift_cli.bench.measure import BenchSetting
    from ringrift_cli.runtime.profiles import Choice, find

    if subject.kind == "train":
        from ringrift_cli.nn.network import architecture
        from ringrift_cli.train.machine import advised
        from ringrift_cli.train.settings import TrainSetting

        made = architecture(subject.size, subject.board, subject.players)
        training = TrainSetting(subject.board, subject.players, False, 0, device=subject.device)
        advice = advised(training, made)
        out.choice(Choice(f"Threads and precision: {advice.text}.", advice.refused))
        return BenchSetting(batch or default_batch(subject), advice.threads, advice.precision)
    if batch is not None:
        return BenchSetting(batch)
    found = find(device, subject.key())
    out.choice(Choice(f"Batch: {found.text}.", found.refused))
    return BenchSetting(found.entry.batch if found.entry else default_batch(subject))


def _discover(
    out: Output, subjects: dict[str, BenchSubject], options: MeasureOptions
) -> dict[str, Any]:
    from ringrift_cli.bench import discover
    from ringrift_cli.runtime.machine import GIGABYTE, free_bytes
    from ringrift_cli.runtime.profiles import known, save

    documents, found = [], {}
    time = options.time()
    for device in subjects:
        known(device)  # fails early for a damaged file
    for device, subject in subjects.items():
        limit = int(discover.SHARE_OF_FREE * free_bytes(subject.device))
        if options.memory is not None:
            limit = int(options.memory * GIGABYTE)
        total = discover.max_settings(subject) * time.rounds
        with out.progress(str(subject.key()), total) as progress:
            measure = _measure_of(subject, replace(time, rounds=1), progress)
            ladder = discover.discover(subject, measure, limit, out.note, time.rounds)
        entry = discover.entry_of(subject, ladder.chosen, time)
        path = save(device, entry)
        found[device] = ladder
        document = {
            "device": device,
            "limit_bytes": limit,
            "rungs": [rung.document() for rung in ladder.rungs],
            "chosen": entry.document(),
            "profile": str(path),
        }
        documents.append(document)
        out.text(f"{subject.key()}\n{device}; {limit / 1e9:.1f} GB at most")
        _print_ladder(out, subject, ladder)
        out.text(f"Saved: {_saved_text(subject, ladder.chosen.setting)}, in {path}")
    if options.plot is not None:
        from ringrift_cli.bench.plot import plot_ladders
        from ringrift_cli.store.files import write_whole

        form = options.plot.suffix.removeprefix(".")
        write_whole(options.plot, plot_ladders(next(iter(subjects.values())), found, form))
    return {"devices": documents}


def _print_ladder(out: Output, subject: BenchSubject, ladder: Discovery) -> None:
    """Prints the measured and skipped settings; `*` marks the chosen one."""
    measured = [rung.measured for rung in ladder.rungs if rung.measured is not None]
    names = list(measured[0].rounds[0])
    others = ["threads", "precision"] if subject.kind == "train" else []

    def cells(rung: Rung) -> Iterator[str | int]:
        one = rung.measured
        yield "*" if one is ladder.chosen else ""
        yield rung.setting.batch
        yield from (getattr(rung.setting, name) or "" for name in others)
        if one is None:
            yield from [""] * (len(names) + 3)
            yield rung.skipped
            return
        for name in names:
            rate = one.rate(name)
            yield f"{rate:,.{1 if rate < 1000 else 0}f}"
        yield from (f"{one.best:,.0f}", f"{one.spread:.0%}", f"{one.memory / 1e9:.2f}")
        yield "too much memory" if rung.too_large else ""

    rates = [f"{SHORT_NAMES.get(name, name)}/s" for name in names]
    columns = ["", "batch", *others, *rates, "best round", "spread", "GB", ""]
    out.table([[*cells(rung)] for rung in ladder.rungs], columns)


def _saved_text(subject: BenchSubject, chosen: BenchSetting) -> str:
    if subject.kind != "train":
        return f"batch {chosen.batch:,}"
    threads = f"{counted(chosen.threads, 'thread')}, " if chosen.threads else ""
    return f"{threads}{chosen.precision} (the batch remains train.batch)"


def _validate(
    out: Output, subjects: dict[str, BenchSubject], options: MeasureOptions
) -> dict[str, Any]:
    from ringrift_cli.bench.discover import ProfileCheck
    from ringrift_cli.bench.measure import BenchSetting
    from ringrift_cli.runtime.profiles import find

    documents, checks = [], []
    again = _discover_command(next(iter(subjects.values())))
    tolerance = TOLERANCE if options.tolerance is None else options.tolerance
    for device, subject in subjects.items():
        found = find(device, subject.key())
        entry = found.entry
        if entry is None:
            raise UsageError(f"No profile to validate: {found.text}.", hint=again)
        time = replace(options.time(), seconds=float(options.seconds or entry.seconds))
        saved = BenchSetting(entry.batch, entry.threads, entry.precision)
        with out.progress(str(subject.key()), time.rounds) as progress:
            check = ProfileCheck(entry, _measure_of(subject, time, progress)(saved), tolerance)
        checks.append(check)
        document = {
            "device": device,
            "holds": check.holds,
            "ratio": check.ratio,
            "tolerance": tolerance,
            "measured": check.measured.document(),
            "profile": entry.document(),
        }
        documents.append(document)
    for check in checks:
        if check.holds:
            out.text(check.sentence())
        else:
            out.error(check.sentence(), f"{again}, if nothing else is running here")
    return {"holds": all(check.holds for check in checks), "devices": documents}


def _discover_command(subject: BenchSubject) -> str:
    network = ""
    if subject.kind != "engine":
        network = f" --model {subject.model}" if subject.model else f" --size {subject.size}"
    return (
        f"ringrift bench {subject.kind} --discover --board {subject.board}"
        f" --players {subject.players}{network}"
    )
