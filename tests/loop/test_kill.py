"""kill -9 at random moments: nothing that was reported is lost, and nothing is counted twice."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ringrift_cli.data.shard import read_searched
from ringrift_cli.loop import journal as cycle_journal
from ringrift_cli.loop.journal import CYCLES
from ringrift_cli.nn import checkpoint
from ringrift_cli.nn.registry import Registry
from ringrift_cli.store.manifest import read_manifest
from tests.children import child
from tests.loop_child import READY

pytestmark = pytest.mark.usefixtures("compiled_rules")

ROOT = Path(__file__).parents[2]
POOL = "hex8-2p"


@contextmanager
def working(kind: str, folder: Path, cycles: int) -> Iterator[subprocess.Popen[str]]:
    """A process that works on a run, when it has loaded all that it needs; killed at the end."""
    command = (sys.executable, "-m", "tests.loop_child", kind, folder, cycles)
    with child(*command, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == READY
        yield process


@dataclass
class Seen:
    """What the files of a run report."""

    records: list[dict[str, Any]]
    done: list[tuple[int, str]]  # finished steps
    shards: set[str]
    deleted: set[str]
    games: set[tuple[str, int, int, str]]  # of the gate: match, block, rotation, moves
    champions: list[str] = field(default_factory=list)


def look(folder: Path) -> Seen:
    """Reads everything, as another process would after a kill."""
    run = folder / "runs" / POOL
    journal = cycle_journal.read(run)
    entries = read_manifest(run / "selfplay")
    shards = [entry.sha256 for entry in entries]
    assert len(set(shards)) == len(shards)
    deleting = [line for line in journal.lines if line["event"] == "deleting"]
    games: set[tuple[str, int, int, str]] = set()
    if (run / "results.sqlite").exists():
        with sqlite3.connect(run / "results.sqlite", timeout=60) as db:
            rows = db.execute("SELECT match, block, rotation, moves FROM games").fetchall()
        db.close()
        assert len({row[:3] for row in rows}) == len(rows)
        games = set(rows)
    history = Registry(folder / "models").history(POOL)
    return Seen(
        journal.finished,
        [(line["cycle"], line["step"]) for line in journal.lines if line["event"] == "done"],
        set(shards),
        {name for line in deleting for name in line["names"]},
        games,
        [event.identity for event in history],
    )


def check_growth(before: Seen, after: Seen) -> None:
    """Whatever was there is there, or was deleted by a step that said so before."""
    assert after.records[: len(before.records)] == before.records
    assert after.done[: len(before.done)] == before.done
    assert before.shards - after.shards <= after.deleted
    assert before.games <= after.games
    assert after.champions[: len(before.champions)] == before.champions


def check_whole(folder: Path, cycles: int, games: int) -> None:
    """The run as it is at the end, every part of it against the others."""
    run, seen = folder / "runs" / POOL, look(folder)
    lines = (run / CYCLES).read_text().splitlines()
    assert [json.loads(line) for line in lines] == seen.records
    assert [record["cycle"] for record in seen.records] == list(range(1, cycles + 1))
    assert len(set(seen.done)) == len(seen.done)
    counted = [name for record in seen.records for name in record["selfplay"]["shards"]]
    assert len(set(counted)) == len(counted)
    assert set(counted) - seen.shards <= seen.deleted
    entries = {entry.sha256: entry for entry in read_manifest(run / "selfplay")}
    for record in seen.records:
        assert record["selfplay"]["games"] >= games
        held = [entries[name] for name in record["selfplay"]["shards"] if name in entries]
        assert {entry.made["generation"] for entry in held} <= {record["cycle"]}
        if len(held) == len(record["selfplay"]["shards"]):
            assert sum(entry.games for entry in held) == record["selfplay"]["games"]
    for entry in entries.values():
        shard = read_searched(run / "selfplay" / entry.file, entry.sha256)
        assert len(shard.games) == entry.games
    promoted = [record["champion"] for record in seen.records if record["promoted"]]
    assert seen.champions == promoted
    assert len(set(promoted)) == len(promoted) > 0
    registry = Registry(folder / "models")
    for model in registry.models(POOL):
        assert checkpoint.load(model.path, "hex8", 2).identity == model.identity
    evidence = registry.evidence(POOL)
    last = next(record for record in reversed(seen.records) if record["promoted"])
    assert evidence == json.loads((run / last["gate"]["evidence"]).read_text())


def finish(kind: str, folder: Path) -> None:
    """Lets a run end the cycle it is in."""
    with working(kind, folder, 1) as process:
        _, said = process.communicate(timeout=600)
        assert process.returncode == 0, said


def torture(kind: str, folder: Path, kills: int, games: int) -> None:
    """A cycle in peace, then so many kills within the time that it took; then it may end."""
    rng = np.random.default_rng(7)
    start = time.monotonic()
    finish(kind, folder)
    longest = time.monotonic() - start
    before = look(folder)
    for _ in range(kills):
        with working(kind, folder, 10**6) as process:
            time.sleep(rng.uniform(0, longest))
            assert process.poll() is None, process.communicate()
        after = look(folder)
        check_growth(before, after)
        before = after
    finish(kind, folder)
    check_growth(before, look(folder))
    check_whole(folder, len(before.records) + 1, games)


def test_killed_at_random_moments(tmp_path: Path) -> None:
    torture("quick", tmp_path, 5, 8)


@pytest.mark.long
def test_the_real_steps_killed_at_random_moments(tmp_path: Path) -> None:
    torture("real", tmp_path, 20, 8)
