"""What holds in every position of every game, looked for in random games on all boards."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ringrift_cli.game import layout as L
from ringrift_cli.game.actions import KINDS, action_space
from ringrift_cli.game.notation import parse_position
from ringrift_cli.game.position import Position
from ringrift_cli.game.topology import BOARDS
from tests.plain import check_row, progress
from tests.walks import CONFIGURATIONS, Walk, positions, saved

PLIES = {"hexagonal": 150, "square19": 150}  # of one game; on the small boards all
SEEDS = st.integers(0, 2**32 - 1)
GAMES = st.tuples(st.sampled_from(CONFIGURATIONS), SEEDS)

# Moves that make markers + territory + eliminated rings grow, every time
GROWING = {"move", "capture", "chain", "forced", "extract", "eliminate"}
# Moves that change nothing on the board
STILL = {"skip_placement", "skip_capture", "skip_recovery", "skip_territory", "swap"}

# First word of the texts of a kind of action
WORDS = {**{kind: kind for kind, _ in KINDS}, "line_all": "line", "line_part": "line"}


def examples(count: int) -> settings:
    """The same examples in every run, whatever the speed of the machine."""
    return settings(
        max_examples=count,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def walk(game: tuple[tuple[str, int], int]) -> Walk:
    (board, players), seed = game
    return Walk(board, players, seed)


def sample(position: Position, rng: np.random.Generator, count: int) -> list[int]:
    """Some legal actions, at most `count`, the first and the last among them."""
    legal = position.legal_actions()
    if len(legal) <= count:
        return [int(action) for action in legal]
    chosen = rng.choice(len(legal), count, replace=False)
    return [int(legal[i]) for i in {0, len(legal) - 1, *chosen.tolist()}]


# ---- the row ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("board", "players"), CONFIGURATIONS)
def test_every_word_of_the_row_follows_from_the_cells(board: str, players: int) -> None:
    for seed in range(2 if board in PLIES else 8):
        for position in positions(board, players, seed, PLIES.get(board)):
            check_row(position)


@pytest.mark.long
@pytest.mark.parametrize(("board", "players"), CONFIGURATIONS)
def test_every_word_of_the_row_follows_from_the_cells_long(board: str, players: int) -> None:
    for seed in range(8, 30 if board in PLIES else 300):
        for position in positions(board, players, seed):
            check_row(position)


@examples(60)
@given(GAMES)
def test_rows_of_restored_and_turned_positions_are_whole(
    game: tuple[tuple[str, int], int],
) -> None:
    """They are built from the cells at once, not by playing."""
    for at, (position, _, _) in enumerate(walk(game).steps(120)):
        if at % 17 == 16:
            check_row(Position.from_json(saved(position)))
            check_row(position.symmetric(1 + at % 7))


# ---- a move -------------------------------------------------------------------------------------


def check_step(before: Position, action: int, after: Position) -> None:
    """What a decision may and may not do."""
    move = before.move(action)
    kind = move.split()[0]
    grown = progress(after) - progress(before)
    assert grown >= (kind in GROWING), move
    assert after.ply == before.ply + 1
    assert before.turn <= after.turn <= before.turn + before.players or after.is_over
    if kind in STILL:
        assert after.text.cells == before.text.cells
        assert after.is_over or after.eliminated == before.eliminated
    if kind == "region":
        cells = dict(zip(cell_names(before), before.text.cells, strict=True))
        taken = [cells[name] for name in move.split()[1].split(";")]
        assert grown >= sum(not text.startswith("m") for text in taken)
    old, new = own_rings(before), own_rings(after)
    assert all(a >= b for a, b in zip(old, new, strict=True)), "a ring came back"
    assert sum(old) - sum(new) == sum(after.eliminated) - sum(before.eliminated)


def cell_names(position: Position) -> list[str]:
    board = BOARDS[position.board_name]
    return ["{},{}".format(*board.coordinates(cell)) for cell in range(len(board.cells))]


def own_rings(position: Position) -> list[int]:
    """Rings of each colour that are in hand or on the board."""
    row = position.row
    return [int(row[L.HAND + p] + row[L.RINGS + p]) for p in range(position.players)]


@examples(200)
@given(GAMES)
def test_every_move_conserves_rings_and_brings_the_end_nearer(
    game: tuple[tuple[str, int], int],
) -> None:
    for before, action, after in walk(game).steps(PLIES.get(game[0][0])):
        check_step(before, action, after)


@examples(80)
@given(GAMES)
def test_legal_moves_are_some_until_the_end_and_then_none(
    game: tuple[tuple[str, int], int],
) -> None:
    played = walk(game)
    for before, _, _ in played.steps():
        assert len(before.legal_actions()) > 0
        assert before.result() is None
    end = played.position
    assert end.is_over
    assert end.legal_moves() == []
    assert not end.legal_mask().any()
    result = end.result()
    assert result is not None
    assert result.ranks[result.winner - 1] == 1
    assert sorted(result.ranks).count(1) == 1


# ---- actions and texts --------------------------------------------------------------------------


@examples(50)
@given(GAMES)
def test_actions_are_distinct_and_mean_what_their_text_says(
    game: tuple[tuple[str, int], int],
) -> None:
    played = walk(game)
    space = action_space(game[0][0])
    for at, (position, _, _) in enumerate(played.steps(PLIES.get(game[0][0]))):
        actions = position.legal_actions().tolist()
        assert all(a < b for a, b in pairwise(actions))
        assert actions[0] >= 0
        assert actions[-1] < space.size
        if at % 9 == 0:
            texts = position.legal_moves()
            assert len(set(texts)) == len(texts)
        for action in sample(position, played.rng, 3):
            text = position.move(action)
            assert position.action(text) == action
            meaning = space.decode(action)
            assert space.encode(meaning) == action
            word = text.split()[0]
            assert WORDS.get(meaning.kind, meaning.kind) == ("capture" if word == "chain" else word)


@examples(40)
@given(GAMES)
def test_texts_of_positions_can_be_read_back(game: tuple[tuple[str, int], int]) -> None:
    for position in positions(*game[0], game[1], 80):
        text = position.text
        assert parse_position(str(text)) == text
        assert str(position) == str(text)


# ---- saving and restoring -----------------------------------------------------------------------


@examples(60)
@given(GAMES)
def test_saving_in_mid_turn_changes_nothing(game: tuple[tuple[str, int], int]) -> None:
    played = walk(game)
    rare = 0
    for at, (position, _, _) in enumerate(played.steps(200)):
        rare += position.phase not in ("ring_placement", "movement")
        if at % 40 == 10 or rare % 6 == 5:
            rare += 1
            check_restored(position, Position.from_json(saved(position)), played.rng)
    check_restored(played.position, Position.from_json(saved(played.position)), played.rng)


def check_restored(position: Position, restored: Position, rng: np.random.Generator) -> None:
    """Equal now, and for the next decisions."""
    assert str(restored) == str(position)
    for _ in range(8):
        assert restored == position
        assert hash(restored) == hash(position)
        assert np.array_equal(restored.legal_actions(), position.legal_actions())
        if position.is_over:
            break
        action = int(rng.choice(position.legal_actions()))
        position, restored = position.play(action), restored.play(action)
    assert restored.result() == position.result()


@examples(40)
@given(GAMES)
def test_positions_do_not_change_when_played_from(game: tuple[tuple[str, int], int]) -> None:
    for position, action, after in walk(game).steps(80):
        row = position.row
        assert position.play(action) == after
        assert np.array_equal(position.row, row)


# ---- the same games again -----------------------------------------------------------------------


@pytest.mark.parametrize(("board", "players"), CONFIGURATIONS)
def test_the_same_choices_lead_to_the_same_game(board: str, players: int) -> None:
    first, second = ([*positions(board, players, 5, 60)] for _ in range(2))
    assert first == second
    assert len({position.ply for position in first}) == len(first)
