"""What a run has to show, read from its journals: parameters, points of metrics, files, models."""

from __future__ import annotations

import csv
import datetime as dt
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ringrift_cli.errors import UsageError
from ringrift_cli.loop import journal as cycle_journal
from ringrift_cli.loop.cycle import COLLECT, GATE, SELFPLAY, TRAIN, Folders
from ringrift_cli.loop.journal import CYCLE, DONE
from ringrift_cli.loop.status import settings_of
from ringrift_cli.nn.registry import Registry
from ringrift_cli.store.hashes import sha256, sha256_of_file
from ringrift_cli.tune import journal as tuning_journal
from ringrift_cli.tune.journal import Generation

STATE, STEPS_LOG = "state.json", "log.csv"
SHOWN = (SELFPLAY, TRAIN, GATE, COLLECT)  # steps of a cycle whose outcomes have numbers


@dataclass(frozen=True)
class MetricPoint:
    """A value of a metric at a step: a cycle, generation or training step."""

    name: str
    step: int
    value: float
    time: float  # unix seconds


@dataclass(frozen=True)
class ObservedModel:
    """A model that a run made champion."""

    pool: str
    identity: str
    cycle: int
    files: tuple[Path, ...]


@dataclass
class ObservedRun:
    """A run as trackers show it; all of it follows from its files."""

    name: str
    identity: str  # 16 hexadecimal digits
    kind: str  # cycle, cmaes or train
    parameters: dict[str, str] = field(default_factory=dict)
    points: list[MetricPoint] = field(default_factory=list)  # in order of time
    files: list[tuple[Path, str]] = field(default_factory=list)  # path, folder in the tracker
    models: list[ObservedModel] = field(default_factory=list)


def journal_of(folder: Path) -> Path | None:
    """The file of a run that grows as it advances; None if the folder holds no run."""
    if (folder / cycle_journal.JOURNAL).exists():
        return folder / cycle_journal.JOURNAL
    return folder / STEPS_LOG if (folder / STATE).exists() else None


def observe(folder: Path) -> ObservedRun:
    """Reads a run; `UsageError` if the folder holds none, `RecordError` if it is damaged."""
    journal = journal_of(folder)
    if journal is None:
        raise UsageError(
            f"{folder} is no run of cycle, cmaes or train: it has neither"
            f" {cycle_journal.JOURNAL} nor {STATE}.",
            hint="ringrift status",
        )
    if journal.name == STEPS_LOG:
        return _training(folder)
    is_tuning = (folder / tuning_journal.SETTINGS).exists()
    return _tuning(folder) if is_tuning else _cycles(folder)


def _cycles(folder: Path) -> ObservedRun:
    """A run of the learning loop."""
    journal, config, folders = cycle_journal.read(folder), settings_of(folder), Folders(folder)
    run = ObservedRun("/".join(folder.resolve().parts[-2:]), journal.identity, "cycle")
    if config is None:
        raise UsageError(f"{folder} has no settings.yaml.", hint="ringrift cycle")
    run.parameters = dict(_texts(config.document()))
    for line in journal.lines:
        if line["event"] == DONE and line["step"] in (*SHOWN, CYCLE):
            time = dt.datetime.fromisoformat(line["time"]).timestamp()
            shown = _numbers_of(line["step"], line["outcome"])
            named = _numbers(shown, line["step"])
            run.points += [MetricPoint(name, line["cycle"], v, time) for name, v in named]
    known = {
        entry.identity: entry for entry in Registry(Path(config.run.models)).models(config.pool)
    }
    for record in journal.finished:
        evidence = folders.evidence(record["cycle"])
        run.files += [(evidence, GATE)] if evidence.exists() else []
        entry = known.get(record["train"]["identity"]) if record["promoted"] else None
        if entry is not None:
            files = (entry.path, entry.weights)
            run.models.append(ObservedModel(config.pool, entry.identity, record["cycle"], files))
    run.files += _existing(folder, cycle_journal.CYCLES, folders.settings.name)
    return run


def _numbers_of(step: str, outcome: Mapping[str, Any]) -> dict[str, Any]:
    """The part of an outcome that has numbers to plot."""
    if step == CYCLE:
        names = ("rejections", "seconds", "promoted", "weaker")
        return {**{k: outcome[k] for k in names}, "alarms": len(outcome["alarms"])}
    if step == GATE:
        checks = {check["name"]: check for check in outcome["checks"]}
        return {**checks, "games": outcome["games"], "rating": outcome["rating"] or {}}
    return dict(outcome)


def _tuning(folder: Path) -> ObservedRun:
    """A run of `ringrift cmaes`."""
    settings = folder / tuning_journal.SETTINGS
    document = json.loads(settings.read_bytes())
    run = ObservedRun(folder.name, sha256_of_file(settings)[:16], "cmaes", dict(_texts(document)))
    journal = tuning_journal.TuningJournal(folder, 1 / document["players"])
    games, time = 0, settings.stat().st_mtime
    for entry in journal.file.read():
        games, time = games + entry.games, time + entry.seconds
        named = _numbers(_generation(entry, journal.fair, games))
        run.points += [MetricPoint(name, entry.generation, v, time) for name, v in named]
    names = (settings.name, tuning_journal.PROFILE, tuning_journal.LOG, tuning_journal.VERDICT)
    run.files = _existing(folder, *names)
    return run


def _generation(entry: Generation, fair: float, games: int) -> dict[str, Any]:
    return {
        "best": fair - min(entry.fitness),
        "mean": fair - entry.mean,
        "games": games,
        "seconds": entry.seconds,
        "sigma": entry.sigma,
        "effort": entry.effort,
        "noise": entry.noise,
        "against": entry.against,
    }


def _training(folder: Path) -> ObservedRun:
    """A run of `ringrift train`; its steps include those of earlier runs."""
    document = json.loads((folder / STATE).read_bytes())["state"]
    run = ObservedRun(folder.name, "", "train", dict(_texts(document["setting"])))
    fixed = {name: document[name] for name in ("setting", "shards", "began", "parents")}
    run.identity = sha256(json.dumps(fixed, sort_keys=True).encode())[:16]
    log = folder / STEPS_LOG
    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    began = log.stat().st_mtime - (float(rows[-1]["seconds"]) if rows else 0.0)
    for row in rows:
        step, time = int(row.pop("step")), began + float(row["seconds"])
        values = ((name, float(text)) for name, text in row.items() if text)
        run.points += [MetricPoint(name, step, value, time) for name, value in values]
    run.files = _existing(folder, STEPS_LOG)
    return run


def _existing(folder: Path, *names: str) -> list[tuple[Path, str]]:
    return [(folder / name, "") for name in names if (folder / name).exists()]


def _numbers(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Numbers of nested mappings by path, as `train/validation_last/policy`."""
    for name, value in tree.items():
        path = f"{prefix}/{name}" if prefix else str(name)
        if isinstance(value, Mapping):
            yield from _numbers(value, path)
        elif isinstance(value, int | float):
            yield path, float(value)


def _texts(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Leaves of nested mappings as texts by path, as `selfplay.sims`."""
    for name, value in tree.items():
        path = f"{prefix}.{name}" if prefix else str(name)
        if isinstance(value, Mapping):
            yield from _texts(value, path)
        else:
            yield path, str(value)
