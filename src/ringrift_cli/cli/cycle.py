"""`ringrift cycle`: the learning loop."""

from __future__ import annotations

import time
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
    VerboseOption,
    above_zero,
    configuration,
    setting,
    whole_number,
)
from ringrift_cli.cli.output import Output, counted, stop_requested, stopped
from ringrift_cli.errors import UsageError
from ringrift_cli.settings import NetworkSection, Run
from ringrift_cli.text import elo_interval

if TYPE_CHECKING:
    from ringrift_cli.loop.protocol import Steps
    from ringrift_cli.settings import Config

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
    train_on: TrainOnOption = None,
    hosts_file: HostsOption = None,
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
      ringrift cycle --fleet --train-on rented-h100 --hours 10
      ringrift cycle --dry-run
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    config = configuration(context)
    if train_on is not None and not fleet:
        raise UsageError("--train-on names a host of the fleet.", hint="--fleet --train-on HOST")
    hosts = fleet_context(hosts_file, config) if fleet else None
    out.compile_network()
    out.compile_players()
    from ringrift_cli.loop.local import RealSteps

    steps: Steps = RealSteps(config)
    if hosts is not None:
        from ringrift_cli.loop.on_fleet import FleetMachines
        from ringrift_cli.loop.shared import SharedSteps
        from ringrift_cli.loop.sync_session import SyncSession

        session = SyncSession(hosts, out)
        steps = SharedSteps(config, FleetMachines(session, config, train_on))
    if dry_run:
        _preview(out, config, steps)
    else:
        _run(out, config, steps, cycles, hours)


def _run(
    out: Output, config: Config, steps: Steps, cycles: int | None, hours: float | None
) -> None:
    """Runs cycles until done, the time limit, or a signal."""
    from ringrift_cli.loop import cycle as stage
    from ringrift_cli.loop.journal import opened
    from ringrift_cli.loop.protocol import Stopped

    deadline = float("inf") if hours is None else time.monotonic() + 3600 * hours
    records: list[dict[str, Any]] = []

    def on_record(record: dict[str, Any]) -> None:
        records.append(record)
        for alarm in record["alarms"]:
            out.error(f"alarm in cycle {record['cycle']}: {alarm['sentence']}")
        if not out.as_json:
            left = f"; {(deadline - time.monotonic()) / 60:.0f} min left" if hours else ""
            out.result(record, line_of(record) + left)

    early = False
    with opened(config.folder) as journal, stop_requested() as signalled:
        loop = stage.Loop(
            config, steps, journal, out, lambda: bool(signalled()) or time.monotonic() > deadline
        )
        try:
            stage.run(loop, cycles, on_record)
        except Stopped:
            early = True
        signal, current = signalled(), journal.current
    alarms = sum(len(record["alarms"]) for record in records)
    if out.as_json:
        document = {"pool": config.pool, "folder": str(config.folder), "cycles": records}
        out.result({**document, "alarms": alarms, "stopped": early}, "")
    if early:
        out.note(f"Stopped in cycle {current}: the same command resumes there.")
    if early and signal:
        raise stopped(signal)
    if alarms:
        raise typer.Exit(ALARM)


def line_of(record: dict[str, Any]) -> str:
    """One-line summary of a cycle."""
    played, trained, gate = record["selfplay"], record["train"], record["gate"]
    rate = played["games_per_hour"]
    parts = [
        f"cycle {record['cycle']}",
        counted(played["games"], "game") + (f" ({rate:,.0f}/h)" if rate else ""),
        loss_text(trained),
        verdict_text(gate),
        rating_text(gate.get("rating")),
        f"champion {record['champion'] or 'none'}",
        hosts_text(record),
        f"{sum(record['seconds'].values()) / 60:.1f} min",
    ]
    return "; ".join(part for part in parts if part)


def hosts_text(record: dict[str, Any]) -> str:
    """Games and data age by host, and the errors of hosts without games or without the champion.

    `desk 900 games (0.1 h old), rented-2 nothing: no route; rented-3 is behind: disk full`
    """
    played = record["selfplay"]
    hosts, absent, brought = (
        played.get("hosts", {}),
        played.get("absent", {}),
        record.get("brought"),
    )
    if not absent and not brought and all(row["here"] for row in hosts.values()):
        return ""  # all games were played here
    parts = [
        f"{name} {counted(row['games'], 'game')} ({row['newest_hours']:.1f} h old)"
        for name, row in sorted(hosts.items())
    ]
    for name, why in sorted(absent.items()):
        parts.append(f"{name} {'then' if name in hosts else 'nothing'}: {why}")
    for name, why in sorted((brought or {}).items()):
        if why != "confirmed":
            parts.append(f"{name} is behind: {why}")
    return ", ".join(parts)


def loss_text(trained: dict[str, Any]) -> str:
    """Losses on validation games."""
    measured = trained["validation_last"]
    return f"loss policy {measured['policy']:.3f} value {measured['value']:.3f}" if measured else ""


def verdict_text(gate: dict[str, Any]) -> str:
    """Verdict and deciding check: `rejected after 160 games, 47.5 % of 120 against …`."""
    text = f"{gate['verdict']} after {counted(gate['games'], 'game')}"
    failed = [check for check in gate["checks"] if not check["passed"]]
    for check in failed or [check for check in gate["checks"] if check["name"] == "champion"]:
        names = {"champion": "the champion", "earlier": "an earlier champion"}
        elo = elo_interval(check["elo"], check["low"], check["high"], check["score"])
        text += f", {check['score']:.1%} of {check['games']} against"
        text += f" {names.get(check['name'], check['opponent'])}, Elo {elo}"
    return text


def rating_text(rating: dict[str, Any] | None) -> str:
    """`rating +45 (+12 to +80)`: Elo relative to the default heuristic; may be infinite."""
    if rating is None:
        return ""
    above = float(rating["high"] is None)
    return f"rating {elo_interval(rating['elo'], rating['low'], rating['high'], above)}"


def _preview(out: Output, config: Config, steps: Steps) -> None:
    from ringrift_cli.loop.preview import preview

    found = preview(config, steps)
    model = found.model or "an untrained network"
    missing = counted(found.games_missing, "game")
    out.text(f"cycle {found.cycle} of {found.folder}")
    out.fields(
        {
            "done": ", ".join(found.done) or "nothing yet",
            "next": found.next,
            "self-play": f"{missing} of {found.games:,} by {model}",
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
