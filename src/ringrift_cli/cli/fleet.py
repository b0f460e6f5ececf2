"""`ringrift fleet`: the machines that play and learn for us, and the truth about them."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringrift_cli.cli import fleet_hosts, fleet_jobs, fleet_text
from ringrift_cli.cli.fleet_options import (
    AllOption,
    DeadlineOption,
    HostsOption,
    LabelOption,
    OnOption,
    chosen_hosts,
    failed,
    fleet_context,
)
from ringrift_cli.cli.options import JsonOption, QuietOption, file_path
from ringrift_cli.cli.output import Output, need_subcommand, stop_requested, stopped
from ringrift_cli.errors import UsageError
from ringrift_cli.store.files import write_whole

if TYPE_CHECKING:
    from ringrift_cli.fleet.hosts import Host
    from ringrift_cli.loop.fleet_context import FleetContext

app = typer.Typer(name="fleet", rich_markup_mode=None)
EVERY = 10.0  # seconds between two looks of --watch
CLEAR = "\x1b[2J\x1b[H"


@app.callback(invoke_without_command=True)
def fleet(context: typer.Context) -> None:
    """Run ringrift on other machines over SSH: jobs, their state, and what they cost.

    The machines stand in hosts.yaml; `ringrift fleet init` writes one to fill in. `ringrift sync`
    moves what they made, and `ringrift cycle --fleet` uses them all.

    \b
    Examples:
      ringrift fleet init
      ringrift fleet deploy
      ringrift fleet status
      ringrift fleet run --per-gpu -- selfplay --board hex8 --hours 8
    """
    need_subcommand(context)


OutOption = Annotated[
    Path, typer.Option("--out", parser=file_path, metavar="FILE", help="File to write.")
]
YesOption = Annotated[bool, typer.Option("--yes", help="Replace a file without asking.")]


@app.command()
def init(
    out_file: OutOption = Path("hosts.yaml"), yes: YesOption = False, as_json: JsonOption = False
) -> None:
    """Write hosts.yaml: every key of a host, explained, and examples to uncomment.

    \b
    Examples:
      ringrift fleet init
      ringrift fleet init --out cluster.yaml
    """
    from ringrift_cli.fleet.hosts import EXAMPLE

    if out_file.exists() and not yes:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise UsageError(f"{out_file} is there already.", hint="--yes to replace it")
        typer.confirm(f"Replace {out_file}?", abort=True, err=True)
    write_whole(out_file, EXAMPLE.encode())
    out = Output(as_json=as_json)
    out.result({"file": str(out_file)}, str(out_file))
    out.note("Fill in your hosts, then: ringrift fleet status")


WatchOption = Annotated[
    bool, typer.Option("--watch", "-w", help="Look again every 10 s until Ctrl-C.")
]


@app.command()
def status(
    on: OnOption = None,
    label: LabelOption = None,
    everything: AllOption = False,
    watch: WatchOption = False,
    deadline: DeadlineOption = None,
    hosts_file: HostsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show every host as it is now: reached or not, GPUs, disk, jobs, games, money, trouble.

    All are asked at once, and each must answer within the deadline. Exit code 1 if an enabled host
    is in trouble: unreachable, without this ringrift, out of disk, with failed or lost jobs, or
    idle for half an hour at a price.

    \b
    Examples:
      ringrift fleet status
      ringrift fleet status --on desk,rented-4090 --deadline 10
      ringrift fleet status --json
    """
    if watch and as_json:
        raise UsageError("--watch is for people: expected it without --json.")
    out = Output(as_json=as_json)
    base = fleet_context(hosts_file)
    hosts = chosen_hosts(base, on, label, everything)
    if not watch:
        failed(_look(out, base, hosts, deadline, clear=False))
        return
    with stop_requested() as stop:
        while not stop():
            _look(out, base, hosts, deadline, clear=out.colour)
            until = time.monotonic() + EVERY
            while time.monotonic() < until and not stop():
                time.sleep(0.1)
        raise stopped(stop())


def _look(
    out: Output, base: FleetContext, hosts: list[Host], deadline: float | None, *, clear: bool
) -> bool:
    """Prints how the hosts are; whether one is in trouble."""
    from ringrift_cli.fleet import cost
    from ringrift_cli.fleet import status as stage

    seen = base.look(hosts, deadline)
    now = time.time()
    ledger, synced = cost.read(base.state), stage.last_synced(base.state)
    found = stage.document(base.fleet, seen, ledger, synced, now)
    text = "" if out.as_json else fleet_text.status(found, colour=out.colour)
    out.result(found, (CLEAR if clear else "") + text)
    return bool(found["totals"]["in_trouble"]) or found["over_budget"] is not None


@app.command()
def cost(
    hosts_file: HostsOption = None, as_json: JsonOption = False, quiet: QuietOption = False
) -> None:
    """Show what the hosts cost: today, in all, a game, and ahead.

    Hours count for every enabled host of hosts.yaml from its first answer on, whether it works,
    idles or is silent: set `enabled: false` when you have given a machine back.

    \b
    Examples:
      ringrift fleet cost
      ringrift fleet cost --json
    """
    out = Output(as_json=as_json, quiet=quiet)
    base = fleet_context(hosts_file)
    found = _costs(base)
    out.result(found, fleet_text.costs(found))
    if found["over_budget"]:
        out.error(f"{found['over_budget']}.", "more `budget:` in hosts.yaml, or fleet drain")
    failed(found["over_budget"] is not None)


def _costs(base: FleetContext) -> dict[str, Any]:
    from ringrift_cli.fleet import cost as money

    hosts = base.fleet.choose()
    seen = {one.host.name: one for one in base.look(hosts)}
    now, ledger = time.time(), money.read(base.state)
    rows = []
    for name in dict.fromkeys([*(host.name for host in base.fleet.hosts), *ledger]):
        account = ledger.get(name, money.Account())
        known = seen.get(name)
        price = known.host.price if known else 0.0
        games = sum(job.games for job in known.jobs) if known and known.facts else None
        rate = known.games_per_hour if known else 0.0
        rows.append(
            {
                "name": name,
                "price": price,
                "since": account.since,
                "today": round(account.days.get(money.day_of(now), 0.0), 4),
                "total": round(account.total, 4),
                "days": {day: round(dollars, 4) for day, dollars in sorted(account.days.items())},
                "games": games,
                "per_1000_games": round(1000 * account.total / games, 4) if games else None,
                "per_1000_games_now": round(1000 * price / rate, 4) if rate else None,
            }
        )
    total = money.all_spent(ledger, base.fleet.hosts, now)
    return {
        "hosts": rows,
        "today": round(total.today, 4),
        "total": round(total.total, 4),
        "per_hour": total.per_hour,
        "projected_day": round(24 * total.per_hour, 2),
        "projected_30_days": round(30 * 24 * total.per_hour, 2),
        "budget": {"per_day": base.fleet.budget.per_day, "total": base.fleet.budget.total},
        "over_budget": money.over_budget(base.fleet, ledger, now),
    }


fleet_hosts.add_to(app)
fleet_jobs.add_to(app)
