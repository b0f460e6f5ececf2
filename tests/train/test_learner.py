"""A step of training, the averaged weights, and what is told of wrong settings."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ringrift_cli.data.shard import read_searched, write_searched
from ringrift_cli.errors import RecordError, UsageError
from ringrift_cli.settings import Train
from ringrift_cli.train.batches import Batch, training_batch
from ringrift_cli.train.dataset import gather
from ringrift_cli.train.learner import (
    Learner,
    learning_rate,
    names_of,
    pick_device,
    pick_precision,
)
from ringrift_cli.train.settings import TrainSetting
from ringrift_cli.train.start import new_network
from tests.searched import searched_games
from tests.train.changed import changed

pytestmark = pytest.mark.usefixtures("compiled_rules")

SETTING = TrainSetting("hex8", 2, False, 3, size="tiny", device="cpu")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums in one order, and no waiting for busy cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def batches(tmp_path_factory: pytest.TempPathFactory) -> list[Batch]:
    folder = tmp_path_factory.mktemp("shards")
    path = write_searched(folder, {}, searched_games("hex8", 2, 4, 1), "hex8", 2, False)
    data = gather([read_searched(path)], 0.0, 0.5)
    return [training_batch(data, 16, 0.25, 0, step) for step in range(12)]


def learner(setting: TrainSetting = SETTING) -> Learner:
    return Learner(new_network(setting), setting)


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_steps_learn(batches: list[Batch], optimiser: str, precision: str) -> None:
    rate = 0.01 if optimiser == "adamw" else 0.05
    mine = learner(changed(SETTING, optimiser=optimiser, precision=precision))
    found = [names_of(mine.step(batches[0], rate)) for _ in range(12)]
    assert set(found[0]) == {"policy", "value", "owner", "eliminated"}
    for name in ("policy", "owner", "eliminated"):
        assert found[-1][name] < found[0][name]
    assert {p.dtype for p in mine.network.parameters()} == {torch.float32}


def test_the_average_is_of_all_weights(batches: list[Batch]) -> None:
    """First of all steps alike, then exponential; statistics of the batch norms included."""
    mine = learner(changed(SETTING, average=0.3))
    expected = {k: v.clone().double() for k, v in mine.average.state_dict().items()}
    for n, batch in enumerate(batches):
        mine.step(batch, 0.01)
        decay = min(0.3, (1 + n) / (10 + n))
        for name, weight in mine.network.state_dict().items():
            expected[name] = decay * expected[name] + (1 - decay) * weight.double()
    for name, weight in mine.average.state_dict().items():
        if weight.is_floating_point():
            torch.testing.assert_close(weight.double(), expected[name], rtol=1e-4, atol=1e-6)
        else:
            assert int(weight) == len(batches)  # num_batches_tracked is no mean
    names = [k for k in expected if "running" in k]
    assert names
    assert any((expected[k] != mine.network.state_dict()[k]).any() for k in names)


def test_float16_goes_on_while_every_step_was_skipped(batches: list[Batch]) -> None:
    """The loss scaling skips steps until it has found its scale; there are no moments before."""
    mine, other = learner(), learner()
    mine.precision = other.precision = "float16"
    other.load(mine.tensors(), moments=True)
    other.step(batches[0], 0.01)
    mine.step(batches[0], 0.01)
    one, two = mine.tensors(), other.tensors()
    assert all(torch.equal(one[name], two[name]) for name in one)
    with pytest.raises(RecordError, match="of another network or optimiser"):
        learner().load({k: v for k, v in one.items() if "optimiser" not in k}, moments=True)


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_a_learner_goes_on_where_another_was(batches: list[Batch], optimiser: str) -> None:
    setting = changed(SETTING, optimiser=optimiser)
    whole, first, rest = learner(setting), learner(setting), learner(changed(setting, seed=4))
    for batch in batches[:8]:
        whole.step(batch, 0.005)
    for batch in batches[:4]:
        first.step(batch, 0.005)
    rest.load(first.tensors(), moments=True)
    rest.averaged = first.averaged
    for batch in batches[4:8]:
        rest.step(batch, 0.005)
    one, other = whole.tensors(), rest.tensors()
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_belongs_to_another_network_or_optimiser(batches: list[Batch]) -> None:
    mine, other = learner(), learner(changed(SETTING, optimiser="sgd"))
    for each in (mine, other):
        each.step(batches[0], 0.01)
    with pytest.raises(RecordError, match="of another network or optimiser"):
        learner().load(other.tensors(), moments=True)
    learner().load(other.tensors(), moments=False)
    with pytest.raises(RecordError, match="of another network or optimiser"):
        learner(changed(SETTING, size="small")).load(mine.tensors(), moments=True)
    fewer = {k: v for k, v in mine.tensors().items() if not k.startswith("optimiser.3.")}
    with pytest.raises(RecordError, match="of another network or optimiser"):
        learner().load(fewer, moments=True)


def test_gradients_are_clipped(batches: list[Batch]) -> None:
    mine = learner(changed(SETTING, clip=1e-3, optimiser="sgd", weight_decay=0.0))
    before = [p.detach().clone() for p in mine.network.parameters()]
    mine.step(batches[0], 1.0)
    moved = [p.detach() - q for p, q in zip(mine.network.parameters(), before, strict=True)]
    norm = math.sqrt(sum(float((m.double() ** 2).sum()) for m in moved))
    assert norm == pytest.approx(1e-3 * 1.9, rel=0.01)  # Nesterov: once, and the momentum's 0.9


def test_only_matrices_decay() -> None:
    groups = learner(changed(SETTING, weight_decay=0.5)).optimiser.param_groups
    assert [group["weight_decay"] for group in groups] == [0.5, 0.0]
    assert {p.ndim > 1 for p in groups[0]["params"]} == {True}
    assert {p.ndim > 1 for p in groups[1]["params"]} == {False}


def test_rates() -> None:
    constant = Train(learning_rate=0.1, warmup=10, schedule="constant")
    fresh = [learning_rate(constant, step, 100, fresh=True) for step in range(100)]
    np.testing.assert_allclose(fresh[:10], 0.01 * np.arange(1, 11))
    assert set(fresh[10:]) == {0.1}
    assert learning_rate(constant, 0, 100, fresh=False) == 0.1
    cosine = replace(constant, schedule="cosine")
    rates = [learning_rate(cosine, step, 100, fresh=False) for step in range(100)]
    assert rates == [learning_rate(cosine, step, 100, fresh=True) for step in range(100)]
    assert rates[0] == pytest.approx(0.01)  # near where the cosine of the run before ended
    assert rates[:10] == sorted(rates[:10])
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert 0.097 < rates[9] < 0.1
    assert 0.005 < rates[-1] < 0.0051
    whole = replace(cosine, warmup=0)
    assert learning_rate(whole, 0, 100, fresh=False) == pytest.approx(0.1)


def test_devices_and_precisions() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type in ("cpu", "cuda")
    with pytest.raises(UsageError, match="No device 'tpu7': expected auto"):
        pick_device("tpu7")
    with pytest.raises(UsageError, match=r"No device 'cuda:99': torch sees \d+ GPUs?\."):
        pick_device("cuda:99")
    cpu = torch.device("cpu")
    assert pick_precision("auto", cpu) == "float32"
    assert pick_precision("bfloat16", cpu) == "bfloat16"
    with pytest.raises(UsageError, match="float16 is for GPUs"):
        pick_precision("float16", cpu)


def test_new_weights_follow_from_the_seed() -> None:
    state = torch.random.get_rng_state()
    one, same, other = (new_network(changed(SETTING, seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(one.stem.weight, same.stem.weight)
    assert not torch.equal(one.stem.weight, other.stem.weight)


# ---- settings -----------------------------------------------------------------------------------


def test_a_run_goes_on_with_the_same_setting_only() -> None:
    begun = SETTING.document()
    SETTING.check_same(begun, Path("out"))
    changed(SETTING, checkpoint_minutes=1.0, max_age=3.0).check_same(begun, Path("out"))
    changed(SETTING, size=None).check_same(begun, Path("out"))  # the network of the run stays
    with pytest.raises(UsageError, match="started with 'tiny' as size, not 'small'"):
        changed(SETTING, size="small").check_same(begun, Path("out"))
    with pytest.raises(UsageError, match="The run in out was started with 256 as batch, not 64"):
        changed(SETTING, batch=64).check_same(begun, Path("out"))
