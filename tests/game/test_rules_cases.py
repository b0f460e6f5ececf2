"""Sharp corners of a turn, each in a position made for it: placing, travelling, recovering, lines.

`tests/game/test_rules_endings.py` has territory and everything after it.
"""

from __future__ import annotations

import pytest

from ringrift_cli.game.position import Position
from ringrift_cli.game.topology import BOARDS
from tests.walks import legal, play, set_up


def cells(position: Position) -> dict[str, str]:
    """What stands on the board, by "x,y"."""
    board = BOARDS[position.board_name]
    named = zip(map(board.coordinates, range(len(board.cells))), position.text.cells, strict=True)
    return {f"{x},{y}": text for (x, y), text in named if text}


def stack_of(*runs: tuple[str, int]) -> str:
    """A stack from bottom to top, as ("1", 3), ("2", 1)."""
    return "s" + "".join(owner * count for owner, count in runs)


# ---- placement ----------------------------------------------------------------------------------


def test_dead_placements_of_two_and_three_rings_are_not_offered() -> None:
    pocket = set_up("square8", 2, {"0,1 1,1 2,0": "c2"})
    assert [m for m in legal(pocket, "place") if " 0,0 " in m] == ["place 0,0 1"]


def test_three_rings_are_offered_where_one_and_two_would_be_dead() -> None:
    """Only a cap of 3 can capture the neighbour, and lands three cells away."""
    pocket = set_up("square8", 2, {"0,1 1,1": "c2", "1,0": "s222"})
    assert [m for m in legal(pocket, "place") if " 0,0 " in m] == ["place 0,0 3"]
    after = pocket.play("place 0,0 3")
    assert legal(after)[0] == "capture 0,0 1,0 3,0"


def test_placement_of_three_at_the_far_end_of_its_reach() -> None:
    """Three steps to the target, four to the landing: the longest look a placement takes."""
    row = {"0,1 1,1": "c2", "3,0": "s222", "5,0": "c1"}
    assert "place 0,0 3" in set_up("square8", 2, row).legal_moves()
    blocked = {**row, "4,0": "c1"}
    assert [m for m in legal(set_up("square8", 2, blocked)) if " 0,0 " in m] == [
        "place 0,0 1",
        "place 0,0 2",
    ]


def test_on_a_stack_of_anyone_exactly_one_ring_and_never_on_markers_or_territory() -> None:
    position = set_up("square8", 2, {"3,3": "s22", "4,4": "m1", "5,5": "c1", "6,6": "m2"})
    taken = [m for m in legal(position, "place") if m.split()[1] in ("3,3", "4,4", "5,5", "6,6")]
    assert taken == ["place 3,3 1"]
    after = position.play("place 3,3 1")
    assert cells(after)["3,3"] == "s221"
    assert {m.split()[1] for m in after.legal_moves()} == {"3,3"}


def test_placement_on_a_stack_that_would_be_too_tall_to_leave_is_dead() -> None:
    tall = {"3,3": stack_of(("2", 4)), "0,7": stack_of(("2", 3))}
    assert "place 3,3 1" not in set_up("square8", 2, tall).legal_moves()
    lower = {"3,3": stack_of(("2", 3)), "0,7": stack_of(("2", 3))}
    assert "place 3,3 1" in set_up("square8", 2, lower).legal_moves()


def test_hand_limits_how_many_rings_are_placed() -> None:
    one = set_up("hex8", 2, {}, hands=(1, 18))
    two = set_up("hex8", 2, {}, hands=(2, 18))
    assert {m[-1] for m in legal(one, "place")} == {"1"}
    assert {m[-1] for m in legal(two, "place")} == {"1", "2"}


def test_placed_stack_alone_must_move() -> None:
    position = play(set_up("hex8", 2, {"-4,0": "s1", "4,0": "s2"}), "place 0,0 2")
    assert {m.split()[1] for m in position.legal_moves()} == {"0,0"}
    assert position.phase == "movement"


