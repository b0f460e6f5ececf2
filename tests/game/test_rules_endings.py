"""Sharp corners of territory, of forced elimination, and of how a game is won."""

from __future__ import annotations

from typing import Any

import pytest

from ringrift_cli.game.position import Position
from ringrift_cli.game.result import Result
from ringrift_cli.game.topology import BOARDS
from tests.walks import legal, play, set_up


def at(position: Position, name: str) -> str:
    """What stands on the cell "x,y"."""
    x, y = map(int, name.split(","))
    cell = BOARDS[position.board_name].cell(x, y)
    assert cell is not None
    return position.text.cells[cell]


def territory_phase(board: str, players: int, cells: dict[str, str], **more: Any) -> Position:
    return set_up(board, players, cells, phase="territory_processing", **more)


# ---- territory ----------------------------------------------------------------------------------

CORNER = {"1,0 0,1": "m1", "7,7": "s11", "7,0": "s2"}  # 0,0 of a square board is cut off


def test_region_its_rings_and_its_border_go_to_the_taker_who_pays_a_cap() -> None:
    board = {**CORNER, "0,0": "s212", "7,7": "s211", "5,5": "s1"}
    position = territory_phase("square8", 2, board)
    owing = position.play("region 0,0")
    assert owing.eliminated == (3, 0)
    assert [at(owing, name) for name in ("0,0", "1,0", "0,1")] == ["c1"] * 3
    assert legal(owing) == ["eliminate 5,5", "eliminate 7,7"]
    paid = owing.play("eliminate 7,7")
    assert (at(paid, "7,7"), paid.eliminated, paid.seat) == ("s2", (5, 0), 2)


def test_border_grows_over_diagonal_steps_on_three_boards_but_not_on_hexagonal() -> None:
    """The marker one step in x and y from the border falls, the one beyond a gap does not."""
    more = {"2,1": "m2", "3,2": "m1", "5,2": "m1"}
    for board in ("square8", "square19"):
        after = territory_phase(board, 2, {**CORNER, **more}).play("region 0,0")
        found = [at(after, name) for name in ("2,1", "3,2", "5,2")]
        assert found == ["c1", "c1", "m1"]
    corner = {"-4,0": "s2", "-4,1 -3,0 -3,-1": "m1", "4,0": "s1", "0,4": "s2"}
    after = territory_phase("hex8", 2, {**corner, "-2,1": "m2"}).play("region -4,0")
    assert [at(after, name) for name in ("-4,1", "-3,0", "-3,-1", "-2,1")] == ["c1"] * 4
    corner = {"-12,0": "s2", "-12,1 -11,0 -11,-1": "m1", "4,0": "s1", "0,4": "s2"}
    far = {"-10,1": "m2", "-11,1": "m1"}
    after = territory_phase("hexagonal", 2, {**corner, **far}).play("region -12,0")
    assert [at(after, name) for name in ("-11,0", "-10,1", "-11,1")] == ["c1", "m2", "m1"]


def test_border_never_grows_into_the_region() -> None:
    """0,0 and 1,1 touch only over a corner; 1,1 is region, its marker no border."""
    board = {"2,0 2,1 2,2 1,2 0,2": "m1", "1,1": "m2", "7,7": "s1", "7,0": "s2"}
    position = territory_phase("square8", 2, board)
    assert "region 0,0;1,0;0,1;1,1" in position.legal_moves()
    assert play(position, "region 0,0;1,0;0,1;1,1").territory == (9, 0)


def test_taking_a_region_takes_a_stack_outside() -> None:
    board = {"1,0 0,1": "m1", "0,0": "s11", "7,0": "s2"}
    outside = territory_phase("square8", 2, {**board, "7,7": "s1"})
    assert "region 0,0" in outside.legal_moves()
    inside = territory_phase("square8", 2, board)
    assert "region 0,0" not in inside.legal_moves()
    assert [region.count(";") + 1 for region in legal(inside, "region")] == [64 - 3]


