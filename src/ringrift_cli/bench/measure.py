"""Measurement loop of `ringrift bench`.

A subject is a kind of workload on a device, prepared by the module of its name (engine.py,
search.py, selfplay.py, train.py). Each setting is measured in new processes, so that their peak
memory belongs to it. All processes start each round together.
"""

from __future__ import annotations

import importlib
import multiprocessing
import signal
import statistics
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Barrier
from typing import Any, Protocol, cast

from ringrift_cli.errors import RingriftError, UsageError
from ringrift_cli.game.playout import available_threads
from ringrift_cli.runtime.machine import TooLittleMemory, peak_bytes
from ringrift_cli.runtime.processes import SHUTDOWN_S, ProcessGroup
from ringrift_cli.runtime.profiles import NO_NETWORK, Key, network_named
from ringrift_cli.settings import NetworkSection

ROUND_TIMEOUT = 300.0  # seconds to wait for a process to start or end a round
FREE = "free_simulations"  # simulations with a free evaluator
THROUGHPUTS = {  # unit of throughput by kind
    "engine": "decisions",
    "search": "simulations",
    "selfplay": "evaluations",
    "train": "samples",
}

Rates = dict[str, float]  # per second, by unit; the first is the throughput
Measure = Callable[["BenchSetting"], "Measurement"]
Notify = Callable[[str], None]


@dataclass(frozen=True)
class BenchSubject:
    """Workload to measure. Without `model` a new network of `size` is used, if any."""

    kind: str  # a key of THROUGHPUTS
    board: str
    players: int
    device: str = "cpu"  # runtime/machine.py
    size: str = NetworkSection.size
    model: str | None = None  # registry name or checkpoint file

    @property
    def unit(self) -> str:
        """The unit of the throughput."""
        return f"{THROUGHPUTS[self.kind]}/s"

    def key(self) -> Key:
        """Profile key; `UsageError` for a missing model."""
        return Key(self.kind, self.board, self.players, self._network())

    def _network(self) -> str:
        if self.kind == "engine":
            return NO_NETWORK
        if self.model is None:
            return self.size
        from ringrift_cli.nn.checkpoint import read_about
        from ringrift_cli.players.model import checkpoint_named

        path, _ = checkpoint_named(self.model, self.board, self.players)
        return network_named(read_about(path)["architecture"])


@dataclass(frozen=True)
class BenchSetting:
    """Parameters of a workload."""

    batch: int  # concurrent games (self-play: per process), or positions per step
    threads: int | None = None  # of torch, in training; None: torch's default
    precision: str | None = None  # of training

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s' * (self.threads != 1)}" if self.threads else ""
        return ", ".join(filter(None, (f"batch {self.batch:,}", threads, self.precision)))


@dataclass(frozen=True)
class MeasureTime:
    """Duration of a measurement."""

    seconds: float = 2.0  # of a round
    rounds: int = 3
    evaluator_alone: bool = False  # self-play: alternate with rounds of the evaluator alone


@dataclass(frozen=True)
class Workload:
    """Prepared workload; `run` executes it for a number of seconds."""

    run: Callable[[float], Rates]
    precision: str | None = None  # of the network


@dataclass(frozen=True)
class BenchJob:
    """Task of process number `process`; `wait` synchronises with the other processes."""

    subject: BenchSubject
    setting: BenchSetting
    time: MeasureTime
    process: int
    wait: Callable[[], None]


class SubjectModule(Protocol):
    """Module of a kind of workload."""

    def prepared(self, job: BenchJob) -> AbstractContextManager[Workload]:
        """Prepares the workload; torch.OutOfMemoryError if GPU memory is insufficient."""


@dataclass(frozen=True)
class Measurement:
    """Rates of a setting by round, summed over its processes."""

    setting: BenchSetting
    rounds: tuple[Rates, ...]
    memory: int  # peak bytes over all processes
    before: int  # of these, bytes before the workload was prepared
    precision: str | None = None  # of the network

    def rate(self, name: str) -> float:
        """Median of a rate over the rounds."""
        return statistics.median(rates[name] for rates in self.rounds)

    @property
    def throughputs(self) -> list[float]:
        """Throughput by round."""
        return [next(iter(rates.values())) for rates in self.rounds]

    @property
    def throughput(self) -> float:
        """Median throughput over the rounds."""
        return statistics.median(self.throughputs)

    @property
    def best(self) -> float:
        """Throughput of the best round; other programs only slow rounds down."""
        return max(self.throughputs)

    @property
    def spread(self) -> float:
        """(Maximum - minimum) / median over the rounds."""
        return (self.best - min(self.throughputs)) / self.throughput

    @property
    def ratio(self) -> float | None:
        """Search: median ratio of simulations with the free evaluator to those with the network."""
        if FREE not in self.rounds[0]:
            return None
        return statistics.median(rates[FREE] / rates["simulations"] for rates in self.rounds)

    def joined(self, other: Measurement) -> Measurement:
        """Union of the rounds of two measurements of one setting."""
        return replace(
            self,
            rounds=self.rounds + other.rounds,
            memory=max(self.memory, other.memory),
            before=min(self.before, other.before),
        )

    def document(self) -> dict[str, Any]:
        """For JSON."""
        ratio = {} if self.ratio is None else {"free_to_network": self.ratio}
        return {
            **asdict(self.setting),
            **{f"{name}_per_s": self.rate(name) for name in self.rounds[0]},
            **ratio,
            "throughput": self.throughput,
            "best": self.best,
            "spread": self.spread,
            "memory_bytes": self.memory,
            "rounds": list(self.rounds),
        }