def test_skipping_a_placement_takes_a_stack_that_can_move() -> None:
    assert legal(set_up("square8", 2, {}), "skip_placement") == []
    assert legal(set_up("square8", 2, {"0,0": "s1"}), "skip_placement") == ["skip_placement"]
    stuck = set_up("square8", 2, {"0,0": stack_of(("1", 8))})
    assert legal(stuck, "skip_placement") == []
    assert legal(stuck, "place")


def test_without_rings_in_hand_the_turn_begins_with_the_movement() -> None:
    position = set_up("square8", 2, {"0,0": "s1", "5,4": "s2"}, hands=(0, 4))
    assert position.phase == "movement"
    assert {m.split()[0] for m in position.legal_moves()} == {"move"}


# ---- moving -------------------------------------------------------------------------------------


def test_stack_travels_at_least_its_height() -> None:
    position = set_up("square8", 2, {"0,0": "s221"}, phase="movement")
    ends = {m.split()[2] for m in position.legal_moves()}
    assert ends == {f"{x},{y}" for d in range(3, 8) for x, y in ((d, 0), (0, d), (d, d))}


def test_markers_do_not_block_but_stacks_and_territory_do() -> None:
    ahead = {"1,0": "m2", "2,0": "m1", "4,0": "c1", "0,2": "s222", "0,1": "m1"}
    position = set_up("square8", 2, {"0,0": "s1", **ahead}, phase="movement")
    moves = legal(position, "move")
    assert [m for m in moves if m.endswith(",0")] == [f"move 0,0 {x},0" for x in (1, 2, 3)]
    assert [m for m in moves if " 0,0 0," in m] == ["move 0,0 0,1"]


def test_hex_boards_have_six_directions() -> None:
    position = set_up("hex8", 2, {"0,0": "s1"}, phase="movement")
    ends = {m.split()[2] for m in position.legal_moves()}
    assert len(ends) == 6 * 4
    assert not ends & {"1,1", "-1,-1", "2,2", "2,-1", "1,-2"}


def test_travelling_marks_flips_and_collapses() -> None:
    row = {"0,0": "s1", "1,0": "m1", "2,0": "m2", "3,0": "m1", "5,0": "m2"}
    after = play(set_up("square8", 2, row, phase="movement"), "move 0,0 4,0")
    assert cells(after) == {
        "0,0": "m1",
        "1,0": "c1",
        "2,0": "m1",
        "3,0": "c1",
        "4,0": "s1",
        "5,0": "m2",
    }
    assert after.eliminated == (0, 0)


@pytest.mark.parametrize("marker", ["m1", "m2"])
def test_landing_on_anyones_marker_eliminates_the_top_ring(marker: str) -> None:
    board = {"0,0": "s121", "4,0": marker, "7,7": "s2"}
    after = play(set_up("square8", 2, board, phase="movement"), "move 0,0 4,0")
    assert cells(after) == {"0,0": "m1", "4,0": "s12", "7,7": "s2"}
    assert after.eliminated == (1, 0)


def test_stack_of_one_vanishes_on_a_marker() -> None:
    board = {"0,0": "s1", "1,0": "m1", "7,7": "s2"}
    after = play(set_up("square8", 2, board, phase="movement"), "move 0,0 1,0")
    assert cells(after) == {"0,0": "m1", "7,7": "s2"}
    assert (after.eliminated, after.seat) == ((1, 0), 2)


def test_stack_that_changed_hands_on_landing_captures_no_more() -> None:
    board = {"0,0": "s21", "2,0": "m2", "3,0": "s1", "7,7": "s1"}
    after = play(set_up("square8", 2, board, phase="movement"), "move 0,0 2,0")
    assert cells(after)["2,0"] == "s2"
    assert (after.seat, after.phase) == (2, "ring_placement")


def test_stack_height_has_no_limit() -> None:
    tall = stack_of(("2", 5), ("1", 7))
    position = set_up("square19", 2, {"0,0": tall})
    ends = {m.split()[2] for m in legal(position.play("skip_placement"), "move")}
    assert ends == {f"{x},{y}" for d in range(12, 19) for x, y in ((d, 0), (0, d), (d, d))}
    after = play(position, "place 0,0 1", "move 0,0 13,0")
    assert cells(after)["13,0"] == tall + "1"


