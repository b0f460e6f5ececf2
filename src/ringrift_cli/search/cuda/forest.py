"""search/forest.py on a GPU: trees, positions and what evaluates them never leave its memory.

    step   orders of the host ─ begin ─ simulation ─ features ─ network ─ logits ─ expand ─ status
    play   actions of the host ─ play ─ what was played, headers of the roots

Both are fixed sequences of launches (sequence.py). A step evaluates a row for every game, the few
without a question included: sizes never change. The host reads one word for each game after a step,
and the roots of searches that are over; the CPU's own functions (found.py) say what came of them.

Results are those of `Forest` for the same seeds and evaluator. The kernels are the same functions,
and no product is fused with a sum (jit.product); `exp` and `log` of the two may differ in the last
bit of a double, which single precision mostly rounds away. Where trees are too large for their room
(memory.py), they are forgotten or searches end early, which `cramped` counts: then results differ.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ringrift_cli.errors import RingriftError
from ringrift_cli.game import layout as L
from ringrift_cli.game.cuda.device import Device
from ringrift_cli.game.jit import SIMULATED
from ringrift_cli.game.playout import BoolArray, LongArray
from ringrift_cli.game.topology import IntArray
from ringrift_cli.search import results
from ringrift_cli.search.cuda import kernels, memory
from ringrift_cli.search.cuda.sequence import CAPTURING, Sequence, new_stream
from ringrift_cli.search.forest import EXPLORATION, VALUE_SCALE
from ringrift_cli.search.gumbel import Plans
from ringrift_cli.search.results import SearchResult
from ringrift_cli.search.tree import FloatArray, Trees

HEAD_OF_LOG = 16  # actions that are fetched at once: single actions seldom follow in such numbers


class DeviceEvaluator(Protocol):
    """What evaluates positions that lie on the device."""

    wrong: Tensor  # [1] int32, set on an output that is not finite

    def evaluate(self, rows: Tensor, lists: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the legal actions, [G, max legal], and win probabilities by seat, [G, players].

        Row g may play `lists[g, : counts[g]]`; rows with count 0 are ignored. Launches the
        same work on the same memory every time, and waits for nothing.
        """


