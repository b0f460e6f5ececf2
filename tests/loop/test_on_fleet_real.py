"""`ringrift cycle --fleet` with real searches and training on real hosts, one of which falls."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ringrift_cli.fleet import campaign, health
from ringrift_cli.loop import remote_training
from ringrift_cli.loop import shared as cycle_shared
from ringrift_cli.loop.journal import CYCLES, JOURNAL
from ringrift_cli.loop.shared import SharedSteps
from ringrift_cli.nn.registry import Registry
from ringrift_cli.settings import commented
from ringrift_cli.store.manifest import read_manifest, removed_from_manifest
from ringrift_cli.train import state as train_state
from tests.children import child
from tests.conftest import Ringrift
from tests.fleet.campaigning import jobs_of, made_by, really_plays, running, until
from tests.fleet.servers import Farm, Server
from tests.fleet.stations import install
from tests.loop_child import Generous, tiny

pytestmark = pytest.mark.usefixtures("compiled_rules")

ROOT = Path(__file__).parents[2]
POOL = "hex8-2p"


class GenerousShared(SharedSteps, Generous):
    """The steps of a loop with hosts, but that every candidate is accepted."""


class Ground:
    """A working folder with a tiny run, and two hosts that have this ringrift."""

    def __init__(self, farm: Farm, folder: Path) -> None:
        config = tiny(folder)
        self.config = replace(config, cycle=replace(config.cycle, max_data_gb=1.0))
        self.one, self.two = farm.servers(2)
        for server in (self.one, self.two):
            install(server)
            really_plays(server)
        roles = {"roles": ["selfplay", "train"]}
        farm.hosts_yaml([self.one, {**self.two.entry(), **roles}], Path("hosts.yaml"), deadline=20)
        Path("ringrift.yaml").write_text(commented(self.config))

    def fall(self, wait: Callable[[], object], seconds: float = 1.0) -> threading.Thread:
        """Ends the first host's sshd once something is so, and starts it again."""

        def act() -> None:
            until(wait)
            self.one.stop()
            time.sleep(seconds)
            self.one.start()

        thread = threading.Thread(target=act)
        thread.start()
        return thread

    def check(self, records: list[dict[str, Any]]) -> None:
        """All that hosts made is here once, they have the champion, and nothing runs."""
        data = self.config.folder / "selfplay"
        here = [entry.sha256 for entry in read_manifest(data)]
        assert len(here) == len(set(here))
        champion = Registry(Path(self.config.run.models)).champion(POOL)
        assert champion is not None
        for record in records:
            assert record["promoted"]
            played = record["selfplay"]
            assert played["games"] >= self.config.selfplay.games_per_cycle
            assert played["games"] == sum(row["games"] for row in played["hosts"].values())
            assert {*played["hosts"]} <= {"host-0", "host-1"}
        assert records[-1]["champion"] == champion.identity
        for server in (self.one, self.two):
            assert running(server) == []
            assert made_by(server) <= {*here} | removed_from_manifest(data)
            self.has_champion(server, records[-1])
        trained = self.two.work.glob(f"jobs/{POOL}-train-*/cycle-*/{train_state.STATE}")
        assert len(list(trained)) == len(records)  # there, and not here
        assert {name.partition("-c0")[0] for name in jobs_of(self.one)} == {POOL}

    def has_champion(self, server: Server, record: dict[str, Any]) -> None:
        pointer = Path(self.config.run.models) / POOL / "champion.json"
        if record["brought"][server.name] == "confirmed":
            theirs = server.work / "models" / POOL
            assert (theirs / "champion.json").read_bytes() == pointer.read_bytes()
            assert (theirs / f"{record['champion']}.safetensors").exists()


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    monkeypatch.chdir(tmp_path)
    for name in ("RINGRIFT_HOSTS", "RINGRIFT_MODELS", "RINGRIFT_FOLDER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(campaign, "POLL", 0.3)
    monkeypatch.setattr(campaign, "WAITS", (0.2, 0.5))
    monkeypatch.setattr(remote_training, "POLL", 0.3)
    monkeypatch.setattr(health, "SHORTEST_S", 1.0)
    monkeypatch.setattr(cycle_shared, "SharedSteps", GenerousShared)
    with Farm(tmp_path / "farm") as farm:
        farm.environment(monkeypatch)
        yield Ground(farm, tmp_path)


def test_a_cycle_with_two_hosts_one_of_which_falls(fleet: Ground, ringrift: Ringrift) -> None:
    falling = fleet.fall(lambda: fleet.one.work.joinpath("jobs").exists() and jobs_of(fleet.one))
    result = ringrift(
        "cycle", "--fleet", "--train-on", "host-1", "--cycles", 1, "--json", "-q",
    )  # fmt: skip
    falling.join()
    assert result.code == 0, result.err
    records = json.loads(result.out)["cycles"]
    fleet.check(records)
    assert records[0]["brought"] == {"host-0": "confirmed", "host-1": "confirmed"}
    assert (fleet.config.folder / "train" / "cycle-00001" / "log.csv").exists()


CHILD = """\
import sys
from ringrift_cli.cli.app import main
from ringrift_cli.loop import remote_training
from ringrift_cli.loop import shared as cycle_shared
from tests.loop.test_on_fleet_real import GenerousShared
cycle_shared.SharedSteps = GenerousShared
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.long
def test_two_cycles_through_everything(fleet: Ground) -> None:
    """The coordinator is killed in each step of the first cycle, and a host falls in both."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}
    words = ("cycle", "--fleet", "--overlap", "--train-on", "host-1", "--cycles", "1", "-q")
    command = (sys.executable, "-c", CHILD, *words)
    journal = fleet.config.folder / JOURNAL

    def reached(step: str) -> Callable[[], object]:
        wanted = [f'"step": "{step}"', '"event": "begun"']
        return lambda: (
            journal.exists()
            and any(all(w in line for w in wanted) for line in journal.read_text().splitlines())
        )

    for step, there in (
        ("selfplay", lambda: made_by(fleet.two)),
        ("train", lambda: any("-t0" in name for name in running(fleet.two))),
        ("gate", lambda: True),
    ):
        with child(*command, env=environment, stdout=None, stderr=None):
            patiently(reached(step))
            patiently(there)
    for cycle in (1, 2):
        done = len(jobs_of(fleet.one))
        falling = fleet.fall(
            lambda n=done, c=cycle: c == 1 or len(jobs_of(fleet.one)) > n  # type: ignore[misc]
        )
        with child(*command, env=environment, stdout=None, stderr=None) as coordinator:
            assert coordinator.wait(600) == 0
        falling.join()
    records = [json.loads(line) for line in (fleet.config.folder / CYCLES).read_text().splitlines()]
    assert [record["cycle"] for record in records] == [1, 2]
    fleet.check(records)


def patiently(there: Callable[[], object]) -> None:
    end = time.monotonic() + 300
    while not there():
        assert time.monotonic() < end
        time.sleep(0.2)
