"""What a training run takes from a profile, and what it keeps of that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from msgspec import structs

from ringrift_cli.data.shard import write_searched
from ringrift_cli.nn.network import architecture
from ringrift_cli.runtime import machine
from ringrift_cli.runtime.profiles import Choice, save
from ringrift_cli.settings import Train
from ringrift_cli.train import state as train_state
from ringrift_cli.train.learner import Learner
from ringrift_cli.train.machine import advised, computing_in
from ringrift_cli.train.start import new_network
from ringrift_cli.train.trainer import Sources, TrainSetting, train
from tests.bench.profiled import TRAINING
from tests.searched import searched_games
from tests.train.changed import changed

DEVICE = machine.device_name("cpu")
OPTIONS = Train(batch=8, validate_every=2, validation_share=0.2)
SETTING = TrainSetting("hex8", 2, False, 0, OPTIONS, size="tiny", steps=4, device="cpu")
TINY = architecture("tiny", "hex8", 2)


@pytest.fixture(autouse=True)
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RINGRIFT_PROFILES", str(tmp_path / "machines"))
    for name in ("OMP_NUM_THREADS", "RINGRIFT_THREADS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    some = searched_games("hex8", 2, 12, 1, share=0.2)
    write_searched(tmp_path / "data", {"generation": 1}, some, "hex8", 2, False)
    return Sources(tmp_path / "data")


def test_what_a_profile_advises(monkeypatch: pytest.MonkeyPatch) -> None:
    none = advised(SETTING, TINY)
    assert (none.threads, none.precision, none.refused) == (None, None, False)
    save(DEVICE, TRAINING)
    advice = advised(SETTING, TINY)
    assert (advice.threads, advice.precision) == (1, "bfloat16")
    other = advised(SETTING, architecture("small", "hex8", 2))
    assert (other.threads, other.precision) == (None, None)
    asked = advised(changed(SETTING, precision="float32"), TINY)
    assert (asked.threads, asked.precision) == (1, None)
    save(DEVICE, structs.replace(TRAINING, ringrift="0.0.9"))
    assert advised(SETTING, TINY).refused
    save(DEVICE, TRAINING)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert advised(SETTING, TINY).threads is None
    assert advised(changed(SETTING, precision="float32"), TINY).text == "as requested"


def test_threads_are_fewer_but_never_more_and_only_for_a_while() -> None:
    with computing_in(1) as threads:
        assert threads == torch.get_num_threads() == 1
        with computing_in(64) as inner:
            assert inner == 1
        with computing_in(None) as inner:
            assert inner == 1
    assert torch.get_num_threads() == 2


def test_a_run_keeps_the_precision_it_began_with(tmp_path: Path, sources: Sources) -> None:
    """Whatever a profile says by the time it goes on; so the weights are those of one run."""
    save(DEVICE, TRAINING)
    told: list[Choice] = []
    whole = train(SETTING, sources, tmp_path / "whole", on_choice=told.append)
    assert whole.precision == "bfloat16"
    assert told[0].text.startswith("Training in 1 thread and bfloat16: profile of ")
    stopped = train(SETTING, sources, tmp_path / "parts", should_stop=lambda: True)
    assert stopped.stopped
    assert train_state.read_state(tmp_path / "parts").precision == "bfloat16"
    save(DEVICE, structs.replace(TRAINING, precision="float32"))
    resumed = train(SETTING, sources, tmp_path / "parts", resume=True, on_choice=told.append)
    assert resumed.precision == "bfloat16"
    assert resumed.identity == whole.identity
    assert told[1].text.startswith("Training in 1 thread and bfloat16: ")
    other = train(SETTING, sources, tmp_path / "other")
    assert other.precision == "float32"
    assert other.identity != whole.identity
    assert torch.get_num_threads() == 2


def test_a_state_from_before_precisions_were_kept(tmp_path: Path, sources: Sources) -> None:
    train(SETTING, sources, tmp_path / "out", should_stop=lambda: True)
    path = tmp_path / "out" / train_state.STATE
    path.write_text(path.read_text().replace('"precision": "float32"', '"precision": null'))
    assert train_state.read_state(tmp_path / "out").precision is None
    assert train(SETTING, sources, tmp_path / "out", resume=True).precision == "float32"


def test_float16_is_not_carried_to_a_cpu() -> None:
    assert Learner(new_network(SETTING), SETTING, "float16").precision == "float32"
    assert Learner(new_network(SETTING), SETTING, "bfloat16").precision == "bfloat16"
