"""Sharp corners of stalemates, ranks and the pie rule."""

from __future__ import annotations

from typing import Any

from ringrift_cli.game.position import Position
from tests.walks import legal, play, set_up

# ---- stalemate ------------------------------------------------------------------------


def stalemate(
    land: tuple[int, int, int],
    markers: tuple[int, int, int],
    eliminated: tuple[int, int, int],
    hands: tuple[int, int, int],
    *,
    seat: int = 1,
) -> Position:
    """The end of a game on a board without a free cell, whose last stack `seat` gives up."""
    walls = ["1,0", "0,1", "1,1"]
    rest = [f"{x},{y}" for y in range(8) for x in range(8) if f"{x},{y}" not in ("0,0", *walls)]
    contents = [f"c{p + 1}" for p in range(3) for _ in range(land[p])]
    contents += [f"m{p + 1}" for p in range(3) for _ in range(markers[p])]
    board = dict(zip([*walls, *rest], contents, strict=True))
    position = set_up(
        "square8", 3, {**board, "0,0": f"s{seat}"}, seat=seat, hands=hands, eliminated=eliminated
    )
    while not position.is_over:
        moves = position.legal_moves()
        position = position.play("skip_territory" if "skip_territory" in moves else moves[0])
    return position


def winner(position: Position) -> int:
    result = position.result()
    assert result is not None
    assert result.reason == "stalemate"
    return result.winner


def test_stalemate_makes_hands_eliminated_rings() -> None:
    end = stalemate((21, 21, 18), (1, 1, 1), (4, 10, 7), (10, 6, 16))
    assert (end.hands, end.eliminated) == ((0, 0, 0), (15, 16, 23))
    assert end.text.cells[0] == ""


def test_stalemate_breaks_a_tie_among_those_still_tied() -> None:
    """Player 3 has the most eliminated rings, but not the most territory."""
    assert winner(stalemate((21, 21, 18), (1, 1, 1), (4, 10, 7), (10, 6, 16))) == 2
    assert winner(stalemate((20, 21, 18), (1, 1, 2), (10, 4, 7), (10, 6, 16))) == 2


def test_stalemate_then_counts_markers_of_those_still_tied() -> None:
    assert winner(stalemate((20, 20, 17), (1, 2, 3), (9, 10, 7), (6, 6, 15))) == 2


def test_stalemate_then_goes_to_the_last_who_acted_and_then_to_the_lowest_seat() -> None:
    for seat, wins in ((1, 1), (2, 2), (3, 1)):
        gone = [10, 10, 5]
        gone[seat - 1] -= 1  # the last stack is credited to its owner
        end = stalemate((20, 20, 19), (2, 2, 0), (gone[0], gone[1], gone[2]), (6, 6, 17), seat=seat)
        assert winner(end) == wins
        assert end.eliminated[:2] == (16, 16)


# ---- ranks --------------------------------------------------------------------------------------


def ranks(players: int, cells: dict[str, str], **more: Any) -> tuple[int, ...]:
    """Ranks when such a game has been won by seat 1."""
    over = {"phase": "game_over", "winner": 1, "reason": "stalemate"}
    position = set_up("square8", players, cells, **more)
    result = Position.from_json({**position.to_json(), **over}).result()
    assert result is not None
    return result.ranks


def test_equals_share_a_rank_and_the_next_one_is_lower() -> None:
    assert ranks(4, {"0,0": "c1", "1,0": "c2", "2,0": "c3"}) == (1, 2, 2, 4)
    assert ranks(4, {"0,0": "s1"}) == (1, 2, 2, 2)


def test_ranks_behind_the_winner() -> None:
    """Territory, then eliminated rings, then markers on the board; the winner may have fewest."""
    assert ranks(3, {"1,0": "c2", "2,0 3,0": "c3"}) == (1, 3, 2)
    assert ranks(3, {}, hands=(14, 14, 17), eliminated=(2, 3, 4)) == (1, 3, 2)
    assert ranks(3, {"1,0 5,5": "m2", "2,0": "m3"}) == (1, 2, 3)


def test_ranks_of_players_without_rings_go_by_when_they_lost_the_last() -> None:
    assert ranks(4, {}, out_on_turn=[0, 7, 0, 9]) == (1, 4, 2, 3)
    assert ranks(4, {}, out_on_turn=[0, 9, 7, 9]) == (1, 2, 4, 2)


# ---- pie rule -----------------------------------------------------------------------------------


def test_swap_is_offered_once_at_the_start_of_seat_twos_first_turn() -> None:
    start = Position.initial("hex8", pie_rule=True)
    assert legal(start, "swap") == []
    second = play(start, "place 0,0 2", "move 0,0 2,0")
    assert legal(second, "swap") == ["swap"]
    assert legal(second.play("place 3,0 1"), "swap") == []
    swapped = second.play("swap")
    assert legal(swapped, "swap") == []
    assert (swapped.seat, swapped.phase, swapped.turn) == (2, "ring_placement", second.turn)
    assert swapped.text == second.text
    assert set(swapped.legal_moves()) == {*second.legal_moves()} - {"swap"}


def test_swap_is_not_offered_later_or_without_the_pie_rule_or_to_more_than_two() -> None:
    opening = ("place 0,0 1", "move 0,0 1,0")
    assert legal(play(Position.initial("hex8"), *opening), "swap") == []
    assert legal(play(Position.initial("hex8", 3), *opening), "swap") == []
    pie = play(Position.initial("hex8", pie_rule=True), *opening)
    later = play(pie, "place -3,0 1", "move -3,0 -3,1", "place 0,4 1", "move 0,4 0,3")
    assert (later.seat, legal(later, "swap")) == (2, [])


def test_swapping_is_no_real_move() -> None:
    """The last to have changed the board is still seat 1."""
    pie = play(Position.initial("square8", pie_rule=True), "place 0,0 1", "move 0,0 1,0", "swap")
    assert pie.to_json()["last_actor"] == 1
    assert pie.to_json()["pie_rule"] == "swapped"
    assert Position.from_json(pie.to_json()).legal_moves() == pie.legal_moves()
