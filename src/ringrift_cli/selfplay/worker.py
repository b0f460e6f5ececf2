"""A process of self-play: it plays with one model on one device and writes shards."""

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
from ringrift_cli.selfplay.actor import Actor, Counts
from ringrift_cli.selfplay.forests import planted
from ringrift_cli.settings import SelfPlay

TELL_EVERY = 0.5  # seconds between two reports to the process that waits
TEACHER = "tuned"  # the profile of the heuristic that plays where there is no model
# Settings of self-play that change no game.
NOT_OF_GAMES = ("games_per_cycle", "concurrent", "shard_games", "teacher")
LOOK_EVERY = 10.0  # seconds between two looks at the registry


@dataclass(frozen=True)
class GenerateSetting:
    """A run of self-play: its settings, and what is no setting."""

    board: str
    players: int
    pie_rule: bool
    seed: int
    model: Path | None  # a checkpoint; None: search with the heuristic of `TEACHER`
    identity: str  # of that model, or of the heuristic
    play: SelfPlay  # with the number of concurrent games of each process
    generation: int = 0  # of that model, or the cycle that it plays for
    devices: tuple[str, ...] = ("cpu",)  # one process for each: cpu or cuda:N
    follow: Path | None = None  # a registry whose champion plays as soon as there is a new one

    def made(self, identity: str, generation: int) -> dict[str, Any]:
        """How a shard's games were made, and by which model; as its manifest entry has it."""
        search = {k: v for k, v in asdict(self.play).items() if k not in NOT_OF_GAMES}
        made = {"model": identity, "generation": generation, "seed": self.seed}
        return {**made, "search": search}


@dataclass(frozen=True)
class Told:
    """What a process reports: what it did since it last told, or why it cannot go on."""

    counts: Counts
    evaluating: float = 0.0  # seconds in the evaluator, of all its threads
    shard: Path | None = None
    note: str = ""  # what a person should know
    error: RingriftError | None = None
    ended: bool = False


class Flag:
    """Tells all processes at once that they are to stop.

    It has no lock, which a process that is killed would hold for ever.
    """

    def __init__(self, context: Any) -> None:
        """`context` is one of multiprocessing's, whose processes are given the flag."""
        self._value: ctypes.c_bool = context.RawValue(ctypes.c_bool, False)

    def is_set(self) -> bool:
        return self._value.value

    def set(self) -> None:
        self._value.value = True


@dataclass(frozen=True)
class WorkerSetup:
    """What a process of self-play shares with the others, and with the one that started it."""

    tickets: Synchronized[int]  # games that were begun
    limit: ctypes.c_longlong  # games to begin at most
    stop: Flag
    outbox: Connection
    parent: int  # process id


@dataclass(eq=False)
class _Playing:
    """An actor, and what became of its games."""

    actor: Actor
    clock: Callable[[], float]  # seconds in the evaluator
    identity: str  # of its model
    generation: int
    games: list[SearchedGame] = field(default_factory=list)  # over, but in no shard yet
    told: Counts = field(default_factory=Counts)  # what was reported of it
    told_seconds: float = 0.0


