"""Runs in experiment trackers: all of them, once, whatever failed before."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ringrift_cli.errors import RingriftError, UsageError
from ringrift_cli.loop import cycle
from ringrift_cli.loop.journal import opened
from ringrift_cli.observe.runs import MetricPoint, ObservedRun, observe
from ringrift_cli.observe.trackers import (
    MlflowTracker,
    TensorBoard,
    check_target,
    tracker_of,
)
from ringrift_cli.observe.tracking import follow, reporting
from ringrift_cli.settings import Config, commented
from tests.conftest import Ringrift
from tests.loops import Notes, QuickSteps, changed, loop_of, run, settings

ROOT = Path(__file__).parents[2]
MLFLOW = ROOT / ".venv-mlflow" / "bin" / "mlflow"  # the Makefile makes it for the long tests
GENERATION = {
    "generation": 1, "fitness": [0.1, -0.2, 0.3], "again": [], "second": [], "games": 24,
    "seconds": 2.0, "against": {"start": 0.5}, "sigma": 0.8, "effort": 1.0, "noise": 0.0,
    "digest": "00",
}  # fmt: skip


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return settings(tmp_path, alarm_rejections=1)


@pytest.fixture
def folder(config: Config) -> Path:
    """A run of three cycles, of which two made a champion."""
    run(config, QuickSteps(config, (True, True, False), (-20.0, 30.0)), 3)
    return config.folder


def values(found: ObservedRun, name: str) -> dict[int, float]:
    return {point.step: point.value for point in found.points if point.name == name}


def test_the_loop(folder: Path, config: Config) -> None:
    found = observe(folder)
    assert (found.name, found.kind) == ("runs/hex8-2p", "cycle")
    assert found.parameters["selfplay.games_per_cycle"] == "8"
    assert values(found, "selfplay/games") == {1: 8, 2: 8, 3: 8}
    assert values(found, "train/validation_last/policy")[2] == 1.5
    assert values(found, "gate/rating/elo") == {1: -20, 2: 30, 3: 30}
    assert values(found, "cycle/promoted") == {1: 1, 2: 1, 3: 0}
    assert values(found, "cycle/alarms")[3] == 1
    assert [one.cycle for one in found.models] == [1, 2]
    assert all(path.exists() for one in found.models for path in one.files)
    names = [path.name for path, _ in found.files]
    assert {"settings.yaml", "cycles.jsonl", "cycle-00003.json"} <= {*names}


def test_a_cycle_under_way(config: Config) -> None:
    """Its finished steps are there before it is done."""
    with opened(config.folder) as journal:
        loop = loop_of(config, QuickSteps(config), journal)
        cycle.run(loop, 1)
        journal.add(2, "train", "done", seconds=1.0, outcome={"steps": 7})
    assert values(observe(config.folder), "train/steps") == {1: 4, 2: 7}


def test_tuning_and_training(tmp_path: Path) -> None:
    tuning = tmp_path / "tuning"
    tuning.mkdir()
    (tuning / "settings.json").write_text(json.dumps({"players": 2, "board": "hex8"}))
    lines = [json.dumps({**GENERATION, "generation": number}) for number in (1, 2)]
    (tuning / "journal.jsonl").write_text("\n".join(lines) + '\n{"generation"')
    found = observe(tuning)
    assert (found.kind, found.parameters["board"]) == ("cmaes", "hex8")
    assert values(found, "best") == {1: 0.7, 2: 0.7}
    assert values(found, "games") == {1: 24, 2: 48}
    training = tmp_path / "training"
    training.mkdir()
    state = {"setting": {"train": {"batch": 8}}, "shards": [], "began": 0, "parents": []}
    (training / "state.json").write_text(json.dumps({"state": state}))
    (training / "log.csv").write_text("step,seconds,policy,validation_policy\n2,1,1.5,\n4,2,1,2\n")
    found = observe(training)
    assert (found.kind, found.parameters) == ("train", {"train.batch": "8"})
    assert (values(found, "policy"), values(found, "validation_policy")) == ({2: 1.5, 4: 1}, {4: 2})
    with pytest.raises(UsageError, match="is no run"):
        observe(tmp_path)


@pytest.mark.parametrize("kind", ["tensorboard", "mlflow"])
def test_a_repeated_report_adds_nothing(folder: Path, tmp_path: Path, kind: str) -> None:
    found = observe(folder)
    target = {"tensorboard": "tensorboard:{}", "mlflow": "mlflow:file:{}"}[kind].format(
        tmp_path / "tracked"
    )
    whole = list(found.points)
    found.points = whole[: len(whole) // 2]  # as of a killed report
    assert tracker_of(target).report(found) >= len(found.points)
    found.points = whole
    second = tracker_of(target)
    assert second.report(found) == len(whole) - len(whole) // 2
    assert (second.report(found), tracker_of(target).report(found)) == (0, 0)
    last = whole[-1]
    found.points = [*whole[:-1], MetricPoint(last.name, last.step, last.value + 1, last.time + 1)]
    assert (tracker_of(target).report(found), tracker_of(target).report(found)) == (1, 0)


def test_what_mlflow_has(folder: Path, tmp_path: Path) -> None:
    holds(folder, f"file:{tmp_path / 'tracked'}")


def holds(folder: Path, uri: str) -> None:
    """Asserts that MLflow at `uri` holds all of a run after it was reported twice."""
    found = observe(folder)
    for _ in range(2):
        MlflowTracker(uri).report(found)
    from mlflow import MlflowClient

    client = MlflowClient(uri, uri)
    experiment = client.get_experiment_by_name("ringrift")
    assert experiment is not None
    (tracked,) = client.search_runs([experiment.experiment_id])
    name = tracked.info.run_id
    assert tracked.data.params.items() >= found.parameters.items()
    history = client.get_metric_history(name, "gate/rating/elo")
    assert [(one.step, one.value) for one in history] == [(1, -20), (2, 30), (3, 30)]
    assert {one.path for one in client.list_artifacts(name)} >= {"gate", "models", "cycles.jsonl"}
    versions = client.search_model_versions("name = 'ringrift-hex8-2p'")
    identities = {one.tags["ringrift.identity"] for one in versions}
    assert identities == {one.identity for one in found.models}
    champion = client.get_model_version_by_alias("ringrift-hex8-2p", "champion")
    assert champion.tags["ringrift.identity"] == found.models[-1].identity


@pytest.mark.parametrize("target", ["mlflow", "mlflow:", "csv:log", "none"])
def test_refused_targets(ringrift: Ringrift, target: str) -> None:
    with pytest.raises(UsageError, match="tracker"):
        check_target(target)
    assert ringrift("track", "--to", target).code == 2


def test_a_package_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError) as error:
        check_target("wandb:ringrift")
    assert error.value.hint == "pip install 'ringrift[wandb]'"


def test_a_failure_is_told_once_and_tried_again(folder: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    told: list[str] = []
    new: list[int] = []
    turns = iter([False, False, False, True])
    target = f"tensorboard:{blocked}/logs"
    follow([folder], target, new.append, told.append, lambda _: next(turns))
    assert (len(told), new) == (1, [])
    assert "Cannot write" in told[0]
    blocked.unlink()
    turns = iter([True])
    follow([folder], target, new.append, told.append, lambda _: next(turns))
    assert new[0] > 100


def test_the_command(
    ringrift: Ringrift, folder: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parents[1])
    Path("ringrift.yaml").write_text(
        commented(changed(config, "run", report_to="tensorboard:logs"))
    )
    first, second = (json.loads(ringrift("track", "--json").out)["new"] for _ in range(2))
    assert (list(second.values()), list(first)) == ([0], [str(folder)])
    assert "is no run" in ringrift("track", "models").err


@contextmanager
def silent_server() -> Iterator[str]:
    """A server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.long
