"""Search for the best setting of a machine (`--discover`), and validation of a profile entry.

discover ──→ measure_rungs: all settings, smallest first ──→ pick ──→ profile entry
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ringrift_cli.bench.measure import (
    BenchSetting,
    BenchSubject,
    Measure,
    Measurement,
    MeasureTime,
    Notify,
    measured_or_halved,
)
from ringrift_cli.game.playout import available_threads
from ringrift_cli.runtime.machine import GIGABYTE, TooLittleMemory
from ringrift_cli.runtime.profiles import ProfileEntry, now, versions
from ringrift_cli.selfplay.generate import GAMES_ON_A_CORE, GAMES_ON_A_GPU
from ringrift_cli.settings import Train

AS_GOOD = 0.97  # share of the best throughput that counts as equal
SHARE_OF_FREE = 0.8  # default limit, as a share of the free memory
RANDOM_GAMES, RANDOM_GAMES_ON_A_GPU = 4096, 65_536
DOUBLINGS = {
    "engine": 3,
    "search": 3,
    "selfplay": 3,
    "train": 2,
}  # in both directions from the default


@dataclass(frozen=True)
class Rung:
    """A setting and its measurement, or the reason why it was skipped."""

    setting: BenchSetting
    measured: Measurement | None
    skipped: str = ""
    too_large: bool = False  # exceeded the memory limit

    def document(self) -> dict[str, Any]:
        """For JSON."""
        figures = asdict(self.setting) if self.measured is None else self.measured.document()
        return {**figures, "skipped": self.skipped or None, "too_large": self.too_large}


@dataclass(frozen=True)
class Discovery:
    """The measured settings and the chosen one."""

    rungs: tuple[Rung, ...]
    chosen: Measurement


def default_batch(subject: BenchSubject) -> int:
    """The batch used without a profile."""
    on_cpu = subject.device == "cpu"
    if subject.kind == "engine":
        return RANDOM_GAMES if on_cpu else RANDOM_GAMES_ON_A_GPU
    if subject.kind == "train":
        return Train.batch
    return GAMES_ON_A_CORE if on_cpu else GAMES_ON_A_GPU


def variants(subject: BenchSubject) -> list[BenchSetting]:
    """Settings of training at the default batch, by threads and precision.

    Fewer threads and higher precision come first, since the first of equally fast ones is chosen.
    """
    batch = default_batch(subject)
    if subject.kind != "train":
        return [BenchSetting(batch)]
    from ringrift_cli.bench.train import precisions

    threads: list[int | None] = [None]
    if subject.device == "cpu":
        cores = available_threads()
        threads = [*(1 << i for i in range(cores.bit_length()) if 1 << i < cores), cores]
    pairs = itertools.product(precisions(subject.device), threads)
    return [BenchSetting(batch, count, precision) for precision, count in pairs]


def ladder(subject: BenchSubject) -> list[int]:
    """Batches in powers of two around the default, smallest first."""
    span = DOUBLINGS[subject.kind]
    return [int(default_batch(subject) * 2.0**i) for i in range(-span, span + 1)]


def max_settings(subject: BenchSubject) -> int:
    """Maximum number of settings that `discover` measures."""
    return len(ladder(subject)) + len(variants(subject)) - 1


def discover(
    subject: BenchSubject, measure: Measure, limit: int, notify: Notify, passes: int = 1
) -> Discovery:
    """Measures the settings of a subject within `limit` bytes, `passes` times, and picks one.

    Passes alternate between ascending and descending order, so that a disturbance affects all
    settings alike. For training the batch stays the default, since it affects the result.
    `TooLittleMemory` if nothing fits.
    """
    others = variants(subject)
    first: list[Rung] = []
    base, batches = others[0], ladder(subject)
    if len(others) > 1:
        first = [
            rung for other in others for rung in measure_rungs(measure, [other], limit, notify)
        ]
        first = repeat_rungs(measure, first, limit, passes)
        base = pick(first, limit).setting
        batches.remove(base.batch)
    settings = [replace(base, batch=batch) for batch in batches]
    rungs = repeat_rungs(measure, measure_rungs(measure, settings, limit, notify), limit, passes)
    return Discovery((*first, *rungs), pick(first or rungs, limit))


def repeat_rungs(measure: Measure, rungs: Sequence[Rung], limit: int, passes: int) -> list[Rung]:
    """Measures the rungs that fit once more for each pass after the first."""
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


def measure_rungs(
    measure: Measure, settings: Sequence[BenchSetting], limit: int, notify: Notify
) -> list[Rung]:
    """Measures settings of increasing batch while they fit in `limit` bytes; reports skipped ones.

    If the first one is out of memory, smaller ones are tried.
    """
    rungs: list[Rung] = []
    full = ""
    for setting in settings:
        known = [rung.measured for rung in rungs if rung.measured is not None]
        need = _expected_memory(known, setting.batch)
        if not full and need > limit:
            full = f"would take about {need / GIGABYTE:.1f} GB of {limit / GIGABYTE:.1f}"
        if full:
            notify(f"{setting} {full}: skipped.")
            rungs.append(Rung(setting, None, full))
            continue
        try:
            found = measure(setting)
        except TooLittleMemory as error:
            full = "exceeds a batch that was out of memory"
            rungs.append(Rung(setting, None, "out of memory"))
            if known or setting.batch == 1:
                notify(error.message)
                continue
            half = replace(setting, batch=setting.batch // 2)
            notify(f"{error.message} Trying {half.batch:,}.")
            found = measured_or_halved(measure, half, notify)
            rungs.insert(0, Rung(found.setting, found, too_large=found.memory > limit))
            continue
        too_large = found.memory > limit
        if too_large:
            took, most = found.memory / GIGABYTE, limit / GIGABYTE
            notify(f"{setting} took {took:.1f} GB, more than {most:.1f}.")
        rungs.append(Rung(setting, found, too_large=too_large))
    return rungs


def _expected_memory(known: Sequence[Measurement], batch: int) -> float:
    """Bytes of a batch, extrapolated linearly from the last two, or in proportion to one."""
    if not known:
        return 0.0
    last = known[-1]
    if len(known) == 1:
        return last.before + (last.memory - last.before) * batch / last.setting.batch
    earlier = known[-2]
    slope = (last.memory - earlier.memory) / (last.setting.batch - earlier.setting.batch)
    return last.memory + max(0.0, slope) * (batch - last.setting.batch)


def pick(rungs: Sequence[Rung], limit: int) -> Measurement:
    """First fitting setting whose best round is within 3 % of the best; else `TooLittleMemory`."""
    found = [rung.measured for rung in rungs if rung.measured is not None and not rung.too_large]
    if not found:
        raise TooLittleMemory(
            f"No setting fits in {limit / GIGABYTE:.1f} GB.", hint="--memory with more"
        )
    best = max(one.best for one in found)
    return next(one for one in found if one.best >= AS_GOOD * best)


# ---- profiles -----------------------------------------------------------------------------------


def entry_of(subject: BenchSubject, found: Measurement, time: MeasureTime) -> ProfileEntry:
    """The profile entry of a measurement."""
    key, setting = subject.key(), found.setting
    return ProfileEntry(
        key.kind,
        key.board,
        key.players,
        key.network,
        setting.batch,
        setting.threads,
        setting.precision,
        round(found.throughput, 3),
        subject.unit,
        round(found.spread, 4),
        found.memory,
        time.rounds,
        time.seconds,
        now(),
        **versions(),
    )


@dataclass(frozen=True)
class ProfileCheck:
    """A profile entry and a new measurement of its setting."""

    entry: ProfileEntry
    measured: Measurement
    tolerance: float

    @property
    def ratio(self) -> float:
        """Present throughput relative to the profile."""
        return self.measured.throughput / self.entry.throughput

    @property
    def holds(self) -> bool:
        """Whether the slowdown is within the tolerance."""
        return self.ratio >= 1 - self.tolerance

    def sentence(self) -> str:
        entry = self.entry
        change = f"{abs(self.ratio - 1):.0%} {'below' if self.ratio < 1 else 'above'}"
        return (
            f"{entry.key} reaches {self.measured.throughput:,.0f} {entry.unit}, {change} the"
            f" {entry.throughput:,.0f} of the profile from {entry.date[:10]} (tolerance"
            f" {self.tolerance:.0%})."
        )
