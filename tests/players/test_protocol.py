"""Lines of the engine protocol: what is written is read back, and what means nothing is refused."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringrift_cli.errors import IllegalMove, NotationError, RingriftError, UsageError
from ringrift_cli.game.position import Position
from ringrift_cli.game.record import read_records
from ringrift_cli.players import protocol
from ringrift_cli.players.engine import with_limits
from ringrift_cli.players.protocol import BestMove, Course, Game, Limits, LineSplitter, Place
from tests.walks import CONFIGURATIONS, Walk, positions, saved

GAME = Game("hex8", 2)


# ---- lines ---------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=9)), st.data())
def test_lines_do_not_depend_on_how_the_bytes_come(
    pieces: list[bytes], data: st.DataObject
) -> None:
    whole = b"".join(pieces)
    splitter, lines, left = LineSplitter(), [], whole
    while left:
        size = data.draw(st.integers(1, len(left)))
        lines += splitter.feed(left[:size])
        left = left[size:]
    assert [*lines, splitter.rest()] == whole.split(b"\n")


def test_a_line_without_end_takes_no_more_room_than_the_longest() -> None:
    splitter = LineSplitter()
    for _ in range(5):
        assert splitter.feed(b"x" * (1 << 19)) == []
    assert len(splitter.rest()) == protocol.MAX_LINE + 1
    [line, after] = splitter.feed(b"\nisready\n")
    with pytest.raises(NotationError, match="at most 1048576 bytes"):
        protocol.decode(line)
    assert protocol.decode(after) == "isready"


@pytest.mark.parametrize("line", [b"go", b" go\r", b"\tgo  ", b"go \r"])
def test_space_around_a_line_means_nothing(line: bytes) -> None:
    assert protocol.decode(line) == "go"


@pytest.mark.parametrize("line", [b"g\x00o", b"go\x1b[1m", "go\u2028".encode(), b"go\x7f"])
def test_control_characters_are_no_text(line: bytes) -> None:
    with pytest.raises(NotationError, match="is not printable text"):
        protocol.decode(line)


def test_bytes_that_are_no_utf8_can_be_quoted() -> None:
    assert protocol.decode(b"g\xffo") == "g\\xffo"


@given(st.text())
def test_a_sentence_stays_on_its_line(text: str) -> None:
    line = protocol.one_line(f"a{text}b")
    assert line.isprintable()
    assert len(line.encode("utf-8", "backslashreplace").splitlines()) == 1
    assert protocol.quoted(text).isprintable()


# ---- to the engine -------------------------------------------------------------------------------


@pytest.mark.parametrize("game", [Game("hex8", 2, True), Game("hexagonal", 4), Game("square19", 3)])
def test_newgame_is_read_as_written(game: Game) -> None:
    assert protocol.parse_game(str(game).removeprefix("newgame ")) == game


@pytest.mark.parametrize(
    ("text", "kind", "sentence"),
    [
        ("", NotationError, "newgame has no board"),
        ("board hex8", NotationError, "newgame has no players"),
        ("board hex9 players 2", UsageError, "Unknown board 'hex9'"),
        ("board hex8 players 5", UsageError, "RingRift has 2, 3 or 4 players, not 5"),
        ("board hex8 players two", NotationError, "players is 'two', expected a whole number"),
        ("board hex8 players ٢", NotationError, "expected a whole number"),
        ("board hex8 players 3 pie on", UsageError, "The pie rule is for 2 players"),
        ("board hex8 players 2 pie yes", NotationError, "pie is 'yes', expected on or off"),
        ("board hex8 players", NotationError, "newgame: players has no value"),
        ("board hex8 board hex8 players 2", NotationError, "newgame: found 'board' again"),
        ("board hex8 players 2 clock 3", NotationError, "newgame: found 'clock', expected one of"),
    ],
)
def test_newgame_that_means_nothing(text: str, kind: type[RingriftError], sentence: str) -> None:
    with pytest.raises(kind) as caught:
        protocol.parse_game(text)
    assert sentence in caught.value.message


def test_limits() -> None:
    assert protocol.parse_limits("") == Limits()
    assert protocol.parse_limits("sims 20") == Limits(sims=20)
    assert protocol.parse_limits("movetime 5 sims 20") == Limits(20, 5)


@pytest.mark.parametrize("text", ["sims", "sims 0", "sims -1", "sims 1e3", "depth 4", "movetime x"])
def test_limits_that_mean_nothing(text: str) -> None:
    with pytest.raises(NotationError, match="go"):
        protocol.parse_limits(text)


@pytest.mark.parametrize(
    ("spec", "limits", "expected"),
    [
        ("random", Limits(), "random"),
        ("heuristic", Limits(sims=30), "mcts:sims=30"),
        ("heuristic:default", Limits(movetime=250), "mcts:seconds=0.25,profile=default"),
        ("mcts:sims=9", Limits(sims=30), "mcts:sims=30"),
        ("mcts:profile=tuned,seconds=2", Limits(30, 500), "mcts:sims=30,profile=tuned"),
        ("mcts:seconds=2", Limits(), "mcts:seconds=2"),
    ],
)
def test_limits_make_a_search_of_the_player(spec: str, limits: Limits, expected: str) -> None:
    assert with_limits(spec, limits) == expected


@pytest.mark.parametrize("spec", ["random", "heuristic:default,noise=3", "exec:sims"])
def test_not_every_player_searches(spec: str) -> None:
    with pytest.raises(UsageError, match="does not search"):
        with_limits(spec, Limits(sims=1))


@pytest.mark.parametrize(("board", "players"), CONFIGURATIONS)
def test_moves_of_whole_games_are_read_as_written(board: str, players: int) -> None:
    walk = Walk(board, players, seed=5)
    pie = walk.position.to_json()["pie_rule"] == "on"
    course = Course.begin(Game(board, players, pie))
    for _, action, _ in walk.steps():
        course = course.play(action)
    line = protocol.place_line(Place(None, course.moves)).removeprefix("position ")
    assert protocol.parse_place(line) == Place(None, course.moves)
    assert Course.begin(course.game).to(protocol.parse_place(line)) == course
    for move in course.moves:  # what separates a move from what may stand behind it
        assert "|" not in move
        assert " value " not in move


def test_a_saved_position_is_read_as_written() -> None:
    for position in positions("square8", 3, seed=1, plies=40):
        place = Place(saved(position), ())
        assert protocol.parse_place(protocol.place_line(place).removeprefix("position ")) == place
        assert Course.begin(Game("square8", 3), place.state).position == position


def test_spaces_of_moves_do_not_matter() -> None:
    place = protocol.parse_place("start  moves  place  0,0 2|move 0,0   2,0 ")
    assert place.moves == ("place 0,0 2", "move 0,0 2,0")
    assert protocol.parse_place("start moves") == protocol.parse_place("start") == Place(None, ())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "position is '', expected start or state"),
        ("startpos", "position is 'startpos', expected start or state"),
        ("start place 0,0 2", "found 'place', expected moves"),
        ("start moves |", "Move 1 of 2 is empty"),
        ("start moves swap | region " + 5000 * "0,0;", "Move 2 of 2 is too long"),
        ("start moves place 0,0 2 | ", "Move 2 of 2 is empty"),
        ("state", "does not begin with a saved position"),
        ("state {", "does not begin with a saved position"),
        ("state [1]", "is not a saved position"),
        ("state 7 moves place 0,0 1", "is not a saved position"),
        ("state " + "[" * 60_000, "does not begin with a saved position"),
        ("state " + "9" * 6000, "does not begin with a saved position"),
        ('state {"cells": "' + "9. " * 40_000 + '"}', "does not begin with a saved position"),
    ],
)
def test_a_position_that_means_nothing(text: str, sentence: str) -> None:
    with pytest.raises(NotationError) as caught:
        protocol.parse_place(text)
    assert sentence in caught.value.message
    assert len(caught.value.message) < 400


def test_options() -> None:
    assert protocol.parse_option("name Seed value 7") == ("Seed", "7")
    assert protocol.parse_option("name Move Overhead value a  b") == ("Move Overhead", "a b")
    assert protocol.parse_option("name Player value") == ("Player", "")
    for text in ("", "Seed 7", "name Seed", "name value 7"):
        with pytest.raises(NotationError, match="expected name NAME value VALUE"):
            protocol.parse_option(text)


# ---- courses -------------------------------------------------------------------------------------


def test_a_course_goes_on_from_where_it_is() -> None:
    walk = Walk("hex8", 2, seed=2)
    course = Course.begin(GAME)
    for _, action, after in walk.steps(12):
        longer = course.to(Place(None, (*course.moves, course.position.move(action))))
        assert longer.position == after
        assert longer.actions == (*course.actions, action)
        course = longer
    assert course.to(Place(None, course.moves)) is not None
    back = course.to(Place(None, course.moves[:3]))
    assert (back.position.ply, len(back.moves)) == (3, 3)
    state = saved(course.position)
    resumed = course.to(Place(state, ()))
    assert (resumed.position, resumed.moves) == (course.position, ())


def test_a_course_knows_the_pie_rule() -> None:
    start = saved(Position.initial("hex8", pie_rule=True))
    assert Course.begin(GAME, start).pie_rule
    assert Course.begin(Game("hex8", 2, True)).pie_rule
    assert not Course.begin(GAME).pie_rule


def test_a_course_stays_in_its_game() -> None:
    with pytest.raises(UsageError, match=r"hex8 with 3 players, the game one of hex8 with 2"):
        Course.begin(GAME, saved(Position.initial("hex8", 3)))
    with pytest.raises(IllegalMove):
        Course.begin(GAME).to(Place(None, ("skip_placement",)))


# ---- from the engine -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "best", [BestMove("place 0,0 2"), BestMove("swap", (0.25, 0.75)), BestMove("swap", (0, 0, 1))]
)
def test_best_moves_are_read_as_written(best: BestMove) -> None:
    text = str(best).removeprefix("bestmove ")
    assert protocol.parse_best_move(text, len(best.values or ()) or 2) == best


def test_chances_may_be_rounded() -> None:
    values = protocol.parse_best_move("swap value 0.33 0.33 0.33", 3).values
    assert values == (0.33, 0.33, 0.33)
    assert protocol.parse_best_move("swap value 1e-05 1", 2).values == (1e-05, 1)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "has no move"),
        (" value 0.5 0.5", "has no move"),
        ("swap value", "expected 2 win probabilities"),
        ("swap value 1", "expected 2 win probabilities"),
        ("swap value 0.3 0.3 0.4", "expected 2 win probabilities"),
        ("swap value nan nan", "expected 2 win probabilities"),
        ("swap value +-0.5 1.5", "expected 2 win probabilities"),
        ("swap value + 1", "expected 2 win probabilities"),
        ("swap value -0.5 1.5", "expected 2 win probabilities"),
        ("swap value 0.9 0.9", "do not add up to 1"),
        ("swap value 1.5 0", "do not add up to 1"),
    ],
)
def test_best_moves_that_mean_nothing(text: str, sentence: str) -> None:
    with pytest.raises(NotationError) as caught:
        protocol.parse_best_move(text, 2)
    assert sentence in caught.value.message


def test_what_uci_engines_write_is_understood() -> None:
    for text, values in (
        ("swap value .25 .75", (0.25, 0.75)),
        ("swap value 1. 0", (1.0, 0.0)),
        ("swap value +0.5 +.5", (0.5, 0.5)),
        ("swap value 2.5E-01 7.5e-1 ponder place 0,0 1", (0.25, 0.75)),
        ("swap ponder place 0,0 1 value 0.25 0.75", (0.25, 0.75)),
        ("swap ponder place 0,0 1", None),
    ):
        assert protocol.parse_best_move(text, 2) == BestMove("swap", values)


def test_cells_of_lines_and_regions_may_have_any_order(conformance_files: list[Path]) -> None:
    found: dict[str, tuple[Position, str]] = {}
    for path in conformance_files:
        if not path.name.startswith(("hex8", "square8")) or len(found) == 2:
            continue
        for record in read_records(path):
            for position, action in record.positions():
                move = "" if action is None else position.move(action)
                word, cells, *_ = f"{move} . .".split()
                if word in ("line", "region") and ";" in cells:
                    found.setdefault(word, (position, move))
            if len(found) == 2:
                break
    for position, move in found.values():
        word, *parts = move.split()
        other = " ".join([word, *(";".join(part.split(";")[::-1]) for part in parts)])
        assert other != move
        assert protocol.action_of(position, other) == position.action(move)
        course = Course(Game(position.board_name, position.players), None, position)
        assert course.play(other).position == position.play(move)
        with pytest.raises(RingriftError):
            protocol.action_of(position, f"{word} {parts[0].partition(';')[0]}")
    assert {*found} == {"line", "region"}


def test_offers_and_identification() -> None:
    assert protocol.parse_offer("name Seed type spin default 0 min 0 max 9") == "Seed"
    assert protocol.parse_offer("name Clear Hash type button") == "Clear Hash"
    assert protocol.parse_identification("name  my engine ") == ("name", "my engine")
    for text in ("", "Seed type spin", "name Seed"):
        with pytest.raises(NotationError, match="option"):
            protocol.parse_offer(text)
    with pytest.raises(NotationError, match="id: expected"):
        protocol.parse_identification("name")


@given(st.text())
def test_any_text_is_understood_or_refused(text: str) -> None:
    for read in (
        protocol.parse_game,
        protocol.parse_limits,
        protocol.parse_place,
        protocol.parse_option,
        protocol.parse_offer,
        protocol.parse_identification,
        lambda line: protocol.parse_best_move(line, 2),
        lambda line: protocol.parse_place(f"state {json.dumps(line)}"),
    ):
        with contextlib.suppress(RingriftError):
            assert read(text) is not None
