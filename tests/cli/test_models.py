"""`ringrift models`: what it prints, whom it promotes, and that it asks before it goes back."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from ringrift_cli.evaluate import gate as promote
from ringrift_cli.evaluate.results import Results
from ringrift_cli.nn import checkpoint
from ringrift_cli.nn.checkpoint import Checkpoint
from ringrift_cli.nn.export import Exported
from ringrift_cli.nn.registry import Registry
from tests.conftest import Ringrift, Run
from tests.nn.networks import network

GAMES = {"MAX": 200, "HEURISTIC": 60, "RANDOM": 30, "EARLIER": 30, "REFERENCE": 0}  # of the gate
STRENGTHS = {0: 0.5, 1: 0.2, 2: 0.9}  # how often the stand-in of a seed's network blunders


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The registry that the commands use."""
    monkeypatch.setenv("RINGRIFT_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("RINGRIFT_RESULTS", str(tmp_path / "results.sqlite"))
    for name, games in GAMES.items():
        monkeypatch.setenv(f"RINGRIFT_GATE_{name}_GAMES", str(games))
    return Registry(tmp_path / "models")


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[int, Path]:
    """Checkpoints by seed, for each of which a careless heuristic plays."""
    about = {"parents": [], "data": ["a" * 64] * 7, "total_steps": 12_000, "metrics": {"loss": 1.5}}
    paths = {
        seed: checkpoint.save(tmp_path / "made", network("hex8", 2, seed), about)
        for seed in STRENGTHS
    }
    specs = {
        path.stem: f"heuristic:default,width=0,blunder={STRENGTHS[seed]}"
        for seed, path in paths.items()
    }
    monkeypatch.setattr(promote, "model_spec", lambda entry, sims: specs[entry.identity])
    return paths


def document(run: Run) -> dict[str, Any]:
    found = json.loads(run.out)
    assert isinstance(found, dict)
    return found


def crowned(ringrift: Ringrift, path: Path) -> str:
    """Promotes a checkpoint by the command; its identity."""
    run = ringrift("models", "promote", path)
    assert run.code == 0, run.err + run.out
    return path.stem


def test_an_empty_pool(ringrift: Ringrift, registry: Registry) -> None:
    run = ringrift("models", "list")
    assert (run.code, run.out) == (0, "hex8-2p: 0 models, no champion\n")
    told = document(ringrift("models", "list", "--board", "square8", "--players", 3, "--json"))
    assert told == {"pool": "square8-3p", "champion": None, "models": []}
    for command in ("show", "promote"):
        run = ringrift("models", command, "champion")
        assert run.code == 2
        assert "hex8-2p has no champion" in run.err
    assert not registry.folder.exists()


def test_only_an_accepted_model_is_promoted(
    ringrift: Ringrift, registry: Registry, made: dict[int, Path]
) -> None:
    weak = ringrift("models", "promote", made[2])
    assert weak.code == 1
    assert "rejected after 30 games" in weak.out
    assert "failed  Against random it won" in weak.out
    assert f"{made[2].stem} was not accepted; the champion stays" in weak.err
    assert registry.history("hex8-2p") == []
    assert registry.models("hex8-2p") == []

    dry = ringrift("models", "promote", made[0], "--dry-run", "--json")
    assert dry.code == 0
    assert document(dry)["promoted"] is False
    assert document(dry)["evidence"]["verdict"] == "accepted"
    assert registry.pools() == []

    first = ringrift("models", "promote", made[0], "--json")
    assert first.code == 0
    told = document(first)
    assert told["promoted"] is True
    assert f"{made[0].stem} is now the champion of hex8-2p" in first.err
    assert registry.evidence("hex8-2p") == told["evidence"]

    second = ringrift("models", "promote", made[1])
    assert second.code == 0
    assert f"against champion {made[0].stem}: accepted" in second.out
    champion = registry.champion("hex8-2p")
    assert champion is not None
    assert champion.identity == made[1].stem
    again = ringrift("models", "promote", "champion")
    assert again.code == 1
    assert "is already the champion of hex8-2p" in again.err
    back = ringrift("models", "promote", "previous")
    assert back.code == 1
    assert "the sequential test accepts that it is 0 Elo stronger" in back.out


def test_list_and_show_say_who_they_are(
    ringrift: Ringrift, registry: Registry, made: dict[int, Path]
) -> None:
    first = crowned(ringrift, made[0])
    second = crowned(ringrift, made[1])
    third = registry.add("hex8-2p", made[2]).identity
    told = document(ringrift("models", "list", "--json"))
    assert told["champion"] == second
    by_name = {model["identity"]: model for model in told["models"]}
    assert set(by_name) == {first, second, third}
    assert [name for name, model in by_name.items() if model["champion"]] == [second]
    assert by_name[third]["promoted"] is by_name[third]["heuristic"] is None
    assert by_name[first]["heuristic"]["games"] == 60
    low, high = by_name[second]["heuristic"]["elo_95"]
    assert low < by_name[second]["heuristic"]["elo"] < high < 0
    assert by_name[first]["steps"] == 12_000
    lines = ringrift("models", "list").out.splitlines()
    assert lines[0] == f"hex8-2p: 3 models, champion {second}"
    assert [line.split()[:2] for line in lines if line.startswith("*")] == [["*", second]]
    assert any("2x16" in line and "12,000" in line for line in lines[2:])

    shown = document(ringrift("models", "show", "champion", "--json"))
    assert shown["identity"] == second
    assert shown["champion"] is True
    assert shown["about"]["metrics"] == {"loss": 1.5}
    assert [event["parent"] for event in shown["history"]] == [first]
    assert shown["history"][0]["evidence"]["verdict"] == "accepted"
    text = ringrift("models", "show", second[:6]).out
    assert text.startswith(f"{second}, champion of hex8-2p")
    assert "7 items (--json)" in text
    assert f"champion, replacing {first}" in text
    assert "passed  Against random it won" in text
    before = ringrift("models", "show", "previous").out
    assert before.startswith(f"{first}, hex8-2p")
    assert f"replaced by {second}" in before
    assert ringrift("models", "list", "--board", "square8").err == (
        f"{registry.folder} has no model of square8-2p. It has models of hex8-2p.\n"
        "  try: ringrift cycle --board square8 --players 2\n"
    )


def test_rollback_asks_and_remembers(
    ringrift: Ringrift, registry: Registry, made: dict[int, Path]
) -> None:
    first = crowned(ringrift, made[0])
    nowhere = ringrift("models", "rollback", "--reason", "a test", "--yes")
    assert nowhere.code == 2
    assert "no previous champion" in nowhere.err
    second = crowned(ringrift, made[1])
    asked = ("models", "rollback", "--reason", "weak endgame")
    silent = ringrift(*asked)
    assert silent.code == 2
    assert "There is no terminal to ask" in silent.err
    assert "try: --yes" in silent.err
    dry = ringrift(*asked, "--dry-run")
    assert dry.code == 0
    assert dry.out == f"Would make {first} champion of hex8-2p in place of {second}.\n"
    assert len(registry.history("hex8-2p")) == 2
    done = document(ringrift(*asked, "--yes", "--json"))
    assert (done["champion"], done["before"], done["done"]) == (first, second, True)
    last = registry.history("hex8-2p")[-1]
    assert (last.event, last.identity, last.reason) == ("rollback", first, "weak endgame")
    assert "weak endgame" in ringrift("models", "show", second).out
    assert ringrift("models", "rollback", "--yes").code == 2  # no reason


def test_remove_asks_and_keeps_champions(
    ringrift: Ringrift, registry: Registry, made: dict[int, Path]
) -> None:
    first, second = (crowned(ringrift, made[seed]) for seed in (0, 1))
    idle = registry.add("hex8-2p", made[2])
    for name in ("champion", first):
        run = ringrift("models", "remove", name, "--yes")
        assert run.code == 2
        assert "expected a model that no rollback can bring back" in run.err
    silent = ringrift("models", "remove", idle.identity)
    assert silent.code == 2
    assert f"Delete {idle.identity} of hex8-2p, 0." in silent.err
    assert "MB, trained on 7 shards? There is no terminal to ask" in silent.err
    dry = ringrift("models", "remove", idle.identity[:6], "--dry-run")
    assert dry.code == 0
    assert dry.out.startswith(f"Would delete {idle.identity} of hex8-2p")
    assert idle.path.exists()
    run = ringrift("models", "remove", idle.identity[:6], "--yes", "--json")
    told = document(run)
    assert (told["model"], told["shards"], told["done"]) == (idle.identity, 7, True)
    assert told["bytes"] > 1000
    assert {entry.identity for entry in registry.models("hex8-2p")} == {first, second}
    elsewhere = ringrift("models", "remove", made[2], "--yes")
    assert elsewhere.code == 2
    assert f"{made[2]} is not a file of {registry.folder}/hex8-2p" in elsewhere.err
    assert made[2].exists()


def test_models_are_where_the_file_says(
    ringrift: Ringrift, made: dict[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RINGRIFT_MODELS", raising=False)
    monkeypatch.chdir(tmp_path)
    Path("ringrift.yaml").write_text("run:\n  models: kept\n")
    entry = Registry(Path("kept")).add("hex8-2p", made[0])
    run = ringrift("models", "list", "--json")
    assert [model["identity"] for model in document(run)["models"]] == [entry.identity]
    assert document(ringrift("models", "list", "--models", "none", "--json"))["models"] == []
    monkeypatch.setenv("RINGRIFT_MODELS", "none")
    assert document(ringrift("models", "list", "--json"))["models"] == []
    monkeypatch.delenv("RINGRIFT_MODELS")
    Path("ringrift.yaml").write_text("run: 3\n")
    run = ringrift("models", "list")
    assert run.code == 2
    assert "ringrift.yaml:1: " in run.err


def test_export_is_of_the_model_that_was_named(
    ringrift: Ringrift,
    registry: Registry,
    made: dict[int, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exported: list[Checkpoint] = []

    def export_onnx(found: Checkpoint, path: Path) -> Exported:
        exported.append(found)
        return Exported(path, 2_000_000, "0" * 64, 64, 3e-6)

    monkeypatch.setattr(
        "ringrift_cli.nn.export.export_onnx", export_onnx
    )  # tests/nn/test_export.py
    out = tmp_path / "model.onnx"
    told = document(ringrift("models", "export", made[0], "--out", out, "--json"))
    assert (told["model"], told["file"], told["bytes"]) == (made[0].stem, str(out), 2_000_000)
    assert (told["checked_positions"], told["greatest_difference"]) == (64, 3e-6)
    assert [one.identity for one in exported] == [made[0].stem]
    text = ringrift("models", "export", made[0], "--out", out).out
    assert text.startswith(
        f"{out}: 2.0 MB, {made[0].stem}; onnxruntime and torch differ by at most"
    )
    wrong = ringrift("models", "export", made[0], "--players", 3, "--out", out)
    assert wrong.code == 2
    assert "a network for hex8 with 2 players" in wrong.err
    assert len(exported) == 2


def test_another_board_is_refused_before_any_game(
    ringrift: Ringrift, registry: Registry, made: dict[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    run = ringrift("models", "promote", made[0], "--board", "square8", "--models", registry.folder)
    assert run.code == 2
    assert "a network for hex8 with 2 players" in run.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("promote", "x", "--pie", "--players", 3), "The pie rule is for 2 players"),
        (("promote", "x", "--games", 0), "gate.max_games is 0, expected an integer, at least 2"),
        (("promote", "x", "--sims", -1), "gate.sims is -1, expected an integer, at least 0"),
        (("promote", "x", "--set", "train.batch=3"), "uses settings of run, gate only"),
        (("show", "abcdef"), "'abcdef' names no single model"),
        (("export", "champion"), "--out"),
        (("rollback",), "--reason"),
    ],
)
def test_wrong_usage(
    ringrift: Ringrift, registry: Registry, arguments: tuple[object, ...], sentence: str
) -> None:
    run = ringrift("models", *arguments)
    assert run.code == 2
    assert sentence in run.err


def test_a_stopped_promotion_continues(
    ringrift: Ringrift, registry: Registry, made: dict[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    add = Results.add

    def add_and_interrupt(self: Results, *args: Any) -> None:
        add(self, *args)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Results, "add", add_and_interrupt)
        run = ringrift("models", "promote", made[0], "--json")
    assert run.code == 130, run.err
    assert document(run)["promoted"] is False
    assert document(run)["evidence"]["stopped"] is True
    assert "continues after the recorded games" in run.err
    assert registry.pools() == []
    crowned(ringrift, made[0])
