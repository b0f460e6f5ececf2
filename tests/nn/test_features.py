"""Features against plain Python, and whether they tell apart what the rules tell apart."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from ringrift_cli.game import layout as L
from ringrift_cli.game.position import Position
from ringrift_cli.game.topology import BOARDS, IntArray, tables
from ringrift_cli.nn import features
from tests.nn import reference_encoder
from tests.walks import CONFIGURATIONS, SMALL, positions, saved, set_up


def encode(*shown: Position) -> tuple[features.ByteArray, features.SingleArray]:
    T = tables(shown[0].board_name, shown[0].players)
    return features.encode_all(T, np.stack([position.row for position in shown]))


@pytest.mark.parametrize(("board", "players"), CONFIGURATIONS)
def test_features_agree_with_plain_python(board: str, players: int) -> None:
    plies, every = (None, 3) if (board, players) in SMALL else (300, 40)
    shown = [
        position
        for seed in range(3 if plies is None else 1)
        for position in positions(board, players, seed, plies)
        if position.ply % every == 0
    ]
    planes, scalars = encode(*shown)
    width = BOARDS[board].width
    assert planes.shape == (len(shown), width, width, features.plane_count(players))
    assert scalars.shape == (len(shown), features.global_count(players))
    assert str(planes.dtype) == "uint8"
    assert str(scalars.dtype) == "float32"
    for position, picture, numbers in zip(shown, planes, scalars, strict=True):
        assert np.array_equal(picture, reference_encoder.planes(position)), str(position)
        expected = reference_encoder.scalars(position)
        assert np.allclose(numbers, expected, rtol=1e-6), str(position)


def test_drawn_positions_show_every_feature() -> None:
    """What never occurs is not tested above."""
    seen_planes, seen_scalars = np.zeros(33, bool), np.zeros(49, bool)
    for seed in range(24):
        shown = list(positions("hex8", 2, seed))
        planes, scalars = encode(*shown)
        seen_planes |= planes.any(axis=(0, 1, 2))
        seen_scalars |= scalars.any(axis=0)
    assert seen_planes.all()
    shared = 2 * features.SEAT_SCALARS
    rare = {features.PIE_STATE + L.PIE_SWAPPED, features.OWED + L.BURIED_EXTRACTION}
    assert {i - shared for i in np.flatnonzero(~seen_scalars).tolist()} <= rare


# ---- the mover's view ---------------------------------------------------------------------------


@pytest.mark.parametrize("players", [2, 3, 4])
def test_seats_are_seen_from_the_mover(players: int) -> None:
    """The same position with everybody one seat on looks the same but for the absolute seat."""

    def shifted(by: int) -> Position:
        seat = [str((p + by) % players + 1) for p in range(players)]
        cells = {
            "0,0": "s" + seat[0] + seat[1] + seat[0],
            "1,0 1,1": "m" + seat[0],
            "2,0": "m" + seat[1],
            "3,0 3,-1": "c" + seat[-1],
            "-1,0": "s" + seat[-1],
        }
        hands = np.roll([10, 11, 12, 13][:players], by)
        lost = np.roll([1, 2, 0, 3][:players], by)
        total = 18 * players - 4 - int(hands.sum())
        lost[by % players] += total - int(lost.sum())
        return set_up(
            "hex8",
            players,
            cells,
            seat=1 + by % players,
            hands=tuple(hands.tolist()),
            eliminated=tuple(lost.tolist()),
        )

    planes, scalars = encode(*(shifted(by) for by in range(players)))
    assert (planes == planes[0]).all()
    assert (scalars[:, :-players] == scalars[0, :-players]).all()
    assert (scalars[:, -players:] == np.eye(players)).all()


# ---- what differs by the rules looks different --------------------------------------------------


def same_picture(row: IntArray, other: IntArray, players: int) -> bool:
    planes, scalars = features.encode_all(tables("hex8", players), np.stack([row, other]))
    return bool((planes[0] == planes[1]).all() and (scalars[0] == scalars[1]).all())


HEADER = {
    "phase": (L.PHASE, L.MOVEMENT),
    "seat": (L.SEAT, 1),
    "focus": (L.FOCUS, 7),
    "pending": (L.PENDING, L.EXTRACTION),
    "changed": (L.CHANGED, 1),
    "recovered": (L.RECOVERED, 1),
    "pie rule": (L.PIE, L.PIE_ON),
    "first of the round": (L.FIRST, 1),
    "seen": (L.SEEN, 3),
    "active": (L.ACTIVE, 2),
    "holder": (L.HOLDER, 1),
    "last actor": (L.LAST_ACTOR, 1),
    "mobile": (L.MOBILE, 1),
    "hand": (L.HAND + 1, 17),
    "eliminated": (L.ELIMINATED + 1, 3),
}


@pytest.mark.parametrize("players", [2, 3, 4])
@pytest.mark.parametrize("name", HEADER)
def test_each_number_that_the_rules_depend_on_is_seen(name: str, players: int) -> None:
    row = Position.initial("hex8", players).row
    at, value = HEADER[name]
    other = row.copy()
    other[at] = value
    assert not same_picture(row, other, players)


def test_lengths_of_the_streak_are_seen_up_to_the_three_that_win() -> None:
    row = Position.initial("hex8", 3).row.copy()
    row[L.HOLDER] = 2
    rows = []
    for streak in range(1, 6):
        rows.append(row.copy())
        rows[-1][L.STREAK] = streak
    different = [not same_picture(a, b, 3) for a, b in itertools.pairwise(rows)]
    assert different == [True, True, False, False]


def test_the_swap_is_seen_while_it_may_come() -> None:
    row = Position.initial("hex8", 2, pie_rule=True).row.copy()
    shared = 2 * features.SEAT_SCALARS
    found = []
    for turn in (1, 2, 3):
        row[L.TURN] = turn
        _, scalars = features.encode_all(tables("hex8", 2), row[None])
        found.append(float(scalars[0, shared + features.SWAP_OPEN]))
    assert found == [1, 1, 0]


def test_order_of_the_six_upper_rings_and_the_owner_of_the_lowest_are_seen() -> None:
    stacks = ["111222112", "111222121", "111221212", "112221112", "112122112", "211221211"]
    shown = [set_up("hex8", 2, {"0,0": "s" + stack, "4,0": "s1"}) for stack in stacks]
    planes, _ = encode(*shown)
    for i in range(len(stacks)):
        for j in range(i):
            assert (planes[i] != planes[j]).any(), (stacks[i], stacks[j])


def test_order_of_deeper_rings_is_not_seen() -> None:
    """As the docstring says: but for the lowest, only how many there are of each colour."""
    shown = [set_up("hex8", 2, {"0,0": "s" + low + "222111"}) for low in ("1121", "1211")]
    planes, scalars = encode(*shown)
    assert (planes[0] == planes[1]).all()
    assert (scalars[0] == scalars[1]).all()


def test_counts_stop_at_255() -> None:
    document = saved(set_up("hexagonal", 4, {"0,0": "s1", "5,0": "s2"}))
    tall = "s" + "1" * 90 + "2" * 90 + "3" * 90 + "4"
    document["cells"] = document["cells"].replace("s1", tall, 1)
    document |= {"hands": [6, 5, 6, 95], "eliminated": [0, 0, 0, 0], "mobile": False}
    position = Position.from_json(json.loads(json.dumps(document)))
    planes, _ = encode(position)
    shared = 4 * features.SEAT_PLANES
    cell = planes[0, 12, 12]
    assert cell[shared + features.HEIGHT_COUNT] == 255
    assert [cell[10 * r + features.COUNT] for r in range(4)] == [90, 90, 90, 1]
    assert np.array_equal(planes[0], reference_encoder.planes(position))


def test_padding_is_empty_and_changes_nothing() -> None:
    T = tables("hex8", 2)
    rows = np.stack([position.row for position in positions("hex8", 2, 3, 4)])
    planes, scalars = features.encode_padded(T, rows, 8, 1)
    expected = features.encode_all(T, rows)
    assert np.array_equal(planes[: len(rows)], expected[0])
    assert np.array_equal(scalars[: len(rows)], expected[1])
    assert not planes[len(rows) :].any()
    assert not scalars[len(rows) :].any()


def test_scales_bring_counts_near_one_and_leave_bits() -> None:
    for players in (2, 3, 4):
        scales = features.plane_scales(players)
        shared = 10 * players
        counts = [10 * r + 9 for r in range(players)] + [shared + 6, shared + 11]
        assert scales.shape == (features.plane_count(players),)
        assert (scales[counts] == 0.125).all()
        assert (np.delete(scales, counts) == 1).all()
