"""Self-play worker process: one model on one device; writes shards."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

from ringrift_cli.data.shard import SearchedGame, write_searched
from ringrift_cli.errors import RingriftError
from ringrift_cli.search.forest import Searches
from ringrift_cli.selfplay.actor import Actor, Counts
from ringrift_cli.selfplay.forests import new_forest
from ringrift_cli.selfplay.reanalyse import Reanalysis
from ringrift_cli.settings import SelfPlay

REPORT_INTERVAL = 0.5  # seconds between reports to the parent process
TEACHER = "tuned"  # heuristic profile used without a model
# Settings that do not affect the games.
NOT_OF_GAMES = ("games_per_cycle", "concurrent", "shard_games", "teacher")
REGISTRY_INTERVAL = 10.0  # seconds between reads of the registry


@dataclass(frozen=True)
class GenerateSetting:
    """Parameters of a self-play run."""

    board: str
    players: int
    pie_rule: bool
    seed: int
    model: Path | None  # checkpoint; None: search with the heuristic profile `TEACHER`
    identity: str  # of that model, or of the heuristic
    play: SelfPlay  # with the number of concurrent games of each process
    generation: int = 0  # of the model, or of the current cycle
    devices: tuple[str, ...] = ("cpu",)  # one process per device: cpu or cuda:N
    follow: Path | None = None  # registry whose latest champion is used
    run: str | None = None  # identity of the run of the learning loop that asked for the games
    sources: tuple[Path, ...] = ()  # shards to search again, instead of playing

    def made(self, identity: str, generation: int, source: str | None = None) -> dict[str, Any]:
        """Provenance of a shard (model, run and search settings) for its manifest entry.

        `source` is the hash of the shard whose games were searched again.
        """
        search = {k: v for k, v in asdict(self.play).items() if k not in NOT_OF_GAMES}
        made = {"model": identity, "generation": generation, "seed": self.seed}
        if source:
            made["reanalysed"] = source
        return {**made, **({"run": self.run} if self.run else {}), "search": search}


@dataclass(frozen=True)
class WorkerReport:
    """Progress of a worker since its last report, or the error that ended it."""

    counts: Counts
    evaluating: float = 0.0  # seconds in the evaluator, over all threads
    shard: Path | None = None
    note: str = ""  # message for the user
    error: RingriftError | None = None
    ended: bool = False


class Flag:
    """Stop flag shared by all processes.

    Lock-free: a killed process would never release a lock.
    """

    def __init__(self, context: Any) -> None:
        self._value: ctypes.c_bool = context.RawValue(ctypes.c_bool, False)

    def is_set(self) -> bool:
        return self._value.value

    def set(self) -> None:
        self._value.value = True


@dataclass(frozen=True)
class WorkerSetup:
    """State shared by the worker processes and their parent."""

    tickets: Synchronized[int]  # games started, or shards to search again
    limit: ctypes.c_longlong  # maximum of these to start
    stop: Flag
    outbox: Connection
    parent: int  # process id


@dataclass(eq=False)
class _Playing:
    """An actor with its unwritten games and the progress reported so far."""

    actor: Actor | Reanalysis
    clock: Callable[[], float]  # seconds in the evaluator
    identity: str  # of its model
    generation: int
    games: list[SearchedGame] = field(default_factory=list)  # finished, not yet in a shard
    reported: Counts = field(default_factory=Counts)
    reported_seconds: float = 0.0


class WorkerThread:
    """Thread of concurrent games: the current actor, and earlier ones that finish their games."""

    def __init__(self, worker: Worker, share: int) -> None:
        self._worker, self._share = worker, share
        self._actors: list[_Playing] = []
        self._began = 0  # actors so far; only the latest starts new games

    def run(self) -> None:
        """Plays, or searches again, until there is nothing more to begin."""
        if self._worker.setting.sources:
            self._reanalyse()
        else:
            self._play()

    def _reanalyse(self) -> None:
        """Searches one source shard after another; one that was interrupted is dropped."""
        worker, setting = self._worker, self._worker.setting
        forest, clock = self._forest(worker.evaluator(setting.model))
        reanalysis = Reanalysis(forest, setting.play, setting.seed)
        one = _Playing(reanalysis, clock, setting.identity, setting.generation)
        self._actors.append(one)
        reported = time.monotonic()
        while not worker.must_stop() and (number := worker.next_number()) is not None:
            reanalysis.begin(setting.sources[number])
            while not one.games and not worker.must_stop():
                one.games = reanalysis.step()
                if time.monotonic() - reported >= REPORT_INTERVAL:
                    reported = time.monotonic()
                    self._report()
            self._write(one, reanalysis.source)
        if not worker.orphaned():
            self._report()

    def _play(self) -> None:
        worker, setting = self._worker, self._worker.setting
        self._add(setting.model, setting.identity, setting.generation)
        looked = reported = time.monotonic()
        while any(one.actor.playing for one in self._actors) and not worker.must_stop():
            for one in self._actors:
                if one.actor.playing:
                    one.games += one.actor.step()
                if len(one.games) >= setting.play.shard_games:
                    self._write(one)
            self._drop_finished()
            now = time.monotonic()
            if now - reported >= REPORT_INTERVAL:
                reported = now
                self._report()
            if setting.follow is not None and now - looked >= REGISTRY_INTERVAL:
                looked = now
                self._look(setting.follow)
        if not worker.orphaned():
            for one in self._actors:
                self._write(one)
            self._report()

    def _add(self, path: Path | None, identity: str, generation: int) -> None:
        worker, setting = self._worker, self._worker.setting
        forest, clock = self._forest(worker.evaluator(path))
        self._began += 1
        number = self._began
        actor = Actor(
            setting.board,
            setting.players,
            setting.play,
            forest,
            lambda: worker.next_number() if self._began == number else None,
            seed=worker.seed,
            pie_rule=setting.pie_rule,
        )
        self._actors.append(_Playing(actor, clock, identity, generation))

    def _forest(self, evaluator: Any) -> tuple[Searches, Callable[[], float]]:
        """Trees on the device of the worker, and the clock of their evaluations."""
        worker, setting = self._worker, self._worker.setting
        forest, clock = new_forest(
            setting.board, setting.players, setting.play, evaluator, self._share, worker.device,
            lambda note: worker.report(WorkerReport(Counts(), note=note)),
        )  # fmt: skip
        self._share = len(forest)  # may have been reduced to fit into memory
        return forest, clock

    def _drop_finished(self) -> None:
        """Releases earlier actors without games in progress, to free the memory of their trees."""
        over = [one for one in self._actors[:-1] if not one.actor.playing]
        if over:
            for one in over:
                self._write(one)
            self._report()
            self._actors = [one for one in self._actors if one not in over]

    def _look(self, registry: Path) -> None:
        """Uses a new champion, if there is one, for the games started from now on."""
        from ringrift_cli.nn.checkpoint import generation_of
        from ringrift_cli.nn.registry import Registry, pool_name

        setting = self._worker.setting
        pool = pool_name(setting.board, setting.players, setting.pie_rule)
        champion = Registry(registry).champion(pool)
        if champion is not None and champion.identity != self._actors[-1].identity:
            self._add(champion.path, champion.identity, generation_of(champion.about))

    def _write(self, one: _Playing, source: str | None = None) -> None:
        if not one.games:
            return
        setting = self._worker.setting
        made = setting.made(one.identity, one.generation, source)
        path = write_searched(
            self._worker.folder, made, one.games, setting.board, setting.players, setting.pie_rule
        )
        one.games.clear()
        self._worker.report(WorkerReport(Counts(), shard=path))

    def _report(self) -> None:
        for one in self._actors:
            now, seconds = Counts(**asdict(one.actor.counts)), one.clock()
            more = {
                name: value - getattr(one.reported, name) for name, value in asdict(now).items()
            }
            self._worker.report(WorkerReport(Counts(**more), seconds - one.reported_seconds))
            one.reported, one.reported_seconds = now, seconds


def lines_on(device: str) -> int:
    """Threads per process: two on a GPU, to overlap tree search and network evaluation."""
    return 1 if device == "cpu" else 2


class Worker:
    """State shared by the threads of a worker process."""

    def __init__(
        self, setting: GenerateSetting, folder: Path, device: str, seed: int, shared: WorkerSetup
    ) -> None:
        self.setting, self.folder, self.device, self.seed = setting, folder, device, seed
        self._shared = shared
        self._lock = threading.Lock()

    def orphaned(self) -> bool:
        """Whether the parent process has ended."""
        return os.getppid() != self._shared.parent

    def must_stop(self) -> bool:
        return self._shared.stop.is_set() or self.orphaned()

    def next_number(self) -> int | None:
        """Number of the next game; None if the limit is reached."""
        tickets = self._shared.tickets
        with tickets.get_lock():
            number = tickets.value
            if number >= self._shared.limit.value:
                return None
            tickets.value = number + 1
            return number

    def report(self, report: WorkerReport) -> None:
        with self._lock:
            self._shared.outbox.send(report)

    def evaluator(self, path: Path | None) -> Any:
        setting = self.setting
        if path is None:
            from ringrift_cli.players.spec import teacher

            return teacher(TEACHER, setting.board, setting.players)
        from ringrift_cli.players.model import network_evaluator

        return network_evaluator(path, setting.board, setting.players, self.device, "auto")

    def run(self) -> None:
        """Plays in `lines_on(device)` threads, each with an equal share of the concurrent games."""
        lines = lines_on(self.device)
        share = -(-self.setting.play.concurrent // lines)

        def play() -> None:
            try:
                WorkerThread(self, share).run()
            except BaseException:
                self._shared.stop.set()
                raise

        with ThreadPoolExecutor(max(1, lines - 1)) as pool:
            others = [pool.submit(play) for _ in range(lines - 1)]
            play()
            for other in others:
                other.result()  # an error in any thread fails the process


def work(
    setting: GenerateSetting, folder: Path, device: str, seed: int, shared: WorkerSetup
) -> None:
    """Main function of a worker process. Only the parent stops it; signals are ignored."""
    for number in (signal.SIGINT, signal.SIGTERM):  # both may be sent to the whole process group
        signal.signal(number, signal.SIG_IGN)
    if device == "cpu":
        import torch

        torch.set_num_threads(1)
    worker = Worker(setting, folder, device, seed, shared)
    try:
        worker.run()
        worker.report(WorkerReport(Counts(), ended=True))
    except RingriftError as error:
        worker.report(WorkerReport(Counts(), error=error))
    except BrokenPipeError:
        pass  # the parent has ended
