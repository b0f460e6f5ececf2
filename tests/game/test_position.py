"""`Position` as people use it, and what it says to what it cannot take."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from ringrift_cli.errors import IllegalMove, NotationError, RulesMismatch, UsageError
from ringrift_cli.game.position import Position
from tests.walks import CONFIGURATIONS, Walk, legal, play, positions, saved, set_up

START = "5./6./7./8./9./8./7./6./5. | 1 ring_placement | 18,18 | 0,0"
EMPTY = "5./6./7./8./9./8./7./6./5."


# ---- making positions ---------------------------------------------------------------------------


@pytest.mark.parametrize(("board", "players"), CONFIGURATIONS)
def test_start_of_a_game(board: str, players: int) -> None:
    start = Position.initial(board, players)
    assert (start.board_name, start.players) == (board, players)
    assert (start.seat, start.phase, start.ply, start.turn) == (1, "ring_placement", 0, 1)
    assert start.eliminated == start.territory == start.markers == (0,) * players
    assert len(set(start.hands)) == 1
    assert not start.is_over
    assert start.result() is None
    assert str(Position.from_text(str(start))) == str(start)


def test_boards_and_players_that_there_are_not() -> None:
    with pytest.raises(UsageError, match="'hex9': expected one of square8, square19, hex8"):
        Position.initial("hex9")
    for players in (1, 5, 0, -2):
        with pytest.raises(UsageError, match=f"2, 3 or 4 players, not {players}"):
            Position.initial("hex8", players)
    with pytest.raises(UsageError, match="for 2 players, not 3"):
        Position.initial("hex8", 3, pie_rule=True)


def test_moves_are_given_as_text_or_number() -> None:
    start = Position.initial("hex8")
    action = start.action("place 0,0 2")
    by_text = start.play("  place  0,0   2 ")
    for number in (action, np.int32(action), np.int64(action)):
        assert start.play(number) == by_text
    assert (by_text.ply, by_text.phase) == (1, "movement")
    assert start.ply == 0
    for wrong in (2.0, None, [action]):
        with pytest.raises(TypeError):
            start.play(wrong)  # type: ignore[arg-type]


def test_positions_are_values() -> None:
    start = Position.initial("hex8")
    one = play(start, "place 0,0 2", "move 0,0 2,0")
    two = play(start, "place 0,0 2", "move 0,0 2,0")
    assert one == two
    assert hash(one) == hash(two)
    assert len({one, two, start}) == 2
    assert one != start
    assert one != str(one)
    assert Position.initial("hex8") != Position.initial("hex8", pie_rule=True)


def test_row_is_a_copy() -> None:
    position = Position.initial("hex8")
    position.row[:] = 0
    assert str(position) == START
    assert len(position.legal_actions()) == 183


def test_it_can_be_looked_at() -> None:
    position = play(Position.initial("hex8"), "place 0,0 2", "move 0,0 2,0")
    assert repr(position) == f"<Position hex8 {position}>"
    assert "Player 2 to move: ring placement" in str(position.board)
    assert "\x1b[" not in position.board.text()
    assert "\x1b[" in position.board.text(colour=True)
    assert position.board.svg().startswith("<svg")
    assert position.board.png(120).startswith(b"\x89PNG")
    assert repr(position.board) == str(position.board)


# ---- moves that are none, or not allowed --------------------------------------------------------


@pytest.mark.parametrize(
    ("move", "said"),
    [
        ("", "begins with none of place, move,"),
        ("castle 0,0", "begins with none of place, move,"),
        ("place", "is not complete: expected place CELL n"),
        ("place 0,0", "is not complete"),
        ("place 0,0 1 1", "is not complete"),
        ("skip_placement 1", "begins with none of"),
        ("place 0,0 4", "1, 2 or 3 rings are placed, not '4'"),
        ("place 0,0 one", "1, 2 or 3 rings are placed, not 'one'"),
        ("place 0 1", "'0' is not a cell; expected x,y"),
        ("place 0.5,0 1", "'0.5,0' is not a cell"),
        ("place 00,0 1", "'00,0' is not a cell"),
        ("place -0,0 1", "'-0,0' is not a cell"),
        ("place ٣,٣ 1", "is not a cell"),
        ("place 0,0;1,0 1", "'0,0;1,0' is not a cell"),
        ("place 5,5 1", "there is no cell 5,5 on hex8"),
        ("place 4,1 1", "there is no cell 4,1 on hex8"),
        ("place " + "9" * 5000 + ",0 1", "is not a cell"),
        ("move 0,0 9,9", "there is no cell 9,9"),
        ("capture 0,0 9,9 1,0", "there is no cell 9,9"),
        ("recover 0,0 1,0 sideways", "ends with none of line, fallback, strike"),
        ("line 0,0;;1,0 all", "'' is not a cell"),
        ("line 0,0 some", "'some' is not a cell"),
        ("region 0,0,1,0", "'0,0,1,0' is not a cell"),
        ("extract 0,0 1", "is not complete: expected extract CELL"),
    ],
)
def test_text_that_is_no_move(move: str, said: str) -> None:
    with pytest.raises(NotationError) as caught:
        Position.initial("hex8").play(move)
    assert said in caught.value.message
    assert repr(move) in caught.value.message


PLACING = set_up("square8", 2, {"0,0": "s22", "1,1": "m1", "2,2": "c1", "7,7": "s1"}, hands=(2, 2))
TRAVELLING = set_up(
    "square8",
    2,
    {"0,0": "s11", "3,0": "s1", "3,3": "s22", "1,0": "m2", "7,0": "s2", "5,0": "c2"},
    phase="movement",
)
RECOVERING = set_up("hex8", 2, {"-4,0": "s12", "0,0": "m1", "1,-1": "m2"}, hands=(0, 5))


@pytest.mark.parametrize(
    ("position", "move", "reason"),
    [
        (PLACING, "place 1,1 1", "1,1 holds a marker"),
        (PLACING, "place 2,2 1", "2,2 holds collapsed territory"),
        (PLACING, "place 0,0 2", "on the stack on 0,0 exactly 1 ring is placed"),
        (PLACING, "place 5,5 3", "player 1 has 2 in hand"),
        (PLACING, "move 7,7 7,6", "the choice now is between place, skip_placement"),
        (PLACING, "swap", "the choice now is between place, skip_placement"),
        (TRAVELLING, "move 4,4 4,5", "there is no stack on 4,4"),
        (TRAVELLING, "move 3,3 3,4", "the stack on 3,3 is player 2's"),
        (TRAVELLING, "move 0,0 1,2", "0,0 and 1,2 are not on one line"),
        (TRAVELLING, "move 0,0 0,0", "0,0 and 0,0 are not on one line"),
        (TRAVELLING, "move 0,0 0,1", "a stack of height 2 travels at least 2 cells, not 1"),
        (TRAVELLING, "move 0,0 4,0", "the path or the landing cell is blocked"),
        (TRAVELLING, "capture 0,0 2,0 4,0", "there is no stack to capture on 2,0"),
        (TRAVELLING, "capture 3,0 3,3 3,6", "the cap of 3,3 is 2, more than the 1 of 3,0"),
        (TRAVELLING, "chain 0,0 3,0 4,0", "the choice now is between capture, move"),
        (TRAVELLING, "place 6,6 1", "the choice now is between capture, move"),
        (
            TRAVELLING.play("move 0,0 0,3"),
            "capture 3,0 7,0 4,0",
            "the stack on 0,3 has to move now",
        ),
        (RECOVERING, "recover 0,0 0,1 line", "are of the kind fallback"),
        (RECOVERING, "recover 0,0 2,0 fallback", "the marker must be yours and slide one step"),
        (RECOVERING, "recover 1,-1 1,0 fallback", "the marker must be yours"),
        (RECOVERING, "extract -4,0", "the choice now is between recover, skip_recovery"),
    ],
)
def test_illegal_move_is_told_why_and_what_is_near(
    position: Position, move: str, reason: str
) -> None:
    with pytest.raises(IllegalMove) as caught:
        position.play(move)
    message, hint = caught.value.message, caught.value.hint
    assert message.startswith(f"Illegal move {move!r}: ")
    assert reason in message
    assert f"(player 1, {position.phase})" in message
    assert hint is not None
    near, _, count = hint.partition(" (")
    assert count == f"{len(position.legal_moves())} legal in all)"
    assert near
    assert all(text in position.legal_moves() for text in near.split(", "))


def test_dead_placement_is_called_by_its_name() -> None:
    pocket = set_up("square8", 2, {"0,1 1,1 2,0": "c2"})
    with pytest.raises(IllegalMove, match=r"could neither move nor capture \(a dead placement\)"):
        pocket.play("place 0,0 2")


def test_near_moves_are_near() -> None:
    with pytest.raises(IllegalMove) as caught:
        Position.initial("hex8").play("place 0,0 1").play("move 0,0 1,1")
    assert caught.value.hint is not None
    assert "move 0,0 0,1" in caught.value.hint


def test_numbers_that_are_no_legal_action() -> None:
    start = Position.initial("hex8")
    for call in (start.play, start.move):
        for action in (-1, 7_630, 10**9, 10**30, -(2**31), -(2**70)):
            with pytest.raises(
                IllegalMove, match=f"no action {action} on hex8: they are 0 to 7629"
            ):
                call(action)
        with pytest.raises(
            IllegalMove, match=r"action 183 \(move at 0,-4\): .* of the kinds place"
        ):
            call(183)
    with pytest.raises(IllegalMove, match="no action 7630"):
        start.symmetric_action(7_630, 1)


def test_nothing_is_legal_when_the_game_is_over() -> None:
    walk = Walk("hex8", 2, 1)
    last = [after for _, _, after in walk.steps()][-1]
    for move in ("place 0,0 1", 0):
        with pytest.raises(IllegalMove, match="the game is over"):
            last.play(move)
    with pytest.raises(NotationError):
        last.play("what now")


# ---- position text ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has 1 fields"),
        ("hex8", "has 1 fields"),
        (f"{EMPTY} | 1 ring_placement | 18,18", "has 3 fields"),
        (START + " | 0,0", "has 5 fields"),
        (START.replace("8.", "8./8."), "has 11 rows: expected 8 (square8), 9 (hex8)"),
        (START.replace("/5.", ""), "Row 1 of the position holds 5 cells"),
        (START.replace("9.", "8."), "Row 5 of the position holds 8 cells: hex8 has 9"),
        (START.replace("9.", "10."), "Row 5 of the position holds 10 cells"),
        (START.replace("9.", "0. 9."), "Cell '0.' in row 5"),
        (START.replace("9.", "s3 8."), "Cell 's3' in row 5"),
        (START.replace("9.", "m12 8."), "Cell 'm12'"),
        (START.replace("9.", "s 8."), "Cell 's'"),
        (START.replace("9.", "x 8."), "Cell 'x'"),
        (START.replace("1 ring", "3 ring"), "the turn '3 ring_placement'"),
        (START.replace("1 ring", "0 ring"), "the turn '0 ring_placement'"),
        (START.replace("1 ring_placement", "ring_placement"), "the turn 'ring_placement'"),
        (START.replace("ring_placement", "thinking"), "Unknown phase 'thinking'"),
        (START.replace("18,18", "18"), "Position has hands '18'"),
        (START.replace("18,18", "18,-1"), "Position has hands '18,-1'"),
        (START.replace("18,18", "18,x"), "Position has hands '18,x'"),
        (START.replace("18,18", "9" * 5000 + ",18"), "Position has hands"),
        (START.replace("18,18", "18,18,18"), "hands of 3 and eliminated rings of 2 players"),
        (START.replace("18,18", "18,17"), "The rings do not add up: 0 on the board, 35 in hand"),
        (START.replace("18,18", "19,17"), "more than 18 rings in hand and on the board"),
        (START.replace("18,18", "36,0"), "more than 18 rings in hand and on the board"),
        (START.replace("18,18 | 0,0", "0,18 | 18,1"), "The rings do not add up"),
        (START.replace("9.", "s" + "1" * 19 + " 8."), "more than 18 rings in hand"),
        (START.replace("ring_placement", "capture"), "needs a focus cell"),
        (START.replace("ring_placement", "chain_capture"), "needs a focus cell"),
        (START.replace("ring_placement", "game_over"), "lacks the winner"),
    ],
)
def test_text_that_is_no_position(text: str, said: str) -> None:
    with pytest.raises(NotationError) as caught:
        Position.from_text(text)
    assert said in caught.value.message


def test_text_of_a_phase_without_a_decision_goes_on_to_the_next() -> None:
    position = Position.from_text(START.replace("ring_placement", "movement"))
    assert (position.seat, position.phase) == (2, "ring_placement")


def test_text_may_spell_empty_cells_one_by_one() -> None:
    spread = START.replace("5./6.", " 1. 4. /  1. 1. 1. 3.")
    assert str(Position.from_text(spread)) == START


def test_focus_names_the_stack_that_has_to_go_on() -> None:
    text = "5./6./7./8./s1 1. s2 2. s1 3./8./7./6./5. | 1 {} | 16,17 | 0,0"
    capture = Position.from_text(text.format("capture"), focus="-4,0")
    assert legal(capture) == ["capture -4,0 -2,0 -1,0", "capture -4,0 -2,0 0,0", "skip_capture"]
    chain = Position.from_text(text.format("chain_capture"), focus="1,0")
    assert legal(chain)[0].startswith("chain 1,0 -2,0 -3,0")
    moving = Position.from_text(text.format("movement"), focus="1,0")
    assert {move.split()[1] for move in moving.legal_moves()} == {"1,0"}
    for phase, focus in (
        ("capture", "-2,0"),  # the other player's
        ("capture", "0,0"),  # nobody's
        ("movement", "0,0"),
        ("movement", "-2,0"),
        ("ring_placement", "1,0"),  # nothing has to go on
        ("ring_placement", "0,0"),
    ):
        with pytest.raises(NotationError, match="cannot continue from that cell"):
            Position.from_text(text.format(phase), focus=focus)
    for focus in ("9,9", "", "0", "x,y", "-5,0"):
        with pytest.raises(NotationError, match=f"There is no cell {focus!r} on hex8"):
            Position.from_text(text.format("movement"), focus=focus)


# ---- saved positions ----------------------------------------------------------------------------


def states() -> dict[str, Position]:
    """Positions in which every field of a saved one has a say."""
    ghost = {"-4,0": "s12", "0,0": "m1", "1,0": "m1", "2,0": "m1", "3,1": "m1"}
    slid = set_up("hex8", 2, ghost, hands=(0, 5)).play("recover 3,1 3,0 line")
    return {
        "start": Position.initial("hex8", pie_rule=True),
        "placed": Position.initial("hex8", 3).play("place 0,0 2"),
        "capturing": TRAVELLING.play("move 0,0 0,3"),
        "slid": slid,
        "extracting": slid.play("line 0,0;1,0;2,0;3,0 all"),
        "recovering": RECOVERING,
        "over": [*positions("square8", 2, 3)][-1],
    }


WRONG: list[Any] = [
    *[None, True, False, -1, 0, 1, 2, 99, 10**30, 1.5, math.nan, "", "x", "0,0", "stalemate"],
    *[[], [1], [0], [5], [1, 2], [1, 1], [-1, 0], [10**30, 0], [1.0, 2.0], [True], [None], [[1]]],
    *[["a"], {}, {"a": 1}, "game_over", "movement", "cap", "line", "ring", "on", "swapped"],
]


@pytest.mark.parametrize("name", states())
def test_spoiled_field_is_refused_or_harmless(name: str) -> None:
    """Every value of every type in every field: an error that is ours, or a sound position."""
    document = saved(states()[name])
    refused = 0
    for key in document:
        for value in WRONG:
            try:
                position = Position.from_json({**document, key: value})
            except (NotationError, RulesMismatch):
                refused += 1
                continue
            assert bool(position.legal_moves()) != position.is_over
            assert (position.result() is None) != position.is_over
            for action in position.legal_actions()[:20].tolist():
                position.play(action).legal_moves()
            assert Position.from_json(saved(position)) == position
    assert refused > len(document) * len(WRONG) * 0.8


@pytest.mark.parametrize("name", states())
def test_missing_field_is_refused(name: str) -> None:
    document = saved(states()[name])
    nullable = {"focus", "round_first", "streak_holder", "winner", "last_actor"}
    for key in document.keys() - nullable:
        with pytest.raises((NotationError, RulesMismatch)):
            Position.from_json({k: v for k, v in document.items() if k != key})
    assert Position.from_json({**document, "comment": "kept by someone"}) == states()[name]


@pytest.mark.parametrize("document", [None, 3, "text", [], [{}], {}, {"format": 1}])
def test_what_is_no_saved_position_at_all(document: Any) -> None:
    with pytest.raises(NotationError, match="Not a saved position"):
        Position.from_json(document)


def test_other_rules_and_versions_are_told_apart_from_damage() -> None:
    document = saved(Position.initial("hex8"))
    for key, value in (("version", 2), ("version", None), ("rules", "0" * 12), ("rules", None)):
        with pytest.raises(RulesMismatch, match=r"this is version 1, rules [0-9a-f]{12}"):
            Position.from_json({**document, key: value})


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("start", {"mobile": True}, "'mobile' contradicts its cells"),
        ("start", {"phase": "line_processing"}, "no legal move"),
        ("start", {"phase": "territory_processing"}, "nothing to decide"),
        ("start", {"phase": "forced_elimination"}, "no legal move"),
        ("start", {"phase": "game_over"}, "a winner without being over"),
        ("start", {"winner": 1}, "a winner without being over"),
        ("start", {"reason": "stalemate"}, "a winner without being over"),
        (
            "start",
            {"pending": "cap"},
            "pending payment does not belong to the phase ring_placement",
        ),
        ("start", {"focus": "0,0"}, "cannot continue from that cell"),
        ("placed", {"focus": "1,0"}, "cannot continue from that cell"),
        ("placed", {"seat": 2}, "cannot continue from that cell"),
        ("placed", {"board": "square8"}, "its cells are those of hex8"),
        ("placed", {"hands": [16, 18, 19]}, "more than 18 rings"),
        ("placed", {"eliminated": [1, 0, 0]}, "do not add up"),
        ("capturing", {"focus": None}, "needs a focus cell"),
        ("slid", {"focus": None}, "needs a focus cell"),
        ("slid", {"focus": "-4,0"}, "cannot continue from that cell"),
        ("slid", {"recovered": False}, "pending payment does not belong"),
        ("extracting", {"pending": "buried_extraction"}, "pending payment does not belong"),
        ("over", {"pending": "ring"}, "pending payment does not belong"),
        ("over", {"winner": None}, "a winner without being over"),
        ("over", {"reason": ""}, "a winner without being over"),
    ],
)
def test_position_that_contradicts_itself(name: str, change: dict[str, Any], said: str) -> None:
    with pytest.raises(NotationError) as caught:
        Position.from_json({**saved(states()[name]), **change})
    assert said in caught.value.message


def test_saved_form_is_json_that_keeps_its_order_and_types() -> None:
    for position in states().values():
        document = position.to_json()
        assert json.loads(json.dumps(document)) == document
        assert list(document)[:5] == ["format", "version", "rules", "board", "players"]
        assert Position.from_json(document) == position
