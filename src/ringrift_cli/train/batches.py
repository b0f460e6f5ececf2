"""Training batches, prepared in background threads.

A batch is determined by the data, the seed and the step number, so a resumed run gets the same
batches, however far ahead they were prepared.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ringrift_cli.data.shard_checks import offsets_of, place_targets
from ringrift_cli.errors import RecordError
from ringrift_cli.game import layout as L
from ringrift_cli.game import playout
from ringrift_cli.game.playout import LongArray
from ringrift_cli.game.replay import rows_at
from ringrift_cli.game.symmetry import symmetries
from ringrift_cli.game.topology import IntArray, board_named
from ringrift_cli.nn.features import encode_all
from ringrift_cli.nn.symmetry import exact_symmetries, transform_all
from ringrift_cli.train.dataset import TrainData, finished

SAMPLES = 1  # seed path of the random numbers of a step
UNKNOWN = -100  # class ignored by the loss; the default ignore_index of torch
AHEAD = 3  # batches prepared in advance


@dataclass(frozen=True)
class Batch:
    """N positions with M legal actions in total; seats are relative, the mover first."""

    planes: Tensor  # [N, W, W, C] uint8
    scalars: Tensor  # [N, K] float32
    position: Tensor  # [M] int64 row of each action
    action: Tensor  # [M] int64
    target: Tensor  # [M] float32 probability of each action
    value: Tensor  # [N, players] float32 win probabilities
    winner: Tensor  # [N] int64
    owner: Tensor  # [N, W * W] int64 class of each cell at the end, or UNKNOWN
    eliminated: Tensor  # [N, players] float32 share of all rings
    known: Tensor  # [N] float32, 1 if the game was not resigned

    def to(self, device: torch.device) -> Batch:
        """The batch on a device; copies to a GPU are asynchronous."""
        if device.type == "cpu":
            return self
        moved: dict[str, Any] = {}
        for field in fields(self):
            tensor: Tensor = getattr(self, field.name)
            moved[field.name] = tensor.pin_memory().to(device, non_blocking=True)
        return Batch(**moved)


def training_batch(data: TrainData, size: int, value_mix: float, seed: int, step: int) -> Batch:
    """The batch of a step: positions sampled by weight, each under a random symmetry."""
    rng = np.random.default_rng([seed, SAMPLES, step])
    chosen = data.draw(size, rng)
    exact = np.array(exact_symmetries(data.board), np.int64)
    return make_batch(data, chosen, value_mix, exact[rng.integers(len(exact), size=size)])


def validation_batches(
    data: TrainData, size: int, value_mix: float, most: int
) -> Iterator[tuple[Batch, LongArray]]:
    """Batches of `most` fixed validation positions without symmetries.

    Each comes with the offsets of its positions' actions, [N + 1].
    """
    spread_out = np.linspace(0, len(data.validation) - 1, min(most, len(data.validation)))
    chosen = data.validation[spread_out.astype(np.int64)]
    for first in range(0, len(chosen), size):
        batch = make_batch(data, chosen[first : first + size], value_mix, None)
        counts = np.bincount(batch.position.numpy(), minlength=len(batch.planes))
        yield batch, offsets_of(counts)


def make_batch(
    data: TrainData, chosen: LongArray, value_mix: float, which: LongArray | None
) -> Batch:
    """The batch of the positions `chosen`, [N], in the order of the columns.

    `which`, [N], are the symmetries to apply, if given. `RecordError` if a policy target names an
    illegal action.
    """
    c, T = data.columns, data.T
    chosen = np.sort(chosen)
    games = data.game[chosen]
    starts, offsets = np.unique(games, return_index=True)
    offsets = np.append(offsets, len(games))
    first = c.game_offsets[starts]
    rows = rows_at(T, c.actions, first, offsets, c.plies[chosen], pie_rule=data.pie_rule)
    legal, legal_offsets = playout.list_all(T, rows)
    target = _targets(data, chosen, legal, legal_offsets)
    movers = rows[:, L.SEAT].astype(np.int64)
    turned = np.zeros(len(chosen), np.int64) if which is None else which
    if which is not None:
        rows, legal = transform_all(data.board, data.players, rows, legal, legal_offsets, which)
    planes, scalars = encode_all(T, rows)
    seats = (movers[:, None] + np.arange(data.players)) % data.players  # [N, players], mover first
    winner = (c.winners[games] - movers) % data.players
    changed = data.swapped[games] & (rows[:, L.PIE] != L.PIE_SWAPPED)
    winner[changed] = 1 - winner[changed]  # the players change seats later in the game
    value = value_mix * np.take_along_axis(c.values[chosen], seats, 1)
    value[np.arange(len(chosen)), winner] += np.float32(1 - value_mix)
    known = finished(c)[games]
    position = np.repeat(np.arange(len(chosen)), np.diff(legal_offsets))
    return Batch(
        torch.from_numpy(planes),
        torch.from_numpy(scalars),
        torch.from_numpy(position),
        torch.from_numpy(legal.astype(np.int64)),
        torch.from_numpy(target),
        torch.from_numpy(value / value.sum(axis=1, keepdims=True)),
        torch.from_numpy(winner),
        torch.from_numpy(_owner_classes(data, games, movers, turned, known)),
        torch.from_numpy(np.take_along_axis(data.eliminated[games], seats, 1)),
        torch.from_numpy(known.astype(np.float32)),
    )


def _targets(data: TrainData, chosen: LongArray, legal: IntArray, legal_offsets: LongArray) -> Any:
    """Target probability of each legal action, [M] float32."""
    c = data.columns
    counts = c.choice_offsets[chosen + 1] - c.choice_offsets[chosen]
    offsets = offsets_of(counts)
    at = np.arange(offsets[-1]) + np.repeat(c.choice_offsets[chosen] - offsets[:-1], counts)
    size = int(data.T[L.T_ACTIONS])
    target, wrong = place_targets(legal, legal_offsets, c.choices[at], offsets, c.targets[at], size)
    if len(wrong):
        raise RecordError(
            f"The policy target names action {c.choices[at][wrong[0]]}, which is not legal."
        )
    return target


@cache
def _pictured(board: str, players: int) -> LongArray:
    """Plane index of each cell under each symmetry, row * W + column, [symmetries, cells]."""
    info = board_named(board)
    grid = np.array([row * info.width + column for column, row in info.cells])
    return np.stack([grid[list(symmetry.cells)] for symmetry in symmetries(info)])


def _owner_classes(
    data: TrainData, games: LongArray, movers: LongArray, which: LongArray, known: Any
) -> LongArray:
    """Final owner of each plane cell, [N, W * W]; UNKNOWN off the board."""
    width = int(data.T[L.T_ROWS])
    owners = data.owners[games].astype(np.int64)
    relative = np.where(owners > 0, 1 + (owners - 1 - movers[:, None]) % data.players, 0)
    relative[~known] = UNKNOWN
    classes = np.full((len(games), width * width), UNKNOWN, np.int64)
    np.put_along_axis(classes, _pictured(data.board, data.players)[which], relative, 1)
    return classes


def loader_threads(device: torch.device) -> int:
    """Number of loader threads: one when training on the CPU, several for a GPU."""
    return 1 if device.type == "cpu" else max(1, min(8, playout.available_threads() // 2))


def ahead(
    make: Callable[[int], Batch], first: int, end: int, threads: int
) -> Generator[Batch, None, None]:
    """Batches of the steps `first` to `end` - 1 in order, `AHEAD` of them prepared in advance.

    An error is raised when its batch is due. Closing the iterator waits for batches in preparation.
    """
    waiting: deque[Future[Batch]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="ringrift-batches") as pool:
        try:
            for step in range(first, end):
                while len(waiting) < threads + AHEAD and step + len(waiting) < end:
                    waiting.append(pool.submit(make, step + len(waiting)))
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