def test_all_rings_of_a_colour_may_stand_in_one_stack() -> None:
    """A cap of 96: it takes more bits than the heights of common games."""
    position = set_up("hexagonal", 2, {"0,0": stack_of(("1", 96)), "5,5": "s2"}, hands=(0, 95))
    assert position.legal_moves() == ["forced 0,0"]
    result = position.play("forced 0,0").result()
    assert result is not None
    assert (result.winner, result.reason) == (1, "ring_elimination")


def test_all_rings_of_the_game_may_stand_in_one_stack() -> None:
    rings = "1234" * 96
    position = set_up("hexagonal", 4, {"0,0": "s" + rings}, seat=4, hands=(0, 0, 0, 0))
    assert position.legal_moves() == ["forced 0,0"]
    after = position.play("forced 0,0")
    assert cells(after)["0,0"] == "s" + rings[:-1]
    assert Position.from_json(after.to_json()) == after
    assert (after.seat, after.legal_moves()) == (3, ["forced 0,0"])


# ---- capturing ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attacker", "target", "allowed"),
    [("s1", "s2", True), ("s1", "s22", False), ("s11", "s22", True), ("s21", "s122", False)],
)
def test_capture_takes_a_cap_as_large_as_the_targets(
    attacker: str, target: str, allowed: bool
) -> None:
    position = set_up("square8", 2, {"0,0": attacker, "3,0": target}, phase="movement")
    assert bool(legal(position, "capture")) == allowed


def test_capture_may_take_from_an_own_stack() -> None:
    position = set_up("square8", 2, {"0,0": "s1", "1,0": "s1"}, phase="movement")
    after = position.play("capture 0,0 1,0 3,0")
    assert cells(after) == {"0,0": "m1", "3,0": "s11"}
    moved = play(after, "place 7,7 1", "move 7,7 7,6", "skip_placement")
    assert {m.split()[1] for m in legal(moved, "move")} == {"3,0"}
    assert "move 3,0 4,0" not in moved.legal_moves()


def test_captured_ring_goes_to_the_bottom_and_the_rest_stays() -> None:
    board = {"0,0": "s21", "3,0": "s112", "2,0": "m2", "4,0": "m1"}
    after = play(set_up("square8", 2, board, phase="movement"), "capture 0,0 3,0 5,0")
    assert cells(after)["5,0"] == "s221"
    assert cells(after)["3,0"] == "s11"
    assert cells(after)["2,0"] == "m1"
    assert cells(after)["4,0"] == "c1"


def test_capture_lands_at_least_its_height_away() -> None:
    position = set_up("square8", 2, {"0,0": "s2221", "1,0": "s2"}, phase="movement")
    assert legal(position, "capture") == [f"capture 0,0 1,0 {x},0" for x in (4, 5, 6, 7)]


def test_capture_lands_before_the_next_stack_or_territory() -> None:
    board = {"0,0": "s1", "1,0": "s2", "4,0": "s2", "0,1": "s2", "0,3": "c2", "2,2": "c1"}
    position = set_up("square8", 2, board, phase="movement")
    assert legal(position, "capture") == [
        "capture 0,0 0,1 0,2",
        "capture 0,0 1,0 2,0",
        "capture 0,0 1,0 3,0",
    ]


def test_capture_after_a_move_is_for_the_moved_stack_and_may_be_declined() -> None:
    board = {"0,0": "s1", "4,0": "s2", "7,7": "s1", "7,5": "s2"}
    position = play(set_up("square8", 2, board, phase="movement"), "move 0,0 2,0")
    assert position.phase == "capture"
    assert {m.split()[1] for m in legal(position, "capture")} == {"2,0"}
    assert position.play("skip_capture").seat == 2


def test_chain_must_go_on_and_may_take_from_the_same_target_again() -> None:
    board = {"0,3": "s11", "3,3": "s212"}
    position = play(set_up("square8", 2, board, phase="movement"), "capture 0,3 3,3 6,3")
    assert position.phase == "chain_capture"
    assert legal(position) == [f"chain 6,3 3,3 {x},3" for x in (0, 1, 2)]
    after = position.play("chain 6,3 3,3 0,3")
    assert cells(after)["3,3"] == "s2"
    assert cells(after)["0,3"] == "s121"
    assert after.eliminated == (1, 0)