def test_region_holds_fewer_players_than_own_rings_in_stacks() -> None:
    """Player 3 has nothing but a buried ring, and that counts."""
    pocket = {"2,0 2,1 2,2 1,2 0,2": "m1", "0,0": "s1", "1,1": "s2", "6,7": "s1"}
    two = territory_phase("square8", 3, {**pocket, "7,7": "s2"})
    assert two.seat != 1 or "region 0,0;1,0;0,1;1,1" not in two.legal_moves()
    three = territory_phase("square8", 3, {**pocket, "7,7": "s32"})
    assert "region 0,0;1,0;0,1;1,1" in three.legal_moves()


def test_collapsed_cells_alone_enclose_a_region_only_around_exactly_one_player() -> None:
    """A pocket without stacks is a region as soon as anyone has a marker anywhere."""
    walls = {"1,0 0,1": "c2", "7,7": "s1", "7,0": "s2"}
    assert territory_phase("square8", 2, walls).seat == 2
    assert territory_phase("square8", 2, {**walls, "0,0": "s2"}).legal_moves() == [
        "region 0,0",
        "skip_territory",
    ]
    assert "region 0,0" in territory_phase("square8", 2, {**walls, "4,4": "m2"}).legal_moves()


def test_region_that_several_borders_cut_off_is_offered_once() -> None:
    board = {"1,0 0,1": "c2", "0,0": "s2", "4,4": "m1", "5,2": "m2", "7,7": "s1", "7,0": "s2"}
    position = territory_phase("square8", 2, board)
    assert position.legal_moves() == ["region 0,0", "skip_territory"]


def test_two_regions_with_the_same_lowest_cell_are_two_actions() -> None:
    walls = {" ".join(f"2,{y}" for y in range(8)): "m1", " ".join(f"5,{y}" for y in range(8)): "m2"}
    position = territory_phase("square8", 2, {**walls, "7,7": "s2", "7,0": "s1"})
    regions = legal(position, "region")
    assert [region.count(";") + 1 for region in regions] == [16, 40]
    assert len({position.action(region) for region in regions}) == 2
    smaller, larger = (position.play(region) for region in regions)
    assert smaller.territory == (24, 0)
    assert larger.territory == (48, 0)


def test_hex_regions_are_connected_in_six_directions() -> None:
    """Two markers that touch only over a corner of their hexagons leave a gap."""
    rest = {"4,0": "s1", "0,4": "s2"}
    closed = {"-4,2 -3,1 -2,0 -1,-1 0,-2 1,-3 2,-4": "m1"}
    assert legal(territory_phase("hex8", 2, {**closed, **rest}), "region")
    open_row = {"-4,2 -3,1 -2,0 -1,-1 0,-2 1,-3": "m1"}
    assert territory_phase("hex8", 2, {**open_row, **rest}).seat == 2


def test_regions_are_found_anew_after_each() -> None:
    board = {**CORNER, "6,0 7,1": "m1", "7,0": "s2", "0,5": "s2"}
    position = territory_phase("square8", 2, board)
    assert len(legal(position, "region")) == 2
    after = play(position, "region 0,0", "eliminate 7,7")
    assert (after.seat, at(after, "7,0")) == (2, "s2")  # no stack is left to take more
    richer = play(territory_phase("square8", 2, {**board, "4,4": "s1"}), "region 0,0")
    again = richer.play("eliminate 7,7")
    assert again.legal_moves() == ["region 7,0", "skip_territory"]
    assert again.play("skip_territory").seat == 2


def test_after_a_recovery_regions_ask_for_a_buried_ring_outside() -> None:
    """Player 1 controls nothing; a buried ring pays, unless it lies in the region."""
    walls = {"1,0 0,1": "m1", "0,0": "s2", "7,0": "s22", "4,4": "m1"}
    slides = ("recover 4,4 4,5 fallback", "extract 7,7")
    start = set_up("square8", 2, {**walls, "7,7": "s12122"}, hands=(0, 5))
    outside = play(start, *slides)
    assert legal(outside) == ["region 0,0", "skip_territory"]
    owing = outside.play("region 0,0")
    assert legal(owing) == ["extract 7,7"]
    assert at(owing.play("extract 7,7"), "7,7") == "s222"
    board = {**walls, "7,7": "s122", "0,0": "s12"}
    inside = play(set_up("square8", 2, board, hands=(0, 5)), *slides)
    assert "region 0,0" not in inside.legal_moves()
    assert inside.phase == "territory_processing"  # all the rest is a region too


