"""`ringrift verify`: what it prints of games that agree, and of games that do not."""

from __future__ import annotations

import gzip
import json
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ringrift_cli.data.shard import write_searched
from ringrift_cli.evaluate.results import PlayedGame, Pool, Results
from ringrift_cli.game.container import DIGEST
from ringrift_cli.game.notation import REASONS
from ringrift_cli.game.version import rules_hash
from ringrift_cli.play.session import SavedGame, Seat, Session
from ringrift_cli.players.spec import make_player
from ringrift_cli.selfplay import random_games
from ringrift_cli.store.hashes import sha256
from ringrift_cli.store.manifest import MANIFEST, read_manifest
from tests.children import child
from tests.conftest import Ringrift
from tests.searched import searched_games

pytestmark = pytest.mark.usefixtures("compiled_rules")

Game = dict[str, Any]


@pytest.fixture
def games(conformance_files: list[Path]) -> list[Game]:
    """Three games of hex8 for two."""
    with gzip.open(conformance_files[0]) as file:
        return [json.loads(file.readline()) for _ in range(3)]


def write(path: Path, games: list[Game]) -> Path:
    path.write_text("".join(json.dumps(game) + "\n" for game in games))
    return path


def test_games_that_agree(ringrift: Ringrift, tmp_path: Path, games: list[Game]) -> None:
    steps = sum(len(game["steps"]) for game in games)
    run = ringrift("verify", "--jobs", 1, write(tmp_path / "games.jsonl", games))
    assert run.code == 0
    assert run.out.startswith(f"1 file: 3 games and {steps} steps agree (")
    assert len(run.out.splitlines()) == 1
    assert run.err == ""


def test_conformance_games_in_a_process(
    ringrift_process: Ringrift, conformance_files: list[Path]
) -> None:
    run = ringrift_process("verify", "--json", *conformance_files[:1], *conformance_files[-1:])
    document = json.loads(run.out)
    assert run.code == 0
    assert document["agrees"] is True
    assert (document["games"], document["steps"], document["faults"]) == (120, 5_147 + 5_522, 0)
    assert [file["games"] for file in document["files"]] == [60, 60]
    assert [file["first_fault"] for file in document["files"]] == [None, None]


def test_first_fault_is_placed_and_drawn(
    ringrift: Ringrift, tmp_path: Path, games: list[Game]
) -> None:
    move = games[1]["steps"][0]["move"]
    other = next(text for text in games[1]["steps"][0]["legal"] if text != move)
    games[1]["steps"][0]["move"] = other
    path = write(tmp_path / "games.jsonl", games)
    run = ringrift("verify", "--jobs", 1, path)
    assert run.code == 1
    assert run.err == f"ringrift: {path}, game 2, step 2: the positions differ.\n"
    assert "2 games and " in run.out
    assert "agree, 1 fault (" in run.out
    assert f"First fault: {path}, game 2, step 2\n  the positions differ\n" in run.out
    assert f"  after the move {other!r}\n" in run.out
    record, rules = run.out.split("Position in the record:")[1].split("Position by the rules:")
    assert record.count("player 1") == rules.count("player 1") == 1
    # The two placements differ in one cell, or in its height.
    assert record.count("*") == rules.count("*") > 0
    assert "\x1b" not in run.out


def test_moves_of_one_side_alone_are_printed(
    ringrift: Ringrift, tmp_path: Path, games: list[Game]
) -> None:
    legal = games[0]["steps"][0]["legal"]
    games[0]["steps"][0]["legal"] = [*legal[1:], "pass"]
    run = ringrift("verify", "--jobs", 1, write(tmp_path / "games.jsonl", games))
    assert run.code == 1
    assert "Moves only in the record: 'pass'\n" in run.out
    assert f"Moves only by the rules: '{legal[0]}'\n" in run.out
    assert "Position, the same on both sides:" in run.out


