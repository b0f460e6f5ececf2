"""Recorded games: all agree, and whatever is changed in one is found where it was changed."""

from __future__ import annotations

import copy
import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ringrift_cli.errors import RecordError, RingriftError
from ringrift_cli.game.conformance import StepCheck, check_game
from ringrift_cli.game.conformance_files import Report, total_size, verify
from ringrift_cli.system import cores

Game = dict[str, Any]
CONFORMANCE = Path(__file__).parents[1] / "conformance"
GAMES = 416
STEPS = 62_125


def games_of(name: str) -> list[Game]:
    with gzip.open(CONFORMANCE / f"{name}.jsonl.gz") as file:
        return [json.loads(line) for line in file]


def line_of(game: object) -> bytes:
    return json.dumps(game).encode() + b"\n"


def check(game: object) -> StepCheck:
    return check_game(line_of(game))


def verified(*paths: Path, jobs: int = 1) -> Report:
    return verify(paths, jobs=jobs, advance=lambda amount, note: None)


@pytest.fixture(scope="module")
def hex_games() -> list[Game]:
    return games_of("hex8-2p")


@pytest.fixture
def game(hex_games: list[Game]) -> Game:
    """A game of hex8, free to be spoiled."""
    return copy.deepcopy(hex_games[0])


# ---- agreement -----------------------------------------------------------------------------------


def test_all_recorded_games_agree(conformance_files: list[Path]) -> None:
    done: list[int] = []
    report = verify(
        conformance_files,
        jobs=cores(),
        advance=lambda amount, note: done.append(amount),
    )
    assert report.first_faulty is None
    assert (report.games, report.steps, report.faults) == (GAMES, STEPS, 0)
    assert sum(done) == total_size(conformance_files)
    assert all(amount >= 0 for amount in done)


def test_unknown_keys_are_left_alone(game: Game) -> None:
    game["comment"] = "played at night"
    game["steps"][3]["thought_for"] = 1.5
    assert check(game) == StepCheck(len(game["steps"]), None)


# ---- one game that differs -----------------------------------------------------------------------


@pytest.mark.parametrize("key", ["position_sha1", "legal_sha1"])
@pytest.mark.parametrize("name", ["square8-3p", "hex8-4p", "square19-2p", "hexagonal-3p"])
def test_altered_digest_is_found_at_its_step(name: str, key: str) -> None:
    rng = np.random.default_rng(len(name))
    games = games_of(name)
    for index in rng.choice(len(games), size=3, replace=False):
        game = games[index]
        place = int(rng.integers(len(game["steps"])))
        digest = game["steps"][place][key]
        game["steps"][place][key] = ("0" if digest[0] != "0" else "1") + digest[1:]
        found = check(game)
        assert found.steps == place
        assert found.fault is not None
        assert (found.fault.kind, found.fault.step) == (key, place + 1)
        assert digest in found.fault.sentence
        assert game["steps"][place][key] in found.fault.sentence


def test_other_legal_move_is_found_in_the_next_position(hex_games: list[Game]) -> None:
    places = [
        (index, step, move)
        for index, game in enumerate(hex_games[:8])
        for step in range(0, len(game["steps"]) - 1, 8)
        for move in game["steps"][step]["legal"][:2]
        if move != game["steps"][step]["move"]
    ]
    assert len(places) > 80
    for index, step, move in places:
        game = copy.deepcopy(hex_games[index])
        game["steps"][step]["move"] = move
        found = check(game)
        assert found.steps == step + 1
        assert found.fault is not None
        assert found.fault.previous_move == move
        assert found.fault.own_position != hex_games[index]["steps"][step + 1]["position"]


def test_illegal_move_is_named_with_legal_ones_near_it(game: Game) -> None:
    game["steps"][0]["move"] = "place 3,-1 4"
    fault = check(game).fault
    assert fault is not None
    assert (fault.kind, fault.step) == ("move", 1)
    assert "'place 3,-1 4' is not legal" in fault.sentence
    assert "place 3,-1 3" in fault.sentence


def test_altered_position_text_is_shown_beside_the_rules(game: Game) -> None:
    true = game["steps"][5]["position"]
    game["steps"][5]["position"] = true.replace(" | ", " | 2", 1)
    fault = check(game).fault
    assert fault is not None
    assert (fault.kind, fault.step) == ("position", 6)
    assert fault.own_position == true
    assert fault.recorded_position == game["steps"][5]["position"]


def test_legal_moves_of_one_side_alone_are_listed(game: Game) -> None:
    legal = game["steps"][8]["legal"]
    dropped = legal[2]
    legal[2] = "skip_everything"
    fault = check(game).fault
    assert fault is not None
    assert (fault.kind, fault.step) == ("legal", 9)
    assert fault.only_recorded == ("skip_everything",)
    assert fault.only_own == (dropped,)


