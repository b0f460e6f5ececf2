"""`ringrift cycle --fleet --train-on HOST`: a training run as a job on a host.

The run folder is sent to the host, trained there and fetched back, so the run can be resumed
anywhere: at each start the more advanced copy wins. The result is validated like any other
checkpoint.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from ringrift_cli.errors import HostUnreachable, RemoteError
from ringrift_cli.fleet import jobs, listing, messages, transfer
from ringrift_cli.fleet.client import Client
from ringrift_cli.fleet.hosts import Host
from ringrift_cli.fleet.messages import TAKEN, JobMeta, JobState
from ringrift_cli.fleet.mirror import fetch_folder, send_folder
from ringrift_cli.fleet.plan import GRACE, Placed, job_of, occupied, retried, slots
from ringrift_cli.fleet.push import Bundle, Pushed, Sent, push_bundle, push_games
from ringrift_cli.fleet.state import log_event
from ringrift_cli.fleet.transfer import read_file
from ringrift_cli.loop.protocol import ShouldStop, Stopped, TrainWork, Watch
from ringrift_cli.loop.sync_session import SyncSession
from ringrift_cli.settings import Config
from ringrift_cli.store.manifest import SUFFIXES

T = TypeVar("T")
LOOK = 15.0  # seconds for the facts of the host
POLL = 2.0  # seconds between two polls
SILENCE = 600.0  # seconds without contact or without a slot before another host is tried
TICK = 0.2
MAX_LOST = 3  # lost jobs before the step fails
MAX_STATE = 64 << 20  # bytes of a state file
STATE = "state.json"
NO_LIMIT = 1_000_000  # data age is checked here, not by the clock of the host


class RemoteTraining:
    """One training run on one host. `loop` names the run of the learning loop."""

    def __init__(
        self,
        session: SyncSession,
        config: Config,
        host: Host,
        loop: str,
        work: TrainWork,
        shards: list[str],
        should_stop: ShouldStop,
    ) -> None:
        self._session, self._config, self._host, self._loop = session, config, host, loop
        self._work, self._shards, self._should_stop = work, shards, should_stop
        self._name = f"{config.pool}-t{work.cycle:05}"
        self._folder = f"jobs/{config.pool}-train-{loop}"  # on the host; used by this run only
        self._out = f"{self._folder}/{work.out.name}"
        self._names = f"{self._out}.shards"
        self._exchange = session.exchange(host)

    def run(self, watch: Watch) -> None:
        """Trains on the host and fetches the run. `Stopped` if asked to stop; it can be resumed.

        `HostUnreachable` if it is silent or has no slot for this job for `SILENCE`.
        """
        watch.note(f"Training on {self._host.name}.")
        try:
            for _ in range(MAX_LOST):
                ended = self._once(watch)
                if ended == "done":
                    return
                if self._should_stop():
                    raise Stopped
                if ended != "lost":
                    break
                watch.note(f"{self._host.name} went down while it trained; it goes on.")
        except transfer.TransferStopped:
            raise Stopped from None
        raise RemoteError(
            f"{self._host.name}: training ended as {ended}.", hint="ringrift fleet jobs --ended"
        )

    def _once(self, watch: Watch) -> str:
        """Runs one job, or waits for the active one; returns its final state."""
        identity = self._reach(self._begun, watch)
        if identity is None:
            return "done"
        ended = self._reach(lambda client: self._ended(client, identity), watch)
        self._reach(self._fetch, watch)
        if ended == "done":
            self._reach(self._clear_up, watch)
        return ended

    def _reach(self, act: Callable[[Client], T], watch: Watch) -> T:
        """Runs `act` with a client and retries lost connections; errors of the host are propagated.

        `HostUnreachable` after `SILENCE` without contact or without a slot;
        `transfer.TransferStopped` if asked to stop meanwhile, which leaves the job running.
        """
        heard, noted = time.monotonic(), False
        while True:
            reached = False
            try:
                with self._session.open(self._host) as client:
                    reached = True
                    return act(client)
            except (HostUnreachable, RemoteError) as error:
                if isinstance(error, RemoteError) and error.kind not in ("ended", "start", TAKEN):
                    raise
                if isinstance(error, RemoteError) and error.kind == TAKEN:
                    if not noted:
                        watch.note(f"{error.message} It is retried for {SILENCE:.0f} s.")
                    noted = True
                elif reached and isinstance(error, HostUnreachable):
                    heard = time.monotonic()
                log_event(self._session.context.state, "failed", self._host.name, error.message)
                if self._should_stop():
                    raise transfer.TransferStopped from error
                if time.monotonic() - heard > SILENCE:
                    raise HostUnreachable(error.message, error.hint) from error
            _wait(POLL, self._should_stop)

    # ---- start ----------------------------------------------------------------------------------

    def _begun(self, client: Client) -> str | None:
        """The job of this run, started if needed; None if the run is done."""
        mine = self._clear(client)
        if mine is not None:
            return mine
        if self._agree(client):
            return None
        self._bring(client)
        return self._start(client, {job.id for job in jobs.states(client)})

    def _clear(self, client: Client) -> str | None:
        """Returns the active job of this run, if any; otherwise stops other jobs of the loop."""

        def is_ours(job: JobState) -> bool:
            return job.meta.loop == self._loop and job.active

        active = [job for job in jobs.states(client) if is_ours(job)]
        for job in active:
            if job.meta.campaign == self._name:
                return job.id
        for job in active:
            jobs.stop(client, job.id, grace=GRACE)
        for job in active:
            jobs.wait(client, job.id, GRACE + 5.0, self._should_stop)
        return None

    def _agree(self, client: Client) -> bool:
        """Copies the more advanced state to the other end; returns whether the run is done."""
        own = self._work.out
        here = _progress((own / STATE).read_bytes()) if (own / STATE).exists() else None
        data = self._state_there(client)
        there = None if data is None else _progress(data)
        if data is not None and there is None:  # damaged: cannot be resumed
            client.ask(messages.Remove(paths=[self._out]))
        if there is not None and (here is None or there > here):
            self._fetch(client)
            return there[0]
        if here is not None and (there is None or here > there):
            send_folder(client, self._exchange, own, self._out, STATE)
        return here is not None and here[0]

    def _state_there(self, client: Client) -> bytes | None:
        """The state file of the run on the host; None if there is none."""
        path = f"{self._out}/{STATE}"
        if listing.hashes_there(client, [path])[path] is None:
            return None
        return read_file(client, path, MAX_STATE)

    def _bring(self, client: Client) -> None:
        """Sends the inputs of the run: shards, settings, parent and previous run."""
        work, pool, exchange = self._work, self._config.pool, self._exchange
        pushed, games = Pushed(client.host), f"runs/{pool}/selfplay"
        push_games(client, exchange, work.data, games, SUFFIXES, pushed)
        with tempfile.TemporaryDirectory() as folder:
            names = Path(folder) / "shards"
            names.write_text("".join(f"{name}\n" for name in self._shards))
            files = (work.parent.path.with_suffix(".safetensors"), work.parent.path)
            sent = (Sent(path, f"models/{pool}/{path.name}") for path in files)
            bundle = Bundle((self._settings_file(), Sent(names, self._names), *sent), None)
            push_bundle(client, exchange, bundle, pushed)
        if work.previous is not None and (work.previous / STATE).exists():
            there = f"{self._folder}/{work.previous.name}"
            send_folder(client, exchange, work.previous, there, STATE)

    def _start(self, client: Client, known: set[str]) -> str:
        state, identity = self._session.context.state, f"{self._name}-{self._host.name}"
        known |= jobs.remembered(state).keys()
        if identity in known:
            identity = retried(identity, known)
        meta = JobMeta(board=self._config.run.board, loop=self._loop, campaign=self._name)
        with jobs.placing(state, [self._host.name]):
            facts = client.ask(messages.AskFacts(deadline_s=LOOK))
            present, known_jobs = facts.gpus or [], jobs.states(client)
            free = slots(self._host, known_jobs, present, per_gpu=False)
            if not free:
                why = occupied(self._host, known_jobs, present)
                raise RemoteError(f"{self._host.name} cannot train now: {why}.", kind=TAKEN)
            job = job_of(self._argv(), identity, self._host, free[0], meta)
            jobs.start(client, state, Placed(self._host.name, free[0], job))
        return identity

    def _settings_file(self) -> Sent:
        """Settings for training on the host, equal to the local ones except for data age limits."""
        config = self._config
        train = replace(config.train, max_age=NO_LIMIT, max_generations_behind=NO_LIMIT)
        return self._session.settings_file(replace(config, train=train))

    def _argv(self) -> list[str]:
        """The command line of the job, without settings."""
        pool, work = self._config.pool, self._work
        argv = ["train", "--config", self._settings_file().path, "--resume", "--out", self._out]
        argv += ["--data", f"runs/{pool}/selfplay", "--shards", self._names]
        argv += ["--generation", str(work.cycle), "--seed", str(work.seed)]
        argv += [] if self._host.gpus else ["--device", "cpu"]
        if not work.follows:
            argv += ["--init", f"models/{pool}/{work.parent.path.name}"]
        if work.previous is not None:
            argv += ["--continue", f"{self._folder}/{work.previous.name}"]
        return argv

    # ---- end ------------------------------------------------------------------------------------

    def _ended(self, client: Client, identity: str) -> str:
        """Waits for the end of the job, stopping it if asked; returns its final state."""
        asked = False
        while True:
            found = jobs.one(client, identity)
            if not found.active:
                return found.state
            if asked:
                time.sleep(TICK)
            elif self._should_stop():
                jobs.stop(client, identity, grace=GRACE)
                asked = True
            else:
                _wait(POLL, self._should_stop)

    def _fetch(self, client: Client) -> None:
        """Fetches the run if it has a valid state."""
        data = self._state_there(client)
        if data is not None and _progress(data) is not None:
            fetch_folder(client, self._exchange, self._out, self._work.out, STATE)

    def _clear_up(self, client: Client) -> None:
        """Removes runs of earlier cycles on the host, except the one that the next continues."""
        kept = {self._work.out.name, Path(self._names).name}
        kept |= {self._work.previous.name} if self._work.previous is not None else set()
        depth = len(self._folder.split("/"))
        paths = listing.files(client, self._folder, hashed=False)
        old = {path.split("/")[depth] for path, _, _ in paths} - kept
        if old:
            client.ask(messages.Remove(paths=[f"{self._folder}/{name}" for name in sorted(old)]))


def _progress(data: bytes) -> tuple[bool, int] | None:
    """Whether a run is done, and its step, from its state file; None if the file is damaged."""
    try:
        state = json.loads(data)["state"]
        done, step = state["summary"] is not None, state["step"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return (done, step) if type(step) is int and step >= 0 else None


def _wait(seconds: float, should_stop: ShouldStop) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and not should_stop():
        time.sleep(min(TICK, seconds))
