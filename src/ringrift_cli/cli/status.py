"""`ringrift status`: the state of a run of the learning loop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ringrift_cli.cli.options import (
    BoardOption,
    ConfigOption,
    JsonOption,
    PlayersOption,
    SetOption,
    configuration,
    file_path,
    flags_of,
)
from ringrift_cli.cli.output import Output, counted
from ringrift_cli.errors import UsageError
from ringrift_cli.loop.summary import line_of
from ringrift_cli.settings import Config, Run
from ringrift_cli.text import elo_interval

if TYPE_CHECKING:
    from ringrift_cli.loop.status import ChampionState, DataState, EloPoint, RunState

LATEST = 12  # cycles in the table
DROPPED = (
    "evals/s",
    "minutes",
    "value",
    "policy",
    "games/h",
)  # in a narrow terminal, in order


RunArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="RUN",
        parser=file_path,
        help="Folder of a run.",
        show_default="that of run.folder, --board and --players",
    ),
]


def run_settings(context: typer.Context, run: Path | None) -> Config:
    """Settings of a run folder, else of the command; `UsageError` if it is not a run folder."""
    from ringrift_cli.loop.status import settings_of

    config = configuration(context)
    remembered = settings_of(run or config.folder, flags_of(context))
    if run is not None and remembered is None:
        raise UsageError(f"{run} is not a run: it has no settings.yaml.", hint="ringrift status")
    return remembered or config


def status(
    context: typer.Context,
    run: RunArgument = None,
    board: BoardOption = Run.board,
    players: PlayersOption = Run.players,
    config_file: ConfigOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the state of a run: champion, Elo over the cycles, data, last cycle, disk, alarms.

    The fit Elo is relative to heuristic:default, from one fit over all games of the gate so far.
    Reads the files of the run and changes nothing.

    \b
    Examples:
      ringrift status
      ringrift status --board square8 --players 3 --json
      ringrift status runs/hex8-2p
    """
    out = Output(as_json=as_json)
    config = run_settings(context, run)
    from ringrift_cli.loop.status import run_state

    found = run_state(config)
    _print_facts(out, found)
    rows = [
        (
            row.cycle,
            _number(row.games_per_hour, ",.0f"),
            _number(row.evaluations_per_second, ",.0f"),
            _number(row.policy, ".3f"),
            _number(row.value, ".3f"),
            row.verdict,
            _elo(row.elo),
            f"{row.minutes:.1f}",
        )
        for row in found.recent[-LATEST:]
    ]
    if rows:
        out.text("\n")
        columns = (
            "cycle",
            "games/h",
            "evals/s",
            "policy",
            "value",
            "verdict",
            "fit Elo",
            "minutes",
        )
        out.table(rows, columns, drop=DROPPED)
    out.result(found)


def _print_facts(out: Output, found: RunState) -> None:
    from ringrift_cli.loop.charts import sparkline

    facts = {
        found.pool: f"{counted(found.cycles, 'cycle')} in {found.folder}",
        "now": f"{found.under_way or 'nothing under way'}; {found.working or 'no process'} at work",
        "champion": _champion(found.champion),
        "fit Elo": sparkline([point.elo for point in found.elo if point.elo is not None]),
        "data": _data(found.data),
        "gate": f"{counted(found.gate_games, 'game')} recorded;"
        f" {counted(found.rejections, 'rejection')} in a row",
        "disk": f"{found.free_gb:.1f} GB free, {found.run_gb:.2f} GB used",
        "last": line_of(found.last) if found.last else "",
    }
    shown = [fact for fact in facts.items() if fact[1]]
    alarms = [("alarm", alarm["sentence"]) for alarm in found.alarms]
    out.table([*shown, *alarms], ("", ""), red=[*(False for _ in shown), *(True for _ in alarms)])


def _champion(champion: ChampionState | None) -> str:
    if champion is None:
        return "none yet"
    text = f"{champion.identity}, since {champion.since}"
    if champion.event != "promotion":
        text += f" by {champion.event}"
    if (match := champion.heuristic) is not None:
        text += f", Elo {elo_interval(match.elo, *match.elo_95, match.score)} in its match"
        text += " with the heuristic"
    return text


def _data(data: DataState) -> str:
    text = "none yet"
    if data.shards:
        text = (
            f"{counted(data.shards, 'shard')}, {counted(data.games, 'game')},"
            f" {counted(data.positions, 'position')}; the newest {data.newest_hours:.1f} h old"
        )
    if data.other_games:
        text += f"; {counted(data.other_games, 'game')} not of this run, unused"
    return text


def _elo(point: EloPoint | None) -> str:
    return (
        "" if point is None else elo_interval(point.elo, point.low, point.high, point.high is None)
    )


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
