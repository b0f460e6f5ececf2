"""Workload: training steps (loader, forward and backward pass, optimiser) on random games."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ringrift_cli.bench.measure import BenchJob, Rates, Workload
from ringrift_cli.data.shard import SearchedGame, read_searched, write_searched
from ringrift_cli.game import layout as L
from ringrift_cli.game import playout
from ringrift_cli.game.replay import rows_at
from ringrift_cli.game.topology import tables
from ringrift_cli.settings import Train
from ringrift_cli.train.batches import ahead, loader_threads, training_batch
from ringrift_cli.train.dataset import TrainData, gather
from ringrift_cli.train.learner import Learner
from ringrift_cli.train.settings import TrainSetting
from ringrift_cli.train.start import new_network

GAMES, SEED = 64, 2026
SHARE = 0.3  # of decisions that are training positions, as in self-play
LONGEST = 1 << 13  # maximum decisions of a game
WARM_STEPS = 3
STEPS_ON_A_GPU = 16  # between checks of the time, which synchronise
PRECISIONS = {"cpu": ("float32", "bfloat16"), "cuda": ("float32", "bfloat16", "float16")}


def precisions(device: str) -> tuple[str, ...]:
    """Training precisions supported by a device, most exact first."""
    known = PRECISIONS[torch.device(device).type]
    if device != "cpu" and not torch.cuda.is_bf16_supported():
        return tuple(name for name in known if name != "bfloat16")
    return known


def random_data(board: str, players: int, games: int = GAMES) -> TrainData:
    """Training data from random games, with uniform policy targets."""
    rng, T = np.random.default_rng(SEED), tables(board, players)
    ends = np.zeros((games, int(T[L.T_ROW_SIZE])), np.int32)
    log, lengths = np.zeros((games, LONGEST), np.int32), np.zeros(games, np.int64)
    playout.start_all(T, ends, np.ones(games, np.bool_), False)
    playout.play_random(T, ends, playout.game_seeds(SEED, 0, games), log, lengths)
    found = []
    for actions, end in zip(map(np.resize, log, lengths.tolist()), ends, strict=True):
        count = max(1, round(SHARE * len(actions)))
        plies = np.sort(rng.choice(len(actions), count, replace=False)).astype(np.int32)
        whole = np.array([0, count])
        rows = rows_at(T, actions, np.zeros(1, np.int64), whole, plies, pie_rule=False)
        legal, offsets = playout.list_all(T, rows)
        sizes = np.diff(offsets)
        found.append(
            SearchedGame(
                actions,
                plies,
                offsets,
                legal,
                np.repeat(1 / sizes, sizes).astype(np.float32),
                np.ones(count, np.float32),
                np.full((count, players), 1 / players, np.float32),
                int(end[L.WINNER]),
                int(end[L.REASON]),
            )
        )
    with tempfile.TemporaryDirectory(prefix="ringrift-bench-") as folder:
        path = write_searched(Path(folder), {}, found, board, players, pie_rule=False)
        return gather([read_searched(path)], 0.0, 0.0)


@contextmanager
def prepared(job: BenchJob) -> Iterator[Workload]:
    """See `SubjectModule`."""
    subject, setting = job.subject, job.setting
    if setting.threads is not None:
        torch.set_num_threads(setting.threads)
    options = Train(batch=setting.batch, precision=setting.precision or Train.precision)
    training = TrainSetting(
        subject.board, subject.players, False, 0, options, size=subject.size, device=subject.device
    )
    data = random_data(subject.board, subject.players)
    learner = Learner(new_network(training), training)
    make = partial(training_batch, data, options.batch, options.value_mix, training.seed)
    threads = loader_threads(learner.device)
    on_gpu = learner.device.type == "cuda"
    at_once = STEPS_ON_A_GPU if on_gpu else 1
    with closing(ahead(make, 0, 1 << 40, threads)) as batches:

        def steps(seconds: float, least: int = 1) -> Rates:
            done, start = 0, time.perf_counter()
            while done < least or time.perf_counter() - start < seconds:
                for _ in range(at_once):
                    learner.step(next(batches), options.learning_rate)
                if on_gpu:
                    torch.cuda.synchronize(learner.device)
                done += at_once
            return {"samples": done * options.batch / (time.perf_counter() - start)}

        steps(0.0, WARM_STEPS)
        yield Workload(steps)
