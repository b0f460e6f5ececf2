"""`ringrift bench`: one setting measured, a ladder of them climbed, a profile held to its word.

    discover ──→ climb: setting after setting, smallest first ──→ chosen ──→ entry of a profile
    validate ──→ the setting of an entry again

Each setting is measured in processes of its own, which end with it, so that what it held at most
can be told from what others did.
"""

from __future__ import annotations

import itertools
import multiprocessing
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from typing import Any

from ringrift_cli import settings as config
from ringrift_cli.bench.selfplay import (
    BenchSetting,
    ended_early,
    measure,
    out_of_memory,
)
from ringrift_cli.bench.subject import Measured, Rates, Round, Setting, Subject
from ringrift_cli.errors import RingriftError, UsageError
from ringrift_cli.game.playout import available_threads
from ringrift_cli.runtime.machine import GIGABYTE, TooLittleMemory, peak_bytes
from ringrift_cli.runtime.processes import ProcessGroup
from ringrift_cli.runtime.profiles import Entry, now, versions
from ringrift_cli.selfplay.generate import GAMES_ON_A_CORE, GAMES_ON_A_GPU

NEAR = 0.97  # of the best is as good as the best
SHARE_OF_FREE = 0.8  # of the memory, that measurements may take if nobody says otherwise
RANDOM_GAMES, RANDOM_GAMES_ON_A_GPU = 4096, 65_536
DOUBLINGS = {"engine": 3, "search": 3, "selfplay": 3, "train": 2}  # to both sides of the default

Tell = Callable[[str], None]
Measure = Callable[[Setting], Measured]


@dataclass(frozen=True)
class Effort:
    """How long a setting is measured."""

    seconds: float = 2.0  # of a round
    rounds: int = 3


@dataclass(frozen=True)
class Rung:
    """A setting, and what it came to; or why it was not measured."""

    setting: Setting
    measured: Measured | None
    skipped: str = ""
    too_large: bool = False  # took more memory than allowed

    def document(self) -> dict[str, Any]:
        """For JSON."""
        figures = asdict(self.setting) if self.measured is None else self.measured.document()
        return {**figures, "skipped": self.skipped or None, "too_large": self.too_large}


@dataclass(frozen=True)
class Discovery:
    """What a ladder came to."""

    rungs: tuple[Rung, ...]
    chosen: Measured


# ---- one setting --------------------------------------------------------------------------------


def default_batch(subject: Subject) -> int:
    """What is taken where no profile says anything else."""
    on_cpu = subject.device == "cpu"
    if subject.kind == "engine":
        return RANDOM_GAMES if on_cpu else RANDOM_GAMES_ON_A_GPU
    if subject.kind == "train":
        return config.Train().batch
    return GAMES_ON_A_CORE if on_cpu else GAMES_ON_A_GPU


def measured(
    subject: Subject, setting: Setting, effort: Effort, advance: Callable[[], None] = lambda: None
) -> Measured:
    """Measures a setting; `advance` is told of each round.

    `TooLittleMemory` if it does not fit, `UsageError` for what no run could accept.
    """
    if effort.rounds < 1 or effort.seconds <= 0:
        raise UsageError("A measurement takes a round or more, and a time above 0.")
    if subject.kind == "selfplay":
        return _self_play(subject, setting, effort, advance)
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    with ProcessGroup(context, 1) as group:
        group.start(_work, subject, setting, effort, sending, name="ringrift-bench")
        sending.close()
        rounds: list[Rates] = []
        while True:
            try:
                told = receiving.recv()
            except EOFError:
                raise ended_early(group.processes[0]) from None
            if isinstance(told, RingriftError):
                raise told
            if isinstance(told, tuple):
                before, most = told
                return Measured(setting, tuple(rounds), most, before)
            rounds.append(told)
            advance()


def _self_play(
    subject: Subject, setting: Setting, effort: Effort, advance: Callable[[], None]
) -> Measured:
    processes = available_threads() if subject.device == "cpu" else 1
    asked = BenchSetting(
        subject.board,
        subject.players,
        (subject.device,) * processes,
        subject.size,
        subject.model,
        setting.batch,
        effort.seconds,
        effort.rounds,
        factors=(),
    )
    found = measure(asked, advance)
    # decisions and games are counted when a game ends, which is too seldom for short rounds
    rounds = tuple({"evaluations": rate} for rate in found.rounds)
    return Measured(setting, rounds, found.memory, found.before)


