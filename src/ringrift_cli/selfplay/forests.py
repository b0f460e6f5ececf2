"""The trees of self-play: on the CPU, or with the network in the memory of a GPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ringrift_cli.errors import RingriftError
from ringrift_cli.game.playout import LongArray
from ringrift_cli.game.topology import IntArray, tables
from ringrift_cli.search.forest import Evaluator, Forest, Searches
from ringrift_cli.search.gumbel import considered_actions
from ringrift_cli.search.tree import FloatArray
from ringrift_cli.settings import SelfPlay

if TYPE_CHECKING:
    from ringrift_cli.search.cuda.forest import DeviceForest

FEWEST = 1  # games on a GPU with too little memory before self-play gives up


class Timed:
    """An evaluator that knows how long it took."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self.seconds = 0.0

    def evaluate(
        self, rows: IntArray, actions: IntArray, offsets: LongArray
    ) -> tuple[FloatArray, FloatArray]:
        start = time.perf_counter()
        found = self._evaluator.evaluate(rows, actions, offsets)
        self.seconds += time.perf_counter() - start
        return found


def most_considered(setting: SelfPlay) -> int:
    """Actions that any search of the setting considers at its root."""
    return max(
        considered_actions(setting.sims, setting.considered),
        considered_actions(setting.fast_sims, setting.fast_considered),
    )


def on_cpu(board: str, players: int, setting: SelfPlay, evaluator: Evaluator, games: int) -> Forest:
    """Trees of so many games on the CPU."""
    return Forest(
        tables(board, players),
        games,
        evaluator,
        exploration=setting.exploration,
        value_scale=setting.value_scale,
        considered=most_considered(setting),
    )


def on_gpu(
    board: str, players: int, setting: SelfPlay, network: Any, games: int, device: str
) -> DeviceForest:
    """Trees of so many games on a GPU, where `network`, a nn.folded.Folded, is.

    torch.OutOfMemoryError if there is too little memory; all of it is taken here.
    """
    from ringrift_cli.game.cuda.device import Device
    from ringrift_cli.nn.cuda.evaluator import DeviceNetwork
    from ringrift_cli.search.cuda.forest import DeviceForest

    T, there = tables(board, players), Device(device)
    return DeviceForest(
        T,
        games,
        DeviceNetwork(network, T, games, there),
        there,
        simulations=max(setting.sims, setting.fast_sims),
        exploration=setting.exploration,
        value_scale=setting.value_scale,
        considered=most_considered(setting),
    )


def as_many_as_fit(
    make: Callable[[int], DeviceForest], games: int, device: str, tell: Callable[[str], None]
) -> DeviceForest:
    """What `make` makes for `games` games; half as many whenever the GPU has too little memory.

    `tell` hears of it. `RingriftError` if not even `FEWEST` fit.
    """
    import torch

    from ringrift_cli.search.cuda.sequence import CAPTURING

    while True:
        try:
            return make(games)
        except torch.OutOfMemoryError:
            if games <= FEWEST:
                raise RingriftError(
                    f"{device} has too little memory for {games} game.",
                    hint="--concurrent 1 with a smaller network, or --gpus none",
                ) from None
        with CAPTURING:
            torch.cuda.empty_cache()
        tell(
            f"{device} is out of memory with {games:,} games at once in a line:"
            f" {games // 2:,} from now on."
        )
        games //= 2


def planted(
    board: str,
    players: int,
    setting: SelfPlay,
    evaluator: Any,
    games: int,
    device: str,
    tell: Callable[[str], None],
) -> tuple[Searches, Callable[[], float]]:
    """Trees of so many games at most, and a clock of the seconds spent on their evaluation.

    They are on the GPU if `evaluator` has a network that is on one, else on the CPU.
    """
    network = getattr(evaluator, "network", None)
    if device.startswith("cuda") and network is not None:

        def make(count: int) -> DeviceForest:
            return on_gpu(board, players, setting, network, count, device)

        forest = as_many_as_fit(make, games, device, tell)
        return forest, lambda: forest.waited
    timed = Timed(evaluator)
    return on_cpu(board, players, setting, timed, games), lambda: timed.seconds
