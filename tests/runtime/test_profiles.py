"""Profiles: where they are, what they keep, when they are used, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ringrift_cli.errors import RecordError
from ringrift_cli.nn.checkpoint import save as save_model
from ringrift_cli.nn.network import Network, architecture
from ringrift_cli.runtime import machine
from ringrift_cli.runtime import profiles as machine_profiles
from ringrift_cli.runtime.profiles import (
    Choice,
    Key,
    find,
    folder,
    known,
    network_named,
    path_of,
    save,
)
from ringrift_cli.selfplay import generate
from ringrift_cli.selfplay.generate import games_at_once, of_config
from ringrift_cli.selfplay.worker import GenerateSetting
from ringrift_cli.settings import Config, SelfPlay
from tests.bench.profiled import ENTRY, TRAINING, entry

DEVICE = machine.device_name("cpu")


@pytest.fixture(autouse=True)
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RINGRIFT_PROFILES", str(tmp_path / "machines"))
    return tmp_path / "machines"


def test_where_they_are(monkeypatch: pytest.MonkeyPatch, machines: Path) -> None:
    assert folder() == machines
    assert path_of("Cool (R) GPU, 80 GiB") == machines / "cool-r-gpu-80-gib.json"
    monkeypatch.delenv("RINGRIFT_PROFILES")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/somewhere")
    assert folder() == Path("/somewhere/ringrift/machines")
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert folder() == Path("/home/somebody/.config/ringrift/machines")


def test_the_device_says_what_it_is() -> None:
    assert DEVICE.endswith((" core", " cores"))
    assert 1e6 < machine.peak_bytes("cpu") < 1e12
    assert 1e6 < machine.free_bytes("cpu") < 1e14


def test_an_entry_replaces_that_of_its_key_alone() -> None:
    assert find(DEVICE, ENTRY.key).text == f"no profile of {DEVICE}"
    save(DEVICE, ENTRY)
    save(DEVICE, TRAINING)
    path = save(DEVICE, entry(batch=48))
    assert path == path_of(DEVICE)
    assert known(DEVICE) == [TRAINING, entry(batch=48)]
    found = find(DEVICE, ENTRY.key)
    assert (found.entry, found.refused) == (entry(batch=48), False)
    assert found.text == f"profile of {DEVICE} from 2026-11-21"
    other = find(DEVICE, replace(ENTRY.key, players=3))
    assert (other.entry, other.refused) == (None, False)
    assert "has no entry for selfplay on hex8 with 3 players, network tiny" in other.text


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"ringrift": "0.0.9"}, "with ringrift 0.0.9, not "),
        ({"rules": "abc"}, "with rules abc, not "),
    ],
)
def test_what_another_version_measured_is_not_used(changed: dict[str, str], said: str) -> None:
    save(DEVICE, entry(**changed))
    found = find(DEVICE, ENTRY.key)
    assert (found.entry, found.refused) == (None, True)
    assert said in found.text


def test_what_another_device_measured_is_not_used() -> None:
    save("Another, 8 cores", ENTRY).rename(path_of(DEVICE))
    found = find(DEVICE, ENTRY.key)
    assert (found.entry, found.refused) == (None, True)
    assert f"is the profile of Another, 8 cores, not of {DEVICE}" in found.text
    with pytest.raises(RecordError, match="is the profile of Another, 8 cores"):
        save(DEVICE, ENTRY)


def broken(**changed: Any) -> str:
    one = {**ENTRY.document(), **changed}
    return json.dumps({"format": 1, "device": DEVICE, "entries": [one]})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "Input data was truncated"),
        ("[]", "Expected `object`"),
        ('{"format": 2}', "Invalid enum value 2 - at `$.format`"),
        ('{"format": 1, "device": 3, "entries": []}', "Expected `str`, got `int` - at `$.device`"),
        ('{"format": 1, "device": "x", "entries": [1]}', "at `$.entries[0]`"),
        (broken(more=1), "unknown field `more` - at `$.entries[0]`"),
        (broken(batch=0), "Expected `int` >= 1 - at `$.entries[0].batch`"),
        (broken(batch=True), "at `$.entries[0].batch`"),
        (broken(threads=0), "Expected `int` >= 1 - at `$.entries[0].threads`"),
        (broken(throughput=float("nan")), "JSON is malformed"),
        (broken(throughput=0), "Expected `float` > 0.0 - at `$.entries[0].throughput`"),
        (broken(kind="sleep"), "(engine|search|selfplay|train)$' - at `$.entries[0].kind`"),
        (broken(precision="int4"), "float32)$' - at `$.entries[0].precision`"),
        (broken(date=""), "`$.entries[0].date`"),
        (broken(unit=None), "got `null` - at `$.entries[0].unit`"),
    ],
)
def test_a_damaged_profile_is_named(text: str, said: str) -> None:
    path = path_of(DEVICE)
    path.parent.mkdir()
    path.write_text(text)
    for use in (lambda: find(DEVICE, ENTRY.key), lambda: save(DEVICE, ENTRY)):
        with pytest.raises(RecordError) as caught:
            use()
        assert caught.value.message.startswith(f"{path} is not a profile of format 1: ")
        assert said in caught.value.message
        assert str(path) in (caught.value.hint or "")


def test_networks_by_name() -> None:
    assert network_named(architecture("small", "hex8", 2).to_json()) == "small"
    assert network_named({"blocks": 3, "channels": 17}) == "3x17"


# ---- self-play ----------------------------------------------------------------------------------


def chosen(devices: tuple[str, ...], asked: int | None, key: Key | None) -> tuple[int, Choice]:
    told: list[Choice] = []
    games = games_at_once(devices, asked, key, told.append)
    [choice] = told
    return games, choice


def test_games_at_once() -> None:
    cpu, key = ("cpu", "cpu"), ENTRY.key
    assert chosen(cpu, 7, key) == (7, Choice("7 games at once in a process, as requested."))
    games, choice = chosen(cpu, 0, key)
    assert (games, choice.refused) == (128, False)
    assert choice.text == f"128 games at once in a process, the default: no profile of {DEVICE}."
    save(DEVICE, ENTRY)
    games, choice = chosen(cpu, None, key)
    assert (games, choice.refused) == (24, False)
    assert choice.text.endswith(f"in a process: profile of {DEVICE} from 2026-11-21.")
    assert chosen(cpu, 7, key)[0] == 7
    assert chosen(cpu, None, None)[0] == 128
    save(DEVICE, entry(ringrift="0.0.9"))
    games, choice = chosen(cpu, None, key)
    assert (games, choice.refused) == (128, True)
    assert "was measured with ringrift 0.0.9" in choice.text


def test_of_several_gpus_the_least_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "device_name", lambda device: f"GPU {device[-1]}")
    gpus = ("cuda:0", "cuda:1")
    save("GPU 0", entry(batch=4096))
    games, choice = chosen(gpus, None, ENTRY.key)
    assert games == 2048
    assert "no profile of GPU 1" in choice.text
    save("GPU 1", entry(batch=512))
    assert chosen(gpus, None, ENTRY.key)[0] == 512


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = Network(architecture("tiny", "hex8", 2)).eval()
    return save_model(tmp_path_factory.mktemp("models"), network, {})


def setting(section: SelfPlay, model: Path | None) -> GenerateSetting:
    config = Config(selfplay=section)
    return of_config(config, model, "me", seed=1, generation=0, devices=("cpu",))


def test_self_play_with_a_model_follows_its_profile(model: Path) -> None:
    without = setting(SelfPlay(), model)
    save(DEVICE, ENTRY)
    profiled = setting(SelfPlay(), model)
    assert (without.play.concurrent, profiled.play.concurrent) == (128, 24)
    assert setting(SelfPlay(concurrent=5), model).play.concurrent == 5
    assert setting(SelfPlay(), None).play.concurrent == 128  # the teacher's evaluator is no network
    # what shards say of how they were made is the same, so known games stay known
    assert profiled.made("me", 0) == without.made("me", 0)


def test_versions_name_what_measured() -> None:
    assert set(machine_profiles.versions()) == {"ringrift", "rules", "torch", "numba"}
