"""Workload: complete random games, on all cores or on a GPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ringrift_cli.bench.measure import BenchJob, BenchSubject, Rates, Workload
from ringrift_cli.game.bench import Playouts
from ringrift_cli.game.playout import available_threads

GAMES_PER_ROW = 4  # on a GPU, between checks of the time


@contextmanager
def prepared(job: BenchJob) -> Iterator[Workload]:
    """See `SubjectModule`."""
    play = _player(job.subject, job.setting.batch)
    play()  # loads compiled code

    def run(seconds: float) -> Rates:
        games = decisions = 0
        start = time.perf_counter()
        while time.perf_counter() - start < seconds:
            ended, made = play()
            games, decisions = games + ended, decisions + made
        spent = time.perf_counter() - start
        return {"decisions": decisions / spent, "games": games / spent}

    yield Workload(run)


def _player(subject: BenchSubject, batch: int) -> Callable[[], tuple[int, int]]:
    """Function that plays a batch (on a GPU several); returns games and decisions."""
    if subject.device == "cpu":
        here, threads = Playouts(subject.board, subject.players, batch), available_threads()
        return lambda: (batch, here.play(threads)[0])
    from ringrift_cli.bench.gpu import DevicePlayouts

    there = DevicePlayouts(subject.board, subject.players, subject.device, batch)
    games = GAMES_PER_ROW * batch
    return lambda: (games, there.play(games)[0])
