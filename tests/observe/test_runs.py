"""Runs are listed, paused, resumed and stopped by a file in their folder."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ringrift_cli.cli.cycle import _run_unless_stopped
from ringrift_cli.cli.output import Output
from ringrift_cli.errors import RecordError
from ringrift_cli.loop import cycle
from ringrift_cli.loop.fleet_context import FleetContext
from ringrift_cli.loop.journal import opened, read
from ringrift_cli.loop.protocol import ShouldStop, Trained, TrainWork, Watch
from ringrift_cli.settings import Config, commented
from ringrift_cli.store import control
from ringrift_cli.store.control import PAUSE, RUN, STOP, RunControl, Wanted, ask, asked
from tests.conftest import Ringrift
from tests.fleet.servers import local_link
from tests.loops import Notes, QuickSteps, settings

LONG_S = 120.0


def until(there: Callable[[], object]) -> None:
    end = time.monotonic() + LONG_S
    while not there():
        assert time.monotonic() < end
        time.sleep(0.02)


@contextmanager
def beside(act: Callable[[], None]) -> Iterator[None]:
    """Runs `act` in a thread meanwhile."""
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    yield
    thread.join(LONG_S)
    assert not thread.is_alive()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "POLL_S", 0.02)


def test_a_pause_lasts_until_it_is_taken_back(tmp_path: Path) -> None:
    found, notes = RunControl(tmp_path, lambda: False), Notes()
    assert not found.should_stop()
    ask(tmp_path, PAUSE)
    assert found.should_stop()

    def resume() -> None:
        until(lambda: notes.said)
        ask(tmp_path, RUN)

    with beside(resume):
        assert found.resumed(notes.note)
    assert not found.should_stop()
    assert not found.resumed(notes.note)  # nothing had stopped it
    ask(tmp_path, PAUSE)
    assert RunControl(tmp_path, lambda: False).should_stop()  # after a restart too


def test_a_stop_ends_one_process(tmp_path: Path) -> None:
    ask(tmp_path, STOP)
    found = RunControl(tmp_path, lambda: False)
    assert not found.should_stop()
    ask(tmp_path, STOP)
    assert found.should_stop()
    assert not found.resumed(Notes().note)


def test_a_signal_ends_a_pause(tmp_path: Path) -> None:
    ended = [False]
    found = RunControl(tmp_path, lambda: ended[0])
    ask(tmp_path, PAUSE)
    assert found.should_stop()
    ended[0] = True
    assert not found.resumed(Notes().note)


def test_a_damaged_request(tmp_path: Path) -> None:
    (tmp_path / control.CONTROL).write_text('{"wanted": "fly"}')
    with pytest.raises(RecordError, match=r"control\.json"):
        asked(tmp_path)


class Asking(QuickSteps):
    """Asks for something in the first training, which then stops."""

    wanted: Wanted = PAUSE

    def train(self, work: TrainWork, watch: Watch, should_stop: ShouldStop) -> Trained:
        if "asked" not in self.calls:
            self.calls.append("asked")
            ask(self.config.folder, self.wanted)
        return super().train(work, watch, should_stop)


@pytest.mark.parametrize("wanted", [PAUSE, STOP])
def test_a_loop(tmp_path: Path, wanted: Wanted) -> None:
    config = settings(tmp_path)
    steps, notes = Asking(config), Notes()
    steps.wanted = wanted
    out = Output(quiet=True)
    out.note = notes.note  # type: ignore[method-assign]

    def resume() -> None:
        until(lambda: notes.said or wanted == STOP)
        if wanted == PAUSE:
            ask(config.folder, RUN)

    records: list[dict[str, Any]] = []
    with opened(config.folder) as journal, beside(resume):
        found = RunControl(config.folder, lambda: False)
        loop = cycle.Loop(config, steps, journal, notes, found.should_stop)
        ended = _run_unless_stopped(out, loop, found, 2, records, records.append)
    assert (ended, len(records)) == ((False, 2) if wanted == PAUSE else (True, 0))
    events = [line["event"] for line in read(config.folder).lines if line["step"] == "train"]
    assert events[:2] == ["begun", "stopped"]


def test_tuning_goes_on_as_if_never_paused(
    ringrift: Ringrift, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = ("cmaes", "--population", 6, "--games", 2, "--generations", 2, "--test-games", 20)
    said: list[str] = []
    monkeypatch.setattr(Output, "note", lambda _, text: said.append(text))

    def resume() -> None:
        until(lambda: any(text.startswith("Paused") for text in said))
        ask(tmp_path / "paused", RUN)

    ask(tmp_path / "paused", PAUSE)
    ringrift(*line, "--out", tmp_path / "whole")
    with beside(resume):
        ringrift(*line, "--out", tmp_path / "paused")
    whole, paused = (
        [(one["fitness"], one["digest"]) for one in map(json.loads, text.splitlines())]
        for text in (
            (tmp_path / name / "journal.jsonl").read_text() for name in ("whole", "paused")
        )
    )
    assert whole == paused
    assert len(whole) == 2


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.chdir(tmp_path)
    found = settings(Path())
    found.folder.mkdir(parents=True)
    (found.folder / "settings.yaml").write_text(commented(found))
    return found


def test_the_commands(ringrift: Ringrift, config: Config) -> None:
    assert "There is no run in runs." in ringrift("runs", "list").out
    run = "runs/hex8-2p"
    with opened(config.folder) as journal:
        journal.add(1, "cycle", "begun", plan={"model": {"identity": "0123"}})
        journal.add(1, "selfplay", "begun")
        (row,) = json.loads(ringrift("runs", "list", "--json").out)["runs"]
        assert (row["state"], row["step"]) == ("working", "cycle 1, selfplay: begun")
        assert ringrift("runs", "stop", run).code == 0
        assert "stopping" in ringrift("runs", "list").out
        assert ringrift("runs", "pause", run).code == 0
        assert json.loads(ringrift("runs", "show", run, "--json").out)["state"] == "pausing"
        journal.add(1, "selfplay", "stopped", seconds=1.0)
        assert "paused" in ringrift("runs", "show", run).out
        assert ringrift("runs", "resume", run).code == 0
    assert json.loads(ringrift("runs", "show", run, "--json").out)["state"] == "idle"
    refused = ringrift("runs", "stop", run)
    assert (refused.code, "No process works on runs/hex8-2p" in refused.err) == (2, True)
    assert ringrift("runs", "pause", "models").code == 2


def test_a_run_on_a_host(
    ringrift: Ringrift, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("hosts.yaml").write_text("hosts:\n- {name: far, addresses: [127.0.0.1]}\n")
    monkeypatch.setattr(FleetContext, "open", lambda *_: local_link(tmp_path / "far"))
    for wanted in ("pause", "stop", "resume"):
        done = ringrift("runs", wanted, "runs/hex8-2p", "--on", "far")
        assert (done.code, done.err) == (0, "")
        expected = {"resume": RUN}.get(wanted, wanted)
        assert asked(tmp_path / "far/runs/hex8-2p") == expected
    assert ringrift("runs", "pause", "/runs/hex8-2p", "--on", "far").code == 2
