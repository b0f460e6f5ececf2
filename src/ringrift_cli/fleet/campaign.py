"""A campaign: keeps one kind of job running on many hosts and pulls its output until done.

Each host has its own thread, so a slow or failing host delays no other, and the others make what it
does not. Hosts may come, go and change meanwhile. Jobs outlive the connection
and this program: their metadata names the campaign and its loop, so a restarted program finds them
and resumes pulling. Jobs of earlier campaigns of the same loop are stopped and their output is
pulled too. Only output that has arrived counts.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ringrift_cli.errors import (
    BadOutput,
    FleetError,
    HostKeyError,
    NotAdmitted,
    RemoteError,
)
from ringrift_cli.fleet import jobs
from ringrift_cli.fleet.clean import tidy
from ringrift_cli.fleet.client import Client
from ringrift_cli.fleet.exchange import jittered
from ringrift_cli.fleet.health import Health
from ringrift_cli.fleet.hosts import Host
from ringrift_cli.fleet.messages import TAKEN, AskFacts, JobMeta, JobState
from ringrift_cli.fleet.plan import GRACE, Placed, fitted, job_of, occupied, slots, taken
from ringrift_cli.fleet.pull import Pulled
from ringrift_cli.fleet.state import log_event
from ringrift_cli.fleet.status import Opener

POLL = 2.0  # seconds between two polls of a host
HOSTS_S = 10.0  # seconds between two looks at which hosts there are
REACH = 15.0  # connection timeout in seconds
LAST_REACH = 5.0  # connection timeout at the end, for a host that was unreachable before
WAITS = (2.0, 5.0, 15.0, 30.0)  # seconds after consecutive failures; the last one repeats
REFUSED_WAIT = 300.0  # seconds after refused keys: hosts may ban frequent attempts
MOST_FAILED = 3  # consecutive failed jobs without output before the host is given up
FAREWELL = 180.0  # seconds for hosts to stop their jobs and send the remaining output
LAST_PULLS = 3  # attempts to pull the remaining output
PATIENCE = 900.0  # seconds without any working host before the campaign fails


@dataclass
class Part:
    """Progress of one host."""

    host: str
    arrived: int = 0  # games
    failed_jobs: int = 0
    error: str | None = None  # why it is not working now
    ended: bool = False  # whether the host confirmed that no job of the loop runs


def anything(_host: Host) -> None:
    """The default of `Campaign.refuse`: accepts every host."""


def unlimited() -> Sequence[str]:
    """The default of `Campaign.limit`: a job works until it is stopped."""
    return ()


def same(hosts: Sequence[Host]) -> Sequence[Host]:
    """The default of `Campaign.hosts_now`: the hosts of the beginning."""
    return hosts


@dataclass(frozen=True)
class Campaign:
    """Definition of a campaign and its end condition."""

    name: str  # jobs are called NAME-HOST, NAME-HOST-gpu0, …
    loop: str  # unique id of the loop that this campaign is part of
    argv: Sequence[str]  # arguments of `ringrift`
    prepare: Callable[[Host, Client], None]  # sends what jobs need, before the first job of a host
    # pulls new output from the given remote folders
    collect: Callable[[Host, Client, Sequence[str]], Pulled]
    enough: Callable[[], bool]
    should_stop: Callable[[], bool]
    refuse: Callable[[Host], str | None] = anything  # why no job may start now, or None
    hosts_now: Callable[[Sequence[Host]], Sequence[Host]] = same  # given the hosts so far
    limit: Callable[[], Sequence[str]] = unlimited  # more arguments, for the next job
    per_gpu: bool = True
    board: str | None = None  # that the jobs need memory for

    def owns(self, job: JobState) -> bool:
        """Whether a job belongs to this loop and runs the same command, so not its training."""
        return job.meta.loop == self.loop and job.argv[1:2] == [*self.argv[:1]]

    def runs(self, job: JobState) -> bool:
        """Whether a job is an active job of this campaign on the host that reports it."""
        return self.owns(job) and job.meta.campaign == self.name and job.here


def run(
    campaign: Campaign,
    hosts: Sequence[Host],
    opener: Opener,
    state: Path,
    on_progress: Callable[[Part], None],
) -> list[Part]:
    """Runs the campaign until `enough` or `should_stop`; returns the progress of each host.

    `FleetError`, with the error of every host, if all hosts have given up or none has worked for
    `PATIENCE`. Local errors, such as a full disk, are propagated.
    """
    crew = _Crew(campaign, opener, state)
    crew.update(hosts)
    crew.start()
    try:
        _watch(campaign, crew, on_progress)
    finally:
        crew.end()
    for worker in crew.workers:
        if worker.broken is not None:
            raise worker.broken
    parts = [worker.part for worker in crew.workers]
    if not (campaign.enough() or campaign.should_stop()):
        why = "; ".join(f"{part.host}: {part.error}" for part in parts)
        raise FleetError(f"No host goes on with {campaign.name}: {why}", "ringrift fleet status")
    return parts


class _Crew:
    """The workers, one per host at a time."""

    def __init__(self, campaign: Campaign, opener: Opener, state: Path) -> None:
        self._campaign, self._opener, self._state = campaign, opener, state
        self._by_host: dict[str, _Worker] = {}
        self.hosts: Sequence[Host] = ()
        self.over: float | None = None  # time at which the end was signalled

    @property
    def workers(self) -> list[_Worker]:
        return [*self._by_host.values()]

    @property
    def goes_on(self) -> bool:
        """Whether any worker is active or awaits its successor."""
        wanted = {host.name for host in self.hosts} if self.over is None else set()
        return any(
            worker.is_alive() or (worker.done.is_set() and worker.host.name in wanted)
            for worker in self.workers
        )

    def update(self, hosts: Sequence[Host]) -> None:
        """Ends the workers of hosts that are gone or have changed."""
        self.hosts = hosts
        now = {host.name: host for host in hosts}
        for worker in self.workers:
            host = now.get(worker.host.name)
            worker.removed = None if host else "hosts.yaml has it no more"
            if host is not None and worker.host.works_like(host):
                worker.host = host
            else:
                worker.done.set()

    def start(self) -> None:
        """Starts the workers of new hosts and of those whose worker ended for a change."""
        for host in self.hosts:
            before = self._by_host.get(host.name)
            if before is None or (before.done.is_set() and not before.is_alive()):
                worker = _Worker(self._campaign, host, self._opener, self._state)
                worker.part.arrived = 0 if before is None else before.part.arrived
                self._by_host[host.name] = worker
                worker.start()

    def end(self) -> None:
        """Signals the end of the campaign."""
        self.over = self.over or time.monotonic()
        for worker in self.workers:
            worker.done.set()


def _watch(campaign: Campaign, crew: _Crew, on_progress: Callable[[Part], None]) -> None:
    """Waits for the workers, reports progress and signals the end of the campaign."""
    seen: dict[str, tuple[int, str | None]] = {}
    looked = time.monotonic()
    while crew.goes_on:
        if crew.over is None:
            if time.monotonic() - looked > HOSTS_S:
                crew.update(campaign.hosts_now(crew.hosts))
                looked = time.monotonic()
            crew.start()
        workers = crew.workers
        idle = time.monotonic() - max(worker.worked for worker in workers)
        broken = any(worker.broken is not None for worker in workers)
        if broken or idle > PATIENCE or campaign.enough() or campaign.should_stop():
            crew.end()
        if crew.over is not None and time.monotonic() - crew.over > FAREWELL:
            for worker in workers:
                if worker.is_alive():
                    worker.part.error = (
                        f"its jobs did not stop within {FAREWELL:.0f} s; the next pull fetches the"
                        " remaining output"
                    )
            return
        for part in (worker.part for worker in workers):
            if seen.get(part.host) != (part.arrived, part.error):
                seen[part.host] = (part.arrived, part.error)
                on_progress(part)
        time.sleep(0.1)


class _Worker(threading.Thread):
    """The thread of one host."""

    def __init__(self, campaign: Campaign, host: Host, opener: Opener, state: Path) -> None:
        super().__init__(daemon=True, name=f"host {host.name}")
        self.campaign, self.host, self.part = campaign, host, Part(host.name)
        self.done = threading.Event()  # the end of the campaign, or of this host's part in it
        self.removed: str | None = None  # why the campaign has this host no more
        self.worked = time.monotonic()  # when a job of this campaign was last seen running
        self.broken: BaseException | None = None  # an error that is not the host's
        self._opener, self._state = opener, state
        self._health = Health(state)
        self._mine: set[str] = set()  # jobs of this campaign that were active at the last poll
        self._stopping: set[str] = set()  # jobs of earlier campaigns that were asked to stop
        self._pulled: dict[str, int] = {}  # number of shards of each job at its last pull
        self._fruitless = 0  # failed jobs since output last arrived
        self._failures = 0  # consecutive failures

    def run(self) -> None:
        """Works until the campaign ends or the host is given up, then stops all its jobs."""
        pull = False
        try:
            pull = self._work()
        except BaseException as error:  # noqa: BLE001  raised in the caller's thread
            self.broken = error
        try:
            self._end(pull=pull)
        except BaseException as error:  # noqa: BLE001
            self.broken = self.broken or error

    def _work(self) -> bool:
        """Works until the campaign ends; returns whether remaining output should be pulled."""
        while not self.done.is_set():
            aside = self._health.set_aside(self.host.name)
            if aside is not None:
                self.part.error = f"set aside: {aside[1]}"
                if aside[0] == math.inf:
                    return False
                self.done.wait(POLL)
                continue
            try:
                with self._opener(self.host, REACH) as client:
                    self._health.succeeded(self.host.name, client.needed_s)
                    if not self._tend(client):
                        return True
            except HostKeyError as error:
                self._fail(error)
                return False
            except FleetError as error:
                self._fail(error)
                pause = WAITS[min(self._failures, len(WAITS) - 1)]
                refused = isinstance(error, NotAdmitted)
                self.done.wait(jittered(REFUSED_WAIT if refused else pause))
                self._failures += 1
        return True

    def _fail(self, error: FleetError) -> None:
        self._health.failed(self.host.name, error)
        self.part.error = error.message
        if isinstance(error, HostKeyError) and error.hint:
            self.part.error += f" Try: {error.hint}"
        log_event(self._state, "host failed", self.host.name, error.message)

    def _tend(self, client: Client) -> bool:
        """Manages the jobs of a connected host until the campaign ends; False to give up."""
        self.campaign.prepare(self.host, client)
        while not self.done.is_set():
            known = jobs.states(client, loop=self.campaign.loop)
            going_on = self._keep_busy(client, known)
            self._collect(client, known)
            self._failures = 0
            if not going_on:
                return False
            self.done.wait(POLL)
        return True

    # ---- jobs -----------------------------------------------------------------------------------

    def _keep_busy(self, client: Client, known: Sequence[JobState]) -> bool:
        """Starts a job in every free slot; returns False to give up the host."""
        self._count_failures(known)
        if self._fruitless >= MOST_FAILED:
            return False
        self._mine = {job.id for job in known if self.campaign.runs(job)}
        self._end_others(client, known)
        refused = full = None
        used, working = taken(known)
        if len(used) < self.host.gpus or not working:
            with jobs.placing(self._state, [self.host.name]):
                known = jobs.states(client)  # another process may have taken a slot
                refused = self.campaign.refuse(self.host)
                full = self._fill(client, known) if refused is None else None
        if self._mine:
            self.worked, self.part.error = time.monotonic(), None
        elif refused is not None:
            self.part.error = refused
            return False
        else:
            busy = [job.id for job in known if job.here]
            self.part.error = f"busy with {', '.join(busy)}" if busy else full
        return True

    def _fill(self, client: Client, known: Sequence[JobState]) -> str | None:
        """Starts a job in every free slot; the reason if there is none."""
        gpus = client.ask(AskFacts(deadline_s=REACH)).gpus or [] if self.host.gpus else []
        free = slots(self.host, known, gpus, per_gpu=self.campaign.per_gpu)
        refused = None
        for slot in free:
            try:
                self._start(client, slot, {job.id for job in known})
            except RemoteError as error:
                if error.kind != TAKEN:  # another coordinator was faster
                    raise
                refused = error.message
        return refused if free else occupied(self.host, known, gpus)

    def _count_failures(self, known: Sequence[JobState]) -> None:
        """Counts jobs that were active at the last poll and have failed since."""
        by_name = {job.id: job for job in known}
        for identity in sorted(self._mine):
            job = by_name.get(identity)
            if job is not None and (
                job.active or job.state == "stopped" or (job.state == "done" and job.games)
            ):
                continue
            self.part.failed_jobs += 1
            self._fruitless += 1
            outcome = "is gone" if job is None else f"{job.state}, exit {job.code}"
            log_event(self._state, "job failed", self.host.name, f"{identity} {outcome}")
            self.part.error = (
                f"{self._fruitless} of its jobs failed, the last is {identity} ({outcome}):"
                f" ringrift fleet logs {identity}"
            )

    def _end_others(self, client: Client, known: Sequence[JobState]) -> None:
        """Asks jobs of earlier campaigns to stop, since they occupy slots; does not wait."""
        for job in known:
            wanted = self.campaign.owns(job) and job.here
            if wanted and not self.campaign.runs(job) and job.id not in self._stopping:
                jobs.stop(client, job.id, grace=GRACE)
                self._stopping.add(job.id)
                detail = f"{job.id} of an earlier cycle was asked to end"
                log_event(self._state, "job", self.host.name, detail)

    def _start(self, client: Client, gpus: tuple[int, ...], known: set[str]) -> None:
        identity = self._next_name(gpus, known)
        campaign = self.campaign
        meta = JobMeta(board=campaign.board, loop=campaign.loop, campaign=campaign.name)
        job = job_of([*campaign.argv, *campaign.limit()], identity, self.host, gpus, meta)
        jobs.start(client, self._state, Placed(self.host.name, gpus, job))
        self._mine.add(identity)
        log_event(self._state, "job", self.host.name, f"{identity}: started")

    def _next_name(self, gpus: tuple[int, ...], known: set[str]) -> str:
        slot = f"-gpu{gpus[0]}" if gpus and self.campaign.per_gpu else ""
        number, name = 1, ""
        known = known | jobs.remembered(self._state).keys()
        while not name or name in known:
            end = slot if number == 1 else f"{slot}.{number}"
            name = fitted(f"{self.campaign.name}-{self.host.name}", end)
            number += 1
        return name

    # ---- output ---------------------------------------------------------------------------------

    def _collect(
        self, client: Client, known: Sequence[JobState], *, all_of_it: bool = False
    ) -> bool:
        """Pulls the new output of jobs of this loop; returns whether all of it is here."""
        found = {job.id: job.shards for job in known if self.campaign.owns(job)}
        new = [name for name, count in found.items() if self._pulled.get(name, 0) != count]
        if all_of_it:
            new = [name for name, count in found.items() if count]
        if not new:
            return True
        pulled = self.campaign.collect(self.host, client, [f"jobs/{name}" for name in new])
        self._pulled |= {name: found[name] for name in new}
        self.part.arrived += pulled.games
        if pulled.games:
            self._fruitless = 0
        return pulled.right and not pulled.stopped

    def _end(self, *, pull: bool) -> None:
        """Stops the jobs of the loop and pulls their remaining output; failures are logged."""
        before, away = self.part.error, self._failures > 0
        for last in [True] if away else [False] * (LAST_PULLS - 1) + [True]:
            try:
                with self._opener(self.host, LAST_REACH if away else REACH) as client:
                    self._stop_all(client)
                    if pull:
                        loop = self.campaign.loop
                        known = jobs.states(client, loop=loop)
                        if self._collect(client, known, all_of_it=True):
                            tidy(client, self._state, loop)
                self.part.error, self.part.ended = self.removed or before, True
                return
            except FleetError as error:
                self._fail(error)
                if self.removed is not None:
                    self.part.error = f"{self.removed}; {error.message}"
                if last or isinstance(error, BadOutput | HostKeyError):
                    return
                time.sleep(WAITS[0])

    def _stop_all(self, client: Client) -> None:
        """Stops all jobs of the loop and waits for their end."""
        known = jobs.states(client, loop=self.campaign.loop)
        active = [job.id for job in known if self.campaign.owns(job) and job.here]
        for identity in active:
            jobs.stop(client, identity, grace=GRACE)
        for identity in active:
            if jobs.wait(client, identity, GRACE + 5.0).active:
                raise RemoteError(f"{self.host.name}: {identity} does not end.")
