"""`ringrift cmaes`: what it prints and writes, and what is left however it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from ringrift_cli.cli import cmaes as command
from ringrift_cli.players.features import NAMES
from ringrift_cli.players.profiles import Profile, profile_named, write_profile
from ringrift_cli.tune import final_test as tune_verdict
from ringrift_cli.tune.journal import JOURNAL, LOG, SETTINGS, VERDICT
from tests.children import RINGRIFT, child
from tests.conftest import Ringrift

pytestmark = pytest.mark.usefixtures("compiled_rules")

SMALL = ("cmaes", "--population", 6, "--games", 2, "--test-games", 20, "--seed", 3)
HOPELESS = (*SMALL, "--sigma", 1e-9)  # candidates that are the start
FILES = {SETTINGS, JOURNAL, LOG, VERDICT, ".lock"}


@pytest.fixture(scope="module")
def reversed_profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that want the opposite of what they should."""
    path = tmp_path_factory.mktemp("start") / "reversed.yaml"
    weights = {
        name: -weight for name, weight in profile_named("default", "hex8", 2).weights.items()
    }
    write_profile(path, Profile("reversed", "hex8", 2, weights))
    return path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def timeless(document: dict[str, Any]) -> dict[str, Any]:
    """A document without what differs from run to run."""
    return {
        key: value
        for key, value in document.items()
        if key not in ("seconds", "games_per_second", "out")
    }


# ---- what comes out -----------------------------------------------------------------------------


def test_what_is_better_is_written(
    ringrift: Ringrift, tmp_path: Path, reversed_profile: Path
) -> None:
    folder, profile, picture = tmp_path / "run", tmp_path / "new.yaml", tmp_path / "run.png"
    line = ["cmaes", "--start", reversed_profile, "--population", 12, "--games", 4, "--sigma", 1]
    line += ["--generations", 6, "--seed", 4, "--elo1", 150, "--test-games", 70]
    run = ringrift(*line, "--out", folder, "--write", profile, "--plot", picture, "--json", "-q")
    assert (run.code, run.err) == (0, "")
    document = json.loads(run.out)
    verdict = document["verdict"]
    assert document["accepted"]
    assert not document["stopped"]
    assert document["profile"] == str(profile)
    assert (document["board"], document["players"], document["seed"]) == ("hex8", 2, 4)
    assert document["generations"] == verdict["generations"] == 6
    assert document["games"] == verdict["training_games"]
    assert verdict == json.loads((folder / VERDICT).read_text())
    assert (verdict["decision"], verdict["elo1"]) == ("H1", 150)
    assert verdict["elo_low"] > 0
    written = profile_named(str(profile), "hex8", 2)
    assert dict(written.weights) == verdict["weights"]
    assert verdict["date"] in written.about
    assert f"against heuristic:{reversed_profile}" in written.about
    assert names(folder) == FILES
    assert picture.read_bytes().startswith(b"\x89PNG")

    profile.unlink()  # a run that is done says again what it found, and plays nothing
    again = ringrift(*line, "--out", folder, "--write", profile, "--resume", "--json", "-q")
    assert json.loads(again.out) == document
    line[-1:] = [70, "--plot", tmp_path / "run.svg"]
    assert ringrift(*line, "--out", folder, "--resume", "-q").code == 0
    assert b"</svg>" in (tmp_path / "run.svg").read_bytes()
    assert profile_named(str(folder / "profile.yaml"), "hex8", 2).weights == written.weights
    assert profile_named(str(profile), "hex8", 2) == written


def test_nothing_better_is_a_failure_that_writes_nothing(
    ringrift: Ringrift, tmp_path: Path
) -> None:
    run = ringrift(*HOPELESS, "--generations", 1, "--out", tmp_path)
    assert run.code == 1
    lines = run.out.splitlines()
    assert lines[0].startswith("1 generation, 16 games in ")
    assert lines[0].endswith(f" games/s), kept in {tmp_path}")
    assert [line.split()[:2] for line in lines[1:-1]] == [
        ["re-test", name] for name in ("mean", "average", "best-1")
    ]
    assert lines[-1].split()[:2] == ["test", "mean"]
    assert " against heuristic:default in 20 games; " in lines[-1]
    assert "Nothing better was found; no profile was written." in run.err
    assert "--generations 2 --resume" in run.err
    assert names(tmp_path) == FILES
    document = json.loads((tmp_path / VERDICT).read_text())
    assert not document["accepted"]
    assert document["finished"]


def test_nothing_better_as_a_document(ringrift: Ringrift, tmp_path: Path) -> None:
    run = ringrift(*HOPELESS, "--generations", 1, "--out", tmp_path, "--json", "-q")
    document = json.loads(run.out)
    assert run.code == 1
    assert (document["accepted"], document["profile"]) == (False, None)
    assert list(document["verdict"]["weights"]) == list(NAMES)
    assert document["verdict"]["retest_games"] == 20


@pytest.mark.parametrize(("board", "players"), [("square8", 3), ("hex8", 4)])
def test_more_players(ringrift: Ringrift, tmp_path: Path, board: str, players: int) -> None:
    run = ringrift(
        *(*HOPELESS, "--games", 1, "--generations", 1, "--board", board),
        *("--players", players, "--out", tmp_path, "--json", "-q"),
    )
    document = json.loads(run.out)
    assert run.code == 1
    assert (document["board"], document["players"]) == (board, players)
    assert document["games"] == (6 + 2) * players
    assert len(document["verdict"]["counts"]) == players + 1
    assert sum(document["verdict"]["counts"]) * players == document["verdict"]["games"]


