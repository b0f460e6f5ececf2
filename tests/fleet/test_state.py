"""The database of the fleet: many writers, kills, damage, and files of the first version."""

from __future__ import annotations

import json
import multiprocessing
import signal
import sqlite3
import subprocess
import sys
import threading
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from ringrift_cli.errors import HostUnreachable, RecordError
from ringrift_cli.fleet import cost, quarantine, synced
from ringrift_cli.fleet.health import HEALTH, Health, HostHealth
from ringrift_cli.fleet.state import EVENTS, FILE, log_event

KILLED = """
import sys
from pathlib import Path
from ringrift_cli.fleet.health import HEALTH, HostHealth
number = 0
while True:
    number += 1
    with HEALTH.changing(Path(sys.argv[1])) as hosts:
        hosts["a"] = hosts["b"] = HostHealth(strikes=number)
    if number == 20:
        print("going", flush=True)
"""


def test_nothing_is_stored_of_a_block_that_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), HEALTH.changing(tmp_path) as hosts:
        hosts["a"] = HostHealth(strikes=1 // len(hosts))
    assert HEALTH.read(tmp_path) == {}
    with HEALTH.changing(tmp_path) as hosts:
        hosts["a"] = HostHealth(strikes=1)
    with HEALTH.changing(tmp_path) as hosts:
        del hosts["a"]
    assert HEALTH.read(tmp_path) == {}


def test_nothing_is_made_by_reading(tmp_path: Path) -> None:
    assert HEALTH.read(tmp_path / "none") == {}
    assert not (tmp_path / "none").exists()


def work(state: Path, name: str) -> None:
    """What one of many writers does."""
    health = Health(state)
    for number in range(25):
        health.bad_output("shared", f"{name} {number}")
        health.failed(f"own-{name}", HostUnreachable("x"))
        log_event(state, "done", name, "y" * 1500)


def test_many_processes_and_threads_write_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=work, args=(tmp_path, f"p{n}")) for n in range(2)]
    threads = [threading.Thread(target=work, args=(tmp_path, f"t{n}")) for n in range(3)]
    workers: list[BaseProcess | threading.Thread] = [*processes, *threads]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    found = HEALTH.read(tmp_path)
    assert found["shared"].strikes == 5 * 25
    own = {f"own-{name}" for name in ("p0", "p1", "t0", "t1", "t2")}
    assert {name for name in found if name != "shared"} == own
    events = [json.loads(line) for line in (tmp_path / EVENTS).read_text().splitlines()]
    assert sum(event["event"] == "done" for event in events) == 5 * 25


def test_a_kill_leaves_whole_transactions(tmp_path: Path) -> None:
    for _ in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"going\n"
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        found = HEALTH.read(tmp_path)
        assert found["a"] == found["b"]
        assert found["a"].strikes >= 20
    Health(tmp_path).bad_output("a", "it can still be written")


def test_a_damaged_database_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database at all, but long enough to be one" * 100)
    with pytest.raises(RecordError, match=r"fleet\.db cannot be read") as caught:
        cost.read(tmp_path)
    assert caught.value.hint is not None
    assert "backup" in caught.value.hint
    (tmp_path / FILE).unlink()
    Health(tmp_path).bad_output("a", "x")
    for change in (
        'UPDATE health SET value = \'{"strikes": "many"}\'',
        "PRAGMA user_version = 99",
    ):
        with sqlite3.connect(tmp_path / FILE) as database:
            database.execute(change)
        database.close()
        with pytest.raises(RecordError, match=r"fleet\.db cannot be read"):
            Health(tmp_path).set_aside("a")


def test_files_of_the_first_version_are_imported(tmp_path: Path) -> None:
    ledger = {"a": {"since": 1.0, "counted": None, "total": 2.5, "days": {"2026-01-01": 2.5}}}
    (tmp_path / "ledger.json").write_text(json.dumps(ledger))
    record = {"failures": 1, "until": 0.0, "reason": "x", "strikes": 3, "bad": "y"}
    (tmp_path / "health.json").write_text(json.dumps({"a": record}))
    (tmp_path / "synced.json").write_text('{"a": {"pull": {"time": "2026", "files": 3}}}')
    folder = tmp_path / "quarantine" / "a"
    folder.mkdir(parents=True)
    bad = {"host": "a", "name": "b.json", "reason": "r", "claimed": "c", "found": None}
    (folder / "b.json").write_text("a bad file")
    (folder / "b.json.json").write_text(json.dumps({**bad, "time": "", "kept_out": True}))
    assert cost.read(tmp_path) == {"a": cost.Account(1.0, None, 2.5, {"2026-01-01": 2.5})}
    assert HEALTH.read(tmp_path)["a"].strikes == 3
    assert synced.read(tmp_path)["a"]["pull"]["files"] == 3
    assert quarantine.kept_out(tmp_path, "a") == {"c"}
    Health(tmp_path).forgive("a")
    assert HEALTH.read(tmp_path) == {}  # once, not again


def test_a_damaged_file_of_the_first_version_is_named(tmp_path: Path) -> None:
    (tmp_path / "ledger.json").write_text("[")
    with pytest.raises(RecordError, match=r"ledger\.json is damaged"):
        cost.read(tmp_path)
    (tmp_path / "ledger.json").write_text("{}")
    assert cost.read(tmp_path) == {}
