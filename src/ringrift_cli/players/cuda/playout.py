"""Games of the heuristic on a GPU: whole games, a thread for each, with the CPU's own functions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numba import cuda
from torch import Tensor

from ringrift_cli.game import layout as L
from ringrift_cli.game import playout, turn
from ringrift_cli.game.cuda.batch import DeviceBatch
from ringrift_cli.game.cuda.device import Device
from ringrift_cli.game.jit import pointer, wide
from ringrift_cli.game.playout import BoolArray, LongArray, Seeds
from ringrift_cli.game.topology import IntArray, tables
from ringrift_cli.players import scoring
from ringrift_cli.players.features import SCRATCH, N
from ringrift_cli.players.scoring import FloatArray


@dataclass(frozen=True)
class Temper:
    """How the heuristic chooses; see heuristic.py. A player of the CPU thinks with `width` 24."""

    width: int = 0  # unfinished turns that are thought to their end
    noise: float = 0.0
    blunder: float = 0.0


def heuristic_kernel(
    T: IntArray,
    rows: IntArray,
    seeds: Seeds,
    weights: FloatArray,
    width: int,
    noise: float,
    blunder: float,
    words: IntArray,
    lists: IntArray,
    answers: IntArray,
    scores: FloatArray,
    sums: FloatArray,
    waiting: BoolArray,
    logs: IntArray,
    lengths: LongArray,
) -> None:
    """Plays every row by the heuristic, to its end or, if logs [N, K] have room, for K decisions.

    Weights [features]; lists and answers [N, max legal], scores [N, max legal], sums [N, 2,
    MAX_PLAYERS], waiting [N, max legal] and words [N, ...] are room: two rows, workspace, scratch
    and counts.
    """
    i = cuda.grid(1)
    if i >= rows.shape[0]:
        return
    size, room = wide(T[L.T_ROW_SIZE]), logs.shape[1]
    table, row, played = pointer(T), pointer(rows[i]), 0
    work, scratch = 2 * size, 2 * size + L.WORK
    while row[L.PHASE] != L.OVER and (room == 0 or played < room):
        n = turn.legal(table, row, pointer(words[i, work:]), pointer(lists[i]))
        scoring.score_row(
            table, row, pointer(words[i]), pointer(words[i, size:]), pointer(words[i, work:]),
            pointer(words[i, scratch:]), pointer(words[i, scratch + SCRATCH :]),
            pointer(answers[i]), lists[i, :n], weights, width, sums[i, 0], waiting[i], scores[i],
            sums[i, 1],
        )  # fmt: skip
        action = wide(lists[i, scoring.pick(scores[i], 0, n, seeds, i, noise, blunder)])
        if room > 0:
            logs[i, played] = action
        played += 1
        turn.apply(table, row, pointer(words[i, work:]), action)
    lengths[i] = played


class HeuristicBatch:
    """Games of one board and number of players that the heuristic plays on a device."""

    def __init__(
        self, board: str, players: int, size: int, device: Device, weights: FloatArray
    ) -> None:
        """`weights`, [features], contain the units (heuristic.effective_weights)."""
        T = tables(board, players)
        self.batch, most = DeviceBatch(board, players, size, device), int(T[L.T_MAX_LEGAL])
        room = 2 * int(T[L.T_ROW_SIZE]) + L.WORK + SCRATCH + L.MAX_PLAYERS * N
        self._weights = device.view(device.moved(weights))
        self._room = tuple(
            device.view(tensor)
            for tensor in (
                device.zeros(size, room),
                self.batch.lists,
                device.zeros(size, most),
                device.zeros(size, most, of=torch.float64),
                device.zeros(size, 2, L.MAX_PLAYERS, of=torch.float64),
                device.zeros(size, most, of=torch.bool),
            )
        )

    def play(self, seeds: Tensor, log: int, temper: Temper) -> tuple[Tensor, Tensor]:
        """Plays the games on; actions [N, log] and how many, [N] int64, as batch.play_random."""
        batch, device = self.batch, self.batch.device
        logs = device.zeros(len(batch), log)
        lengths = device.zeros(len(batch), of=torch.int64)
        device.launch(
            heuristic_kernel, len(batch), batch.T, device.view(batch.rows),
            device.view(seeds, np.uint64), self._weights, temper.width, temper.noise,
            temper.blunder, *self._room, device.view(logs), device.view(lengths),
        )  # fmt: skip
        return logs, lengths


def play_on_cpu(
    board: str, players: int, seeds: Seeds, log: int, weights: FloatArray, temper: Temper
) -> tuple[IntArray, IntArray, LongArray]:
    """New games by the CPU: rows [N, row size], actions [N, log] and lengths [N]."""
    T, games = tables(board, players), len(seeds)
    seeds, each = seeds.copy(), np.ones(games)
    rows = np.zeros((games, int(T[L.T_ROW_SIZE])), np.int32)
    playout.start_all(T, rows, np.ones(games, np.bool_), False)
    logs, lengths = np.zeros((games, log), np.int32), np.zeros(games, np.int64)
    for ply in range(log):
        going = np.flatnonzero(rows[:, L.PHASE] != L.OVER)
        if len(going) == 0:
            break
        actions, offsets = playout.list_all(T, rows[going])
        which = np.zeros(len(going), np.int64)
        scores, _ = scoring.score_all(
            T, rows[going], actions, offsets, weights[None], which, temper.width
        )
        drawn = seeds[going]
        noise, blunder = temper.noise * each[going], temper.blunder * each[going]
        chosen = actions[scoring.pick_all(scores, offsets, drawn, noise, blunder)]
        seeds[going], logs[going, ply] = drawn, chosen
        after = rows[going]
        playout.apply_all(T, after, chosen)
        rows[going], lengths[going] = after, lengths[going] + 1
    return rows, logs, lengths
