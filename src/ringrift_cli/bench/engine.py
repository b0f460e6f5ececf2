"""How fast random games are played to their ends, so many at a time: on all cores, or on a GPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ringrift_cli.bench.subject import Rates, Round, Setting, Subject
from ringrift_cli.game.bench import Playouts
from ringrift_cli.game.playout import available_threads

GAMES_A_ROW = 4  # of a GPU, between two looks at the clock


@contextmanager
def prepared(subject: Subject, setting: Setting) -> Iterator[Round]:
    """A round of so many seconds; torch.OutOfMemoryError if a GPU has too little memory."""
    play = _player(subject, setting.batch)
    play()  # loads what is compiled

    def one_round(seconds: float) -> Rates:
        games = decisions = 0
        start = time.perf_counter()
        while time.perf_counter() - start < seconds:
            ended, made = play()
            games, decisions = games + ended, decisions + made
        spent = time.perf_counter() - start
        return {"decisions": decisions / spent, "games": games / spent}

    yield one_round


def _player(subject: Subject, batch: int) -> Callable[[], tuple[int, int]]:
    """What plays a batch, on a GPU several, to the end: games and decisions."""
    if subject.device == "cpu":
        here, threads = Playouts(subject.board, subject.players, batch), available_threads()
        return lambda: (batch, here.play(threads)[0])
    from ringrift_cli.bench import gpu as gpu_bench

    there = gpu_bench.Playouts(subject.board, subject.players, subject.device, batch)
    games = GAMES_A_ROW * batch
    return lambda: (games, there.play(games)[0])
