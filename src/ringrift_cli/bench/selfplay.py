"""How much of its evaluator self-play uses: both measured in turn, in the same processes.

Each process plays in as many lines as in real self-play (generate_worker.py), each in a thread of
its own, and keeps what its searches asked for. Then it alternates: a round of self-play, a round in
which the evaluators answer kept questions and nothing else happens, in batches of several sizes. On
a GPU no question comes back to be asked again: there the network is measured alone (gpu_bench.py).
All processes are in the same kind of round at the same time, so both are measured on a machine that
is equally busy.
"""

from __future__ import annotations

import itertools
import multiprocessing
import signal
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Barrier
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ringrift_cli.errors import RingriftError, UsageError
from ringrift_cli.game.playout import LongArray
from ringrift_cli.game.topology import IntArray
from ringrift_cli.runtime.machine import TooLittleMemory, peak_bytes
from ringrift_cli.runtime.processes import SOON, ProcessGroup
from ringrift_cli.search.forest import Searches
from ringrift_cli.search.tree import FloatArray
from ringrift_cli.selfplay.actor import Actor
from ringrift_cli.selfplay.forests import on_cpu, on_gpu
from ringrift_cli.selfplay.mid_game import positions_under_way
from ringrift_cli.selfplay.worker import lines_on
from ringrift_cli.settings import SelfPlay

if TYPE_CHECKING:
    from ringrift_cli.bench.gpu import NetworkAlone

KEPT = 64  # batches that the evaluator is asked again
FACTORS = (1, 2, 4)  # of the batch that a line of self-play makes, for the evaluator alone
WARM_STEPS = 80  # searches of all depths are under way then
PATIENCE = 300.0  # seconds for a process to begin or end a round

Batch = tuple[IntArray, IntArray, LongArray]
T = TypeVar("T")


@dataclass(frozen=True)
class BenchSetting:
    """What is measured. Without a `model` the network is a new one of `size`."""

    board: str
    players: int
    devices: tuple[str, ...]
    size: str = "small"
    model: str | None = None
    concurrent: int = 128  # games at a time in each process
    seconds: float = 4.0  # of a round
    rounds: int = 3
    factors: tuple[int, ...] = FACTORS  # none: the evaluator is not measured alone


@dataclass(frozen=True)
class SelfPlaySpeed:
    """Evaluations a second over all processes, in the best round of each."""

    setting: BenchSetting
    precision: str
    games: float  # a second
    decisions: float  # a second
    selfplay: float
    alone: dict[int, float]  # by batch size
    ratio: float | None  # the median over the rounds; None if nothing was measured alone
    rounds: tuple[float, ...]  # evaluations a second of self-play in each round
    memory: int  # bytes that the processes held at most, all together
    before: int  # bytes of these that they held before there were games

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "board": self.setting.board,
            "players": self.setting.players,
            "devices": list(self.setting.devices),
            "network": self.setting.model or self.setting.size,
            "precision": self.precision,
            "concurrent": self.setting.concurrent,
            "games_per_s": self.games,
            "decisions_per_s": self.decisions,
            "selfplay_evals_per_s": self.selfplay,
            "evaluator_evals_per_s": {str(size): rate for size, rate in self.alone.items()},
            "ratio": self.ratio,
            "memory_bytes": self.memory,
        }


@dataclass(frozen=True)
class _Round:
    """What one process did in one round of each kind."""

    games: float
    decisions: float
    selfplay: float
    alone: dict[int, float]
    precision: str
    memory: int  # bytes that the process held at most
    before: int  # bytes of these that it held before there were games


def measure(setting: BenchSetting, advance: Callable[[], None] = lambda: None) -> SelfPlaySpeed:
    """Runs the rounds; `advance` is told of each.

    `TooLittleMemory` if the games do not fit, another `RingriftError` if a process fails.
    """
    if setting.rounds < 1 or setting.seconds <= 0:
        raise UsageError("A measurement takes a round or more, and a time above 0.")
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(len(setting.devices))
    receivers = []
    with ProcessGroup(context, len(setting.devices)) as group:
        for number, device in enumerate(setting.devices):
            receiving, sending = context.Pipe(duplex=False)
            name = f"ringrift-bench-{number}"
            group.start(work, setting, device, number, barrier, sending, name=name)
            sending.close()
            receivers.append(receiving)
        rounds = []
        for _ in range(setting.rounds):
            rounds.append(_heard(receivers, group.processes))
            advance()
        return _speed(setting, rounds)