def test_long_lists_of_moves_are_cut(ringrift: Ringrift, tmp_path: Path, games: list[Game]) -> None:
    games[0]["steps"][0]["legal"] = []
    path = write(tmp_path / "games.jsonl", games)
    assert "and 163 more\n" in ringrift("verify", "--jobs", 1, path).out
    document = json.loads(ringrift("verify", "--jobs", 1, "--json", path).out)
    assert len(document["files"][0]["first_fault"]["only_own"]) == 183


def test_digest_that_differs(ringrift: Ringrift, tmp_path: Path, games: list[Game]) -> None:
    step = games[2]["steps"][9]
    step["position_sha1"] = "000000000000"
    del step["position"]
    path = write(tmp_path / "games.jsonl", games)
    run = ringrift("verify", "--jobs", 1, path)
    assert run.code == 1
    assert run.err.startswith(
        f"ringrift: {path}, game 3, step 10: the digest of the position is '000000000000' in the "
    )
    assert "Position in the record: only its digest is there\n" in run.out
    assert "Position by the rules:\n" in run.out


def test_position_text_that_cannot_be_read(
    ringrift: Ringrift, tmp_path: Path, games: list[Game]
) -> None:
    games[0]["steps"][0]["position"] = "\x1b[31m nonsense"
    run = ringrift("verify", "--jobs", 1, write(tmp_path / "games.jsonl", games))
    assert run.code == 1
    assert "'\\x1b[31m nonsense'" in run.out
    assert "\x1b" not in run.out
    assert "Position by the rules:" in run.out


def test_document_of_a_fault(ringrift: Ringrift, tmp_path: Path, games: list[Game]) -> None:
    games[0]["result"]["winner"] = 4
    path = write(tmp_path / "games.jsonl", games)
    run = ringrift("verify", "--jobs", 1, "--json", path)
    document = json.loads(run.out)
    assert run.code == 1
    assert (document["agrees"], document["games"], document["faults"]) == (False, 2, 1)
    fault = document["files"][0]["first_fault"]
    assert document["files"][0]["file"] == str(path)
    assert (fault["game"], fault["step"], fault["kind"]) == (1, len(games[0]["steps"]), "winner")
    assert fault["own_position"] == fault["recorded_position"] == games[0]["final"]


# ---- shards and folders --------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, games: list[Game]) -> Path:
    """A folder of two shards with their manifest, random games, and what is no game."""
    for seed in (1, 2):
        played = searched_games("hex8", 2, 3, seed)
        write_searched(tmp_path / "a" / "selfplay", {}, played, "hex8", 2, False)
    for readable in (True, False):
        setting = random_games.RandomSetting("square8", 2, 2, int(readable))
        random_games.run(setting, tmp_path / "a" / "random", readable=readable)
    write(tmp_path / "a" / "games.jsonl", games)
    (tmp_path / "a" / "journal.jsonl").write_text('{"cycle": 1, "step": "train"}\n')
    (tmp_path / "a" / "settings.yaml").write_text("run: {}\n")
    return tmp_path / "a"


def test_shards_folders_and_whatever_a_shell_expands(ringrift: Ringrift, folder: Path) -> None:
    def verified(*paths: Path) -> dict[str, Any]:
        run = ringrift("verify", "--json", "--jobs", 1, *paths)
        assert run.code == 0, run
        document = json.loads(run.out)
        assert isinstance(document, dict)
        return document

    shards = sorted((folder / "selfplay").glob("*.shard"))
    entries = read_manifest(folder / "selfplay")
    one = verified(shards[0])
    assert (one["games"], one["steps"]) == (
        3,
        next(entry.decisions for entry in entries if entry.file == shards[0].name),
    )
    assert verified(*sorted((folder / "selfplay").glob("[!.]*")))["games"] == 6
    assert verified(*sorted((folder / "random").glob("[!.]*")))["games"] == 4
    (folder / "fleet" / "quarantine" / "host").mkdir(parents=True)
    (folder / "fleet" / "quarantine" / "host" / "bad.shard").write_bytes(b"bad")
    run = ringrift("verify", folder / "selfplay" / MANIFEST)
    assert run.out.startswith("1 file: 2 listed files agree (")
    whole = verified(folder)
    assert (whole["games"], len(whole["files"])) == (6 + 4 + 3, 2 + 1 + 2 + 1 + 1)
    assert verified(folder, shards[0])["games"] == whole["games"]  # no file counts twice


