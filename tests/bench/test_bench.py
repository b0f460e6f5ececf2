"""Ladders of settings, what is chosen of them, and profiles held to their word."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any

import pytest
import torch

from ringrift_cli.bench import discover as bench
from ringrift_cli.bench import measure as measuring
from ringrift_cli.bench.discover import Discovery, ProfileCheck, Rung, discover, measure_rungs, pick
from ringrift_cli.bench.measure import BenchSetting, BenchSubject, Measurement, MeasureTime, measure
from ringrift_cli.bench.plot import plot_ladders
from ringrift_cli.errors import RingriftError, UsageError
from ringrift_cli.runtime.machine import TooLittleMemory
from tests.bench.profiled import entry

MB = 10**6
QUICK = MeasureTime(seconds=0.05, rounds=2)


class Faked:
    """Measures by formulas instead of a clock."""

    def __init__(
        self,
        rate: Callable[[BenchSetting], float],
        memory: Callable[[BenchSetting], int] = lambda setting: 100 * MB + setting.batch * MB,
        most: int = 1 << 60,
    ) -> None:
        self.rate, self.memory, self.most = rate, memory, most
        self.asked: list[BenchSetting] = []

    def __call__(self, setting: BenchSetting) -> Measurement:
        self.asked.append(setting)
        if self.memory(setting) > self.most:
            raise TooLittleMemory(f"cuda:0 is out of memory with {setting}.")
        rate = self.rate(setting)
        rounds = tuple({"decisions": rate * x} for x in (0.9, 1.0, 1.2))
        return Measurement(setting, rounds, self.memory(setting), 100 * MB)


def batches(rungs: list[Rung]) -> list[tuple[int, bool]]:
    return [(rung.setting.batch, rung.measured is not None) for rung in rungs]


def settings(*sizes: int) -> list[BenchSetting]:
    return [BenchSetting(size) for size in sizes]


def test_the_smallest_that_is_nearly_the_best() -> None:
    rates = {1: 50.0, 2: 90.0, 4: 97.5, 8: 100.0, 16: 99.0}
    rungs = measure_rungs(Faked(lambda s: rates[s.batch]), settings(*rates), 1 << 40, pytest.fail)
    chosen = pick(rungs, 1 << 40)
    assert (chosen.setting.batch, chosen.throughput) == (4, 97.5)
    assert chosen.spread == pytest.approx(0.3)


def test_settings_beyond_the_limit_are_named_and_skipped() -> None:
    told: list[str] = []
    fake = Faked(lambda s: float(s.batch))
    rungs = measure_rungs(fake, settings(100, 200, 400, 800), 350 * MB, told.append)
    assert batches(rungs) == [(100, True), (200, True), (400, False), (800, False)]
    assert [setting.batch for setting in fake.asked] == [100, 200]
    assert told == [f"batch {n} would take about 0.5 GB of 0.3: skipped." for n in (400, 800)]
    assert pick(rungs, 350 * MB).setting.batch == 200
    assert rungs[2].document() == {
        "batch": 400,
        "threads": None,
        "precision": None,
        "skipped": "would take about 0.5 GB of 0.3",
        "too_large": False,
    }


def test_memory_that_grew_faster_than_expected_counts_as_well() -> None:
    told: list[str] = []
    fake = Faked(lambda s: float(s.batch), lambda s: 100 * MB + s.batch**2 * MB)
    rungs = measure_rungs(fake, settings(4, 16), 300 * MB, told.append)
    assert [rung.too_large for rung in rungs] == [False, True]
    assert told == ["batch 16 took 0.4 GB, more than 0.3."]
    assert pick(rungs, 300 * MB).setting.batch == 4
    with pytest.raises(TooLittleMemory, match=r"No setting fits in 0\.3 GB"):
        pick(rungs[1:], 300 * MB)


def test_out_of_memory_ends_the_climb() -> None:
    told: list[str] = []
    fake = Faked(lambda s: float(s.batch), most=350 * MB)
    rungs = measure_rungs(fake, settings(100, 200, 400, 800), 1 << 40, told.append)
    assert batches(rungs) == [(100, True), (200, True), (400, False), (800, False)]
    assert [setting.batch for setting in fake.asked] == [100, 200, 400]
    assert "out of memory with batch 400" in told[0]
    assert rungs[2].skipped == "out of memory"


def test_out_of_memory_at_once_halves() -> None:
    told: list[str] = []
    fake = Faked(lambda s: float(s.batch), most=350 * MB)
    rungs = measure_rungs(fake, settings(800, 1600), 1 << 40, told.append)
    assert batches(rungs) == [(200, True), (800, False), (1600, False)]
    assert told[:2] == [
        "cuda:0 is out of memory with batch 800. Trying 400.",
        "cuda:0 is out of memory with batch 400. Trying 200.",
    ]
    with pytest.raises(TooLittleMemory, match="with batch 1"):
        measuring.measured_or_halved(Faked(lambda _: 1.0, most=1), BenchSetting(4), told.append)


def test_the_ladder_is_around_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert bench.ladder(BenchSubject("selfplay", "hex8", 2)) == [16, 32, 64, 128, 256, 512, 1024]
    assert bench.ladder(BenchSubject("search", "hex8", 2, "cuda:0"))[0] == 256
    assert bench.ladder(BenchSubject("engine", "hex8", 2))[-1] == 32_768
    assert bench.ladder(BenchSubject("engine", "hex8", 2, "cuda:0"))[3] == 65_536
    monkeypatch.setattr(bench, "available_threads", lambda: 6)
    training = BenchSubject("train", "hex8", 2)
    assert bench.ladder(training) == [64, 128, 256, 512, 1024]
    tried = bench.variants(training)
    assert [s.threads for s in tried if s.precision == "float32"] == [1, 2, 4, 6]
    assert {s.batch for s in tried} == {256}
    assert bench.max_settings(training) == 8 + 4


def test_training_chooses_threads_and_precision_at_its_own_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bench, "available_threads", lambda: 2)
    fake = Faked(lambda s: s.batch * (2.0 if s.threads == 1 else 1.0))
    found = discover(BenchSubject("train", "hex8", 2), fake, 1 << 40, pytest.fail)
    assert found.chosen.setting == BenchSetting(256, 1, "float32")
    others = [rung.setting for rung in found.rungs[4:]]
    assert others == [BenchSetting(batch, 1, "float32") for batch in (64, 128, 512, 1024)]


def test_passes_go_up_and_down_and_are_joined() -> None:
    rates = iter([10.0, 20.0, 30.0, 40.0, 50.0, 60.0])
    fake = Faked(lambda _: next(rates))
    rungs = measure_rungs(fake, settings(4, 8), 1 << 40, pytest.fail)
    done = bench.repeat_rungs(fake, rungs, 1 << 40, passes=3)
    assert [setting.batch for setting in fake.asked] == [4, 8, 8, 4, 4, 8]
    assert [rung.measured and len(rung.measured.rounds) for rung in done] == [9, 9]
    assert [rung.measured and rung.measured.throughput for rung in done] == [40.0, 30.0]


def test_a_later_pass_that_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Faked(lambda s: float(s.batch))
    rungs = measure_rungs(fake, settings(4, 8, 400), 300 * MB, lambda _: None)
    monkeypatch.setattr(fake, "most", 105 * MB)
    done = bench.repeat_rungs(fake, rungs, 300 * MB, passes=2)
    assert batches(done) == [(4, True), (8, False), (400, False)]
    assert done[1].skipped == "out of memory in a later pass"


def test_the_word_of_a_profile() -> None:
    fake = Faked(lambda _: 900.0)
    holds = ProfileCheck(entry(), fake(BenchSetting(24)), 0.15)
    assert holds.holds
    slower = ProfileCheck(entry(throughput=9000.0), fake(BenchSetting(24)), 0.15)
    assert not slower.holds
    assert slower.sentence() == (
        "selfplay on hex8 with 2 players, network tiny reaches 900 evaluations/s, 90% below the"
        " 9,000 of the profile from 2026-11-21 (tolerance 15%)."
    )
    subject = BenchSubject("selfplay", "hex8", 2, size="tiny")
    saved = bench.entry_of(subject, fake(BenchSetting(24)), MeasureTime(1.0, 3))
    assert (saved.key, saved.throughput, saved.memory) == (entry().key, 900.0, 124 * MB)
    assert (saved.batch, saved.threads, saved.precision) == (24, None, None)


# ---- measurements -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("subject", "setting", "names"),
    [
        (BenchSubject("engine", "hex8", 2), BenchSetting(64), ["decisions", "games"]),
        (
            BenchSubject("search", "hex8", 2, size="tiny"),
            BenchSetting(8),
            ["simulations", "decisions", "free_simulations", "free_decisions"],
        ),
        (
            BenchSubject("train", "hex8", 2, size="tiny"),
            BenchSetting(16, 1, "bfloat16"),
            ["samples"],
        ),
        (
            BenchSubject("selfplay", "hex8", 2, size="tiny"),
            BenchSetting(4),
            ["evaluations"],
        ),
    ],
    ids=lambda one: one.kind if isinstance(one, BenchSubject) else "",
)
def test_a_setting_is_measured(
    subject: BenchSubject, setting: BenchSetting, names: list[str]
) -> None:
    rounds: list[None] = []
    found = measure(subject, setting, QUICK, lambda: rounds.append(None))
    assert len(rounds) == len(found.rounds) == 2
    assert list(found.rounds[0]) == names
    assert found.throughput > 0
    assert 0 < found.before <= found.memory < 8e9
    document = found.document()
    assert document["batch"] == setting.batch
    assert document[f"{names[0]}_per_s"] == found.throughput
    assert ("free_to_network" in document) == (subject.kind == "search")


def test_what_cannot_be_measured() -> None:
    with pytest.raises(UsageError, match="at least one round"):
        measure(BenchSubject("engine", "hex8", 2), BenchSetting(1), MeasureTime(rounds=0))
    with pytest.raises(UsageError, match="huge"):
        measure(BenchSubject("train", "hex8", 2, size="giant"), BenchSetting(8), QUICK)


def told_by(subject: BenchSubject, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> Any:
    """What a process of a measurement tells in which an error comes up."""

    def prepared(_job: object) -> None:
        raise error

    monkeypatch.setattr(f"ringrift_cli.bench.{subject.kind}.prepared", prepared)
    context = multiprocessing.get_context("spawn")
    inbox, outbox = context.Pipe(duplex=False)
    measuring.work(subject, BenchSetting(8), QUICK, 0, context.Barrier(1), outbox)
    return inbox.recv()


@pytest.mark.parametrize("kind", ["search", "selfplay"])
def test_a_gpu_out_of_memory_is_told(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    subject = BenchSubject(kind, "hex8", 2, "cuda:0")
    told = told_by(subject, monkeypatch, torch.OutOfMemoryError())
    assert isinstance(told, TooLittleMemory)
    assert told.message == "cuda:0 is out of memory with batch 8."
    told = told_by(subject, monkeypatch, RingriftError("no"))
    assert told.message == "no"


@pytest.mark.parametrize(("code", "kind"), [(-9, TooLittleMemory), (3, RingriftError)])
def test_a_process_that_ends_early(code: int, kind: type[RingriftError]) -> None:
    class Ended:
        exitcode = code

        def join(self, _seconds: float) -> None:
            pass

    assert type(measuring.ended_early(Ended())) is kind  # type: ignore[arg-type]


@pytest.mark.parametrize(("form", "begins"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_a_picture_of_a_ladder(form: str, begins: bytes) -> None:
    def one(batch: int, threads: int, rate: float) -> Measurement:
        rounds = tuple({"evaluations": rate * x} for x in (0.9, 1.0, 1.2))
        return Measurement(BenchSetting(batch, threads), rounds, batch * 10**7, 0)

    measured = [one(16, 1, 100.0), one(32, 1, 150.0), one(16, 2, 100.0)]
    rungs = [Rung(m.setting, m) for m in measured] + [Rung(BenchSetting(64), None, "too large")]
    found = {"a core": Discovery(tuple(rungs), measured[1])}
    assert plot_ladders(BenchSubject("selfplay", "hex8", 2), found, form).startswith(begins)
