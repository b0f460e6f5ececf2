"""`ringrift selfplay` and `ringrift bench selfplay` with a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ringrift_cli.data.shard import read_searched
from ringrift_cli.nn.checkpoint import save
from ringrift_cli.nn.registry import Registry
from ringrift_cli.players.spec import teacher
from ringrift_cli.store.manifest import read_manifest
from tests.conftest import Ringrift
from tests.nn.networks import network

QUICK = ("--sims", 4, "--fast-sims", 2, "--gpus", "none", "--concurrent", 4)


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
    assert "6 games of this setting were there already" in again.out
    assert len(read_manifest(tmp_path)) == len(entries)

    shown = ringrift("show", tmp_path / entries[0].file, "--game", 1, "--ply", 10)
    assert shown.code == 0
    assert "hex8, 2 players, decision 10 of " in shown.out


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("--games 5", "hex8-2p has no champion"),
        ("--games 5 --model missing.json", "There is no file missing.json"),
        ("--games 5 --hours 1", "both say when to stop"),
        ("--hours -1", "expected a time above 0"),
        ("", "How long shall a model play?"),
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


@pytest.mark.parametrize(
    "option",
    [
        "--model champion",
        "--hours 1",
        "--sims 32",
        "--fast-sims 8",
        "--full-share 0.3",
        "--resign-below 0",
        "--gpus none",
        "--concurrent 5",
        "--follow",
    ],
)
def test_random_games_refuse_what_is_for_a_model(
    ringrift: Ringrift, option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ("selfplay", "--policy", "random", "--games", 2, "--out", tmp_path / "games")
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
    assert told["games_per_s"] >= 0
