"""The compiled loops over many games: the same whatever the threads, fair, and repeatable."""

from __future__ import annotations

import threading
from functools import partial

import numpy as np
import pytest

from ringrift_cli.game import layout as L
from ringrift_cli.game import playout
from ringrift_cli.game.playout import LongArray
from ringrift_cli.game.position import Position
from ringrift_cli.game.topology import IntArray, tables
from tests.walks import CONFIGURATIONS

LOG = 2048  # more decisions than any game on a small board


def started(board: str, players: int, count: int) -> IntArray:
    T = tables(board, players)
    rows = np.zeros((count, int(T[L.T_ROW_SIZE])), np.int32)
    playout.start_all(T, rows, np.ones(count, np.bool_), False)
    return rows


class Games:
    """Random games of one run, played to their end."""

    def __init__(
        self, board: str, players: int, seed: int, count: int, *, first: int = 0, threads: int = 1
    ) -> None:
        self.T = tables(board, players)
        self.rows = started(board, players, count)
        self.actions = np.full((count, LOG), -1, np.int32)
        self.lengths = np.zeros(count, np.int64)
        self.seeds = playout.game_seeds(seed, first, count)
        playout.play_random(self.T, self.rows, self.seeds, self.actions, self.lengths, threads)

    def same_as(self, other: Games) -> bool:
        pairs = (
            (self.rows, other.rows),
            (self.actions, other.actions),
            (self.lengths, other.lengths),
            (self.seeds, other.seeds),
        )
        return all(np.array_equal(a, b) for a, b in pairs)


# ---- the same games -----------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [2, 3, 7, 40])
@pytest.mark.parametrize(("board", "players"), [("hex8", 2), ("square8", 4), ("hexagonal", 3)])
def test_threads_do_not_change_the_games(board: str, players: int, threads: int) -> None:
    count = 200 if board != "hexagonal" else 40
    one = Games(board, players, 4, count)
    assert one.same_as(Games(board, players, 4, count, threads=threads))
    assert (one.rows[:, L.PHASE] == L.OVER).all()


def test_a_game_depends_on_its_number_and_not_on_those_beside_it() -> None:
    run = Games("hex8", 3, 9, 64)
    part = Games("hex8", 3, 9, 10, first=30)
    assert np.array_equal(part.actions, run.actions[30:40])
    assert np.array_equal(part.rows, run.rows[30:40])


def test_other_seeds_and_numbers_are_other_games() -> None:
    games = [Games("square8", 2, seed, 100) for seed in (0, 1, 2**40, 10**30)]
    openings = {row.tobytes() for game in games for row in game.actions[:, :12]}
    assert len(openings) == 400


def test_a_full_log_stops_a_game_until_it_is_played_on() -> None:
    whole = Games("hex8", 2, 7, 50)
    T, rows = whole.T, started("hex8", 2, 50)
    seeds, lengths = playout.game_seeds(7, 0, 50), np.zeros(50, np.int64)
    parts, log = [], np.empty((50, 13), np.int32)
    while not (rows[:, L.PHASE] == L.OVER).all():
        log[:] = -1
        playout.play_random(T, rows, seeds, log, lengths)
        assert (lengths <= 13).all()
        parts.append(log.copy())
    joined = np.concatenate(parts, axis=1)
    for i, length in enumerate(whole.lengths.tolist()):
        played = joined[i][joined[i] >= 0]
        assert np.array_equal(played, whole.actions[i, :length])
    assert np.array_equal(rows, whole.rows)


@pytest.mark.parametrize(("board", "players"), CONFIGURATIONS)
def test_logged_games_are_legal_games(board: str, players: int) -> None:
    game = Games(board, players, 2, 1)
    position = Position.initial(board, players)
    for action in game.actions[0, : game.lengths[0]].tolist():
        position = position.play(action)
    assert position.is_over
    assert np.array_equal(position.row, game.rows[0])


def test_without_a_log_games_are_counted() -> None:
    logged = Games("square8", 3, 1, 60)
    rows, lengths = started("square8", 3, 60), np.zeros(60, np.int64)
    seeds = playout.game_seeds(1, 0, 60)
    playout.play_random(logged.T, rows, seeds, np.empty((60, 0), np.int32), lengths)
    assert np.array_equal(lengths, logged.lengths)
    assert np.array_equal(rows, logged.rows)


# ---- chance -------------------------------------------------------------------------------------