def test_ring_under_the_cap_of_its_own_colour_is_not_buried() -> None:
    walls = {"1,0 0,1": "m1", "0,0": "s2", "7,0": "s12", "7,7": "s11", "5,5": "s121"}
    position = territory_phase("square8", 2, walls, recovered=True)
    assert legal(position.play("region 0,0")) == ["extract 5,5", "extract 7,0"]


# ---- forced elimination -------------------------------------------------------------------------

STUCK = {"0,0": "s" + "1" * 8, "7,7": "s" + "2" * 6 + "11"}  # eight high: no room to go eight


def test_forced_elimination_takes_the_cap_of_a_stack_of_ones_choice() -> None:
    position = set_up("square8", 2, {**STUCK, "3,3": "s2"}, hands=(0, 4))
    assert position.phase == "forced_elimination"
    assert legal(position) == ["forced 0,0", "forced 7,7"]
    after = position.play("forced 7,7")
    assert (at(after, "7,7"), after.seat) == ("s222222", 2)
    assert sum(after.eliminated) == sum(position.eliminated) + 2


def test_nothing_is_forced_after_a_region() -> None:
    board = {**STUCK, "6,0 7,1": "m2", "7,0": "s2", "3,3": "s2"}
    position = set_up("square8", 2, board, hands=(0, 4))
    assert legal(position) == ["region 7,0", "skip_territory"]
    assert position.play("skip_territory").phase == "forced_elimination"
    after = play(position, "region 7,0", "eliminate 7,7")
    assert after.seat == 2


def test_a_line_spares_nobody_a_forced_elimination() -> None:
    board = {**STUCK, "3,3": "s2", "1,5 2,5 3,5 4,5 5,5": "m1"}
    position = set_up("square8", 2, board, hands=(0, 4))
    assert position.phase == "line_processing"
    run = "1,5;2,5;3,5;4,5;5,5"
    for moves in ([f"line {run} 1,5;2,5;3,5;4,5"], [f"line {run} all", "eliminate 0,0"]):
        after = play(position, *moves)
        assert legal(after) == ["forced 0,0", "forced 7,7"]
        assert after.play("forced 7,7").seat == 2


# ---- the end of a turn --------------------------------------------------------------------------


def test_players_without_any_ring_are_passed_over() -> None:
    board = {"0,0": "s1", "7,7": "s3"}
    position = set_up("square8", 3, board, phase="movement", hands=(4, 0, 4))
    assert position.play("move 0,0 0,1").seat == 3


def test_player_with_nothing_to_decide_is_passed_through() -> None:
    """Player 2 has but a buried ring and no marker."""
    board = {"0,0": "s21", "7,7": "s1"}
    position = set_up("square8", 2, board, phase="movement", hands=(4, 0), eliminated=(14, 15))
    after = position.play("move 7,7 7,6")
    assert (after.seat, after.turn) == (1, position.turn + 2)


# ---- thresholds ---------------------------------------------------------------------------------


def test_eliminated_rings_do_not_end_the_game_in_mid_turn() -> None:
    board = {"0,0": "s11", "2,0": "m2", "4,0": "s2"}
    position = set_up(
        "square8", 2, board, phase="movement", hands=(0, 0), eliminated=(17, 16)
    ).play("move 0,0 2,0")
    assert position.eliminated[0] == 18
    assert (position.is_over, position.phase) == (False, "capture")
    end = position.play("skip_capture")
    assert end.result() == Result(1, "ring_elimination", (1, 2))


