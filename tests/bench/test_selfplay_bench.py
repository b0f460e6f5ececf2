"""What the measurement of self-play makes its processes do."""

from __future__ import annotations

import multiprocessing
import threading
from typing import Any

import numpy as np
import pytest
import torch

from ringrift_cli.bench import selfplay as bench
from ringrift_cli.game.playout import LongArray
from ringrift_cli.game.topology import IntArray
from ringrift_cli.search.tree import FloatArray
from ringrift_cli.selfplay.actor import Actor

pytestmark = pytest.mark.usefixtures("compiled_rules")


class Noting:
    """Evaluates all alike, and notes who asked it how much."""

    precision = "float32"

    def __init__(self) -> None:
        self.threads: set[int] = set()
        self.most = 0

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

    def evaluator(*_: Any) -> Noting:
        made.append(Noting())
        return made[-1]

    def actor(*args: Any, seed: int) -> Actor:
        seeds.append(seed)
        return Actor(*args, seed=seed)

    line = bench._Line  # noqa: SLF001
    monkeypatch.setattr(bench, "_GpuLine", lambda *of: line(*of[:-1]))  # here is none
    monkeypatch.setattr(bench, "evaluator_for", evaluator)
    monkeypatch.setattr(bench, "Actor", actor)
    monkeypatch.setattr(bench, "WARM_STEPS", 3)
    monkeypatch.setattr(torch, "set_num_threads", lambda _count: None)
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    setting = bench.BenchSetting("hex8", 2, (device,), concurrent=7, seconds=0.1, rounds=1)
    bench.work(setting, device, 3, context.Barrier(1), sending)
    told = receiving.recv()
    assert list(told.alone) == [share, 2 * share, 4 * share]
    assert min(told.selfplay, *told.alone.values()) > 0
    assert seeds == [3 * lines + line for line in range(lines)]
    assert len(made) == lines
    assert [len(one.threads) for one in made] == [1] * lines
    assert len(set.union(*(one.threads for one in made))) == lines
    assert all(one.most == 4 * share for one in made)
