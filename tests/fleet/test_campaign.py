"""Campaigns over real SSH: jobs kept running on hosts that come, go, fail and are in the way."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ringrift_cli.errors import FleetError, OutputError, RemoteError
from ringrift_cli.fleet import campaign, clean, health, jobs
from ringrift_cli.fleet.client import Client
from ringrift_cli.fleet.health import Health
from ringrift_cli.fleet.hosts import Host
from ringrift_cli.fleet.messages import TAKEN, JobState
from ringrift_cli.fleet.plan import Placed
from ringrift_cli.fleet.pull import Pulled
from tests.children import child
from tests.fleet import goods
from tests.fleet.campaigning import (
    GAMES,
    LOOP,
    PLAYER,
    Field,
    begin,
    behave,
    jobs_of,
    made_by,
    plays,
    running,
    stand_in,
    until,
)
from tests.fleet.gpus import lines, smi, with_gpus
from tests.fleet.network import LOOPBACK
from tests.fleet.servers import Farm, Server, furnish, local_link

ROOT = Path(__file__).parents[2]
ARGV = ["selfplay", "--board", "hex8", "--hours", "6"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks often, and waits little."""
    monkeypatch.setattr(campaign, "POLL", 0.1)
    monkeypatch.setattr(campaign, "WAITS", (0.1, 0.2, 0.3, 0.4))
    monkeypatch.setattr(campaign, "GRACE", 5.0)
    monkeypatch.setattr(health, "SHORTEST_S", 1.0)


def field_of(
    farm: Farm, tmp_path: Path, wanted: int, hosts: int = 2
) -> tuple[Field, list[Server], list[Host]]:
    servers = farm.servers(hosts)
    for number, server in enumerate(servers):
        plays(server, goods.contents(40, seed=number))
    return Field(farm, tmp_path, wanted), servers, [farm.host(server) for server in servers]


def whole(field: Field, servers: list[Server]) -> None:
    """All that was made is here, exactly once, and nothing runs any more."""
    here = field.here
    assert len(here) == len(set(here))
    assert set(here) == set().union(*map(made_by, servers))
    assert [running(server) for server in servers] == [[]] * len(servers)


def test_enough_ends_the_jobs_and_brings_the_rest(farm: Farm, tmp_path: Path) -> None:
    field, servers, hosts = field_of(farm, tmp_path, 40)
    parts = field.run(hosts)
    assert {name: (part.error, part.ended) for name, part in parts.items()} == {
        "host-0": (None, True),
        "host-1": (None, True),
    }
    assert sum(part.arrived for part in parts.values()) == GAMES * len(field.here) >= 40
    whole(field, servers)
    assert {*field.prepared} == {"host-0", "host-1"}
    for server in servers:
        ((name, job),) = jobs_of(server).items()
        assert (name, job.state) == (f"hex8-2p-c00001-{server.name}", "stopped")
        assert job.argv == ["ringrift", *ARGV]


def test_a_host_that_dies_costs_nothing(farm: Farm, tmp_path: Path) -> None:
    field, servers, hosts = field_of(farm, tmp_path, 250)
    back = threading.Event()

    def kill() -> None:
        until(lambda: len(field.here) > 4)
        servers[1].stop()
        until(lambda: any(part.error for part in field.seen))
        servers[1].start()
        until(lambda: not any(part.error for part in field.seen))
        back.set()

    killer = threading.Thread(target=kill)
    killer.start()
    parts = field.run(hosts, enough=lambda: back.is_set() and field.enough())
    killer.join()
    whole(field, servers)
    assert [(part.error, part.ended) for part in parts.values()] == [(None, True)] * 2
    assert len(jobs_of(servers[1])) == 1  # it went on while nobody could see it
    assert '"host failed"' in field.events()


