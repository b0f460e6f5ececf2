"""The steps of the learning loop as jobs on the hosts of hosts.yaml: `ringrift cycle --fleet`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ringrift_cli.data.retention import games_of, of_cycle
from ringrift_cli.errors import FleetError, HostUnreachable, RecordError, UsageError
from ringrift_cli.fleet import cost, jobs
from ringrift_cli.fleet.campaign import Campaign, Part, run
from ringrift_cli.fleet.client import Client
from ringrift_cli.fleet.destination import Destination
from ringrift_cli.fleet.group import gather
from ringrift_cli.fleet.hosts import Fleet, Host
from ringrift_cli.fleet.plan import Need, unsuitable
from ringrift_cli.fleet.pull import Pulled, pull_over
from ringrift_cli.fleet.push import Bundle, Pushed, Sent, push, push_bundle
from ringrift_cli.fleet.status import ready
from ringrift_cli.loop import journal
from ringrift_cli.loop.fleet_context import FleetContext
from ringrift_cli.loop.protocol import (
    CONFIRMED,
    Meter,
    Played,
    SelfPlayWork,
    ShouldStop,
    TrainWork,
    Watch,
)
from ringrift_cli.loop.remote_training import RemoteTraining
from ringrift_cli.loop.sync_session import SyncSession
from ringrift_cli.settings import Config
from ringrift_cli.store.manifest import SUFFIXES, ShardEntry
from ringrift_cli.text import counted

MAX_HOURS = 6  # of a self-play job that is never stopped
LEAST_GAMES = 16  # of a job: starting one takes seconds
NOTHING = "it played, but no game of it arrived before there were enough"
HEURISTIC = "heuristic"
LEAST_DEADLINE = 5.0  # minimum timeout of a status query in seconds
LAST_PULL = 10.0  # seconds that a transfer may continue after the end of a campaign
DRAINED = "it is drained: ringrift fleet drain --undo"
TRAINS = "it trains"
MONEY = 30.0  # seconds between two budget checks


class FleetMachines:
    """`loop.shared.Machines` over SSH."""

    def __init__(self, session: SyncSession, config: Config, train_on: str | None) -> None:
        """`UsageError` if the host for training is not suitable."""
        self._session, self._config = session, config
        self._train_on, self._permission = train_on, Permission(lambda: session.context)
        self._training: str | None = None  # the host on which training runs now
        self._needs_gpu = False  # whether only a host with GPUs can take over the training
        self._rereading = threading.Lock()
        if train_on is not None:
            trainer = self._context.fleet.one(train_on)
            why = unsuitable(trainer, Need("train", config.run.board))
            if why is not None:
                raise UsageError(f"{train_on} cannot train {config.run.board}: {why}.")
            self._needs_gpu = trainer.gpus > 0
        self.trains = train_on is not None

    @property
    def _context(self) -> FleetContext:
        return self._session.context

    def _reread(self) -> Fleet:
        """Follows changes of hosts.yaml; returns its present contents."""
        with self._rereading:
            self._session.context = self._context.reread(self._session.note)
            return self._context.fleet

    # ---- games ----------------------------------------------------------------------------------

    def generate(
        self, work: SelfPlayWork, *, teacher: bool, meter: Meter, should_stop: ShouldStop
    ) -> Played:
        """See `Machines`."""
        trainer = self._train_on if work.beside_training else None
        known = self._reread()
        over = self._permission.over_budget()
        if over is not None:
            raise FleetError(f"Over budget: {over}.", hint="more `budget:` in hosts.yaml")
        hosts, absent = self._hosts(known.choose(), trainer)
        if not hosts:
            reasons = "; ".join(f"{name}: {why}" for name, why in sorted(absent.items()))
            board = self._config.run.board
            raise FleetError(f"No host can play {board}: {reasons}.", "ringrift fleet status")
        arrived, begun = _Arrived(work, self._session, should_stop), time.monotonic()
        settings = self._session.settings_file(self._config)
        campaign = Campaign(
            f"{self._config.pool}-c{work.cycle:05}",
            journal.read(self._config.folder).identity,
            self._argv(work, settings, teacher=teacher),
            self._preparation(settings, None if teacher else work.model.path),
            arrived.collect,
            lambda: arrived.games >= work.games,
            should_stop,
            self._refuse,
            self._following(known, trainer, absent),
            lambda: self._limit(work.games - arrived.games),
            board=self._config.run.board,
        )
        shown, seen = 0, {host.name for host in hosts}

        def on_progress(part: Part) -> None:
            nonlocal shown
            rate = 3600 * arrived.games / max(time.monotonic() - begun, 1e-9)
            now = min(arrived.games, work.games)
            seen.add(part.host)
            meter.advance(now - shown, f"{counted(len(seen), 'host')}, {rate:,.0f} games/h")
            shown = now

        parts = run(campaign, hosts, self._context.open, self._context.state, on_progress)
        spent = time.monotonic() - begun
        for part in parts:
            absent.pop(part.host, None)
            if part.error is not None or not part.arrived:
                absent[part.host] = part.error or NOTHING
        stopped = arrived.games < work.games
        return Played(arrived.games, None, round(spent, 3), stopped, absent)

    def _argv(self, work: SelfPlayWork, settings: Sent, *, teacher: bool) -> list[str]:
        """The command line of a job without settings; seed and folder follow from the job name."""
        model = HEURISTIC if teacher else f"models/{self._config.pool}/{work.model.path.name}"
        argv = ["selfplay", "--config", settings.path, "--model", model]
        run = () if work.run is None else ("--run", work.run)
        return [*argv, *run, "--generation", str(work.cycle), "--hours", str(MAX_HOURS)]

    def _limit(self, missing: int) -> list[str]:
        """Games of the next job: the share of a slot in those that are missing.

        So fewer games are left over at the end, and a fast host gets another job.
        """
        need = Need("selfplay", self._config.run.board)
        fit = [one for one in self._context.fleet.enabled if unsuitable(one, need) is None]
        slots = sum(max(one.gpus, 1) for one in fit)
        return ["--games", str(max(-(-missing // max(slots, 1)), LEAST_GAMES))]

    def _refuse(self, host: Host) -> str | None:
        """Why a host may start no self-play job now; None if it may."""
        return TRAINS if host.name == self._training else self._permission.refuse(host)

    def _following(
        self, known: Fleet, trainer: str | None, without: dict[str, str]
    ) -> Callable[[Sequence[Host]], Sequence[Host]]:
        """`Campaign.hosts_now`: follows hosts.yaml; new hosts are added if they can take jobs.

        `without`, reasons by host without jobs, gets those of the others.
        """
        used = known.hosts  # as the campaign last saw them

        def hosts_now(so_far: Sequence[Host]) -> Sequence[Host]:
            nonlocal used
            fleet = self._reread()
            if fleet.hosts == used:
                return so_far
            used = fleet.hosts
            stay = [one for one in fleet.enabled if any(map(one.works_like, so_far))]
            new, absent = self._hosts([one for one in fleet.enabled if one not in stay], trainer)
            for name in absent.keys() - without.keys():
                self._session.note(f"{name} gets no jobs: {absent[name]}")
            without.update(absent)
            return [*stay, *new]

        return hosts_now

    def _hosts(
        self, chosen: Sequence[Host], trainer: str | None
    ) -> tuple[list[Host], dict[str, str]]:
        """Of some hosts those that can take self-play jobs, and reasons by host that cannot."""
        need = Need("selfplay", self._config.run.board)
        unfit = {one.name: why for one in chosen if (why := unsuitable(one, need)) is not None}
        unfit |= {name: TRAINS for name in (trainer, self._training) if name is not None}
        found, absent = ready_hosts(self._context, [one for one in chosen if one.name not in unfit])
        return found, unfit | absent

    def _preparation(self, settings: Sent, model: Path | None) -> Callable[[Host, Client], None]:
        """A function that sends a host the settings file and the checkpoint of its jobs."""
        there = f"models/{self._config.pool}"
        files = () if model is None else (model.with_suffix(".safetensors"), model)
        models = (Sent(file, f"{there}/{file.name}") for file in files)
        bundle = Bundle((settings, *models), None)

        def prepare(host: Host, client: Client) -> None:
            push_bundle(client, self._session.exchange(host), bundle, Pushed(host.name))

        return prepare

    # ---- the champion ---------------------------------------------------------------------------

    def bring(self, pool: str) -> dict[str, str]:
        """See `Machines`."""
        self._reread()
        bundles = self._session.bundles(pool)
        answers = gather(
            self._context.fleet.choose(),
            lambda host: push(self._session.exchange(host, 1), bundles=bundles),
        )
        outcomes = {}
        for answer in answers:
            error = answer.error.message if answer.error else "it did not answer"
            sent = answer.value
            outcomes[answer.host.name] = error if sent is None else sent.error or CONFIRMED
        return outcomes

    # ---- training -------------------------------------------------------------------------------

    def train(
        self, work: TrainWork, shards: list[str], watch: Watch, should_stop: ShouldStop
    ) -> None:
        """See `Machines`."""
        self._reread()
        loop = journal.read(self._config.folder).identity
        reasons = []
        for host in self._trainers():
            why = self._cannot_train(host)
            if why is None:
                training = RemoteTraining(
                    self._session, self._config, host, loop, work, shards, should_stop
                )
                self._training = host.name
                try:
                    training.run(watch)
                    return
                except HostUnreachable as error:
                    why = error.message
                finally:
                    self._training = None
            reasons.append(f"{host.name} cannot train now: {why}")
            watch.note(reasons[-1])
        raise FleetError(
            "; ".join(reasons) or f"{self._context.fleet.path} has no host {self._train_on}.",
            hint="ringrift fleet status, or the same command with another --train-on",
        )

    def _trainers(self) -> list[Host]:
        """The host for training, then those that take its work if it is dead.

        A GPU is not replaced by a CPU.
        """
        enabled, need = self._context.fleet.enabled, Need("train", self._config.run.board)
        first = [host for host in enabled if host.name == self._train_on]
        fit = [host for host in enabled if host.gpus or not self._needs_gpu]
        others = [host for host in fit if host not in first]
        return [*first, *(host for host in others if unsuitable(host, need) is None)]

    def _cannot_train(self, host: Host) -> str | None:
        """Why a host cannot train now; None if it can."""
        over = self._permission.refuse(host)
        (seen,) = self._context.look([host], max(self._context.fleet.deadline, LEAST_DEADLINE))
        silent = seen.facts is None and seen.aside is None  # it may still answer
        return over or (None if silent and host.name == self._train_on else ready(seen))


def ready_hosts(context: FleetContext, chosen: Sequence[Host]) -> tuple[list[Host], dict[str, str]]:
    """Of some hosts those that can work now or may answer later, and why the others cannot."""
    found, absent = [], {}
    drained = jobs.drained(context.state)
    deadline = max(context.fleet.deadline, LEAST_DEADLINE)
    for seen in context.look([*chosen], deadline):
        why = f"{DRAINED} {seen.host.name}" if seen.host.name in drained else None
        if seen.facts is not None:  # a silent host may answer later
            why = why or ready(seen)
        if why is None:
            found.append(seen.host)
        else:
            absent[seen.host.name] = why
    return found, absent


class Permission:
    """Whether a host may start a job now: drained hosts and budget."""

    def __init__(self, context: Callable[[], FleetContext]) -> None:
        self._context = context
        self._lock = threading.Lock()
        self._looked = -MONEY
        self._over: str | None = None

    def over_budget(self) -> str | None:
        """Why the budget permits no new work, with costs up to now; None if it does."""
        with self._lock:
            if time.monotonic() - self._looked >= MONEY:
                now = time.time()
                context = self._context()
                ledger = cost.accrue(context.ledger, context.fleet.hosts, {}, now)
                self._over = cost.over_budget(context.fleet, ledger, now)
                self._looked = time.monotonic()
            return self._over

    def refuse(self, host: Host) -> str | None:
        """Why a host may start no job; None if it may."""
        if host.name in jobs.drained(self._context().state):
            return f"{DRAINED} {host.name}"
        over = self.over_budget()
        return None if over is None else f"over budget: {over}"


class _Arrived:
    """Collects and counts the valid games of a `SelfPlayWork`."""

    def __init__(self, work: SelfPlayWork, session: SyncSession, should_stop: ShouldStop) -> None:
        self._work, self._session, self._should_stop = work, session, should_stop
        self._ended = float("inf")  # time at which the end was first noticed
        self._lock = threading.Lock()
        self._before = self._held()
        self.games = 0
        own = session.destination
        self._destination = Destination(own.folders, own.place, self._check, SUFFIXES)

    def _held(self) -> int:
        origins = journal.read(self._work.folder.parent).origins
        return games_of(of_cycle(self._work.folder, origins, self._work.cycle))

    def _check(self, path: Path, entry: ShardEntry, folder: Path) -> None:
        """Validates a shard, including that its job played it for this run."""
        if folder != self._work.folder:
            made = {name: entry.made.get(name) for name in ("run", "generation", "model")}
            raise RecordError(
                f"its job plays for run {self._work.run}, but it was made for {made!r:.200}"
            )
        self._session.destination.check(path, entry, folder)

    def _overdue(self) -> bool:
        """Whether a transfer must end now."""
        now = time.monotonic()
        if self._should_stop() or self.games >= self._work.games:
            self._ended = min(self._ended, now)
        return now - self._ended > LAST_PULL

    def collect(self, _host: Host, client: Client, folders: Sequence[str]) -> Pulled:
        """Pulls new shards from the given folders of a host."""
        try:
            return pull_over(
                client,
                self._session.context.state,
                self._destination,
                should_stop=self._overdue,
                roots=folders,
            )
        finally:  # counts the shards that arrived before an error
            with self._lock:
                self.games = self._held() - self._before
