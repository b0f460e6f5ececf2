"""A game of people against players: its course, undo, its file, and the choices a person has."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from ringrift_cli.errors import (
    IllegalMove,
    OutputError,
    PlayerError,
    RecordError,
    RulesMismatch,
    UsageError,
)
from ringrift_cli.game.position import Position
from ringrift_cli.game.record import read_records
from ringrift_cli.play.session import SavedGame, Seat, Session, read_game, start_of
from ringrift_cli.players.player import Choices, Decisions, Player
from ringrift_cli.players.spec import make_player

PERSON, RANDOM, GOOD = Seat(), Seat("random"), Seat("heuristic:default", 6)
GAMES = [
    SavedGame("hex8", (PERSON, GOOD), 1, pie_rule=True),
    SavedGame("hex8", (RANDOM, PERSON, GOOD), 2),
    SavedGame("square8", (RANDOM, RANDOM, PERSON, RANDOM), 3),
]


class Puppet:
    """A player that does what it is told."""

    spec = identity = "puppet"

    def __init__(self, choose: Callable[[Decisions], int]) -> None:
        self._choose = choose
        self.closed = 0

    def choose(self, asked: Decisions) -> Choices:
        return Choices(np.array([self._choose(asked)], np.int32))

    def close(self) -> None:
        self.closed += 1


def maker(setting: SavedGame) -> Callable[[str], Player]:
    return lambda spec: make_player(spec, setting.board, setting.players)


def session(setting: SavedGame, actions: tuple[int, ...] = ()) -> Session:
    return Session(msgspec.structs.replace(setting, actions=actions), maker(setting))


def step(game: Session, rng: np.random.Generator) -> None:
    """One decision, whosever it is; a person's is drawn."""
    if game.persons_turn:
        game.play(int(rng.choice(game.position.legal_actions())))
    else:
        game.answer()


def to_person(game: Session) -> Session:
    """Lets the players decide until a person has to, or the game is over."""
    while not game.is_over and not game.persons_turn:
        game.answer()
    return game


def play_on(game: Session, seed: int, decisions: int | None = None) -> Session:
    rng = np.random.default_rng(seed)
    while not game.is_over and decisions != 0:
        step(game, rng)
        decisions = None if decisions is None else decisions - 1
    return game


def state(game: Session) -> tuple[Any, ...]:
    """All of a session that can be seen."""
    return (list(game.positions), list(game.actions), list(game.moves), game.resigned)


# ---- the course of a game -----------------------------------------------------------------------


@pytest.mark.parametrize("setting", GAMES, ids=lambda setting: f"{setting.players}p")
def test_a_game_is_played_to_its_end_and_recorded(setting: SavedGame, tmp_path: Path) -> None:
    game = play_on(session(setting), 5)
    result = game.position.result()
    assert result is not None
    path = tmp_path / "game.jsonl"
    game.record(path)
    (record,) = read_records(path)
    assert (record.board, record.players, record.pie_rule) == (
        setting.board,
        setting.players,
        setting.pie_rule,
    )
    assert record.actions == tuple(game.actions)
    assert record.moves() == list(game.moves)
    assert record.result == result
    assert record.made["seats"] == [seat.spec or "person" for seat in setting.seats]
    assert [position for position, _ in record.positions()] == list(game.positions)


def test_everybody_decides_at_their_own_seat() -> None:
    asked: list[tuple[str, int]] = []

    def make(spec: str) -> Player:
        def choose(decisions: Decisions) -> int:
            row = decisions.rows[0]
            asked.append((spec, int(row[1]) + 1))
            assert len(decisions.histories[0] or ()) == int(row[16])
            return int(game.position.legal_actions()[0])

        return Puppet(choose)

    setting = SavedGame("hex8", (Seat("x"), PERSON, Seat("y")), 0)
    game = Session(setting, make)
    play_on(game, 1, 40)
    assert {*asked} == {("x", 1), ("y", 3)}


def test_the_seed_decides_the_answers() -> None:
    def answers(seed: int) -> list[str]:
        setting = SavedGame("square8", (RANDOM, PERSON), seed)
        return list(play_on(session(setting), 3, 12).moves)

    assert answers(1) == answers(1)
    assert answers(1) != answers(2)


def test_a_person_cannot_decide_what_is_not_legal() -> None:
    game = session(GAMES[0])
    before = state(game)
    with pytest.raises(IllegalMove):
        game.play(1_000_000)
    assert state(game) == before


