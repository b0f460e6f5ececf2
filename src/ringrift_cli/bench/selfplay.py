"""Workload: self-play, and its throughput relative to the evaluator alone.

Each process plays in as many threads as production self-play (selfplay/worker.py). With
`MeasureTime.evaluator_alone` rounds of self-play alternate with rounds in which the evaluators
repeat recorded queries in batches of several sizes; on a GPU, where queries are not returned to the
host, the network is measured instead (gpu.py). All processes are in the same part of a round, so
the load of the machine is equal.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import numpy as np

from ringrift_cli.bench.measure import (
    BenchJob,
    BenchSubject,
    Measurement,
    Rates,
    Workload,
)
from ringrift_cli.game.playout import LongArray
from ringrift_cli.game.topology import IntArray
from ringrift_cli.search.forest import Searches
from ringrift_cli.search.tree import FloatArray
from ringrift_cli.selfplay.actor import Actor
from ringrift_cli.selfplay.forests import on_cpu, on_gpu
from ringrift_cli.selfplay.mid_game import mean_decisions, positions_under_way
from ringrift_cli.selfplay.worker import lines_on
from ringrift_cli.settings import SelfPlay

KEPT = 64  # recorded batches for the evaluator alone
FACTORS = (1, 2, 4)  # multiples of the batch of a thread, for the evaluator alone
WARM_STEPS = 80  # until searches of all depths are in progress
ALONE = "alone_"  # prefix of the rate of the evaluator alone, before the batch size

Batch = tuple[IntArray, IntArray, LongArray]
T = TypeVar("T")


class _Keeping:
    """Evaluator that records its first queries."""

    def __init__(self, evaluator: Any) -> None:
        self.evaluator = evaluator
        self.kept: list[Batch] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.evaluator, name)

    def evaluate(
        self, rows: IntArray, actions: IntArray, offsets: LongArray
    ) -> tuple[FloatArray, FloatArray]:
        if len(self.kept) < KEPT:
            self.kept.append((rows, actions, offsets))
        found: tuple[FloatArray, FloatArray] = self.evaluator.evaluate(rows, actions, offsets)
        return found


class PlayLine:
    """Concurrent self-play games on a device, one per tree of `forest`."""

    def __init__(
        self,
        subject: BenchSubject,
        play: SelfPlay,
        forest: Searches,
        seed: int,
        rows: IntArray | None = None,
    ) -> None:
        """`rows`, [N, row size], are the start positions."""
        tickets = itertools.count()
        self._actor = Actor(
            subject.board, subject.players, play, forest, lambda: next(tickets), seed=seed
        )
        for slot, row in enumerate(() if rows is None else rows):
            self._actor.resume(slot, row, slot)

    def warm_up(self, steps: int) -> None:
        for _ in range(steps):
            self._actor.step()

    def play(self, seconds: float) -> Rates:
        """Evaluations and decisions per second."""
        before = self._done()
        start = time.perf_counter()
        while time.perf_counter() - start < seconds:
            self._actor.step()
        spent = time.perf_counter() - start
        return {name: (n - before[name]) / spent for name, n in self._done().items()}

    def _done(self) -> Rates:
        return {"evaluations": self._actor.counts.evaluations, "decisions": self._actor.made}


def joined(batches: Sequence[Batch]) -> Batch:
    """Concatenation of batches."""
    ends = np.cumsum([0, *(len(actions) for _, actions, _ in batches)])
    offsets = [offsets[:-1] + end for (_, _, offsets), end in zip(batches, ends, strict=False)]
    return (
        np.concatenate([rows for rows, _, _ in batches]),
        np.concatenate([actions for _, actions, _ in batches]),
        np.concatenate([*offsets, ends[-1:]]),
    )


@contextmanager
def in_threads(count: int) -> Iterator[Callable[[Sequence[Callable[[], T]]], list[T]]]:
    """Yields a function that runs `count` calls concurrently, the first in this thread."""
    with ThreadPoolExecutor(max(1, count - 1)) as pool:

        def together(calls: Sequence[Callable[[], T]]) -> list[T]:
            others = [pool.submit(call) for call in calls[1:]]
            return [calls[0](), *(other.result() for other in others)]

        yield together


def summed(rates: Sequence[Rates]) -> Rates:
    """Sums of the rates of several threads or processes."""
    return {name: sum(one[name] for one in rates) for name in rates[0]}


@contextmanager
def prepared(job: BenchJob) -> Iterator[Workload]:
    """See `SubjectModule`."""
    import torch

    subject, play = job.subject, SelfPlay()
    board, players, device = subject.board, subject.players, subject.device
    if device == "cpu":
        torch.set_num_threads(1)
    count = lines_on(device)
    share = -(-job.setting.batch // count)
    lines, evaluators = [], []
    for seed in range(job.process * count, (job.process + 1) * count):
        evaluators.append(_Keeping(evaluator_for(subject)))
        forest: Searches
        if device == "cpu":
            forest = on_cpu(board, players, play, evaluators[-1], share)
        else:
            forest = on_gpu(board, players, play, evaluators[-1].network, share, device)
        rows = positions_under_way(board, players, share, seed)
        lines.append(PlayLine(subject, play, forest, seed, rows))
    with in_threads(count) as together:
        together([partial(line.warm_up, WARM_STEPS) for line in lines])
        for evaluator in evaluators:
            evaluator.kept.clear()

        def run(seconds: float) -> Rates:
            played = summed(together([partial(line.play, seconds) for line in lines]))
            if not job.time.evaluator_alone:
                return {"evaluations": played["evaluations"]}
            for factor in FACTORS:
                alone = [_alone(subject, evaluator, factor, share) for evaluator in evaluators]
                job.wait()
                rates = together([partial(rate, seconds / len(FACTORS)) for rate in alone])
                played[f"{ALONE}{factor * share}"] = sum(rates)
            return played

        yield Workload(run, evaluators[0].precision)


def _alone(
    subject: BenchSubject, evaluator: _Keeping, factor: int, share: int
) -> Callable[[float], float]:
    """Prepares batches of `factor` shares; returns a function that measures evaluations/s."""
    if subject.device != "cpu":
        from ringrift_cli.bench.gpu import NetworkAlone

        return NetworkAlone(subject, evaluator.network, factor * share).rate
    kept = evaluator.kept
    groups = [kept[i : i + factor] for i in range(0, len(kept), factor)]
    queries = [joined(group) for group in groups if len(group) == factor]

    def rate(seconds: float) -> float:
        done, start = 0, time.perf_counter()
        for batch in itertools.cycle(queries):
            evaluator.evaluator.evaluate(*batch)
            done += len(batch[0])
            if time.perf_counter() - start >= seconds:
                break
        return done / (time.perf_counter() - start)

    return rate


def report(subject: BenchSubject, devices: Sequence[str], found: Measurement) -> dict[str, Any]:
    """Best rates of self-play and of the evaluator alone, as JSON.

    Too few games end in short rounds to be counted: games are the decisions divided by those of a
    random game.
    """
    per_game = mean_decisions(subject.board, subject.players)
    rounds = found.rounds
    best = {name: max(rates[name] for rates in rounds) for name in rounds[0]}
    alone = [name for name in best if name.startswith(ALONE)]
    ratios = [rates["evaluations"] / max(rates[name] for name in alone) for rates in rounds]
    return {
        "board": subject.board,
        "players": subject.players,
        "devices": list(devices),
        "network": subject.model or subject.size,
        "precision": found.precision,
        "concurrent": found.setting.batch,
        "games_per_s": best["decisions"] / per_game,
        "decisions_per_s": best["decisions"],
        "decisions_per_game": per_game,
        "selfplay_evals_per_s": best["evaluations"],
        "evaluator_evals_per_s": {name.removeprefix(ALONE): best[name] for name in alone},
        "ratio": statistics.median(ratios),
        "memory_bytes": found.memory,
    }


def evaluator_for(subject: BenchSubject) -> Any:
    """Evaluator of a model, or of a new network; `UsageError` for a missing model."""
    import torch

    from ringrift_cli.nn.evaluator import NetworkEvaluator
    from ringrift_cli.nn.network import Network, architecture
    from ringrift_cli.players.model import checkpoint_named, network_evaluator

    board, players, device = subject.board, subject.players, subject.device
    if subject.model is not None:
        path, _ = checkpoint_named(subject.model, board, players)
        return network_evaluator(path, board, players, device, "auto")
    torch.manual_seed(0)
    return NetworkEvaluator(Network(architecture(subject.size, board, players)).eval(), device)