def test_a_loop_reports_itself(config: Config, tmp_path: Path) -> None:
    notes = Notes()
    target = f"tensorboard:{tmp_path / 'logs'}"
    with reporting(config.folder, target, notes.note):
        run(config, QuickSteps(config), 2)
    found = observe(config.folder)
    assert (notes.said, TensorBoard(str(tmp_path / "logs")).report(found)) == ([], 0)


@pytest.mark.long
@pytest.mark.parametrize("silent", [True, False])
def test_a_dead_server_does_not_stop_a_loop(config: Config, silent: bool) -> None:
    """One call would block for minutes by the defaults of MLflow."""
    notes = Notes()
    with silent_server() as address:
        uri = address if silent else "http://127.0.0.1:9"
        began = time.monotonic()
        with reporting(config.folder, f"mlflow:{uri}", notes.note):
            run(config, QuickSteps(config), 2)
        assert time.monotonic() - began < 60
    assert len(notes.said) == 1, notes.said
    assert "ringrift track" in notes.said[0]


@pytest.mark.long
def test_a_real_mlflow_server(folder: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        str(MLFLOW), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{tmp_path / 'mlflow.db'}",
        "--artifacts-destination", str(tmp_path / "artifacts"),
    ]  # fmt: skip
    with (tmp_path / "server.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path)
    address = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 300
        while not _answers(f"{address}/health"):
            assert time.monotonic() < until, (tmp_path / "server.log").read_text()
            assert server.poll() is None, (tmp_path / "server.log").read_text()
            time.sleep(0.5)
        holds(folder, address)
    finally:
        server.terminate()
        server.wait(60)
    shutil.rmtree(tmp_path / "artifacts")
    with pytest.raises(RingriftError, match="cannot be written"):
        MlflowTracker(address).report(observe(folder))


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=10):
            return True
    except OSError:
        return False