def test_progress_tells_how_it_goes(
    ringrift: Ringrift, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringrift_cli.cli.output.LINE_EVERY", 0.0)
    run = ringrift(*HOPELESS, "--generations", 2, "--out", tmp_path)
    assert "Tuning hex8 2p: 50 %, generation 1, won best " in run.err
    assert ", sigma " in run.err
    assert " games/s, " in run.err
    assert " min left" in run.err
    assert "Final test: 100 %, llr " in run.err


def test_minutes_instead_of_generations(
    ringrift: Ringrift, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringrift_cli.cli.output.LINE_EVERY", 0.0)
    run = ringrift(*HOPELESS, "--minutes", 1e-6, "--out", tmp_path)
    assert run.code == 1
    assert run.out.startswith("1 generation, ")
    assert ", 0.0 min left" in run.err


# ---- however it ends ----------------------------------------------------------------------------


def wait_for_generations(process: subprocess.Popen[str], folder: Path, number: int) -> None:
    journal, end = folder / JOURNAL, time.monotonic() + 120
    while not (journal.exists() and journal.read_bytes().count(b"\n") >= number):
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.01)


def test_kill_9_changes_nothing(ringrift: Ringrift, tmp_path: Path) -> None:
    """Killed twice in the middle of generations and once about the test, then the same command."""
    line = (*SMALL, "--generations", 6, "-q", "--json")
    whole = ringrift(*line, "--out", tmp_path / "whole")
    folder = tmp_path / "killed"
    for generations in (1, 4, 6):
        with child(*RINGRIFT, *line, "--out", folder, "--resume") as process:
            wait_for_generations(process, folder, generations)
        if generations < 6:
            assert process.returncode == -signal.SIGKILL
    rest = ringrift(*line, "--out", folder, "--resume")
    assert rest.code == whole.code
    assert (folder / LOG).read_bytes() == (tmp_path / "whole" / LOG).read_bytes()
    one, other = json.loads(rest.out), json.loads(whole.out)
    assert timeless(one["verdict"]) == timeless(other["verdict"])
    assert one["games"] == other["games"]
    assert one["sigma"] == other["sigma"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_says_how_to_go_on(tmp_path: Path, number: int) -> None:
    line = (*SMALL, "--generations", 10**6, "--out", tmp_path, "--json")
    with child(*RINGRIFT, *line) as process:
        wait_for_generations(process, tmp_path, 2)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    document = json.loads(out)
    assert process.returncode == 128 + number
    assert document["stopped"]
    assert document["verdict"] is None
    generations = len((tmp_path / JOURNAL).read_text().splitlines())
    assert document["generations"] == generations
    assert f"Stopped after {generations} generations; repeat the command with --resume" in err
    assert names(tmp_path) == FILES - {VERDICT}


# ---- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("--generations", 3, "--minutes", 2), "Expected --generations or --minutes, not both."),
        (("--generations", 0), "'0' is not a whole number of 1 or more"),
        (("--minutes", 0), "'0' is not a number above 0"),
        (("--minutes", "inf"), "'inf' is not a number above 0"),
        (("--minutes", "soon"), "'soon' is not a number above 0"),
        (("--population", 5), "tune.population is 5, expected an integer, at least 6"),
        (("--games", 0), "tune.games is 0, expected an integer, at least 1"),
        (("--sigma", 0), "tune.sigma is 0.0, expected a number, above 0, at most 10"),
        (("--sigma", "nan"), "tune.sigma is nan"),
        (("--start", "nowhere.yaml"), "No heuristic profile 'nowhere.yaml'"),
        (("--board", "hex9"), "run.board is 'hex9', expected one of"),
        (("--plot", "run.jpg"), "run.jpg: expected a name that ends in .png or .svg"),
        (("--elo0", 30), "elo0 must be less than elo1"),
        (("--elo0", -300, "--elo1", -100), "tune.elo0 is -300.0, expected a number, at least 0"),
    ],
)
def test_wrong_usage(
    ringrift: Ringrift, tmp_path: Path, line: tuple[object, ...], said: str
) -> None:
    run = ringrift("cmaes", "--out", tmp_path / "run", *line)
    assert run.code == 2
    assert said in run.err
    assert not (tmp_path / "run").exists()


def test_a_run_that_is_there_is_kept(ringrift: Ringrift, tmp_path: Path) -> None:
    line = (*HOPELESS, "--generations", 1, "-q", "--out", tmp_path)
    ringrift(*line)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for more, said in (
        ((), f"{tmp_path} already holds a run"),
        (("--resume", "--games", 4), "was started with 2 as games, not 4"),
        (("--resume", "--board", "square8"), "was started with 'hex8' as board, not 'square8'"),
    ):
        run = ringrift(*line, *more)
        assert run.code == 2
        assert said in run.err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_finished_run_goes_on_with_more_generations(
    ringrift: Ringrift, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tune_verdict, "RETEST_GAMES", 4)
    line = (*HOPELESS, "--board", "square8", "--json", "--test-games", 4)
    ringrift(*line, "--generations", 1, "-q")
    run = ringrift(*line, "--generations", 2, "--resume")
    assert json.loads(run.out)["generations"] == 2
    folder = Path("runs") / "cmaes" / "square8-2p"  # where runs go unless --out says otherwise
    assert f"Continuing after generation 1 in {folder}." in run.err
    assert names(folder) == FILES


def test_help_shows_examples(ringrift: Ringrift) -> None:
    run = ringrift("cmaes", "--help")
    assert run.code == 0
    assert "ringrift cmaes --board hex8 --players 2 --minutes 12" in run.out
    assert f"default: ({command.GENERATIONS})" in run.out


def test_without_hosts_nothing_is_begun(
    ringrift: Ringrift, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = ringrift("cmaes", "--fleet", "--generations", 1, "--out", "run")
    assert (run.code, "hosts.yaml" in run.err) == (2, True)
    assert not Path("run").exists()
