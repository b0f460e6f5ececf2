"""Shards of a run: statistics of one cycle, disk space, and deletion of old data."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ringrift_cli.data.shard import Shard, read_entry
from ringrift_cli.data.shard_checks import RESIGNED
from ringrift_cli.errors import OutputError, RecordError
from ringrift_cli.game.notation import REASONS
from ringrift_cli.store.manifest import ShardEntry, remove_from_manifest, searched

GB = 1e9
Origin = tuple[str | None, str]  # identities of the run and of the player
RESIGNATION = "resignation"


def check_space(folder: Path, least_gb: float, step: str) -> None:
    """`OutputError` if less than `least_gb` GB are free on the disk of a folder."""
    free = shutil.disk_usage(folder).free / GB
    if free < least_gb:
        raise OutputError(
            f"{free:.2f} GB are free at {folder}, less than the {least_gb:g} GB of"
            f" cycle.min_free_gb; {step} was not started.",
            hint="free some space, then run the same command again: it continues",
        )


def is_own(entry: ShardEntry, origins: Mapping[int, Origin]) -> bool:
    """Whether a shard was made for a run, whose cycles have these origins.

    The number of a cycle alone proves nothing: other runs have the same ones.
    """
    made = entry.made
    return origins.get(entry.generation) == (made.get("run"), made.get("model"))


def of_run(data: Path, origins: Mapping[int, Origin]) -> list[ShardEntry]:
    """The shards of a folder that were made for a run."""
    return [entry for entry in searched(data) if is_own(entry, origins)]


def of_cycle(data: Path, origins: Mapping[int, Origin], cycle: int) -> list[ShardEntry]:
    """The shards of a cycle so far."""
    return [entry for entry in of_run(data, origins) if entry.generation == cycle]


def games_of(entries: Iterable[ShardEntry]) -> int:
    return sum(entry.games for entry in entries)


def newest_hours(entries: Sequence[ShardEntry]) -> float:
    """Age of the newest shard, hours, as `ShardEntry.age_hours`; `RecordError` without shards."""
    if not entries:
        raise RecordError("The run has no shard to train on.")
    return min(entry.age_hours for entry in entries)


# ---- statistics ----------------------------------------------------------------------------------


def read_back(data: Path, entries: Sequence[ShardEntry]) -> dict[str, Any]:
    """Statistics of the games of a cycle, JSON; verifies the hash of every shard.

    `RecordError` for a shard that differs from its manifest entry.
    """
    reasons: Counter[str] = Counter()
    wins: Counter[int] = Counter()
    seen: Counter[bytes] = Counter()
    lengths: list[int] = []
    positions = 0
    for entry in entries:
        shard = read_entry(data, entry)
        columns = shard.columns
        reasons.update(_reasons(shard))
        wins.update(columns.winners.tolist())
        seen.update(_hashes(shard))
        lengths += np.diff(columns.game_offsets).tolist()
        positions += len(columns.plies)
    players = entries[0].players if entries else 0
    return {
        "shards": [entry.sha256 for entry in entries],
        "games": len(lengths),
        "decisions": sum(lengths),
        "positions": positions,
        "reasons": dict(reasons.most_common()),
        "wins": [wins[seat] for seat in range(players)],
        "length": _spread(lengths),
        "duplicates": sum(seen.values()) - len(seen),
        "hosts": _by_host(entries),
    }


def _by_host(entries: Sequence[ShardEntry]) -> dict[str, dict[str, Any]]:
    """Shards, games and age of the newest shard by machine; `here` marks this machine."""
    found: dict[str, dict[str, Any]] = {}
    for entry in entries:
        name, here = entry.received_from or entry.host, entry.received_from is None
        new = {"shards": 0, "games": 0, "newest_hours": math.inf, "here": here}
        row = found.setdefault(name, new)
        row["shards"] += 1
        row["games"] += entry.games
        row["newest_hours"] = round(min(row["newest_hours"], entry.age_hours), 3)
    return found


def _reasons(shard: Shard) -> list[str]:
    return [
        RESIGNATION if reason == RESIGNED else REASONS[reason]
        for reason in shard.columns.reasons.tolist()
    ]


def _hashes(shard: Shard) -> list[bytes]:
    """Hash of the decisions of each game."""
    c = shard.columns
    bounds = c.game_offsets.tolist()
    actions = c.actions.astype("<i4")
    return [
        hashlib.sha256(actions[first:end].tobytes()).digest() for first, end in pairwise(bounds)
    ]


def _spread(lengths: list[int]) -> dict[str, float]:
    if not lengths:
        return {}
    low, middle, high = np.percentile(lengths, [10, 50, 90]).tolist()
    return {
        "mean": round(float(np.mean(lengths)), 2),
        "p10": low,
        "p50": middle,
        "p90": high,
        "most": max(lengths),
    }


# ---- deletion ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Surplus:
    """Shards of a run beyond its size limit."""

    names: list[str]  # SHA-256 of the deletable shards, oldest first
    files: list[str]
    size: int  # bytes of these
    left: int  # bytes that remain
    window: int  # remaining bytes in the training window
    models: int  # remaining bytes outside of it, used by models of the registry


def surplus(
    data: Path,
    entries: Sequence[ShardEntry],
    limit_gb: float,
    *,
    window: Collection[str],
    models: Collection[str],
) -> Surplus:
    """Selects the oldest unused shards of a run, until the rest is within the limit.

    `window` and `models` are the SHA-256 of shards to keep: the training window, and the training
    data of models in the registry.
    """
    sizes = []
    for entry in entries:
        path = data / entry.file
        if path.is_file():
            sizes.append((entry, path.stat().st_size))
    left, limit = sum(size for _, size in sizes), int(limit_gb * GB)
    whole = left
    names, files = [], []
    for entry, size in sizes:
        if left <= limit:
            break
        if entry.sha256 not in window and entry.sha256 not in models:
            names.append(entry.sha256)
            files.append(entry.file)
            left -= size
    in_window = sum(size for entry, size in sizes if entry.sha256 in window)
    of_models = sum(
        size for entry, size in sizes if entry.sha256 in models and entry.sha256 not in window
    )
    return Surplus(names, files, whole - left, left, in_window, of_models)


def delete(data: Path, names: Collection[str], files: Collection[str]) -> None:
    """Deletes shards, first from the manifest, so that it never lists a missing one; idempotent."""
    remove_from_manifest(data, names)
    for file in files:
        (data / Path(file).name).unlink(missing_ok=True)


def drop_tensors(runs: Path, keep: int) -> None:
    """Deletes the tensors of all but the last `keep` training runs; logs stay."""
    folders = sorted(folder for folder in runs.glob("cycle-*") if folder.is_dir())
    for folder in folders[:-keep]:
        for path in folder.rglob("*.safetensors"):
            path.unlink(missing_ok=True)
