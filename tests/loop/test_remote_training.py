"""`ringrift cycle --fleet --train-on HOST`: training runs of real networks on real hosts."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ringrift_cli.cli.output import Output
from ringrift_cli.data.shard import write_searched
from ringrift_cli.errors import FleetError, RecordError, RemoteError
from ringrift_cli.fleet import jobs
from ringrift_cli.fleet.messages import TAKEN
from ringrift_cli.loop import remote_training
from ringrift_cli.loop.fleet_context import FleetContext
from ringrift_cli.loop.journal import opened, read
from ringrift_cli.loop.local import RealSteps
from ringrift_cli.loop.on_fleet import FleetMachines
from ringrift_cli.loop.protocol import ShouldStop, Stopped, Trained, TrainWork
from ringrift_cli.loop.shared import SharedSteps
from ringrift_cli.loop.sync_session import SyncSession
from ringrift_cli.nn import checkpoint
from ringrift_cli.store.manifest import read_manifest
from ringrift_cli.train import state as train_state
from tests.fleet.campaigning import begin, jobs_of, really_plays, running, until
from tests.fleet.jobbing import SLEEP
from tests.fleet.network import LOOPBACK
from tests.fleet.servers import Farm
from tests.fleet.stations import install
from tests.loop_child import tiny
from tests.loops import Notes, changed
from tests.searched import searched_games

pytestmark = pytest.mark.usefixtures("compiled_rules")

NAME = "hex8-2p-t00001-host"


class Place:
    """A run that has played and is to train, and a host behind a proxy that can."""

    def __init__(self, farm: Farm, folder: Path, samples: float = 4.0) -> None:
        config = changed(tiny(folder), "train", samples_per_position=samples, window=10_000)
        self.config = config
        self.server = farm.server()
        install(self.server)
        really_plays(self.server)
        self.proxy = farm.proxy(self.server)
        address = {"addresses": [f"{LOOPBACK}:{self.proxy.port}"]}
        roles = {"roles": ["train", "selfplay"], "lease": 10}
        self.entry = {**self.server.entry(), **address, **roles}
        farm.hosts_yaml([self.entry], Path("hosts.yaml"), deadline=10)
        self.host = farm.host(self.server)
        self.data, self.out = config.folder / "selfplay", config.folder / "train" / "cycle-00001"
        parent = RealSteps(config).bootstrap(config.folder / "train" / "bootstrap", 1)
        about = {"generation": 1, "model": parent.identity}
        for seed in range(3):
            games = searched_games("hex8", 2, 4, seed)
            write_searched(self.data, {**about, "seed": seed}, games, "hex8", 2, False)
        own = {entry.sha256 for entry in read_manifest(self.data)}
        self.work = TrainWork(self.data, own, self.out, parent, None, False, 1, 5)
        with opened(config.folder) as journal:
            plan = {"model": {"identity": parent.identity}}
            journal.add(1, "cycle", "begun", plan=plan)

    def steps(self) -> SharedSteps:
        context = FleetContext.load(self.config, Path("hosts.yaml"))
        work = SyncSession(context, Output(quiet=True))
        return SharedSteps(self.config, FleetMachines(work, self.config, "host"))

    def train(self, should_stop: ShouldStop = lambda: False) -> Trained:
        return self.steps().train(self.work, Notes(), should_stop)

    def step(self) -> int:
        """Steps of the run on the host, as far as it has kept them."""
        found = list(self.server.work.glob("jobs/hex8-2p-train-*/cycle-00001"))
        if not found or not train_state.has_state(found[0]):
            return 0
        return train_state.read_state(found[0]).step

    def whole(self, trained: Trained) -> None:
        """The run is here, done, and was done there; its model is one."""
        state = train_state.read_state(self.out)
        assert state.summary is not None
        assert state.step == state.steps == trained.summary["steps"]
        assert trained.model.path == self.out / "models" / f"{trained.model.identity}.json"
        self.steps().check(trained.model)
        assert running(self.server) == []
        there = self.server.work.glob(f"jobs/hex8-2p-train-*/*/models/{trained.model.path.name}")
        assert len(list(there)) == 1


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.chdir(tmp_path)
    for name in ("RINGRIFT_HOSTS", "RINGRIFT_MODELS", "RINGRIFT_FOLDER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(remote_training, "POLL", 0.2)
    with Farm(tmp_path / "farm") as farm:
        farm.environment(monkeypatch)
        yield Place(farm, tmp_path)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(path, "hex8", 2).network.state_dict()


def test_interrupted_in_every_way_it_ends_as_it_would_here(place: Place) -> None:
    """Asked to stop, cut off, its host gone for a while, and its coordinator killed."""

    class Killed(BaseException):
        pass

    folder = place.server.work / "jobs" / f"hex8-2p-train-{read(place.config.folder).identity}"
    (folder / "cycle-00000" / "models").mkdir(parents=True)
    (folder / "cycle-00000" / "models" / "old.json").write_text("{}")
    asked = False

    def stop_soon() -> bool:
        nonlocal asked
        asked = asked or place.step() > 3
        return asked

    with pytest.raises(Stopped):
        place.train(stop_soon)
    before = train_state.read_state(place.out)
    assert 3 < before.step < before.steps  # what was done is here
    assert {name: job.state for name, job in jobs_of(place.server).items()} == {NAME: "stopped"}

    # another command, which is killed; the job goes on
    def killed() -> bool:
        if place.step() > before.step + 3:
            raise Killed
        return False

    with pytest.raises(Killed):
        place.train(killed)
    assert running(place.server) == [f"{NAME}.2"]

    # and one more, whose host disappears
    def fall() -> None:
        at = place.step()
        until(lambda: place.step() > at or not running(place.server))
        place.server.stop()
        place.server.start()
        place.proxy.cut()

    falling = threading.Thread(target=fall)
    falling.start()
    trained = place.train()
    falling.join()
    place.whole(trained)
    assert sorted(jobs_of(place.server)) == [NAME, f"{NAME}.2"]  # it was found, not begun again
    # what earlier cycles have left there is gone
    assert sorted(path.name for path in folder.iterdir()) == ["cycle-00001", "cycle-00001.shards"]
    assert place.train() == trained  # it is done: nothing is asked of anybody

    here = TrainWork(**{**vars(place.work), "out": place.config.folder / "train" / "here"})
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as there
    try:
        same = RealSteps(place.config).train(here, Notes(), lambda: False)
    finally:
        torch.set_num_threads(threads)
    assert same.summary["steps"] == trained.summary["steps"]
    theirs, ours = weights(trained.model.path), weights(same.model.path)
    for name, value in ours.items():
        assert torch.equal(theirs[name], value), name


@pytest.mark.long
def test_a_host_that_goes_down_with_the_job(place: Place) -> None:
    """All of it is killed there; once the lease is over, it goes on from what was kept."""

    def kill() -> None:
        until(lambda: place.step() > 3)
        place.server.end()
        place.server.start()

    killer = threading.Thread(target=kill)
    killer.start()
    trained = place.train()
    killer.join()
    place.whole(trained)
    states = {name: job.state for name, job in jobs_of(place.server).items()}
    assert states == {NAME: "lost", f"{NAME}.2": "done"}


@pytest.mark.long
def test_what_else_the_loop_left_there_gives_way(place: Place) -> None:
    """Self-play of the cycle that nobody came back to stop would have the machine to itself."""
    loop = read(place.config.folder).identity
    begin(place.server, "left", SLEEP, loop=loop, campaign="hex8-2p-c00001")
    begin(place.server, "theirs", SLEEP, loop="another", campaign="hex8-2p-c00001")
    trained = place.train()
    found = jobs_of(place.server)
    assert [found[name].state for name in ("left", "theirs")] == ["stopped", "running"]
    os.kill(found["theirs"].pid or 0, signal.SIGKILL)
    until(lambda: not running(place.server))
    place.whole(trained)


def test_a_host_that_has_no_slot_is_left_for_another(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a GPU of it is faulty or held by a program of somebody else."""

    def start(*_: object) -> None:
        raise RemoteError("host: GPU 0 is held by another job.", kind=TAKEN)

    monkeypatch.setattr(jobs, "start", start)
    monkeypatch.setattr(remote_training, "SILENCE", 1.0)
    notes = Notes()
    with pytest.raises(FleetError, match=r"host cannot train now: host: GPU 0 is held"):
        place.steps().train(place.work, notes, lambda: False)
    assert len([said for said in notes.said if "It is retried for 1 s" in said]) == 1


def test_training_that_fails(place: Place) -> None:
    """What the job said stays where it was, and the hint leads there."""
    place.config = changed(place.config, "train", validation_share=0.9999)  # nothing to train on
    with pytest.raises(RemoteError) as caught:
        place.train()
    assert caught.value.message == "host: training ended as failed."
    assert caught.value.hint is not None
    assert not train_state.has_state(place.out)


def test_a_run_that_never_came(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """That a host says that it trained is not enough: nothing is trained here instead."""
    monkeypatch.setattr(FleetMachines, "train", lambda *_: None)
    with pytest.raises(RecordError, match="holds no finished training run"):
        place.train()


@pytest.mark.long
def test_a_host_with_a_later_state(place: Place) -> None:
    """The end that is further counts, whichever it is."""
    trained = place.train()
    done = place.out.rename(place.out.with_name("done"))
    again = place.train()  # as after a kill between its end there and its arrival here
    assert again.model.identity == trained.model.identity
    assert len(jobs_of(place.server)) == 1
    shutil.rmtree(place.out)
    done.rename(place.out)
    for path in place.server.work.glob("jobs/hex8-2p-train-*/*/state*"):
        path.unlink()
    assert place.train() == trained
    assert len(jobs_of(place.server)) == 1
