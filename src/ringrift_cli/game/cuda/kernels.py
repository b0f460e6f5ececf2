"""The rules on a GPU: the very functions of the CPU as device functions, a thread for each game.

A thread's row, workspace and list lie in global memory. All of them may be views in which word k of
all games stands together (batch.py).
"""

from __future__ import annotations

from numba import cuda

from ringrift_cli.game import layout as L
from ringrift_cli.game import playout, turn
from ringrift_cli.game.jit import pointer, wide
from ringrift_cli.game.playout import LongArray, Seeds
from ringrift_cli.game.topology import IntArray


def start_kernel(T: IntArray, rows: IntArray, pie: bool) -> None:
    """Makes a new game of every row, [N, row size]."""
    i = cuda.grid(1)
    if i < rows.shape[0]:
        turn.start(pointer(T), pointer(rows[i]), pie)


def legal_kernel(
    T: IntArray, rows: IntArray, works: IntArray, lists: IntArray, counts: IntArray
) -> None:
    """Writes the legal actions of every row to `lists`, [N, max legal], their number to `counts`.

    A game that is over has none. Works [N, WORK].
    """
    i = cuda.grid(1)
    if i < rows.shape[0]:
        counts[i] = turn.legal(pointer(T), pointer(rows[i]), pointer(works[i]), pointer(lists[i]))


def mask_kernel(lists: IntArray, counts: IntArray, mask: IntArray) -> None:
    """Sets `mask`, [N, actions] uint8, for each of `counts[i]` actions; a block for each game."""
    i, k = cuda.blockIdx.x, cuda.threadIdx.x
    while k < counts[i]:
        mask[i, lists[i, k]] = 1
        k += cuda.blockDim.x


def apply_kernel(T: IntArray, rows: IntArray, works: IntArray, actions: IntArray) -> None:
    """Carries out a legal action, [N], in every row; one below 0 leaves its row alone."""
    i = cuda.grid(1)
    if i < rows.shape[0] and actions[i] >= 0:
        turn.apply(pointer(T), pointer(rows[i]), pointer(works[i]), wide(actions[i]))


def play_kernel(
    T: IntArray,
    rows: IntArray,
    seeds: Seeds,
    works: IntArray,
    lists: IntArray,
    logs: IntArray,
    lengths: LongArray,
) -> None:
    """`playout.play_random`: plays every row with random actions, to its end or a full log.

    Seeds [N], logs [N, K], lengths [N].
    """
    i = cuda.grid(1)
    if i < rows.shape[0]:
        lengths[i] = playout.play_row(
            pointer(T), pointer(rows[i]), pointer(works[i]), pointer(lists[i]), seeds, i,
            pointer(logs[i]), logs.shape[1],
        )  # fmt: skip


def play_many_kernel(
    T: IntArray,
    rows: IntArray,
    seeds: Seeds,
    works: IntArray,
    lists: IntArray,
    games: int,
    lengths: LongArray,
) -> None:
    """Plays random games one after the other in each row, `games` in all.

    Row i plays games i, i + N, ... so that a thread whose game is short begins another while the
    others of its warp play on. Seeds, [games], are those of the games; `lengths`, [N], take the
    number of decisions in a row.
    """
    i = cuda.grid(1)
    if i < rows.shape[0]:
        played, row = 0, pointer(rows[i])
        for game in range(i, games, rows.shape[0]):
            turn.start(pointer(T), row, False)
            played += playout.play_row(
                pointer(T), row, pointer(works[i]), pointer(lists[i]), seeds, game, row, 0
            )
        lengths[i] = played


def winners_kernel(rows: IntArray, winners: IntArray) -> None:
    """Writes the seat of each game's winner, [N]; -1 while the game goes on."""
    i = cuda.grid(1)
    if i < rows.shape[0]:
        winners[i] = rows[i, L.WINNER] if rows[i, L.PHASE] == L.OVER else -1
