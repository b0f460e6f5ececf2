"""The shards of a run: what a cycle made, counted where it lies, and what may be deleted."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections import Counter
from collections.abc import Collection, Iterable
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
RESIGNATION = "resignation"


def check_space(folder: Path, least_gb: float, step: str) -> None:
    """`OutputError` if the disk of a folder has less free than a step may begin with."""
    free = shutil.disk_usage(folder).free / GB
    if free < least_gb:
        raise OutputError(
            f"{free:.2f} GB are free at {folder}, less than the {least_gb:g} GB of"
            f" cycle.min_free_gb; {step} was not begun.",
            hint="free some space, then the same command: it goes on where it is",
        )


def of_cycle(data: Path, cycle: int) -> list[ShardEntry]:
    """The shards that a cycle has made so far."""
    return [entry for entry in searched(data) if entry.generation == cycle]


def games_of(entries: Iterable[ShardEntry]) -> int:
    """Games of some shards."""
    return sum(entry.games for entry in entries)


def newest_hours(data: Path) -> float:
    """Age of the newest shard, hours; `RecordError` if there is none.

    Below 0 if it was made while the clock was ahead of what it says now.
    """
    entries = searched(data)
    if not entries:
        raise RecordError(f"{data} holds no shard to train on.")
    return min(entry.age_hours for entry in entries)


# ---- what a cycle made ---------------------------------------------------------------------------


def read_back(data: Path, cycle: int) -> dict[str, Any]:
    """What the games of a cycle are, every shard compared with its hash; JSON.

    `RecordError` for a shard that is not what the manifest says.
    """
    entries = of_cycle(data, cycle)
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


def _by_host(entries: list[ShardEntry]) -> dict[str, dict[str, Any]]:
    """What each machine made, how old its newest shard is, and whether that machine is this one."""
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
    """A hash of the decisions of each game: equal games have equal ones."""
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


# ---- what may go ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Surplus:
    """What a folder of shards holds beyond its limit."""

    names: list[str]  # SHA-256 of the shards that may go, oldest first
    files: list[str]
    size: int  # bytes of them
    left: int  # bytes of what stays
    window: int  # of these, bytes in the training window
    models: int  # and bytes outside of it that models of the registry were trained on


def surplus(
    data: Path, limit_gb: float, *, window: Collection[str], models: Collection[str]
) -> Surplus:
    """The oldest shards that nobody needs, until what stays is within the limit.

    `window` and `models` are the hashes of the shards that must stay: those that training looks
    at, and those that models of the registry were trained on.
    """
    sizes = []
    for entry in searched(data):
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
    looked_at = sum(size for entry, size in sizes if entry.sha256 in window)
    learned = sum(
        size for entry, size in sizes if entry.sha256 in models and entry.sha256 not in window
    )
    return Surplus(names, files, whole - left, left, looked_at, learned)


def delete(data: Path, names: Collection[str], files: Collection[str]) -> None:
    """Deletes shards: first from the manifest, so that it never names one that is gone.

    Done again after it was interrupted, it ends the same.
    """
    remove_from_manifest(data, names)
    for file in files:
        (data / Path(file).name).unlink(missing_ok=True)


def drop_tensors(runs: Path, keep: int) -> None:
    """Deletes the tensors of all training runs but the last ones; their logs stay."""
    folders = sorted(folder for folder in runs.glob("cycle-*") if folder.is_dir())
    for folder in folders[:-keep]:
        for path in folder.rglob("*.safetensors"):
            path.unlink(missing_ok=True)
