"""One kind of job kept running on many hosts, and what it makes brought here, until it is enough.

Every host has its own thread: what one of them does, or fails to do, delays no other. A job is on
its host whatever happens to the connection or to this program: it carries the names of its campaign
and of the loop that this is part of, so whoever comes back finds it again and goes on pulling. Jobs
of an earlier campaign of the same loop give way, and what they have left is brought too. Nothing
counts but what has arrived.
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
    HostUnreachable,
    RemoteError,
)
from ringrift_cli.fleet import jobs
from ringrift_cli.fleet.client import Client
from ringrift_cli.fleet.exchange import jittered
from ringrift_cli.fleet.health import Health
from ringrift_cli.fleet.hosts import Host
from ringrift_cli.fleet.messages import JobState
from ringrift_cli.fleet.plan import GRACE, Placed, job_of, slots
from ringrift_cli.fleet.state import log_event
from ringrift_cli.fleet.status import Opener

POLL = 2.0  # seconds between two looks at a host
REACH = 15.0  # seconds to reach one
LAST_REACH = 5.0  # the same at the end, of one that was out of reach before
WAITS = (2.0, 5.0, 15.0, 30.0)  # seconds after failures in a row; the last for all that follow
MOST_FAILED = 3  # jobs that may fail, with nothing arriving between, before there are no more
FAREWELL = 180.0  # seconds that hosts have to end their jobs and send the rest
LAST_PULLS = 3  # tries to bring the rest, once it is enough
PATIENCE = 900.0  # seconds in which no host works before that is an error
LONGEST_NAME = 64  # of a job
LOOP, CAMPAIGN = "loop", "campaign"  # in the `meta` of a job


@dataclass
class Part:
    """What one host came to."""

    host: str
    arrived: int = 0  # of what `collect` counts
    failed_jobs: int = 0
    error: str | None = None  # why it does nothing now
    ended: bool = False  # whether nothing of it runs any more, as far as it said


def anything(_host: Host) -> None:
    """Nothing speaks against a job."""


@dataclass(frozen=True)
class Campaign:
    """What is to be done, and how to know that it is."""

    name: str  # the jobs are NAME-HOST, NAME-HOST-gpu0, …
    loop: str  # what it is part of: the same for all its campaigns, and for no other's
    argv: Sequence[str]  # after `ringrift`
    prepare: Callable[[Host, Client], None]  # before the first job of a host: what it needs there
    # brings what is there and new from the folders that are named; how much of it
    collect: Callable[[Host, Client, Sequence[str]], int]
    enough: Callable[[], bool]
    should_stop: Callable[[], bool]
    refuse: Callable[[Host], str | None] = anything  # why a host may begin no job now
    per_gpu: bool = True

    def owns(self, job: JobState) -> bool:
        """Whether a job is one of this loop."""
        return job.meta.loop == self.loop

    def runs(self, job: JobState) -> bool:
        """Whether a job is one of this campaign that has not ended."""
        return self.owns(job) and job.meta.campaign == self.name and job.active


def run(
    campaign: Campaign,
    hosts: Sequence[Host],
    opener: Opener,
    state: Path,
    told: Callable[[Part], None],
) -> list[Part]:
    """Runs the campaign on the hosts until it is enough or asked to stop; what each came to.

    `FleetError` if all hosts are through and it is not enough, or none has worked for `PATIENCE`:
    then every one has said why. Errors of this machine, as of a full disk here, come through.
    """
    parts = [Part(host.name) for host in hosts]
    done = threading.Event()
    workers = [
        _Worker(campaign, host, opener, state, part, done)
        for host, part in zip(hosts, parts, strict=True)
    ]
    threads = [
        threading.Thread(target=worker.run, daemon=True, name=f"host {worker.host.name}")
        for worker in workers
    ]
    for thread in threads:
        thread.start()
    try:
        _watch(campaign, workers, threads, told)
    finally:
        done.set()
    for worker in workers:
        if worker.broken is not None:
            raise worker.broken
    if not (campaign.enough() or campaign.should_stop()):
        why = "; ".join(f"{part.host}: {part.error}" for part in parts)
        raise FleetError(f"No host goes on with {campaign.name}: {why}", "ringrift fleet status")
    return parts


def _watch(
    campaign: Campaign,
    workers: Sequence[_Worker],
    threads: Sequence[threading.Thread],
    told: Callable[[Part], None],
) -> None:
    """Waits for the threads, and tells them when it is over."""
    seen: dict[str, tuple[int, str | None]] = {}
    over: float | None = None  # since when
    while any(thread.is_alive() for thread in threads):
        idle = time.monotonic() - max(worker.worked for worker in workers)
        broken = any(worker.broken is not None for worker in workers)
        if broken or idle > PATIENCE or campaign.enough() or campaign.should_stop():
            workers[0].done.set()
            over = over or time.monotonic()
        if over is not None and time.monotonic() - over > FAREWELL:
            for worker, thread in zip(workers, threads, strict=True):
                if thread.is_alive():
                    worker.part.error = (
                        f"it does not let go within {FAREWELL:.0f} s; what it made and is not here"
                        " comes with the next pull"
                    )
            return
        for part in (worker.part for worker in workers):
            if seen.get(part.host) != (part.arrived, part.error):
                seen[part.host] = (part.arrived, part.error)
                told(part)
        time.sleep(0.1)


class _Worker:
    """The thread of one host."""

    def __init__(
        self,
        campaign: Campaign,
        host: Host,
        opener: Opener,
        state: Path,
        part: Part,
        done: threading.Event,
    ) -> None:
        self.campaign, self.host, self.part, self.done = campaign, host, part, done
        self.worked = time.monotonic()  # when a job of this campaign was last seen to run there
        self.broken: BaseException | None = None  # what is no fault of the host
        self._opener, self._state = opener, state
        self._health = Health(state)
        self._mine: set[str] = set()  # jobs that run, as far as is known
        self._asked: set[str] = set()  # jobs of earlier campaigns that were asked to end
        self._brought: dict[str, int] = {}  # shards of each job when they were last brought
        self._fruitless = 0  # failed jobs since something arrived
        self._failures = 0  # in a row, to do anything there

    def run(self) -> None:
        """Works until it is enough, or the host can do no more; then nothing is left running."""
        bring = False
        try:
            bring = self._work()
        except BaseException as error:  # noqa: BLE001  raised in the caller's thread
            self.broken = error
        try:
            self._end(bring=bring)
        except BaseException as error:  # noqa: BLE001
            self.broken = self.broken or error

    def _work(self) -> bool:
        """Until it is over; whether what is there then is to be brought."""
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
                    self._health.succeeded(self.host.name)
                    if not self._tend(client):
                        return True
            except HostKeyError as error:
                self._fail(error)
                return False
            except FleetError as error:
                self._fail(error)
                self.done.wait(jittered(WAITS[min(self._failures, len(WAITS) - 1)]))
                self._failures += 1
        return True

    def _fail(self, error: FleetError) -> None:
        if isinstance(error, HostUnreachable | HostKeyError):
            self._health.failed(self.host.name, error.message)
        self.part.error = error.message
        log_event(self._state, "host failed", self.host.name, error.message)

    def _tend(self, client: Client) -> bool:
        """Looks after the jobs of a host that is connected until it is enough.

        False if the host gets no more of them.
        """
        self.campaign.prepare(self.host, client)
        while not self.done.is_set():
            known = jobs.states(client)
            going_on = self._keep_busy(client, known)
            self._collect(client, known)
            self._failures = 0
            if not going_on:
                return False
            self.done.wait(POLL)
        return True

    # ---- jobs -----------------------------------------------------------------------------------

    def _keep_busy(self, client: Client, known: Sequence[JobState]) -> bool:
        """Starts a job wherever one may run, also after one that has ended; False to give up."""
        self._count_failures(known)
        if self._fruitless >= MOST_FAILED:
            return False
        self._mine = {job.id for job in known if self.campaign.runs(job)}
        self._end_others(client, known)
        why = None
        if slots(self.host, known, per_gpu=self.campaign.per_gpu):
            with jobs.placing(self._state, [self.host.name]):
                known = jobs.states(client)  # somebody may have taken a place meanwhile
                why = self.campaign.refuse(self.host)
                free = slots(self.host, known, per_gpu=self.campaign.per_gpu)
                for gpus in free if why is None else []:
                    self._start(client, gpus, {job.id for job in known})
        if self._mine:
            self.worked, self.part.error = time.monotonic(), None
        elif why is not None:
            self.part.error = why
            return False
        else:
            busy = [job.id for job in known if job.active]
            self.part.error = f"busy with {', '.join(busy) or 'nothing that it names'}"
        return True

    def _count_failures(self, known: Sequence[JobState]) -> None:
        """Notes the jobs that ran when it was last looked and have come to nothing since."""
        by_name = {job.id: job for job in known}
        for identity in sorted(self._mine):
            job = by_name.get(identity)
            if job is not None and (
                job.active or job.state == "stopped" or (job.state == "done" and job.games)
            ):
                continue
            self.part.failed_jobs += 1
            self._fruitless += 1
            said = "is gone" if job is None else f"{job.state}, exit {job.code}"
            log_event(self._state, "job failed", self.host.name, f"{identity} {said}")
            self.part.error = (
                f"{self._fruitless} of its jobs failed, the last is {identity} ({said}):"
                f" ringrift fleet logs {identity}"
            )

    def _end_others(self, client: Client, known: Sequence[JobState]) -> None:
        """Asks what an earlier campaign has left running to end: it would take the place of ours.

        Nobody waits for it: its place is free at one of the next looks.
        """
        for job in known:
            wanted = self.campaign.owns(job) and job.active
            if wanted and not self.campaign.runs(job) and job.id not in self._asked:
                jobs.stop(client, job.id, grace=GRACE)
                self._asked.add(job.id)
                said = f"{job.id} of an earlier cycle was asked to end"
                log_event(self._state, "job", self.host.name, said)

    def _start(self, client: Client, gpus: tuple[int, ...], known: set[str]) -> None:
        identity = self._next_name(gpus, known)
        meta = {LOOP: self.campaign.loop, CAMPAIGN: self.campaign.name}
        job = job_of(self.campaign.argv, identity, self.host, gpus, **meta)
        jobs.start(client, self._state, Placed(self.host.name, gpus, job))
        self._mine.add(identity)
        log_event(self._state, "job", self.host.name, f"{identity}: started")

    def _next_name(self, gpus: tuple[int, ...], known: set[str]) -> str:
        slot = f"-gpu{gpus[0]}" if gpus and self.campaign.per_gpu else ""
        number, name = 1, ""
        known = known | jobs.remembered(self._state).keys()
        while not name or name in known:
            end = slot if number == 1 else f"{slot}.{number}"
            name = f"{self.campaign.name}-{self.host.name}"[: LONGEST_NAME - len(end)] + end
            number += 1
        return name

    # ---- what they make -------------------------------------------------------------------------

    def _collect(
        self, client: Client, known: Sequence[JobState], *, all_of_it: bool = False
    ) -> None:
        """Brings what jobs of this loop have made since it was last looked."""
        found = {job.id: job.shards for job in known if self.campaign.owns(job)}
        new = [name for name, count in found.items() if self._brought.get(name, 0) != count]
        if all_of_it:
            new = [name for name, count in found.items() if count]
        if not new:
            return
        arrived = self.campaign.collect(self.host, client, [f"jobs/{name}" for name in new])
        self._brought |= {name: found[name] for name in new}
        self.part.arrived += arrived
        if arrived:
            self._fruitless = 0

    def _end(self, *, bring: bool) -> None:
        """Stops what runs there and brings the rest, as far as the host lets us."""
        before, away = self.part.error, self._failures > 0
        for last in [True] if away else [False] * (LAST_PULLS - 1) + [True]:
            try:
                with self._opener(self.host, LAST_REACH if away else REACH) as client:
                    self._stop_all(client)
                    if bring:
                        self._collect(client, jobs.states(client), all_of_it=True)
                self.part.error, self.part.ended = before, True
                return
            except FleetError as error:
                self._fail(error)
                if last or isinstance(error, BadOutput | HostKeyError):
                    return
                time.sleep(WAITS[0])

    def _stop_all(self, client: Client) -> None:
        """Asks all jobs of the loop to end and waits until they have."""
        active = [job.id for job in jobs.states(client) if self.campaign.owns(job) and job.active]
        for identity in active:
            jobs.stop(client, identity, grace=GRACE)
        for identity in active:
            if jobs.wait(client, identity, GRACE + 5.0).active:
                raise RemoteError(f"{self.host.name}: {identity} does not end.")
