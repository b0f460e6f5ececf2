"""`ringrift cycle --fleet` over real SSH: who plays, what counts, what is said of the others."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ringrift_cli.cli.output import Output
from ringrift_cli.data.shard import write_searched
from ringrift_cli.errors import FleetError, HostUnreachable
from ringrift_cli.fleet import campaign, cost, health, jobs, status
from ringrift_cli.fleet.health import Health
from ringrift_cli.fleet.hosts import Host
from ringrift_cli.fleet.quarantine import of_host
from ringrift_cli.loop import fleet_context, on_fleet
from ringrift_cli.loop.cycle import BOOTSTRAP
from ringrift_cli.loop.fleet_context import FleetContext
from ringrift_cli.loop.journal import JOURNAL, Journal
from ringrift_cli.loop.on_fleet import FleetMachines
from ringrift_cli.loop.protocol import (
    SelfPlayWork,
    ShouldStop,
    Trained,
    TrainWork,
    Watch,
    derived_seed,
)
from ringrift_cli.loop.shared import SharedSteps
from ringrift_cli.loop.summary import line_of
from ringrift_cli.loop.sync_session import SyncSession
from ringrift_cli.settings import SelfPlay, commented, load
from ringrift_cli.store.manifest import read_manifest
from tests.conftest import Ringrift
from tests.fleet.campaigning import behave, jobs_of, running, stand_in, until
from tests.fleet.network import LOOPBACK
from tests.fleet.servers import Farm, Server
from tests.fleet.stations import install, keep_account
from tests.loops import Notes, QuickSteps, changed, run, settings
from tests.searched import searched_games

pytestmark = pytest.mark.usefixtures("compiled_rules")

POOL = "hex8-2p"
SHARD = 2  # games
RUN = "0123456789abcdef"  # identity of every new run here


class QuickShared(SharedSteps, QuickSteps):
    """Games by hosts; training, gate and promotion here, and quick."""


class Ground:
    """A working folder with a quick run, and hosts that lay out shards made beforehand."""

    def __init__(self, farm: Farm, folder: Path) -> None:
        self.farm, self.config = farm, settings(folder)
        self.state, self.data = folder / "runs" / "fleet", self.config.folder / "selfplay"
        self.one, self.two = farm.servers(2)
        bare = QuickSteps(self.config)
        self.player = bare.bootstrap(folder / "new", derived_seed(self.config.run.seed, BOOTSTRAP))
        for number, server in enumerate((self.one, self.two)):
            install(server)
            stand_in(server)
            self.store(server, 20, 1000 * number)
        self.know()

    def know(self, *entries: Any, **top: Any) -> None:
        hosts = entries or (self.one, self.two)
        self.farm.hosts_yaml(hosts, Path("hosts.yaml"), **{"deadline": 10, **top})

    def store(self, server: Server, count: int, seed: int, **made: Any) -> None:
        """Shards that a host will make."""
        about = {"run": RUN, "generation": 1, "model": self.player.identity, **made}
        for number in range(seed, seed + count):
            games = searched_games("hex8", 2, SHARD, number)
            about["seed"] = number
            write_searched(server.work / "store", about, games, "hex8", 2, False)

    def machines(self, train_on: str | None = None) -> FleetMachines:
        context = FleetContext.load(self.config, Path("hosts.yaml"))
        return FleetMachines(SyncSession(context, Output(quiet=True)), self.config, train_on)

    def cycle(self) -> dict[str, Any]:
        """The record of one cycle."""
        (record,) = run(self.config, QuickShared(self.config, self.machines()))
        return record


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    monkeypatch.chdir(tmp_path)
    for name in ("RINGRIFT_HOSTS", "RINGRIFT_MODELS", "RINGRIFT_FOLDER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Journal, "identity", RUN)
    monkeypatch.setattr(campaign, "POLL", 0.1)
    monkeypatch.setattr(campaign, "WAITS", (0.1, 0.2))
    monkeypatch.setattr(campaign, "PATIENCE", 5.0)
    monkeypatch.setattr(health, "SHORTEST_S", 1.0)
    with Farm(tmp_path / "farm") as farm:
        farm.environment(monkeypatch)
        made = Ground(farm, tmp_path)
        Path("ringrift.yaml").write_text(commented(made.config))
        yield made


def test_hosts_play_and_get_the_champion(fleet: Ground) -> None:
    record = fleet.cycle()
    played = record["selfplay"]
    assert played["games"] >= fleet.config.selfplay.games_per_cycle
    assert (played["absent"], played["evaluations"]) == ({}, None)
    assert played["games_per_hour"] > 0
    assert {*played["hosts"]} == {"host-0", "host-1"}
    assert sum(row["games"] for row in played["hosts"].values()) == played["games"]
    assert record["brought"] == {"host-0": "confirmed", "host-1": "confirmed"}
    own = Path(fleet.config.run.models) / POOL
    for server in (fleet.one, fleet.two):
        assert running(server) == []
        theirs = server.work / "models" / POOL
        for name in ("champion.json", f"{record['champion']}.json"):
            assert (theirs / name).read_bytes() == (own / name).read_bytes()
        # who played was there before the first job: player.py fails otherwise
        ((_, job),) = jobs_of(server).items()
        assert job.state == "stopped"
        assert f"models/{POOL}/{fleet.player.identity}.json" in job.argv
        # no more than its share of those that are missing, so that few are left over
        limit = job.argv[job.argv.index("--games") + 1]
        assert limit == str(max(on_fleet.LEAST_GAMES, -(-played["asked"] // 2)))
    line = line_of(record)
    more = played["games"] - played["asked"]
    assert (f", {more} more than asked)" in line) == (more > 0)
    for name, row in played["hosts"].items():
        assert f"{name} {row['games']} games (0.0 h old)" in line
    entries = read_manifest(fleet.data)
    assert len({entry.sha256 for entry in entries}) == len(entries)


def test_hosts_play_on_while_a_network_is_trained_here(fleet: Ground) -> None:
    fleet.config = changed(fleet.config, "cycle", overlap=True)
    before: list[int] = []

    class Patient(QuickShared):
        def train(self, work: TrainWork, watch: Watch, should_stop: ShouldStop) -> Trained:
            before.append(len(read_manifest(work.data)))
            until(lambda: len(read_manifest(work.data)) > before[0])
            return super().train(work, watch, should_stop)

    (record,) = run(fleet.config, Patient(fleet.config, fleet.machines()))
    assert record["promoted"]
    games = sum(entry.games for entry in read_manifest(fleet.data) if entry.generation == 1)
    assert games > record["selfplay"]["games"] == SHARD * before[0]
    assert running(fleet.one) == running(fleet.two) == []


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ({"model": "0" * 16}, "'model': '0000000000000000'}"),
        ({"generation": 10**9}, "'generation': 1000000000,"),
        ({"run": "f" * 16}, "it was made for {'run': 'ffffffffffffffff',"),
    ],
)
def test_games_of_other_origin_do_not_count(fleet: Ground, made: dict[str, Any], why: str) -> None:
    for path in (fleet.two.work / "store").iterdir():
        path.unlink()
    fleet.store(fleet.two, 5, 5000, **made)
    fleet.config = changed(fleet.config, "selfplay", games_per_cycle=24)
    record = fleet.cycle()
    assert {*record["selfplay"]["hosts"]} == {"host-0"}
    assert "set aside: " in record["selfplay"]["absent"]["host-1"]
    assert why in record["selfplay"]["absent"]["host-1"]
    assert "; host-0 " in line_of(record)
    assert "host-1 nothing: " in line_of(record)
    reasons = [bad.reason for bad in of_host(fleet.state, "host-1")]
    assert len(reasons) == 3
    assert all(why in reason for reason in reasons)
    assert running(fleet.two) == []  # it is stopped, though nothing of it is wanted
    assert Health(fleet.state).set_aside("host-1") is not None


def test_what_other_runs_have_left_on_a_host_stays_there(fleet: Ground) -> None:
    """As after the folder of a run was deleted and the run begun anew."""
    left = fleet.two.work / "jobs" / "left" / "out"
    about = {"run": RUN, "generation": 1, "model": "f" * 16}
    for seed in range(5):
        games = searched_games("hex8", 2, SHARD, 9000 + seed)
        write_searched(left, about, games, "hex8", 2, False)
    record = fleet.cycle()
    assert {*record["selfplay"]["hosts"]} == {"host-0", "host-1"}
    assert not (fleet.state / "quarantine").exists()
    assert {entry.made["model"] for entry in read_manifest(fleet.data)} == {fleet.player.identity}


def test_hosts_that_cannot_play_are_named(fleet: Ground) -> None:
    shutil.rmtree(fleet.two.work)
    record = fleet.cycle()
    said = "ringrift is not deployed there: ringrift fleet deploy host-1"
    assert record["selfplay"]["absent"] == {"host-1": said}
    assert f"host-1 nothing: {said}" in line_of(record)
    assert "ringrift is not deployed there" in record["brought"]["host-1"]


def test_every_host_without_games_is_named(fleet: Ground) -> None:
    """Also one whose games came too late, and those that may not play."""
    behave(fleet.two, "idle")
    stranger = {**fleet.two.entry(), "name": "judge", "roles": ["eval"]}
    fleet.know(fleet.one, fleet.two, stranger)
    record = fleet.cycle()
    assert {*record["selfplay"]["hosts"]} == {"host-0"}
    absent = {"host-1": on_fleet.NOTHING, "judge": "its roles are eval, not selfplay"}
    assert record["selfplay"]["absent"] == absent
    for name, why in absent.items():
        assert f"{name} nothing: {why}" in line_of(record)


def test_hosts_that_are_drained_are_named(fleet: Ground) -> None:
    jobs.drain(fleet.state, "host-1")
    record = fleet.cycle()
    said = "it is drained: ringrift fleet drain --undo host-1"
    assert record["selfplay"]["absent"] == {"host-1": said}
    assert jobs_of(fleet.two) == {}


def test_a_host_without_room_is_named(fleet: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "LEAST_FREE_GB", 1e6)
    with pytest.raises(FleetError) as caught:
        fleet.cycle()
    assert caught.value.message.startswith("No host can play hex8: host-0: ")
    assert "GB of its disk are free; host-1: " in caught.value.message


def test_the_budget_is_spent(fleet: Ground) -> None:
    fleet.know({**fleet.one.entry(), "price": 2.0}, budget={"per_day": 1, "total": 0})
    days = {cost.day_of(time.time()): 5.0}
    keep_account(fleet.state, "host-0", cost.Account(1.0, None, 5.0, days))
    with pytest.raises(FleetError, match=r"^Over budget: \$5\.00 were spent today"):
        fleet.cycle()
    assert jobs_of(fleet.one) == {}


def test_a_host_that_is_down_when_the_champion_comes(fleet: Ground) -> None:
    class Falling(QuickShared):
        def promote(self, *args: Any) -> None:
            fleet.two.stop()
            super().promote(*args)

    steps = Falling(fleet.config, fleet.machines())
    (record,) = run(fleet.config, steps)
    assert record["promoted"]
    assert record["brought"]["host-0"] == "confirmed"
    assert record["brought"]["host-1"].startswith("host-1")
    assert f"host-1 is behind: {record['brought']['host-1']}" in line_of(record)


def test_a_promotion_that_was_not_journalled_is_brought_all_the_same(fleet: Ground) -> None:
    class Killed(QuickShared):
        def promote(self, *args: Any) -> None:
            super().promote(*args)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(fleet.config, Killed(fleet.config, fleet.machines()))
    assert not (fleet.one.work / "models" / POOL / "champion.json").exists()
    record = fleet.cycle()
    assert record["brought"] == {"host-0": "confirmed", "host-1": "confirmed"}
    assert (fleet.one.work / "models" / POOL / "champion.json").exists()


def test_games_of_an_earlier_cycle_come_late(fleet: Ground) -> None:
    """A host that was cut off at the end of a cycle: its job gives way, and its games are kept."""
    config = fleet.config = changed(fleet.config, "selfplay", games_per_cycle=24)

    def fall() -> None:
        until(lambda: fleet.two.work.joinpath("jobs").exists() and running(fleet.two))
        fleet.two.stop()

    falling = threading.Thread(target=fall)
    falling.start()
    first = fleet.cycle()
    falling.join()
    assert "host-1" in first["selfplay"]["absent"]
    fleet.two.start()
    (late,) = running(fleet.two)
    fleet.player = QuickSteps(config).champion() or fleet.player
    for server in (fleet.one, fleet.two):
        fleet.store(server, 10, 20_000 + server.port, generation=2)
    Health(fleet.state).forgive("host-1")
    second = fleet.cycle()
    assert (second["cycle"], second["selfplay"]["absent"]) == (2, {})
    assert [jobs_of(fleet.two)[late].state, running(fleet.two)] == ["stopped", []]
    here = {entry.sha256 for entry in read_manifest(fleet.data)}
    theirs = read_manifest(fleet.two.work / "jobs" / late / "out")
    assert {entry.sha256 for entry in theirs} <= here


# ---- the command line ----------------------------------------------------------------------------


def test_no_host_may_play(fleet: Ground, ringrift: Ringrift) -> None:
    fleet.know(
        {**fleet.one.entry(), "roles": ["train"]}, {**fleet.two.entry(), "boards": ["square8"]}
    )
    result = ringrift("cycle", "--fleet", "--cycles", 1, "-q")
    assert (result.code, result.out) == (1, "")
    first, _, rest = result.err.partition("\n")
    assert first.endswith("/runs/hex8-2p: cycle 1 failed.")
    assert rest == (
        "ringrift: No host can play hex8: host-0: its roles are train, not selfplay; host-1: its"
        " boards are square8, not hex8.\n  try: ringrift fleet status\n"
    )


def test_a_dry_run_asks_nobody(fleet: Ground, ringrift: Ringrift) -> None:
    proxy = fleet.farm.proxy(fleet.one)
    fleet.know({**fleet.one.entry(), "addresses": [f"{LOOPBACK}:{proxy.port}"]})
    result = ringrift("cycle", "--fleet", "--train-on", "host-0", "--dry-run", "--json", "-q")
    assert (result.code, json.loads(result.out)["next"]) == (0, "selfplay")
    assert proxy.accepted == 0
    assert not fleet.config.folder.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--fleet", "--train-on", "host-9"), "hosts.yaml has no host 'host-9'"),
        (("--fleet", "--train-on", "host-0"), "host-0 cannot train hex8: its roles are selfplay"),
        (("--train-on", "host-0"), "--train-on names a host of the fleet."),
        (("--fleet", "--hosts", "none.yaml"), "none.yaml"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_done(
    fleet: Ground, ringrift: Ringrift, words: tuple[str, ...], said: str
) -> None:
    fleet.know({**fleet.one.entry(), "roles": ["selfplay"]})
    result = ringrift("cycle", *words, "-q")
    assert (result.code, result.out) == (2, "")
    assert said in result.err
    assert not (fleet.config.folder / JOURNAL).exists()


def test_a_host_that_may_not_train_now(fleet: Ground) -> None:
    fleet.know(fleet.one, {**fleet.two.entry(), "roles": ["selfplay"]})
    machines = fleet.machines("host-0")
    jobs.drain(fleet.state, "host-0")
    work = TrainWork(fleet.data, (), fleet.data, fleet.player, None, False, 1, 1)
    with pytest.raises(FleetError, match=r"^host-0 cannot train now: it is drained"):
        machines.train(work, [], Notes(), lambda: False)


def test_the_training_of_a_dead_host_moves_to_a_living_one(
    fleet: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []

    class Training:
        def __init__(self, _session: Any, _config: Any, host: Host, *_: Any) -> None:
            self.host = host.name

        def run(self, _watch: Watch) -> None:
            trained.append(self.host)
            if self.host == "host-0":
                raise HostUnreachable("host-0 is silent.")

    monkeypatch.setattr(on_fleet, "RemoteTraining", Training)
    gpu = {**fleet.two.entry(name="gpu"), "gpus": 1}
    fleet.know(fleet.one, {**fleet.one.entry(name="player"), "roles": ["selfplay"]}, gpu, fleet.two)
    notes = Notes()
    work = TrainWork(fleet.data, (), fleet.data, fleet.player, None, False, 1, 1)
    fleet.machines("host-0").train(work, [], notes, lambda: False)
    assert trained == ["host-0", "gpu"]
    fleet.know(fleet.two, {**fleet.one.entry(), "gpus": 1})
    machines = fleet.machines("host-0")
    with pytest.raises(FleetError, match=r"host-0 cannot train now: host-0 is silent"):
        machines.train(work, [], notes, lambda: False)  # a CPU is no replacement
    monkeypatch.setattr(fleet_context, "SETTLED_S", 0.0)
    fleet.know(fleet.two)
    with pytest.raises(FleetError, match=r"hosts\.yaml has no host host-0"):
        machines.train(work, [], notes, lambda: False)  # also if the GPU is no longer listed


def test_the_host_that_trains_instead_plays_no_games(
    fleet: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a change of hosts.yaml that the training reads first is one for self-play too."""
    campaigns: list[campaign.Campaign] = []
    hosts: list[Host] = []
    refused: list[str | None] = []

    def run_campaign(began: campaign.Campaign, chosen: list[Host], *_: Any) -> list[Any]:
        campaigns.append(began)
        hosts.extend(chosen)
        return []

    class Training:
        def __init__(self, _session: Any, _config: Any, host: Host, *_: Any) -> None:
            self.host = host

        def run(self, _watch: Watch) -> None:
            refused.append(campaigns[0].refuse(self.host))
            if self.host.name == "host-0":
                raise HostUnreachable("host-0 is silent.")

    monkeypatch.setattr(fleet_context, "SETTLED_S", 0.0)
    monkeypatch.setattr(on_fleet, "run", run_campaign)
    monkeypatch.setattr(on_fleet, "RemoteTraining", Training)
    machines = fleet.machines("host-0")
    games = SelfPlayWork(fleet.data, fleet.player, 1, 4, 1, RUN, beside_training=True)
    machines.generate(games, teacher=True, meter=Notes(), should_stop=lambda: False)
    assert [host.name for host in hosts] == ["host-1"]
    fleet.know(fleet.one, fleet.two, {**fleet.two.entry(name="new")})
    work = TrainWork(fleet.data, (), fleet.data, fleet.player, None, False, 1, 1)
    machines.train(work, [], Notes(), lambda: False)
    assert refused == ["it trains", "it trains"]
    assert campaigns[0].refuse(hosts[0]) is None
    now = campaigns[0].hosts_now(hosts)
    assert [host.name for host in now] == ["host-1", "new"]
    assert campaigns[0].hosts_now(now) is now


