"""Games on workers: whatever these do, the games are those of this machine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np
import pytest

from ringrift_cli.errors import BadOutput, HostUnreachable, RemoteError, RingriftError, UsageError
from ringrift_cli.evaluate import match as matches
from ringrift_cli.evaluate.distributed import DistributedRunner, Performer, RoundDone
from ringrift_cli.evaluate.evaluate import new_match, play_match, play_sprt
from ringrift_cli.evaluate.results import Pool, Results
from ringrift_cli.evaluate.rounds import GameRound, TuningStopped
from ringrift_cli.players.heuristic import HeuristicPlayer
from ringrift_cli.players.profiles import profile_named, write_profile
from ringrift_cli.players.spec import make_player, portable
from ringrift_cli.runtime import task_pool
from ringrift_cli.runtime.task_pool import Task, TaskPool
from ringrift_cli.stats.sprt import Sprt

HEX = Pool("hex8", 2)
Act = Callable[[int, Callable[[], bytes]], bytes]  # number of the task, how to perform it


class FakeWorker:
    """Performs tasks in its thread; `act` may fail instead, or change the result."""

    def __init__(self, name: str, act: Act = lambda _, perform: perform()) -> None:
        self.name, self._act, self._performer = name, act, Performer()
        self.performed = 0
        self.closed = threading.Event()

    def open(self) -> None:
        pass

    def perform(self, task: Task) -> bytes:
        self.performed += 1
        return self._act(self.performed, lambda: self._performer.perform(task.payload))

    def close(self) -> None:
        self.closed.set()


def failing(error: RingriftError, first: int = 1) -> Act:
    """A worker that fails from a task on."""

    def act(number: int, perform: Callable[[], bytes]) -> bytes:
        if number >= first:
            raise error
        return perform()

    return act


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_pool, "WAITS_S", (0.01,))


def a_round(
    openings: int = 3,
) -> tuple[GameRound, np.ndarray[tuple[int, int], np.dtype[np.float64]]]:
    weights = profile_named("default", "hex8", 2).array
    rng = np.random.default_rng(7)
    candidates = weights * rng.uniform(0.5, 1.5, (5, len(weights)))
    return GameRound("hex8", 2, 11, weights[None], np.zeros(openings, np.int64)), candidates


GONE = HostUnreachable("it broke.")
CASES = {
    "all well": [FakeWorker("a"), FakeWorker("b")],
    "one dies at once": [FakeWorker("a", failing(GONE)), FakeWorker("b")],
    "two die in the round": [
        FakeWorker("a", failing(GONE, 2)),
        FakeWorker("b", failing(GONE, 1)),
        FakeWorker("c"),
    ],
    "all die": [FakeWorker("a", failing(GONE, 2)), FakeWorker("b", failing(GONE))],
    "none starts": [FakeWorker("a", failing(RemoteError("no.", kind="bare")))],
    "no workers": [],
}


@pytest.mark.parametrize("case", CASES)
def test_a_round_is_the_same_whoever_dies(case: str) -> None:
    game_round, candidates = a_round()
    notices: list[str] = []
    with TaskPool(CASES[case], notices.append) as pool:
        runner = DistributedRunner(pool)
        won = runner.round(game_round, candidates)
        again = runner.round(game_round, candidates[:2])
    assert np.array_equal(won, game_round.play(candidates))
    assert np.array_equal(again, won[:2])
    if case in ("all well", "no workers"):
        assert notices == []
    elif case in ("all die", "none starts"):  # of others one may have performed everything
        assert notices != []
    assert all(worker.closed.is_set() for worker in CASES[case])


def _flipped(_number: int, perform: Callable[[], bytes]) -> bytes:
    done = msgspec.json.decode(perform(), type=RoundDone)
    return msgspec.json.encode(msgspec.structs.replace(done, won="A" * len(done.won)))


@pytest.mark.parametrize(
    ("act", "why"),
    [
        (lambda _, perform: b"nonsense", "does not fit"),
        (lambda _, perform: perform()[:-20] + b"}", "does not fit"),
        (lambda _, perform: perform().replace(b'"task":"', b'"task":"0'), "another task"),
        (lambda _, perform: b'{"type":"failed","sentence":"no memory"}', "no memory"),
        (failing(RemoteError("other code.", kind="version")), "other code"),
        (failing(RemoteError("the worker ended.", kind="worker")), "the worker ended"),
        (failing(BadOutput("too long.")), "too long"),
    ],
)
def test_a_worker_that_answers_wrongly_is_refused_by_name(act: Act, why: str) -> None:
    game_round, candidates = a_round()
    notices: list[str] = []
    with TaskPool([FakeWorker("liar", act)], notices.append) as pool:
        won = DistributedRunner(pool).round(game_round, candidates)
    assert np.array_equal(won, game_round.play(candidates))
    assert any(text.startswith("liar") and why in text for text in notices), notices


def test_games_that_end_otherwise_there_are_noticed() -> None:
    """One opening of each result is played again; where all bits are wrong it is always found."""
    game_round, candidates = a_round()

    def inverted(_number: int, perform: Callable[[], bytes]) -> bytes:
        import base64

        done = msgspec.json.decode(perform(), type=RoundDone)
        bits = bytes(255 - byte for byte in base64.b64decode(done.won))
        return msgspec.json.encode(
            msgspec.structs.replace(done, won=base64.b64encode(bits).decode())
        )

    notices: list[str] = []
    with TaskPool([FakeWorker("cpu", inverted)], notices.append) as pool:
        won = DistributedRunner(pool).round(game_round, candidates)
    assert np.array_equal(won, game_round.play(candidates))
    assert any("end otherwise" in text for text in notices)


def test_a_late_task_is_performed_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_pool, "SLOW_S", 0.05)
    released = threading.Event()

    def stuck(_number: int, perform: Callable[[], bytes]) -> bytes:
        released.wait(60)
        return perform()

    game_round, candidates = a_round()
    slow = FakeWorker("slow", stuck)
    try:
        with TaskPool([slow, FakeWorker("fast")]) as pool:
            won = DistributedRunner(pool).round(game_round, candidates)
    finally:
        released.set()
    assert np.array_equal(won, game_round.play(candidates))


def test_a_stop_ends_a_round_and_a_mistake_of_a_worker_is_raised() -> None:
    game_round, candidates = a_round()
    with TaskPool([FakeWorker("a")]) as pool, pytest.raises(TuningStopped):
        DistributedRunner(pool).round(game_round, candidates, lambda: True)

    def bug(_number: int, _perform: Callable[[], bytes]) -> bytes:
        raise LookupError("a mistake")

    with TaskPool([FakeWorker("a", bug)]) as pool, pytest.raises(LookupError, match="a mistake"):
        DistributedRunner(pool).round(game_round, candidates)


@pytest.mark.parametrize("case", ["all well", "two die in the round", "all die"])
def test_a_match_and_a_test_are_the_same_whoever_dies(case: str, tmp_path: Path) -> None:
    sprt = Sprt(0.0, 100.0, players=2)
    found = []
    workers = {"all well": 0, "two die in the round": 2, "all die": 3}[case]
    acts: list[Act] = [failing(GONE, 2)] * workers + [lambda _, perform: perform()] * (3 - workers)
    for name, count in (("here", 0), ("there", 3)):
        made = [FakeWorker(str(i), acts[i]) for i in range(count)]
        with Results(tmp_path / f"{name}.sqlite") as results, TaskPool(made) as pool:
            runner = DistributedRunner(pool)
            with closing(new_match(HEX, ("heuristic:default", "random"), seed=3)) as match:
                played = play_match(match, results, 12, runner=runner)
                games = sorted(results.games(HEX, match.key), key=lambda g: (g.opening, g.seats))
            with closing(new_match(HEX, ("heuristic:default", "random"), seed=4)) as match:
                tested = play_sprt(match, results, sprt, 400, runner=runner)
            moves = [(g.opening, g.seats, g.winner, g.decisions) for g in games]
            found.append((msgspec.json.encode(played), moves, tested.decision, tested.llr))
    assert found[0] == found[1]


def test_games_that_break_the_rules_do_not_count() -> None:
    with closing(new_match(HEX, ("random", "heuristic:default"), seed=5)) as match:
        tasks = [(0, 0), (0, 1)]
        batches = matches.play(match, tasks)
        games = {(g.block, g.rotation): g for batch in batches for g in batch}
        right = [games[task].actions for task in tasks]
        assert matches.replay(match, tasks, right) == [games[task] for task in tasks]
        actions = right[0]
        for wrong in (
            actions[:-1],
            (*actions, actions[-1]),
            actions[::-1],
            (*actions[:-1], -1),
            (*actions[:-1], 10**30),
            (),
        ):
            assert matches.replay(match, [(0, 0)], [wrong]) == [None]
        assert matches.replay(match, [(1, 0)], [actions]) == [None]  # of another opening


def test_specs_for_other_machines_name_their_files(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    write_profile(file, profile_named("default", "hex8", 2))
    for spec in (f"heuristic:{file},noise=0.1", f"mcts:sims=8,profile={file}"):
        there, files = portable(spec, "hex8", 2)
        ((name, path),) = files.items()
        assert path == file
        assert there == spec.replace(str(file), name)
    for spec in (
        "random",
        "heuristic",
        "heuristic:default,noise=0.1",
        "mcts:sims=8",
        "model:shipped",
    ):
        assert portable(spec, "hex8", 2) == (spec, {})
    assert isinstance(make_player(f"heuristic:{file}", "hex8", 2), HeuristicPlayer)
    with pytest.raises(UsageError, match="cannot play on others"):
        portable("exec:engine", "hex8", 2)
