"""GPU benchmarks by component: random games, encoding, network, trees, self-play.

Compilation is not timed. In the CUDA simulator the device is torch's "cpu".
"""

from __future__ import annotations

import time
from functools import partial

import torch
from torch import Tensor

from ringrift_cli.bench.measure import BenchSubject, Rates
from ringrift_cli.bench.search import Searching
from ringrift_cli.bench.selfplay import PlayLine, in_threads, summed
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
from ringrift_cli.search.gumbel import considered_actions
from ringrift_cli.selfplay.forests import on_gpu
from ringrift_cli.selfplay.worker import lines_on
from ringrift_cli.settings import SelfPlay

SEED = 2026
PASSES = 20  # of a network between checks of the time


class DevicePlayouts:
    """Random games on a device, `rows` at a time, in one of two memory layouts."""

    def __init__(
        self, board: str, players: int, device: str, rows: int, *, by_word: bool = False
    ) -> None:
        """torch.OutOfMemoryError if there is too little memory."""
        self._device = Device(device)
        self._batch = DeviceBatch(board, players, rows, self._device, by_word=by_word)
        self._batch.play_many(self._device.moved(playout.game_seeds(SEED, 0, rows)))
        self._next = rows

    def play(self, games: int) -> tuple[int, float]:
        """Plays `games` more games; returns decisions and seconds."""
        seeds = self._device.moved(playout.game_seeds(SEED, self._next, games))
        self._next += games
        self._device.wait()
        start = time.perf_counter()
        lengths = self._batch.play_many(seeds)
        self._device.wait()
        spent = time.perf_counter() - start
        return int(lengths.sum().item()), spent


def encoding_seconds(subject: BenchSubject, count: int, repeats: int) -> float:
    """Seconds for features and masks of `count` mid-game positions."""
    T, there = tables(subject.board, subject.players), Device(subject.device)
    batch = DeviceBatch(subject.board, subject.players, count, there)
    seeds = there.moved(playout.game_seeds(SEED, 0, count))
    batch.play_random(seeds, int(T[L.T_CELLS]) // 2)
    encoder = Encoder(T, count, there)
    mask = batch.mask()
    start = 0.0
    for repeat in range(repeats + 1):  # the first is not timed
        encoder.encode(batch.rows)
        batch.mask(mask)
        if repeat == 0:
            there.wait()
            start = time.perf_counter()
    there.wait()
    return (time.perf_counter() - start) / repeats


def new_network(subject: BenchSubject) -> Folded:
    """A new network on a device, in the fastest precision of a GPU, or the simulator's float32."""
    torch.manual_seed(0)
    made = architecture(subject.size, subject.board, subject.players)
    device = torch.device(subject.device)
    precision = "auto" if device.type == "cuda" else "float32"
    return Folded(Network(made).eval(), device, picked_precision(precision, device, made.channels))


class NetworkAlone:
    """Forward passes of a network over a fixed batch."""

    def __init__(self, subject: BenchSubject, network: Folded, batch: int) -> None:
        players, self._device = subject.players, Device(subject.device)
        width = int(tables(subject.board, players)[L.T_ROWS])
        planes = self._device.zeros(batch, width, width, plane_count(players), of=torch.uint8)
        scalars = self._device.zeros(batch, global_count(players), of=torch.float32)
        self._batch = batch

        def evaluate() -> None:
            network.positions(planes, scalars)

        with self._device.active():
            self._pass = Sequence(evaluate)

    def rate(self, seconds: float) -> float:
        """Positions per second."""
        done, start = 0, time.perf_counter()
        with self._device.active():
            while time.perf_counter() - start < seconds:
                for _ in range(PASSES):
                    self._pass.run()
                self._device.wait()
                done += PASSES * self._batch
        return done / (time.perf_counter() - start)


class _Indifferent:
    """Constant evaluator of negligible cost, to time the tree search alone."""

    def __init__(self, board: str, players: int, games: int, device: Device) -> None:
        most = int(tables(board, players)[L.T_MAX_LEGAL])
        self.wrong = device.zeros(1)
        self._logits = device.zeros(games, most, of=torch.float32)
        self._values = device.zeros(games, players, of=torch.float32) + 1 / players

    def evaluate(self, _rows: Tensor, _lists: Tensor, _counts: Tensor) -> tuple[Tensor, Tensor]:
        return self._logits, self._values


def free_forest(board: str, players: int, play: SelfPlay, games: int, device: str) -> DeviceForest:
    """Trees of `games` games on a device with a free evaluator.

    torch.OutOfMemoryError if there is too little memory.
    """
    there = Device(device)
    return DeviceForest(
        tables(board, players),
        games,
        _Indifferent(board, players, games, there),
        there,
        simulations=play.sims,
        exploration=play.exploration,
        value_scale=play.value_scale,
        considered=considered_actions(play.sims, play.considered),
    )


def all_full(sims: int) -> SelfPlay:
    """Every decision with the same number of simulations."""
    return SelfPlay(sims=sims, fast_sims=sims, full_share=1.0)


def trees_alone(subject: BenchSubject, games: int, sims: int, seconds: float) -> float:
    """Simulations per second of searches from the start of the game, without a network."""
    board, players = subject.board, subject.players
    forest = free_forest(board, players, all_full(sims), games, subject.device)
    searching = Searching(forest, Position.initial(board, players).row[None], all_full(sims))
    for _ in range(2 * sims):
        searching.step()
    return searching.rates(seconds)[0]


def selfplay(
    subject: BenchSubject, network: Folded, sims: int, games: int, seconds: float
) -> tuple[Rates, int]:
    """Self-play in as many threads as in production: rates, and number of cramped searches."""
    play, count = all_full(sims), lines_on(subject.device)
    share = -(-games // count)
    forests = [
        on_gpu(subject.board, subject.players, play, network, share, subject.device)
        for _ in range(count)
    ]
    lines = [PlayLine(subject, play, forest, SEED + i) for i, forest in enumerate(forests)]
    with in_threads(count) as together:
        together([partial(line.warm_up, 2 * sims) for line in lines])
        rates = summed(together([partial(line.play, seconds) for line in lines]))
    return rates, sum(forest.cramped for forest in forests)


def search_memory(
    subject: BenchSubject, network: Folded, games: int, sims: int, steps: int
) -> tuple[int, int]:
    """Peak bytes of trees and network on a device, and number of cramped searches.

    `games` games are searched from the start with `sims` simulations per decision.
    """
    on_cuda = subject.device != "cpu"
    if on_cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(subject.device)
    play = all_full(sims)
    forest = on_gpu(subject.board, subject.players, play, network, games, subject.device)
    PlayLine(subject, play, forest, SEED).warm_up(steps)
    used = torch.cuda.max_memory_reserved(subject.device) if on_cuda else 0
    return used, forest.cramped
