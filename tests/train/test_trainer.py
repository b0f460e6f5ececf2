"""Training runs: that they learn, how they go on, and what they refuse."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import multiprocessing
import re
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ringrift_cli.data.shard import write_searched
from ringrift_cli.data.window import held_out
from ringrift_cli.errors import (
    RecordError,
    RingriftError,
    RulesMismatch,
    TrainingError,
    UsageError,
)
from ringrift_cli.game.topology import BOARD_NAMES, PLAYER_COUNTS, IntArray
from ringrift_cli.nn import checkpoint
from ringrift_cli.settings import Train
from ringrift_cli.store.files import write_whole
from ringrift_cli.store.manifest import read_manifest
from ringrift_cli.train import loss as train_loss
from ringrift_cli.train import start as train_start
from ringrift_cli.train import state as train_state
from ringrift_cli.train import trainer as stage
from ringrift_cli.train.learner import Learner
from ringrift_cli.train.trainer import Sources, TrainSetting, TrainSummary, plan, train
from tests.searched import Policy, lowest, searched_games, uniform
from tests.train.changed import changed

pytestmark = pytest.mark.usefixtures("compiled_rules")

# quick, and with all that a run does
SMALL = TrainSetting(
    "hex8",
    2,
    False,
    0,
    Train(batch=8, validate_every=4, validation_share=0.2, validation_positions=32, warmup=2),
    size="tiny",
    steps=8,
    device="cpu",
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums in one order, and no waiting for busy cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def fill(
    folder: Path,
    board: str = "hex8",
    players: int = 2,
    games: int = 12,
    *,
    seed: int = 1,
    policy: Policy = uniform,
    resigned: int = 0,
    made: dict[str, Any] | None = None,
) -> Sources:
    """One more shard in a folder."""
    some = searched_games(
        board,
        players,
        games,
        seed,
        policy=policy,
        resigned=resigned,
        share=0.2,
        winner=second_seat,
    )
    write_searched(folder, made or {"generation": seed}, some, board, players, False)
    return Sources(folder)


def second_seat(_end: IntArray) -> int:
    return 1


@pytest.fixture
def data(tmp_path: Path) -> Sources:
    return fill(tmp_path / "data")


def weights(summary: TrainSummary) -> dict[str, torch.Tensor]:
    assert summary.checkpoint is not None
    return load_file(Path(summary.checkpoint).with_suffix(".safetensors"))


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def rows(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((out / "log.csv").read_text())))


# ---- it learns ----------------------------------------------------------------------------------


def test_it_learns_the_policy(tmp_path: Path) -> None:
    """Searches that mostly chose the action with the lowest number."""
    sources = fill(tmp_path / "data", "square8", games=100, policy=lowest)
    setting = changed(
        SMALL, board="square8", steps=100, batch=64, validate_every=100, average=0.95,
        validation_positions=512, learning_rate=0.005,
    )  # fmt: skip
    summary = train(setting, sources, tmp_path / "out")
    first, last = summary.validation_first, summary.validation_last
    assert first["policy_accuracy"] < 0.35
    assert last["policy_accuracy"] > first["policy_accuracy"] + 0.2
    assert last["policy"] < first["policy"] - 0.6
    assert last["owner"] < first["owner"] - 0.2
    assert summary.train_last["policy"] < summary.train_first["policy"]


@pytest.mark.parametrize("players", [2, 3])
def test_it_learns_who_wins(tmp_path: Path, players: int) -> None:
    """Resigned games that seat 2 won: to the mover that is another seat each time."""
    sources = fill(tmp_path / "data", "hex8", players, games=60, resigned=60)
    setting = changed(
        SMALL, players=players, steps=60, batch=64, validate_every=60, average=0.9,
        validation_positions=256, learning_rate=0.005, value_mix=0.0,
    )  # fmt: skip
    summary = train(setting, sources, tmp_path / "out")
    first, last = summary.validation_first, summary.validation_last
    assert first["value_accuracy"] < 0.95 < last["value_accuracy"]
    assert last["value"] < first["value"] / 2
    assert (last["owner"], last["eliminated"]) == (0, 0)  # nobody knows


@pytest.mark.parametrize("board", BOARD_NAMES)
@pytest.mark.parametrize("players", PLAYER_COUNTS)
def test_every_board_and_player_count(tmp_path: Path, board: str, players: int) -> None:
    sources = fill(tmp_path / "data", board, players, games=3, resigned=1)
    setting = changed(
        SMALL, board=board, players=players, steps=3, batch=4, validation_share=0.3,
        validation_positions=4,
    )  # fmt: skip
    summary = train(setting, sources, tmp_path / "out")
    assert (summary.steps, summary.samples, summary.stopped) == (3, 12, False)
    assert np.isfinite(list(summary.train_last.values())).all()
    assert summary.checkpoint is not None
    loaded = checkpoint.load(Path(summary.checkpoint), board, players)
    assert loaded.identity == summary.identity
    assert loaded.about["data"] == summary.shards
    fresh = torch.zeros_like(loaded.network.policy_bias)
    assert not torch.equal(loaded.network.policy_bias, fresh)


# ---- what it leaves -----------------------------------------------------------------------------


def test_what_a_run_leaves(tmp_path: Path, data: Sources) -> None:
    out = tmp_path / "out"
    told: list[tuple[int, int]] = []
    summary = train(
        changed(SMALL, generation=7),
        data,
        out,
        on_step=lambda step, steps, _: told.append((step, steps)),
    )
    assert told == [(step, 8) for step in range(1, 9)]
    entries = read_manifest(data.data)
    assert summary.shards == [entries[0].sha256]
    assert summary.window["shards"] == 1
    assert (summary.parents, summary.device, summary.precision) == ([], "cpu", "float32")
    assert 0 < summary.positions == summary.new_positions < entries[0].positions
    assert [v["step"] for v in (summary.validation_first, summary.validation_last)] == [0, 8]
    assert json.loads(json.dumps(summary.document())) == summary.document()
    about = checkpoint.load(Path(summary.checkpoint or "")).about
    assert (about["generation"], about["steps"], about["total_steps"]) == (7, 8, 8)
    assert about["data"] == summary.shards
    assert about["metrics"]["validation"] == summary.validation_last
    assert about["setting"]["batch"] == 8
    log = rows(out)
    assert [row["step"] for row in log] == ["4", "8"]
    assert float(log[-1]["validation_loss"]) == pytest.approx(summary.validation_last["loss"], 1e-4)
    assert list((out / "tensorboard").iterdir())
    names = {path.name for path in out.iterdir()}
    (tensors,) = (path.name for path in out.glob("state-*.safetensors"))
    assert names == {".lock", "log.csv", "models", tensors, "state.json", "tensorboard"}


def test_the_last_models_and_the_best_are_kept(
    tmp_path: Path, data: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([9.0, 5.0, 1.0, 3.0, 3.5, 2.0, 4.0])
    real = train_loss.validate
    monkeypatch.setattr(stage, "validate", lambda *a: {**real(*a), "loss": next(losses)})
    setting = changed(SMALL, steps=12, validate_every=2, keep=2)
    summary = train(setting, data, tmp_path / "out")
    state = train_state.read_state(tmp_path / "out")
    assert [(m["step"], m["loss"]) for m in state.models] == [(4, 1.0), (10, 2.0), (12, 4.0)]
    files = sorted(path.name for path in (tmp_path / "out" / "models").iterdir())
    expected = [m["identity"] + e for m in state.models for e in (".json", ".safetensors")]
    assert files == sorted(expected)
    assert summary.identity == state.models[-1]["identity"]
    assert not summary.early


def test_it_stops_early_with_the_best(
    tmp_path: Path, data: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([9.0, 5.0, 2.0, 3.0, 2.5, 1.0])
    real = train_loss.validate
    monkeypatch.setattr(stage, "validate", lambda *a: {**real(*a), "loss": next(losses)})
    setting = changed(SMALL, steps=100, validate_every=2, patience=2, keep=1)
    summary = train(setting, data, tmp_path / "out")
    assert (summary.steps, summary.early, summary.stopped) == (8, True, False)
    state = train_state.read_state(tmp_path / "out")
    assert [(m["step"], m["loss"]) for m in state.models] == [(4, 2.0), (8, 2.5)]
    assert summary.identity == state.models[0]["identity"]
    assert train(setting, data, tmp_path / "out", resume=True) == summary
    # what came out is what the next run begins with
    best = weights(summary)
    tensors = train_state.read_tensors(tmp_path / "out")
    for part in ("network", "average"):
        assert all(torch.equal(tensors[f"{part}.{name}"], w) for name, w in best.items())
    monkeypatch.setattr(stage, "validate", real)
    fill(data.data, seed=2)
    more = train(SMALL, replace(data, previous=tmp_path / "out"), tmp_path / "next")
    assert more.parents == [summary.identity]
    assert more.total_steps == 4 + 8


@pytest.mark.parametrize(("value_weight", "early"), [(0.5, False), (2.0, True)])
def test_early_stop_weighs_the_losses_as_training_does(
    tmp_path: Path,
    data: Sources,
    monkeypatch: pytest.MonkeyPatch,
    value_weight: float,
    early: bool,
) -> None:
    """The policy gets better by 1 in each validation, and the value worse by 1."""
    number = -1

    def losses(*_: Any) -> train_loss.Losses:
        return train_loss.Losses(
            *(torch.tensor(float(loss)) for loss in (9 - number, number, 3, 5))
        )

    def validate(*args: Any) -> dict[str, float]:
        nonlocal number
        number += 1
        return real(*args)

    real = train_loss.validate
    monkeypatch.setattr(train_loss, "losses", losses)
    monkeypatch.setattr(stage, "validate", validate)
    setting = changed(SMALL, steps=8, validate_every=2, patience=2, value_weight=value_weight)
    setting = changed(setting, owner_weight=0.25, eliminated_weight=0.5)
    summary = train(setting, data, tmp_path / "out")
    assert (summary.early, summary.steps) == (early, 4 if early else 8)
    measured = train_state.read_state(tmp_path / "out").validations
    expected = [9 - n + value_weight * n + 0.25 * 3 + 0.5 * 5 for n in range(len(measured))]
    assert [one["loss"] for one in measured] == pytest.approx(expected)


def test_no_games_held_out(tmp_path: Path, data: Sources) -> None:
    summary = train(changed(SMALL, validation_share=0.0), data, tmp_path / "out")
    assert (summary.validation_first, summary.validation_last) == ({}, {})
    assert summary.checkpoint is not None
    assert "validation_loss" not in {
        k for row in rows(tmp_path / "out") for k, v in row.items() if v
    }


# ---- it goes on ---------------------------------------------------------------------------------


def test_stopped_and_resumed_is_bit_for_bit_the_same(tmp_path: Path, data: Sources) -> None:
    setting = changed(SMALL, steps=40, validate_every=16)
    whole = train(setting, data, tmp_path / "whole")
    out, done = tmp_path / "parts", 0

    def count(step: int, _steps: int, _numbers: dict[str, float]) -> None:
        nonlocal done
        done = step

    part = train(setting, data, out, on_step=count, should_stop=lambda: done == 20)
    assert (part.steps, part.stopped, part.checkpoint) == (20, True, None)
    rest = train(setting, data, out, resume=True)
    assert (rest.steps, rest.stopped) == (40, False)
    assert same(weights(whole), weights(rest))
    assert rest.identity == whole.identity
    assert rest.validation_last == whole.validation_last
    finals = [train_state.read_tensors(folder) for folder in (tmp_path / "whole", out)]
    assert same(*finals)  # moments and all
    assert [row["step"] for row in rows(out)] == [row["step"] for row in rows(tmp_path / "whole")]


def test_weights_that_are_no_numbers_replace_no_state(
    tmp_path: Path, data: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The losses of a step were measured before its update."""
    out, done = tmp_path / "out", 0

    def count(step: int, *_: object) -> None:
        nonlocal done
        done = step

    train(SMALL, data, out, on_step=count, should_stop=lambda: done == 1)
    before = (out / "state.json").read_bytes()
    real = Learner.step

    def broken(self: Learner, *args: Any) -> torch.Tensor:
        found = real(self, *args)
        with torch.no_grad():
            self.network.value.bias.fill_(torch.nan)
        return found

    monkeypatch.setattr(Learner, "step", broken)
    with pytest.raises(TrainingError, match=r"A weight is not finite between steps 2 and 2: polic"):
        train(SMALL, data, out, resume=True, should_stop=lambda: True)
    assert (out / "state.json").read_bytes() == before
    train_state.read_tensors(out)