class WorkerMessage:
    """One line of games in a process: an actor, and those before it whose last games go on."""

    def __init__(self, worker: Worker, share: int) -> None:
        self._worker, self._share = worker, share
        self._actors: list[_Playing] = []
        self._began = 0  # actors so far; the last one begins new games

    def run(self) -> None:
        worker, setting = self._worker, self._worker.setting
        self._add(setting.model, setting.identity, setting.generation)
        looked = told = time.monotonic()
        while any(one.actor.playing for one in self._actors) and not worker.must_stop():
            for one in self._actors:
                if one.actor.playing:
                    one.games += one.actor.step()
                if len(one.games) >= setting.play.shard_games:
                    self._write(one)
            self._drop_finished()
            now = time.monotonic()
            if now - told >= TELL_EVERY:
                told = now
                self._tell()
            if setting.follow is not None and now - looked >= LOOK_EVERY:
                looked = now
                self._look(setting.follow)
        if not worker.orphaned():
            for one in self._actors:
                self._write(one)
            self._tell()

    def _add(self, path: Path | None, identity: str, generation: int) -> None:
        worker, setting = self._worker, self._worker.setting
        evaluator = worker.evaluator(path)
        forest, clock = planted(
            setting.board, setting.players, setting.play, evaluator, self._share, worker.device,
            lambda note: worker.tell(Told(Counts(), note=note)),
        )  # fmt: skip
        self._share = len(forest)  # what did not fit now will not fit later
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

    def _drop_finished(self) -> None:
        """Lets go of actors before the last one whose games are over: their trees are large."""
        over = [one for one in self._actors[:-1] if not one.actor.playing]
        if over:
            for one in over:
                self._write(one)
            self._tell()
            self._actors = [one for one in self._actors if one not in over]

    def _look(self, registry: Path) -> None:
        """Takes over the champion, if there is another one: the next games are its."""
        from ringrift_cli.nn.checkpoint import generation_of
        from ringrift_cli.nn.registry import Registry, pool_name

        setting = self._worker.setting
        pool = pool_name(setting.board, setting.players, setting.pie_rule)
        champion = Registry(registry).champion(pool)
        if champion is not None and champion.identity != self._actors[-1].identity:
            self._add(champion.path, champion.identity, generation_of(champion.about))

    def _write(self, one: _Playing) -> None:
        if not one.games:
            return
        setting = self._worker.setting
        made = setting.made(one.identity, one.generation)
        path = write_searched(
            self._worker.folder, made, one.games, setting.board, setting.players, setting.pie_rule
        )
        one.games.clear()
        self._worker.tell(Told(Counts(), shard=path))

    def _tell(self) -> None:
        for one in self._actors:
            now, seconds = Counts(**asdict(one.actor.counts)), one.clock()
            more = {name: value - getattr(one.told, name) for name, value in asdict(now).items()}
            self._worker.tell(Told(Counts(**more), seconds - one.told_seconds))
            one.told, one.told_seconds = now, seconds


def lines_on(device: str) -> int:
    """Lines of games in a process: two on a GPU, so that trees grow while it computes."""
    return 1 if device == "cpu" else 2


class Worker:
    """What the lines of games of a process share."""

    def __init__(
        self, setting: GenerateSetting, folder: Path, device: str, seed: int, shared: WorkerSetup
    ) -> None:
        self.setting, self.folder, self.device, self.seed = setting, folder, device, seed
        self._shared = shared
        self._lock = threading.Lock()

    def orphaned(self) -> bool:
        """Whether the process that waits for this one is gone: then nobody counts what it does."""
        return os.getppid() != self._shared.parent

    def must_stop(self) -> bool:
        return self._shared.stop.is_set() or self.orphaned()

    def next_number(self) -> int | None:
        """The number of the next game; None when there are no more."""
        tickets = self._shared.tickets
        with tickets.get_lock():
            number = tickets.value
            if number >= self._shared.limit.value:
                return None
            tickets.value = number + 1
            return number

    def tell(self, told: Told) -> None:
        with self._lock:
            self._shared.outbox.send(told)

    def evaluator(self, path: Path | None) -> Any:
        setting = self.setting
        if path is None:
            from ringrift_cli.players.spec import teacher

            return teacher(TEACHER, setting.board, setting.players)
        from ringrift_cli.players.model import network_evaluator

        return network_evaluator(path, setting.board, setting.players, self.device, "auto")

    def run(self) -> None:
        """Plays in as many lines as the device has, each with its share of the games."""
        lines = lines_on(self.device)
        share = -(-self.setting.play.concurrent // lines)

        def play() -> None:
            try:
                WorkerMessage(self, share).run()
            except BaseException:
                self._shared.stop.set()
                raise

        with ThreadPoolExecutor(max(1, lines - 1)) as pool:
            others = [pool.submit(play) for _ in range(lines - 1)]
            play()
            for other in others:
                other.result()  # a line that failed fails the process, whatever the reason


def work(
    setting: GenerateSetting, folder: Path, device: str, seed: int, shared: WorkerSetup
) -> None:
    """The main function of the process, which the process that started it stops, no signal."""
    for number in (signal.SIGINT, signal.SIGTERM):  # they may go to all processes of a group
        signal.signal(number, signal.SIG_IGN)
    if device == "cpu":
        import torch

        torch.set_num_threads(1)
    worker = Worker(setting, folder, device, seed, shared)
    try:
        worker.run()
        worker.tell(Told(Counts(), ended=True))
    except RingriftError as error:
        worker.tell(Told(Counts(), error=error))
    except BrokenPipeError:
        pass  # the process that waits is gone
