"""`ringrift matrix cmaes`: tuning of many configurations, with limits of time and money."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ringrift_cli.cli.cmaes import GENERATIONS, GamesOption, PopulationOption, TestGamesOption
from ringrift_cli.cli.fleet_options import (
    DryRunOption,
    GamesOnFleetOption,
    HostsOption,
    fleet_context,
)
from ringrift_cli.cli.options import (
    JsonOption,
    QuietOption,
    SeedOption,
    VerboseOption,
    above_zero,
    number_option,
    path_option,
)
from ringrift_cli.cli.output import Output, counted, need_subcommand, stop_requested, stopped
from ringrift_cli.errors import UsageError
from ringrift_cli.settings import Run, Tune

if TYPE_CHECKING:
    from collections.abc import Callable

    from ringrift_cli.loop.fleet_context import FleetContext
    from ringrift_cli.tune.matrix import Configuration

app = typer.Typer(name="matrix", rich_markup_mode=None)

FOLDER = Path("runs/cmaes")
POLL_S = 1.0
ENDED = ("tested", "accepted")


@app.callback(invoke_without_command=True)
def matrix(context: typer.Context) -> None:
    """Run a step for many boards and numbers of players.

    \b
    Examples:
      ringrift matrix cmaes --configs hex8-2p,square8-2p --dry-run
      ringrift matrix cmaes --fleet --hours 12 --budget 40
    """
    need_subcommand(context)


@app.command()
def cmaes(
    configs: Annotated[
        str, typer.Option("--configs", metavar="NAME,…", help="Configurations, as hex8-2p, or all.")
    ] = "all",
    generations: Annotated[
        int, number_option("--generations", "Generations per configuration.")
    ] = GENERATIONS,
    population: PopulationOption = Tune.population,
    games: GamesOption = Tune.games,
    test_games: TestGamesOption = Tune.test_games,
    seed: SeedOption = Run.seed,
    folder: Annotated[Path, path_option("--out", "Folder of the runs.", metavar="FOLDER")] = FOLDER,
    hours: Annotated[
        float | None,
        typer.Option("--hours", parser=above_zero, metavar="H", help="Time limit of this call."),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(
            "--budget", parser=above_zero, metavar="$", help="Dollars for this call, with --fleet."
        ),
    ] = None,
    fleet: GamesOnFleetOption = False,
    hosts_file: HostsOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Tune the heuristic for many configurations, one after another.

    Each is `ringrift cmaes` in a folder of its own, continued if it was begun; what is finished is
    left alone, so the same command goes on after a stop, a crash or kill -9. With --fleet the hosts
    play the games of each. A dry run measures a few games of each configuration and projects hours
    and costs of the search; the final test comes on top.

    Exit code 0: all configurations have a verdict; 1: a limit was reached, or a run failed.

    \b
    Examples:
      ringrift matrix cmaes --configs hex8-2p,square8-2p --generations 40
      ringrift matrix cmaes --fleet --hours 12 --budget 40
      ringrift matrix cmaes --fleet --dry-run
    """
    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    if budget is not None and not fleet:
        raise UsageError("--budget is for hosts, which have prices.", hint="--fleet --budget $")
    tune = Tune(population=population, games=games, test_games=test_games)
    hosts = fleet_context(hosts_file) if fleet else None
    out.compile_players()
    from ringrift_cli.tune.matrix import configurations

    names = [] if configs == "all" else configs.split(",")
    found = configurations(names, folder, generations)
    if dry_run:
        _project(out, found, generations, tune, hosts)
        return
    fixed = f"--population {population} --games {games} --test-games {test_games} --seed {seed}"
    line = [*fixed.split(), "--generations", str(generations)]
    line += ["--fleet"] if fleet else []
    line += [] if hosts_file is None else ["--hosts", str(hosts_file)]
    limit = _Limits(hours, budget, hosts)
    with stop_requested() as signalled:
        why, failed = _run_all(
            out,
            found,
            line,
            lambda: "a signal came" if signalled() else limit.reached(),
            lambda one: configurations([one.name], folder, generations)[0].state in ENDED,
        )
        signal = signalled()
    _report(out, configurations(names, folder, generations), why, failed)
    if signal:
        raise stopped(signal)
    if why is not None or failed:
        raise typer.Exit(1)


