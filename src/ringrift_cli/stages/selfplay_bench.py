"""How much of its evaluator self-play uses: both measured in turn, in the same processes.

Each process plays, and keeps what its search asked for. Then it alternates: a round of self-play, a
round in which the evaluator answers kept questions and nothing else happens, in batches of several
sizes. All processes are in the same kind of round at the same time, so both are measured on a
machine that is equally busy.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import Any

import numpy as np

from ringrift_cli.errors import RingriftError, UsageError
from ringrift_cli.game.playout import THREADS_VARIABLE, LongArray, available_threads
from ringrift_cli.game.topology import IntArray
from ringrift_cli.search.tree import FloatArray
from ringrift_cli.stages.actor import Actor, PlaySetting

KEPT = 64  # batches that the evaluator is asked again
FACTORS = (1, 2, 4)  # of the batch that self-play makes, for the evaluator alone
WARM_STEPS = 300  # searches of all depths are under way then
PATIENCE = 300.0  # seconds for a process to begin or end a round

Batch = tuple[IntArray, IntArray, LongArray]


@dataclass(frozen=True)
class BenchSetting:
    """What is measured. Without a `model` the network is a new one of `size`."""

    board: str
    players: int
    devices: tuple[str, ...]
    size: str = "small"
    model: str | None = None
    concurrent: int = 128
    seconds: float = 4.0  # of a round
    rounds: int = 3
    precision: str = "auto"


@dataclass(frozen=True)
class SelfPlaySpeed:
    """Evaluations a second over all processes, in the best round of each."""

    setting: BenchSetting
    precision: str
    games: float  # a second
    decisions: float  # a second
    selfplay: float
    alone: dict[int, float]  # by batch size
    ratio: float  # the median over the rounds

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
        }


@dataclass(frozen=True)
class _Round:
    """What one process did in one round of each kind."""

    games: float
    decisions: float
    selfplay: float
    alone: dict[int, float]
    precision: str


def measure(setting: BenchSetting, advance: Callable[[], None] = lambda: None) -> SelfPlaySpeed:
    """Runs the rounds; `advance` is told of each. `RingriftError` if a process fails."""
    if setting.rounds < 1 or setting.seconds <= 0:
        raise UsageError("A measurement takes a round or more, and a time above 0.")
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(len(setting.devices))
    before = os.environ.get(THREADS_VARIABLE)
    os.environ[THREADS_VARIABLE] = str(max(1, available_threads() // len(setting.devices)))
    processes, receivers = [], []
    try:
        for number, device in enumerate(setting.devices):
            receiving, sending = context.Pipe(duplex=False)
            process = context.Process(target=work, args=(setting, device, number, barrier, sending))
            process.start()
            sending.close()
            processes.append(process)
            receivers.append(receiving)
        rounds = []
        for _ in range(setting.rounds):
            rounds.append([_heard(receiving) for receiving in receivers])
            advance()
        return _speed(setting, rounds)
    finally:
        if before is None:
            os.environ.pop(THREADS_VARIABLE, None)
        else:
            os.environ[THREADS_VARIABLE] = before
        for process in processes:
            process.join(5.0)
            if process.is_alive():
                process.kill()
                process.join()


def _heard(receiving: Connection) -> _Round:
    try:
        told = receiving.recv()
    except EOFError:
        raise RingriftError("A process of the measurement ended before it told anything.") from None
    if isinstance(told, RingriftError):
        raise told
    assert isinstance(told, _Round)
    return told


def _speed(setting: BenchSetting, rounds: list[list[_Round]]) -> SelfPlaySpeed:
    sizes = rounds[0][0].alone

    def rates(of: Callable[[_Round], float]) -> list[float]:
        return [sum(of(each) for each in together) for together in rounds]

    alone = {size: rates(lambda r, size=size: r.alone[size]) for size in sizes}  # type: ignore[misc]
    played = rates(lambda r: r.selfplay)
    saturated = [max(alone[size][i] for size in sizes) for i in range(len(rounds))]
    return SelfPlaySpeed(
        setting,
        rounds[0][0].precision,
        max(rates(lambda r: r.games)),
        max(rates(lambda r: r.decisions)),
        max(played),
        {size: max(found) for size, found in alone.items()},
        statistics.median(a / b for a, b in zip(played, saturated, strict=True)),
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
    try:
        _measure(setting, device, number, barrier, outbox)
    except RingriftError as error:
        barrier.abort()
        outbox.send(error)


def _measure(
    setting: BenchSetting, device: str, number: int, barrier: Barrier, outbox: Connection
) -> None:
    import torch

    if device == "cpu":
        torch.set_num_threads(1)
    keeping = _Keeping(_evaluator(setting, device))
    tickets = itertools.count()
    actor = Actor(
        setting.board,
        setting.players,
        PlaySetting(),
        keeping,
        setting.concurrent,
        lambda: next(tickets),
        seed=number,
    )
    for _ in range(WARM_STEPS):
        actor.step()
    keeping.kept.clear()
    for _ in range(setting.rounds):
        barrier.wait(PATIENCE)
        games, decisions, played = _play(actor, setting.seconds)
        alone = {}
        for factor in FACTORS:
            groups = [keeping.kept[i : i + factor] for i in range(0, len(keeping.kept), factor)]
            batches = [joined(group) for group in groups if len(group) == factor]
            barrier.wait(PATIENCE)
            size = factor * setting.concurrent
            alone[size] = _ask(keeping.evaluator, batches, setting.seconds / len(FACTORS))
        outbox.send(_Round(games, decisions, played, alone, keeping.evaluator.precision))


def _evaluator(setting: BenchSetting, device: str) -> Any:
    import torch

    from ringrift_cli.nn.evaluator import NetworkEvaluator
    from ringrift_cli.nn.network import Network, architecture
    from ringrift_cli.players.model import checkpoint_named, network_evaluator

    if setting.model is not None:
        path, _ = checkpoint_named(setting.model, setting.board, setting.players)
        return network_evaluator(path, setting.board, setting.players, device, setting.precision)
    torch.manual_seed(0)
    network = Network(architecture(setting.size, setting.board, setting.players)).eval()
    return NetworkEvaluator(network, device, setting.precision)


def _play(actor: Actor, seconds: float) -> tuple[float, float, float]:
    """Games, decisions and evaluations a second."""
    evaluations, decisions = actor.counts.evaluations, actor.counts.decisions
    games, start = actor.counts.games, time.perf_counter()
    while time.perf_counter() - start < seconds:
        actor.step()
    spent = time.perf_counter() - start
    counts = actor.counts
    return (
        (counts.games - games) / spent,
        (counts.decisions - decisions) / spent,
        (counts.evaluations - evaluations) / spent,
    )


def _ask(evaluator: Any, batches: list[Batch], seconds: float) -> float:
    """Evaluations a second."""
    done, start = 0, time.perf_counter()
    for batch in itertools.cycle(batches):
        evaluator.evaluate(*batch)
        done += len(batch[0])
        if time.perf_counter() - start >= seconds:
            break
    return done / (time.perf_counter() - start)
