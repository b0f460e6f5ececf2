"""How a run stands, from its files alone: no network is loaded, no game replayed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ringrift_cli.data.retention import GB, games_of
from ringrift_cli.data.window import positions_of
from ringrift_cli.evaluate.results import Pool, Results
from ringrift_cli.loop import journal as cycle_journal
from ringrift_cli.loop.alarms import HEURISTIC, heuristic_elo
from ringrift_cli.loop.cycle import RESULTS, Folders
from ringrift_cli.loop.journal import CYCLE, Journal
from ringrift_cli.nn.registry import Registry
from ringrift_cli.settings import Config
from ringrift_cli.store.manifest import searched

MOST_RECENT = 50  # cycles in the document; cycles.jsonl has all

Document = dict[str, Any]


def state(config: Config) -> Document:
    """All that `ringrift status` says, JSON. `RecordError` if a file of the run is damaged."""
    folders = Folders(config.folder)
    journal = cycle_journal.read(folders.run)
    records = journal.finished
    return {
        "pool": config.pool,
        "folder": str(folders.run),
        "working": cycle_journal.at_work(folders.run),
        "cycles": len(records),
        "under_way": _under_way(journal),
        "champion": _champion(config, records),
        "elo": elo_by_cycle(records),
        "data": _data(folders.data),
        "results": _results(folders.run / RESULTS, config),
        "recent": [_row(record) for record in records[-MOST_RECENT:]],
        "last": records[-1] if records else None,
        "rejections": records[-1]["rejections"] if records else 0,
        "disk": _disk(folders.run),
        "alarms": records[-1]["alarms"] if records else [],
    }


def elo_by_cycle(records: list[Document]) -> list[Document]:
    """Elo of the candidates against the default heuristic, where it was measured, JSON."""
    found = []
    for record in records:
        elo = heuristic_elo(record)
        if elo is not None:
            found.append(
                {
                    "cycle": record["cycle"],
                    "identity": record["train"]["identity"],
                    "promoted": record["promoted"],
                    **dict(zip(("elo", "low", "high"), elo, strict=True)),
                }
            )
    return found


def _row(record: Document) -> Document:
    """A cycle in a few numbers."""
    elo, measured = heuristic_elo(record), record["train"]["validation_last"]
    return {
        "cycle": record["cycle"],
        "games_per_hour": record["selfplay"]["games_per_hour"],
        "evaluations_per_second": record["selfplay"]["evaluations_per_second"],
        "policy": measured["policy"] if measured else None,
        "value": measured["value"] if measured else None,
        "verdict": record["gate"]["verdict"],
        "elo": elo[0] if elo else None,
        "minutes": round(sum(record["seconds"].values()) / 60, 2),
    }


def _under_way(journal: Journal) -> Document | None:
    """The step of a cycle that has begun and not ended."""
    if not journal.lines or journal.lines[-1]["cycle"] != journal.current:
        return None
    line = journal.lines[-1]
    return {name: line[name] for name in ("cycle", "step", "event", "time")}


def _champion(config: Config, records: list[Document]) -> Document | None:
    """Who the registry says is champion, and what the gate that promoted it measured.

    All from the registry, for a champion may have been promoted by hand. A bound of Elo is None
    where it is infinite.
    """
    registry = Registry(Path(config.run.models))
    history = registry.history(config.pool)
    if not history:
        return None
    now = history[-1]
    own = [record["cycle"] for record in records if record["train"]["identity"] == now.identity]
    checks = (registry.evidence(config.pool) or {"checks": []})["checks"]
    elo = None
    for match in (check["match"] for check in checks if check["name"] == HEURISTIC):
        low, high = match["elo_95"]
        elo = {name: match[name] for name in ("elo", "games", "score")} | {"low": low, "high": high}
    return {
        "identity": now.identity,
        "since": now.time,
        "event": now.event,
        "cycle": own[-1] if own else None,  # that made it; None: none of this run
        "elo": elo,
    }


def _data(data: Path) -> Document:
    entries = searched(data)
    return {
        "shards": len(entries),
        "games": games_of(entries),
        "positions": positions_of(entries),
        "newest_hours": (round(min(entry.age_hours for entry in entries), 2) if entries else None),
    }


def _results(path: Path, config: Config) -> Document:
    """How many games the gate has recorded for this pool."""
    if not path.exists():
        return {"games": 0}
    pool = Pool(config.run.board, config.run.players, config.run.pie_rule)
    with Results(path, read_only=True) as results:
        return {"games": dict(results.pools()).get(pool, 0)}


def _disk(folder: Path) -> Document:
    """Free space where the run lies, and what the run takes."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return {
        "free_gb": round(shutil.disk_usage(there).free / GB, 3),
        "run_gb": round(sum(_size(path) for path in folder.rglob("*")) / GB, 6),
    }


def _size(path: Path) -> int:
    """Bytes of a file; 0 for what is none, or has gone while we looked."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except FileNotFoundError:
        return 0


def step_text(under_way: Document | None) -> str:
    """What is under way, in words."""
    if under_way is None:
        return "nothing under way"
    step = "between two steps" if under_way["step"] == CYCLE else under_way["step"]
    return f"cycle {under_way['cycle']}, {step}: {under_way['event']} {under_way['time']}"
