"""Hosts that make games while everything around them breaks: nothing is lost, nothing counts twice.

Four hosts play; one has a clock that is a day off, one also lists two files that are not what it
says. Meanwhile connections are cut and fall silent, sshd is killed, transfers are cut short, a byte
changes on the way, a disk fills, and the coordinator is killed, twice.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ringrift_cli.fleet import jobs
from ringrift_cli.fleet.messages import Job
from ringrift_cli.fleet.plan import Placed
from ringrift_cli.fleet.quarantine import QUARANTINE
from ringrift_cli.fleet.ssh import open_link
from ringrift_cli.selfplay import random_games as selfplay
from ringrift_cli.selfplay.random_games import RandomSetting, play_random, write_shard
from ringrift_cli.store.hashes import sha256
from ringrift_cli.store.manifest import MANIFEST, read_manifest
from tests.conftest import Ringrift
from tests.fleet.network import Proxy
from tests.fleet.servers import Farm, Server, furnish

PRODUCER = Path(__file__).with_name("producer.py")
ROOT = Path(__file__).parents[2]
GAMES = 150  # of a shard: about 20 kB
FIRST_SEED = 9000
DAY = 86400
DISK = 64 << 20  # bytes of the disk that fills: more than one host makes in ten minutes
LIAR, FULL, OFF = 1, 2, 3  # the hosts that lie, whose disk fills, whose clock is off
BAD_FILES = 2  # of the liar: a wrong hash, and no games


@dataclass
class Field:
    """The hosts, what they will make, and what was done to them."""

    farm: Farm
    servers: list[Server]
    proxies: list[Proxy]
    folder: Path
    seconds: float  # how long things break
    coordinator: subprocess.Popen[bytes] | None = None
    done: list[str] = field(default_factory=list)

    def start(self) -> None:
        """Starts the coordinator."""
        command = [sys.executable, "-m", "tests.fleet.chaos_child"]
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}
        self.coordinator = subprocess.Popen(
            command, cwd=self.folder, env=environment, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def kill(self) -> None:
        """Kills it."""
        if self.coordinator is not None:
            self.coordinator.send_signal(signal.SIGKILL)
            self.coordinator.wait()
            self.coordinator = None


def make_store(folder: Path, shards: int, seed: int) -> None:
    """Shards of random games, listed."""
    setting = RandomSetting("hex8", 2, GAMES * shards, seed)
    for number in range(shards):
        records = play_random(setting, number * GAMES, GAMES)
        write_shard(folder, setting, number * GAMES, records, readable=False)


def spoil(folder: Path) -> None:
    """Adds a file whose bytes are not what its line says, and one that holds no games."""
    lines = (folder / MANIFEST).read_text().splitlines()
    entry = json.loads(lines[1])
    wrong, none = b"not what it says" * 50, b"RRGAMES?" * 100
    for name, data in ((sha256(b"something else"), wrong), (sha256(none), none)):
        file = f"{name[:16]}.rrg"
        (folder / file).write_bytes(data)
        lines.insert(2, json.dumps({**entry, "sha256": name, "file": file}))
    (folder / MANIFEST).write_text("\n".join(lines) + "\n")


def clock_off(folder: Path) -> Path:
    """A Python whose clock is a day behind."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "day_behind.py").write_text(
        f"import time\ntrue = time.time\ntime.time = lambda: true() - {DAY}\n"
    )
    # not sitecustomize: the Python of Debian has one of its own
    (site / "ours.pth").write_text(f"{sysconfig.get_path('purelib')}\nimport day_behind\n")
    return folder / "bin" / "python"


@pytest.fixture
def small_disk(farm: Farm) -> Iterator[Path]:
    """A disk that can be filled."""
    place = farm.folder / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", place], check=True)
    yield place
    farm.close()  # no process may be left there
    subprocess.run(["umount", "-l", place], check=True)


def laid_out(farm: Farm, disk: Path, folder: Path, seconds: float, pace: float) -> Field:
    """Four hosts behind proxies, each with a job that makes games for so many seconds."""
    servers = farm.servers(4)
    proxies = [farm.proxy(server) for server in servers]
    entries = [
        server.entry(addresses=[f"127.0.0.1:{proxy.port}"])
        for server, proxy in zip(servers, proxies, strict=True)
    ]
    entries[FULL]["work"] = str(disk / "ringrift")
    entries[OFF]["python"] = str(clock_off(farm.folder / "off"))
    farm.hosts_yaml(entries, folder / "hosts.yaml", deadline=10)
    found = Field(farm, servers, proxies, folder, seconds)
    for number, server in enumerate(servers):
        store = farm.folder / f"store-{number}"
        make_store(store, int(seconds / pace), FIRST_SEED + number)
        if number == LIAR:
            spoil(store)
        argv = [entries[number]["python"], str(PRODUCER), str(store), "jobs/play/out", str(pace)]
        furnish(Path(entries[number]["work"]), python=entries[number]["python"])
        job = Job(id="play", argv=argv, out="jobs/play/out", lease_s=60.0, grace_s=5.0)
        host = farm.host(server, python=entries[number]["python"], work=entries[number]["work"])
        with open_link(host, None, deadline_s=20) as client:
            placed = Placed(server.name, (), job)
            assert jobs.start(client, folder / f"state-{number}", placed)[0]
    return found


# ---- what breaks ---------------------------------------------------------------------------------


def cut(field: Field) -> None:
    field.proxies[0].cut()


def kill_sshd(field: Field) -> None:
    field.servers[1].stop()


def restart_sshd(field: Field) -> None:
    field.servers[1].start()