def test_territory_does_not_end_the_game_in_mid_turn() -> None:
    """The line gives the 33rd cell; its price and the rest of the turn come first."""
    land = " ".join(f"{x},{y}" for y in range(4) for x in range(8) if y > 0 or x > 2)
    board = {land: "c1", "0,7 1,7 2,7 3,7": "m1", "7,7": "s1", "7,5": "s2"}
    position = set_up("square8", 2, board, phase="line_processing")
    assert position.territory == (29, 0)
    owing = position.play("line 0,7;1,7;2,7;3,7 all")
    assert (owing.territory, owing.is_over) == ((33, 0), False)
    result = owing.play("eliminate 7,7").result()
    assert result == Result(1, "territory_control", (1, 2))


@pytest.mark.parametrize(
    ("mine", "others", "wins"),
    [(22, (0, 0), True), (22, (11, 10), True), (22, (11, 11), False), (21, (0, 0), False)],
)
def test_territory_of_three_players(mine: int, others: tuple[int, int], wins: bool) -> None:
    """A third of the board and one cell, and more than all others together: not half of it."""
    free = [f"{x},{y}" for y in range(2, 8) for x in range(8)]
    owned = {" ".join(free[: mine - 1]): "c1"}
    for seat, count in enumerate(others, 2):
        start = sum(others[: seat - 2]) + mine - 1
        if count:
            owned[" ".join(free[start : start + count])] = f"c{seat}"
    board = {**owned, "0,0": "s1", "1,0": "m1", "7,0": "s22", "7,1": "s33"}
    end = set_up("square8", 3, board, phase="movement").play("move 0,0 3,0")
    while "skip_territory" in end.legal_moves():
        end = end.play("skip_territory")
    assert end.territory == (mine, *others)
    assert end.is_over == wins
    if wins:
        result = end.result()
        assert result is not None
        assert (result.winner, result.reason) == (1, "territory_control")


def test_elimination_goes_before_territory() -> None:
    land = " ".join(f"{x},{y}" for y in range(2, 6) for x in range(8))
    board = {land: "c1", "0,0": "s1", "1,0": "m1", "2,0": "m2", "7,0": "s2"}
    position = set_up("square8", 2, board, phase="movement", hands=(5, 5), eliminated=(17, 7))
    end = position.play("move 0,0 2,0")
    assert end.territory == (33, 0)
    assert end.result() == Result(1, "ring_elimination", (1, 2))


@pytest.mark.parametrize(
    ("board", "players", "rings"),
    [
        *[("square8", 2, 18), ("hex8", 3, 24), ("square8", 4, 30)],
        *[("square19", 2, 72), ("square19", 3, 96), ("square19", 4, 120)],
        *[("hexagonal", 2, 96), ("hexagonal", 3, 128), ("hexagonal", 4, 160)],
    ],
)
def test_rings_that_win(board: str, players: int, rings: int) -> None:
    for eliminated, wins in ((rings - 1, True), (rings - 2, False)):
        others = BOARDS[board].rings * players - eliminated - 3
        hands = [4] + [0] * (players - 1)
        for p in range(1, players):
            hands[p] = min(others - 4, BOARDS[board].rings - 1)
            others -= hands[p]
        spare = BOARDS[board].rings * players - 3 - sum(hands) - eliminated
        position = set_up(
            board,
            players,
            {"0,0": "s1", "1,0": "m2", "0,3": "s2", "3,0": "s1"},
            phase="movement",
            hands=tuple(hands),
            eliminated=(eliminated, spare, *([0] * (players - 2))),
        )
        end = position.play("move 0,0 1,0")
        assert (end.eliminated[0], end.is_over) == (eliminated + 1, wins)


# ---- last player standing -----------------------------------------------------------------------


def test_last_player_standing_at_once_when_no_one_else_has_a_ring() -> None:
    board = {"0,0": "s1", "2,0": "s2"}
    position = set_up("square8", 2, board, phase="movement", hands=(4, 0), eliminated=(14, 16))
    assert not position.play("capture 0,0 2,0 4,0").is_over  # the ring lives on, buried
    board = {"1,0 0,1": "m1", "0,0": "s2", "7,7": "s1", "7,6": "s1"}
    region = territory_phase("square8", 2, board, hands=(4, 0), eliminated=(14, 15))
    end = play(region, "region 0,0", "eliminate 7,7")
    assert end.result() == Result(1, "last_player_standing", (1, 2))
    with_hand = territory_phase("square8", 2, board, hands=(4, 1), eliminated=(14, 14))
    assert not play(with_hand, "region 0,0", "eliminate 7,7").is_over


