"""`ringrift show`: positions and games drawn, stepped through, and written as pictures."""

from __future__ import annotations

import gzip
import io
import json
import re
import signal
import struct
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from ringrift_cli.game.position import Position
from ringrift_cli.game.record import GameRecord, write_records
from tests.conftest import Ringrift
from tests.terminal import Terminal
from tests.walks import Walk

pytestmark = pytest.mark.usefixtures("compiled_rules")

TEXT = "5./6./7./8./4. s112 4./8./7./6./5. | 1 ring_placement | 16,17 | 0,0"


def played(seed: int) -> GameRecord:
    walk = Walk("hex8", 3, seed)
    actions = tuple(action for _, action, _ in walk.steps())
    result = walk.position.result()
    assert result is not None
    return GameRecord("hex8", 3, False, actions, result, {})


RECORDS = [played(seed) for seed in (1, 2)]


@pytest.fixture(params=["games.rrg", "games.jsonl", "games.jsonl.gz"])
def record(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file with two games, in each of the forms."""
    path = tmp_path / str(request.param)
    write_records(path, RECORDS)
    return path


@pytest.fixture
def games(tmp_path: Path) -> Path:
    path = tmp_path / "games.rrg"
    write_records(path, RECORDS)
    return path


# ---- positions ----------------------------------------------------------------------------------


def test_position_text_is_drawn(ringrift: Ringrift) -> None:
    run = ringrift("show", TEXT)
    assert (run.code, run.err) == (0, "")
    assert "B31" in run.out  # height 3, cap 1
    assert "Player 1 to move: ring placement" in run.out
    assert "0,0=AAB" in run.out
    assert "\x1b" not in run.out


def test_legal_moves_are_listed(ringrift: Ringrift) -> None:
    run = ringrift("show", TEXT, "--moves")
    legal = Position.from_text(TEXT).legal_moves()
    assert run.out.endswith(f"\n{len(legal)} legal moves: {', '.join(legal)}\n")
    document = json.loads(ringrift("show", TEXT, "--moves", "--json").out)
    assert document["legal"] == legal
    assert (document["board"], document["position"]) == ("hex8", TEXT)
    assert "legal" not in json.loads(ringrift("show", TEXT, "--json").out)


def test_finished_position_can_be_drawn(ringrift: Ringrift) -> None:
    run = ringrift("show", TEXT.replace("ring_placement", "game_over"))
    assert run.code == 0
    assert "Game over" in run.out


def test_saved_position_is_drawn(ringrift: Ringrift, tmp_path: Path) -> None:
    position = Position.initial("square8").play("place 3,3 2")
    path = tmp_path / "saved.json"
    path.write_text(json.dumps(position.to_json()))
    run = ringrift("show", path, "--moves", "--json")
    document = json.loads(run.out)
    assert document["position"] == str(position)
    assert document["legal"] == position.legal_moves()
    path.write_text(json.dumps({**position.to_json(), "seat": 2}))
    run = ringrift("show", path)
    assert (run.code, run.out) == (1, "")
    assert len(run.err.splitlines()) == 1


def test_pictures(ringrift: Ringrift, tmp_path: Path) -> None:
    svg, png = tmp_path / "new folder" / "board.svg", tmp_path / "board.png"
    run = ringrift("show", TEXT, "--svg", svg)
    assert (run.code, run.err.splitlines()[-1]) == (2, f"  try: mkdir -p '{svg.parent}'")
    svg.parent.mkdir()
    run = ringrift("show", TEXT, "--svg", svg, "--png", png, "--width", 320)
    assert run.code == 0
    assert run.err.splitlines() == [f"Wrote {svg}.", f"Wrote {png}."]
    assert ET.fromstring(svg.read_text()).get("width") == "320"
    data = png.read_bytes()
    assert data.startswith(b"\x89PNG")
    assert struct.unpack(">I", data[16:20]) == (320,)
    quiet = ringrift("show", TEXT, "--svg", svg, "-q", "--json")
    assert quiet.err == ""
    assert json.loads(quiet.out)["files"] == [str(svg)]


# ---- games, without a terminal ------------------------------------------------------------------


def test_end_of_the_first_game_is_shown(ringrift: Ringrift, record: Path) -> None:
    run = ringrift("show", record)
    count, result = len(RECORDS[0].actions), RECORDS[0].result
    last = RECORDS[0].moves()[-1]
    assert (run.code, run.err) == (0, "")
    head = f"hex8, 3 players, decision {count} of {count}, after {last}"
    assert run.out.startswith(head + "\n")
    assert run.out.endswith(f"Player {result.winner} won: {result.reason.replace('_', ' ')}.\n")
    assert "Game over" in run.out


def test_any_decision_of_any_game_is_shown(ringrift: Ringrift, record: Path) -> None:
    at = list(RECORDS[1].positions())
    for ply in (0, 1, 17, len(RECORDS[1].actions)):
        run = ringrift("show", record, "--game", 2, "--ply", ply, "--json")
        document = json.loads(run.out)
        assert run.code == 0
        assert (document["ply"], document["position"]) == (ply, str(at[ply][0]))
        assert document["moves"] == RECORDS[1].moves()
        assert (document["winner"], document["ranks"]) == (
            RECORDS[1].result.winner,
            list(RECORDS[1].result.ranks),
        )


def test_moves_of_a_game_are_listed_by_turn(ringrift: Ringrift, games: Path) -> None:
    out = ringrift("show", games, "--moves").out
    turns = re.findall(r"^ *(\d+)\. player (\d): (.*)$", out, re.MULTILINE)
    moves = [move for _, _, line in turns for move in line.split(", ")]
    assert moves == RECORDS[0].moves()
    assert [int(turn) for turn, _, _ in turns] == sorted({int(turn) for turn, _, _ in turns})
    assert {player for _, player, _ in turns} == {"1", "2", "3"}


def test_picture_of_a_decision(ringrift: Ringrift, games: Path, tmp_path: Path) -> None:
    svg = tmp_path / "board.svg"
    run = ringrift("show", games, "--ply", 10, "--svg", svg)
    assert run.code == 0
    assert run.err == f"Wrote {svg}.\n"
    assert "RingRift, hex8." in svg.read_text()


def test_conformance_games_are_shown(ringrift: Ringrift, conformance_files: list[Path]) -> None:
    run = ringrift("show", conformance_files[0], "--ply", 3, "--json")
    with gzip.open(conformance_files[0]) as file:
        game = json.loads(file.readline())
    document = json.loads(run.out)
    assert document["position"] == game["steps"][3]["position"]
    assert document["winner"] == game["result"]["winner"]


# ---- what cannot be shown -----------------------------------------------------------------------


def one_sentence(ringrift: Ringrift, *line: object, code: int = 1) -> str:
    """What is said of a bad input: one sentence, and perhaps what to try."""
    run = ringrift("show", *line)
    assert (run.code, run.out) == (code, "")
    sentence, *rest = run.err.splitlines()
    assert sentence.startswith("ringrift: ")
    assert len(rest) <= 1
    assert all(hint.startswith("  try: ") for hint in rest)
    document = json.loads(ringrift("show", *line, "--json").out)
    assert f"ringrift: {document['error']}" == sentence
    return sentence


@pytest.mark.parametrize(
    "text", ["nowhere.rrg", "", "x" * 5_000, "5./6./7. 1 movement", "/", ".", "~", "a\nb"]
)
def test_neither_file_nor_position(
    ringrift: Ringrift, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "neither a file nor position text" in one_sentence(ringrift, text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TEXT.replace("4. s112", "5. s112"), "Row 5 of the position holds 10 cells"),
        (TEXT.replace("ring_placement", "waiting"), "Unknown phase 'waiting'"),
        (TEXT.replace("1 ring", "3 ring"), "expected a seat from 1 to 2"),
        ("a | b | c | d", "Position has hands 'c'"),
        ("a | b", "has 2 fields"),
    ],
)
def test_position_that_is_none(ringrift: Ringrift, text: str, said: str) -> None:
    assert said in one_sentence(ringrift, text)


def test_moves_of_a_position_that_cannot_be_played(ringrift: Ringrift) -> None:
    text = TEXT.replace("16,17", "17,17")
    assert ringrift("show", text).code == 0  # it can be drawn
    assert "more than 18 rings" in one_sentence(ringrift, text, "--moves")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 100,
        b"\xff\xfe",
        b"{}\n",
        b"[" * 100_000,
        b"9" * 10_000,
        b"hello\n",
        b"\x1f\x8b\x08",
        b'{"format": "ringrift-position"}',
        b'{"format": "ringrift-position", "version": 1, "rules": "none"}',
    ],
)
def test_file_that_is_nothing_known(ringrift: Ringrift, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    one_sentence(ringrift, path)


def test_damaged_record_is_named(ringrift: Ringrift, record: Path) -> None:
    good = record.read_bytes()
    for content in (good[:-1], good[: len(good) // 2]):
        record.write_bytes(content)
        if record.suffix == ".jsonl" and content == good[:-1]:
            continue  # the last line without its end is still a line
        assert str(record) in one_sentence(ringrift, record)


def test_game_and_decision_that_are_not_there(ringrift: Ringrift, games: Path) -> None:
    said = one_sentence(ringrift, games, "--game", 3)
    assert "holds 2 games: there is no game 3" in said
    said = one_sentence(ringrift, games, "--ply", 9_999)
    assert f"Game 1 has {len(RECORDS[0].actions)} decisions" in said
    for option in ("--game", "--ply"):
        assert "A position has no --game" in one_sentence(ringrift, TEXT, option, 1, code=2)


def test_wrong_usage(ringrift: Ringrift, games: Path) -> None:
    for line in (["--game", "0"], ["--ply", "-1"], ["--width", "63"], ["--width", "9000"]):
        run = ringrift("show", games, *line)
        assert (run.code, run.out) == (2, "")
        assert "is not a whole number" in run.err


def test_a_width_without_a_picture_is_refused(ringrift: Ringrift) -> None:
    run = ringrift("show", TEXT, "--width", 320)
    assert run.code == 2
    assert "--width is the size of a picture: add --svg FILE or --png FILE." in run.err


def test_picture_that_cannot_be_written(ringrift: Ringrift, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    inside = tmp_path / "file" / "board.svg"
    for option in ("--svg", "--png"):
        assert f"Cannot write {tmp_path}" in one_sentence(ringrift, TEXT, option, tmp_path)
        assert "There is no folder" in one_sentence(ringrift, TEXT, option, inside, code=2)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


# ---- games, in a terminal -----------------------------------------------------------------------


LEAVE = "leave > "  # ends every screen


def test_stepping_through_a_game(games: Path) -> None:
    moves = RECORDS[1].moves()
    last = len(moves)
    with Terminal("show", games, "--game", 2) as terminal:
        first = terminal.read(LEAVE)
        assert f"hex8, 3 players, decision 0 of {last}\n" in first
        assert f"Player 1 now plays {moves[0]}.\n" in first
        for keys, ply in (("", 1), ("n", 2), ("P", 1), (" 20 ", 20), ("99999", last)):
            screen = terminal.type(keys, LEAVE)
            assert f"decision {ply} of {last}, after {moves[ply - 1]}\n" in screen
        assert f"Player {RECORDS[1].result.winner} won: " in screen
        assert f"decision {last} of {last}," in terminal.type("n", LEAVE)
        assert f"decision 0 of {last}\n" in terminal.type("0", LEAVE)
        assert f"decision 0 of {last}\n" in terminal.type("p", LEAVE)
        for keys in ("²", "back to the start", "-1"):
            refused = terminal.type(keys, LEAVE)
            assert "is not one of these." in refused
            assert "decision" not in refused.replace("to that decision", "")
        terminal.type("99999", LEAVE)
        terminal.keys("\n")  # Enter at the end leaves
        assert terminal.end() == (0, b"")


def test_colour_and_a_clean_screen_unless_refused(games: Path) -> None:
    with Terminal("show", games) as colourful:
        shown = colourful.read(LEAVE)
        assert "\x1b[2J" in shown
        assert "\x1b[2m" in shown  # faint coordinates
        colourful.keys("\x04")  # the end of input leaves, too
        assert colourful.end() == (0, b"")
    for veto in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        with Terminal("show", games, **veto) as plain:
            assert "\x1b" not in plain.read(LEAVE)
            plain.keys("Q\n")
            assert plain.end() == (0, b"")


def test_ctrl_c_leaves_with_130(games: Path) -> None:
    with Terminal("show", games) as terminal:
        terminal.read(LEAVE)
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.end() == (130, b"ringrift: Interrupted.\n")


def test_a_decision_asked_for_is_drawn_and_not_stepped_through(games: Path) -> None:
    with Terminal("show", games, "--ply", 5) as terminal:
        assert "decision 5 of" in terminal.read("won: ")
        assert terminal.end() == (0, b"")


@pytest.mark.parametrize(
    ("typed", "ending"), [("", "The game is not over."), ("resign\n", "Player 1 resigned.")]
)
def test_a_game_of_play_is_shown(
    ringrift: Ringrift, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str, ending: str
) -> None:
    path = tmp_path / "game.json"
    monkeypatch.setattr("sys.stdin", io.StringIO("0,0 2\n1\n" + typed))
    assert ringrift("play", "--level", 1, "--seed", 1, "--save", path, "-q").code == 0
    shown = ringrift("show", path)
    assert ending in shown.out
    told = json.loads(ringrift("show", path, "--json", "--ply", 1).out)
    assert told["moves"][0] == "place 0,0 2"
    assert told["winner"] == (2 if typed else None)
    assert "there is no game 2" in ringrift("show", path, "--game", 2).err
