"""How fast a GPU plays, sees, evaluates and searches; one setting at a time.

Each of these takes the device by torch's name. Everything compiles before a clock starts.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ringrift_cli.game import layout as L
from ringrift_cli.game import playout
from ringrift_cli.game.cuda.batch import DeviceBatch
from ringrift_cli.game.cuda.device import Device
from ringrift_cli.game.position import Position
from ringrift_cli.game.topology import tables
from ringrift_cli.nn.cuda.evaluator import Encoder
from ringrift_cli.nn.evaluator import picked_precision
from ringrift_cli.nn.features import global_count, plane_count
from ringrift_cli.nn.folded import Folded
from ringrift_cli.nn.network import Network, architecture
from ringrift_cli.search.cuda.forest import DeviceForest
from ringrift_cli.search.cuda.sequence import Sequence
from ringrift_cli.selfplay.actor import Actor
from ringrift_cli.selfplay.forests import on_gpu
from ringrift_cli.selfplay.worker import lines_on
from ringrift_cli.settings import SelfPlay

SEED = 2026
ROUND = 20  # passes of a network between two looks at the clock


@dataclass(frozen=True)
class PlayoutSpeed:
    """Random games, of all rows of a device together."""

    games: float  # a second
    decisions: float  # a second


class Playouts:
    """Random games on a device, `rows` at a time, in one of two orders of memory."""

    def __init__(
        self, board: str, players: int, device: str, rows: int, *, by_word: bool = False
    ) -> None:
        """torch.OutOfMemoryError if there is too little memory."""
        self._rows, self._device = rows, Device(device)
        self._batch = DeviceBatch(board, players, rows, self._device, by_word=by_word)
        self._batch.play_many(self._device.moved(playout.game_seeds(SEED, 0, rows)))
        self._next = rows

    def play(self, games: int) -> tuple[int, float]:
        """Plays so many games that were not played before to their ends: decisions and seconds."""
        seeds = self._device.moved(playout.game_seeds(SEED, self._next, games))
        self._next += games
        self._device.wait()
        start = time.perf_counter()
        lengths = self._batch.play_many(seeds)
        self._device.wait()
        spent = time.perf_counter() - start
        return int(lengths.sum().item()), spent


def random_playouts(
    board: str, players: int, device: str, *, rows: int, games: int, by_word: bool
) -> PlayoutSpeed:
    """Plays `games` complete random games, `rows` at a time, in one of two orders of memory."""
    decisions, spent = Playouts(board, players, device, rows, by_word=by_word).play(games)
    return PlayoutSpeed(games / spent, decisions / spent)


def middle_games(board: str, players: int, count: int, device: Device) -> DeviceBatch:
    """Random games about halfway to their ends."""
    batch = DeviceBatch(board, players, count, device)
    plies = int(tables(board, players)[L.T_CELLS]) // 2
    batch.play_random(device.moved(playout.game_seeds(SEED, 0, count)), plies)
    return batch


def seeing_seconds(board: str, players: int, device: str, count: int, repeats: int) -> float:
    """Seconds for features and masks of legal actions of `count` positions."""
    there = Device(device)
    batch = middle_games(board, players, count, there)
    encoder = Encoder(tables(board, players), count, there)
    mask = batch.mask()

    def see() -> None:
        encoder.encode(batch.rows)
        batch.mask(mask)

    see()
    there.wait()
    start = time.perf_counter()
    for _ in range(repeats):
        see()
    there.wait()
    return (time.perf_counter() - start) / repeats


def new_network(size: str, board: str, players: int, device: str, precision: str) -> Folded:
    """A new network of a size on a device, in "auto" or another precision (nn/evaluator.py)."""
    torch.manual_seed(0)
    made = architecture(size, board, players)
    where = torch.device(device)
    dtype = picked_precision(precision, where, made.channels)
    return Folded(Network(made).eval(), where, dtype)


class NetworkAlone:
    """Passes of a network over as many positions as asked, and nothing else."""

    def __init__(
        self, network: Folded, board: str, players: int, batch: int, device: Device
    ) -> None:
        width = int(tables(board, players)[L.T_ROWS])
        planes = device.zeros(batch, width, width, plane_count(players), of=torch.uint8)
        scalars = device.zeros(batch, global_count(players), of=torch.float32)
        self._batch, self._device = batch, device

        def judge() -> None:
            network.positions(planes, scalars)

        with device.active():
            self._pass = Sequence(judge)

    def rate(self, seconds: float) -> float:
        """Positions a second."""
        done, start = 0, time.perf_counter()
        with self._device.active():
            while time.perf_counter() - start < seconds:
                for _ in range(ROUND):
                    self._pass.run()
                self._device.wait()
                done += ROUND * self._batch
        return done / (time.perf_counter() - start)


def network_rate(
    network: Folded, board: str, players: int, device: str, batches: tuple[int, ...], seconds: float
) -> dict[int, float]:
    """Positions a second of a network alone, by batch size."""
    there = Device(device)
    return {
        batch: NetworkAlone(network, board, players, batch, there).rate(seconds)
        for batch in batches
    }


class Indifferent:
    """Says the same of everything, at no cost: what is left is the time of the trees."""

    def __init__(self, board: str, players: int, games: int, device: Device) -> None:
        most = int(tables(board, players)[L.T_MAX_LEGAL])
        self.wrong = device.zeros(1)
        self._logits = device.zeros(games, most, of=torch.float32)
        self._values = device.zeros(games, players, of=torch.float32) + 1 / players

    def judge(self, _rows: Tensor, _lists: Tensor, _counts: Tensor) -> tuple[Tensor, Tensor]:
        return self._logits, self._values


def trees_alone(
    board: str, players: int, device: str, *, games: int, simulations: int, seconds: float
) -> float:
    """Leaves a second of searches of the start of the game, with noise and without a network."""
    there = Device(device)
    T, judge = tables(board, players), Indifferent(board, players, games, there)
    forest = DeviceForest(T, games, judge, there, simulations=simulations)
    start = Position.initial(board, players).row
    seeds = playout.game_seeds(SEED, 0, games).tolist()

    def search() -> None:
        for g, seed in enumerate(seeds):
            forest.place(g, start, seed)
            forest.begin(g, simulations, 16, 1.0)
        over = 0
        while over < games:
            over += len(forest.step())

    search()
    before, waited = forest.evaluated, forest.waited
    begun = time.perf_counter()
    while time.perf_counter() - begun < seconds:
        search()
    return (forest.evaluated - before) / (forest.waited - waited)


@dataclass(frozen=True)
class GpuSelfPlay:
    """Self-play on one GPU, in as many lines as in earnest."""

    games: float  # a second
    decisions: float  # a second
    evaluations: float  # a second
    cramped: int  # how often a tree had too little room (search/cuda/memory.py)


def all_in_full(sims: int) -> SelfPlay:
    """Every decision is searched in full: what the network's share is measured at."""
    return SelfPlay(sims=sims, fast_sims=sims, full_share=1.0)


