"""When a host is left alone, when it comes back."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ringrift_cli.errors import HostUnreachable, OutputError
from ringrift_cli.fleet import health as stage
from ringrift_cli.fleet.health import HEALTH, Health
from ringrift_cli.fleet.state import log_event


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that health goes by."""
    made = Clock()
    monkeypatch.setattr(stage, "time", made)
    return made


def events(state: Path) -> list[tuple[str | None, str, str]]:
    lines = (state / "events.jsonl").read_text().splitlines()
    return [(e["host"], e["event"], e["detail"]) for e in map(json.loads, lines)]


def fail(health: Health, times: int, host: str = "a") -> None:
    for _ in range(times):
        health.failed(host, HostUnreachable("no route"))


def test_three_failures_in_a_row(tmp_path: Path, clock: Clock) -> None:
    health = Health(tmp_path / "fleet")
    assert health.set_aside("a") is None
    fail(health, 2)
    health.succeeded("a")
    fail(health, 2)
    assert health.set_aside("a") is None
    fail(health, 1)
    assert health.set_aside("a") == (clock.now + 60, "3 failures in a row: no route")
    assert health.set_aside("b") is None
    assert Health(tmp_path / "fleet").set_aside("a") is not None
    assert events(tmp_path / "fleet") == [("a", "set aside", "3 failures in a row: no route")]


def test_one_try_and_then_twice_as_long(tmp_path: Path, clock: Clock) -> None:
    health = Health(tmp_path)
    fail(health, 3)
    lengths = []
    for _ in range(9):
        found = health.set_aside("a")
        assert found is not None
        lengths.append(found[0] - clock.now)
        clock.now = found[0]
        assert health.set_aside("a") is None
        fail(health, 1)
    assert lengths == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    found = health.set_aside("a")
    assert found is not None
    clock.now = found[0]
    health.succeeded("a")
    fail(health, 2)
    assert health.set_aside("a") is None


def test_tries_that_began_before_do_not_count_again(tmp_path: Path, clock: Clock) -> None:
    health = Health(tmp_path)
    fail(health, 10)
    assert health.set_aside("a") == (clock.now + 60, "3 failures in a row: no route")
    assert len(events(tmp_path)) == 1


def test_a_clock_that_was_set_back_keeps_no_host_away(tmp_path: Path, clock: Clock) -> None:
    health = Health(tmp_path)
    fail(health, 3)
    clock.now -= 86400
    assert health.set_aside("a") is None


def test_bad_output_is_forgiven_by_people_only(tmp_path: Path, clock: Clock) -> None:
    health = Health(tmp_path)
    for number in range(3):
        assert health.set_aside("a") is None
        health.bad_output("a", f"shard {number} does not replay")
        health.succeeded("a")
    clock.now += 1e6
    assert health.set_aside("a") == (math.inf, "3 times bad output: shard 2 does not replay")
    health.forgive("a")
    assert health.set_aside("a") is None
    assert HEALTH.read(tmp_path) == {}
    assert events(tmp_path) == [
        ("a", "set aside", "3 times bad output: shard 2 does not replay"),
        ("a", "forgiven", ""),
    ]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"Cannot write .*fleet\.db"):
        Health(tmp_path / "file").failed("a", HostUnreachable("x"))
    with pytest.raises(OutputError, match=r"Cannot write .*events\.jsonl"):
        log_event(tmp_path / "file", "cut")


def test_an_event_is_a_line(tmp_path: Path) -> None:
    before = datetime.now(UTC)
    log_event(tmp_path / "new", "cut", "a", "two\nlines, ünd mehr")
    log_event(tmp_path / "new", "start")
    log_event(tmp_path / "new", "long", "a", "x" * 5000)
    first, second, third = map(
        json.loads, (tmp_path / "new" / "events.jsonl").read_text().splitlines()
    )
    assert 0 <= (datetime.fromisoformat(first.pop("time")) - before).total_seconds() + 0.001 < 10
    assert first == {"host": "a", "event": "cut", "detail": "two\nlines, ünd mehr"}
    assert (second["host"], second["detail"]) == (None, "")
    assert len(third["detail"]) == 2000
