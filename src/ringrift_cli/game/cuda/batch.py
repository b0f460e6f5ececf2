"""Thousands of games on a GPU, as game/batch.py has them on the CPU.

Memory. A game is a row of 32-bit words. Two orders are possible, and the kernels take either, for
they index through views:

    by game   the words of a game follow each other: a thread that looks around on its board stays
              within a few cache lines
    by word   word k of all games follow each other: threads of a warp that read the same word of
              their games read one stretch of memory

Which is faster depends on how far threads are in step, so it is for a measurement to say
(bench/gpu_check.py). What torch sees, [N, ...], is the same in both.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ringrift_cli.game import layout as L
from ringrift_cli.game import playout
from ringrift_cli.game.cuda import kernels
from ringrift_cli.game.cuda.device import Device
from ringrift_cli.game.playout import LongArray, Seeds
from ringrift_cli.game.topology import IntArray, check_pie, tables

MASK_THREADS = 64  # that set the mask of a game


def words(device: Device, games: int, size: int, *, by_word: bool) -> Tensor:
    """Zeros, [games, size] int32, in one of the two orders."""
    return device.zeros(size, games).t() if by_word else device.zeros(games, size)


class DeviceBatch:
    """`size` games of one board and number of players, advanced together on a device.

    Nothing here waits for the device or copies from it. `rows` [N, row size], `lists`
    [N, max legal], `counts` [N] and `winners` [N] are int32 tensors that other kernels may read.
    """

    def __init__(
        self,
        board: str,
        players: int,
        size: int,
        device: Device,
        *,
        by_word: bool = False,
        pie_rule: bool = False,
    ) -> None:
        T = self.T_host = tables(board, players)
        self.device, self.pie_rule, self._size = device, check_pie(players, pie_rule), size
        self.T = device.view(device.moved(np.array(T)))
        self.rows = words(device, size, int(T[L.T_ROW_SIZE]), by_word=by_word)
        self.lists = words(device, size, int(T[L.T_MAX_LEGAL]), by_word=by_word)
        self._works = words(device, size, L.WORK, by_word=by_word)
        self.counts, self.winners = device.zeros(size), device.zeros(size)
        self._actions = int(T[L.T_ACTIONS])
        self._rows, self._lists = device.view(self.rows), device.view(self.lists)
        self._work, self._count = device.view(self._works), device.view(self.counts)
        self.start()

    def __len__(self) -> int:
        return self._size

    def start(self) -> None:
        """Makes a new game of every row."""
        self.device.launch(kernels.start_kernel, len(self), self.T, self._rows, self.pie_rule)

    def legal(self) -> tuple[Tensor, Tensor]:
        """Legal actions: game i may play `lists[i, : counts[i]]`; none where it is over."""
        self.device.launch(
            kernels.legal_kernel, len(self), self.T, self._rows, self._work, self._lists,
            self._count,
        )  # fmt: skip
        return self.lists, self.counts

    def mask(self, out: Tensor | None = None) -> Tensor:
        """1 for each legal action, [N, actions] uint8; written to `out` if given."""
        if out is None:
            out = self.device.zeros(len(self), self._actions, of=torch.uint8)
        else:
            out.zero_()
        self.legal()
        self.device.launch_blocks(
            kernels.mask_kernel, len(self), MASK_THREADS, self._lists, self._count,
            self.device.view(out),
        )  # fmt: skip
        return out

    def apply(self, actions: Tensor) -> None:
        """Carries out a legal action, [N] int32, in every game; -1 leaves a game alone."""
        self.device.launch(
            kernels.apply_kernel, len(self), self.T, self._rows, self._work,
            self.device.view(actions),
        )  # fmt: skip

    def ended(self) -> Tensor:
        """The seat of each game's winner, [N]; -1 while the game goes on."""
        view = self.device.view(self.winners)
        self.device.launch(kernels.winners_kernel, len(self), self._rows, view)
        return self.winners

    def play_random(self, seeds: Tensor, log: int) -> tuple[Tensor, Tensor]:
        """As `playout.play_random`: actions [N, log] and how many, [N] int64.

        Every game goes on until it is over or its log is full; with `log` 0 to its end. The
        generators `seeds`, [N] (int64, the bits of uint64), step on.
        """
        logs, lengths = (
            self.device.zeros(len(self), log),
            self.device.zeros(len(self), of=torch.int64),
        )
        self.device.launch(
            kernels.play_kernel, len(self), self.T, self._rows,
            self.device.view(seeds, np.uint64), self._work, self._lists, self.device.view(logs),
            self.device.view(lengths),
        )  # fmt: skip
        return logs, lengths

    def play_many(self, seeds: Tensor) -> Tensor:
        """Plays a random game from its start for each of `seeds`, [games], N at a time.

        Returns the decisions played in each row, [N] int64. Its rows are those of the last games.
        """
        lengths = self.device.zeros(len(self), of=torch.int64)
        self.device.launch(
            kernels.play_many_kernel, len(self), self.T, self._rows,
            self.device.view(seeds, np.uint64), self._work, self._lists, seeds.shape[0],
            self.device.view(lengths),
        )  # fmt: skip
        return lengths


def play_random(batch: DeviceBatch, seeds: Seeds, log: int) -> tuple[IntArray, IntArray, LongArray]:
    """Plays a new game in each row with its generator, [N].

    Returns final rows [N, row size], actions [N, log] and lengths [N], on the host.
    """
    batch.start()
    logs, lengths = batch.play_random(batch.device.moved(seeds), log)
    return batch.rows.cpu().numpy(), logs.cpu().numpy(), lengths.cpu().numpy()


def play_on_cpu(
    board: str, players: int, seeds: Seeds, log: int
) -> tuple[IntArray, IntArray, LongArray]:
    """The same games by the CPU."""
    T = tables(board, players)
    rows = np.zeros((len(seeds), int(T[L.T_ROW_SIZE])), np.int32)
    logs, lengths = np.zeros((len(seeds), log), np.int32), np.zeros(len(seeds), np.int64)
    playout.start_all(T, rows, np.ones(len(seeds), np.bool_), False)
    playout.play_random(T, rows, seeds.copy(), logs, lengths)
    return rows, logs, lengths
