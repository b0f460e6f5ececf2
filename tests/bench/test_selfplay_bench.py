"""What the measurement of self-play makes its processes do."""

from __future__ import annotations

import itertools
import threading
import time
from typing import Any

import numpy as np
import pytest
import torch

from ringrift_cli.bench import selfplay as bench
from ringrift_cli.bench.measure import (
    BenchJob,
    BenchSetting,
    BenchSubject,
    Measurement,
    MeasureTime,
)
from ringrift_cli.game.playout import LongArray
from ringrift_cli.game.topology import IntArray
from ringrift_cli.search.forest import Searches
from ringrift_cli.search.tree import FloatArray
from ringrift_cli.selfplay.actor import Actor
from ringrift_cli.selfplay.forests import on_cpu
from ringrift_cli.settings import SelfPlay
from tests.searched import searched_games

pytestmark = pytest.mark.usefixtures("compiled_rules")


class Noting:
    """Evaluates all alike, and notes who asked it how much."""

    precision = "float32"

    def __init__(self) -> None:
        self.threads: set[int] = set()
        self.most = 0
        self.network = self

    def evaluate(
        self, rows: IntArray, actions: IntArray, _offsets: LongArray
    ) -> tuple[FloatArray, FloatArray]:
        self.threads.add(threading.get_ident())
        self.most = max(self.most, len(rows))
        return np.zeros(len(actions)), np.full((len(rows), 2), 0.5)


@pytest.mark.parametrize(("device", "lines", "share"), [("cpu", 1, 7), ("cuda:0", 2, 4)])
def test_lines_as_in_self_play(
    monkeypatch: pytest.MonkeyPatch, device: str, lines: int, share: int
) -> None:
    made: list[Noting] = []
    seeds: list[int] = []

    def evaluator(_subject: BenchSubject) -> Noting:
        made.append(Noting())
        return made[-1]

    def actor(*args: Any, seed: int) -> Actor:
        seeds.append(seed)
        return Actor(*args, seed=seed)

    def forest(board: str, players: int, play: Any, network: Any, games: int, _: str) -> Searches:
        return on_cpu(board, players, play, network, games)

    if device != "cpu":  # here is none
        monkeypatch.setattr(bench, "on_gpu", forest)
        monkeypatch.setattr(bench, "_alone", lambda *_: lambda _seconds: 1.0)
    monkeypatch.setattr(bench, "evaluator_for", evaluator)
    monkeypatch.setattr(bench, "Actor", actor)
    monkeypatch.setattr(bench, "WARM_STEPS", 3)
    monkeypatch.setattr(torch, "set_num_threads", lambda _count: None)
    subject = BenchSubject("selfplay", "hex8", 2, device)
    time = MeasureTime(rounds=1, evaluator_alone=True)
    waits: list[None] = []
    job = BenchJob(subject, BenchSetting(7), time, 3, lambda: waits.append(None))
    with bench.prepared(job) as workload:
        assert workload.precision == "float32"
        rates = workload.run(0.1)
    names = [f"alone_{factor * share}" for factor in (1, 2, 4)]
    assert list(rates) == ["evaluations", "decisions", *names]
    assert len(waits) == 3
    assert min(rates["evaluations"], *(rates[name] for name in names)) > 0
    assert seeds == [3 * lines + line for line in range(lines)]
    assert len(made) == lines
    assert [len(one.threads) for one in made] == [1] * lines
    assert len(set.union(*(one.threads for one in made))) == lines
    assert all(one.most == (4 if device == "cpu" else 1) * share for one in made)
    found = Measurement(BenchSetting(7), (rates,), 10**6, 10, "float32")
    document = bench.report(subject, [device], found)
    assert list(document["evaluator_evals_per_s"]) == [str(factor * share) for factor in (1, 2, 4)]
    best = max(document["evaluator_evals_per_s"].values())
    assert document["ratio"] == pytest.approx(document["selfplay_evals_per_s"] / best)


def test_decisions_count_before_their_game_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(0.0).__next__
    monkeypatch.setattr(time, "perf_counter", clock)  # a second for each step
    play = SelfPlay(sims=2, fast_sims=2, resign_below=0.0)
    forest = on_cpu("hex8", 2, play, Noting(), 4)
    line = bench.PlayLine(BenchSubject("selfplay", "hex8", 2), play, forest, seed=1)
    rates = line.play(20.0)  # of a game of some hundred decisions
    assert rates["decisions"] > 0
    assert rates["evaluations"] > 0


def test_games_follow_from_decisions_and_the_length_of_a_game() -> None:
    rounds = tuple(
        {"evaluations": 1.0, "decisions": made, "alone_8": 1.0} for made in (90.0, 30.0, 60.0)
    )
    found = Measurement(BenchSetting(7), rounds, 10**6, 10, "float32")
    document = bench.report(BenchSubject("selfplay", "hex8", 2), ["cpu"], found)
    lengths = [len(game.actions) for game in searched_games("hex8", 2, 100, 3)]
    assert document["decisions_per_game"] == pytest.approx(np.mean(lengths), rel=0.1)
    assert document["games_per_s"] == 90 / document["decisions_per_game"]
    assert document["decisions_per_s"] == 90