def rounds(position: Position, *turns: str) -> list[tuple[int, int | None, bool]]:
    """Streak, its holder and whether the game is over, after each turn."""
    found = []
    for moves in turns:
        position = play(position, *moves.split(", "))
        document = position.to_json()
        found.append((document["streak"], document["streak_holder"], position.is_over))
    return found


GHOST = {"0,0": "s21", "7,7": "s1"}  # player 2 is alive by a buried ring, but cannot act
IDLE: dict[str, Any] = {"phase": "ring_placement", "hands": (4, 0), "eliminated": (14, 15)}


def test_last_player_standing_after_three_rounds() -> None:
    position = set_up("square8", 2, GHOST, **IDLE)
    turns = [f"skip_placement, move 7,{y} 7,{y - 1}" for y in (7, 6, 5)]
    assert rounds(position, *turns) == [(1, 1, False), (2, 1, False), (3, 1, True)]
    end = play(position, *", ".join(turns).split(", "))
    assert end.result() == Result(1, "last_player_standing", (1, 2))


def test_recovery_is_no_real_action() -> None:
    """Player 2 may recover in each of the three rounds, and did once."""
    position = set_up("square8", 2, {**GHOST, "4,4": "m2"}, **IDLE)
    turns = [
        f"skip_placement, move 7,{y} 7,{y - 1}, {answer}"
        for y, answer in ((7, "skip_recovery"), (6, "skip_recovery"), (5, "skip_recovery"))
    ]
    assert rounds(position, *turns) == [(1, 1, False), (2, 1, False), (3, 1, True)]


def test_ring_that_can_be_placed_is_a_real_action() -> None:
    position = set_up("square8", 2, GHOST, hands=(4, 2), eliminated=(14, 13))
    first = play(position, "skip_placement", "move 7,7 7,6")
    assert first.seat == 2
    after = play(first, "place 3,3 1", "move 3,3 3,4")
    assert (after.to_json()["streak"], after.to_json()["streak_holder"]) == (0, None)


def test_streak_waits_for_a_rival_that_can_act_again() -> None:
    """Three rounds are won, but the strike of player 2 gave it a stack that can move."""
    board = {"0,0": "s21", "7,7": "s1", "3,3": "s21", "3,4": "m2"}
    state: dict[str, Any] = {
        "round_first": 1,
        "round_seen": [1],
        "round_active": [1],
        "mobile": False,
    }
    position = set_up(
        "square8",
        2,
        board,
        seat=2,
        phase="movement",
        hands=(4, 0),
        eliminated=(12, 15),
        **state,
        streak=2,
        streak_holder=1,
    )
    idle = position.play("skip_recovery")
    assert idle.is_over
    struck = play(position, "recover 3,4 3,3 strike", "extract 0,0")
    assert at(struck, "3,3") == "s2"
    assert (struck.is_over, struck.seat, struck.to_json()["streak"]) == (False, 1, 3)


def test_round_begins_anew_when_its_first_seat_is_gone() -> None:
    """Player 2 takes the last ring of player 1, who began the round and held the streak."""
    board = {"1,0 0,1": "m2", "0,0": "s1", "7,7": "s22", "7,6": "s2", "5,5": "s3"}
    state: dict[str, Any] = {"round_first": 1, "round_seen": [1, 2], "round_active": [1]}
    position = set_up(
        "square8",
        3,
        board,
        seat=2,
        phase="territory_processing",
        hands=(0, 3, 3),
        **state,
        streak=2,
        streak_holder=1,
    )
    document = play(position, "region 0,0", "eliminate 7,7").to_json()
    assert (document["seat"], document["round_first"]) == (3, 3)
    assert (document["round_seen"], document["round_active"]) == ([3], [3])
    assert (document["streak"], document["streak_holder"]) == (0, None)
    assert document["out_on_turn"] == [1, 0, 0]
