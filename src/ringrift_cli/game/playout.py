"""The CPU batch driver: the rules over many game rows, on all cores.

Rows are a [N, row size] int32 array. The compiled loops below release the GIL, and `spread` gives
each thread blocks of rows. (Numba's own `prange` would compile several times as long, and its
OpenMP threads do not survive a fork.) A row's random numbers depend on its own seed alone, so
results do not depend on the number of threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ringrift_cli.game import layout as L
from ringrift_cli.game import turn
from ringrift_cli.game.jit import njit, pointer, rule, wide
from ringrift_cli.game.topology import IntArray
from ringrift_cli.system import cores

BoolArray = npt.NDArray[np.bool_]
LongArray = npt.NDArray[np.int64]
Seeds = npt.NDArray[np.uint64]

SMALLEST_BLOCK = 16  # rows; handing over a block costs as much as some ten decisions
BLOCKS_PER_THREAD = 8  # games differ in length: small blocks even that out
THREADS_VARIABLE = "RINGRIFT_THREADS"


def available_threads() -> int:
    """Cores that this process may use; `RINGRIFT_THREADS` asks for fewer."""
    asked = os.environ.get(THREADS_VARIABLE, "")
    return min(cores(), int(asked)) if asked.isdecimal() and int(asked) > 0 else cores()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="ringrift-rules")


os.register_at_fork(after_in_child=_pool.cache_clear)  # a child has the pool, but no threads


def spread(
    work: Callable[[int, int], None],
    rows: int,
    threads: int | None = None,
    smallest: int = SMALLEST_BLOCK,
) -> None:
    """Calls `work(first, end)` for blocks that cover `rows` rows, on `threads` threads (all cores).

    No block has fewer than `smallest` rows, so that handing over does not cost more than the work.
    Returns, or raises the first error of a block, when no block is being worked on any more.
    """
    threads = threads or available_threads()
    blocks = max(1, min(rows // smallest, threads * BLOCKS_PER_THREAD))
    if threads == 1 or blocks == 1:
        work(0, rows)
        return
    bounds = [rows * block // blocks for block in range(blocks + 1)]
    pool = _pool(threads)
    futures = [pool.submit(work, a, b) for a, b in pairwise(bounds)]
    try:
        for future in futures:
            future.result()
    finally:
        for future in futures:
            future.cancel()
        wait(futures)


# ---- compiled loops over a block of rows --------------------------------------------------------


@rule()
def draw(seeds: Seeds, i: int, n: int) -> np.int64:
    """A number below `n` from generator `i`, which steps on.

    splitmix64 (Steele, Lea and Flood 2014), scaled to the range by multiplication (Lemire 2019);
    the bias, below n / 2^32, is left.
    """
    seeds[i] += np.uint64(0x9E3779B97F4A7C15)
    x = seeds[i]
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x = (x ^ (x >> np.uint64(31))) >> np.uint64(32)
    return np.int64(x * np.uint64(n) >> np.uint64(32))


@rule()
def position_of(actions: IntArray, n: int, action: int) -> int:
    """Where an action stands among the first `n`; -1 if nowhere."""
    for k in range(n):
        if actions[k] == action:
            return k
    return -1


@njit()
def _start(T: IntArray, rows: IntArray, where: BoolArray, pie: bool) -> None:
    for i in range(len(rows)):
        if where[i]:
            turn.start(pointer(T), pointer(rows[i]), pie)


@njit()
def _list(T: IntArray, rows: IntArray, only: IntArray, counts: LongArray, room: IntArray) -> int:
    """Writes the legal actions of the rows one after the other and their numbers to `counts`.

    With `only` not empty, stops at the first row i where `only[i]` >= 0 is not legal, and keeps the
    lists of no row. Returns that row, or the number of rows.
    """
    work = np.empty(L.WORK, np.int32)
    at = 0
    for i in range(len(rows)):
        n = turn.legal(pointer(T), pointer(rows[i]), pointer(work), pointer(room[at:]))
        counts[i] = n
        if len(only) == 0:
            at += n
        elif only[i] >= 0 and position_of(room, n, only[i]) < 0:
            return i
    return len(rows)


@rule()
def play_row(
    T: IntArray,
    row: IntArray,
    work: IntArray,
    out: IntArray,
    seeds: Seeds,
    i: int,
    log: IntArray,
    room: int,
) -> int:
    """Plays one game with random actions, at most `room` of them if that is above 0.

    Writes the actions to `log` then, and returns how many were played.
    """
    played = 0
    while row[L.PHASE] != L.OVER and (room == 0 or played < room):
        action = out[draw(seeds, i, turn.legal(T, row, work, out))]
        if room > 0:
            log[played] = action
        played += 1
        turn.apply(T, row, work, action)
    return played


@njit()
def _play(T: IntArray, rows: IntArray, seeds: Seeds, actions: IntArray, lengths: LongArray) -> None:
    out = np.empty(T[L.T_MAX_LEGAL], np.int32)
    work = np.empty(L.WORK, np.int32)
    for i in range(len(rows)):
        row, log = pointer(rows[i]), pointer(actions[i])
        lengths[i] = play_row(
            pointer(T), row, pointer(work), pointer(out), seeds, i, log, actions.shape[1]
        )


@njit()
def _replay(
    T: IntArray,
    rows: IntArray,
    offsets: LongArray,
    actions: IntArray,
    check: bool,
    failed: LongArray,
) -> None:
    out = np.empty(T[L.T_MAX_LEGAL], np.int32)
    work = np.empty(L.WORK, np.int32)
    for i in range(len(rows)):
        row = pointer(rows[i])
        failed[i] = -1
        for k in range(offsets[i], offsets[i + 1]):
            action = wide(actions[k])
            if action < 0:
                continue
            if check:
                n = turn.legal(pointer(T), row, pointer(work), pointer(out))
                if position_of(out, n, action) < 0:
                    failed[i] = k - offsets[i]
                    break
            turn.apply(pointer(T), row, pointer(work), action)


# ---- the same over all rows, on all cores -------------------------------------------------------


def start_all(T: IntArray, rows: IntArray, where: BoolArray, pie: bool) -> None:
    """Makes a new game of every row where `where`, [N], is true."""
    spread(lambda a, b: _start(T, rows[a:b], where[a:b], pie), len(rows))


def list_all(T: IntArray, rows: IntArray) -> tuple[IntArray, LongArray]:
    """Legal actions of all rows, [M], and offsets, [N + 1]; those of a row in no special order."""
    counts = np.zeros(len(rows), np.int64)
    lists: dict[int, list[IntArray]] = {}
    nothing = np.empty(0, np.int32)
    most = int(T[L.T_MAX_LEGAL])
    step = max(1, (1 << 20) // most)  # rows whose lists surely fit into 4 MB

    def work(first: int, end: int) -> None:
        parts = lists.setdefault(first, [])
        for a in range(first, end, step):
            b = min(a + step, end)
            room = np.empty((b - a) * most, np.int32)
            _list(T, rows[a:b], nothing, counts[a:b], room)
            parts.append(room[: counts[a:b].sum()].copy())

    spread(work, len(rows))
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    return np.concatenate([part for first in sorted(lists) for part in lists[first]]), offsets


def first_illegal(T: IntArray, rows: IntArray, actions: IntArray) -> int:
    """The first row whose action, [N], is not legal; -1 if all are. An action below 0 is a pass."""
    found: list[int] = []

    def work(first: int, end: int) -> None:
        room = np.empty(int(T[L.T_MAX_LEGAL]), np.int32)
        counts = np.zeros(end - first, np.int64)
        bad = _list(T, rows[first:end], actions[first:end], counts, room)
        if bad < end - first:
            found.append(first + bad)

    spread(work, len(rows))
    return min(found, default=-1)


def apply_all(T: IntArray, rows: IntArray, actions: IntArray) -> None:
    """Carries out a legal action, [N], in every row; one below 0 leaves its row alone."""
    each = np.arange(len(rows) + 1)
    none = np.zeros(len(rows), np.int64)
    spread(
        lambda a, b: _replay(T, rows[a:b], each[a : b + 1], actions, False, none[a:b]), len(rows)
    )


def play_random(
    T: IntArray,
    rows: IntArray,
    seeds: Seeds,
    actions: IntArray,
    lengths: LongArray,
    threads: int | None = None,
) -> None:
    """Plays every row with uniformly random legal actions until it is over or its log is full.

    `actions`, [N, K], takes the actions and `lengths`, [N], their number. With K = 0 the games are
    played to their end and only counted. The generators `seeds`, [N], step on.
    """
    spread(
        lambda a, b: _play(T, rows[a:b], seeds[a:b], actions[a:b], lengths[a:b]),
        len(rows),
        threads,
    )


def replay_all(T: IntArray, rows: IntArray, offsets: LongArray, actions: IntArray) -> LongArray:
    """Replays game i from its row with `actions[offsets[i] : offsets[i + 1]]`, checking each.

    Returns for each game the ply of the first action that is not legal, the number of actions if
    the game is not over after the last, and -1 if all is well; [N].
    """
    failed = np.zeros(len(rows), np.int64)
    spread(
        lambda a, b: _replay(T, rows[a:b], offsets[a : b + 1], actions, True, failed[a:b]),
        len(rows),
    )
    unfinished = (failed < 0) & (rows[:, L.PHASE] != L.OVER)
    failed[unfinished] = np.diff(offsets)[unfinished]
    return failed


def game_seeds(seed: int, first: int, count: int) -> Seeds:
    """Generators of games `first` to `first + count - 1` of a run, [count] uint64.

    Each is a well-mixed function of the run's seed and the game's number.
    """
    numbers = np.arange(first, first + count, dtype=np.uint64)
    state = np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]
    x = (numbers + np.uint64(1)) * np.uint64(0xD1342543DE82EF95) ^ state
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return x ^ (x >> np.uint64(31))
