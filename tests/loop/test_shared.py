"""The learning loop with other machines: what its records say of them, and how old their data are.

The machines are a stub here; tests/loop/test_on_fleet.py has real ones.
"""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ringrift_cli.data import retention as cycle_data
from ringrift_cli.data import window
from ringrift_cli.data.window import WindowSetting
from ringrift_cli.errors import RecordError
from ringrift_cli.loop.alarms import alarms
from ringrift_cli.loop.journal import JOURNAL
from ringrift_cli.loop.protocol import Meter, Played, SelfPlayWork, ShouldStop, TrainWork
from ringrift_cli.loop.shared import SharedSteps
from ringrift_cli.loop.summary import line_of
from ringrift_cli.settings import Config, commented
from ringrift_cli.store.manifest import MANIFEST, add_to_manifest, read_manifest, searched
from tests.conftest import Ringrift
from tests.loops import QuickSteps, changed, run, settings

pytestmark = pytest.mark.usefixtures("compiled_rules")

DAY = 24.0


def set_times(data: Path, made: float, received: float | None, host: str = "") -> None:
    """Dates all shards of a folder, hours from now."""

    def time(hours: float) -> dt.datetime:
        return dt.datetime.now(dt.UTC) + dt.timedelta(hours=hours)

    entries = read_manifest(data)
    (data / MANIFEST).unlink()
    for entry in entries:
        facts: dict[str, Any] = {"time": time(made), "received_from": host}
        if received is not None:
            facts["received"] = time(received)
        add_to_manifest(data, msgspec.structs.replace(entry, **facts))


class Machines:
    """Machines that let the steps play here, and whose shards say that they came from elsewhere."""

    trains = False

    def __init__(self, config: Config, absent: dict[str, str], brought: dict[str, str]) -> None:
        self._steps, self._absent, self._brought = QuickSteps(config), absent, brought
        self.champions: list[str] = []

    def generate(
        self, work: SelfPlayWork, *, teacher: bool, meter: Meter, should_stop: ShouldStop
    ) -> Played:
        played = self._steps.generate(work, meter, should_stop)
        set_times(work.folder, -0.5, -0.25, "far")
        return Played(played.games, None, played.seconds, played.stopped, self._absent)

    def train(self, *_: Any) -> None:
        raise AssertionError

    def bring(self, pool: str) -> dict[str, str]:
        champion = self._steps.champion()
        assert champion is not None
        self.champions.append(champion.identity)
        return self._brought


class Shared(SharedSteps, QuickSteps):
    """Quick steps, but for what is asked of machines."""


def shared(
    config: Config, absent: dict[str, str] | None = None, brought: dict[str, str] | None = None
) -> Shared:
    return Shared(config, Machines(config, absent or {}, brought or {}))


def test_a_record_says_who_did_what(tmp_path: Path) -> None:
    config = settings(tmp_path)
    absent = {"rented-2": "no route to it", "far": "the link broke"}
    brought = {"far": "confirmed", "rented-3": "its disk is full"}
    (record,) = run(config, shared(config, absent, brought))
    played = record["selfplay"]
    assert (played["absent"], record["brought"]) == (absent, brought)
    assert played["hosts"] == {"far": {"shards": 3, "games": 8, "newest_hours": 0.5, "here": False}}
    assert (played["evaluations"], played["evaluations_per_second"]) == (None, None)
    assert played["games_per_hour"] == 7200
    assert (
        "; far 8 games (0.5 h old), far then: the link broke, rented-2 nothing: no route to it,"
        " rented-3 is behind: its disk is full; " in line_of(record)
    )


def test_a_run_without_machines_says_nothing_of_them(tmp_path: Path) -> None:
    config = settings(tmp_path)
    (record,) = run(config, QuickSteps(config))
    ((_, row),) = record["selfplay"]["hosts"].items()
    assert row["here"]
    assert (record["selfplay"]["absent"], record["brought"]) == ({}, {})
    assert "h old)" not in line_of(record)


def test_nobody_is_brought_who_was_not_promoted(tmp_path: Path) -> None:
    config = settings(tmp_path)
    machines = Machines(config, {}, {"far": "confirmed"})
    steps = Shared(config, machines)
    steps.accepts = (True, False)
    first, second = run(config, steps, 2)
    assert [first["brought"], second["brought"]] == [{"far": "confirmed"}, {}]
    assert machines.champions == [first["champion"]]


