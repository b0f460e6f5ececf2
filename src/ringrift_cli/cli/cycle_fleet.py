"""`ringrift cycle --fleet`: the steps of the loop as jobs on the hosts of hosts.yaml."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ringrift_cli.cli.sync_work import ENDINGS, Work
from ringrift_cli.config import Config, SelfPlay
from ringrift_cli.errors import FleetError, RecordError
from ringrift_cli.words import counted

if TYPE_CHECKING:
    from ringrift_cli.fleet.campaign import Part
    from ringrift_cli.fleet.hosts import Host
    from ringrift_cli.fleet.link import Link
    from ringrift_cli.stages.cycle_parts import (
        Meter,
        Played,
        SelfPlayWork,
        ShouldStop,
        TrainWork,
        Watch,
    )

MOST_HOURS = 6  # of a job: what a host plays on its own if nobody comes back to stop it
LOOP_ONLY = ("games_per_cycle", "concurrent", "teacher")  # of the section selfplay
HEURISTIC = "heuristic"


class FleetMachines:
    """`stages.cycle_shared.Machines` over SSH."""

    def __init__(self, work: Work, config: Config, train_on: str | None) -> None:
        self._work, self._base, self._config = work, work.base, config
        self._train_on = train_on
        self.trains = train_on is not None

    # ---- games ----------------------------------------------------------------------------------

    def generate(
        self, work: SelfPlayWork, *, teacher: bool, meter: Meter, should_stop: ShouldStop
    ) -> Played:
        """See `Machines`."""
        from ringrift_cli.fleet.campaign import Campaign, run
        from ringrift_cli.stages.cycle_parts import Played

        argv = self._argv(work, teacher=teacher)
        hosts, absent = self._hosts(argv)
        arrived, begun = _Arrived(work, self._work), time.monotonic()
        campaign = Campaign(
            f"{self._config.pool}-c{work.cycle:05}",
            argv,
            self._preparation(None if teacher else work.model.path),
            arrived.collect,
            lambda: arrived.games >= work.games,
            should_stop,
        )
        shown = 0

        def told(_part: Part) -> None:
            nonlocal shown
            rate = 3600 * arrived.games / max(time.monotonic() - begun, 1e-9)
            now = min(arrived.games, work.games)
            meter.advance(now - shown, f"{counted(len(hosts), 'host')}, {rate:,.0f} games/h")
            shown = now

        parts = run(campaign, hosts, self._base.open, self._base.state, told)
        spent = time.monotonic() - begun
        absent |= {part.host: part.error for part in parts if part.error is not None}
        stopped = arrived.games < work.games
        return Played(arrived.games, None, round(spent, 3), stopped, absent)

    def _argv(self, work: SelfPlayWork, *, teacher: bool) -> list[str]:
        """The command line of a job; its seed and its folder follow from its name."""
        run = self._config.run
        model = HEURISTIC if teacher else f"models/{self._config.pool}/{work.model.path.name}"
        argv = ["selfplay", "--board", run.board, "--players", str(run.players)]
        argv += ["--pie"] if run.pie_rule else []
        argv += ["--model", model, "--generation", str(work.cycle), "--hours", str(MOST_HOURS)]
        own, default = self._config.selfplay, SelfPlay()
        for one in fields(SelfPlay):
            value = getattr(own, one.name)
            if one.name not in LOOP_ONLY and value != getattr(default, one.name):
                argv += ["--set", f"selfplay.{one.name}={value}"]
        return argv

    def _hosts(self, argv: list[str]) -> tuple[list[Host], dict[str, str]]:
        """Hosts that may have such jobs and can be given some; of the others why not."""
        from ringrift_cli.fleet import cost, jobs
        from ringrift_cli.fleet.plan import need_of, unsuitable
        from ringrift_cli.fleet.status import ready

        over = cost.over_budget(self._base.fleet, cost.read(self._base.state), time.time())
        if over is not None:
            raise FleetError(f"Over budget: {over}.", hint="more `budget:` in hosts.yaml")
        need, ours, absent = need_of(argv), self._base.ours(), {}
        hosts = [h for h in self._base.chosen(None, None, False) if unsuitable(h, need) is None]
        drained = jobs.drained(self._base.state)
        found = []
        for one in self._base.look(hosts, max(self._base.fleet.deadline, 5.0)):
            why = "it is drained" if one.host.name in drained else None
            if one.facts is not None:  # one that is silent now may answer later
                why = why or ready(one, ours)
            if why is None:
                found.append(one.host)
            else:
                absent[one.host.name] = why
        if not found:
            why = "; ".join(f"{name}: {said}" for name, said in absent.items())
            raise FleetError(
                f"No host can play {need.board}" + (f": {why}." if why else "."),
                hint="ringrift fleet status",
            )
        return found, absent

    def _preparation(self, model: Path | None) -> Callable[[Host, Link], None]:
        """What a host needs before it plays: the checkpoint, wherever it lies here."""
        from ringrift_cli.fleet.push import Bundle, Sent, push_model

        files = () if model is None else (model.with_suffix(".safetensors"), model)
        there = f"models/{self._config.pool}"
        bundle = Bundle(tuple(Sent(file, f"{there}/{file.name}") for file in files), None)

        def prepare(_host: Host, link: Link) -> None:
            if files:
                push_model(link, self._base.state, bundle)

        return prepare

    # ---- the champion ---------------------------------------------------------------------------

    def bring(self, pool: str) -> dict[str, str]:
        """See `Machines`."""
        from ringrift_cli.fleet.group import gather
        from ringrift_cli.fleet.push import push_model

        bundles = self._work.bundles(pool)

        def act(host: Host) -> None:
            with self._work.open(host) as link:
                for bundle in bundles:
                    push_model(link, self._base.state, bundle)

        answers = gather(self._base.chosen(None, None, False), act)
        return {
            answer.host.name: "confirmed" if answer.error is None else answer.error.message
            for answer in answers
        }

    # ---- training -------------------------------------------------------------------------------

    def train(
        self, work: TrainWork, shards: set[str], watch: Watch, should_stop: ShouldStop
    ) -> None:
        """See `Machines`."""
        from ringrift_cli.cli.cycle_train import TrainElsewhere

        assert self._train_on is not None
        host = self._base.fleet.choose([self._train_on])[0]
        TrainElsewhere(self._work, self._config, host).run(work, shards, watch, should_stop)


class _Arrived:
    """The games of one piece of work that have come here and are right."""

    def __init__(self, work: SelfPlayWork, sync: Work) -> None:
        from ringrift_cli.fleet.destination import Destination

        self._work, self._sync = work, sync
        self._lock = threading.Lock()
        self._before = self._held()
        self.games = 0
        own = sync.destination
        self._destination = Destination(own.folders, own.place, self._check, ENDINGS)

    def _held(self) -> int:
        from ringrift_cli.stages.cycle_data import games_of, of_cycle

        return games_of(of_cycle(self._work.folder, self._work.cycle))

    def _check(self, path: Path, entry: Mapping[str, Any], folder: Path) -> None:
        """The usual check, and that games of this cycle are those of its model."""
        made, expected = entry.get("made"), self._work.model.identity
        if isinstance(made, dict) and made.get("generation") == self._work.cycle:
            ours = folder == self._work.folder
            if ours and made.get("model") != expected:
                raise RecordError(
                    f"{path.name} is of model {made.get('model')!r:.40}, but that of cycle"
                    f" {self._work.cycle} is {expected}."
                )
        self._sync.destination.check(path, entry, folder)

    def collect(self, host: Host, link: Link) -> int:
        """Brings what is new on a host; how many games."""
        from ringrift_cli.fleet.sync import pull_over

        pulled = pull_over(link, self._sync.base.state, self._destination)
        if pulled.files:
            with self._lock:
                self.games = self._held() - self._before
        return pulled.games