def truncate(field: Field) -> None:
    field.proxies[2].truncate_down = 12_000


def whole_again(field: Field) -> None:
    field.proxies[2].truncate_down = None


def flip(field: Field) -> None:
    field.proxies[0].flip_down = 15_000


def clean_again(field: Field) -> None:
    field.proxies[0].flip_down = None


def fill_disk(field: Field) -> None:
    filler = os.open(field.farm.folder / "disk" / "filler", os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while os.write(filler, bytes(4096)):
            pass
    os.close(filler)
    assert shutil.disk_usage(field.farm.folder / "disk").free < 4096


def free_disk(field: Field) -> None:
    (field.farm.folder / "disk" / "filler").unlink()


def kill_coordinator(field: Field) -> None:
    field.kill()


def restart_coordinator(field: Field) -> None:
    field.start()


def silence(field: Field) -> None:
    field.proxies[3].silent = True


def speak_again(field: Field) -> None:
    field.proxies[3].silent = False


# Shares of the time at which each happens.
PLAN: tuple[tuple[float, Callable[[Field], None]], ...] = (
    (0.05, cut), (0.06, truncate), (0.10, kill_sshd), (0.20, restart_sshd), (0.28, whole_again),
    (0.30, flip), (0.36, cut), (0.42, fill_disk), (0.46, kill_coordinator),
    (0.50, restart_coordinator), (0.58, free_disk), (0.60, silence), (0.68, speak_again),
    (0.70, clean_again),
    (0.72, cut), (0.76, kill_coordinator), (0.78, restart_coordinator), (0.86, cut),
)  # fmt: skip


def wreak(field: Field) -> None:
    """Breaks things for as long as the hosts play."""
    begun = time.monotonic()
    for share, act in PLAN:
        time.sleep(max(begun + share * field.seconds - time.monotonic(), 0))
        act(field)
        field.done.append(act.__name__)
    time.sleep(max(begun + field.seconds - time.monotonic(), 0))


def events(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "runs" / "fleet" / "events.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def chaos(farm: Farm, disk: Path, folder: Path, ringrift: Ringrift, seconds: float) -> None:
    field = laid_out(farm, disk, folder, seconds, pace=0.5)
    field.start()
    try:
        wreak(field)
    finally:
        field.kill()
    assert len(field.done) == len(PLAN)
    until = time.monotonic() + 60 + field.seconds / 3  # a full disk made one of them wait
    while set(states := [_state(folder, server) for server in field.servers]) != {"done"}:
        assert time.monotonic() < until, states
        time.sleep(0.5)
    for server in field.servers:
        ringrift("fleet", "forgive", server.name)
    last = ringrift("sync", "pull", "--json")
    again = ringrift("sync", "pull", "--json")
    assert [row["error"] for row in json.loads(last.out)["hosts"]] == [None] * 4
    assert [row["shards"]["files"] for row in json.loads(again.out)["hosts"]] == [0] * 4
    check(field, json.loads(again.out))
    told = json.loads(ringrift("fleet", "status", "--json").out)
    notes = [" ".join(row["notes"]) for row in told["hosts"]]
    assert "its clock is -86," in notes[OFF]
    assert not any("clock" in note for number, note in enumerate(notes) if number != OFF)


def _state(folder: Path, server: Server) -> str:
    from ringrift_cli.fleet.hosts import load

    (host,) = [host for host in load(folder / "hosts.yaml").hosts if host.name == server.name]
    with open_link(host, None, deadline_s=20) as client:
        return jobs.one(client, "play").state


def check(field: Field, last: dict[str, Any]) -> None:
    """What every host has listed is here once, under its hash, or in quarantine."""
    here = field.folder / "runs" / "hex8-2p" / "random"
    entries = read_manifest(here)
    names = [entry.sha256 for entry in entries]
    assert len(names) == len(set(names))
    good = set()
    for number in range(4):
        listed = read_manifest(field.farm.folder / f"store-{number}")
        for entry in listed:
            data = (field.farm.folder / f"store-{number}" / entry.file).read_bytes()
            if sha256(data) == entry.sha256 and not data.startswith(b"RRGAMES?"):
                good.add(entry.sha256)
        assert len(listed) == int(field.seconds / 0.5) + BAD_FILES * (number == LIAR)
    assert set(names) == good
    for entry in entries:
        assert sha256((here / entry.file).read_bytes()) == entry.sha256
        assert (entry.received_from or "").startswith("host-")
        assert entry.received is not None
    assert sorted(p.name for p in here.glob("*.rrg")) == sorted(e.file for e in entries)
    records = QUARANTINE.read(field.folder / "runs" / "fleet").values()
    assert [bad.host for bad in records if bad.kept_out] == [f"host-{LIAR}"] * BAD_FILES
    assert [row["right"] for row in last["hosts"]] == [True] * 4  # no new bad ones
    log = events(field.folder)
    failed = {event["host"] for event in log if event["event"] == "failed"}
    assert "host-2" in failed  # those that were away for a moment may have been waited for
    assert {event["host"] for event in log if event["event"] == "bad output"} == {f"host-{LIAR}"}
    assert field.proxies[0].flipped > 0


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the coordinator."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("RINGRIFT_HOSTS", raising=False)
    assert selfplay.SHARD_GAMES > GAMES
    return folder


@pytest.mark.parametrize(
    "seconds",
    [20, pytest.param(60, marks=pytest.mark.long), pytest.param(600, marks=pytest.mark.long)],
)
def test_chaos(farm: Farm, small_disk: Path, place: Path, ringrift: Ringrift, seconds: int) -> None:
    chaos(farm, small_disk, place, ringrift, seconds)