def test_pages_and_status_of_games_whose_evaluations_nobody_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ringrift: Ringrift
) -> None:
    monkeypatch.chdir(tmp_path)
    config = settings(tmp_path)
    Path("ringrift.yaml").write_text(commented(config))
    run(config, QuickSteps(config))
    run(config, shared(config, {"rented-2": "no route"}, {"far": "confirmed"}))
    assert ringrift("report", "--out", "page.html", "-q").code == 0
    page = Path("page.html").read_text()
    assert "Evaluations</dt><dd>800, and those of 1 cycle on other machines</dd>" in page
    assert "over games of self-play" in page
    status = ringrift("status")
    assert status.code == 0
    assert "rented-2 nothing: no route" in " ".join(status.out.split())
    document = json.loads(ringrift("status", "--json").out)
    assert document["last"]["selfplay"]["evaluations"] is None
    assert document["recent"][1]["evaluations_per_second"] is None


def test_records_of_before_there_were_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ringrift: Ringrift
) -> None:
    monkeypatch.chdir(tmp_path)
    config = settings(tmp_path)
    Path("ringrift.yaml").write_text(commented(config))
    run(config, QuickSteps(config))
    path = config.folder / JOURNAL
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        outcome = line.get("outcome", {})
        for one in (outcome, outcome.get("selfplay", {}), line.get("played", {})):
            for key in ("absent", "hosts", "brought"):
                one.pop(key, None)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert ringrift("status").code == 0
    assert ringrift("report", "-q").code == 0
    (record,) = run(config, QuickSteps(config))
    assert record["cycle"] == 2


def test_speed_elsewhere_is_no_measure_of_speed_here(tmp_path: Path) -> None:
    config = settings(tmp_path)
    records = run(config, shared(config), 4)  # the first was played by another kind
    slow = {**records[-1], "selfplay": {**records[-1]["selfplay"], "games_per_hour": 100.0}}
    assert [alarm["name"] for alarm in alarms(config.cycle, slow, records)] == ["games_per_hour"]
    slow["selfplay"]["evaluations"] = 5
    assert alarms(config.cycle, slow, records) == []


# ---- how old data are ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "received", "age"),
    [
        (-3.0, None, 3.0),  # made here
        (-3.0, -2.0, 3.0),  # the time there counts if it is the older one
        (DAY, -2.0, 2.0),  # a clock a day ahead makes nothing fresh
        (-DAY, -2.0, DAY),  # one that is behind makes data older than they are, and no younger
        (DAY, None, -DAY),  # a clock of this machine that was set back is told by its sign
    ],
)
def test_data_are_no_younger_than_their_arrival(
    tmp_path: Path, made: float, received: float | None, age: float
) -> None:
    config = settings(tmp_path)
    run(config, QuickSteps(config))
    data = config.folder / "selfplay"
    set_times(data, made, received)
    assert cycle_data.newest_hours(searched(data)) == pytest.approx(age, abs=0.01)
    setting = WindowSetting("hex8", 2, max_age=DAY - 1)
    if age > DAY - 1:
        with pytest.raises(RecordError, match="hours old, but max-age is 23"):
            window.choose(data, setting)
    else:
        assert window.choose(data, setting).hashes


def test_a_clock_ahead_takes_no_place_in_the_window(tmp_path: Path) -> None:
    """Newest is what arrived last; a host's clock brings nothing forward."""
    config = settings(tmp_path)
    run(config, QuickSteps(config))
    data = config.folder / "selfplay"
    entries = read_manifest(data)
    now = dt.datetime.now(dt.UTC)
    (data / MANIFEST).unlink()
    for hours, entry in enumerate(entries):
        facts: dict[str, Any] = {"time": now - dt.timedelta(hours=hours)}
        if entry is entries[-1]:
            facts = {"received": facts["time"], "time": now + dt.timedelta(hours=DAY)}
        add_to_manifest(data, msgspec.structs.replace(entry, **facts))
    chosen = window.choose(data, WindowSetting("hex8", 2, least=10**6)).hashes
    assert chosen == [entry.sha256 for entry in entries]


def test_a_window_that_is_stale_is_not_trained_on_elsewhere(tmp_path: Path) -> None:
    """It is judged here: the clock of whoever trains has no say."""

    class Trains(Machines):
        trains = True

    config = changed(settings(tmp_path), "train", max_age=DAY)
    steps = Shared(config, Trains(config, {}, {}))
    run(config, QuickSteps(config))
    data = config.folder / "selfplay"
    set_times(data, 1.0, -2 * DAY)
    champion = steps.champion()
    assert champion is not None
    own = {entry.sha256 for entry in searched(data)}
    work = TrainWork(data, own, tmp_path / "out", champion, None, False, 2, 1)
    with pytest.raises(RecordError, match="its data are stale"):
        steps.train(work, None, lambda: False)  # type: ignore[arg-type]
