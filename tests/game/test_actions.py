"""The action space: every number has one meaning, and every meaning one number."""

from __future__ import annotations

import numpy as np
import pytest

from ringrift_cli.errors import UsageError
from ringrift_cli.game import layout as L
from ringrift_cli.game.actions import KINDS, Action, action_space
from ringrift_cli.game.position import Position
from ringrift_cli.game.topology import BOARD_NAMES, BOARDS, PLAYER_COUNTS, tables
from tests.walks import CONFIGURATIONS, positions

GLOBALS = ("skip_placement", "skip_capture", "skip_recovery", "skip_territory", "swap")
# Records and networks hold action numbers: other sizes mean that nothing old can be read.
SIZES = {
    "square8": ((3 + 8 * 7 + 8 * 6 + 24 + 4 + 4 + 1 + 1 + 5 + 1) * 64 + 5, 147),
    "square19": ((3 + 8 * 18 + 8 * 17 + 24 + 4 + 4 + 1 + 1 + 5 + 1) * 361 + 5, 323),
    "hex8": ((3 + 6 * 8 + 6 * 7 + 18 + 3 + 3 + 1 + 1 + 5 + 1) * 61 + 5, 125),
    "hexagonal": ((3 + 6 * 24 + 6 * 23 + 18 + 3 + 3 + 1 + 1 + 5 + 1) * 469 + 5, 317),
}


@pytest.mark.parametrize("board", BOARD_NAMES)
def test_sizes(board: str) -> None:
    space = action_space(board)
    assert (space.size, space.planes) == SIZES[board]
    assert space.cells == len(BOARDS[board].cells)
    assert space.size == space.planes * space.cells + len(GLOBALS)


@pytest.mark.parametrize("board", BOARD_NAMES)
def test_the_space_is_the_same_for_every_number_of_players(board: str) -> None:
    numbering = slice(L.T_PLACE, L.T_PLANES + 1)
    first, *others = (tables(board, players)[numbering].tolist() for players in PLAYER_COUNTS)
    assert all(other == first for other in others)


# Of the large boards only one action in so many is decoded; all of them in the long tests
STEPS = {"square8": 1, "square19": 19, "hex8": 1, "hexagonal": 23}


def check_inverse(board: str, actions: range) -> None:
    space = action_space(board)
    meanings = [space.decode(action) for action in actions]
    assert [space.encode(meaning) for meaning in meanings] == list(actions)
    assert len(set(meanings)) == len(actions)


@pytest.mark.parametrize("board", BOARD_NAMES)
def test_decoding_and_encoding_are_inverse(board: str) -> None:
    check_inverse(board, range(0, action_space(board).size, STEPS[board]))


@pytest.mark.long
@pytest.mark.parametrize("board", BOARD_NAMES)
def test_decoding_and_encoding_are_inverse_long(board: str) -> None:
    check_inverse(board, range(action_space(board).size))


@pytest.mark.parametrize("board", BOARD_NAMES)
def test_kinds_follow_each_other_and_leave_no_gap(board: str) -> None:
    space = action_space(board)
    firsts = [space.first(kind) for kind, _ in KINDS]
    assert firsts[0] == 0
    assert firsts == sorted(firsts)
    assert all(first % space.cells == 0 for first in firsts)
    for (kind, _), first, end in zip(KINDS, firsts, [*firsts[1:], space.size - 5], strict=True):
        chosen = [first, end - 1, *range(first, end, STEPS[board])]
        assert {space.decode(action).kind for action in chosen} == {kind}
    last = range(space.size - 5, space.size)
    assert tuple(space.decode(action).kind for action in last) == GLOBALS


def test_meanings_have_what_their_kind_needs() -> None:
    space = action_space("square8")
    used = {
        "place": {"cell", "rings"},
        "move": {"cell", "direction", "distance"},
        "capture": {"cell", "direction", "distance"},
        "recover": {"cell", "direction", "slide"},
        "line_all": {"cell", "axis"},
        "line_part": {"cell", "axis"},
        "eliminate": {"cell"},
        "extract": {"cell"},
        "region": {"cell", "border"},
        "forced": {"cell"},
        **{kind: set[str]() for kind in GLOBALS},
    }
    for action in range(space.size):
        meaning = space.decode(action)
        given = {name for name, value in vars(meaning).items() if value is not None} - {"kind"}
        assert given == used[meaning.kind]
        assert meaning.distance is None or 1 <= meaning.distance <= 7
        assert meaning.kind != "capture" or (meaning.distance or 0) >= 2
        assert meaning.border is None or 0 <= meaning.border <= 4


