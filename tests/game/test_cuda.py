"""The rules as CUDA kernels: they compile, and in the simulator they play the CPU's games.

Running them needs a GPU (`make gpu-check`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ringrift_cli.errors import RingriftError
from ringrift_cli.game.batch import PositionBatch
from ringrift_cli.game.cuda import kernels
from ringrift_cli.game.cuda.batch import DeviceBatch, play_on_cpu
from ringrift_cli.game.cuda.device import Device, compiled
from ringrift_cli.game.jit import machine_code
from ringrift_cli.game.playout import game_seeds
from tests import device_jobs
from tests.ptx import TARGETS, PtxDevice, Target
from tests.simulated import simulate
from tests.walks import CONFIGURATIONS, SMALL

RULES = ["apply_kernel", "legal_kernel", "mask_kernel", "start_kernel", "winners_kernel"]


def launch_all(batch: DeviceBatch, device: Device) -> None:
    batch.mask()
    batch.apply(device.zeros(len(batch)))
    batch.ended()


@pytest.mark.parametrize("target", TARGETS)
def test_the_rules_compile_without_a_gpu(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    device = PtxDevice(target, monkeypatch)
    batch = DeviceBatch("hex8", 2, 4, device)
    launch_all(batch, device)
    assert device.kernels() == RULES
    batch.play_random(device.zeros(4).long(), 8)
    batch.play_many(device.zeros(9).long())
    assert device.kernels() == sorted([*RULES, "play_kernel", "play_many_kernel"])


@pytest.mark.parametrize("target", TARGETS)
def test_the_rules_compile_for_words_of_all_games_side_by_side(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = PtxDevice(target, monkeypatch)
    batch = DeviceBatch("hex8", 2, 4, device, by_word=True)
    batch.legal()
    assert device.kernels() == ["legal_kernel", "start_kernel"]
    ([_, rows, *_], *_) = [types for name, types in device.ptx if name == "legal_kernel"]
    assert rows.layout == "F"


def test_machine_code_is_kept_where_all_that_it_calls_is_hashed() -> None:
    folder = machine_code("game").folder
    assert Path(compiled(kernels.play_kernel)._cache.cache_path) == folder  # noqa: SLF001


def test_without_a_gpu_the_driver_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(RingriftError, match="no CUDA GPU"):
        Device("cuda:0")


# ---- in the simulator ----------------------------------------------------------------------------

PLAYED = [  # board, players, games, decisions at most; 0: to the end
    ("square8", 2, 3, 512),
    ("hex8", 3, 3, 512),
    ("hexagonal", 4, 2, 24),
]
MORE = [
    *((board, players, 20, 1024) for board, players in SMALL),
    *((board, players, 2, 4096) for board, players in CONFIGURATIONS if "8" not in board),
]


@pytest.mark.parametrize(
    ("board", "players", "count", "log"),
    [*PLAYED, *(pytest.param(*more, marks=pytest.mark.long) for more in MORE)],
)
def test_kernels_play_the_games_of_the_cpu(
    board: str, players: int, count: int, log: int, tmp_path: Path
) -> None:
    seeds = game_seeds(7, 0, count)
    given = {"board": np.array(board), "players": np.array(players), "log": np.array(log)}
    told = simulate(device_jobs.games, {**given, "seeds": seeds}, tmp_path)
    rows, logs, lengths = play_on_cpu(board, players, seeds, log)
    batch = PositionBatch(board, players, count)
    batch.rows[:] = rows
    mask, winners = batch.legal_mask(), batch.winners
    for order in ("False", "True"):
        assert (told[f"rows-{order}"] == rows).all()
        assert (told[f"logs-{order}"] == logs).all()
        assert (told[f"lengths-{order}"] == lengths).all()
        assert (told[f"mask-{order}"] == mask).all()
        assert (told[f"counts-{order}"] == mask.sum(axis=1)).all()
        assert (told[f"winners-{order}"] == winners).all()
        batch.rows[:] = rows
        batch.step(told[f"first-{order}"])
        assert (told[f"after-{order}"] == batch.rows).all()


def test_a_row_plays_one_game_after_the_other(tmp_path: Path) -> None:
    seeds = game_seeds(8, 0, 5)
    told = simulate(
        device_jobs.many_games,
        {"board": np.array("hex8"), "players": np.array(2), "seeds": seeds},
        tmp_path,
    )
    _, _, lengths = play_on_cpu("hex8", 2, seeds, 512)
    assert told["lengths"].tolist() == [lengths[0::2].sum(), lengths[1::2].sum()]
