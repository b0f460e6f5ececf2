"""Records: what was written is read back, and what was changed is refused."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import re
import resource
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ringrift_cli.errors import IllegalMove, OutputError, RecordError, RulesMismatch
from ringrift_cli.game.position import Position
from ringrift_cli.game.record import (
    GameRecord,
    read_records,
    readable_lines,
    to_compact,
    write_records,
)
from ringrift_cli.game.result import Result
from tests.walks import CONFIGURATIONS, Walk

FORMS = ("games.rrg", "games.jsonl", "games.jsonl.gz")
MAGIC = b"RINGRIFT-GAMES 1\n"


def recorded(board: str, players: int, seed: int, number: int = 0) -> GameRecord:
    """A random game; with two players and an odd seed under the pie rule."""
    walk = Walk(board, players, 2 * number + seed % 2)
    actions = tuple(action for _, action, _ in walk.steps())
    result = walk.position.result()
    assert result is not None
    pie_rule = players == 2 and bool(seed % 2)
    made = {"policy": "test", "seed": seed, "number": number}
    return GameRecord(board, players, pie_rule, actions, result, made)


@pytest.fixture(scope="module")
def games() -> list[GameRecord]:
    return [recorded("hex8", 2, 1, number) for number in range(3)]


@pytest.fixture(scope="module")
def short() -> GameRecord:
    """The shortest of some games: every byte of its record will be spoiled in turn."""
    found = [recorded("square8", 4, 0, number) for number in range(20)]
    return min(found, key=lambda record: len(record.actions))


def document(record: GameRecord) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(readable_lines([record]))
    return found


def refusal(path: Path, content: bytes | dict[str, Any]) -> str:
    """What is said of a file with this content."""
    if isinstance(content, dict):
        content = json.dumps(content).encode() + b"\n"
    path.write_bytes(content)
    with pytest.raises(RecordError) as caught:
        read_records(path)
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message
    return caught.value.message


# ---- round trips --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize(("board", "players"), CONFIGURATIONS)
def test_games_are_read_back_as_written(
    tmp_path: Path, board: str, players: int, name: str
) -> None:
    count = 3 if board.endswith("8") else 1
    records = [recorded(board, players, 1, number) for number in range(count)]
    path = tmp_path / "a folder that is not there" / name
    write_records(path, records)
    assert read_records(path) == records
    assert [entry.name for entry in path.parent.iterdir()] == [name]


def test_one_form_becomes_the_other(tmp_path: Path, games: list[GameRecord]) -> None:
    paths = [tmp_path / name for name in (*FORMS, "again.rrg")]
    records = games
    for path in paths:
        write_records(path, records)
        records = read_records(path)
    assert records == games
    assert paths[0].read_bytes() == paths[-1].read_bytes()


def test_records_are_the_same_bytes_every_time(games: list[GameRecord], tmp_path: Path) -> None:
    for name in FORMS:
        written = []
        for folder in ("one", "two"):
            write_records(tmp_path / folder / name, games)
            written.append((tmp_path / folder / name).read_bytes())
        assert written[0] == written[1]


def test_compact_records_are_small(games: list[GameRecord]) -> None:
    assert len(to_compact(games)) < len(readable_lines(games)) / 5


def test_positions_and_moves_of_a_record(games: list[GameRecord]) -> None:
    record = games[1]
    positions = list(record.positions())
    assert len(positions) == len(record.actions) + 1
    assert positions[-1][1] is None
    assert positions[-1][0].result() == record.result
    assert [action for _, action in positions[:-1]] == list(record.actions)
    moves = record.moves()
    pairs = zip(positions[:-1], moves, strict=True)
    assert all(at.action(move) == action for (at, action), move in pairs)
    wrong = replace(record, actions=(0, *record.actions))
    with pytest.raises(IllegalMove):
        list(wrong.positions())


def test_conformance_games_are_records_too(conformance_files: list[Path]) -> None:
    path = next(path for path in conformance_files if path.name.startswith("square8-4p"))
    records = read_records(path)
    with gzip.open(path) as file:
        lines = [json.loads(line) for line in file]
    assert [record.moves() for record in records] == [
        [step["move"] for step in line["steps"]] for line in lines
    ]
    assert {record.board for record in records} == {"square8"}


# ---- damaged files ------------------------------------------------------------------------------


def test_every_spoiled_byte_of_a_compact_file_is_noticed(tmp_path: Path, short: GameRecord) -> None:
    good = to_compact([short])
    assert len(good) < 700
    path = tmp_path / "spoiled.rrg"
    for at in range(len(good)):
        spoiled = bytearray(good)
        spoiled[at] ^= (0x01, 0x80, 0xFF)[at % 3]
        refusal(path, bytes(spoiled))


def test_every_cut_of_a_compact_file_is_noticed(tmp_path: Path, short: GameRecord) -> None:
    good = to_compact([short])
    path = tmp_path / "cut.rrg"
    for length in range(len(good)):
        refusal(path, good[:length] if length % 2 else good[len(good) - length :])
    for more in (b"\0", b"\n", good):
        refusal(path, good + more)
    path.write_bytes(good)
    assert read_records(path) == [short]


def read_or_none(path: Path, content: bytes) -> list[GameRecord] | None:
    path.write_bytes(content)
    try:
        return read_records(path)
    except RecordError:
        return None


def test_spoiled_byte_of_a_packed_file_is_noticed_or_harmless(
    tmp_path: Path, short: GameRecord
) -> None:
    """Some bytes say nothing of the game, as the time in the header of gzip."""
    path = tmp_path / "games.jsonl.gz"
    write_records(path, [short])
    good, refused = path.read_bytes(), 0
    for at in range(len(good)):
        spoiled = bytearray(good)
        spoiled[at] ^= (0x01, 0x80)[at % 2]
        read = read_or_none(path, bytes(spoiled))
        assert read in (None, [short])
        refused += read is None
    assert refused > len(good) - 20


def test_spoiled_byte_of_a_readable_file_is_noticed_or_another_game(
    tmp_path: Path, short: GameRecord
) -> None:
    """It has no checksum: a placement of 2 may become one of 3, if all that follows is legal."""
    path = tmp_path / "games.jsonl"
    write_records(path, [short])
    good, refused = path.read_bytes(), 0
    for at in range(0, len(good), 3):
        spoiled = bytearray(good)
        spoiled[at] ^= 1 << at % 8
        read = read_or_none(path, bytes(spoiled))
        refused += read is None
        for record in read or []:
            assert list(record.positions())[-1][0].result() == record.result == short.result
    assert refused > len(good) / 5


@pytest.mark.parametrize("name", FORMS[1:])
def test_readable_file_without_its_tail(tmp_path: Path, games: list[GameRecord], name: str) -> None:
    path = tmp_path / name
    write_records(path, games)
    good = path.read_bytes()
    for length in [0, 1, 2, 17, *range(20, len(good) - 1, len(good) // 40)]:
        message = refusal(path, good[:length])
        assert re.search("truncated|malformed|holds no games", message)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no games"),
        (gzip.compress(b"", mtime=0), "holds no games"),
        (b"\n", "line 1: Input data was truncated"),
        (b"{}\n", "line 1: not a record of a game: Object missing required field"),
        (b"[]\n", "not a record of a game: Expected `object`, got `array`"),
        (b"null\n", "not a record of a game: Expected `object`, got `null`"),
        (b"\xff\xfe\x00", "line 1: JSON is malformed"),
        (b"[" * 100_000, "line 1: maximum recursion depth"),
        (b"9" * 10_000, "line 1: Integer value out of range"),
        (b"\x1f\x8b", "truncated or damaged"),
        (b"\x1f\x8b\x08\xff" + b"\0" * 40, "truncated or damaged"),
        (b"\x89PNG\r\n\x1a\n", "line 1: JSON is malformed"),
        (b"RINGRIFT-GAMES 2\n{}\n", "another version than 1"),
        (b"RINGRIFT-GAMES 1\n", "checksum does not match"),
    ],
)
def test_file_that_is_no_record(tmp_path: Path, content: bytes, said: str) -> None:
    assert said in refusal(tmp_path / "file", content)


def test_file_that_is_not_there_or_no_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none.rrg", tmp_path):
        with pytest.raises(RecordError, match=str(path)):
            read_records(path)


# ---- games that differ --------------------------------------------------------------------------


def other_result(result: dict[str, Any]) -> Iterator[Any]:
    yield {**result, "winner": 3 - result["winner"]}
    yield {**result, "reason": "stalemate"}
    yield {**result, "ranks": result["ranks"][::-1]}
    yield {**result, "more": 1}
    yield from (None, [], {}, "1-0")


def test_wrong_result_is_told_with_the_right_one(tmp_path: Path, games: list[GameRecord]) -> None:
    good = document(games[0])
    for result in other_result(good["result"]):
        message = refusal(tmp_path / "game.jsonl", {**good, "result": result})
        assert f"line 1: its result is {result}, but the moves give {good['result']}" in message
    wrong = replace(games[0], result=Result(3 - games[0].result.winner, "stalemate", (2, 1)))
    message = refusal(tmp_path / "games.rrg", to_compact([replace(wrong, made={})]))
    assert "game 1: its result is" in message


def test_altered_moves_are_found_where_they_stand(tmp_path: Path, games: list[GameRecord]) -> None:
    good, path = document(games[0]), tmp_path / "game.jsonl"
    for ply, move, said in (
        (0, "place 9,9 1", "decision 1: Move 'place 9,9 1': there is no cell 9,9"),
        (4, "place 0,0", "decision 5: Move 'place 0,0' is not complete"),
        (7, "swap", "decision 8: Illegal move 'swap'"),
        (11, "", "decision 12: Move ''"),
    ):
        moves = [*good["moves"][:ply], move, *good["moves"][ply + 1 :]]
        assert f"line 1: {said}" in refusal(path, {**good, "moves": moves})
    short = {**good, "moves": good["moves"][:-1]}
    assert "the record is truncated" in refusal(path, short)
    assert "the record is truncated" in refusal(path, {**good, "moves": []})
    long = {**good, "moves": [*good["moves"], "swap"]}
    assert "it has the move 'swap' after the end of the game" in refusal(path, long)


def test_the_line_that_is_wrong_is_named(tmp_path: Path, games: list[GameRecord]) -> None:
    lines = readable_lines(games).splitlines(keepends=True)
    path = tmp_path / "games.jsonl"
    assert f"{path}, line 2" in refusal(path, lines[0] + lines[1][:-9] + b"\n" + lines[2])
    assert f"{path}, line 3" in refusal(path, lines[0] + lines[1] + b"\n" + lines[2])


WRONG_FIELDS: dict[str, list[object]] = {
    "board": ["hex9", None, 8, ["hex8"]],
    "players": [1, 5, 2.0, True, "2", None],
    "pie_rule": [0, 1, None, "yes"],
    "moves": [None, "place 0,0 1", [1], {}, [["place 0,0 1"]]],
    "made": [None, [], "me"],
    "format": ["chess", None, 1],
    "rules": [None, 1],
    "version": [None, "1"],
}


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in WRONG_FIELDS.items() for value in values]
)
def test_field_of_the_wrong_kind(
    tmp_path: Path, games: list[GameRecord], key: str, value: object
) -> None:
    refusal(tmp_path / "game.jsonl", {**document(games[0]), key: value})


def test_records_under_other_rules_are_told_apart(tmp_path: Path, games: list[GameRecord]) -> None:
    good = document(games[0])
    for change in ({"rules": "0" * 12}, {"version": 2}):
        path = tmp_path / "game.jsonl"
        path.write_text(json.dumps({**good, **change}))
        with pytest.raises(RulesMismatch, match=f"{path}, line 1: .*{next(iter(change.values()))}"):
            read_records(path)


def parting(games: Path) -> Iterator[tuple[GameRecord, Position, Position]]:
    """Games, and where versions 1 and 2 of the rules first allow different moves, under each."""
    for game in read_records(games):
        old = Position.initial(game.board, game.players, pie_rule=game.pie_rule, rules=1)
        for new, action in game.positions():
            assert action is not None
            if old.legal_moves() != new.legal_moves():
                yield game, old, new
                break
            old = old.play(action)


def ended(game: GameRecord, position: Position) -> GameRecord:
    """The game up to the position, and on by moves that other versions of the rules may lack."""
    actions, rules = [*game.actions[: position.ply]], position.rules
    while not position.is_over:
        actions.append(int(position.legal_actions()[-1]))  # a skip, if there is one
        position = position.play(actions[-1])
    result = position.result()
    assert result is not None
    return replace(game, actions=tuple(actions), result=result, made={}, rules=rules)


@pytest.mark.parametrize("name", FORMS)
def test_records_of_earlier_rules_are_replayed_under_them(tmp_path: Path, name: str) -> None:
    games = Path(__file__).parents[1] / "conformance" / "recovery-without-slide.jsonl.gz"
    for game, old, new in parting(games):
        assert old.ply > 0
        path = tmp_path / name
        for position in (old, new):
            record = ended(game, position)
            write_records(path, [record])
            assert read_records(path) == [record]
        wrong = tmp_path / "wrong.rrg"
        write_records(wrong, [replace(record, rules=1)])
        with pytest.raises(RecordError, match=r"wrong.rrg: game 1: decision .* is not legal"):
            read_records(wrong)


def rewritten(record: GameRecord, change: dict[str, Any], body: bytes | None = None) -> bytes:
    """A compact file with another header or body, and the checksum that goes with it."""
    data = to_compact([record])[:-32]
    line, _, packed = data[len(MAGIC) :].partition(b"\n")
    header = {**json.loads(line), **change}
    packed = packed if body is None else zlib.compress(body)
    data = MAGIC + json.dumps(header).encode() + b"\n" + packed
    return data + hashlib.sha256(data).digest()


def test_compact_records_under_other_rules(tmp_path: Path, short: GameRecord) -> None:
    path = tmp_path / "games.rrg"
    for key, said in (("rules", "123456789abc; these are"), ("codec", "123456789abc, expected")):
        path.write_bytes(rewritten(short, {key: "123456789abc"}))
        with pytest.raises(RulesMismatch, match=f"{path}: .*{said}"):
            read_records(path)
    path.write_bytes(b"RINGRIFT-GAMES 2\n" + to_compact([short])[17:])
    with pytest.raises(RulesMismatch, match="another version than 1"):
        read_records(path)


@pytest.mark.parametrize(
    "change",
    [
        {"board": "hexagonal"},
        {"board": None},
        {"players": 2},
        {"players": 4.0},
        {"pie_rule": None},
        {"games": 0},
        {"games": 2},
        {"games": -1},
        {"games": 10**12},
        {"games": "1"},
        {"decisions": 0},
        {"decisions": 10**12},
        {"decisions": 1.5},
        {"made": None},
        {"rules": {}},
        {"codec": []},
    ],
)
def test_header_that_does_not_fit_its_games(
    tmp_path: Path, short: GameRecord, change: dict[str, Any]
) -> None:
    """The checksum fits: another program wrote this, or a wrong one."""
    refusal(tmp_path / "games.rrg", rewritten(short, change))


def test_body_that_does_not_fit_its_header(tmp_path: Path, short: GameRecord) -> None:
    path = tmp_path / "games.rrg"
    data = to_compact([short])[len(MAGIC) : -32]
    body = zlib.decompress(data.partition(b"\n")[2])
    assert rewritten(short, {}, body) == to_compact([short])
    for wrong in (
        b"",
        body[:-4],
        body + b"\0\0\0\0",
        b"\xff\xff\xff\xff" + body[4:],  # its length
        b"\0\0\0\0" + body[4:],
        body[:4] + b"\0" + body[5:],  # its winner
        body[:5] + b"\xff" + body[6:],  # its reason
        body[:6] + b"\x09" + body[7:],  # a rank
        body[:10] + b"\xff\xff\xff\xff" + body[14:],  # an action, as -1
        body[:-4] + b"\xff\xff\xff\x7f",
    ):
        refusal(path, rewritten(short, {}, wrong))
    data = MAGIC + b"[]\n" + zlib.compress(body)
    refusal(path, data + hashlib.sha256(data).digest())
    data = MAGIC + b"{}\nnot compressed"
    refusal(path, data + hashlib.sha256(data).digest())


# ---- writing ------------------------------------------------------------------------------------


def test_a_compact_file_holds_games_of_one_kind(games: list[GameRecord]) -> None:
    for other in (recorded("hex8", 3, 1), recorded("square8", 2, 1), recorded("hex8", 2, 0)):
        with pytest.raises(RecordError, match="one board, player count, pie rule and version"):
            to_compact([games[0], other])
    with pytest.raises(RecordError, match="one origin and consecutive numbers: game 2"):
        to_compact([games[0], games[2]])


def test_name_says_the_form(tmp_path: Path, games: list[GameRecord]) -> None:
    for name in ("games", "games.txt", "games.rrg.gz", "games.json"):
        with pytest.raises(RecordError, match=r"ends in \.rrg, \.jsonl or \.jsonl\.gz"):
            write_records(tmp_path / name, games)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", FORMS)
def test_full_disk_leaves_nothing_behind(
    tmp_path: Path, games: list[GameRecord], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device; no partial file was left"):
        write_records(tmp_path / name, games)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", FORMS)
def test_file_that_grows_too_large_keeps_the_old_one(
    tmp_path: Path, games: list[GameRecord], name: str
) -> None:
    """A real failure in the middle of writing: the system's limit on the size of files."""
    path = tmp_path / name
    path.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(OutputError, match=f"Cannot write {path}: File too large"):
            write_records(path, games)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_folder_that_cannot_be(tmp_path: Path, games: list[GameRecord]) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="Cannot write"):
        write_records(tmp_path / "file" / "games.rrg", games)
    (tmp_path / "games.rrg").mkdir()
    with pytest.raises(OutputError, match="Cannot write"):
        write_records(tmp_path / "games.rrg", games)
    os.mkfifo(tmp_path / "pipe.rrg")  # as /dev/stdout may be one: it must not be replaced
    with pytest.raises(OutputError, match="not a regular file"):
        write_records(tmp_path / "pipe.rrg", games)
    assert (tmp_path / "pipe.rrg").is_fifo()
    assert {entry.name for entry in tmp_path.iterdir()} == {"file", "games.rrg", "pipe.rrg"}


def test_ctrl_c_in_the_middle_leaves_nothing_behind(
    tmp_path: Path, games: list[GameRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_records(tmp_path / "games.rrg", games)
    assert not list(tmp_path.iterdir())


def test_new_files_have_the_usual_permissions(tmp_path: Path, games: list[GameRecord]) -> None:
    (tmp_path / "plain").touch()
    write_records(tmp_path / "games.rrg", games)
    assert (tmp_path / "games.rrg").stat().st_mode == (tmp_path / "plain").stat().st_mode