def _heard(receivers: list[Connection], processes: list[SpawnProcess]) -> list[_Round]:
    """What all processes did in a round; the error of the first that says one."""
    told: list[_Round] = []
    errors: list[RingriftError] = []
    ended: list[SpawnProcess] = []
    for receiving, process in zip(receivers, processes, strict=True):
        try:
            heard = receiving.recv()
        except EOFError:
            ended.append(process)
            continue
        (errors if isinstance(heard, RingriftError) else told).append(heard)
    if errors:
        raise errors[0]
    if ended:
        raise ended_early(ended[0])
    return told


def ended_early(process: SpawnProcess) -> RingriftError:
    """Why a process of a measurement told nothing more."""
    process.join(SOON)
    if process.exitcode == -signal.SIGKILL:
        return TooLittleMemory("A process of the measurement was killed, as for lack of memory.")
    return RingriftError(
        f"A process of the measurement ended with exit code {process.exitcode} before it was done."
    )


def _speed(setting: BenchSetting, rounds: list[list[_Round]]) -> SelfPlaySpeed:
    sizes = rounds[0][0].alone

    def rates(of: Callable[[_Round], float]) -> list[float]:
        return [sum(of(each) for each in together) for together in rounds]

    alone = {size: rates(lambda r, size=size: r.alone[size]) for size in sizes}  # type: ignore[misc]
    played = rates(lambda r: r.selfplay)
    ratio = None
    if sizes:
        saturated = [max(alone[size][i] for size in sizes) for i in range(len(rounds))]
        ratio = statistics.median(a / b for a, b in zip(played, saturated, strict=True))
    return SelfPlaySpeed(
        setting,
        rounds[0][0].precision,
        max(rates(lambda r: r.games)),
        max(rates(lambda r: r.decisions)),
        max(played),
        {size: max(found) for size, found in alone.items()},
        ratio,
        tuple(played),
        sum(one.memory for one in rounds[-1]),
        sum(one.before for one in rounds[-1]),
    )


class _Keeping:
    """An evaluator that keeps its last questions."""

    def __init__(self, evaluator: Any) -> None:
        self.evaluator = evaluator
        self.kept: list[Batch] = []

    def evaluate(
        self, rows: IntArray, actions: IntArray, offsets: LongArray
    ) -> tuple[FloatArray, FloatArray]:
        if len(self.kept) < KEPT:
            self.kept.append((rows, actions, offsets))
        found: tuple[FloatArray, FloatArray] = self.evaluator.evaluate(rows, actions, offsets)
        return found


class _Line:
    """A line of games, and what it kept for its evaluator to be asked again."""

    def __init__(
        self, setting: BenchSetting, evaluator: Any, share: int, seed: int, device: str = "cpu"
    ) -> None:
        self.evaluator = evaluator
        self._keeping = _Keeping(evaluator)
        self._questions: list[Batch] = []
        play, tickets = SelfPlay(), itertools.count()
        forest: Searches
        if device == "cpu":
            forest = on_cpu(setting.board, setting.players, play, self._keeping, share)
        else:
            network = evaluator.network
            forest = on_gpu(setting.board, setting.players, play, network, share, device)
        self._actor = Actor(
            setting.board, setting.players, play, forest, lambda: next(tickets), seed=seed
        )
        rows = positions_under_way(setting.board, setting.players, share, seed)
        for slot, row in enumerate(rows):
            self._actor.resume(slot, row, slot)

    def warm_up(self) -> None:
        for _ in range(WARM_STEPS):
            self._actor.step()
        self._keeping.kept.clear()

    def play(self, seconds: float) -> tuple[float, float, float]:
        """Games, decisions and evaluations a second."""
        counts = self._actor.counts
        before = counts.games, counts.decisions, counts.evaluations
        start = time.perf_counter()
        while time.perf_counter() - start < seconds:
            self._actor.step()
        spent = time.perf_counter() - start
        return (
            (counts.games - before[0]) / spent,
            (counts.decisions - before[1]) / spent,
            (counts.evaluations - before[2]) / spent,
        )

    def join(self, factor: int) -> None:
        """Makes the questions of `ask` of what was kept, `factor` batches in one."""
        kept = self._keeping.kept
        groups = [kept[i : i + factor] for i in range(0, len(kept), factor)]
        self._questions = [joined(group) for group in groups if len(group) == factor]

    def ask(self, seconds: float) -> float:
        """Evaluations a second, of the evaluator alone."""
        done, start = 0, time.perf_counter()
        for batch in itertools.cycle(self._questions):
            self.evaluator.evaluate(*batch)
            done += len(batch[0])
            if time.perf_counter() - start >= seconds:
                break
        return done / (time.perf_counter() - start)