def chi_square(counts: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> float:
    expected = counts.sum() / len(counts)
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.parametrize(("board", "seed"), [("hex8", 0), ("hex8", 1), ("square8", 12345)])
def test_first_decisions_are_uniform(board: str, seed: int) -> None:
    """Over the games of a run: one draw from each generator."""
    T, each = tables(board, 2), 200
    choices = len(Position.initial(board).legal_actions())
    drawn = []
    for first in range(0, choices * each, choices * 20):
        count = choices * 20
        rows, log = started(board, 2, count), np.zeros((count, 1), np.int32)
        seeds = playout.game_seeds(seed, first, count)
        playout.play_random(T, rows, seeds, log, np.zeros(count, np.int64))
        drawn.append(log[:, 0])
    counts = np.bincount(np.concatenate(drawn), minlength=choices)
    degrees = choices - 1
    assert len(counts) == choices
    assert abs(chi_square(counts) - degrees) < 4.5 * np.sqrt(2 * degrees)


def test_decisions_within_a_game_are_uniform() -> None:
    """Many draws from one generator: where the choice lies among the legal actions, in tenths."""
    tenths = np.zeros(10, np.int64)
    game = Games("hexagonal", 2, 5, 8)
    for i in range(8):
        position = Position.initial("hexagonal")
        for action in game.actions[i, : game.lengths[i]].tolist():
            legal = position.legal_actions()
            if len(legal) >= 200:
                tenths[int(np.searchsorted(legal, action)) * 10 // len(legal)] += 1
            position = position.play(action)
    assert tenths.sum() > 500
    assert chi_square(tenths) < 9 + 4.5 * np.sqrt(18)


def test_generators_of_a_run_are_a_function_of_seed_and_number() -> None:
    run = playout.game_seeds(3, 0, 100_000)
    assert np.array_equal(playout.game_seeds(3, 99_990, 10), run[99_990:])
    others = playout.game_seeds(4, 0, 100_000)
    assert len(np.unique(np.concatenate([run, others]))) == 200_000
    ones = np.unpackbits(run.view(np.uint8)).mean()
    assert abs(ones - 0.5) < 0.001


# ---- replaying and listing ----------------------------------------------------------------------


def replayed(game: Games, *, edit: dict[int, int] | None = None, cut: int = 0) -> list[int]:
    """Game 0 and game 1 again, with decisions of game 1 changed or cut off its end."""
    lengths = game.lengths[:2].tolist()
    lists = [game.actions[i, : lengths[i]].tolist() for i in range(2)]
    for ply, action in (edit or {}).items():
        lists[1][ply] = action
    lists[1] = lists[1][: len(lists[1]) - cut] if cut >= 0 else lists[1] + [0] * -cut
    offsets = np.cumsum([0, *map(len, lists)])
    rows = started("hex8", 2, 2)
    actions = np.array(lists[0] + lists[1], np.int32)
    return [int(ply) for ply in playout.replay_all(game.T, rows, offsets, actions)]


def test_replaying_finds_the_first_decision_that_is_not_legal() -> None:
    game = Games("hex8", 2, 11, 2)
    length = int(game.lengths[1])
    assert replayed(game) == [-1, -1]
    assert replayed(game, edit={0: 10**6}) == [-1, 0]
    assert replayed(game, edit={20: 10**6, 30: 10**6}) == [-1, 20]
    assert replayed(game, cut=1) == [-1, length - 1]
    assert replayed(game, cut=length) == [-1, 0]
    assert replayed(game, cut=-1) == [-1, length]


def test_first_illegal_game_is_found_whatever_the_blocks() -> None:
    T, rows = tables("hex8", 2), started("hex8", 2, 700)
    chosen = np.zeros(700, np.int32)
    assert playout.first_illegal(T, rows, chosen) == -1
    for bad in ([699], [0], [650, 350, 351], [16, 15]):
        chosen[:] = 0
        chosen[bad] = 10**6
        assert playout.first_illegal(T, rows, chosen) == min(bad)


def count_rows(done: LongArray, lock: threading.Lock, first: int, end: int) -> None:
    with lock:
        done[first:end] += 1


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_work_is_spread_over_every_row_once(threads: int) -> None:
    for rows in (0, 1, 15, 16, 31, 32, 33, 1000):
        done, lock = np.zeros(rows, np.int64), threading.Lock()

        playout.spread(partial(count_rows, done, lock), rows, threads)
        assert (done == 1).all()


def test_error_in_a_block_is_raised() -> None:
    def fail(first: int, _end: int) -> None:
        if first > 0:
            raise ZeroDivisionError("in a block")

    with pytest.raises(ZeroDivisionError, match="in a block"):
        playout.spread(fail, 1000, 3)
