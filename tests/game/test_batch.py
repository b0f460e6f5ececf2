"""`PositionBatch`: the same games as `Position`, thousands at a time."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from ringrift_cli.errors import IllegalMove, UsageError
from ringrift_cli.game import playout
from ringrift_cli.game.actions import action_space
from ringrift_cli.game.batch import PASS, PositionBatch
from ringrift_cli.game.position import Position
from ringrift_cli.game.topology import BOARD_NAMES
from tests.walks import CONFIGURATIONS, SMALL

MEGABYTE = 1 << 20


def played(board: str, players: int, size: int, plies: int, seed: int = 0) -> PositionBatch:
    """A batch after so many random decisions."""
    batch, rng = PositionBatch(board, players, size), np.random.default_rng(seed)
    for _ in range(plies):
        batch.step(batch.sample(rng))
    return batch


# ---- the same as one game at a time -------------------------------------------------------------


@pytest.mark.parametrize(("board", "players"), CONFIGURATIONS)
def test_batch_plays_as_positions_do(board: str, players: int) -> None:
    """Rows, legal actions, turn, end and winner agree after every move."""
    size = 40 if (board, players) in SMALL else 18
    pie = players == 2
    batch = PositionBatch(board, players, size, pie_rule=pie)
    rng = np.random.default_rng(players)
    single = [Position.initial(board, players, pie_rule=pie) for _ in range(size)]
    for _ in range(500 if size == 40 else 60):
        actions, offsets = batch.legal_actions()
        chosen = batch.sample(rng)
        for i, position in enumerate(single):
            own = actions[offsets[i] : offsets[i + 1]]
            assert np.array_equal(np.sort(own), position.legal_actions())
            assert (chosen[i] in own) if len(own) else chosen[i] == PASS
            assert batch.seats[i] == position.seat - 1
            assert batch.over[i] == position.is_over
        batch.step(chosen)
        single = [
            position if action == PASS else position.play(int(action))
            for position, action in zip(single, chosen, strict=True)
        ]
        assert all(np.array_equal(batch.rows[i], single[i].row) for i in range(size))
        if batch.over.all():
            break
    for i, position in enumerate(single):
        result = position.result()
        assert batch.winners[i] == (-1 if result is None else result.winner - 1)
        assert batch[i] == position
    assert batch.over.all() or size == 18


@pytest.mark.parametrize(("board", "players"), CONFIGURATIONS)
def test_masks_are_the_lists(board: str, players: int) -> None:
    batch = played(board, players, 6, 70)
    mask = batch.legal_mask()
    assert mask.shape == (6, action_space(board).size)
    for i in range(6):
        assert np.array_equal(mask[i], batch[i].legal_mask())


def test_mask_is_written_where_asked() -> None:
    batch = played("hex8", 2, 20, 30)
    room = np.ones((20, batch.action_space.size), np.bool_)
    assert batch.legal_mask(room) is room
    assert np.array_equal(room, batch.legal_mask())
    for wrong in (room[:5], room[:, :-1]):
        with pytest.raises(ValueError, match="expected bool"):
            batch.legal_mask(wrong)


def test_games_that_are_over_have_no_actions() -> None:
    batch = PositionBatch("square8", 3, 50)
    lengths = batch.play_out(3)
    assert batch.over.all()
    assert (lengths > 10).all()
    actions, offsets = batch.legal_actions()
    assert len(actions) == 0
    assert not offsets.any()
    assert not batch.legal_mask().any()
    assert (batch.sample(np.random.default_rng(0)) == PASS).all()
    batch.step(np.full(50, PASS))
    with pytest.raises(IllegalMove, match="Game 0: action 0 is not legal"):
        batch.step(np.zeros(50, np.int32))


@pytest.mark.parametrize("players", [2, 3, 4])
def test_rewards_sum_to_zero_and_name_the_winner(players: int) -> None:
    batch = PositionBatch("hex8", players, 64)
    assert not batch.rewards.any()
    assert (batch.winners == -1).all()
    batch.play_out(1)
    rewards = batch.rewards
    assert rewards.shape == (64, players)
    assert np.allclose(rewards.sum(axis=1), 0, atol=1e-6)
    assert np.array_equal(rewards.argmax(axis=1), batch.winners)
    assert np.allclose(np.sort(rewards, axis=1)[:, :-1], -1 / (players - 1))


# ---- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [7, -2, -(2**31), 2**31 - 1, 2**32, 2**40 + 3, -(2**63)])
def test_illegal_action_leaves_every_game_as_it_was(wrong: int) -> None:
    batch = played("hex8", 2, 100, 21)
    rows = batch.rows.copy()
    chosen = batch.sample(np.random.default_rng(1)).astype(np.int64)
    legal = batch[57].legal_actions()
    chosen[57] = wrong if wrong not in legal else next(a for a in range(999) if a not in legal)
    with pytest.raises(IllegalMove, match=f"^Game 57: action {chosen[57]} is not legal in "):
        batch.step(chosen)
    assert np.array_equal(batch.rows, rows)


def test_first_of_several_illegal_actions_is_named() -> None:
    batch = played("hex8", 2, 400, 4)
    chosen = batch.sample(np.random.default_rng(1)).astype(np.int64)
    chosen[[399, 201, 33]] = [10**6, -9, 10**6]
    with pytest.raises(IllegalMove, match=r"^Game 33: action 1000000 "):
        batch.step(chosen)
    chosen[12] = 2**32  # no int32 at all
    with pytest.raises(IllegalMove, match=r"^Game 12: action 4294967296 "):
        batch.step(chosen)


def test_fractions_are_no_actions() -> None:
    batch = PositionBatch("hex8", 2, 2)
    with pytest.raises(IllegalMove, match=r"^Game 1: action 3\.5 "):
        batch.step([3.0, 3.5])
    assert batch[0] == Position.initial("hex8")


def test_known_legal_actions_need_no_check() -> None:
    checked, unchecked = played("square8", 2, 30, 10), played("square8", 2, 30, 10)
    actions = checked.sample(np.random.default_rng(5))
    checked.step(actions)
    unchecked.step(actions, check=False)
    assert np.array_equal(checked.rows, unchecked.rows)


def test_passing_leaves_a_game_alone() -> None:
    batch = played("hex8", 3, 10, 12)
    rows = batch.rows.copy()
    batch.step(np.full(10, PASS))
    assert np.array_equal(batch.rows, rows)
    chosen = batch.sample(np.random.default_rng(2))
    chosen[::2] = PASS
    batch.step(chosen.tolist())
    assert np.array_equal(batch.rows[::2], rows[::2])
    assert all((batch.rows[i] != rows[i]).any() for i in range(1, 10, 2))


def test_wrong_shapes_and_sizes() -> None:
    batch = PositionBatch("hex8", 2, 4)
    for actions in (np.zeros(3, np.int32), np.zeros((4, 1), np.int32), 0):
        with pytest.raises(ValueError, match=r"expected \(4,\)"):
            batch.step(actions)
    with pytest.raises(ValueError, match=r"expected \(4,\)"):
        batch.reset(np.ones(5, np.bool_))
    with pytest.raises(UsageError, match="at least one game, not 0"):
        PositionBatch("hex8", 2, 0)
    with pytest.raises(UsageError, match="hex9"):
        PositionBatch("hex9")
    with pytest.raises(UsageError, match="not 5"):
        PositionBatch("hex8", 5)
    with pytest.raises(IndexError):
        batch[4]


# ---- resetting and copies -----------------------------------------------------------------------


def test_reset_starts_the_chosen_games_anew() -> None:
    batch = played("hex8", 2, 50, 33)
    rows = batch.rows.copy()
    where = np.arange(50) % 3 == 0
    batch.reset(where)
    start = Position.initial("hex8")
    assert all(batch[i] == start for i in np.flatnonzero(where).tolist())
    assert np.array_equal(batch.rows[~where], rows[~where])
    batch.reset(np.zeros(50, np.bool_))
    assert np.array_equal(batch.rows[~where], rows[~where])
    batch.reset()
    assert all(batch[i] == start for i in range(50))


def test_reset_keeps_the_pie_rule() -> None:
    batch = PositionBatch("hex8", 2, 3, pie_rule=True)
    batch.play_out(1)
    batch.reset()
    assert batch[1] == Position.initial("hex8", pie_rule=True)


def test_a_game_taken_out_is_a_copy() -> None:
    batch = played("hex8", 2, 3, 5)
    before = batch[1]
    batch.step(batch.sample(np.random.default_rng(0)))
    assert batch[1] != before
    assert (len(batch), batch.players, batch[-1] == batch[2]) == (3, 2, True)
    batch.seats[:] = 9
    batch.winners[:] = 9
    assert (batch.seats < 2).all()
    assert (batch.winners == -1).all()


# ---- threads and memory -------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2, 3, 16])
def test_the_number_of_threads_does_not_matter(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = played("square8", 3, 333, 45, seed=8)
    monkeypatch.setattr(playout, "available_threads", lambda: threads)
    batch = played("square8", 3, 333, 45, seed=8)
    assert np.array_equal(batch.rows, expected.rows)
    (actions, offsets), (others, bounds) = batch.legal_actions(), expected.legal_actions()
    assert np.array_equal(actions, others)
    assert np.array_equal(offsets, bounds)
    assert np.array_equal(batch.play_out(6), expected.play_out(6))
    assert np.array_equal(batch.rows, expected.rows)


@pytest.mark.parametrize("board", BOARD_NAMES)
def test_four_thousand_games_fit_into_a_fraction_of_a_gigabyte(board: str) -> None:
    """Rows, and the lists of legal actions at their longest in the middle of games."""
    tracemalloc.start()
    try:
        batch = PositionBatch(board, 4, 4096)
        rng = np.random.default_rng(0)
        for _ in range(12):
            batch.step(batch.sample(rng))
        batch.rewards.sum()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert batch.rows.nbytes < 64 * MEGABYTE
    assert peak < 256 * MEGABYTE