def test_a_swap_exchanges_who_sits_where() -> None:
    setting = SavedGame("hex8", (PERSON, Seat("swaps")), 0, pie_rule=True)

    def make(_spec: str) -> Player:
        return Puppet(lambda _asked: game.position.action("swap"))

    game = Session(setting, make)
    for move in ("place 0,0 1", "move 0,0 1,0"):
        game.play(game.position.action(move))
    game.answer()
    assert game.seats(game.position) == (Seat("swaps"), PERSON)
    assert game.seats(game.positions[0]) == setting.seats
    assert game.mover(game.position).is_person
    assert game.position.seat == 2
    assert game.undo() == 2  # the swap was not the person's
    assert game.moves == ["place 0,0 1"]


def test_advice_comes_from_another_player_and_changes_nothing() -> None:
    game = play_on(session(GAMES[1]), 4, 20)
    to_person(game)
    before = state(game)
    advice = game.advice(Seat("heuristic"))
    assert advice.actions[0] in game.position.legal_actions()
    assert advice.values is not None
    assert advice.values.shape == (1, 3)
    assert state(game) == before


# ---- players that fail --------------------------------------------------------------------------


def test_a_player_that_names_no_legal_move_fails_and_the_game_stands() -> None:
    setting = SavedGame("hex8", (Seat("cheat"), PERSON), 0)
    game = Session(setting, lambda _spec: Puppet(lambda _asked: 1_000_000))
    before = state(game)
    with pytest.raises(PlayerError, match=r"'cheat' chose the action 1000000, not legal in 5\./"):
        game.answer()
    assert state(game) == before


def test_players_are_closed_also_when_one_cannot_be_made() -> None:
    puppets = [Puppet(lambda _asked: 0)]

    def make(spec: str) -> Player:
        if spec == "none":
            raise UsageError("no such player")
        return puppets[0]

    setting = SavedGame("hex8", (Seat("one"), Seat("none"), PERSON), 0)
    with pytest.raises(UsageError):
        Session(setting, make)
    assert puppets[0].closed == 1
    setting = SavedGame("hex8", (Seat("one"), Seat("one"), PERSON), 0)
    Session(setting, make).close()
    assert puppets[0].closed == 2


# ---- undo and resigning -------------------------------------------------------------------------


@pytest.mark.parametrize("setting", GAMES, ids=lambda setting: f"{setting.players}p")
def test_undo_goes_back_to_each_decision_of_the_person(setting: SavedGame) -> None:
    game, rng = session(setting), np.random.default_rng(8)
    stood: list[tuple[Any, ...]] = []
    while not game.is_over:
        if game.persons_turn:
            stood.append(state(game))
        step(game, rng)
    played = list(game.moves)
    while stood:
        gone = game.undo()
        assert state(game) == stood.pop()
        assert gone == len(played) - len(game.moves)
        assert list(game.moves) == played[: len(game.moves)]
        played = played[: len(game.moves)]
    assert game.undo() == 0


@pytest.mark.parametrize("setting", GAMES, ids=lambda setting: f"{setting.players}p")
def test_after_an_undo_the_same_decision_gets_the_same_answers(setting: SavedGame) -> None:
    game = play_on(session(setting), 9, 20)
    to_person(game)
    game.play(int(game.position.legal_actions()[-1]))
    to_person(game)
    before = state(game)
    game.undo()
    game.play(int(game.position.legal_actions()[-1]))
    assert state(to_person(game)) == before


def test_resigning_ends_the_game_and_can_be_taken_back(tmp_path: Path) -> None:
    game = play_on(session(GAMES[0]), 2, 10)
    to_person(game)
    before = state(game)
    game.resign()
    assert (game.is_over, game.resigned) == (True, game.position.seat)
    with pytest.raises(RecordError, match="was given up"):
        game.record(tmp_path / "game.jsonl")
    game.save(tmp_path / "game.json")
    again = Session(read_game(tmp_path / "game.json"), maker(game.setup))
    assert again.resigned == game.resigned
    for each in (game, again):
        assert each.undo() == 1
        assert state(each) == before


