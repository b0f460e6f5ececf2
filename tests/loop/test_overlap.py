"""`cycle.overlap`: other machines play on during training and gate; each game counts once."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from ringrift_cli.errors import FleetError, UsageError
from ringrift_cli.loop import cycle
from ringrift_cli.loop.journal import JOURNAL, opened, read
from ringrift_cli.loop.overlap import meanwhile
from ringrift_cli.loop.protocol import (
    GateResult,
    GateWork,
    Meter,
    Played,
    SelfPlayWork,
    ShouldStop,
    Trained,
    TrainWork,
    Watch,
)
from ringrift_cli.settings import Config
from ringrift_cli.store.manifest import read_manifest
from tests.loops import Notes, QuickSteps, changed, settings

pytestmark = pytest.mark.usefixtures("compiled_rules")

PATIENCE = 60.0  # s


class Killed(BaseException):
    """As if the process had been killed."""


class Elsewhere(QuickSteps):
    """Quick steps; what is played meanwhile is three games, and goes on until it is asked to stop.

    Training and gate wait for those games.
    """

    elsewhere = True

    def __init__(self, config: Config, *args: Any) -> None:
        super().__init__(config, *args)
        self.works: list[SelfPlayWork] = []
        self.arrived = threading.Semaphore(0)
        self.fails: BaseException | None = None
        self.kills = ""

    def generate(self, work: SelfPlayWork, meter: Meter, should_stop: ShouldStop) -> Played:
        if threading.current_thread() is threading.main_thread():
            return super().generate(work, meter, should_stop)
        self.works.append(work)
        if self.fails is not None:
            self.arrived.release()
            raise self.fails
        played = super().generate(work, meter, lambda: True)
        self.arrived.release()
        while not should_stop():
            threading.Event().wait(0.01)
        return played

    def train(self, work: TrainWork, watch: Watch, should_stop: ShouldStop) -> Trained:
        assert self.arrived.acquire(timeout=PATIENCE)
        return super().train(work, watch, should_stop)

    def gate(self, work: GateWork, watch: Watch, should_stop: ShouldStop) -> GateResult:
        assert self.arrived.acquire(timeout=PATIENCE)
        if self.kills == "gate":
            raise Killed
        return super().gate(work, watch, should_stop)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return changed(settings(tmp_path), "cycle", overlap=True)


def cycles(config: Config, steps: QuickSteps, count: int, notes: Notes | None = None) -> list[Any]:
    records: list[Any] = []
    with opened(config.folder) as journal:
        cycle.run(cycle.Loop(config, steps, journal, notes or Notes()), count, records.append)
    return records


def games_by_origin(config: Config) -> dict[tuple[int | None, Any], int]:
    found: dict[tuple[int | None, Any], int] = {}
    for entry in read_manifest(config.folder / "selfplay"):
        key = entry.generation, entry.made["model"]
        found[key] = found.get(key, 0) + entry.games
    return found


def test_the_candidate_plays_the_next_cycle_during_its_gate(config: Config) -> None:
    steps = Elsewhere(config)
    first, second = cycles(config, steps, 2)
    beside = [(work.cycle, work.beside_training) for work in steps.works]
    assert beside == [(1, True), (2, False), (2, True), (3, False)]
    candidate = first["train"]["identity"]
    assert second["selfplay"]["model"]["identity"] == candidate == steps.works[1].model.identity
    assert (first["selfplay"]["games"], second["selfplay"]["games"]) == (8, 8)
    bootstrap = first["selfplay"]["model"]["identity"]
    # three games meanwhile, of eight; of the next cycle only the five others are missing
    assert steps.calls.count("selfplay 8") == 1 + len(steps.works)
    assert steps.calls.count("selfplay 5") == 1
    other = second["train"]["identity"]
    assert games_by_origin(config) == {(1, bootstrap): 11, (2, candidate): 11, (3, other): 3}


def test_a_killed_gate_resumes_with_the_same_player(config: Config) -> None:
    steps = Elsewhere(config)
    steps.kills = "gate"
    with pytest.raises(Killed):
        cycles(config, steps, 1)
    again = Elsewhere(config)
    again.arrived.release()  # training is done
    first, second = cycles(config, again, 2)
    assert second["selfplay"]["model"]["identity"] == first["train"]["identity"]
    ahead = [line for line in read(config.folder).lines if line["event"] == cycle.AHEAD]
    assert [line["cycle"] for line in ahead] == [2, 3]
    assert second["selfplay"]["games"] == 8
    # three games from before the kill, three of the five others ahead, and the last two
    played = [call for call in again.calls if call.startswith("selfplay")]
    assert played[:2] == ["selfplay 5", "selfplay 2"]


def test_a_machine_that_fails_stops_no_step(config: Config) -> None:
    steps, notes = Elsewhere(config), Notes()
    steps.fails = FleetError("No host can play hex8.")
    (record,) = cycles(config, steps, 1, notes)
    assert record["promoted"]
    assert "Cycle 2: self-play ended early: No host can play hex8." in notes.said
    steps.fails = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        cycles(config, steps, 1)


def test_one_machine_has_nothing_to_overlap(config: Config) -> None:
    with pytest.raises(UsageError, match="for self-play on other machines"):
        cycles(config, QuickSteps(config), 1)
    assert not (config.folder / JOURNAL).exists()


def test_without_a_champion_the_teacher_plays_on(config: Config) -> None:
    taught = changed(config, "selfplay", teacher="heuristic")
    steps = Elsewhere(taught, (False,))
    first, second = cycles(taught, steps, 2)
    assert first["selfplay"]["model"] == second["selfplay"]["model"]
    assert second["selfplay"]["model"]["kind"] == cycle.TEACHER


def test_the_block_ends_when_the_other_work_has() -> None:
    ended: list[object] = []

    def act(should_stop: ShouldStop) -> None:
        while not should_stop():
            threading.Event().wait(0.01)
        ended.append(True)

    with pytest.raises(Killed), meanwhile(act, lambda: False, ended.append):
        raise Killed
    assert ended == [True]
