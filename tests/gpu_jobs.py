"""Jobs for the simulator (simulated.py): the check of a GPU, as small as can be."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from numba import cuda

from ringrift_cli.bench import gpu, gpu_agreement, gpu_check
from ringrift_cli.bench import search as search_bench
from ringrift_cli.bench.gpu_agreement import Extent
from ringrift_cli.bench.gpu_check import GpuMeasurements
from ringrift_cli.game import turn
from ringrift_cli.game.cuda import kernels as game_kernels
from ringrift_cli.game.jit import pointer
from ringrift_cli.game.topology import IntArray
from ringrift_cli.nn.cuda import kernels as network_kernels
from ringrift_cli.search.cuda import kernels as search_kernels
from ringrift_cli.search.gumbel import Plans
from ringrift_cli.search.tree import NEVER
from ringrift_cli.settings import SelfPlay
from tests.simulated import Arrays

TINY = Extent(
    games=(2, 1), log=12, positions=3, heuristic_games=(2, 2), heuristic_plies=2, searches=(2, 1),
    decisions=1, simulations=3,
)  # fmt: skip
QUICK = GpuMeasurements(
    boards=("hex8",), rows=2, games_a_row=1, positions=2, repeats=1, size="tiny", batches=(2,),
    sims=(2,), games=2, seconds=0.2, memory_board="square8", memory_games=2, memory_walks=2,
    memory_steps=2,
)  # fmt: skip


def check(_given: Arrays) -> Arrays:
    """What it prints, and its exit code."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = gpu_check.check("cpu", "the simulator", TINY, QUICK, ("square8",))
    return {"code": np.array(code), "text": np.array(out.getvalue())}


def search(given: Arrays) -> Arrays:
    """Searches without a network in device memory: simulations and decisions a second."""
    board, players, play = "hex8", 2, SelfPlay(sims=4, considered=4)
    forest = gpu.free_forest(board, players, play, len(given["rows"]), "cpu")
    searching = search_bench.Searching(forest, given["rows"], play)
    while searching.decisions < len(given["rows"]):
        searching.step()
    return {"evaluated": np.array(forest.evaluated), "rates": np.array(searching.rates(0.2))}


def broken(_given: Arrays) -> Arrays:
    """The same where some kernels do something else."""

    def with_pie(T: IntArray, rows: IntArray, _pie: bool) -> None:
        i = cuda.grid(1)
        if i < rows.shape[0]:
            turn.start(pointer(T), pointer(rows[i]), True)

    def all_but_one(lists: IntArray, counts: IntArray, mask: IntArray) -> None:
        i, k = cuda.blockIdx.x, cuda.threadIdx.x + 1
        while k < counts[i]:
            mask[i, lists[i, k]] = 1
            k += cuda.blockDim.x

    def blind(_T: IntArray, _rows: IntArray, planes: IntArray, *_: object) -> None:
        planes[0, 0, 0, 0] = 7

    def lazy(_t: object, plans: Plans, orders: IntArray, *_: object) -> None:
        g = cuda.grid(1)
        if g < orders.shape[1] and orders[0, g] != 0:
            orders[0, g] = 0
            plans.budget[g], plans.done[g] = orders[1, g] - 1, 0
            plans.width[g], plans.drawn[g], plans.noise[g] = orders[2, g], NEVER, 0.0

    found: list[gpu_agreement.Agreement] = []
    compare = gpu_agreement.agreement

    def keeping(*of: object) -> gpu_agreement.Agreement:
        found.append(compare(*of))  # type: ignore[arg-type]
        return found[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(game_kernels, "start_kernel", with_pie)
        patch.setattr(game_kernels, "mask_kernel", all_but_one)
        patch.setattr(network_kernels, "encode_kernel", blind)
        patch.setattr(search_kernels, "begin_kernel", lazy)
        patch.setattr(gpu_check, "agreement", keeping)
        patch.setattr(gpu_check, "measured", lambda *_: [])
        patch.setattr(gpu_check, "PLAYER_COUNTS", (2,))
        told = check({})
    return {
        **told,
        **{name: np.array(count) for name, count in found[0].differing.items()},
    }