def test_move_listed_twice_is_found(game: Game) -> None:
    game["steps"][0]["legal"].append(game["steps"][0]["legal"][0])
    fault = check(game).fault
    assert fault is not None
    assert (fault.kind, fault.only_recorded, fault.only_own) == ("legal", (), ())


def test_legal_moves_may_be_listed_in_any_order(game: Game) -> None:
    game["steps"][0]["legal"].reverse()
    assert check(game).fault is None


def alter_count(game: Game) -> None:
    game["steps"][4]["legal_count"] += 1


def drop_last_step(game: Game) -> None:
    game["steps"].pop()


def drop_all_steps(game: Game) -> None:
    game["steps"].clear()


def repeat_last_step(game: Game) -> None:
    game["steps"].append(game["steps"][-1])


def alter_final(game: Game) -> None:
    game["final"] = game["final"].replace("game_over", "movement")


def alter_winner(game: Game) -> None:
    game["result"]["winner"] = 3 - game["result"]["winner"]


def alter_reason(game: Game) -> None:
    game["result"]["reason"] = "stalemate"


def alter_ranks(game: Game) -> None:
    game["result"]["ranks"].reverse()


@pytest.mark.parametrize(
    ("alter", "kind", "step"),
    [
        (alter_count, "legal_count", 5),
        (drop_last_step, "end", -1),
        (drop_all_steps, "end", 0),
        (repeat_last_step, "end", 1),
        (alter_final, "final", 0),
        (alter_winner, "winner", 0),
        (alter_reason, "reason", 0),
        (alter_ranks, "ranks", 0),
    ],
)
def test_altered_game_is_found(
    game: Game, alter: Callable[[Game], None], kind: str, step: int
) -> None:
    steps = len(game["steps"])
    alter(game)
    fault = check(game).fault
    assert fault is not None
    assert fault.kind == kind
    # Places near the end are given relative to it.
    assert fault.step == (step if kind == "legal_count" or not game["steps"] else steps + step)
    assert fault.own_position is not None


# ---- one line that is no game --------------------------------------------------------------------


@pytest.mark.parametrize(
    "key", ["board", "players", "pie_rule", "seed", "steps", "final", "result"]
)
def test_missing_key_is_named(game: Game, key: str) -> None:
    del game[key]
    fault = check(game).fault
    assert fault is not None
    assert (fault.kind, fault.sentence) == (
        "format",
        f"the line is not a game: Object missing required field `{key}`",
    )


@pytest.mark.parametrize("key", ["move", "position_sha1", "legal_count", "legal_sha1"])
def test_missing_key_of_a_step_is_named(game: Game, key: str) -> None:
    del game["steps"][6][key]
    fault = check(game).fault
    assert fault is not None
    assert fault.kind == "format"
    assert fault.sentence.endswith(f"missing required field `{key}` - at `$.steps[6]`")


@pytest.mark.parametrize("key", ["winner", "reason", "ranks"])
def test_missing_key_of_the_result_is_named(game: Game, key: str) -> None:
    del game["result"][key]
    fault = check(game).fault
    assert fault is not None
    assert fault.sentence.endswith(f"missing required field `{key}` - at `$.result`")


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("board", "hex9", "the board is 'hex9': expected one of"),
        ("players", 5, "Expected `int` <= 4 - at `$.players`"),
        ("players", True, "Expected `int`, got `bool` - at `$.players`"),
        ("players", 2.5, "Expected `int`, got `float` - at `$.players`"),
        ("pie_rule", 1, "Expected `bool`, got `int` - at `$.pie_rule`"),
        ("steps", {}, "Expected `array`, got `object` - at `$.steps`"),
        ("steps", ["swap"], "Expected `object`, got `str` - at `$.steps[0]`"),
        ("final", None, "Expected `str`, got `null` - at `$.final`"),
        ("result", [], "Expected `object`, got `array` - at `$.result`"),
    ],
)
def test_wrong_value_is_named(game: Game, key: str, value: object, sentence: str) -> None:
    game[key] = value
    fault = check(game).fault
    assert fault is not None
    assert fault.kind == "format"
    assert sentence in fault.sentence