def test_lines_wait_until_the_chain_is_over() -> None:
    """The first capture completes a line of four; the second one runs through it."""
    board = {"1,0": "m1", "2,0": "m1", "3,0": "m1", "0,0": "s1", "0,2": "s2", "3,3": "s2"}
    position = play(set_up("square8", 2, board, phase="movement"), "capture 0,0 0,2 0,3")
    assert position.phase == "chain_capture"
    after = play(position, "chain 0,3 3,3 6,3")
    assert after.phase == "line_processing"


# ---- recovery -----------------------------------------------------------------------------------

GHOST = {"-4,0": "s12", "4,-4": "s2"}  # player 1 controls nothing, and one of its rings is buried


def test_recovery_completes_lines_of_three_on_hex8_with_three_players() -> None:
    markers = {"0,0": "m1", "1,0": "m1", "2,1": "m1"}
    three = set_up("hex8", 3, {**GHOST, "0,-4": "s3", **markers}, hands=(0, 3, 3))
    assert "recover 2,1 2,0 line" in three.legal_moves()
    assert {m.split()[-1] for m in legal(three, "recover")} == {"line"}
    two = set_up("hex8", 2, {**GHOST, **markers}, hands=(0, 5))
    assert "recover 2,1 2,0 fallback" in two.legal_moves()
    assert {m.split()[-1] for m in legal(two, "recover")} == {"fallback"}


def test_recovery_to_a_line_goes_before_fallback_and_strike() -> None:
    markers = {"0,0": "m1", "1,0": "m1", "2,0": "m1", "3,1": "m1", "-4,1": "m1"}
    position = set_up("hex8", 2, {**GHOST, **markers}, hands=(0, 5))
    assert legal(position) == ["recover 3,1 3,0 line", "skip_recovery"]


def test_fallback_and_strike_stand_side_by_side() -> None:
    position = set_up("hex8", 2, {**GHOST, "-3,0": "m1"}, hands=(0, 5))
    kinds = {m.split()[-1] for m in legal(position, "recover")}
    assert kinds == {"fallback", "strike"}
    assert "recover -3,0 -4,0 strike" in position.legal_moves()


def test_strike_spends_the_marker_and_the_top_ring_and_an_extraction_follows() -> None:
    position = set_up("hex8", 2, {**GHOST, "0,0": "s212", "-3,0": "m1"}, hands=(0, 5))
    gone = position.eliminated
    struck = position.play("recover -3,0 -4,0 strike")
    assert cells(struck) == {"-4,0": "s1", "4,-4": "s2", "0,0": "s212"}
    assert struck.eliminated == (gone[0] + 1, gone[1])
    assert legal(struck) == ["extract -4,0", "extract 0,0"]
    assert "-4,0" not in cells(struck.play("extract -4,0"))


def test_extraction_takes_the_bottommost_own_ring_of_a_stack_of_ones_choice() -> None:
    board = {"0,0": "s21212", "2,0": "s12", "-4,0": "m1"}
    position = set_up("hex8", 2, board, hands=(0, 5)).play("recover -4,0 -3,0 fallback")
    assert legal(position) == ["extract 0,0", "extract 2,0"]
    assert cells(position.play("extract 0,0"))["0,0"] == "s2212"
    assert cells(position.play("extract 2,0"))["2,0"] == "s2"


def test_recovery_with_rings_in_hand_begins_with_skipping_the_placement() -> None:
    position = set_up("hex8", 2, {**GHOST, "0,0": "m1"})
    assert position.phase == "ring_placement"
    after = position.play("skip_placement")
    assert {m.split()[0] for m in after.legal_moves()} == {"recover", "skip_recovery"}


@pytest.mark.parametrize(
    ("board", "why"),
    [
        ({**GHOST, "1,0": "s1", "0,0": "m1"}, "controls a stack"),
        ({"-4,0": "s2", "0,0": "m1"}, "has no buried ring"),
        (GHOST, "has no marker"),
    ],
)
def test_no_recovery_for_a_player_who(board: dict[str, str], why: str) -> None:
    position = set_up("hex8", 2, board)
    if "skip_placement" in position.legal_moves():
        position = position.play("skip_placement")
    assert legal(position, "recover") == [], why