def _work(subject: Subject, setting: Setting, effort: Effort, outbox: Connection) -> None:
    """The main function of a process: tells each round, then its memory before and at most."""
    if subject.kind != "engine" or subject.device != "cpu":
        import torch

        outside: tuple[type[BaseException], ...] = (torch.OutOfMemoryError,)
    else:
        outside = ()
    try:
        before = peak_bytes("cpu") if subject.device == "cpu" else 0
        with _prepared(subject.kind)(subject, setting) as one_round:
            for _ in range(effort.rounds):
                outbox.send(one_round(effort.seconds))
        outbox.send((before, peak_bytes(subject.device)))
    except RingriftError as error:
        outbox.send(error)
    except outside:
        outbox.send(out_of_memory(subject.device, str(setting)))


def _prepared(kind: str) -> Callable[[Subject, Setting], AbstractContextManager[Round]]:
    if kind == "engine":
        from ringrift_cli.bench import engine as engine_bench

        return engine_bench.prepared
    if kind == "search":
        from ringrift_cli.bench import search as search_bench

        return search_bench.prepared
    from ringrift_cli.bench import train as train_bench

    return train_bench.prepared


def measured_or_halved(measure: Measure, setting: Setting, tell: Tell) -> Measured:
    """Measures a setting; half its batch whenever there is too little memory, which it tells.

    `TooLittleMemory` if not even a batch of one fits.
    """
    while True:
        try:
            return measure(setting)
        except TooLittleMemory as error:
            if setting.batch == 1:
                raise
            setting = replace(setting, batch=setting.batch // 2)
            tell(f"{error.message} Trying {setting.batch:,}.")


# ---- a ladder -----------------------------------------------------------------------------------


def variants(subject: Subject) -> list[Setting]:
    """What else than the batch may differ, at the default batch: that of training.

    Fewer threads come first, and more exact numbers: of two that are as fast the first is taken.
    """
    batch = default_batch(subject)
    if subject.kind != "train":
        return [Setting(batch)]
    from ringrift_cli.bench.train import precisions

    threads: list[int | None] = [None]
    if subject.device == "cpu":
        cores = available_threads()
        threads = [*(1 << i for i in range(cores.bit_length()) if 1 << i < cores), cores]
    pairs = itertools.product(precisions(subject.device), threads)
    return [Setting(batch, count, precision) for precision, count in pairs]


def ladder(subject: Subject) -> list[int]:
    """Batches in powers of two around the default, smallest first."""
    span = DOUBLINGS[subject.kind]
    return [int(default_batch(subject) * 2.0**i) for i in range(-span, span + 1)]


def settings_of(subject: Subject) -> int:
    """How many settings `discover` measures at most."""
    several = len(variants(subject))
    return len(ladder(subject)) + (several - 1 if several > 1 else 0)


def discover(
    subject: Subject, measure: Measure, limit: int, tell: Tell, passes: int = 1
) -> Discovery:
    """Measures the ladder of a subject in `limit` bytes, so many times, and chooses.

    Each pass goes through all settings, in turn up and down: what else the machine does for a while
    then slows all of them down, not one. The batch decides what training learns, so there it stays
    the default, and what is chosen is the rest. `TooLittleMemory` if nothing fits.
    """
    others = variants(subject)
    if len(others) == 1:
        batches = [replace(others[0], batch=batch) for batch in ladder(subject)]
        rungs = again(measure, climb(measure, batches, limit, tell), limit, passes)
        return Discovery(tuple(rungs), pick(rungs, limit))
    first = [rung for other in others for rung in climb(measure, [other], limit, tell)]
    first = again(measure, first, limit, passes)
    chosen = pick(first, limit)
    batches = [
        replace(chosen.setting, batch=batch)
        for batch in ladder(subject)
        if batch != chosen.setting.batch
    ]
    rungs = again(measure, climb(measure, batches, limit, tell), limit, passes)
    return Discovery((*first, *rungs), chosen)


def again(measure: Measure, rungs: Sequence[Rung], limit: int, passes: int) -> list[Rung]:
    """The rungs that fit, measured once more for each pass behind the first."""
    done = list(rungs)
    for turn in range(1, passes):
        order = range(len(done))
        for i in reversed(order) if turn % 2 else order:
            known = done[i].measured
            if known is None or done[i].too_large:
                continue
            try:
                both = known.joined(measure(known.setting))
            except TooLittleMemory:
                done[i] = Rung(known.setting, None, "out of memory in a later pass")
                continue
            done[i] = Rung(known.setting, both, too_large=both.memory > limit)
    return done


def climb(measure: Measure, settings: Sequence[Setting], limit: int, tell: Tell) -> list[Rung]:
    """Measures settings of rising batch as long as they fit in `limit` bytes; tells what it skips.

    If already the first one is out of memory, smaller ones are tried.
    """
    rungs: list[Rung] = []
    full = ""
    for setting in settings:
        known = [rung.measured for rung in rungs if rung.measured is not None]
        need = _expected(known, setting.batch)
        if not full and need > limit:
            full = f"would take about {need / GIGABYTE:.1f} GB of {limit / GIGABYTE:.1f}"
        if full:
            tell(f"{setting} {full}: skipped.")
            rungs.append(Rung(setting, None, full))
            continue
        try:
            found = measure(setting)
        except TooLittleMemory as error:
            full = "is larger than what was out of memory"
            rungs.append(Rung(setting, None, "out of memory"))
            if known or setting.batch == 1:
                tell(error.message)
                continue
            half = replace(setting, batch=setting.batch // 2)
            tell(f"{error.message} Trying {half.batch:,}.")
            found = measured_or_halved(measure, half, tell)
            rungs.insert(0, Rung(found.setting, found, too_large=found.memory > limit))
            continue
        too_large = found.memory > limit
        if too_large:
            took, most = found.memory / GIGABYTE, limit / GIGABYTE
            tell(f"{setting} took {took:.1f} GB, more than {most:.1f}.")
        rungs.append(Rung(setting, found, too_large=too_large))
    return rungs


def _expected(known: Sequence[Measured], batch: int) -> float:
    """Bytes that a batch will take: on the line through the last two, or in proportion to one."""
    if not known:
        return 0.0
    last = known[-1]
    if len(known) == 1:
        return last.before + (last.memory - last.before) * batch / last.setting.batch
    earlier = known[-2]
    slope = (last.memory - earlier.memory) / (last.setting.batch - earlier.setting.batch)
    return last.memory + max(0.0, slope) * (batch - last.setting.batch)


def pick(rungs: Sequence[Rung], limit: int) -> Measured:
    """The first that fits whose best round is within 3 % of the best; `TooLittleMemory` if none."""
    found = [rung.measured for rung in rungs if rung.measured is not None and not rung.too_large]
    if not found:
        raise TooLittleMemory(
            f"No setting fits in {limit / GIGABYTE:.1f} GB.", hint="--memory with more"
        )
    best = max(one.best for one in found)
    return next(one for one in found if one.best >= NEAR * best)


# ---- profiles -----------------------------------------------------------------------------------


def entry_of(subject: Subject, found: Measured, effort: Effort) -> Entry:
    """What a profile says of a measurement."""
    key, setting = subject.key(), found.setting
    return Entry(
        key.kind,
        key.board,
        key.players,
        key.network,
        setting.batch,
        setting.threads,
        setting.precision,
        round(found.throughput, 3),
        f"{subject.counted}/s",
        round(found.spread, 4),
        found.memory,
        effort.rounds,
        effort.seconds,
        now(),
        **versions(),
    )


@dataclass(frozen=True)
class Verdict:
    """A profile's entry against the same setting now."""

    entry: Entry
    measured: Measured
    tolerance: float

    @property
    def ratio(self) -> float:
        """What is reached now to what the profile says."""
        return self.measured.throughput / self.entry.throughput

    @property
    def holds(self) -> bool:
        """Whether it is not slower than the profile by more than the tolerance."""
        return self.ratio >= 1 - self.tolerance

    def sentence(self) -> str:
        """How it came out."""
        entry = self.entry
        change = f"{abs(self.ratio - 1):.0%} {'below' if self.ratio < 1 else 'above'}"
        return (
            f"{entry.key} reaches {self.measured.throughput:,.0f} {entry.unit}, {change} the"
            f" {entry.throughput:,.0f} of the profile from {entry.date[:10]} (tolerance"
            f" {self.tolerance:.0%})."
        )


def setting_of(entry: Entry) -> Setting:
    """The setting of an entry."""
    return Setting(entry.batch, entry.threads, entry.precision)
