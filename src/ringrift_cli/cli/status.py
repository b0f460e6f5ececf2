"""`ringrift status`: how a run of the learning loop stands."""

from __future__ import annotations

import io
import shutil
from typing import TYPE_CHECKING, Any

import typer

from ringrift_cli.cli.cycle import bound, line_of
from ringrift_cli.cli.options import (
    BoardOption,
    ConfigOption,
    JsonOption,
    PlayersOption,
    SetOption,
    configuration,
)
from ringrift_cli.cli.output import Output, counted
from ringrift_cli.settings import Run

if TYPE_CHECKING:
    from rich.table import Table

LATEST = 12  # cycles that the table shows
GAP = 2  # between columns
DROPPED = ("evals/s", "minutes", "value", "policy", "games/h")  # in a narrow terminal, in order
WIDTH = 100  # at most; a terminal may be narrower


def status(
    context: typer.Context,
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    config_file: ConfigOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how a run stands: champion, Elo over the cycles, data, the last cycle, disk, alarms.

    It reads the files of the run and disturbs nobody.

    \b
    Examples:
      ringrift status
      ringrift status --board square8 --players 3 --json
    """
    out = Output(as_json=as_json)
    config = configuration(context)
    from ringrift_cli.loop.status import state

    found = state(config)
    out.result(found, "" if as_json else _text(found, colour=out.colour))


def _text(found: dict[str, Any], *, colour: bool) -> str:
    """The state as a terminal shows it."""
    from rich.console import Console
    from rich.table import Table

    from ringrift_cli.loop.report_charts import sparkline
    from ringrift_cli.loop.status import step_text

    facts = Table(show_header=False, box=None, padding=(0, GAP, 0, 0))
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")  # a long path is not cut off
    rows = {
        found["pool"]: f"{counted(found['cycles'], 'cycle')} in {found['folder']}",
        "now": f"{step_text(found['under_way'])}; {found['working'] or 'no process'} at work",
        "champion": _champion(found["champion"]),
        "elo": sparkline([elo["elo"] for elo in found["elo"]]),
        "data": _data(found["data"]),
        "gate": f"{counted(found['results']['games'], 'game')} recorded;"
        f" {counted(found['rejections'], 'rejection')} in a row",
        "disk": f"{found['disk']['free_gb']:.1f} GB free, {found['disk']['run_gb']:.2f} GB used",
        "last": line_of(found["last"]) if found["last"] else "",
    }
    for name, text in rows.items():
        if text:
            facts.add_row(name, text)
    for alarm in found["alarms"]:
        facts.add_row("alarm", alarm["sentence"], style="bold red")
    file = io.StringIO()
    width = min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns)
    console = Console(file=file, width=width, force_terminal=colour, no_color=not colour)
    console.print(facts)
    if found["recent"]:
        console.print()
        console.print(_cycles(found["recent"][-LATEST:], width))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def _champion(champion: dict[str, Any] | None) -> str:
    if champion is None:
        return "none yet"
    elo = champion["elo"]
    said = f"{champion['identity']}, since {champion['since']}"
    if champion["event"] != "promotion":
        said += f" by {champion['event']}"
    if elo is None:
        return said
    return said + (
        f", {bound(elo['elo'])} Elo against the heuristic"
        f" ({bound(elo['low'])} to {bound(elo['high'])})"
    )


def _data(data: dict[str, Any]) -> str:
    if not data["shards"]:
        return "none yet"
    return (
        f"{counted(data['shards'], 'shard')}, {counted(data['games'], 'game')},"
        f" {counted(data['positions'], 'position')}; the newest {data['newest_hours']:.1f} h old"
    )


def _cycles(rows: list[dict[str, Any]], width: int) -> Table:
    """A line for each cycle; a narrow terminal has fewer columns, none of them cut off."""
    from rich.table import Table

    columns = {
        "cycle": [str(row["cycle"]) for row in rows],
        "games/h": [_number(row["games_per_hour"], ",.0f") for row in rows],
        "evals/s": [_number(row["evaluations_per_second"], ",.0f") for row in rows],
        "policy": [_number(row["policy"], ".3f") for row in rows],
        "value": [_number(row["value"], ".3f") for row in rows],
        "verdict": [row["verdict"] for row in rows],
        "elo": [_number(row["elo"], "+.0f") for row in rows],
        "minutes": [f"{row['minutes']:.1f}" for row in rows],
    }
    for name in DROPPED:
        if sum(max(map(len, [of, *cells])) + GAP for of, cells in columns.items()) > width:
            del columns[name]
    table = Table(box=None, padding=(0, GAP, 0, 0))
    for name in columns:
        table.add_column(name, justify="left" if name == "verdict" else "right", no_wrap=True)
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*cells)
    return table


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
