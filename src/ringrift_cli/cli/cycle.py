"""`ringrift cycle`: the learning loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringrift_cli.cli.fleet_options import HostsOption, fleet_context
from ringrift_cli.cli.options import (
    BoardOption,
    ConfigOption,
    JsonOption,
    PlayersOption,
    QuietOption,
    SetOption,
    StoreOption,
    VerboseOption,
    above_zero,
    configuration,
    setting,
    whole_number,
)
from ringrift_cli.cli.output import Output, counted, stop_requested, stopped
from ringrift_cli.errors import RingriftError, UsageError
from ringrift_cli.settings import Cycle, NetworkSection, Run

if TYPE_CHECKING:
    from ringrift_cli.loop.cycle import Loop
    from ringrift_cli.loop.mirror import Mirror
    from ringrift_cli.loop.protocol import Steps
    from ringrift_cli.settings import Config
    from ringrift_cli.store.control import RunControl

ALARM = 3  # exit code: all steps succeeded, with an alarm on the outcome


CyclesOption = Annotated[
    int | None,
    typer.Option(
        "--cycles",
        parser=whole_number(1),
        metavar="N",
        help="Number of cycles, including the one in progress.",
        show_default="no end",
    ),
]
HoursOption = Annotated[
    float | None,
    typer.Option(
        "--hours",
        parser=above_zero,
        metavar="H",
        help="Time limit in hours; the next call resumes.",
        show_default="no end",
    ),
]
InitOption = Annotated[str, setting("network.init", "--init", metavar="MODEL.json")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Preview of the next steps, without running them.")
]
FleetOption = Annotated[bool, typer.Option("--fleet", help="Self-play on the hosts of hosts.yaml.")]
OverlapOption = Annotated[bool, setting("cycle.overlap", "--overlap/--no-overlap")]
TrainOnOption = Annotated[
    str | None,
    typer.Option(
        "--train-on",
        metavar="HOST",
        help="Host for training, with --fleet.",
        show_default="this machine",
    ),
]


def cycle(
    context: typer.Context,
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    cycles: CyclesOption = None,
    hours: HoursOption = None,
    init: InitOption = NetworkSection.init,
    config_file: ConfigOption = None,
    settings: SetOption = None,
    fleet: FleetOption = False,
    overlap: OverlapOption = Cycle.overlap,
    train_on: TrainOnOption = None,
    hosts_file: HostsOption = None,
    store: StoreOption = Run.store,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Run the learning loop: self-play, training, gate and promotion, cycle after cycle.

    The run is kept in runs/BOARD-Np, the models in models. After a stop or a kill the same command
    resumes; a second process exits at once. Each cycle adds a line to stdout and, as JSON, to
    cycles.jsonl.

    Exit code 0: done; 1: a step failed; 2: wrong usage; 3: done, with an alarm (old data, falling
    Elo, slow self-play, many rejections, repeated games, too much data); 130 or 143: stopped by a
    signal.

    \b
    Examples:
      ringrift cycle --board hex8 --players 2
      ringrift cycle --hours 2 --set selfplay.games_per_cycle=500
      ringrift cycle --config ringrift.yaml --cycles 1 --json
      ringrift cycle --board hexagonal --init models/hex8-2p/0123456789abcdef.json
      ringrift cycle --fleet --train-on rented-h100 --overlap --hours 10
      ringrift cycle --store s3://bucket/ringrift
      ringrift cycle --dry-run
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    config = configuration(context)
    if train_on is not None and not fleet:
        raise UsageError("--train-on names a host of the fleet.", hint="--fleet --train-on HOST")
    hosts = fleet_context(hosts_file, config) if fleet else None
    from ringrift_cli.loop.local import RealSteps

    steps: Steps = RealSteps(config)
    mirror = None
    if config.run.store != Run.store:
        from ringrift_cli.loop.on_store import StoreSteps, mirror_of

        mirror = mirror_of(config.run.store, config, out)
        steps = StoreSteps(config, mirror, out.note)
    if hosts is not None:
        from ringrift_cli.loop.on_fleet import FleetMachines
        from ringrift_cli.loop.shared import SharedSteps
        from ringrift_cli.loop.sync_session import SyncSession

        session = SyncSession(hosts, out)
        steps = SharedSteps(config, FleetMachines(session, config, train_on))
        if mirror is not None:
            out.note("The store mirrors the run; with --fleet its workers get no games to play.")
    if dry_run:
        with _compiled(out):
            _preview(out, config, steps)
    else:
        _run(out, config, steps, mirror, cycles, hours)


@contextmanager
def _compiled(out: Output) -> Iterator[None]:
    out.compile_network()
    out.compile_players()
    yield


def _run(
    out: Output,
    config: Config,
    steps: Steps,
    mirror: Mirror | None,
    cycles: int | None,
    hours: float | None,
) -> None:
    """Runs cycles until done, the time limit, or a signal."""
    from ringrift_cli.loop import cycle as stage
    from ringrift_cli.loop.journal import opened
    from ringrift_cli.loop.summary import line_of
    from ringrift_cli.observe.tracking import reporting
    from ringrift_cli.store.control import RunControl

    deadline = float("inf") if hours is None else time.monotonic() + 3600 * hours
    records: list[dict[str, Any]] = []

    def on_record(record: dict[str, Any]) -> None:
        records.append(record)
        for alarm in record["alarms"]:
            out.note(f"Alarm in cycle {record['cycle']}: {alarm['sentence']}")
        if not out.as_json:
            left = f"; {(deadline - time.monotonic()) / 60:.0f} min left" if hours else ""
            out.result(record, line_of(record) + left)

    with (
        opened(config.folder) as journal,
        _compiled(out),  # for minutes, in which another process finds the run locked
        stop_requested() as signalled,
        reporting(config.folder, config.run.report_to, out.note),
        _mirrored(out, config, mirror),
    ):
        control = RunControl(
            config.folder, lambda: bool(signalled()) or time.monotonic() > deadline
        )
        loop = stage.Loop(config, steps, journal, out, control.should_stop)
        try:
            early = _run_unless_stopped(out, loop, control, cycles, records, on_record)
        except RingriftError:
            out.error(f"{config.pool} in {config.folder.absolute()}: cycle {loop.cycle} failed.")
            _print_alarms(out, config, records)
            raise
        signal, current = signalled(), journal.current
    alarms = sum(len(record["alarms"]) for record in records)
    if out.as_json:
        document = {"pool": config.pool, "folder": str(config.folder), "cycles": records}
        out.result({**document, "alarms": alarms, "stopped": early}, "")
    if early:
        out.note(f"Stopped in cycle {current}: the same command resumes there.")
    if alarms:
        what = f"{counted(alarms, 'alarm')} in {counted(len(records), 'cycle')}"
        out.error(f"{config.pool} in {config.folder.absolute()}: {what}.")
        _print_alarms(out, config, records)
    if early and signal:
        raise stopped(signal)
    if alarms:
        raise typer.Exit(ALARM)


def _mirrored(out: Output, config: Config, mirror: Mirror | None) -> AbstractContextManager[None]:
    """Sends the run to the store while it runs, if there is one."""
    if mirror is None:
        return nullcontext()
    from ringrift_cli.loop.journal import JOURNAL
    from ringrift_cli.loop.mirror import mirroring

    act = partial(mirror.push_all, config.folder)
    return mirroring(config.folder / JOURNAL, act, out.note)


def _run_unless_stopped(
    out: Output,
    loop: Loop,
    control: RunControl,
    cycles: int | None,
    records: list[dict[str, Any]],
    on_record: Callable[[dict[str, Any]], None],
) -> bool:
    """Runs cycles through all pauses; returns whether a stop was asked for."""
    from ringrift_cli.loop import cycle as stage
    from ringrift_cli.loop.protocol import Stopped

    while True:
        try:
            stage.run(loop, None if cycles is None else cycles - len(records), on_record)
        except Stopped:
            if not control.resumed(out.note):
                return True
        else:
            return False


def _print_alarms(out: Output, config: Config, records: list[dict[str, Any]]) -> None:
    """The alarms of all cycles, at the end of the output, and the command that shows the run."""
    found = [(record["cycle"], one["sentence"]) for record in records for one in record["alarms"]]
    status = f"cd {Path.cwd()} && ringrift status {config.folder}"
    for number, (cycle, sentence) in enumerate(found, 1):
        out.error(f"alarm in cycle {cycle}: {sentence}", status if number == len(found) else None)


def _preview(out: Output, config: Config, steps: Steps) -> None:
    from ringrift_cli.loop.preview import preview

    found = preview(config, steps)
    init = config.network.init
    new = "a new, untrained network" if init == "none" else f"a network with the weights of {init}"
    player = f"{found.kind} {found.model}" if found.model else new
    played = found.games - found.games_missing
    out.text(f"cycle {found.cycle} of {found.folder}")
    out.fields(
        {
            "done": ", ".join(found.done) or "nothing yet",
            "next": found.next,
            "self-play": f"{played:,} of {found.games:,} games played, {found.games_missing:,} to"
            f" play by {player}",
            "data": f"{counted(found.shards, 'shard')}, {found.window} in the window,"
            f" {found.surplus} to delete",
            "champion": found.champion or "none",
            "disk": f"{found.free_gb:.1f} GB free, {config.cycle.min_free_gb:g} GB needed",
        }
    )
    if found.free_gb < config.cycle.min_free_gb:
        out.text("The disk is too full: no step but the last would begin.")
    if found.working:
        out.text(f"{found.working} works on this run: nothing would be done.")
    out.result(found)
