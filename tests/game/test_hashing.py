"""Zobrist hashes: the same for the same future, and different for all else."""

from __future__ import annotations

import json
from itertools import permutations
from typing import Any

import pytest

from ringrift_cli.errors import IllegalMove
from ringrift_cli.game.position import Position
from tests.walks import CONFIGURATIONS, play, positions, saved, set_up

# Fields of a saved position that say how it came about, not what comes next
PAST = {"turn", "ply", "mobile", "out_on_turn", "format", "version", "rules"}


def future(position: Position) -> str:
    """All that bears on the rest of the game, as text."""
    document = {key: value for key, value in saved(position).items() if key not in PAST}
    if document["pie_rule"] == "on" and position.turn <= 2:
        document["turn"] = position.turn
    return json.dumps(document)


def test_thousands_of_positions_do_not_collide() -> None:
    known: dict[int, str] = {}
    texts: set[str] = set()
    for board, players in CONFIGURATIONS:
        small = board.endswith("8")
        for seed in range(6 if small else 1):
            for position in positions(board, players, seed, 150):
                text = future(position)
                assert known.setdefault(position.zobrist, text) == text
                texts.add(text)
    assert len(known) == len(texts) > 4_000
    for bit in range(64):  # and no bit of the hash leans to one side
        ones = sum(hash_ >> bit & 1 for hash_ in known)
        assert abs(ones / len(known) - 0.5) < 0.05


def test_hashes_fit_64_bits_and_are_stable() -> None:
    """A change of these makes every stored hash worthless."""
    start = Position.initial("hex8")
    assert 0 <= start.zobrist < 1 << 64
    found = [Position.initial(board, n).zobrist for board, n in (("hex8", 2), ("hexagonal", 4))]
    found.append(play(start, "place 0,0 2", "move 0,0 0,2").zobrist)
    assert [f"{value:016x}" for value in found] == GOLDEN


GOLDEN = ["0325a01a8bb56263", "65e626493183d159", "d2282dca0ecb62df"]

# Turns of two moves each that do not meet: seat 1 plays the first two, seat 2 the others.
TURNS = [
    [("place -4,4 2", "move -4,4 -4,2"), ("place 4,-4 1", "move 4,-4 4,-3")],
    [("place 0,-4 3", "move 0,-4 0,-1"), ("place 2,2 2", "move 2,2 0,4")],
]


@pytest.mark.parametrize("players", [2, 3])
def test_the_order_in_which_turns_were_played_does_not_count(players: int) -> None:
    """Rings are numbered by the order of their placement, which the hash must not see."""
    reached: dict[str, set[int]] = {}
    third = [("place -1,-1 1", "move -1,-1 -2,0"), ("place 2,-1 1", "move 2,-1 3,-1")]
    for first in permutations(TURNS[0]):
        for second in permutations(TURNS[1]):
            position = Position.initial("hex8", players)
            for round_ in range(2):
                turns = (first, second, third)[:players]
                for turn in turns:
                    position = skip_captures(play(position, *turn[round_]))
            reached.setdefault(future(position), set()).add(position.zobrist)
    assert len(reached) == 1
    assert all(len(hashes) == 1 for hashes in reached.values())


def skip_captures(position: Position) -> Position:
    return position.play("skip_capture") if position.phase == "capture" else position


def test_transpositions_found_by_playing_hash_alike() -> None:
    """All orders of four openings on a large board; who placed what where is all that counts."""
    openings = [("place 0,0 1", "move 0,0 1,0"), ("place 18,18 2", "move 18,18 16,18")]
    openings += [("place 0,18 3", "move 0,18 0,14"), ("place 18,0 1", "move 18,0 18,1")]
    by_text: dict[str, set[int]] = {}
    for order in permutations(openings):
        position = Position.initial("square19", 2)
        try:
            for turn in order:
                position = skip_captures(play(position, *turn))
        except IllegalMove:
            continue
        by_text.setdefault(future(position), set()).add(position.zobrist)
    assert len(by_text) == 6  # two of the four belong to seat 1
    assert all(len(hashes) == 1 for hashes in by_text.values())
    assert len({min(hashes) for hashes in by_text.values()}) == 6


@pytest.mark.parametrize(("board", "players"), CONFIGURATIONS)
def test_saving_numbers_rings_anew_and_keeps_the_hash(board: str, players: int) -> None:
    for at, position in enumerate(positions(board, players, 2, 160)):
        if at % 20 == 19:
            restored = Position.from_json(saved(position))
            assert restored.zobrist == position.zobrist
            assert restored == position


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("streak", 2),
        ("streak_holder", 2),
        ("round_first", 2),
        ("round_seen", [1, 2]),
        ("round_active", []),
        ("last_actor", 1),
        ("changed", True),
        ("recovered", True),
        ("pie_rule", "on"),
        ("seat", 2),
    ],
)
def test_every_part_of_the_state_counts(field: str, value: Any) -> None:
    document = saved(set_up("hex8", 2, {"0,0": "s12", "3,0": "s1"}))
    assert document[field] != value
    other = Position.from_json({**document, field: value})
    assert other.zobrist != Position.from_json(document).zobrist
    assert other != Position.from_json(document)


def test_the_past_does_not_count() -> None:
    document = saved(set_up("hex8", 2, {"0,0": "s12", "3,0": "s2"}))
    other = Position.from_json({**document, "ply": 77, "turn": 31})
    assert other.zobrist == Position.from_json(document).zobrist
    assert other != Position.from_json(document)


def test_stacks_are_told_apart_by_the_order_of_their_rings() -> None:
    stacks = {"s" + "".join(rings) for rings in permutations("11122")}
    hashes = {set_up("hex8", 2, {"0,0": stack}).zobrist for stack in stacks}
    assert len(hashes) == len(stacks) == 10
    places = {set_up("hex8", 2, {f"{x},0": "s1"}).zobrist for x in range(-4, 5)}
    assert len(places) == 9


def test_what_stands_on_a_cell_is_told_apart() -> None:
    contents = ["m1", "m2", "c1", "c2", "s1", "s2", "s11"]
    hashes = {set_up("hex8", 2, {"0,0": content, "4,0": "s1"}).zobrist for content in contents}
    assert len(hashes) == len(contents)