def test_recovery_does_not_depend_on_a_slide() -> None:
    enclosed = {**GHOST, "-4,4": "m1", "-3,4 -3,3 -4,3": "c2"}
    position = set_up("hex8", 2, enclosed)
    assert "skip_placement" in position.legal_moves()
    after = position.play("skip_placement")
    assert (after.seat, after.phase, after.legal_moves()) == (1, "movement", ["skip_recovery"])
    without_hand = set_up("hex8", 2, enclosed, hands=(0, 5))
    assert without_hand.legal_moves() == ["skip_recovery"]


def test_slide_ends_on_no_marker_and_no_territory() -> None:
    around = {"1,0": "m2", "0,1": "m1", "-1,0": "c1", "0,-1": "c2"}
    position = set_up("hex8", 2, {**GHOST, "0,0": "m1", **around}, hands=(0, 5))
    from_centre = [m for m in legal(position, "recover") if " 0,0 " in m]
    assert from_centre == ["recover 0,0 -1,1 fallback", "recover 0,0 1,-1 fallback"]


def test_longer_line_of_a_recovery_may_be_collapsed_in_part_for_nothing() -> None:
    markers = {"-1,0": "m1", "0,0": "m1", "1,0": "m1", "3,0": "m1", "2,1": "m1"}
    position = set_up("hex8", 2, {**GHOST, **markers}, hands=(0, 5)).play("recover 2,1 2,0 line")
    run = "-1,0;0,0;1,0;2,0;3,0"
    parts = ["-1,0;0,0;1,0;2,0", "0,0;1,0;2,0;3,0"]
    assert sorted(legal(position)) == sorted(f"line {run} {how}" for how in ("all", *parts))
    free = position.play(f"line {run} {parts[0]}")
    assert (free.seat, cells(free)["3,0"], cells(free)["-4,0"]) == (2, "m1", "s12")
    paid = position.play(f"line {run} all")
    assert legal(paid) == ["extract -4,0"]


def test_line_of_a_recovery_goes_through_the_slid_marker() -> None:
    """The line at the left was there before, and waits for line_processing."""
    markers = {"-4,2 -3,2 -2,2 -1,2": "m1", "0,0 1,0 2,0": "m1", "3,1": "m1"}
    position = set_up("hex8", 2, {**GHOST, **markers}, hands=(0, 5)).play("recover 3,1 3,0 line")
    assert legal(position) == ["line 0,0;1,0;2,0;3,0 all"]
    after = play(position, "line 0,0;1,0;2,0;3,0 all", "extract -4,0")
    assert after.legal_moves() == ["line -4,2;-3,2;-2,2;-1,2 all"]


def test_recovery_may_be_declined() -> None:
    position = set_up("hex8", 2, {**GHOST, "0,0": "m1"}, hands=(0, 5))
    after = position.play("skip_recovery")
    assert after.seat == 2
    assert after.text.cells == position.text.cells


# ---- lines --------------------------------------------------------------------------------------


def test_line_of_exact_length_costs_one_ring_of_any_own_stack() -> None:
    board = {"0,0 1,0 2,0 3,0": "m1", "7,7": "s11", "7,0": "s21", "5,5": "s22"}
    position = set_up("square8", 2, board, phase="line_processing")
    assert position.legal_moves() == ["line 0,0;1,0;2,0;3,0 all"]
    owing = position.play("line 0,0;1,0;2,0;3,0 all")
    assert legal(owing) == ["eliminate 7,0", "eliminate 7,7"]
    assert cells(owing.play("eliminate 7,7"))["7,7"] == "s1"
    assert cells(owing.play("eliminate 7,0"))["7,0"] == "s2"
    assert owing.play("eliminate 7,0").eliminated == (1, 0)