def _report(out: Output, found: list[Configuration], why: str | None, failed: list[str]) -> None:
    rows = [(one.name, one.state, one.generations, one.games, one.folder) for one in found]
    out.table(rows, ("configuration", "state", "generations", "games", "folder"), drop=("folder",))
    out.result({"configurations": found, "stopped": why, "failed": failed})
    if why is not None:
        out.error(f"Stopped: {why}.", hint="the same command, which goes on")
    elif failed:
        out.error(f"Failed: {', '.join(failed)}.", hint="the same command, which tries them again")


def _run_all(
    out: Output,
    found: list[Configuration],
    line: list[str],
    why_stop: Callable[[], str | None],
    ended: Callable[[Configuration], bool],
) -> tuple[str | None, list[str]]:
    """Runs what has not ended; why it was stopped, and the names of those that failed."""
    failed: list[str] = []
    for one in found:
        if ended(one):
            continue
        why = why_stop()
        if why is None:
            out.note(f"{one.name}: tuning in {one.folder}")
            why = _run(one, line, why_stop)
        if why is not None:
            return why, failed
        if not ended(one):
            failed.append(one.name)
    return None, failed


class _Limits:
    """Limits of a call."""

    def __init__(
        self, hours: float | None, budget: float | None, hosts: FleetContext | None
    ) -> None:
        self._until = None if hours is None else time.monotonic() + 3600 * hours
        self._hours, self._budget, self._hosts = hours, budget, hosts
        self._before = self._dollars()

    def _dollars(self) -> float:
        from ringrift_cli.fleet import cost

        if self._hosts is None or self._budget is None:
            return 0.0
        now, hosts = time.time(), self._hosts.fleet.hosts
        ledger = cost.accrue(self._hosts.ledger, hosts, {}, now)
        return cost.all_spent(ledger, hosts, now).total

    def reached(self) -> str | None:
        """Why nothing more may be done; None if it may."""
        if self._until is not None and time.monotonic() >= self._until:
            return f"{self._hours:g} hours are over"
        spent = self._dollars() - self._before
        if self._budget is not None and spent >= self._budget:
            return f"${spent:.2f} were spent, and the budget is ${self._budget:.2f}"
        return None


def _run(one: Configuration, line: list[str], why_stop: Callable[[], str | None]) -> str | None:
    """Runs `ringrift cmaes` for a configuration; why it was stopped, None if it ended."""
    where = ["--board", one.board, "--players", str(one.players), "--out", one.folder, "--resume"]
    command = [sys.executable, "-m", "ringrift_cli", "cmaes", *where, *line]
    why: str | None = None
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    try:
        while process.poll() is None:
            if why is None and (why := why_stop()) is not None:
                process.terminate()  # it keeps its last whole generation
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(POLL_S)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return why


def _project(
    out: Output,
    found: list[Configuration],
    generations: int,
    tune: Tune,
    hosts: FleetContext | None,
) -> None:
    """Prints projected games, core-hours and costs."""
    from ringrift_cli.tune.matrix import core_seconds_per_game, games_left

    left = {one.name: games_left(one, generations, tune) for one in found}
    hours = {
        one.name: left[one.name] * core_seconds_per_game(one.board, one.players) / 3600
        for one in found
        if left[one.name]
    }
    rows = [(one.name, one.state, left[one.name], f"{hours.get(one.name, 0):.2f}") for one in found]
    out.table(rows, ("configuration", "state", "games left", "core-hours"))
    total = sum(hours.values())
    text = f"{total:.2f} core-hours of search, measured now on this machine"
    cores = price = dollars = None
    if hosts is not None:
        ready = [seen for seen in hosts.look(hosts.fleet.choose()) if seen.facts is not None]
        cores = sum(seen.facts.cores for seen in ready if seen.facts is not None)
        price = sum(seen.host.price for seen in ready)
        if cores:
            dollars = total / cores * price
            text += (
                f"; on {counted(len(ready), 'host')} with {counted(cores, 'core')}"
                f" {total / cores:.2f} h and ${dollars:.2f}"
            )
        else:
            text += "; no host answered"
    out.text(text)
    out.result(
        {
            "configurations": found,
            "games_left": left,
            "core_hours": {name: round(value, 3) for name, value in hours.items()},
            "cores": cores,
            "dollars_per_hour": price,
            "dollars": None if dollars is None else round(dollars, 2),
        }
    )
