"""The search: what it counts, that it finds what is there, and that a batch changes nothing."""

from __future__ import annotations

import numpy as np
import pytest

from ringrift_cli.game import layout as L
from ringrift_cli.game.playout import LongArray
from ringrift_cli.game.position import Position
from ringrift_cli.game.topology import BOARDS, IntArray, tables
from ringrift_cli.search.forest import search
from ringrift_cli.search.results import SearchResult
from ringrift_cli.search.tree import FloatArray
from tests.walks import CONFIGURATIONS, positions


class Uniform:
    """Knows nothing: equal priors and equal chances. Counts what it is asked."""

    def __init__(self, players: int) -> None:
        self.players = players
        self.rows = 0
        self.batches = 0

    def evaluate(
        self, rows: IntArray, actions: IntArray, offsets: LongArray
    ) -> tuple[FloatArray, FloatArray]:
        assert len(offsets) == len(rows) + 1
        assert offsets[0] == 0
        assert offsets[-1] == len(actions)
        assert (np.diff(offsets) > 1).all()  # where there is no choice nobody is asked
        assert (rows[:, L.PHASE] != L.OVER).all()
        self.rows += len(rows)
        self.batches += 1
        values = np.full((len(rows), self.players), 1 / self.players)
        return np.zeros(len(actions)), values


class ByRow(Uniform):
    """Values and priors that are some function of the position, whoever else is in the batch."""

    def evaluate(
        self, rows: IntArray, actions: IntArray, offsets: LongArray
    ) -> tuple[FloatArray, FloatArray]:
        super().evaluate(rows, actions, offsets)
        sums = rows[:, L.HEADER :].astype(np.int64).sum(axis=1)
        raw = 1.0 + (sums[:, None] * (1 + np.arange(self.players)) % 17)
        return np.sin(actions.astype(np.float64)), raw / raw.sum(axis=1, keepdims=True)


def with_choice(board: str, players: int, seed: int, plies: int = 60) -> list[Position]:
    return [p for p in positions(board, players, seed, plies) if len(p.legal_actions()) > 1]


@pytest.mark.parametrize(("board", "players"), CONFIGURATIONS)
def test_visits_and_values_add_up(board: str, players: int) -> None:
    roots = np.stack([p.row for p in with_choice(board, players, 1, 30)])
    evaluator = ByRow(players)
    found = search(tables(board, players), roots, evaluator, 40)
    for root, result in zip(roots, found, strict=True):
        position = Position(BOARDS[board], players, root.copy())
        assert sorted(result.actions.tolist()) == position.legal_actions().tolist()
        assert result.visits.sum() == 40
        assert result.priors.sum() == pytest.approx(1, abs=1e-5)
        assert result.root_values.sum() == pytest.approx(1, abs=1e-4)
        assert result.values.sum(axis=1) == pytest.approx(1, abs=1e-4)
    assert evaluator.batches == 41  # the roots, then a batch for each simulation


def same(a: SearchResult, b: SearchResult) -> bool:
    return (
        bool((a.visits == b.visits).all())
        and bool((a.actions == b.actions).all())
        and np.array_equal(a.root_values, b.root_values)
    )


def test_a_game_is_searched_alike_alone_and_among_others() -> None:
    T = tables("hex8", 3)
    roots = np.stack([p.row for p in with_choice("hex8", 3, 2)])
    together = search(T, roots, ByRow(3), 60)
    for i in range(0, len(roots), 7):
        [alone] = search(T, roots[i : i + 1], ByRow(3), 60)
        assert same(alone, together[i])


@pytest.mark.parametrize(("board", "players"), [("square8", 2), ("hex8", 3), ("hex8", 4)])
def test_a_win_is_found_where_there_is_one(board: str, players: int) -> None:
    tried = 0
    for seed in range(200):
        *_, before, _ = positions(board, players, seed)
        legal = before.legal_actions()
        winning = [a for a in legal.tolist() if _wins(before, a)]
        if len(legal) > 1 and 0 < len(winning) < len(legal):
            [found] = search(
                tables(board, players), before.row[None], Uniform(players), 20 * len(legal)
            )
            assert found.values[found.best, before.seat - 1] > 0.6
            tried += 1
        if tried == 10:
            return
    pytest.fail(f"only {tried} positions with a win and a choice")


def _wins(position: Position, action: int) -> bool:
    result = position.play(action).result()
    return result is not None and result.winner == position.seat


def test_priors_steer_where_values_say_nothing() -> None:
    class Favourite(Uniform):
        def evaluate(
            self, rows: IntArray, actions: IntArray, offsets: LongArray
        ) -> tuple[FloatArray, FloatArray]:
            _, values = super().evaluate(rows, actions, offsets)
            return np.where(actions == favourite, 4.0, 0.0), values

    start = Position.initial("square8")
    favourite = int(start.legal_actions()[77])
    [found] = search(tables("square8", 2), start.row[None], Favourite(2), 50)
    assert found.actions[found.best] == favourite


def test_stopping_leaves_a_usable_answer() -> None:
    asked = [0]

    def stop_after_five() -> bool:
        asked[0] += 1
        return asked[0] >= 5

    start = Position.initial("hex8").row[None]
    [found] = search(tables("hex8", 2), start, Uniform(2), 10_000, should_stop=stop_after_five)
    assert found.visits.sum() == 5
    [found] = search(tables("hex8", 2), start, Uniform(2), 10_000, should_stop=lambda: True)
    assert found.visits.sum() == 1


def test_trees_grow_beyond_their_first_room() -> None:
    start = Position.initial("square19").row[None]  # 1,083 actions at the root alone
    [found] = search(tables("square19", 2), start, Uniform(2), 200)
    assert len(found.actions) == 3 * 361
    assert found.visits.sum() == 200