# ---- the file -----------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", GAMES, ids=lambda setting: f"{setting.players}p")
@pytest.mark.parametrize("decisions", [0, 1, 13, 30])
def test_a_game_goes_on_from_its_file_as_if_it_had_not_stopped(
    setting: SavedGame, decisions: int, tmp_path: Path
) -> None:
    whole = play_on(session(setting), 6)
    game, rng = session(setting), np.random.default_rng(6)
    for _ in range(decisions):
        step(game, rng)
    path = tmp_path / "game.json"
    game.save(path)
    saved = read_game(path)
    assert msgspec.structs.replace(saved, actions=()) == setting
    again = Session(saved, maker(setting))
    assert state(again) == state(game)
    while not again.is_over:
        step(again, rng)
    assert state(again) == state(whole)


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="Cannot write"):
        session(GAMES[0]).save(tmp_path / "file" / "game.json")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def saved_document(tmp_path: Path) -> dict[str, Any]:
    play_on(session(GAMES[1]), 1, 12).save(tmp_path / "good.json")
    document: dict[str, Any] = json.loads((tmp_path / "good.json").read_text())
    return document


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "ringrift-position"}, "its format is not"),
        ({"board": "chess"}, "Unknown board 'chess'"),
        ({"board": 8}, r"Expected `str`, got `int` - at `\$\.board`"),
        ({"players": 2}, "names 3 seats for 2 players"),
        ({"seats": []}, "2, 3 or 4 players, not 0"),
        ({"seats": [1, 2, 3]}, r"Expected `object`, got `int` - at `\$\.seats\[0\]`"),
        ({"seats": [{"spec": 1, "level": None}] * 3}, r"`\$\.seats\[0\]\.spec`"),
        ({"seats": [{"spec": None, "level": True}] * 3}, r"`\$\.seats\[0\]\.level`"),
        ({"seed": -1}, r"Expected `int` >= 0 - at `\$\.seed`"),
        ({"seed": True}, r"got `bool` - at `\$\.seed`"),
        ({"pie_rule": 0}, "Expected `bool`, got `int`"),
        ({"pie_rule": True}, "pie rule is for 2 players"),
        ({"moves": "none"}, "Expected `array`, got `str`"),
        ({"moves": [1]}, r"Expected `str`, got `int` - at `\$\.moves\[0\]`"),
        ({"moves": ["jump"]}, "Move 'jump' begins with none of"),
        ({"moves": ["place 9,9 1"]}, "no cell 9,9"),
        ({"moves": ["move 0,0 0,1"]}, "Illegal move"),
        ({"moves": []}, "do not lead to its position"),
        ({"resigned": 7}, "seat 7 was not to move"),
        ({"resigned": "B"}, r"`\$\.resigned`"),
    ],
)
def test_a_changed_file_is_refused_and_named(
    change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps({**saved_document(tmp_path), **change}))
    with pytest.raises(RecordError, match=said) as failure:
        read_game(path)
    assert str(path) in failure.value.message
    assert failure.value.exit_code == 1


@pytest.mark.parametrize("change", [{"version": 2}, {"rules": "0" * 12}])
def test_a_file_of_other_rules_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps({**saved_document(tmp_path), **change}))
    with pytest.raises(RulesMismatch):
        read_game(path)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b"9" * 10_000, b"null"]
)
def test_a_file_that_is_no_saved_game_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(data)
    with pytest.raises(RecordError, match="not a saved game"):
        read_game(path)
    with pytest.raises(RecordError, match="No such file"):
        read_game(tmp_path / "none.json")
    with pytest.raises(RecordError, match="Is a directory"):
        read_game(tmp_path)


def test_only_a_finished_game_is_recorded(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="is not over") as failure:
        session(GAMES[0]).record(tmp_path / "game.jsonl")
    assert failure.value.hint
    assert not (tmp_path / "game.jsonl").exists()


# ---- games from a position -----------------------------------------------------------------------


def test_a_game_from_a_position_is_saved_with_it_and_not_recorded(tmp_path: Path) -> None:
    played = Position.initial("hex8").play("place 0,0 2").play("move 0,0 2,0")
    for text in (str(played), json.dumps(played.to_json())):
        start = start_of(text)
        setting = SavedGame("hex8", (GOOD, PERSON), 3, start=start)
        game = session(setting)
        first = game.position
        assert str(first) == str(played)
        rng = np.random.default_rng(1)
        for _ in range(12):
            step(game, rng)
        last = str(game.position)
        game.save(tmp_path / "game.json")
        back = Session(read_game(tmp_path / "game.json"), maker(setting))
        assert (str(back.position), back.moves) == (last, game.moves)
        while game.undo():
            pass
        assert game.position == first
        while game.redo():
            pass
        assert str(game.position) == last
        with pytest.raises(RecordError, match="from its beginning"):
            game.record(tmp_path / "game.jsonl")
        with pytest.raises(RecordError, match="from its beginning"):
            read_game(tmp_path / "game.json").replayed()


def test_a_start_of_another_board_is_refused(tmp_path: Path) -> None:
    setting = SavedGame("hex8", (PERSON, PERSON), 3, start=Position.initial("hex8").to_json())
    path = tmp_path / "game.json"
    session(setting).save(path)
    document = json.loads(path.read_text())
    document["start"] = Position.initial("square8").to_json()
    path.write_text(json.dumps(document))
    with pytest.raises(RecordError, match="square8, not of hex8"):
        read_game(path)
