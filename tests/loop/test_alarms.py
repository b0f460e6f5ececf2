"""The alarms of the learning loop: when they are raised, and what they say."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ringrift_cli.loop.alarms import alarms
from ringrift_cli.loop.protocol import Played, SelfPlayWork
from ringrift_cli.settings import Config
from ringrift_cli.store.manifest import add_to_manifest, read_manifest
from tests.loops import QuickSteps, changed, run, settings

pytestmark = pytest.mark.usefixtures("compiled_rules")


def data_of(config: Config) -> Path:
    return config.folder / "selfplay"


def alarm_names(record: dict[str, Any]) -> list[str]:
    for alarm in record["alarms"]:
        assert alarm["sentence"].endswith(".")
        assert isinstance(alarm["value"], float | int)
        assert isinstance(alarm["threshold"], float | int)
    return [alarm["name"] for alarm in record["alarms"]]


def test_alarm_of_rejections(tmp_path: Path) -> None:
    config = settings(tmp_path, alarm_rejections=2)
    records = run(config, QuickSteps(config, (False, False, True)), 3)
    assert [alarm_names(record) for record in records] == [[], ["rejections"], []]
    assert records[1]["alarms"][0]["sentence"] == "2 candidates in a row were not accepted."
    one = settings(tmp_path / "one", alarm_rejections=1)
    (record,) = run(one, QuickSteps(one, (False,)))
    assert record["alarms"][0]["sentence"] == "1 candidate in a row was not accepted."


def test_alarm_of_repeated_games(tmp_path: Path) -> None:
    config = settings(tmp_path)
    steps = QuickSteps(config)
    steps.repeated = True
    (record,) = run(changed(config, "selfplay", games_per_cycle=7), steps)
    # three games, the same three, one of them
    assert record["selfplay"]["duplicates"] == 4
    assert alarm_names(record) == ["duplicates"]


def test_alarm_of_falling_elo(tmp_path: Path) -> None:
    config = settings(tmp_path)
    steps = QuickSteps(config, elo=(100.0, 160.0, 120.0, 110.0))
    records = run(config, steps, 4)
    assert [alarm_names(record) for record in records] == [[], [], [], ["elo_falling"]]
    (alarm,) = records[3]["alarms"]
    assert alarm["value"] == 50
    assert alarm["threshold"] == pytest.approx(30 * 2**0.5)
    assert "+110 Elo against the heuristic" in alarm["sentence"]


def test_alarm_of_slow_self_play(tmp_path: Path) -> None:
    config = settings(tmp_path)
    _, *records = run(config, QuickSteps(config), 5)  # another one played in the first cycle
    rates = [100.0, 120.0, 110.0, 54.0]
    for record, rate in zip(records, rates, strict=True):
        record["selfplay"]["games_per_hour"] = rate
    found = alarms(config.cycle, records[3], records[:3])
    assert [(alarm["name"], alarm["threshold"]) for alarm in found] == [("games_per_hour", 55.0)]
    records[3]["selfplay"]["games_per_hour"] = 55.0
    assert alarms(config.cycle, records[3], records[:3]) == []
    assert alarms(config.cycle, records[3], records[:2]) == []
    records[3]["selfplay"]["games_per_hour"] = 1.0
    records[3]["settings"]["selfplay"]["sims"] *= 100  # then it has to be slower
    assert alarms(config.cycle, records[3], records[:3]) == []


def test_alarm_of_a_clock_that_went_back(tmp_path: Path) -> None:
    config = settings(tmp_path)
    (record,) = run(config, QuickSteps(config))
    record["train"]["data_hours"] = -0.5
    assert alarms(config.cycle, record, []) == []
    record["train"]["data_hours"] = -30.0
    (alarm,) = alarms(config.cycle, record, [])
    assert alarm["name"] == "data_age"
    assert "dated 30.0 h after the clock" in alarm["sentence"]


def test_alarm_of_old_data(tmp_path: Path) -> None:
    """Self-play that says it made games, and whose games stopped arriving days ago."""
    config = settings(tmp_path)

    class Stale(QuickSteps):
        def generate(self, work: SelfPlayWork, *rest: Any) -> Played:
            played = super().generate(work, *rest)
            entries = read_manifest(work.folder)
            long_ago = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
            (work.folder / "manifest.jsonl").unlink()
            for entry in entries:
                add_to_manifest(work.folder, msgspec.structs.replace(entry, time=long_ago))
            return played

    (record,) = run(config, Stale(config))
    assert alarm_names(record) == ["data_age"]
    assert record["alarms"][0]["threshold"] == 24


def test_alarm_of_more_data_than_there_should_be(tmp_path: Path) -> None:
    config = settings(tmp_path, max_data_gb=1e-9)
    steps = QuickSteps(config, (True, False))
    record = run(config, steps, 5)[-1]
    collected = record["collected"]
    sizes = {path.name: path.stat().st_size for path in data_of(config).glob("*.shard")}
    own = {entry.sha256 for entry in read_manifest(data_of(config))}
    kept = {f"{name[:16]}.shard" for name in steps.window(data_of(config), own)}
    assert collected["left"] == collected["window"] + collected["models"] == sum(sizes.values())
    assert collected["window"] >= sum(sizes[name] for name in kept)
    assert collected["models"] > 0
    assert alarm_names(record) == ["data_over_limit"]
    (alarm,) = record["alarms"]
    assert (alarm["value"], alarm["threshold"]) == (collected["left"] / 1e9, 1e-9)
    for said in ("GB of cycle.max_data_gb", "train.window", "ringrift models remove IDENTITY"):
        assert said in alarm["sentence"]
    collected["left"] = 1
    assert alarms(config.cycle, record, []) == []