class Killed(BaseException):
    """The process is gone: nothing else is written."""


def test_killed_at_any_step_it_goes_on_from_its_state(
    tmp_path: Path, data: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = changed(SMALL, steps=14, validate_every=5, checkpoint_minutes=0.0)
    whole = train(setting, data, tmp_path / "whole")
    out, written = tmp_path / "parts", 0

    def dies(path: Path, data: bytes) -> None:
        """With every seventh file: before the tensors of a state, or between them and the rest."""
        nonlocal written
        written += 1
        if written % 7 == 0:
            raise Killed
        write_whole(path, data)

    for module in ("train.state", "store.files"):
        monkeypatch.setattr(f"ringrift_cli.{module}.write_whole", dies)
    deaths = 0
    while True:
        try:
            rest = train(setting, data, out, resume=True)
            break
        except Killed:
            deaths += 1
    assert deaths >= 4
    assert same(weights(rest), weights(whole))
    assert [row["step"] for row in rows(out)] == ["5", "10", "14"]
    assert [v["step"] for v in train_state.read_state(out).validations] == [0, 5, 10, 14]


def _child(data: Path, out: Path) -> None:
    torch.set_num_threads(1)
    train(changed(SMALL, steps=10**6, checkpoint_minutes=0.0, patience=0), Sources(data), out)


def test_kill_9(tmp_path: Path, data: Sources) -> None:
    """A run that is killed goes on from a state, which is whole."""
    out = tmp_path / "out"
    process = multiprocessing.get_context("spawn").Process(target=_child, args=(data.data, out))
    process.start()
    end = time.monotonic() + 100
    while not (train_state.has_state(out) and train_state.read_state(out).step > 5):
        assert process.is_alive()
        assert time.monotonic() < end
        time.sleep(0.02)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    before = train_state.read_state(out).step
    train_state.read_tensors(out)
    setting = changed(SMALL, steps=10**6, checkpoint_minutes=0.0, patience=0)
    steps: list[int] = []
    part = train(
        setting, data, out, resume=True, on_step=lambda step, *_: steps.append(step),
        should_stop=lambda: len(steps) == 3,
    )  # fmt: skip
    assert steps == [before + 1, before + 2, before + 3]
    assert part.stopped


def test_a_finished_run_only_says_so_again(tmp_path: Path, data: Sources) -> None:
    summary = train(SMALL, data, tmp_path / "out")
    files = [p for p in (tmp_path / "out").rglob("*") if p.is_file() and p.name != ".lock"]
    before = {p: p.stat().st_mtime_ns for p in files}
    assert train(SMALL, data, tmp_path / "out", resume=True) == summary
    assert {p: p.stat().st_mtime_ns for p in before} == before
    with pytest.raises(UsageError, match="already holds a finished run"):
        train(SMALL, data, tmp_path / "out")


def test_killed_before_its_summary_was_written(
    tmp_path: Path, data: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(stage._Run, "_finish", dies)  # noqa: SLF001
        with pytest.raises(Killed):
            train(SMALL, data, tmp_path / "out")
    summary = train(SMALL, data, tmp_path / "out", resume=True)
    assert (summary.steps, summary.stopped) == (8, False)
    assert summary.identity == train_state.read_state(tmp_path / "out").models[-1]["identity"]


def test_what_a_run_cannot_go_on_with(tmp_path: Path, data: Sources) -> None:
    out = tmp_path / "out"
    train(SMALL, data, out, should_stop=lambda: True)
    with pytest.raises(UsageError, match="already holds a run at step 1 of 8"):
        train(SMALL, data, out)
    with pytest.raises(UsageError, match="was started with 8 as batch, not 16"):
        train(changed(SMALL, batch=16), data, out, resume=True)
    (path,) = out.glob("state-*.safetensors")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(RecordError, match=r"its bytes are not those that state\.json names"):
        train(SMALL, data, out, resume=True)
    path.write_bytes(whole)
    state = json.loads((out / "state.json").read_text())
    for change, error, said in (
        ({"rules": "0"}, RulesMismatch, "was made under rules 0, but these are"),
        ({"features": -1}, RulesMismatch, "was made under features -1"),
        ({"format": 0}, RecordError, "is not the state of a training run in format 1"),
        ({"state": {}}, RecordError, "does not have the fields of a state"),
    ):
        (out / "state.json").write_text(json.dumps({**state, **change}))
        with pytest.raises(error, match=said):
            train(SMALL, data, out, resume=True)
    (out / "state.json").write_text("{")
    with pytest.raises(RecordError, match="is not valid JSON"):
        train(SMALL, data, out, resume=True)


def test_a_run_in_hand_needs_its_shards(tmp_path: Path, data: Sources) -> None:
    """They may have become old, and newer ones may be there; but they must be there."""
    out = tmp_path / "out"
    setting = changed(SMALL, max_age=1.0)
    train(setting, data, out, should_stop=lambda: True)
    fill(data.data, seed=2)
    later = dt.datetime.now(dt.UTC) + dt.timedelta(hours=5)
    summary = train(setting, data, out, resume=True, now=later, should_stop=lambda: True)
    assert summary.steps == 2
    assert len(summary.shards) == 1
    next(data.data.glob(f"{summary.shards[0][:16]}*")).unlink()
    with pytest.raises(RecordError, match="No such file"):
        train(setting, data, out, resume=True)


def test_a_run_goes_on_with_what_it_was_begun_with(tmp_path: Path, data: Sources) -> None:
    runs = {}
    for seed in (1, 2):
        runs[seed] = train(changed(SMALL, seed=seed, steps=1), data, tmp_path / f"run-{seed}")
    models = {seed: Path(run.checkpoint or "") for seed, run in runs.items()}
    fill(data.data, seed=2)
    one, two = [str(entry.sha256) for entry in read_manifest(data.data)]
    init, previous, shard = (tmp_path / name for name in ("init", "previous", "shard"))
    begun = {
        init: replace(data, init=models[1]),
        previous: replace(data, previous=tmp_path / "run-1"),
        shard: replace(data, hashes=[one]),
    }
    for out, sources in begun.items():
        train(SMALL, sources, out, should_stop=lambda: True)
    first, second = (re.escape(str(runs[seed].identity)) for seed in (1, 2))
    for out, sources, said in (
        (init, replace(data, init=models[2]), f"{second}, but .* was started with .* {first}"),
        (init, replace(begun[init], previous=tmp_path / "run-1"), "started without one"),
        (previous, replace(data, previous=tmp_path / "run-2"), f"{second}, but .* {first}"),
        (previous, replace(data, init=models[1]), f"model {first}, but .* started without one"),
        (shard, replace(data, hashes=[two]), f"names {two[:16]}, but .* with {one[:16]}"),
        (shard, replace(data, hashes=[one, two]), f"names {one[:16]} and 1 more, but"),
    ):
        with pytest.raises(UsageError, match=said):
            train(SMALL, sources, out, resume=True)
    copied = tmp_path / "copied.json"
    for path in (models[1], models[1].with_suffix(".safetensors")):
        copied.with_suffix(path.suffix).write_bytes(path.read_bytes())
    for steps, sources in ((2, replace(data, init=copied)), (3, data)):
        more = train(SMALL, sources, init, resume=True, should_stop=lambda: True)
        assert more.steps == steps
    for out in (previous, shard):
        assert train(SMALL, begun[out], out, resume=True, should_stop=lambda: True).steps == 2


def test_a_state_between_two_rows_leaves_the_speed_right(
    tmp_path: Path, data: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock on which a step takes a second, a state three and a validation ten."""
    clock, real = [0.0], Learner.step

    def slow(work: Any, seconds: float) -> Any:
        def wrapped(*args: Any) -> Any:
            clock[0] += seconds
            return work(*args)

        return wrapped

    monkeypatch.setattr(stage, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(Learner, "step", slow(real, 1.0))
    monkeypatch.setattr(stage, "validate", slow(train_loss.validate, 10.0))
    monkeypatch.setattr(train_state, "write_state", slow(train_state.write_state, 3.0))
    setting = changed(SMALL, steps=6, validate_every=6, checkpoint_minutes=2.5 / 60)
    told: list[float] = []
    train(
        setting, data, tmp_path / "out",
        on_step=lambda _step, _steps, known: told.append(known.get("samples_per_second", 0.0)),
    )  # fmt: skip
    assert told[:5] == [0.0] * 5
    states = 2  # after the first and the fourth step
    assert told[5] == pytest.approx(6 * 8 / (6 * 1 + states * 3))


def test_two_processes_do_not_share_a_folder(tmp_path: Path, data: Sources) -> None:
    out, inside, leave = tmp_path / "out", threading.Event(), threading.Event()

    def hold() -> None:
        with train_state.locked(out):
            inside.set()
            leave.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    inside.wait(60)
    try:
        with pytest.raises(RingriftError, match="Another process trains in"):
            train(SMALL, data, out)
    finally:
        leave.set()
        holder.join()
    (tmp_path / "file").write_text("")
    with pytest.raises(RingriftError, match="Cannot write to"):
        train(SMALL, data, tmp_path / "file" / "out")


# ---- how much -----------------------------------------------------------------------------------


def test_a_new_position_is_seen_so_often(tmp_path: Path, data: Sources) -> None:
    setting = changed(SMALL, steps=None, samples_per_position=2.0, batch=16)
    planned = plan(setting, data)
    (entry,) = read_manifest(data.data)
    never = held_out(entry.sha256, entry.games, 0.2)
    assert never.any()
    assert planned.positions == planned.new_positions < entry.positions
    assert planned.steps == round(2 * planned.positions / 16)
    first = train(setting, data, tmp_path / "first")
    assert first.steps == planned.steps
    following = replace(data, previous=tmp_path / "first")
    with pytest.raises(RecordError, match="there is nothing new to train on"):
        plan(setting, following)
    assert plan(changed(setting, steps=5), following).steps == 5
    fill(data.data, seed=2)
    both = plan(setting, following)
    assert both.positions > both.new_positions == both.positions - planned.positions
    assert both.steps == round(2 * both.new_positions / 16)
    second = train(setting, following, tmp_path / "second")
    assert second.new_positions == both.new_positions
    # a third run knows what both counted
    with pytest.raises(RecordError, match="there is nothing new to train on"):
        train(setting, replace(data, previous=tmp_path / "second"), tmp_path / "third")
    assert not train_state.has_state(tmp_path / "third")


def test_what_follows_a_run(tmp_path: Path, data: Sources) -> None:
    first = train(SMALL, data, tmp_path / "first")
    before = train_state.read_tensors(tmp_path / "first")
    fill(data.data, seed=2)
    following = replace(data, previous=tmp_path / "first")
    setting = changed(SMALL, size=None)
    learners = {}
    for name, sources, wanted in (
        ("all", following, setting),
        ("weights", following, changed(setting, carried="weights")),
        ("init", replace(data, init=Path(first.checkpoint or "")), setting),
        ("both", replace(following, init=Path(first.checkpoint or "")), setting),
    ):
        out = tmp_path / name
        summary = train(wanted, sources, out, should_stop=lambda: True)
        assert summary.parents == [first.identity]
        assert summary.total_steps == first.total_steps + 1
        learners[name] = train_state.read_state(out)
    assert {name: state.fresh for name, state in learners.items()} == {
        "all": False, "weights": True, "init": True, "both": False
    }  # fmt: skip
    begun = train_start.new_learner(setting, following, plan(setting, following))[0]
    assert same(begun.tensors(), before)
    planned = plan(setting, following)
    both = replace(following, init=Path(first.checkpoint or ""))
    mixed = train_start.new_learner(setting, both, planned)[0].tensors()
    for name, tensor in before.items():
        if name.startswith("network."):  # the averaged weights are what the model has
            assert torch.equal(mixed[name], before[name.replace("network.", "average.")])
        else:
            assert torch.equal(mixed[name], tensor)


def test_networks_that_do_not_fit(tmp_path: Path, data: Sources) -> None:
    first = train(changed(SMALL, steps=1), data, tmp_path / "first")
    model = Path(first.checkpoint or "")
    with pytest.raises(UsageError, match="has a network of 2 blocks and 24 channels, which is not"):
        train(changed(SMALL, size="small"), replace(data, init=model), tmp_path / "a")
    with pytest.raises(UsageError, match="Unknown network size 'vast'"):
        train(changed(SMALL, size="vast"), data, tmp_path / "b")
    three = fill(tmp_path / "three", players=3)
    with pytest.raises(UsageError, match="trained a network for hex8 with 2 players, not"):
        train(
            changed(SMALL, players=3), replace(three, previous=tmp_path / "first"), tmp_path / "d"
        )
    train(SMALL, data, tmp_path / "half", should_stop=lambda: True)
    with pytest.raises(RecordError, match="is not done: step 1 of 8"):
        train(SMALL, replace(data, previous=tmp_path / "half"), tmp_path / "e")
    with pytest.raises(RecordError, match="No such file"):
        train(SMALL, replace(data, previous=tmp_path / "nowhere"), tmp_path / "f")
    assert not any((tmp_path / name / "state.json").exists() for name in "abdef")


# ---- what is refused ----------------------------------------------------------------------------


def test_stale_or_missing_data(tmp_path: Path, data: Sources) -> None:
    later = dt.datetime.now(dt.UTC) + dt.timedelta(hours=5)
    out = tmp_path / "out"
    with pytest.raises(RecordError, match="max-age is 4: its data are stale"):
        train(changed(SMALL, max_age=4.0), data, out, now=later)
    with pytest.raises(RecordError, match="2 behind generation 3, but max-generations-behind is 1"):
        train(changed(SMALL, max_generations_behind=1, generation=3), data, out)
    with pytest.raises(RecordError, match="holds no searched positions of square8, 2 players"):
        train(changed(SMALL, board="square8"), data, out)
    with pytest.raises(RecordError, match="The window has 12 games, all held out for"):
        train(changed(SMALL, validation_share=0.9999), data, out)
    with pytest.raises(RecordError, match="does not list shard abc"):
        train(SMALL, replace(data, hashes=["abc"]), out)
    (shard,) = data.data.glob("*.shard")
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(RecordError, match="its SHA-256 hash is"):
        train(SMALL, data, out)
    assert not train_state.has_state(out)


def test_a_loss_that_is_no_number(
    tmp_path: Path, data: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, out = Learner.step, tmp_path / "out"

    def breaks(self: Learner, batch: Any, rate: float) -> torch.Tensor:
        found = real(self, batch, rate)
        if train_state.read_state(out).step >= 4:
            found[1] = torch.nan
        return found

    monkeypatch.setattr(Learner, "step", breaks)
    with pytest.raises(TrainingError) as raised:
        train(SMALL, data, out)
    assert "A loss is not finite between steps 5 and 8: policy " in raised.value.message
    assert ", value nan, owner " in raised.value.message
    assert "--set train.learning_rate below 0.002" in (raised.value.hint or "")
    assert train_state.read_state(out).step == 4  # what was right is kept
    monkeypatch.setattr(Learner, "step", real)
    assert train(SMALL, data, out, resume=True).steps == 8


def test_a_diverging_run_is_refused(
    tmp_path: Path, data: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "learning_rate", lambda *_: 1e30)
    setting = changed(SMALL, clip=1e30, optimiser="sgd")
    with pytest.raises(TrainingError, match="A loss is not finite between steps"):
        train(setting, data, tmp_path / "out")
    assert not list((tmp_path / "out").glob("models/*"))