def test_known_numbers() -> None:
    """A cell counts row by row; the plane of a kind by direction first, then by distance."""
    space = action_space("hex8")
    assert space.decode(0) == Action("place", 0, rings=1)
    assert space.decode(2 * 61 + 30) == Action("place", 30, rings=3)
    move = Action("move", 30, direction=1, distance=2)
    assert space.encode(move) == (3 + 8 + 1) * 61 + 30
    start = Position.initial("hex8").play("place 0,0 1")
    assert start.action("move 0,0 0,2") == space.encode(move)
    assert start.move(space.encode(move)) == "move 0,0 0,2"
    assert space.encode(Action("swap")) == space.size - 1


@pytest.mark.parametrize("action", [-1, -(10**9), 125 * 61 + 5, 10**30])
def test_numbers_outside_the_space_are_refused(action: int) -> None:
    with pytest.raises(IndexError, match=str(action)):
        action_space("hex8").decode(action)


@pytest.mark.parametrize(
    "meaning",
    [
        Action("castle"),
        Action("place", 0),
        Action("place", 61, rings=1),
        Action("place", -1, rings=1),
        Action("place", 0, rings=4),
        Action("place", 0, rings=0),
        Action("move", 0, direction=6, distance=1),
        Action("move", 0, direction=0, distance=9),
        Action("move", 0, direction=0, distance=0),
        Action("capture", 0, direction=0, distance=1),
        Action("recover", 0, direction=0, slide="sideways"),
        Action("line_all", 0, axis=3),
        Action("region", 0, border=5),
        Action("swap", 0),
        Action("forced", 0, rings=1),
    ],
)
def test_meanings_without_a_number_are_refused(meaning: Action) -> None:
    with pytest.raises(ValueError, match="no action of hex8"):
        action_space("hex8").encode(meaning)


def test_unknown_board_is_named() -> None:
    with pytest.raises(UsageError, match="'chess'"):
        action_space("chess")


@pytest.mark.parametrize(("board", "players"), CONFIGURATIONS)
def test_legal_actions_say_what_their_texts_say(board: str, players: int) -> None:
    """The cell, and what else the number holds, read from the text without the parser."""
    info, space = BOARDS[board], action_space(board)
    seen: set[str] = set()
    for at, position in enumerate(positions(board, players, 9)):
        if at % 7:
            continue
        for action, text in zip(
            position.legal_actions().tolist(), position.legal_moves(), strict=True
        ):
            meaning, words = space.decode(action), text.split()
            seen.add(meaning.kind)
            if meaning.cell is None:
                assert text == meaning.kind
                continue
            assert "{},{}".format(*info.coordinates(meaning.cell)) in words[1].split(";")
            if meaning.direction is not None:
                column, row = info.cells[meaning.cell]
                dx, dy = info.directions[meaning.direction]
                steps = meaning.distance or 1
                end = info.index[column + steps * dx, row + steps * dy]
                landing = words[2] if meaning.kind == "recover" else words[-1]
                assert landing == "{},{}".format(*info.coordinates(end))
            assert meaning.slide is None or words[-1] == meaning.slide
            assert meaning.rings is None or words[-1] == str(meaning.rings)
    assert {"place", "move"} <= seen


@pytest.mark.parametrize(("board", "players"), CONFIGURATIONS)
def test_mask_and_list_say_the_same(board: str, players: int) -> None:
    for position in positions(board, players, 3, 120):
        mask = position.legal_mask()
        assert mask.shape == (action_space(board).size,)
        assert np.array_equal(np.flatnonzero(mask), position.legal_actions())


def test_list_of_legal_actions_cannot_be_written_to() -> None:
    position = Position.initial("hex8")
    with pytest.raises(ValueError, match="read-only"):
        position.legal_actions()[0] = 7
    position.legal_mask()[:] = False  # a mask is the caller's own
    assert len(position.legal_moves()) == 183
