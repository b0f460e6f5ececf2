"""Random games played to their ends, many at a time: on all cores, or on a GPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ringrift_cli.bench.measure import BenchJob, BenchSubject, Rates, Workload
from ringrift_cli.game.bench import Playouts
from ringrift_cli.game.playout import available_threads

GAMES_PER_ROW = 4  # of a GPU, between two looks at the clock


@contextmanager
def prepared(job: BenchJob) -> Iterator[Workload]:
    """See `SubjectModule`."""
    play = _player(job.subject, job.setting.batch)
    play()  # loads what is compiled

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
    """Plays a batch to its end, on a GPU several: games and decisions."""
    if subject.device == "cpu":
        here, threads = Playouts(subject.board, subject.players, batch), available_threads()
        return lambda: (batch, here.play(threads)[0])
    from ringrift_cli.bench.gpu import DevicePlayouts

    there = DevicePlayouts(subject.board, subject.players, subject.device, batch)
    games = GAMES_PER_ROW * batch
    return lambda: (games, there.play(games)[0])
