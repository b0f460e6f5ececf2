"""`ringrift cycle --fleet --train-on HOST`: a training run as a job, begun and read here.

The run's folder is brought there, trained in, and brought back, so that a run goes on wherever the
next command has it. What came back is loaded strictly like any other before it counts.
"""

from __future__ import annotations

import time
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from ringrift_cli.cli.sync_work import Work
from ringrift_cli.config import Config, Train
from ringrift_cli.errors import HostUnreachable, RemoteError

if TYPE_CHECKING:
    from ringrift_cli.fleet.hosts import Host
    from ringrift_cli.fleet.link import Link
    from ringrift_cli.stages.cycle_parts import ShouldStop, TrainWork, Watch

POLL = 2.0  # seconds between two looks
SILENCE = 600.0  # seconds that the host may be out of reach before the step fails
TICK = 0.2
STATE = "state.json"
OPTIONS = {  # keys of the section train that have an option of their own
    "samples_per_position": "--samples-per-position",
    "surprise_weight": "--surprise-weight",
    "window": "--window",
    "max_age": "--max-age",
    "max_generations_behind": "--max-generations-behind",
    "checkpoint_minutes": "--checkpoint-minutes",
}


class TrainElsewhere:
    """One training run on one host."""

    def __init__(self, work: Work, config: Config, host: Host) -> None:
        self._sync, self._config, self._host = work, config, host
        self._there = f"runs/{config.pool}/train"

    def run(self, work: TrainWork, shards: set[str], watch: Watch, should_stop: ShouldStop) -> None:
        """Trains there unless the run is done; `Stopped` if asked to stop, the run being here."""
        from ringrift_cli.stages import train_state
        from ringrift_cli.stages.cycle_parts import Stopped

        if train_state.has_state(work.out) and train_state.read_state(work.out).summary is not None:
            return
        watch.note(f"Training on {self._host.name}.")
        with self._sync.open(self._host) as link:
            self._bring(link, work)
            identity = self._begin(link, work, shards)
        found = self._await(identity, should_stop)
        with self._sync.open(self._host) as link:
            self._fetch(link, work)
        if should_stop():
            raise Stopped
        if found != "done":
            raise RemoteError(
                f"{self._host.name}: training ended as {found}.",
                hint=f"ringrift fleet logs {identity}",
            )

    def _bring(self, link: Link, work: TrainWork) -> None:
        """What the run begins with: shards, the parent, the run before, and what is done of it."""
        from ringrift_cli.cli.sync_work import ENDINGS
        from ringrift_cli.fleet.mirror import send_folder
        from ringrift_cli.fleet.push import Pushed, push_games
        from ringrift_cli.fleet.transfer import Meter, hash_of, put

        pool = self._config.pool
        games = f"runs/{pool}/selfplay"
        push_games(
            link, work.data, games, ENDINGS, Pushed(link.host), Meter(), self._sync.should_stop
        )
        for path in (work.parent.path.with_suffix(".safetensors"), work.parent.path):
            name = f"models/{pool}/{path.name}"
            put(link, path, name, hash_of(path), Meter(), replace=True)
        for folder in (work.previous, work.out):
            if folder is not None and (folder / STATE).exists():
                send_folder(link, folder, f"{self._there}/{folder.name}", STATE, Meter())

    def _begin(self, link: Link, work: TrainWork, shards: set[str]) -> str:
        """Starts the job, or finds the one that runs already; its name."""
        from ringrift_cli.fleet import jobs
        from ringrift_cli.fleet.plan import ACTIVE, Placed, job_of, retried

        state = self._sync.base.state
        name = f"{self._config.pool}-t{work.cycle:05}-{self._host.name}"
        known: dict[str, jobs.State] = {job["id"]: job for job in jobs.states(link)}
        mine = [one for one in known if one == name or one.startswith(f"{name}.")]
        for identity in mine:
            if known[identity]["state"] in ACTIVE:
                return identity
        if mine or jobs.is_remembered(state, name):
            name = retried(name, {*known, *jobs.remembered(state)})
        gpus = tuple(range(self._host.gpus))
        job = job_of(self._argv(work, shards), name, self._host, gpus)
        jobs.start(link, state, Placed(self._host.name, gpus, job))
        return name

    def _argv(self, work: TrainWork, shards: set[str]) -> list[str]:
        """The command line that trains exactly as the step would here."""
        run, pool = self._config.run, self._config.pool
        argv = ["train", "--board", run.board, "--players", str(run.players)]
        argv += ["--pie"] if run.pie_rule else []
        argv += ["--data", f"runs/{pool}/selfplay", "--out", f"{self._there}/{work.out.name}"]
        argv += ["--resume", "--size", self._config.network.size, "--seed", str(work.seed)]
        argv += ["--generation", str(work.cycle)]
        if not work.follows:
            argv += ["--init", f"models/{pool}/{work.parent.path.name}"]
        if work.previous is not None:
            argv += ["--continue", f"{self._there}/{work.previous.name}"]
        for digest in sorted(shards):
            argv += ["--shard", digest]
        for one in fields(Train):
            value = str(getattr(self._config.train, one.name))
            if one.name in OPTIONS:
                argv += [OPTIONS[one.name], value]
            else:
                argv += ["--set", f"{one.name}={value}"]
        return argv

    def _await(self, identity: str, should_stop: ShouldStop) -> str:
        """How the job ended; a link that breaks is opened again."""
        from ringrift_cli.fleet import jobs
        from ringrift_cli.fleet.plan import ACTIVE, GRACE

        asked, heard = False, time.monotonic()
        while True:
            try:
                with self._sync.open(self._host) as link:
                    while True:
                        found = jobs.one(link, identity)
                        heard = time.monotonic()
                        if found["state"] not in ACTIVE:
                            return str(found["state"])
                        if should_stop() and not asked:
                            jobs.stop(link, identity, grace=GRACE)
                            asked = True
                        until = time.monotonic() + POLL
                        while time.monotonic() < until and (asked or not should_stop()):
                            time.sleep(TICK)
            except HostUnreachable:
                if should_stop() or time.monotonic() - heard > SILENCE:
                    raise
                time.sleep(POLL)

    def _fetch(self, link: Link, work: TrainWork) -> None:
        from ringrift_cli.fleet.mirror import bring_folder
        from ringrift_cli.fleet.transfer import Meter

        there = f"{self._there}/{work.out.name}"
        bring_folder(link, there, Path(work.out), STATE, Meter())