def selfplay(
    board: str,
    players: int,
    network: Folded,
    device: str,
    setting: SelfPlay,
    *,
    games: int,
    seconds: float,
) -> GpuSelfPlay:
    """Plays `games` games at once for so long, after two decisions to warm up."""
    lines = lines_on(device)
    tickets = itertools.count()
    forests: list[DeviceForest] = []
    actors: list[Actor] = []
    for line in range(lines):
        forests.append(on_gpu(board, players, setting, network, -(-games // lines), device))
        actors.append(
            Actor(board, players, setting, forests[-1], lambda: next(tickets), seed=SEED + line)
        )

    def step_for(actor: Actor, going: Callable[[int], bool]) -> None:
        steps = 0
        while going(steps):
            actor.step()
            steps += 1

    def on_all_lines(going: Callable[[int], bool]) -> None:
        with ThreadPoolExecutor(lines) as pool:
            for done in [pool.submit(step_for, actor, going) for actor in actors]:
                done.result()

    def counted() -> np.ndarray:
        each = [(a.counts.games, a.counts.decisions, a.counts.evaluations) for a in actors]
        total: np.ndarray = np.array(each).sum(axis=0)
        return total

    on_all_lines(lambda steps: steps < 2 * setting.sims)
    before, start = counted(), time.perf_counter()
    on_all_lines(lambda _steps: time.perf_counter() - start < seconds)
    spent = time.perf_counter() - start
    played, decided, evaluated = ((counted() - before) / spent).tolist()
    return GpuSelfPlay(played, decided, evaluated, sum(forest.cramped for forest in forests))


def search_memory(
    board: str, players: int, network: Folded, device: str, games: int, simulations: int, steps: int
) -> tuple[int, int]:
    """Bytes that a device's trees and network take at most, and cramped searches, in `steps` steps.

    All of `games` games are searched from the start with so many simulations a decision.
    """
    if device != "cpu":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    setting = all_in_full(simulations)
    forest = on_gpu(board, players, setting, network, games, device)
    tickets = itertools.count()
    actor = Actor(board, players, setting, forest, lambda: next(tickets), seed=SEED)
    for _ in range(steps):
        actor.step()
    used = 0 if device == "cpu" else torch.cuda.max_memory_reserved(device)
    return used, forest.cramped