@dataclass(frozen=True)
class _Final:
    """Last message of a process; bytes as in `Measurement`."""

    memory: int
    before: int
    precision: str | None


def measure(
    subject: BenchSubject,
    setting: BenchSetting,
    time: MeasureTime,
    advance: Callable[[], None] = lambda: None,
    devices: Sequence[str] = (),
) -> Measurement:
    """Measures a setting, by default on the device of the subject; `advance` is called per round.

    Self-play uses one process per core, or one for a GPU. `TooLittleMemory` if the setting does not
    fit, `UsageError` for an invalid one, another `RingriftError` if a process fails.
    """
    if time.rounds < 1 or time.seconds <= 0:
        raise UsageError("Expected at least one round, and a time above 0.")
    if not devices:
        per_core = subject.kind == "selfplay" and subject.device == "cpu"
        devices = (subject.device,) * (available_threads() if per_core else 1)
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(len(devices))
    inboxes = []
    with ProcessGroup(context, len(devices)) as group:
        for number, device in enumerate(devices):
            inbox, outbox = context.Pipe(duplex=False)
            own = replace(subject, device=device)
            group.start(
                work, own, setting, time, number, barrier, outbox, name=f"ringrift-bench-{number}"
            )
            outbox.close()
            inboxes.append(inbox)
        rounds: list[Rates] = []
        for _ in range(time.rounds):
            each = cast(list[Rates], _received(inboxes, group.processes))
            rounds.append({name: sum(rates[name] for rates in each) for name in each[0]})
            advance()
        finals = cast(list[_Final], _received(inboxes, group.processes))
    memory, before = sum(one.memory for one in finals), sum(one.before for one in finals)
    return Measurement(setting, tuple(rounds), memory, before, finals[0].precision)


def _received(inboxes: Sequence[Connection], processes: Sequence[SpawnProcess]) -> list[object]:
    """Next message of each process; raises the first reported error."""
    messages: list[object] = []
    ended: list[SpawnProcess] = []
    for inbox, process in zip(inboxes, processes, strict=True):
        try:
            messages.append(inbox.recv())
        except EOFError:
            ended.append(process)
    for message in messages:
        if isinstance(message, RingriftError):
            raise message
    if ended:
        raise ended_early(ended[0])
    return messages


def ended_early(process: SpawnProcess) -> RingriftError:
    """The error of a process that ended without a message."""
    process.join(SHUTDOWN_S)
    if process.exitcode == -signal.SIGKILL:
        return TooLittleMemory("A measuring process was killed, probably for lack of memory.")
    return RingriftError(
        f"A process of the measurement ended with exit code {process.exitcode} before it was done."
    )


def work(
    subject: BenchSubject,
    setting: BenchSetting,
    time: MeasureTime,
    number: int,
    barrier: Barrier,
    outbox: Connection,
) -> None:
    """Main function of a process: sends the rates of each round, then `_Final`."""
    out_of_memory: tuple[type[BaseException], ...] = ()
    if subject.kind != "engine" or subject.device != "cpu":
        import torch

        out_of_memory = (torch.OutOfMemoryError,)

    def wait() -> None:
        barrier.wait(ROUND_TIMEOUT)

    try:
        before = peak_bytes("cpu") if subject.device == "cpu" else 0
        module = cast(SubjectModule, importlib.import_module(f"ringrift_cli.bench.{subject.kind}"))
        with module.prepared(BenchJob(subject, setting, time, number, wait)) as workload:
            for _ in range(time.rounds):
                wait()
                outbox.send(workload.run(time.seconds))
            outbox.send(_Final(peak_bytes(subject.device), before, workload.precision))
    except RingriftError as error:
        barrier.abort()
        outbox.send(error)
    except out_of_memory:
        barrier.abort()
        outbox.send(TooLittleMemory(f"{subject.device} is out of memory with {setting}."))
    except (threading.BrokenBarrierError, BrokenPipeError):
        pass  # another process reports the error, or the parent has ended


def measured_or_halved(measure: Measure, setting: BenchSetting, notify: Notify) -> Measurement:
    """Measures a setting; halves its batch, with a notice, while memory is insufficient.

    `TooLittleMemory` if a batch of one does not fit.
    """
    while True:
        try:
            return measure(setting)
        except TooLittleMemory as error:
            if setting.batch == 1:
                raise
            setting = replace(setting, batch=setting.batch // 2)
            notify(f"{error.message} Trying {setting.batch:,}.")