class _GpuLine(_Line):
    """A line of games whose network is on the GPU with them."""

    def __init__(
        self, setting: BenchSetting, evaluator: Any, share: int, seed: int, device: str
    ) -> None:
        super().__init__(setting, evaluator, share, seed, device)
        self._setting, self._share, self._device = setting, share, device
        self._alone: NetworkAlone | None = None

    def join(self, factor: int) -> None:
        from ringrift_cli.bench.gpu import NetworkAlone
        from ringrift_cli.game.cuda.device import Device

        self._alone = NetworkAlone(
            self.evaluator.network, self._setting.board, self._setting.players,
            factor * self._share, Device(self._device),
        )  # fmt: skip

    def ask(self, seconds: float) -> float:
        assert self._alone is not None
        return self._alone.rate(seconds)


def joined(batches: list[Batch]) -> Batch:
    """One batch of several."""
    ends = np.cumsum([0, *(len(actions) for _, actions, _ in batches)])
    offsets = [offsets[:-1] + end for (_, _, offsets), end in zip(batches, ends, strict=False)]
    return (
        np.concatenate([rows for rows, _, _ in batches]),
        np.concatenate([actions for _, actions, _ in batches]),
        np.concatenate([*offsets, ends[-1:]]),
    )


def work(
    setting: BenchSetting, device: str, number: int, barrier: Barrier, outbox: Connection
) -> None:
    """The main function of a process."""
    import torch

    try:
        _measure(setting, device, number, barrier, outbox)
    except RingriftError as error:
        barrier.abort()
        outbox.send(error)
    except torch.OutOfMemoryError:
        barrier.abort()
        outbox.send(out_of_memory(device, f"{setting.concurrent:,} games at once"))
    except threading.BrokenBarrierError:
        pass  # another process says why


def out_of_memory(device: str, what: str) -> TooLittleMemory:
    """The error of a measurement that does not fit."""
    return TooLittleMemory(f"{device} is out of memory with {what}.")


def _measure(
    setting: BenchSetting, device: str, number: int, barrier: Barrier, outbox: Connection
) -> None:
    import torch

    if device == "cpu":
        torch.set_num_threads(1)
    before = peak_bytes(device) if device == "cpu" else 0
    count = lines_on(device)
    share = -(-setting.concurrent // count)
    seeds = [number * count + i for i in range(count)]
    kind = _Line if device == "cpu" else _GpuLine
    part = setting.seconds / max(1, len(setting.factors))
    network = (setting.board, setting.players, setting.size, setting.model, device)
    lines = [kind(setting, evaluator_for(*network), share, seed, device) for seed in seeds]
    with ThreadPoolExecutor(max(1, count - 1)) as pool:
        _each(pool, lines, _Line.warm_up)
        for _ in range(setting.rounds):
            barrier.wait(PATIENCE)
            played = _each(pool, lines, lambda line: line.play(setting.seconds))
            alone = {}
            for factor in setting.factors:
                for line in lines:
                    line.join(factor)
                barrier.wait(PATIENCE)
                rates = _each(pool, lines, lambda line: line.ask(part))
                alone[factor * share] = sum(rates)
            games, decisions, evaluations = (sum(rates) for rates in zip(*played, strict=True))
            precision = lines[0].evaluator.precision
            memory = peak_bytes(device)
            outbox.send(_Round(games, decisions, evaluations, alone, precision, memory, before))


def _each(pool: ThreadPoolExecutor, lines: list[_Line], work: Callable[[_Line], T]) -> list[T]:
    """What `work` says of each line, all at the same time; the first one is this thread's."""
    others = [pool.submit(work, line) for line in lines[1:]]
    return [work(lines[0]), *(other.result() for other in others)]


def evaluator_for(board: str, players: int, size: str, model: str | None, device: str) -> Any:
    """The evaluator of a model, or of a new network of a size; `UsageError` if there is none."""
    import torch

    from ringrift_cli.nn.evaluator import NetworkEvaluator
    from ringrift_cli.nn.network import Network, architecture
    from ringrift_cli.players.model import checkpoint_named, network_evaluator

    if model is not None:
        path, _ = checkpoint_named(model, board, players)
        return network_evaluator(path, board, players, device, "auto")
    torch.manual_seed(0)
    return NetworkEvaluator(Network(architecture(size, board, players)).eval(), device)