def test_a_file_of_the_future_is_read_again(fleet: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_context, "SETTLED_S", 60.0)
    context = FleetContext.load(fleet.config, Path("hosts.yaml"))
    fleet.know(fleet.one)
    assert context.reread() is context  # it was written a moment ago
    later = time.time() + 3600
    os.utime("hosts.yaml", (later, later))
    assert [host.name for host in context.reread().fleet.hosts] == ["host-0"]


def test_hosts_yaml_is_read_again_while_hosts_play(
    fleet: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign, "HOSTS_S", 0.2)
    monkeypatch.setattr(fleet_context, "SETTLED_S", 0.0)
    fleet.config = changed(fleet.config, "selfplay", games_per_cycle=30)
    fleet.know(fleet.one)

    def replace_host() -> None:
        until(lambda: len(read_manifest(fleet.data)) > 1)
        Path("hosts.yaml").write_text("hosts: [")  # as an editor may leave it for a moment
        time.sleep(0.5)
        fleet.know(fleet.two)

    replacing = threading.Thread(target=replace_host)
    replacing.start()
    record = fleet.cycle()
    replacing.join()
    assert {*record["selfplay"]["hosts"]} == {"host-0", "host-1"}
    assert record["selfplay"]["absent"]["host-0"].startswith("hosts.yaml has it no more")
    assert running(fleet.one) == running(fleet.two) == []
    assert record["brought"] == {"host-1": "confirmed"}


def test_every_setting_of_self_play_goes_along(fleet: Ground, ringrift: Ringrift) -> None:
    """What a job is told means to a host what it means here."""
    section = SelfPlay(sims=20, full_share=0.4, random_opening_share=0.0, resign_below=0.1)
    fleet.config = replace(
        fleet.config, selfplay=replace(section, games_per_cycle=4, teacher="none")
    )
    fleet.cycle()
    ((_, job),) = jobs_of(fleet.one).items()
    path = fleet.one.work / job.argv[job.argv.index("--config") + 1]
    assert load(path, environment={}) == fleet.config
    assert job.argv[job.argv.index("--generation") + 1] == "1"
