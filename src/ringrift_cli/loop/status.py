"""State of a run, from its files; loads no network and replays no game."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ringrift_cli.data.retention import GB, games_of, of_run
from ringrift_cli.data.window import positions_of
from ringrift_cli.errors import UsageError
from ringrift_cli.evaluate.evaluate import elo_by_player, elo_difference
from ringrift_cli.evaluate.evidence import MatchEvidence, recorded_match
from ringrift_cli.evaluate.results import Pool, Results
from ringrift_cli.loop import journal as cycle_journal
from ringrift_cli.loop.alarms import HEURISTIC
from ringrift_cli.loop.cycle import RESULTS, Folders
from ringrift_cli.loop.journal import BEGUN, CYCLE, DONE, STOPPED, Journal
from ringrift_cli.nn.registry import Registry
from ringrift_cli.settings import Config, load
from ringrift_cli.store.manifest import searched
from ringrift_cli.text import duration

MAX_RECENT = 50  # cycles in the document; cycles.jsonl has all
LIKE_BEFORE = 5  # cycles whose steps say how long one takes

Record = dict[str, Any]  # of a cycle, a line of cycles.jsonl


def settings_of(run: Path, flags: Mapping[str, str] | None = None) -> Config | None:
    """The stored settings of a run, overridden by flags by label; None if it has none.

    `UsageError` if they belong to another folder.
    """
    file = Folders(run).settings
    if not file.exists():
        return None
    folder = {"run.folder": str(run.parent)}
    config = load(file, environment={}, flags={**(flags or {}), **folder})
    if config.folder.resolve() != run.resolve():
        raise UsageError(f"{run} is a run of {config.pool}, expected a folder of that name.")
    return config


class StepState(msgspec.Struct, frozen=True):
    """The last event of the cycle in progress."""

    cycle: int
    step: str
    event: str
    time: str

    def __str__(self) -> str:
        step = "between two steps" if self.step == CYCLE else self.step
        return f"cycle {self.cycle}, {step}: {self.event} {self.time}"


class ChampionState(msgspec.Struct, frozen=True):
    """The champion of the registry, which may have been promoted by hand."""

    identity: str
    since: str
    event: str  # promotion or rollback
    cycle: int | None  # of this run that made it
    heuristic: MatchEvidence | None  # its match with the default heuristic in the gate


class EloPoint(msgspec.Struct, frozen=True):
    """Elo of a candidate relative to the default heuristic, by one fit over all gate games.

    `low` to `high` hold it with 95 %; a number is None where infinite.
    """

    cycle: int
    identity: str
    promoted: bool
    elo: float | None
    low: float | None
    high: float | None
    games: int


class DataState(msgspec.Struct, frozen=True):
    """The shards of the run."""

    shards: int
    games: int
    positions: int
    newest_hours: float | None  # age of the newest shard
    other_games: int  # in the data folder, but of another origin, and not used


class CycleRow(msgspec.Struct, frozen=True):
    """A finished cycle; None for unknown numbers."""

    cycle: int
    games_per_hour: float | None
    evaluations_per_second: float | None
    policy: float | None  # validation loss
    value: float | None
    verdict: str
    elo: EloPoint | None
    minutes: float


class RunState(msgspec.Struct, frozen=True):
    """State of a run."""

    pool: str
    folder: str
    working: str | None  # process at work
    cycles: int  # that are finished
    under_way: StepState | None
    champion: ChampionState | None
    elo: list[EloPoint]
    data: DataState
    gate_games: int  # recorded results
    recent: list[CycleRow]
    last: Record | None
    rejections: int  # in a row
    free_gb: float
    run_gb: float
    alarms: list[dict[str, Any]]


def run_state(config: Config) -> RunState:
    """The state of a run, which need not exist yet; `RecordError` if a file is damaged."""
    folders = Folders(config.folder)
    journal = cycle_journal.read(folders.run)
    records = journal.finished
    last = records[-1] if records else None
    points = elo_points(config, records)
    disk = next(path for path in (folders.run, *folders.run.absolute().parents) if path.exists())
    return RunState(
        pool=config.pool,
        folder=str(folders.run),
        working=cycle_journal.at_work(folders.run),
        cycles=len(records),
        under_way=_under_way(journal),
        champion=champion_state(config, records),
        elo=points,
        data=_data(folders.data, journal),
        gate_games=_gate_games(folders.run / RESULTS, config),
        recent=[_row(record, points) for record in records[-MAX_RECENT:]],
        last=last,
        rejections=last["rejections"] if last else 0,
        free_gb=round(shutil.disk_usage(disk).free / GB, 3),
        run_gb=round(sum(_size(path) for path in folders.run.rglob("*")) / GB, 6),
        alarms=last["alarms"] if last else [],
    )


def _under_way(journal: Journal) -> StepState | None:
    lines = [line for line in journal.lines if line["event"] in (BEGUN, STOPPED, DONE)]
    if not lines or lines[-1]["cycle"] != journal.current:
        return None
    return msgspec.convert(lines[-1], StepState)


def step_text(journal: Journal) -> str:
    """The step under way, since when, and the time left if it takes as long as before."""
    last = journal.lines[-1] if journal.lines else None
    if last is None or last["cycle"] != journal.current or last["event"] != BEGUN:
        return "nothing under way"
    step = last["step"]
    if step == CYCLE:
        return f"cycle {last['cycle']}, between two steps"
    since = dt.datetime.fromisoformat(last["time"])
    passed = (dt.datetime.now(dt.UTC) - since).total_seconds()
    text = f"cycle {last['cycle']}, {step}, for {duration(passed)}"
    before = [record["seconds"][step] for record in journal.finished if step in record["seconds"]]
    if before:
        recent = before[-LIKE_BEFORE:]
        left = sum(recent) / len(recent) - passed
        text += f", about {duration(left)} left" if left > 0 else ", longer than before"
    return text


def champion_state(config: Config, records: list[Record]) -> ChampionState | None:
    """The champion of a run's pool; None if there is none."""
    registry = Registry(Path(config.run.models))
    history = registry.history(config.pool)
    if not history:
        return None
    now = history[-1]
    own = [record["cycle"] for record in records if record["train"]["identity"] == now.identity]
    match = recorded_match(registry.evidence(config.pool), HEURISTIC)
    return ChampionState(now.identity, now.time, now.event, own[-1] if own else None, match)


