"""Search trees of self-play, on the CPU or on a GPU."""

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

FEWEST = 1  # minimum concurrent games on a GPU


class Timed:
    """Evaluator that measures its time."""

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
    """Maximum number of actions considered at the root."""
    return max(
        considered_actions(setting.sims, setting.considered),
        considered_actions(setting.fast_sims, setting.fast_considered),
    )


def on_cpu(board: str, players: int, setting: SelfPlay, evaluator: Evaluator, games: int) -> Forest:
    """Trees of `games` games on the CPU."""
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
    """Trees of `games` games on the GPU of `network` (nn.folded.Folded).

    All memory is allocated here; torch.OutOfMemoryError if there is too little.
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


def largest_that_fits(
    make: Callable[[int], DeviceForest], games: int, device: str, on_notice: Callable[[str], None]
) -> DeviceForest:
    """Calls `make(games)`, halving `games` while the GPU runs out of memory.

    `on_notice` receives a message per reduction. `RingriftError` if `FEWEST` games do not fit.
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
        on_notice(
            f"{device} is out of memory with {games:,} games at once in a line:"
            f" {games // 2:,} from now on."
        )
        games //= 2


def new_forest(
    board: str,
    players: int,
    setting: SelfPlay,
    evaluator: Any,
    games: int,
    device: str,
    on_notice: Callable[[str], None],
) -> tuple[Searches, Callable[[], float]]:
    """Trees of at most `games` games, and a function that returns the seconds spent in evaluation.

    The trees are on the GPU if the network of `evaluator` is, else on the CPU.
    """
    network = getattr(evaluator, "network", None)
    if device.startswith("cuda") and network is not None:

        def make(count: int) -> DeviceForest:
            return on_gpu(board, players, setting, network, count, device)

        forest = largest_that_fits(make, games, device, on_notice)
        return forest, lambda: forest.waited
    timed = Timed(evaluator)
    return on_cpu(board, players, setting, timed, games), lambda: timed.seconds
