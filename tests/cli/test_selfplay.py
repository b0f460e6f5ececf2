"""`ringrift selfplay`: what it prints, and what it leaves however it ends."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ringrift_cli.cli.output import stop_requested
from ringrift_cli.data.shard import read_searched
from ringrift_cli.game.record import read_records
from ringrift_cli.loop.journal import JOURNAL
from ringrift_cli.nn.checkpoint import save
from ringrift_cli.nn.registry import Registry
from ringrift_cli.players.spec import teacher
from ringrift_cli.store.hashes import sha256
from ringrift_cli.store.manifest import MANIFEST, read_manifest
from tests.children import child
from tests.conftest import Ringrift
from tests.nn.networks import network

pytestmark = pytest.mark.usefixtures("compiled_rules")

PROCESS = [sys.executable, "-m", "ringrift_cli", "selfplay", "--policy", "random"]
ENDLESS = 10**7  # games: more than any test waits for
QUICK = ("--sims", 4, "--fast-sims", 2, "--gpus", "none", "--concurrent", 4)


def visible(folder: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")
    }


def check_shards(folder: Path) -> int:
    """Asserts that the manifest and the shards fit each other; how many games there are."""
    entries = read_manifest(folder)
    assert set(visible(folder)) == {MANIFEST, *(entry.file for entry in entries)}
    for entry in entries:
        assert sha256((folder / entry.file).read_bytes()) == entry.sha256
    read_records(folder / entries[-1].file)
    return sum(entry.games for entry in entries)


# ---- what it prints -----------------------------------------------------------------------------


def test_a_run_in_words(ringrift: Ringrift, tmp_path: Path) -> None:
    run = ringrift("selfplay", "--policy", "random", "--games", 30, "--seed", 2, "--out", tmp_path)
    assert (run.code, run.err) == (0, "")
    assert run.out.startswith("30 games, ")
    assert " decisions in " in run.out
    assert run.out.endswith(f"1 shard in {tmp_path}\n")
    assert len(run.out.splitlines()) == 1
    assert check_shards(tmp_path) == 30
    again = ringrift(
        "selfplay", "--policy", "random", "--games", 30, "--seed", 2, "--out", tmp_path
    )
    assert again.code == 0
    assert "30 games of this run had been recorded" in again.out
    assert check_shards(tmp_path) == 30


def test_a_run_as_a_document(ringrift: Ringrift, tmp_path: Path) -> None:
    line = [
        "selfplay",
        "--policy",
        "random",
        "--board",
        "square8",
        "--players",
        3,
        "--games",
        20,
        "--json",
    ]
    run = ringrift(*line, "--seed", 5, "--out", tmp_path, "-q")
    document = json.loads(run.out)
    assert (run.code, run.err) == (0, "")
    assert {key: document[key] for key in ("board", "players", "policy", "seed", "games")} == {
        "board": "square8",
        "players": 3,
        "policy": "random",
        "seed": 5,
        "games": 20,
    }
    assert (document["pie_rule"], document["stopped"], document["known_games"]) == (False, False, 0)
    (shard,) = document["shards"]
    records = read_records(Path(shard))
    assert sum(len(record.actions) for record in records) == document["decisions"]
    assert document["games_per_second"] > 0


def test_defaults_and_environment(
    ringrift: Ringrift, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RINGRIFT_OUT", "from environment")
    monkeypatch.setenv("RINGRIFT_SEED", "77")
    assert ringrift("selfplay", "--policy", "random", "--games", 2).code == 0
    (entry,) = read_manifest(tmp_path / "from environment")
    assert (entry.made["seed"], entry.board, entry.players) == (77, "hex8", 2)
    assert (
        ringrift("selfplay", "--policy", "random", "--games", 2, "--seed", 1, "--out", "flag").code
        == 0
    )
    assert read_manifest(tmp_path / "flag")[0].made["seed"] == 1
    monkeypatch.delenv("RINGRIFT_OUT")
    assert ringrift("selfplay", "--policy", "random", "--games", 2).code == 0
    assert check_shards(tmp_path / "runs" / "selfplay") == 2


def test_readable_games_with_the_pie_rule(ringrift: Ringrift, tmp_path: Path) -> None:
    run = ringrift(
        "selfplay",
        "--policy",
        "random",
        "--games",
        12,
        "--pie",
        "--readable",
        "--out",
        tmp_path,
        "--json",
    )
    (shard,) = json.loads(run.out)["shards"]
    games = [json.loads(line) for line in Path(shard).read_text().splitlines()]
    assert all(game["pie_rule"] for game in games)
    assert all(game["moves"][0].startswith("place ") for game in games)
    assert [game["made"]["number"] for game in games] == list(range(12))


def test_verify_takes_the_shards(ringrift: Ringrift, tmp_path: Path) -> None:
    for form in ([], ["--readable"]):
        assert (
            ringrift("selfplay", "--policy", "random", "--games", 5, "--out", tmp_path, *form).code
            == 0
        )
    shards = [path for path in tmp_path.iterdir() if path.suffix in (".rrg", ".jsonl")]
    games = [path for path in shards if path.name != MANIFEST]
    assert len(games) == 2
    run = ringrift("verify", "--jobs", 1, "--json", *games)
    assert (run.code, json.loads(run.out)["games"]) == (0, 10)


def test_the_same_seed_gives_the_same_shards(ringrift: Ringrift, tmp_path: Path) -> None:
    shards = []
    for folder in ("one", "two"):
        ringrift(
            "selfplay", "--policy", "random", "--games", 9, "--seed", 4, "--out", tmp_path / folder
        )
        found = visible(tmp_path / folder)
        del found[MANIFEST]
        shards.append(found)
    assert shards[0] == shards[1]
    ringrift(
        "selfplay", "--policy", "random", "--games", 9, "--seed", 5, "--out", tmp_path / "three"
    )
    assert not set(visible(tmp_path / "three")) & set(shards[0])


def test_progress_on_a_terminal_names_the_speed(tmp_path: Path) -> None:
    leader, follower = os.openpty()
    command = [*PROCESS, "--games", "2000", "--out", str(tmp_path)]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(
        command, stderr=follower, stdout=subprocess.PIPE, env=environment
    ) as process:
        os.close(follower)
        shown = b""
        with contextlib.suppress(OSError):  # as the end of a terminal is told
            while more := os.read(leader, 1 << 16):
                shown += more
        out, _ = process.communicate(timeout=120)
    os.close(leader)
    assert b"games/s" in shown
    assert b"Self-play hex8 2p" in shown
    assert (process.returncode, out.count(b"\n")) == (0, 1)


# ---- wrong usage and failures -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("--games 0", "'0' is not a whole number of 1 or more"),
        ("--games many", "'many' is not a whole number of 1 or more"),
        ("--seed -1", "run.seed is -1, expected an integer, at least 0"),
        ("--policy best", "'best' is not one of model, random"),
        ("--pie --players 3", "run.pie_rule is for 2 players, but run.players is 3"),
        ("--board hex9", "run.board is 'hex9', expected one of"),
        ("--players 6", "run.players is 6, expected an integer, at least 2, at most 4"),
    ],
)
def test_wrong_usage(ringrift: Ringrift, tmp_path: Path, line: str, sentence: str) -> None:
    run = ringrift("selfplay", "--out", tmp_path, *line.split())
    assert (run.code, run.out) == (2, "")
    assert sentence in run.err.splitlines()[0]
    assert not list(tmp_path.iterdir())


def test_folder_that_is_a_file(ringrift: Ringrift, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("in the way")
    for folder in (path, path / "below"):
        run = ringrift("selfplay", "--policy", "random", "--games", 3, "--out", folder)
        assert (run.code, run.out) == (1, "")
        assert run.err.startswith("ringrift: ")
        assert str(path) in run.err
        assert "Traceback" not in run.err
    assert path.read_text() == "in the way"


def test_full_disk_is_one_sentence(
    ringrift: Ringrift, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    run = ringrift("selfplay", "--policy", "random", "--games", 3, "--out", tmp_path)
    assert (run.code, run.out) == (1, "")
    sentence, *rest = run.err.splitlines()
    assert sentence.startswith(f"ringrift: Cannot write {tmp_path}")
    assert "No space left on device" in sentence
    assert all(line.startswith("  try: ") for line in rest)
    assert visible(tmp_path) == {}
    document = json.loads(
        ringrift("selfplay", "--policy", "random", "--games", 3, "--out", tmp_path, "--json").out
    )
    assert "No space left on device" in document["error"]


def test_damaged_manifest_is_one_sentence(ringrift: Ringrift, tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text('{"sha256": ')
    run = ringrift("selfplay", "--policy", "random", "--games", 3, "--out", tmp_path)
    assert (run.code, run.out) == (1, "")
    assert f"{tmp_path / MANIFEST}, line 1: " in run.err
    assert list(visible(tmp_path)) == [MANIFEST]


# ---- stopped from outside -----------------------------------------------------------------------


@contextlib.contextmanager
def started(folder: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    """An endless run in a process of its own that has written its first shard."""
    with child(*PROCESS, "--games", ENDLESS, "--out", folder, *more) as process:
        end = time.monotonic() + 120
        while not (folder / MANIFEST).exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end
            time.sleep(0.02)
        yield process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_finishes_the_shard_in_hand(tmp_path: Path, number: signal.Signals) -> None:
    with started(tmp_path) as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert len(out.splitlines()) == 1
    games = check_shards(tmp_path)
    assert out.startswith(f"{games:,} games, ")
    assert err.splitlines()[0].startswith(f"Stopped after {games:,} of {ENDLESS:,} games")
    last = "Interrupted." if number == signal.SIGINT else "Terminated."
    assert err.splitlines()[-1] == f"ringrift: {last}"


def test_stopped_run_prints_one_document(tmp_path: Path) -> None:
    with started(tmp_path, "--json", "-q") as process:
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=120)
    document: dict[str, Any] = json.loads(out)
    assert process.returncode == 130
    assert document["stopped"] is True
    assert document["games"] == check_shards(tmp_path)
    assert {Path(shard).name for shard in document["shards"]} == {
        entry.file for entry in read_manifest(tmp_path)
    }


def interrupt_oneself() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(1)


def test_second_signal_goes_to_whoever_had_it_before() -> None:
    """So Ctrl-C twice, or SIGTERM twice, ends the program at once."""
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: seen.append(number))
    try:
        with stop_requested() as stop:
            assert stop() == 0
            os.kill(os.getpid(), signal.SIGTERM)
            assert (stop(), seen) == (signal.SIGTERM, [])
            os.kill(os.getpid(), signal.SIGTERM)
            assert (stop(), seen) == (signal.SIGTERM, [signal.SIGTERM])
            with pytest.raises(KeyboardInterrupt):
                interrupt_oneself()
        with stop_requested():
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        assert seen == [signal.SIGTERM] * 2
    finally:
        signal.signal(signal.SIGTERM, before)


def test_killed_run_leaves_whole_shards_and_can_go_on(ringrift: Ringrift, tmp_path: Path) -> None:
    with started(tmp_path, "--seed", "6") as process:
        time.sleep(0.3)
        process.kill()
        process.communicate()
    entries = read_manifest(tmp_path)
    assert entries
    for path in tmp_path.glob("*.rrg"):  # all that has a name is whole, in the manifest or not
        assert path.name.startswith(sha256(path.read_bytes())[:16])
    listed = sum(entry.games for entry in entries)
    run = ringrift(
        "selfplay",
        "--policy",
        "random",
        "--games",
        listed + 10,
        "--seed",
        6,
        "--out",
        tmp_path,
        "--json",
    )
    document = json.loads(run.out)
    assert (run.code, document["known_games"], document["games"]) == (0, listed, 10)
    assert len({entry.sha256 for entry in read_manifest(tmp_path)}) == len(entries) + 1


def test_several_processes_share_a_folder(tmp_path: Path) -> None:
    runs = [
        subprocess.Popen(
            [*PROCESS, "--games", "60", "--seed", str(seed), "--out", str(tmp_path)],
            stdout=subprocess.DEVNULL,
        )
        for seed in (0, 0, 1, 2)
    ]
    assert [run.wait(timeout=120) for run in runs] == [0, 0, 0, 0]
    assert check_shards(tmp_path) == 3 * 60


# ---- games of a model ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("models"), network("hex8", 2), {"generation": 7})


def test_games_of_a_model(ringrift: Ringrift, model: Path, tmp_path: Path) -> None:
    line = ("selfplay", "--model", model, "--games", 6, "--out", tmp_path, *QUICK)
    run = ringrift(*line, "--json")
    assert run.code == 0
    told = json.loads(run.out)
    assert (told["games"], told["known_games"], told["stopped"]) == (6, 0, False)
    assert told["evaluations"] > told["decisions"] > 6 * 20
    entries = read_manifest(tmp_path)
    assert [entry.file for entry in entries] == told["shards"]
    assert sum(entry.games for entry in entries) == 6
    made = entries[0].made
    assert (made["model"], made["generation"]) == (model.stem, 7)
    assert sum(len(read_searched(tmp_path / entry.file).games) for entry in entries) == 6

    again = ringrift(*line)
    assert "6 games of this setting had been recorded" in again.out
    assert len(read_manifest(tmp_path)) == len(entries)

    shown = ringrift("show", tmp_path / entries[0].file, "--game", 1, "--ply", 10)
    assert shown.code == 0
    assert "hex8, 2 players, decision 10 of " in shown.out


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("--games 5", "hex8-2p has no champion"),
        ("--games 5 --model missing.json", "There is no file missing.json"),
        ("--hours -1", "'-1' is not a number above 0"),
        ("", "Expected --games or --hours."),
        ("--games 5 --readable", "--readable is for random games"),
        ("--games 5 --follow --model abcd", "leave out --model"),
        ("--games 5 --gpus first", "expected all, none or numbers"),
        (
            "--games 5 --players 3 --resign-below 0.1",
            "selfplay.resign_below is for 2 players, but run.players is 3",
        ),
    ],
)
def test_what_cannot_be_played(
    ringrift: Ringrift,
    line: str,
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    run = ringrift("selfplay", *line.split())
    assert run.code in (1, 2)
    assert sentence in run.err
    assert not list(tmp_path.rglob("*.shard"))


def test_random_games_refuse_what_is_for_a_model(
    ringrift: Ringrift, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ("selfplay", "--policy", "random", "--games", 2, "--out", tmp_path / "games")
    for option in (
        *("--model champion", "--hours 1", "--sims 32", "--fast-sims 8", "--full-share 0.3"),
        *("--resign-below 0", "--gpus none", "--concurrent 5", "--follow"),
    ):
        run = ringrift(*line, *option.split())
        assert (run.code, run.out) == (2, "")
        name = option.split(maxsplit=1)[0]
        assert f"{name} is for games of a model, not for --policy random." in run.err
    assert not (tmp_path / "games").exists()
    monkeypatch.setenv("RINGRIFT_MODEL", "champion")  # of other commands of the same shell
    monkeypatch.setenv("RINGRIFT_GPUS", "none")
    assert ringrift(*line).code == 0


def test_how_a_model_plays_is_what_the_settings_say(
    ringrift: Ringrift, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ringrift.yaml").write_text("selfplay:\n  sims: 4\n  fast_sims: 2\n  shard_games: 2\n")
    line = ("selfplay", "--model", model, "--games", 4, "--gpus", "none", "--concurrent", 2)
    assert ringrift(*line, "--out", "a", "--generation", 9).code == 0
    of_file = [entry.made for entry in read_manifest(Path("a"))]
    assert len(of_file) > 1
    assert {(made["search"]["sims"], made["generation"]) for made in of_file} == {(4, 9)}
    assert not any("run" in made for made in of_file)
    Path("loop").mkdir()
    (Path("loop") / JOURNAL).touch()
    own = ringrift(*line, "--out", "loop/selfplay", "--run", "f" * 16)
    assert {entry.made["run"] for entry in read_manifest(Path("loop/selfplay"))} == {"f" * 16}
    other = ringrift(*line, "--out", "loop/selfplay")
    said = "The learning loop in loop does not train on these games"
    assert [said in run.err for run in (own, other)] == [False, True]
    told = ("--fast-sims", 3, "--set", "selfplay.sims=5", "--set", "selfplay.considered=2")
    assert ringrift(*line, "--out", "b", *told).code == 0
    played = read_manifest(Path("b"))[0].made["search"]
    assert (played["sims"], played["fast_sims"], played["considered"]) == (5, 3, 2)
    refused = ringrift(*line, "--set", "train.batch=4")
    assert (refused.code, "uses settings of run, selfplay only" in refused.err) == (2, True)


def test_the_heuristic_can_play_as_a_teacher(ringrift: Ringrift, tmp_path: Path) -> None:
    line = ("selfplay", "--model", "heuristic", "--games", 3, *QUICK, "--out", tmp_path)
    assert ringrift(*line).code == 0
    made = read_manifest(tmp_path)[0].made
    assert made["model"] == teacher("tuned", "hex8", 2).identity
    assert made["generation"] == 0


def test_a_model_of_no_generation(ringrift: Ringrift, tmp_path: Path) -> None:
    path = save(tmp_path / "made", network("hex8", 2), {"generation": None})
    run = ringrift("selfplay", "--model", path, "--games", 1, "--out", tmp_path / "games", *QUICK)
    assert run.code == 0, run.err
    assert read_manifest(tmp_path / "games")[0].made["generation"] == 0


def test_the_champion_of_the_file_plays(
    ringrift: Ringrift, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ringrift.yaml").write_text("run:\n  models: kept\n")
    Registry(Path("kept")).add("hex8-2p", model)
    line = ("selfplay", "--model", model.stem, "--games", 1, *QUICK, "--json")
    run = ringrift(*line)
    assert (run.code, json.loads(run.out)["model"]) == (0, model.stem)
    Path("ringrift.yaml").write_text("run:\n  modles: kept\n")
    run = ringrift(*line)
    assert run.code == 2
    assert "ringrift.yaml:2: there is no key 'modles' in run; did you mean 'models'?" in run.err


def test_how_much_of_the_evaluator_is_used(ringrift: Ringrift) -> None:
    line = ("--size", "tiny", "--batch", 16, "--seconds", 1, "--rounds", 2, "--gpus", "none")
    run = ringrift("bench", "selfplay", *line, "--json")
    assert run.code == 0
    told = json.loads(run.out)
    assert 0 < told["ratio"] < 1.5
    assert told["selfplay_evals_per_s"] > 0
    assert set(told["evaluator_evals_per_s"]) == {"16", "32", "64"}
    assert told["games_per_s"] == told["decisions_per_s"] / told["decisions_per_game"]


def test_stored_games_are_searched_again(ringrift: Ringrift, model: Path, tmp_path: Path) -> None:
    played, again = tmp_path / "played", tmp_path / "again"
    line = ("selfplay", "--gpus", "none", "--sims", 2, "--fast-sims", 1, "--model", model)
    assert ringrift(*line, "--games", 2, "--out", played).code == 0
    refused = ringrift(*line, "--reanalyse", played, "--games", 2, "--out", again)
    assert (refused.code, "not for --reanalyse" in refused.err) == (2, True)
    document = json.loads(ringrift(*line, "--reanalyse", played, "--out", again, "--json").out)
    assert document["games"] == 2
    sources = {entry.sha256 for entry in read_manifest(played)}
    assert {entry.source for entry in read_manifest(again)} == sources
    repeated = ringrift(*line, "--reanalyse", played, "--out", again, "--json")
    assert json.loads(repeated.out)["known_games"] == 2
