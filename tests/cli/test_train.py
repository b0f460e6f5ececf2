"""`ringrift train`: what it prints and leaves, however it ends."""

from __future__ import annotations

import datetime as dt
import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ringrift_cli.data.shard import write_searched
from ringrift_cli.nn import checkpoint
from ringrift_cli.nn.network import Network, architecture
from ringrift_cli.settings import Train
from ringrift_cli.store.manifest import read_manifest
from ringrift_cli.train import state as train_state
from ringrift_cli.train.learner import Learner
from tests.conftest import Ringrift
from tests.searched import searched_games

pytestmark = pytest.mark.usefixtures("compiled_rules")

NUMBERS = {"batch": 8, "validate_every": 4, "validation_share": 0.2, "validation_positions": 32}
SMALL = ("--size", "tiny", *(f"--set=train.{name}={value}" for name, value in NUMBERS.items()))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """No waiting for busy cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    for seed in (1, 2):
        games = searched_games("hex8", 2, 8, seed, share=0.2)
        write_searched(folder, {"generation": seed}, games, "hex8", 2, False)
    return folder


def test_a_run(ringrift: Ringrift, tmp_path: Path, shards: Path) -> None:
    out = tmp_path / "out"
    line = ("train", "--data", shards, "--out", out, *SMALL, "--steps", 8)
    run = ringrift(*line)
    assert run.code == 0
    lines = run.out.splitlines()
    assert re.fullmatch(
        rf"8 steps with 64 samples in \d+ s \([\d,]+ samples/s\), kept in {out}", lines[0]
    )
    assert re.fullmatch(r"  window      2 shards, 16 games, (\d+) positions \(\1 new\)", lines[1])
    assert re.fullmatch(r"  training    policy [\d.]+ -> [\d.]+, value [\d.]+ -> [\d.]+", lines[2])
    assert lines[3].startswith("  validation  policy ")
    assert re.fullmatch(
        r"  on games never trained on: policy [\d.]+%, winner [\d.]+% right;"
        r" calibration error [\d.]+",
        lines[4],
    )
    model = Path(lines[5].removeprefix("Model: "))
    assert checkpoint.load(model, "hex8", 2).about["steps"] == 8
    again = ringrift(*line)
    assert again.code == 2
    assert f"{out} already holds a finished run." in again.err
    assert f"another --out, with --continue {out}" in again.err


def test_a_run_as_a_document(ringrift: Ringrift, tmp_path: Path, shards: Path) -> None:
    out = tmp_path / "out"
    line = ("train", "--data", shards, "--out", out, *SMALL, "--steps", 4, "--json", "-q")
    run = ringrift(*line)
    assert (run.code, run.err) == (0, "")
    document = json.loads(run.out)
    assert (document["steps"], document["samples"], document["stopped"]) == (4, 32, False)
    assert document["out"] == str(out)
    assert document["checkpoint"] == str(out / "models" / f"{document['identity']}.json")
    entries = sorted(entry.sha256 for entry in read_manifest(shards))
    assert sorted(document["shards"]) == entries
    assert json.loads(ringrift(*line, "--resume").out) == document


def test_a_dry_run_says_what_and_leaves_nothing(
    ringrift: Ringrift, tmp_path: Path, shards: Path
) -> None:
    out = tmp_path / "out"
    line = ("train", "--data", shards, "--out", out, *SMALL, "--dry-run")
    run = ringrift(*line, "--samples-per-position", 3)
    assert run.code == 0
    assert run.out.startswith(f"2 shards of {shards}, made from 20")
    document = json.loads(ringrift(*line, "--samples-per-position", 3, "--json").out)
    assert document["dry_run"]
    assert document["positions"] == document["new_positions"]
    assert document["steps"] == round(3 * document["positions"] / 8)
    steps = f"  {document['steps']} steps of 8 positions"
    assert run.out.splitlines()[-1] == steps
    hashes = [entry.sha256 for entry in read_manifest(shards)]
    one = json.loads(ringrift(*line, "--shard", hashes[0], "--json").out)
    assert one["shards"] == hashes[:1]
    assert not out.exists()


def test_one_run_follows_another(ringrift: Ringrift, tmp_path: Path, shards: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    line = ("train", "--data", shards, *SMALL, "--json", "-q")
    one = json.loads(ringrift(*line, "--out", first, "--steps", 4).out)
    refused = ringrift(*line, "--out", second, "--continue", first)
    assert refused.code == 1
    assert "there is nothing new to train on" in refused.err
    assert "or --steps N" in refused.err
    two = json.loads(ringrift(*line, "--out", second, "--continue", first, "--steps", 4).out)
    assert (two["parents"], two["total_steps"]) == ([one["identity"]], 8)
    third = ringrift(*line, "--out", tmp_path / "third", "--init", one["checkpoint"], "--steps", 4)
    assert json.loads(third.out)["parents"] == [one["identity"]]


def test_weights_of_another_pool_are_told(ringrift: Ringrift, tmp_path: Path, shards: Path) -> None:
    other = checkpoint.save(tmp_path, Network(architecture("tiny", "square8", 3)).eval(), {})
    line = ("train", "--data", shards, *SMALL, "--steps", 4, "--out", tmp_path / "run")
    run = ringrift(*line, "--init", other)
    assert run.code == 0, run.err
    assert "Weights of a model for square8 with 3 players, taken over for hex8 with 2." in run.err
    state = train_state.read_state(tmp_path / "run")
    assert (state.architecture["board"], state.parents) == ("hex8", [other.stem])


def test_progress_tells_how_it_goes(
    ringrift: Ringrift, tmp_path: Path, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringrift_cli.cli.output.LINE_EVERY", 0.0)
    line = ("train", "--data", shards, "--out", tmp_path / "out", *SMALL, "--steps", 8)
    run = ringrift(*line)
    said = r"Training hex8 2p: 50 %, policy [\d.]+, value [\d.]+, validation [\d.]+, [\d,]+ samples"
    assert re.search(said, run.err)
    assert " min left, " in run.err
    assert "Training hex8 2p: 100 %, " in run.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_says_how_to_go_on(
    ringrift: Ringrift,
    tmp_path: Path,
    shards: Path,
    number: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"
    line = [*("train", "--data", shards, "--out", out), *SMALL, "--set=train.patience=0", "--json"]
    step_once = Learner.step

    def step_and_signal(self: Learner, *args: Any) -> torch.Tensor:
        signal.raise_signal(number)
        return step_once(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "step", step_and_signal)
        run = ringrift(*line, "--steps", 1000000)
    document, err = json.loads(run.out), run.err
    assert run.code == 128 + number
    assert (document["stopped"], document["checkpoint"]) == (True, None)
    step = document["steps"]
    assert step == train_state.read_state(out).step
    assert f"Stopped at step {step}; repeat the command with --resume to continue." in err
    for more, told in (
        (("--steps", 1000000), f"{out} already holds a run at step {step} of 1000000."),
        (("--steps", 7, "--resume"), "was started with 1000000 as steps, not 7"),
    ):
        refused = ringrift(*line, *more)
        assert refused.code == 2
        assert told in refused.err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("--steps", 3, "--samples-per-position", 2), "Expected --steps or --samples-per-position"),
        (("--steps", 0), "'0' is not a whole number of 1 or more"),
        (("--players", 3, "--pie"), "run.pie_rule is for 2 players, but run.players is 3"),
        (("--samples-per-position", 0), "train.samples_per_position is 0.0, expected a number"),
        (("--surprise-weight", 2), "train.surprise_weight is 2.0, expected a number, at least 0"),
        (("--max-age", 0), "train.max_age is 0.0, expected a number, above 0"),
        (("--max-generations-behind", 1), "--generation N"),
        (("--set", "batch=9"), "--set batch=9: expected SECTION.KEY=VALUE"),
        (("--set", "train.speed=9"), "there is no key 'speed' in train"),
        (("--set", "train.batch=9.5"), "train.batch is '9.5', expected an integer, at least 2"),
        (("--set", "gate.sims=9"), "uses settings of run, network, train only"),
        (("--device", "abacus"), "No device 'abacus'"),
        (("--size", "vast"), "network.size is 'vast', expected one of tiny"),
        (("--board", "hex9"), "run.board is 'hex9', expected one of"),
    ],
)
def test_wrong_usage(
    ringrift: Ringrift, tmp_path: Path, shards: Path, line: tuple[object, ...], said: str
) -> None:
    run = ringrift("train", "--data", shards, "--out", tmp_path / "run", *line)
    assert run.code == 2
    assert said in run.err
    assert not (tmp_path / "run" / "state.json").exists()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("--board", "square8"), "holds no searched positions of square8, 2 players"),
        (("--max-age", 1e-9), "its data are stale"),
        (("--generation", 9, "--max-generations-behind", 3), "7 behind generation 9"),
        (("--shard", "abc"), "does not list shard abc"),
        (("--init", "nowhere.json"), "nowhere.json: No such file"),
        (("--continue", "nowhere"), "nowhere/state.json: No such file"),
    ],
)
def test_what_fails(
    ringrift: Ringrift, tmp_path: Path, shards: Path, line: tuple[object, ...], said: str
) -> None:
    run = ringrift("train", "--data", shards, "--out", tmp_path / "run", *line)
    assert run.code == 1
    assert said in run.err
    assert not (tmp_path / "run" / "state.json").exists()


def test_where_things_are_unless_said(
    ringrift: Ringrift, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = ringrift("train", "--board", "square8", "--pie")
    folder = "runs/square8-2p-pie/selfplay"
    assert f"{folder} does not exist: there is nothing to train on" in run.err
    monkeypatch.setenv("RINGRIFT_DATA", "elsewhere")
    assert "elsewhere does not exist" in ringrift("train").err
    Path("elsewhere").mkdir()
    assert "elsewhere holds no searched positions of hex8, 2 players" in ringrift("train").err


def test_stale_data_are_refused_unless_told_otherwise(
    ringrift: Ringrift, tmp_path: Path, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a cycle: by age, and by generations behind the model that it begins with."""
    monkeypatch.chdir(tmp_path)
    made = dt.datetime.now(dt.UTC) - dt.timedelta(hours=Train.max_age + 1)
    for path in shards.iterdir():
        Path(path.name).write_bytes(path.read_bytes())
    manifest = Path("manifest.jsonl")
    entries = [json.loads(line) for line in manifest.read_text().splitlines()]
    old = [{**entry, "time": made.isoformat(timespec="seconds")} for entry in entries]
    manifest.write_text("".join(f"{json.dumps(entry)}\n" for entry in old))
    line = ("train", "--data", ".", "--out", "out", *SMALL, "--steps", 2, "-q")
    run = ringrift(*line)
    assert run.code == 1
    assert "its data are stale" in run.err
    Path("ringrift.yaml").write_text(f"train: {{max_age: {Train.max_age + 2}}}\n")
    assert ringrift(*line, "--generation", 22, "--dry-run").code == 0
    run = ringrift(*line, "--generation", 23)
    assert (run.code, "21 behind generation 23" in run.err) == (1, True)
    assert ringrift(*line, "--generation", 22).code == 0
    follow = ("--continue", "out", "--out", "next", "--dry-run")
    run = ringrift(*line, *follow)
    assert (run.code, "21 behind generation 23" in run.err) == (1, True)
    assert ringrift(*line, *follow, "--max-generations-behind", 21).code == 0


def test_help_shows_examples(ringrift: Ringrift) -> None:
    run = ringrift("train", "--help")
    assert run.code == 0
    assert "ringrift train --board hex8 --players 2 --data runs/hex8-2p/selfplay" in run.out
    assert "train.batch=512" in run.out
