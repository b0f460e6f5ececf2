"""One kind of job kept running on many hosts, and what it makes brought here, until it is enough.

Every host has its own thread: what one of them does, or fails to do, delays no other. A job is on
its host whatever happens to the connection or to this program: its name follows from the campaign,
so whoever comes back finds it again and goes on pulling. Nothing counts but what has arrived.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ringrift_cli.errors import (
    BadOutput,
    FleetError,
    HostKeyError,
    RemoteError,
    RingriftError,
)
from ringrift_cli.fleet import jobs
from ringrift_cli.fleet.health import Health, log_event
from ringrift_cli.fleet.hosts import Host
from ringrift_cli.fleet.link import Link
from ringrift_cli.fleet.plan import ACTIVE, GRACE, Placed, job_of, slots
from ringrift_cli.fleet.status import Opener

POLL = 2.0  # seconds between two looks at a host
REACH = 15.0  # seconds to reach one
WAITS = (2.0, 5.0, 15.0, 30.0)  # seconds after failures in a row; the last for all that follow
MOST_FAILED = 3  # jobs of a host that may fail before it gets no more
LAST_PULLS = 2  # tries to bring the rest, once it is enough


@dataclass
class Part:
    """What one host came to."""

    host: str
    arrived: int = 0  # of what `collect` counts
    failed_jobs: int = 0
    error: str | None = None  # why it does nothing now
    ended: bool = False  # whether nothing of it runs any more, as far as it said


@dataclass(frozen=True)
class Campaign:
    """What is to be done, and how to know that it is."""

    name: str  # the jobs are NAME-HOST, NAME-HOST-gpu0, …
    argv: Sequence[str]  # after `ringrift`
    prepare: Callable[[Host, Link], None]  # before the first job of a host: what it needs there
    collect: Callable[[Host, Link], int]  # brings what is there and new; how much of it
    enough: Callable[[], bool]
    should_stop: Callable[[], bool]
    per_gpu: bool = True


def run(
    campaign: Campaign,
    hosts: Sequence[Host],
    opener: Opener,
    state: Path,
    told: Callable[[Part], None],
) -> list[Part]:
    """Runs the campaign on the hosts until it is enough or asked to stop; what each came to.

    `FleetError` if all hosts are through and it is not enough: then every one has said why.
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
    seen: dict[str, tuple[int, str | None]] = {}
    while any(thread.is_alive() for thread in threads):
        if campaign.enough() or campaign.should_stop():
            done.set()
        for part in parts:
            if seen.get(part.host) != (part.arrived, part.error):
                seen[part.host] = (part.arrived, part.error)
                told(part)
        time.sleep(0.1)
    for worker in workers:
        if worker.broken is not None:
            raise worker.broken
    if not (campaign.enough() or campaign.should_stop()):
        why = "; ".join(f"{part.host}: {part.error}" for part in parts)
        raise FleetError(f"No host goes on with {campaign.name}: {why}.", "ringrift fleet status")
    return parts


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
        self._opener, self._state = opener, state
        self._health = Health(state)
        self._mine: dict[str, Placed] = {}  # by name: jobs that run, as far as is known
        self._failures = 0  # in a row
        self.broken: BaseException | None = None  # what nobody foresaw

    def run(self) -> None:
        """Works until it is enough, or the host can do no more."""
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001  raised in the caller's thread
            self.broken = error

    def _work(self) -> None:
        while not self.done.is_set():
            aside = self._health.set_aside(self.host.name)
            if aside is not None:
                self.part.error = f"set aside: {aside[1]}"
                if aside[0] - time.time() > 3600:
                    break
                self.done.wait(POLL)
                continue
            try:
                with self._opener(self.host, REACH) as link:
                    self._health.succeeded(self.host.name)
                    if not self._tend(link):
                        break
            except (HostKeyError, BadOutput) as error:
                self._fail(error)
                break
            except RingriftError as error:
                self._fail(error)
                self.done.wait(WAITS[min(self._failures, len(WAITS) - 1)])
                self._failures += 1
        self._end()

    def _fail(self, error: RingriftError) -> None:
        self._health.failed(self.host.name, error.message)
        self.part.error = error.message
        log_event(self._state, "host failed", self.host.name, error.message)

    def _tend(self, link: Link) -> bool:
        """Looks after the jobs of a host that is connected until it is enough.

        False if the host gets no more of them.
        """
        self.campaign.prepare(self.host, link)
        self.part.error = None
        while not self.done.is_set():
            going_on = self._keep_busy(link)
            self.part.arrived += self.campaign.collect(self.host, link)
            self._failures = 0
            if not going_on:
                return False
            self.done.wait(POLL)
        return True

    def _keep_busy(self, link: Link) -> bool:
        """Starts a job wherever one may run, also after one that has ended; False to give up."""
        known = jobs.states(link)
        by_name = {job["id"]: job for job in known}
        for job in known:
            if self._ours(job["id"]) and job["state"] in ("failed", "lost"):
                if job["id"] in self._mine:
                    self.part.failed_jobs += 1
                    said = f"{job['id']} {job['state']}, exit {job['code']}"
                    log_event(self._state, "job failed", self.host.name, said)
                if self.part.failed_jobs >= MOST_FAILED:
                    self.part.error = (
                        f"{self.part.failed_jobs} of its jobs failed, the last is {job['id']}:"
                        f" ringrift fleet logs {job['id']}"
                    )
                    return False
        self._mine = {
            name: placed
            for name, placed in self._mine.items()
            if by_name.get(name, {}).get("state") in ACTIVE
        }
        for job in known:  # of an earlier life of this program
            if self._ours(job["id"]) and job["state"] in ACTIVE and job["id"] not in self._mine:
                gpus = tuple(job["meta"].get("gpus", []))
                self._mine[job["id"]] = Placed(self.host.name, gpus, job)
        for gpus in slots(self.host, known, per_gpu=self.campaign.per_gpu):
            identity = self._next_name(gpus, set(by_name))
            job = job_of(self.campaign.argv, identity, self.host, gpus)
            placed = Placed(self.host.name, gpus, job)
            jobs.start(link, self._state, placed)
            self._mine[identity] = placed
            log_event(self._state, "job", self.host.name, f"{identity}: started")
        return True

    def _ours(self, identity: str) -> bool:
        stem = f"{self.campaign.name}-{self.host.name}"
        return identity == stem or identity.startswith((f"{stem}-gpu", f"{stem}."))

    def _next_name(self, gpus: tuple[int, ...], known: set[str]) -> str:
        stem = f"{self.campaign.name}-{self.host.name}"
        if gpus and self.campaign.per_gpu:
            stem += f"-gpu{gpus[0]}"
        number, name = 1, stem
        while name in known or jobs.is_remembered(self._state, name):
            number += 1
            name = f"{stem}.{number}"
        return name

    def _end(self) -> None:
        """Stops what runs there and brings the rest, as far as the host lets us."""
        for last in range(LAST_PULLS):
            try:
                with self._opener(self.host, REACH) as link:
                    active = [
                        job["id"]
                        for job in jobs.states(link)
                        if self._ours(job["id"]) and job["state"] in ACTIVE
                    ]
                    for identity in active:
                        jobs.stop(link, identity, grace=GRACE)
                    for identity in active:
                        if jobs.wait(link, identity, GRACE + 5.0)["state"] in ACTIVE:
                            raise RemoteError(f"{self.host.name}: {identity} does not end.")
                    self.part.arrived += self.campaign.collect(self.host, link)
                    self.part.ended = True
                    return
            except RingriftError as error:
                self._fail(error)
                if last + 1 < LAST_PULLS:
                    time.sleep(WAITS[0])
