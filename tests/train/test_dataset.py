"""What is trained on and how often, and batches against a plain computation of the same."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ringrift_cli.data.shard import SearchedGame, Shard, read_searched, write_searched
from ringrift_cli.data.window import held_out
from ringrift_cli.errors import RecordError
from ringrift_cli.game import layout as L
from ringrift_cli.game.position import Position
from ringrift_cli.game.symmetry import cells_array, symmetries, transform_row
from ringrift_cli.game.topology import BOARD_NAMES, PLAYER_COUNTS, board_named, tables
from ringrift_cli.nn.features import encode_all
from ringrift_cli.nn.symmetry import exact_symmetries
from ringrift_cli.train.batches import (
    UNKNOWN,
    Batch,
    ahead,
    make_batch,
    training_batch,
    validation_batches,
)
from ringrift_cli.train.dataset import (
    MOST_SURPRISE,
    TrainData,
    finished,
    gather,
    training_positions,
)
from tests.searched import lowest, searched_games

pytestmark = pytest.mark.usefixtures("compiled_rules")

Made = tuple[list[SearchedGame], Shard]


def made(
    folder: Path, board: str, players: int, games: int, seed: int = 1, *, resigned: int = 0
) -> Made:
    pie = players == 2
    some = searched_games(
        board, players, games, seed, pie_rule=pie, share=0.1, policy=lowest, resigned=resigned
    )
    return some, read_searched(write_searched(folder, {}, some, board, players, pie))


def data_of(*shards: Shard, share: float = 0.0, surprise: float = 0.5) -> TrainData:
    return gather(list(shards), share, surprise)


# ---- data ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("players", PLAYER_COUNTS)
def test_owners_and_eliminated_are_those_of_the_end(tmp_path: Path, players: int) -> None:
    games, shard = made(tmp_path, "hex8", players, 3)
    data = data_of(shard)
    for game, owners, eliminated in zip(games, data.owners, data.eliminated, strict=True):
        position = Position.initial("hex8", players, pie_rule=players == 2)
        for action in game.actions.tolist():
            position = position.play(action)
        rings = int(tables("hex8", players)[L.T_RINGS]) * players
        assert (eliminated * rings).round().tolist() == position.row[
            L.ELIMINATED : L.ELIMINATED + players
        ].tolist()
        counted = [int((owners == 1 + seat).sum()) for seat in range(players)]
        row = position.row
        assert counted == [
            int(row[L.TERRITORY + p] + row[L.MARKERS + p] + row[L.STACKS + p])
            for p in range(players)
        ]


def test_games_of_validation_are_never_drawn(tmp_path: Path) -> None:
    one = made(tmp_path, "hex8", 2, 60)[1]
    other = made(tmp_path, "hex8", 2, 60, seed=2)[1]
    data = data_of(one, other, share=0.3)
    never = np.concatenate([held_out(s.sha256, 60, 0.3) for s in (one, other)])
    assert 15 < never.sum() < 60
    assert never[data.game[data.validation]].all()
    assert not never[data.game[data.training]].any()
    assert len(data.training) + len(data.validation) == len(data.game)
    assert len(data.training) == sum(training_positions(s, 0.3) for s in (one, other))
    drawn = data.draw(20_000, np.random.default_rng(0))
    assert not never[data.game[drawn]].any()
    assert set(drawn.tolist()) <= set(data.training.tolist())
    # the same games of the same shard, whatever else is in the window
    alone = data_of(other, share=0.3)
    first = len(one.columns.plies)
    assert (alone.validation + first == data.validation[data.validation >= first]).all()


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_positions_are_drawn_by_surprise(tmp_path: Path, weight: float) -> None:
    """In units of the mean of each game, at most `MOST_SURPRISE` times that."""
    games = searched_games("hex8", 2, 4, seed=1)
    games[0].surprise[:] *= 10  # a game is not drawn more often than another
    games[1].surprise[0] = 100
    shard = read_searched(write_searched(tmp_path, {}, games, "hex8", 2, False))
    data = data_of(shard, surprise=weight)
    ratios = [game.surprise / game.surprise.mean() for game in games]
    assert max(ratio.max() for ratio in ratios) > MOST_SURPRISE
    capped = np.minimum(np.concatenate(ratios).astype(np.float64), MOST_SURPRISE)
    expected = 1 - weight + weight * capped
    drawn = np.bincount(data.draw(200_000, np.random.default_rng(1)), minlength=len(expected))
    shares = drawn / drawn.sum()
    np.testing.assert_allclose(shares, expected / expected.sum(), atol=0.005)


def test_no_surprise_at_all(tmp_path: Path) -> None:
    games = searched_games("hex8", 2, 2, seed=1)
    flat = [replace(game, surprise=np.zeros_like(game.surprise)) for game in games]
    shard = read_searched(write_searched(tmp_path, {}, flat, "hex8", 2, False))
    data = data_of(shard, surprise=1.0)
    assert np.diff(data.summed_weights).tolist() == [1.0] * (len(data.training) - 1)


# ---- batches ------------------------------------------------------------------------------------


def check_position(
    data: TrainData, games: list[SearchedGame], batch: Batch, at: int, i: int
) -> None:
    """Row `at` of a batch that was not turned is position `i`; all of it is computed again."""
    number, players = int(data.game[i]), data.players
    game = games[number]
    k = i - int(data.columns.position_offsets[number])
    position = Position.initial(data.board, players, pie_rule=data.pie_rule)
    for action in game.actions[: game.plies[k]].tolist():
        position = position.play(action)
    mover = int(position.row[L.SEAT])
    planes, scalars = encode_all(data.T, position.row[None])
    assert (batch.planes[at].numpy() == planes[0]).all()
    assert (batch.scalars[at].numpy() == scalars[0]).all()
    chosen = slice(game.offsets[k], game.offsets[k + 1])
    target = dict(zip(game.choices[chosen].tolist(), game.targets[chosen].tolist(), strict=True))
    mine = batch.position == at
    actions = batch.action[mine].tolist()
    assert sorted(actions) == sorted(position.legal_actions())
    for action, probability in zip(actions, batch.target[mine].tolist(), strict=True):
        assert probability == pytest.approx(target.get(action, 0.0), abs=1e-3)
    assert batch.target[mine].sum().item() == pytest.approx(1, abs=1e-5)
    for r in range(players):
        seat = (mover + r) % players
        value = 0.25 * game.values[k][seat] + 0.75 * (seat == game.winner)
        assert batch.value[at, r].item() == pytest.approx(value, abs=1e-5)
        assert batch.eliminated[at, r] == data.eliminated[number, seat]
    assert (mover + int(batch.winner[at])) % players == game.winner
    done = game.reason != -1
    assert batch.known[at] == done
    info = board_named(data.board)
    expected = np.full((info.width, info.width), UNKNOWN)
    for cell, (column, row) in enumerate(info.cells):
        owner = int(data.owners[number, cell])
        if done:
            expected[row, column] = 1 + (owner - 1 - mover) % players if owner else 0
    assert (batch.owner[at].numpy() == expected.ravel()).all()


@pytest.mark.parametrize("board", BOARD_NAMES)
@pytest.mark.parametrize("players", PLAYER_COUNTS)
def test_a_batch_is_what_its_positions_are(tmp_path: Path, board: str, players: int) -> None:
    games, shard = made(tmp_path, board, players, 3, resigned=1)
    data = data_of(shard)
    rng = np.random.default_rng(3)
    chosen = rng.choice(len(data.game), 8, replace=False)
    chosen[1] = chosen[0]  # one of them twice
    batch = make_batch(data, chosen, 0.25, None)
    assert finished(data.columns).tolist() == [False, True, True]
    for at, i in enumerate(np.sort(chosen).tolist()):
        check_position(data, games, batch, at, i)


@pytest.mark.parametrize("board", BOARD_NAMES)
@pytest.mark.parametrize("players", PLAYER_COUNTS)
def test_symmetries_turn_all_of_a_batch_alike(tmp_path: Path, board: str, players: int) -> None:
    """A turned position has the targets of its actions, and its end is the turned end."""
    _, shard = made(tmp_path, board, players, 2)
    data, T, info = data_of(shard), tables(board, players), board_named(board)
    exact = exact_symmetries(board)
    chosen = np.repeat(np.array([len(data.game) // 2]), len(exact))
    straight = make_batch(data, chosen, 0.25, None)
    turned = make_batch(data, chosen, 0.25, np.array(exact))
    for name in ("scalars", "position", "value", "winner", "eliminated", "known", "target"):
        assert torch.equal(getattr(straight, name), getattr(turned, name)), name
    assert torch.equal(turned.planes[0], straight.planes[0])
    assert not torch.equal(turned.planes[1], straight.planes[1])
    number, width = int(data.game[chosen[0]]), info.width
    mine = straight.position == 0
    position_row = _row_of(data, int(chosen[0]))
    position = Position(info, players, position_row)
    for at, symmetry in enumerate(exact):
        by = symmetries(info)[symmetry]
        end = np.zeros_like(shard.ends[number])
        transform_row(T, shard.ends[number], cells_array(by), end)
        words = end[int(T[L.T_S_CELL]) :][: len(info.cells)]
        owner = np.where((words >> 2) & 3 == L.EMPTY, 0, 1 + (words & 3))
        mover = int(position_row[L.SEAT])
        picture = np.full(width * width, UNKNOWN)
        for cell, (column, row) in enumerate(info.cells):
            seat = int(owner[cell]) - 1
            picture[row * width + column] = 1 + (seat - mover) % players if seat >= 0 else 0
        assert (turned.owner[at].numpy() == picture).all()
        expected = [position.symmetric_action(a, symmetry) for a in straight.action[mine].tolist()]
        assert turned.action[turned.position == at].tolist() == expected


def _row_of(data: TrainData, i: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    number = int(data.game[i])
    first = int(data.columns.game_offsets[number])
    position = Position.initial(data.board, data.players, pie_rule=data.pie_rule)
    for action in data.columns.actions[first : first + int(data.columns.plies[i])].tolist():
        position = position.play(action)
    return position.row


def test_a_batch_follows_from_seed_and_step(tmp_path: Path) -> None:
    data = data_of(made(tmp_path, "hex8", 2, 6)[1])

    def same(one: Batch, other: Batch) -> bool:
        return all(
            torch.equal(getattr(one, f), getattr(other, f)) for f in one.__dataclass_fields__
        )

    first = training_batch(data, 16, 0.25, 5, 7)
    assert same(first, training_batch(data, 16, 0.25, 5, 7))
    assert not torch.equal(first.planes, training_batch(data, 16, 0.25, 5, 8).planes)
    assert not torch.equal(first.planes, training_batch(data, 16, 0.25, 6, 7).planes)
    # every exact symmetry has its turn
    many = np.concatenate([training_batch(data, 64, 0.25, 5, s).planes.numpy() for s in range(4)])
    assert len(np.unique(many.reshape(256, -1), axis=0)) > len(data.training)


def test_a_probability_of_no_legal_action_is_refused(tmp_path: Path) -> None:
    """Whatever became of the data since they were checked."""
    data = data_of(made(tmp_path, "hex8", 2, 2)[1])
    choices = data.columns.choices.copy()
    choices[0] = 7629
    bad = replace(data, columns=replace(data.columns, choices=choices))
    make_batch(bad, np.array([1, 2]), 0.25, None)
    with pytest.raises(RecordError, match="The policy target names action 7629, which is not"):
        make_batch(bad, np.array([0, 1]), 0.25, None)


def test_validation_sees_the_same_positions_every_time(tmp_path: Path) -> None:
    data = data_of(made(tmp_path, "hex8", 2, 60)[1], share=0.3)
    count = len(data.validation)
    for most in (count + 5, 20):
        batches = [list(validation_batches(data, 16, 0.25, most)) for _ in range(2)]
        assert sum(len(b.planes) for b, _ in batches[0]) == min(most, count)
        for (one, offsets), (other, _) in zip(*batches, strict=True):
            assert torch.equal(one.planes, other.planes)
            assert offsets[-1] == len(one.action)
            assert (
                np.repeat(np.arange(len(one.planes)), np.diff(offsets)) == one.position.numpy()
            ).all()
    chosen = make_batch(data, data.validation, 0.25, None)
    whole = torch.cat([b.planes for b, _ in validation_batches(data, 16, 0.25, count)])
    assert torch.equal(whole, chosen.planes)


def test_batches_come_in_order_and_ahead(tmp_path: Path) -> None:
    data = data_of(made(tmp_path, "hex8", 2, 2)[1])
    known = {step: make_batch(data, np.array([step]), 0.0, None) for step in range(8)}
    asked: list[int] = []
    lock = threading.Lock()

    def make(step: int) -> Batch:
        with lock:
            asked.append(step)
        if step == 6:
            raise RecordError("step 6")
        return known[step]

    for threads in (1, 3):
        asked.clear()
        batches = ahead(make, 2, 8, threads)
        assert [next(batches) for _ in range(4)] == [known[step] for step in range(2, 6)]
        with pytest.raises(RecordError, match="step 6"):
            next(batches)
        assert sorted(asked)[:5] == [2, 3, 4, 5, 6]
    assert list(ahead(make, 3, 3, 1)) == []
    batches = ahead(make, 0, 6, 1)
    next(batches)
    batches.close()  # the rest is given up
    assert not any(t.name.startswith("ringrift-batches") for t in threading.enumerate())