def test_hosts_come_go_and_change(
    farm: Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign, "HOSTS_S", 0.2)
    field, servers, (one, two) = field_of(farm, tmp_path, 120)
    changed = farm.host(servers[0], lease=77.0)
    steps = [(2, [two]), (6, [two, changed])]  # files that are here, and the hosts from then on

    def hosts_now(_so_far: Sequence[Host]) -> Sequence[Host]:
        return [hosts for count, hosts in [(0, [one]), *steps] if len(field.here) >= count][-1]

    parts = field.run([one], hosts_now=hosts_now)
    whole(field, servers)
    assert {name: part.ended for name, part in parts.items()} == {"host-0": True, "host-1": True}
    assert all(part.arrived for part in parts.values())
    assert len(jobs_of(servers[0])) == 2


def test_the_only_host_changes(farm: Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its jobs end for a change that they depend on, and the campaign goes on with it."""
    monkeypatch.setattr(campaign, "HOSTS_S", 0.0)
    field, servers, (host,) = field_of(farm, tmp_path, 60, hosts=1)
    cheap, other = farm.host(servers[0], price=9.0), farm.host(servers[0], lease=77.0)
    entries = iter([host, cheap, host, other])
    now = [host]

    def hosts_now(_so_far: Sequence[Host]) -> Sequence[Host]:
        if field.here and now != [other] and running(servers[0]):
            now[:] = [next(entries)]
        return now

    parts = field.run(
        [host], hosts_now=hosts_now, enough=lambda: len(jobs_of(servers[0])) >= 2 and field.enough()
    )
    assert (parts["host-0"].error, parts["host-0"].ended) == (None, True)
    assert len(jobs_of(servers[0])) == 2
    whole(field, servers)


def test_what_did_not_come_is_not_removed(
    farm: Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when there was no time for all of it at the end."""
    monkeypatch.setattr(clean, "KEPT_HOURS", 0.0)
    field, servers, hosts = field_of(farm, tmp_path, 10, hosts=1)

    def partly(host: Host, client: Client, folders: Sequence[str]) -> Pulled:
        return replace(field.collect(host, client, folders), stopped=True)

    field.run(hosts, collect=partly)
    assert len(jobs_of(servers[0])) == 1
    field.wanted += GAMES
    field.run(hosts, cycle=2)
    assert jobs_of(servers[0]) == {}


def test_a_host_that_stays_dead_is_named(farm: Farm, tmp_path: Path) -> None:
    field, servers, hosts = field_of(farm, tmp_path, 30)
    servers[1].stop()
    parts = field.run(hosts)
    assert parts["host-0"].error is None
    said = parts["host-1"].error
    assert said is not None
    assert said.startswith("host-1")
    assert (parts["host-1"].ended, parts["host-1"].arrived) == (False, 0)


def test_links_that_are_cut(farm: Farm, tmp_path: Path) -> None:
    field, servers, _ = field_of(farm, tmp_path, 100, hosts=1)
    proxy = farm.proxy(servers[0])
    host = farm.host(servers[0], addresses=[f"{LOOPBACK}:{proxy.port}"])
    cuts, over = 0, threading.Event()

    def cut() -> None:
        nonlocal cuts
        while cuts < 3 and not over.wait(0.7):
            cuts += bool(proxy.cut())

    cutter = threading.Thread(target=cut)
    cutter.start()
    field.run([host], enough=lambda: cuts == 3 and field.enough())
    over.set()
    cutter.join()
    whole(field, servers)
    assert len(jobs_of(servers[0])) == 1


@pytest.mark.parametrize("behaviour", ["fail", "nothing"])
def test_jobs_that_come_to_nothing(farm: Farm, tmp_path: Path, behaviour: str) -> None:
    field, servers, hosts = field_of(farm, tmp_path, 180)
    behave(servers[1], behaviour)
    parts = field.run(hosts)
    assert parts["host-0"].error is None
    last = "hex8-2p-c00001-host-1.3"
    code = "failed, exit 1" if behaviour == "fail" else "done, exit 0"
    assert parts["host-1"].error == (
        f"3 of its jobs failed, the last is {last} ({code}): ringrift fleet logs {last}"
    )
    assert len(jobs_of(servers[1])) == 3
    whole(field, servers)


def test_no_host_goes_on(farm: Farm, tmp_path: Path) -> None:
    field, servers, hosts = field_of(farm, tmp_path, 60)
    for server in servers:
        behave(server, "fail")
    with pytest.raises(FleetError) as caught:
        field.run(hosts)
    said = caught.value.message
    assert said.startswith("No host goes on with hex8-2p-c00001: host-0: 3 of its jobs failed")
    assert "; host-1: 3 of its jobs failed" in said


def test_nobody_works_for_long(farm: Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All hosts may be out of reach for a while, but not for ever."""
    field, servers, hosts = field_of(farm, tmp_path, 60)
    monkeypatch.setattr(campaign, "PATIENCE", 1.0)
    for server in servers:
        server.stop()
    with pytest.raises(FleetError) as caught:
        field.run(hosts)
    assert "host-0: host-0" in caught.value.message
    assert "host-1: host-1" in caught.value.message


def test_failures_between_which_something_arrives(farm: Farm, tmp_path: Path) -> None:
    """Jobs that die now and then are no reason to give up a host that delivers."""
    field, servers, hosts = field_of(farm, tmp_path, 150, hosts=1)

    def kill() -> None:
        for jobs_there in range(1, 5):
            until(lambda n=jobs_there: len(jobs_of(servers[0])) == n)  # type: ignore[misc]
            name, count = running(servers[0])[0], len(field.here)
            until(lambda n=count: len(field.here) > n)  # type: ignore[misc]
            os.kill(jobs_of(servers[0])[name].pid or 0, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    parts = field.run(hosts)
    killer.join()
    assert (parts["host-0"].error, parts["host-0"].failed_jobs) == (None, 4)
    whole(field, servers)


def test_a_host_that_is_set_aside(farm: Farm, tmp_path: Path) -> None:
    field, servers, hosts = field_of(farm, tmp_path, 30)
    for _ in range(3):
        Health(field.state).bad_output("host-1", "it lies")
    parts = field.run(hosts)
    assert parts["host-1"].error == "set aside: 3 times bad output: it lies"
    assert jobs_of(servers[1]) == {}
    whole(field, servers)


def test_a_coordinator_that_is_killed(farm: Farm, tmp_path: Path) -> None:
    field, servers, hosts = field_of(farm, tmp_path, 150)
    farm.hosts_yaml(servers, tmp_path / "hosts.yaml")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}
    command = (sys.executable, "-m", "tests.fleet.campaign_child", tmp_path)
    for least in (3, 8):
        with child(*command, env=environment, cwd=tmp_path, stdout=None, stderr=None):
            until(lambda n=least: len(field.here) > n)  # type: ignore[misc]
    assert [len(running(server)) for server in servers] == [1, 1]
    parts = field.run(hosts)
    whole(field, servers)
    assert [part.failed_jobs for part in parts.values()] == [0, 0]
    assert [len(jobs_of(server)) for server in servers] == [1, 1]


# ---- what is in the way --------------------------------------------------------------------------


def left(server: Server, name: str, command: str = "selfplay", **meta: object) -> None:
    """Starts a job there that belongs to no campaign that runs, and waits until it makes files."""
    begin(server, name, ["ringrift", command, *ARGV[1:]], **meta)
    until(lambda: jobs_of(server)[name].shards)


def test_a_job_of_an_earlier_cycle_gives_way(farm: Farm, tmp_path: Path) -> None:
    field, servers, hosts = field_of(farm, tmp_path, 60, hosts=1)
    left(servers[0], "left", loop=LOOP, campaign="hex8-2p-c00000")
    parts = field.run(hosts, cycle=1)
    assert parts["host-0"].error is None
    found = jobs_of(servers[0])
    assert {*found} == {"left", "hex8-2p-c00001-host-0"}
    assert {job.state for job in found.values()} == {"stopped"}
    assert found["left"].shards > 0
    whole(field, servers)  # what it had made is here too


@pytest.mark.parametrize(
    ("command", "meta"),
    [
        ("selfplay", {"loop": "another", "campaign": "hex8-2p-c00001"}),
        ("train", {"loop": LOOP, "campaign": "hex8-2p-t00001"}),
    ],
)
def test_jobs_of_others_stay_and_are_named(
    farm: Farm,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    meta: dict[str, str],
) -> None:
    """Neither another loop's job is ended, nor is what it makes brought into this one.

    A loop's training beside its self-play is not ended either.
    """
    monkeypatch.setattr(campaign, "PATIENCE", 2.0)
    field, servers, hosts = field_of(farm, tmp_path, 60, hosts=1)
    left(servers[0], "theirs", command, **meta)
    with pytest.raises(FleetError) as caught:
        field.run(hosts)
    assert caught.value.message.endswith("host-0: busy with theirs")
    assert running(servers[0]) == ["theirs"]
    assert field.here == []
    with local_link(servers[0].work) as client:
        jobs.stop(client, "theirs", grace=0.0, insist=True)


def test_a_name_that_is_taken(farm: Farm, tmp_path: Path) -> None:
    """A folder of another loop's job of the same name, as of a run that was begun anew."""
    field, servers, hosts = field_of(farm, tmp_path, 30, hosts=1)
    left(servers[0], "hex8-2p-c00001-host-0", loop="another", campaign="x")
    with local_link(servers[0].work) as client:
        jobs.stop(client, "hex8-2p-c00001-host-0", grace=5.0)
        jobs.wait(client, "hex8-2p-c00001-host-0", 5.0)
    theirs = made_by(servers[0])
    field.run(hosts)
    assert {*jobs_of(servers[0])} == {"hex8-2p-c00001-host-0", "hex8-2p-c00001-host-0.2"}
    assert not theirs & {*field.here}


def test_two_gpus_are_two_jobs(farm: Farm, tmp_path: Path) -> None:
    field, servers, _ = field_of(farm, tmp_path, 60, hosts=1)
    host = farm.host(servers[0], gpus=2)
    with_gpus(
        servers[0], smi(lines(2)), shlex.join([sys.executable, str(PLAYER), str(servers[0].work)])
    )
    parts = field.run([host])
    assert parts["host-0"].error is None
    names = [f"hex8-2p-c00001-host-0-gpu{gpu}" for gpu in (0, 1)]
    assert sorted(jobs_of(servers[0])) == names
    for gpu, name in enumerate(names):
        log = (servers[0].work / "jobs" / name / "log").read_text()
        assert log.splitlines()[0].endswith(f" {gpu}")
    whole(field, servers)


def test_a_gpu_that_is_taken_does_not_keep_the_others_idle(
    farm: Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    field, servers, _ = field_of(farm, tmp_path, 20, hosts=1)
    host = farm.host(servers[0], gpus=2)
    with_gpus(
        servers[0], smi(lines(2)), shlex.join([sys.executable, str(PLAYER), str(servers[0].work)])
    )
    real = jobs.start

    def start(client: Client, state: Path, placed: Placed) -> tuple[bool, JobState]:
        if placed.gpus == (0,):
            raise RemoteError("GPU 0 is held by another job.", kind=TAKEN)
        return real(client, state, placed)

    monkeypatch.setattr(jobs, "start", start)
    monkeypatch.setattr(campaign, "PATIENCE", 30.0)
    parts = field.run([host])
    assert parts["host-0"].error is None
    assert [*jobs_of(servers[0])] == ["hex8-2p-c00001-host-0-gpu1"]


def test_two_loops_share_no_gpu(farm: Farm, tmp_path: Path) -> None:
    """Coordinators that know nothing of each other, as two loops beside `fleet run`."""
    field, servers, _ = field_of(farm, tmp_path, 20, hosts=1)
    other = Field(farm, tmp_path / "other", 20)
    host = farm.host(servers[0], gpus=1)
    with_gpus(
        servers[0],
        smi(lines(1)),
        shlex.join([sys.executable, str(PLAYER), str(servers[0].work)]),
    )
    most = 0
    over = threading.Event()

    def watch() -> None:
        nonlocal most
        while not over.is_set():
            most = max(most, len(running(servers[0])))

    watcher = threading.Thread(target=watch)
    watcher.start()
    second = threading.Thread(target=lambda: other.run([host], name="other", loop="1" * 16))
    second.start()
    field.run([host])
    second.join()
    over.set()
    watcher.join()
    assert most == 1
    assert GAMES * len(field.here) >= 20
    assert GAMES * len(other.here) >= 20


def test_a_host_that_may_begin_nothing(farm: Farm, tmp_path: Path) -> None:
    """As one that is drained meanwhile: what runs goes on, and nothing follows it."""
    field, servers, hosts = field_of(farm, tmp_path, 180)
    drained = threading.Event()

    def drain() -> None:
        until(lambda: len(field.here) > 2)
        drained.set()
        with local_link(servers[1].work) as client:
            jobs.stop(client, "hex8-2p-c00001-host-1", grace=5.0)

    drainer = threading.Thread(target=drain)
    drainer.start()
    parts = field.run(
        hosts,
        refuse=lambda host: "drained" if drained.is_set() and host.name == "host-1" else None,
        enough=lambda: any(part.error == "drained" for part in field.seen) and field.enough(),
    )
    drainer.join()
    assert (parts["host-1"].error, parts["host-1"].failed_jobs) == ("drained", 0)
    assert len(jobs_of(servers[1])) == 1
    whole(field, servers)


# ---- the end -------------------------------------------------------------------------------------


def test_asked_to_stop(farm: Farm, tmp_path: Path) -> None:
    field, servers, hosts = field_of(farm, tmp_path, 10_000)
    asked = 0.0

    def ask() -> None:
        nonlocal asked
        until(lambda: len(field.here) > 4)
        asked = time.monotonic()
        field.stop.set()

    asker = threading.Thread(target=ask)
    asker.start()
    parts = field.run(hosts)
    assert time.monotonic() - asked < campaign.FAREWELL / 2
    asker.join()
    assert all(part.ended for part in parts.values())
    whole(field, servers)


def test_a_silent_host_delays_the_end_little(
    farm: Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign, "REACH", 3.0)
    monkeypatch.setattr(campaign, "LAST_REACH", 1.0)
    field, servers, hosts = field_of(farm, tmp_path, 30)
    silent = farm.host(servers[1], addresses=[f"{LOOPBACK}:{farm.silent()}"])
    start = time.monotonic()
    parts = field.run([hosts[0], silent])
    assert time.monotonic() - start < campaign.FAREWELL / 2
    assert (parts["host-0"].error, parts["host-0"].ended) == (None, True)
    assert parts["host-1"].error is not None


def test_a_host_that_does_not_let_go_is_left_and_named(
    farm: Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign, "FAREWELL", 2.0)
    field, _, hosts = field_of(farm, tmp_path, 30)
    release, held = threading.Event(), threading.Event()

    def collect(host: Host, client: Client, folders: Sequence[str]) -> Pulled:
        if host.name == "host-1" and len(field.here) > 2:
            held.set()
            assert release.wait(300)  # it sends a byte now and then, say
        return field.collect(host, client, folders)

    parts = field.run(hosts, collect=collect, enough=lambda: held.is_set() and field.enough())
    release.set()
    assert parts["host-0"].error is None
    assert "its jobs did not stop within 2 s" in str(parts["host-1"].error)


def test_what_is_wrong_here_is_no_fault_of_a_host(farm: Farm, tmp_path: Path) -> None:
    field, servers, hosts = field_of(farm, tmp_path, 60)
    known = threading.Event()

    def collect(host: Host, link: object, names: object) -> Pulled:
        if host.name == "host-1":
            known.set()
            raise OutputError("Cannot write here.")
        return Pulled(host.name)

    with pytest.raises(OutputError, match="Cannot write here"):
        field.run(hosts, collect=collect)
    assert known.is_set()
    assert [running(server) for server in servers] == [[], []]
    assert Health(field.state).set_aside("host-1") is None


def test_nothing_is_installed(farm: Farm, tmp_path: Path) -> None:
    field, servers, hosts = field_of(farm, tmp_path, 60, hosts=1)
    furnish(servers[0].work, "/no/such/program")
    with pytest.raises(FleetError, match=r"failed, exit 127"):
        field.run(hosts)
    stand_in(servers[0])
    field.run(hosts)
    whole(field, servers)