def test_longer_line_as_a_whole_or_four_of_it_for_nothing() -> None:
    board = {"0,0 1,1 2,2 3,3 4,4 5,5": "m1", "7,0": "s1", "0,7": "s2"}
    position = set_up("square8", 2, board, phase="line_processing")
    run = "0,0;1,1;2,2;3,3;4,4;5,5"
    parts = ["0,0;1,1;2,2;3,3", "1,1;2,2;3,3;4,4", "2,2;3,3;4,4;5,5"]
    assert legal(position) == sorted(f"line {run} {how}" for how in ("all", *parts))
    assert len(set(position.legal_actions().tolist())) == 4
    free = position.play(f"line {run} {parts[1]}")
    assert (free.seat, free.territory, free.markers) == (2, (4, 0), (2, 0))
    assert legal(position.play(f"line {run} all")) == ["eliminate 7,0"]


def test_line_costs_nothing_without_a_stack() -> None:
    board = {"0,0 1,0 2,0 3,0": "m1", "0,7": "s2"}
    position = set_up("square8", 2, board, phase="line_processing")
    assert play(position, "line 0,0;1,0;2,0;3,0 all").seat == 2


def test_lines_are_found_anew_after_each() -> None:
    """Two lines cross in 3,0: taking one breaks the other."""
    board = {"0,0 1,0 2,0 3,0": "m1", "3,1 3,2 3,3": "m1", "7,7": "s111", "0,7": "s2"}
    position = set_up("square8", 2, board, phase="line_processing")
    assert len(position.legal_moves()) == 2
    assert play(position, "line 3,0;3,1;3,2;3,3 all", "eliminate 7,7").seat == 2


def test_lines_of_others_wait_for_their_turn() -> None:
    board = {"0,0 1,0 2,0 3,0": "m2", "7,7": "s1", "0,7": "s2"}
    after = play(set_up("square8", 2, board, phase="movement"), "move 7,7 7,6")
    assert (after.seat, after.phase) == (2, "ring_placement")
    later = play(after, "skip_placement", "move 0,7 0,6")
    assert later.legal_moves() == ["line 0,0;1,0;2,0;3,0 all"]


@pytest.mark.parametrize(
    ("board", "players", "length"),
    [
        *[("square8", 2, 4), ("square8", 3, 3), ("hex8", 2, 4), ("hex8", 4, 3)],
        *[("square19", 2, 4), ("square19", 3, 4), ("hexagonal", 2, 4), ("hexagonal", 4, 4)],
    ],
)
def test_line_length(board: str, players: int, length: int) -> None:
    for count in (3, 4):
        run = [f"{x},0" for x in range(count)]
        content = {" ".join(run): "m1", "0,3": "s1", "1,3": "s22"}
        if count < length:
            after = play(set_up(board, players, content, phase="movement"), "move 0,3 0,2")
            assert after.seat == 2
            continue
        position = set_up(board, players, content, phase="line_processing")
        assert f"line {';'.join(run)} all" in position.legal_moves()


def test_hex_lines_have_three_axes() -> None:
    diagonal = {"-2,-2 -1,-1 0,0 1,1 2,2": "m1", "4,0": "s1", "-4,0": "s2"}
    after = play(set_up("hex8", 2, diagonal, phase="movement"), "move 4,0 4,-1")
    assert after.seat == 2
    for run in ("0,0;1,0;2,0;3,0", "0,0;0,1;0,2;0,3", "0,3;1,2;2,1;3,0"):
        board = {run.replace(";", " "): "m1", "-4,4": "s1", "-4,0": "s2"}
        position = set_up("hex8", 2, board, phase="line_processing")
        assert position.legal_moves() == [f"line {run} all"]


def test_lines_with_a_common_first_cell_have_actions_of_their_own() -> None:
    star = {"3,3 4,3 5,3 6,3 7,3": "m1", "3,4 3,5 3,6 3,7": "m1", "4,4 5,5 6,6 7,7": "m1"}
    board = {**star, "4,2 5,1 6,0": "m1", "0,0": "s1", "0,7": "s2"}
    position = set_up("square8", 2, board, phase="line_processing")
    assert len(position.legal_moves()) == 3 * 3 + 1
    assert len({position.action(move) for move in position.legal_moves()}) == 10