def test_faults_of_shards_and_manifests_are_named(ringrift: Ringrift, folder: Path) -> None:
    data = folder / "selfplay"
    first, second = sorted(data.glob("*.shard"))
    whole = first.read_bytes()
    first.write_bytes(whole[:-40] + bytes([whole[-40] ^ 1]) + whole[-39:])
    second.unlink()
    run = ringrift("verify", data)
    assert run.code == 1
    assert f"{first}: 0 games and 0 steps agree, 1 fault" in run.out
    assert f"{data / MANIFEST}: 0 games and 0 steps agree, 2 faults" in run.out
    assert "its SHA-256 hash is" in ringrift("verify", first).err
    assert "agree, 1 fault" in ringrift("verify", first).out
    run = ringrift("verify", data / MANIFEST)
    assert "which is missing" in run.out + run.err or "another SHA-256" in run.out + run.err
    empty = folder / "empty"
    empty.mkdir()
    run = ringrift("verify", empty)
    assert run.code == 1
    assert f"{empty}: no games to verify. Expected .shard, .rrg, .games.jsonl" in run.err


def results_file(path: Path, *, winner: int | None = None) -> int:
    """Enters two games into a results file, with the given winner or their own; their decisions."""
    played = searched_games("hex8", 2, 2, 5)
    with Results(path) as results:
        match = results.begin({"seed": 0}, {})
        for block, game in enumerate(played):
            won = game.winner if winner is None else winner
            reason = REASONS[game.reason]
            moves = tuple(game.actions.tolist())
            entered = PlayedGame(block, 0, ("a", "b"), won, won, reason, moves)
            results.add(match, Pool("hex8", 2), [entered])
    return sum(len(game.actions) for game in played)


def saved_game(path: Path) -> Path:
    session = Session(
        SavedGame("hex8", (Seat(), Seat()), 0), partial(make_player, board="hex8", players=2)
    )
    session.play(session.position.legal_actions()[0])
    session.save(path)
    return path


def test_saved_games_and_results_files_are_verified(ringrift: Ringrift, tmp_path: Path) -> None:
    save, results = saved_game(tmp_path / "save.json"), tmp_path / "results.sqlite"
    steps = results_file(results)
    run = ringrift("verify", save)
    assert run.code == 0
    assert "1 file: 1 game and 1 step agree" in run.out
    assert f"1 file: 2 games and {steps} steps agree" in ringrift("verify", results).out
    assert f"2 files: 3 games and {steps + 1} steps agree" in ringrift("verify", tmp_path).out
    save.write_bytes(save.read_bytes()[:-20])
    run = ringrift("verify", tmp_path)
    assert run.code == 1
    assert run.err == f"ringrift: {save}: not a saved game: it is not valid JSON.\n"


