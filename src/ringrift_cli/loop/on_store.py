"""The learning loop with workers that it reaches through an object store only.

The loop names its player in the store; workers anywhere, also behind NAT, fetch that model, play
and send shards. The loop plays too, and takes in theirs until the cycle has enough games.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ringrift_cli.data.retention import games_of, of_cycle
from ringrift_cli.errors import FleetError, RingriftError
from ringrift_cli.fleet.hosts import Fleet
from ringrift_cli.loop import journal
from ringrift_cli.loop.fleet_context import STATE, FleetContext
from ringrift_cli.loop.local import RealSteps
from ringrift_cli.loop.mirror import Mirror, PlayerNow, WorkerState
from ringrift_cli.loop.protocol import Meter, Played, SelfPlayWork, ShouldStop, derived_seed
from ringrift_cli.loop.sync_session import Reporter, SyncSession
from ringrift_cli.objects.store import opened
from ringrift_cli.selfplay.generate import Generated, generate, of_config
from ringrift_cli.selfplay.worker import GenerateSetting
from ringrift_cli.settings import Config
from ringrift_cli.store.manifest import read_manifest
from ringrift_cli.text import Unrepeated, now

LOOK_S = 10.0  # between two looks into the store


def mirror_of(url: str, config: Config, reporter: Reporter) -> Mirror:
    """The mirror of a pool; `UsageError` for a URL that cannot be."""
    context = FleetContext(config, Fleet(), Path(config.run.folder) / STATE)
    return Mirror(opened(url), SyncSession(context, reporter), config.pool)


class StoreSteps(RealSteps):
    """Implements `Steps` with workers beside this machine."""

    def __init__(self, config: Config, mirror: Mirror, on_notice: Callable[[str], None]) -> None:
        super().__init__(config)
        self._mirror, self._on_notice = mirror, on_notice

    def generate(self, work: SelfPlayWork, meter: Meter, should_stop: ShouldStop) -> Played:
        """Plays here and takes in the games of workers, until there are enough of both."""
        began, before = time.monotonic(), self._held(work)
        enough, ended = threading.Event(), threading.Event()

        def look() -> None:
            published, report = False, Unrepeated(self._on_notice)
            while True:
                try:
                    published = published or self._publish(work)
                    _, refused = self._mirror.pull_shards(ended.is_set)
                    for text in refused:
                        self._on_notice(f"A shard of the store is in quarantine: {text}")
                    report.clear()
                except RingriftError as error:
                    report(f"{error.message} Self-play continues here.")
                if self._held(work) - before >= work.games:
                    enough.set()
                if ended.wait(LOOK_S):
                    return

        looking = threading.Thread(target=look, daemon=True)
        looking.start()
        try:
            here = super().generate(work, meter, lambda: enough.is_set() or should_stop())
        finally:
            ended.set()
            looking.join()
        games = self._held(work) - before
        evaluations = here.evaluations if games == here.games else None  # of workers: unknown
        spent = round(time.monotonic() - began, 3)
        return replace(
            here, games=games, evaluations=evaluations, seconds=spent, stopped=games < work.games
        )

    def _publish(self, work: SelfPlayWork) -> bool:
        """Names the player in the store; workers that began earlier change to it."""
        teacher = work.model == self.teacher()
        if not teacher:
            self._mirror.push_model(work.model.path)
        player = PlayerNow(str(work.run), work.cycle, work.model.identity, teacher)
        self._mirror.publish(player)
        return True

    @staticmethod
    def _held(work: SelfPlayWork) -> int:
        origins = journal.read(work.folder.parent).origins
        return games_of(of_cycle(work.folder, origins, work.cycle))


class StoreWorker:
    """Self-play on this machine with the player that the store names, until stopped."""

    def __init__(
        self, config: Config, mirror: Mirror, folder: Path, on_notice: Callable[[str], None]
    ) -> None:
        self._config, self._mirror, self._folder = config, mirror, folder
        self._failed, self._since = Unrepeated(on_notice), now()
        self.name = f"{socket.gethostname()}-{os.getpid()}"
        self.games, self._began = 0, time.monotonic()
        self._changed = threading.Event()

    def run(
        self,
        seconds: float,
        devices: tuple[str, ...],
        advance: Callable[[Generated], None],
        should_stop: ShouldStop,
    ) -> Generated | None:
        """Plays for `seconds`, changing players with the store; None if there never was one.

        The games of the last player. `FleetError` if the store cannot be read at the beginning.
        """
        until, done = time.monotonic() + seconds, None
        while (left := until - time.monotonic()) > 0 and not should_stop():
            player = self._player()
            if player is None:
                self._beat(None)
                self._wait(min(left, LOOK_S), should_stop)
                continue
            try:
                setting = self._setting(player, devices)
            except RingriftError as error:
                self._report_failure(error)
                self._wait(min(left, LOOK_S), should_stop)
                continue
            done = self._play(player, setting, left, advance, should_stop)
        self._report(None)
        return done

    def _play(
        self,
        player: PlayerNow,
        setting: GenerateSetting,
        seconds: float,
        advance: Callable[[Generated], None],
        should_stop: ShouldStop,
    ) -> Generated:
        """Plays until the player changes, and sends the shards meanwhile."""
        self._changed.clear()
        ended = threading.Event()

        def look() -> None:
            while not ended.wait(LOOK_S):
                self._report(player)

        looking = threading.Thread(target=look, daemon=True)
        looking.start()
        try:
            return generate(
                setting,
                self._folder,
                seconds=seconds,
                advance=lambda _, so_far: advance(so_far),
                should_stop=lambda: self._changed.is_set() or should_stop(),
            )
        finally:
            ended.set()
            looking.join()
            self._report(player)

    def _report(self, player: PlayerNow | None) -> None:
        """Sends shards and heartbeat and looks for another player; a failure is reported once."""
        try:
            self._mirror.push_shards(self._folder)
            self._beat(player)
            if player is not None and self._mirror.player() != player:
                self._changed.set()
            self._failed.clear()
        except RingriftError as error:
            self._report_failure(error)

    def _report_failure(self, error: RingriftError) -> None:
        self._failed(f"{error.message} It is tried again; the games here are kept.")

    def _player(self) -> PlayerNow | None:
        """Who plays; `FleetError` while nothing was played."""
        try:
            return self._mirror.player()
        except RingriftError as error:
            if not self.games:
                raise FleetError(error.message, hint=error.hint) from error
            return None

    def _beat(self, player: PlayerNow | None) -> None:
        games = sum(entry.games for entry in read_manifest(self._folder))
        self.games = games
        rate = 3600 * games / max(time.monotonic() - self._began, 1.0)
        model = player.model if player else ""
        pool = self._config.pool
        state = WorkerState(self.name, pool, model, games, round(rate, 1), self._since)
        self._mirror.beat(self.name, state)

    def _setting(self, player: PlayerNow, devices: tuple[str, ...]) -> GenerateSetting:
        path: Path | None = None
        if not player.teacher:
            self._mirror.fetch_model(player.model)
            path = Path(self._config.run.models) / self._config.pool / f"{player.model}.json"
        # a seed of this worker alone: games that repeat those of others are refused
        seed = derived_seed(self._config.run.seed, self.name, self._since, player.cycle)
        return of_config(
            self._config,
            path,
            player.model,
            seed=seed,
            generation=player.cycle,
            run=player.run,
            devices=devices,
        )

    @staticmethod
    def _wait(seconds: float, should_stop: ShouldStop) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not should_stop():
            time.sleep(0.2)
