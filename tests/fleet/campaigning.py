"""Hosts on which `player.py` plays, and campaigns on them, for tests."""

from __future__ import annotations

import shlex
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ringrift_cli.fleet import campaign, jobs
from ringrift_cli.fleet.campaign import Campaign, Part
from ringrift_cli.fleet.client import Client
from ringrift_cli.fleet.hosts import Host
from ringrift_cli.fleet.messages import Job, JobMeta, JobState
from ringrift_cli.fleet.plan import Placed
from ringrift_cli.fleet.pull import Pulled, pull_over
from ringrift_cli.fleet.ssh import open_link
from ringrift_cli.game import jit
from ringrift_cli.store.manifest import read_manifest
from tests.fleet import goods
from tests.fleet.servers import Farm, Server, furnish, local_link

PLAYER = Path(__file__).with_name("player.py")
LOOP = "0123456789abcdef"
GAMES = 5  # of a file of goods.py
SOON = 30.0  # seconds in which what must happen must have happened


def plays(server: Server, files: Sequence[bytes], behaviour: str = "") -> None:
    """Lets a host have a ringrift that lays out these files."""
    goods.offer(server.work / "store", files)
    stand_in(server)
    behave(server, behaviour)


def stand_in(server: Server) -> None:
    """Lets a host have a ringrift that is `player.py`."""
    furnish(server.work, shlex.join([sys.executable, str(PLAYER), str(server.work)]))


def really_plays(server: Server) -> None:
    """Lets a host have this very ringrift, with what this machine has compiled."""
    base = shlex.quote(f"{jit.CACHE_VARIABLE}={jit.cache_root().parent}")
    furnish(server.work, f"env {base} OMP_NUM_THREADS=1 {shlex.quote(sys.executable)}")


def behave(server: Server, behaviour: str) -> None:
    server.work.mkdir(parents=True, exist_ok=True)
    (server.work / "behaviour").write_text(behaviour)


def jobs_of(server: Server) -> dict[str, JobState]:
    """The jobs of a host, which is asked without SSH."""
    with local_link(server.work) as client:
        return {job.id: job for job in jobs.states(client)}


def running(server: Server) -> list[str]:
    return [name for name, job in jobs_of(server).items() if job.active]


def made_by(server: Server) -> set[str]:
    """SHA-256 of the files that the jobs of a host list."""
    return {
        str(entry.sha256)
        for folder in server.work.glob("jobs/*/out")
        for entry in read_manifest(folder)
    }


def begin(server: Server, name: str, argv: list[str], **meta: Any) -> None:
    """Starts a job on a host that no campaign here has started."""
    out = f"jobs/{name}/out"
    job = Job(
        id=name,
        argv=argv,
        env={"RINGRIFT_OUT": out},
        out=out,
        lease_s=60.0,
        grace_s=5.0,
        meta=JobMeta(**meta),
    )
    with local_link(server.work) as client:
        placed = Placed(server.name, (), job)
        jobs.start(client, server.folder / "elsewhere", placed)


class Field:
    """A coordinator with its folder, and campaigns that want games."""

    def __init__(self, farm: Farm, folder: Path, wanted: int) -> None:
        self.farm, self.wanted = farm, wanted
        self.state, self.runs = folder / "runs" / "fleet", folder / "runs"
        self.destination = goods.destination(self.runs)
        self.stop = threading.Event()
        self.prepared: list[str] = []
        self.seen: list[Part] = []

    @property
    def here(self) -> list[str]:
        """SHA-256 of what has arrived."""
        return [str(entry.sha256) for entry in read_manifest(self.runs / "hex8-2p" / "selfplay")]

    def opener(self, host: Host, deadline: float) -> Client:
        return open_link(host, self.state, deadline_s=deadline)

    def collect(self, _host: Host, client: Client, folders: Sequence[str]) -> Pulled:
        return pull_over(client, self.state, self.destination, roots=folders)

    def enough(self) -> bool:
        return GAMES * len(self.here) >= self.wanted

    def campaign(self, cycle: int = 1, **more: Any) -> Campaign:
        options: dict[str, Any] = {
            "name": f"hex8-2p-c{cycle:05}",
            "loop": LOOP,
            "argv": ["selfplay", "--board", "hex8", "--hours", "6"],
            "prepare": lambda host, link: self.prepared.append(host.name),
            "collect": self.collect,
            "enough": self.enough,
            "should_stop": self.stop.is_set,
        }
        return Campaign(**{**options, **more})

    def run(self, hosts: Sequence[Host], cycle: int = 1, **more: Any) -> dict[str, Part]:
        """The parts of a campaign that is over, by host."""
        told = self.seen.append
        parts = campaign.run(self.campaign(cycle, **more), hosts, self.opener, self.state, told)
        return {part.host: part for part in parts}

    def events(self) -> str:
        return (self.state / "events.jsonl").read_text()


def until(there: Callable[[], Any]) -> None:
    """Waits until something is so."""
    end = time.monotonic() + SOON
    while not there():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
