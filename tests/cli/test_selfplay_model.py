"""`ringrift selfplay` and `ringrift bench selfplay` with a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ringrift_cli.artifacts import read_manifest
from ringrift_cli.nn.checkpoint import save
from ringrift_cli.stages.shards import read_searched
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
    assert [entry["file"] for entry in entries] == told["shards"]
    assert sum(entry["games"] for entry in entries) == 6
    made = entries[0]["made"]
    assert (made["model"], made["generation"]) == (model.stem, 7)
    assert sum(len(read_searched(tmp_path / entry["file"]).games) for entry in entries) == 6

    again = ringrift(*line)
    assert "6 games of this setting were there already" in again.out
    assert len(read_manifest(tmp_path)) == len(entries)

    shown = ringrift("show", tmp_path / entries[0]["file"], "--game", 1, "--ply", 10)
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
        ("--policy random --hours 1", "--hours is for a model"),
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


def test_how_much_of_the_evaluator_is_used(ringrift: Ringrift) -> None:
    line = ("--size", "tiny", "--concurrent", 16, "--seconds", 1, "--rounds", 2, "--gpus", "none")
    run = ringrift("bench", "selfplay", *line, "--json")
    assert run.code == 0
    told = json.loads(run.out)
    assert 0 < told["ratio"] < 1.5
    assert told["selfplay_evals_per_s"] > 0
    assert set(told["evaluator_evals_per_s"]) == {"16", "32", "64"}
    assert told["games_per_s"] >= 0