def elo_points(config: Config, records: list[Record]) -> list[EloPoint]:
    """Ratings of the candidates that gate games link to the default heuristic."""
    path, ratings = config.folder / RESULTS, {}
    if path.exists():
        with Results(path, read_only=True) as results:
            ratings = elo_by_player(_pool(config), results)
    return [
        EloPoint(record["cycle"], record["train"]["identity"], record["promoted"], **rating)
        for record in records
        if (rating := ratings.get(record["gate"].get("player"), record["gate"].get("rating")))
    ]


def elo_gain(config: Config, records: list[Record]) -> tuple[float, float] | None:
    """Elo of the last champion of a run minus that of its first, and the 95 % error.

    None for fewer than two champions, and where no gate games link the two in both directions.
    """
    path = config.folder / RESULTS
    players = [record["gate"].get("player") for record in records if record["promoted"]]
    if len(players) < 2 or players[0] is None or players[-1] is None or not path.exists():
        return None
    with Results(path, read_only=True) as results:
        return elo_difference(_pool(config), results, players[-1], players[0])


def _data(data: Path, journal: Journal) -> DataState:
    entries = of_run(data, journal.origins)
    return DataState(
        len(entries),
        games_of(entries),
        positions_of(entries),
        round(min(entry.age_hours for entry in entries), 2) if entries else None,
        games_of(searched(data)) - games_of(entries),
    )


def _gate_games(path: Path, config: Config) -> int:
    """Games that the gate has recorded for this pool."""
    if not path.exists():
        return 0
    with Results(path, read_only=True) as results:
        return dict(results.pools()).get(_pool(config), 0)


def _pool(config: Config) -> Pool:
    return Pool(config.run.board, config.run.players, config.run.pie_rule)


def _row(record: Record, points: list[EloPoint]) -> CycleRow:
    measured = record["train"]["validation_last"] or {}
    return CycleRow(
        record["cycle"],
        record["selfplay"]["games_per_hour"],
        record["selfplay"]["evaluations_per_second"],
        measured.get("policy"),
        measured.get("value"),
        record["gate"]["verdict"],
        next((point for point in points if point.cycle == record["cycle"]), None),
        round(sum(record["seconds"].values()) / 60, 2),
    )


def _size(path: Path) -> int:
    """Bytes of a file; 0 if it is not a file or was deleted meanwhile."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except FileNotFoundError:
        return 0