def test_results_that_contradict_the_moves_are_faults(ringrift: Ringrift, tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    winners = [game.winner for game in searched_games("hex8", 2, 2, 5)]
    results_file(path, winner=1)
    run = ringrift("verify", path)
    assert run.code == 1
    assert f"{winners.count(1)} game" in run.out
    assert "1 file: " in run.out
    assert f"{path}, game {winners.index(0) + 1}: game" in run.err
    assert "but its moves lead to the winner 1 by" in run.err


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cycles.jsonl", b'{"cycle": 1, "gate": {}}\n{"cycle": 2}\n'),
        ("champion.json", b'{\n "champion": "a"\n}\n'),
        ("one.json", b"{}"),
        ("model.safetensors", b"\x08\0\0\0\0\0\0\0{}\n\n\n"),
        ("report.html", b"<!doctype html>\n<html>\n"),
        ("log.csv", b"step,loss\n1,2\n"),
        ("README.md", b"# A title\n"),
        ("run.yaml", b"run: {}\n"),
        (".lock", b""),
        ("other.sqlite", b"SQLite format 3\0" + bytes(200)),
        ("text.gz", gzip.compress(b"text\n", mtime=0)),
    ],
)
def test_files_of_something_else_have_no_faults(
    ringrift: Ringrift, tmp_path: Path, games: list[Game], name: str, content: bytes
) -> None:
    other = tmp_path / name
    other.write_bytes(content)
    run = ringrift("verify", other)
    assert (run.code, run.out) == (1, "")
    assert run.err.startswith(f"ringrift: {other}: no games to verify. Expected .shard, .rrg")
    good = write(tmp_path / "games.jsonl", games)
    empty = tmp_path / "gate"
    empty.mkdir()
    run = ringrift("verify", "--jobs", 1, other, empty, good)
    assert run.code == 0, run
    assert "1 file: 3 games" in run.out
    assert f"{other} holds no games: not verified.\n{empty} holds no games" in run.err
    shown = ringrift("show", other)
    assert shown.code == 1
    assert f"ringrift: {other} holds no games: expected a record" in shown.err


def test_shards_of_earlier_rules_agree_and_it_is_said(ringrift: Ringrift, folder: Path) -> None:
    path = next((folder / "selfplay").glob("*.shard"))
    data = path.read_bytes().replace(rules_hash().encode(), rules_hash(1).encode())[:-DIGEST]
    data += bytes.fromhex(sha256(data))
    old = folder / f"{sha256(data)[:16]}.shard"
    old.write_bytes(data)
    run = ringrift("verify", old)
    assert run.code == 0, run
    assert "3 games played under an earlier version of the rules" in run.out
    assert ringrift("show", old).code == 0


def test_every_faulty_file_has_a_line(
    ringrift: Ringrift, tmp_path: Path, games: list[Game]
) -> None:
    good = write(tmp_path / "good.jsonl", games)
    empty = write(tmp_path / "empty.jsonl", [])
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(gzip.compress(good.read_bytes())[:-5])
    run = ringrift("verify", "--jobs", 1, good, cut, empty, "-v")
    assert run.code == 1
    assert f"\n{cut}, game 4: 3 games and " in run.out
    assert f"\n{empty}, game 1: 0 games and 0 steps agree, 1 fault\n" in run.out
    assert f"\n{good}" not in run.out
    assert f"{good}: 3 games and " in run.err
    said = run.err.splitlines()[-1]
    assert said == f"ringrift: {cut}, game 4: the compressed file is truncated here."


def test_missing_file_is_named_before_any_work(
    ringrift: Ringrift, tmp_path: Path, games: list[Game]
) -> None:
    good = write(tmp_path / "good.jsonl", games)
    run = ringrift("verify", good, tmp_path / "none.jsonl")
    assert (run.code, run.out) == (1, "")
    assert run.err == f"ringrift: {tmp_path / 'none.jsonl'}: there is no such file.\n"


def test_file_that_may_not_be_read_is_named(
    ringrift: Ringrift, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret.jsonl"
    path.touch()

    def refuse(*_args: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    run = ringrift("verify", "--jobs", 1, path)
    assert (run.code, run.out) == (1, "")
    assert run.err == f"ringrift: {path}: Permission denied.\n"


def test_ctrl_c_stops_all_processes(conformance_files: list[Path]) -> None:
    command = [sys.executable, "-m", "ringrift_cli", "verify", "-v", "--jobs", "2"]
    files = [str(path) for path in conformance_files if "hexagonal" in path.name] * 20
    with child(*command, *files) as process:
        assert process.stderr is not None
        assert "Compiled rules" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == "ringrift: Interrupted.\n"
        assert process.wait(60) == 130