class DeviceForest:
    """The trees of G games on a device, see `Forest`; for searches of `simulations` at most.

    All memory is taken here; torch.OutOfMemoryError if there is too little. One thread at a time
    may use it: it has a stream of its own.
    """

    def __init__(
        self,
        T: IntArray,
        games: int,
        evaluator: DeviceEvaluator,
        device: Device,
        *,
        simulations: int,
        exploration: float = EXPLORATION,
        value_scale: float = VALUE_SCALE,
        considered: int = 16,
    ) -> None:
        """`considered` bounds what a search may consider."""
        self._device, self._evaluator, self._games = device, evaluator, games
        self._most, self._exploration, self._scale = simulations, exploration, value_scale
        self._stream: torch.cuda.Stream | None = None
        if not SIMULATED:
            with device.active():
                self._stream = new_stream()
        self.evaluated = 0  # evaluated positions
        self.waited = 0.0  # seconds that the host waited for steps
        self._heads: IntArray = np.zeros((games, L.HEADER), np.int32)
        self._placed: dict[int, tuple[IntArray, int]] = {}  # rows and seeds to send
        self._orders, self._noise = self._host(3, games), self._host(games, of=torch.float32)
        self._actions = self._host(games)
        self._fetched: tuple[Trees, Plans] | None = None
        self._at = np.full(games, -1, np.int64)  # where a game's root is in what was fetched
        with CAPTURING, self._working():
            room = memory.room_for(T, simulations)
            self._memory = memory.allocate(T, games, room, considered, device)
            self._T = device.view(device.moved(np.array(T)))
            self._views = memory.views(self._memory, device)
            self._step, self._play = Sequence(self._launch_step), Sequence(self._launch_play)
            device.wait()

    def __len__(self) -> int:
        return self._games

    @property
    def heads(self) -> IntArray:
        """The headers of the roots, [G, HEADER]; see game/layout.py."""
        return self._heads

    def place(self, g: int, row: IntArray, seed: int = 0) -> None:
        """Puts game `g` at a position with two legal actions or more, and forgets its tree."""
        self._placed[g] = row.copy(), seed
        self._orders[0, g] = 0
        self._heads[g], self._at[g] = row[: L.HEADER], -1

    def begin(self, g: int, simulations: int, considered: int, noise: float = 0.0) -> None:
        """Starts a search with the next step (gumbel.py)."""
        if simulations > self._most:
            raise ValueError(f"{simulations} simulations, but there is room for {self._most}")
        self._orders.numpy()[:, g] = 1, simulations, considered
        self._noise[g] = noise

    def step(self) -> LongArray:
        """One evaluated position for every game that searches; the games whose search is over.

        `RingriftError` if an evaluation is not finite.
        """
        with self._working():
            self._send()
            start = time.perf_counter()
            self._step.run()
            status, wrong = self._fetch(self._memory.status, self._evaluator.wrong)
            self.waited += time.perf_counter() - start
            self._orders[0] = 0
            if wrong[0]:
                raise RingriftError(
                    "The network evaluates a position by numbers that are not finite.",
                    hint="precision=float32, or another checkpoint",
                )
            self.evaluated += int((status > 0).sum())
            over = np.flatnonzero(status <= kernels.OVER)
            self._fetch_roots(over, int((kernels.OVER - status[over]).max(initial=0)))
        return over

    def results(self, games: LongArray) -> list[SearchResult]:
        """What the searches of `games`, [K], found; their roots must have been evaluated."""
        trees, plans, at = self._roots(games)
        return results.search_results(trees, plans, at, self._scale, self._swapped(games))

    def best(self, games: LongArray) -> IntArray:
        """The action that each search of `games` prefers, [K]: `actions[best]` of `results`."""
        trees, plans, at = self._roots(games)
        return results.best_actions(trees, plans, at, self._scale)

    def root_values(self, games: LongArray) -> FloatArray:
        """Win probabilities by seat, [K, players]: visit-weighted, exact if proven."""
        trees, _, at = self._roots(games)
        return results.root_values(trees, at, self._swapped(games))

    def play(self, games: LongArray, actions: IntArray) -> list[list[int]]:
        """Plays a legal action in each of `games`, and single legal actions behind it.

        Returns what was played. The part of the trees below stays.
        """
        m = self._memory
        with self._working():
            self._actions.fill_(-1)
            self._actions.numpy()[games] = actions
            m.actions.copy_(self._actions, non_blocking=True)
            self._play.run()
            index = self._device.moved(games)
            lengths, logs, heads = self._fetch(
                m.lengths[index], m.logs[index, :HEAD_OF_LOG], m.rows[index, : L.HEADER]
            )
            if lengths.max(initial=0) > HEAD_OF_LOG:
                [logs] = self._fetch(m.logs[index])
        self._heads[games], self._at[games] = heads, -1
        return [log[:n].tolist() for log, n in zip(logs, lengths.tolist(), strict=True)]

    @property
    def cramped(self) -> int:
        """How often so far a tree had too little room; see memory.py."""
        with self._working():
            [cramped] = self._fetch(self._memory.cramped)
        return int(cramped.sum())

    @property
    def rows(self) -> IntArray:
        """The roots, [G, row size], as they were after the last step or move."""
        with self._working():
            [rows] = self._fetch(self._memory.rows)
        return rows

    # ---- what is launched ------------------------------------------------------------------------

    def _launch_step(self) -> None:
        v, launch = self._views, self._device.launch
        launch(kernels.begin_kernel, self._games, v.trees, v.plans, v.orders, v.noise, v.cramped)
        launch(
            kernels.simulate_kernel, self._games, self._T, v.trees, v.plans, v.rows,
            self._exploration, self._scale, v.leaves, v.nodes, v.paths, v.ends, v.works,
            v.lists, v.counts, v.status, v.cramped,
        )  # fmt: skip
        m = self._memory
        logits, values = self._evaluator.evaluate(m.leaves, m.lists, m.counts)
        launch(
            kernels.expand_kernel, self._games, v.trees, v.plans, v.leaves, v.nodes, v.paths,
            v.ends, v.lists, v.counts, self._device.view(logits), self._device.view(values),
        )  # fmt: skip

    def _launch_play(self) -> None:
        v = self._views
        self._device.launch(
            kernels.play_kernel, self._games, self._T, v.trees, v.rows, v.actions, v.works,
            v.lists, v.logs, v.lengths, v.numbers,
        )  # fmt: skip

    # ---- between host and device -----------------------------------------------------------------

    @contextmanager
    def _working(self) -> Iterator[None]:
        """Puts what is launched on the stream of this forest."""
        if self._stream is None:
            yield
            return
        with self._device.active(), torch.cuda.stream(self._stream):
            yield

    def _host(self, *shape: int, of: torch.dtype = torch.int32) -> Tensor:
        """Memory of the host that the device copies from or to while both go on."""
        return torch.zeros(shape, dtype=of, pin_memory=not SIMULATED)

    def _send(self) -> None:
        """Sends what was placed and begun since the last step."""
        m = self._memory
        if self._placed:
            index = self._device.moved(np.array(list(self._placed)))
            rows = np.stack([row for row, _ in self._placed.values()])
            seeds = np.array([seed for _, seed in self._placed.values()], np.uint64)
            m.rows[index] = self._device.moved(rows)
            m.plans.seeds[index] = self._device.moved(seeds)
            for tensor in (m.trees.nodes, m.trees.edges, m.plans.budget):
                tensor[index] = 0
            self._placed.clear()
        m.orders.copy_(self._orders, non_blocking=True)
        m.noise.copy_(self._noise, non_blocking=True)

    def _fetch(self, *tensors: Tensor) -> list[np.ndarray]:
        """Copies of tensors on the host; waits once for all of them."""
        copies = [self._host(*tensor.shape, of=tensor.dtype) for tensor in tensors]
        for copy, tensor in zip(copies, tensors, strict=True):
            copy.copy_(tensor, non_blocking=True)
        if self._stream is not None:
            self._stream.synchronize()
        return [copy.numpy() for copy in copies]

    def _roots(self, games: LongArray) -> tuple[Trees, Plans, LongArray]:
        """Trees and plans that hold the roots of `games`, and where they are in them, [K]."""
        if self._fetched is None or (self._at[games] < 0).any():
            with self._working():
                self._send()
                degree = self._memory.trees.degree[self._device.moved(games), 0]
                [degrees] = self._fetch(degree)
                self._fetch_roots(games, int(degrees.max(initial=0)))
        assert self._fetched is not None
        return *self._fetched, self._at[games]

    def _fetch_roots(self, games: LongArray, most: int) -> None:
        """Fetches the roots of `games`, [K], which have `most` actions at most, and their plans."""
        t, p = self._memory.trees, self._memory.plans
        index = self._device.moved(games)
        of_edges = [
            tensor[:, :most][index] for tensor in (t.action, t.child, t.visits, t.prior, t.worth)
        ]
        degree, seat, proven, value, *edges, width, drawn, edge, bonus, before = self._fetch(
            t.degree[index, :1], t.seat[index, :1], t.proven[index], t.value[index, :1], *of_edges,
            p.width[index], p.drawn[index], p.edge[index], p.bonus[index], p.before[index],
        )  # fmt: skip
        nothing, zeros = np.zeros(len(games), np.int32), np.zeros((len(games), 1), np.int32)
        longs = nothing.astype(np.int64)
        trees = Trees(nothing, nothing, zeros, degree, seat, zeros, proven, value, *edges)
        plans = Plans(
            longs, longs, width, drawn, np.zeros(len(games), np.float32), edge, bonus, before,
            longs.astype(np.uint64),
        )  # fmt: skip
        self._fetched = trees, plans
        self._at[:] = -1
        self._at[games] = np.arange(len(games))

    def _swapped(self, games: LongArray) -> BoolArray:
        swapped: BoolArray = self._heads[games, L.PIE] == L.PIE_SWAPPED
        return swapped
