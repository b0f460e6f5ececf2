"""Where the trees of self-play are, and what happens where they do not fit."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ringrift_cli.errors import RingriftError
from ringrift_cli.search.cuda.check import Arithmetic
from ringrift_cli.search.forest import Forest
from ringrift_cli.selfplay import forests
from ringrift_cli.settings import SelfPlay


class Gpu:
    """A GPU with memory for so many games; a network on it evaluates like Arithmetic."""

    def __init__(self, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room = room
        self.asked: list[int] = []
        self.evaluator = SimpleNamespace(network="on the GPU")
        monkeypatch.setattr(forests, "on_gpu", self.grow)
        monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)

    def grow(
        self, board: str, players: int, setting: SelfPlay, network: Any, games: int, device: str
    ) -> Forest:
        assert (network, device) == ("on the GPU", "cuda:3")
        self.asked.append(games)
        if games > self.room:
            raise torch.OutOfMemoryError
        forest = forests.on_cpu(board, players, setting, Arithmetic(players), games)
        forest.waited = 2.5  # type: ignore[attr-defined]
        return forest


def plant(evaluator: Any, device: str, games: int, notes: list[str]) -> tuple[int, float]:
    forest, clock = forests.new_forest(
        "hex8", 2, SelfPlay(), evaluator, games, device, notes.append
    )
    return len(forest), clock()


def test_too_little_memory_halves_the_games_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, notes = Gpu(300, monkeypatch), list[str]()
    assert plant(gpu.evaluator, "cuda:3", 1024, notes) == (256, 2.5)
    assert gpu.asked == [1024, 512, 256]
    assert notes == [
        "cuda:3 is out of memory with 1,024 games at once in a line: 512 from now on.",
        "cuda:3 is out of memory with 512 games at once in a line: 256 from now on.",
    ]


def test_where_all_fit_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, notes = Gpu(300, monkeypatch), list[str]()
    assert plant(gpu.evaluator, "cuda:3", 300, notes) == (300, 2.5)
    assert notes == []


def test_where_nothing_fits_it_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, notes = Gpu(0, monkeypatch), list[str]()
    with pytest.raises(RingriftError, match="cuda:3 has too little memory for 1 game"):
        plant(gpu.evaluator, "cuda:3", 4, notes)
    assert gpu.asked == [4, 2, 1]


@pytest.mark.parametrize(
    ("evaluator", "device"),
    [
        (Arithmetic(2), "cuda:3"),  # a heuristic that teaches where there is no model yet
        (SimpleNamespace(network="on the CPU", evaluate=Arithmetic(2).evaluate), "cpu"),
    ],
)
def test_otherwise_the_trees_are_on_the_cpu(
    evaluator: Any, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu, notes = Gpu(300, monkeypatch), list[str]()
    assert plant(evaluator, device, 5, notes) == (5, 0.0)
    assert not gpu.asked
    assert not notes