def test_wrong_values_of_a_step_are_named(game: Game) -> None:
    spoiled = copy.deepcopy(game)
    spoiled["steps"][1]["legal"] = [1]
    fault = check(spoiled).fault
    assert fault is not None
    assert fault.sentence.endswith("Expected `str`, got `int` - at `$.steps[1].legal[0]`")
    game["steps"][1]["position"] = 7
    fault = check(game).fault
    assert fault is not None
    assert fault.sentence.endswith("Expected `str`, got `int` - at `$.steps[1].position`")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (b"\n", "the line is blank, expected a game"),
        (b"[]\n", "the line is not a game: Expected `object`, got `array`"),
        (b"{'board': 1}\n", "the line is not JSON (JSON is malformed: "),
        (
            b'{"board": "hex8"',
            "the line is not JSON (Input data was truncated): the file is truncated",
        ),
        (b'{"board": "\xff"}\n', "the line is not "),
        (b"[" * 100_000 + b"\n", "the line is not "),
        (b"9" * 10_000 + b"\n", "the line is not "),
    ],
    ids=["blank", "list", "quotes", "cut", "utf-8", "deep", "digits"],
)
def test_line_that_is_no_game_is_explained(line: bytes, sentence: str) -> None:
    found = check_game(line)
    assert found.steps == 0
    assert found.fault is not None
    assert sentence in found.fault.sentence
    assert len(found.fault.sentence) < 200


# ---- files ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_games(hex_games: list[Game]) -> bytes:
    return b"".join(map(line_of, hex_games[:2]))


def only_fault(path: Path) -> tuple[int, str]:
    """Line and sentence of the one fault of a file."""
    file = verified(path).first_faulty
    assert file is not None
    assert file.first is not None
    assert (file.path, file.faults) == (path, 1)
    return file.first_line, file.first.sentence


def test_plain_and_packed_files_hold_the_same(tmp_path: Path, two_games: bytes) -> None:
    (tmp_path / "plain").write_bytes(two_games)
    (tmp_path / "packed").write_bytes(gzip.compress(two_games))
    (tmp_path / "open end").write_bytes(two_games.rstrip(b"\n"))
    report = verified(*sorted(tmp_path.iterdir()))
    assert [file.games for file in report.files] == [2, 2, 2]
    assert len({file.steps for file in report.files}) == 1


@pytest.mark.parametrize("missing", [1, 4, 8, 9, 100, 3000])
def test_packed_file_without_its_tail(tmp_path: Path, two_games: bytes, missing: int) -> None:
    path = tmp_path / "cut.jsonl.gz"
    path.write_bytes(gzip.compress(two_games)[:-missing])
    line, sentence = only_fault(path)
    assert sentence == "the compressed file is truncated here"
    assert line in (1, 2, 3)


@pytest.mark.parametrize("missing", [2, 10, 1000])
def test_plain_file_without_its_tail(tmp_path: Path, two_games: bytes, missing: int) -> None:
    path = tmp_path / "cut.jsonl"
    path.write_bytes(two_games[:-missing])
    line, sentence = only_fault(path)
    assert line == 2
    assert "the file is truncated" in sentence


def test_damaged_packed_file(tmp_path: Path, two_games: bytes) -> None:
    packed = bytearray(gzip.compress(two_games))
    packed[-6] ^= 1  # of the checksum
    path = tmp_path / "damaged.jsonl.gz"
    path.write_bytes(packed)
    assert "damaged" in only_fault(path)[1]
    packed[40] ^= 0xFF
    path.write_bytes(packed)
    assert verified(path).faults > 0


@pytest.mark.parametrize("content", [b"", gzip.compress(b"")], ids=["plain", "packed"])
def test_file_without_games(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "empty"
    path.write_bytes(content)
    assert only_fault(path) == (1, "the file holds no games")


def test_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"nowhere\.jsonl: there is no such file"):
        total_size([tmp_path / "nowhere.jsonl"])
    with pytest.raises(RecordError, match="not a regular file"):
        total_size([tmp_path])


@pytest.mark.parametrize("jobs", [1, 3])
def test_first_fault_is_the_first_in_the_files(
    tmp_path: Path, hex_games: list[Game], jobs: int
) -> None:
    games = copy.deepcopy(hex_games[:6])
    games[2]["steps"][30]["legal_count"] = 0
    games[4]["steps"][2]["legal_count"] = 0
    paths = [tmp_path / "good", tmp_path / "bad", tmp_path / "worse"]
    paths[0].write_bytes(b"".join(map(line_of, hex_games[:2])))
    paths[1].write_bytes(b"".join(map(line_of, games)))
    paths[2].write_bytes(b"?\n")
    report = verified(*paths, jobs=jobs)
    assert [file.faults for file in report.files] == [0, 2, 1]
    assert [file.games for file in report.files] == [2, 4, 0]
    file = report.first_faulty
    assert file is not None
    assert file.first is not None
    assert (file.path, file.first_line, file.first.step) == (paths[1], 3, 31)


def die(_task: object) -> None:
    os._exit(1)


def test_process_that_dies_is_told(
    monkeypatch: pytest.MonkeyPatch, conformance_files: list[Path]
) -> None:
    monkeypatch.setattr("ringrift_cli.game.conformance_files._check", die)
    with pytest.raises(RingriftError, match="killed") as caught:
        verified(conformance_files[0], jobs=2)
    assert caught.value.hint == "ringrift verify --jobs 1 FILE"
