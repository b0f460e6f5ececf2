"""What a person is asked in `ringrift play`: choices, selection at them, and what they do."""

from __future__ import annotations

from collections.abc import Iterator

from ringrift_cli.game.position import Position
from ringrift_cli.play.choices import (
    SIGNS,
    MoveChoice,
    Selection,
    choices,
    content,
    effects,
    marks,
    question,
    shared_start,
    sign_of,
)
from tests.walks import SMALL, Walk, positions, set_up

# ---- choices ------------------------------------------------------------------------------------


def walked(plies: int = 80) -> Iterator[Position]:
    """Positions of random games of each small board and number of players."""
    for board, players in SMALL:
        for seed in range(3):
            yield from positions(board, players, seed, plies)


def test_choices_are_the_legal_moves_each_with_a_number() -> None:
    for position in walked(30):
        asked = question(position)
        assert [choice.number for choice in asked.choices] == [
            *range(1, len(asked.choices) + 1),
        ]
        assert {choice.action for choice in asked.choices} == {*position.legal_actions().tolist()}
        assert all(position.move(choice.action) == choice.text for choice in asked.choices)
        cells = [bool(choice.cells) for choice in asked.choices]
        assert cells == sorted(cells, reverse=True)  # those without a cell are last


def test_every_choice_can_be_pointed_at() -> None:
    """By its start and its end (or its cells), and where that is not all, by a number."""
    kinds = set()
    for position in walked():
        every = choices(position)
        for choice in every[:: 1 + len(every) // 10]:
            if not choice.cells:
                continue
            kinds.add(choice.kind)
            selection = Selection(every, every)
            for cell in choice.cells:
                further = selection.at(cell)
                if further is None or selection.decided:
                    break
                selection = further
                if choice.end is not None and cell == choice.start:
                    last = selection.at(choice.end)
                    selection = last if last is not None else selection
                    break
            left = selection.labels
            assert choice in left.values(), (str(position), choice.text)
            if selection.decided:
                assert [*selection.left] == [choice]
            if choice.kind == "place":
                assert left[choice.rings or 0] == choice
    assert kinds >= {"place", "move", "capture", "chain", "line", "region", "eliminate", "recover"}


def test_one_choice_from_a_cell_is_shown_and_not_taken_at_once() -> None:
    position = set_up("square8", 2, {"0,0": "s1", "0,1 1,1": "c2", "7,7": "s2"}, hands=(0, 5))
    every = choices(position)
    first = Selection(every, every).at("0,0")
    assert first is not None
    assert {choice.start for choice in first.left} == {"0,0"}
    assert not first.decided
    second = first.at("3,0")
    assert second is not None
    assert second.decided
    assert second.left[0].text == "move 0,0 3,0"
    assert first.at("5,5") is None


def test_numbers_on_a_chosen_cell_are_those_of_the_rings() -> None:
    every = choices(Position.initial("hex8"))
    found = Selection(every, every).at("0,0")
    assert found is not None
    assert {n: c.text for n, c in found.labels.items()} == {n: f"place 0,0 {n}" for n in (1, 2, 3)}
    assert [*Selection(every, every).labels] == [*range(1, 184)]


def test_marks_stand_where_choices_are() -> None:
    seen = set()
    for position in walked(60):
        asked = question(position)
        options = Selection(asked.choices, asked.choices).labels
        signs = marks(position, options)
        named = {cell for choice in asked.choices for cell in choice.cells}
        assert signs.keys() <= named
        for cell, sign in signs.items():
            seen.add(sign)
            if sign == "*":
                continue
            assert not content(position, cell).startswith("s")
            (number,) = [n for n in options if sign_of(n) == sign]
            assert cell in options[number].cells
    assert {"*", "1", "9", "E"} <= seen
    assert not {*SIGNS} & {*"ABCDHIOQ"}
    assert sign_of(len(SIGNS) + 1) == "*"


def test_a_start_is_shared_only_by_choices_that_have_one() -> None:
    skip = MoveChoice(1, 0, "skip_placement")
    move, other = MoveChoice(2, 1, "move 0,0 0,1"), MoveChoice(3, 2, "move 1,0 1,1")
    assert shared_start([move, skip]) == "0,0"
    assert shared_start([move, other]) is None
    assert shared_start([skip]) is None
    assert shared_start([MoveChoice(1, 0, "line 0,0;1,0;2,0 all")]) is None


# ---- questions and effects ----------------------------------------------------------------------


def test_every_kind_of_question_comes_up_and_says_what_it_is_about() -> None:
    kinds = set()
    for board, players in SMALL:
        for seed in range(20):
            for position in positions(board, players, seed):
                asked = question(position)
                kinds.add(asked.kind)
                if asked.kind in ("move_placed", "capture", "chain"):
                    assert asked.focus is not None
                    assert content(position, asked.focus) == f"s{asked.stack}"
                    assert asked.stack.endswith(str(position.seat))
                assert asked.seat == position.seat
                assert asked.hand == position.hands[position.seat - 1]
    assert kinds == {
        *("place", "move", "move_placed", "capture", "chain", "line", "line_price", "region"),
        *("region_price", "region_extraction", "recover", "recovery_line", "recovery_price"),
        *("forced", "over"),
    }


def test_effects_are_what_changed() -> None:
    for board, players in SMALL:
        walk = Walk(board, players, 4)
        for before, action, after in walk.steps():
            choice = next(each for each in choices(before) if each.action == action)
            done, seat = effects(before, choice, after), before.seat
            assert done.territory == after.territory[seat - 1] - before.territory[seat - 1]
            assert done.eliminated == after.eliminated[seat - 1] - before.eliminated[seat - 1]
            lost = sum(done.flipped.values())
            others = [s for s in range(1, players + 1) if s != seat]
            if choice.kind in ("move", "capture", "chain"):
                gone = sum(before.markers[s - 1] - after.markers[s - 1] for s in others)
                assert lost in (gone, gone - 1)  # a marker may have been landed on
            assert (done.captured is not None) == (choice.kind in ("capture", "chain"))
            assert (done.result is not None) == after.is_over
            if done.follow is not None:
                assert after.seat == seat


def test_effects_of_a_capture_that_costs_the_stack() -> None:
    position = set_up("square8", 2, {"0,0": "s1", "2,0": "s2", "1,0": "m2", "4,0": "m2"})
    before = position.play("skip_placement")
    choice = next(c for c in choices(before) if c.text == "capture 0,0 2,0 4,0")
    done = effects(before, choice, before.play(choice.action))
    assert (done.flipped, done.captured, done.eliminated, done.landed) == ({2: 1}, 2, 1, "s2")
    assert done.was == {"0,0": "s1", "2,0": "s2", "4,0": "m2"}


def test_a_streak_is_told() -> None:
    cells = {"0,0": "s1", "7,7": "s1"}
    position = set_up("square8", 2, cells, round_first=1, streak_holder=1, streak=2)
    assert question(position).streak == (1, 2)
    assert question(set_up("square8", 2, cells)).streak is None
