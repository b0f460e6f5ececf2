"""`ringrift bench … --discover` and `--validate`: what is saved, used, compared and refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ringrift_cli.bench import discover as bench
from ringrift_cli.bench.measure import (
    BenchSetting,
    BenchSubject,
    Measurement,
    MeasureTime,
    Rates,
)
from ringrift_cli.nn.checkpoint import save as save_model
from ringrift_cli.nn.network import Network, architecture
from ringrift_cli.runtime.machine import device_name
from ringrift_cli.runtime.profiles import find, path_of, save
from tests.bench.profiled import TRAINING, entry
from tests.conftest import Ringrift

DEVICE = device_name("cpu")
ON_CPU = ("--gpus", "none")
TINY = (*ON_CPU, "--size", "tiny")
MB = 10**6


@pytest.fixture(autouse=True)
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RINGRIFT_PROFILES", str(tmp_path / "machines"))
    monkeypatch.setattr(bench, "DOUBLINGS", dict.fromkeys(bench.DOUBLINGS, 1))
    monkeypatch.setattr(bench, "GAMES_ON_A_CORE", 4)
    monkeypatch.setattr(bench, "available_threads", lambda: 2)


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[BenchSubject, BenchSetting, MeasureTime]]:
    """No clock: a batch of n makes 1000 n / (n + 1) a second, and takes 100 + n MB."""
    asked = []

    def measured(
        subject: BenchSubject, setting: BenchSetting, time: MeasureTime, advance: Callable[[], None]
    ) -> Measurement:
        asked.append((subject, setting, time))
        rate = 1000.0 * setting.batch / (setting.batch + 1)
        rates: Rates = {subject.unit.removesuffix("/s"): rate, "decisions": rate / 10}
        if subject.kind == "search":
            rates["free_simulations"] = 5 * rate
        for _ in range(time.rounds):
            advance()
        memory = (100 + setting.batch) * MB
        return Measurement(setting, (rates,) * time.rounds, memory, 100 * MB)

    monkeypatch.setattr("ringrift_cli.bench.measure.measure", measured)
    return asked


# ---- for real -----------------------------------------------------------------------------------


def test_self_play_uses_what_was_discovered(
    ringrift: Ringrift, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(bench.DOUBLINGS, "selfplay", 0)
    effort = ("--seconds", 1, "--rounds", 1)
    run = ringrift("bench", "selfplay", *TINY, "--discover", *effort, "--json")
    assert run.code == 0
    told = json.loads(run.out)
    assert (told["kind"], told["board"], told["players"]) == ("selfplay", "hex8", 2)
    [one] = told["devices"]
    assert one["device"] == DEVICE
    assert json.loads(Path(one["profile"]).read_text())["entries"][0] == one["chosen"]
    assert one["chosen"]["batch"] == 4
    assert one["chosen"]["memory"] == one["rungs"][0]["memory_bytes"] > 50 * MB

    model = save_model(tmp_path / "models", Network(architecture("tiny", "hex8", 2)).eval(), {})
    line = ("selfplay", "--model", model, "--games", 2, "--sims", 2, "--fast-sims", 1, *ON_CPU)
    run = ringrift(*line, "--out", tmp_path / "games", "-v")
    assert run.code == 0
    assert f"4 games at once in a process: profile of {DEVICE} from 20" in run.err
    run = ringrift(*line, "--out", tmp_path / "games", "--concurrent", 3, "-v")
    assert "3 games at once in a process, as requested." in run.err
    assert "2 games of this setting had been recorded" in run.out


# ---- ladders ------------------------------------------------------------------------------------


def test_a_ladder_as_a_table(ringrift: Ringrift, faked: list[object]) -> None:
    run = ringrift("bench", "search", *TINY, "--discover", "--memory", 1, "--rounds", 2)
    assert run.code == 0
    what, device, head, *rungs, saved = run.out.splitlines()
    assert what == "search on hex8 with 2 players, network tiny"
    assert device == f"{DEVICE}; 1.0 GB at most"
    assert head.split()[:2] == ["batch", "simulations/s"]
    assert [rung.split()[0] for rung in rungs] == ["2", "4", "*"]
    assert rungs[2].split()[1:3] == ["8", "888.9"]
    assert saved == f"Saved: batch 8, in {path_of(DEVICE)}"
    assert len(faked) == 3 * 2  # a pass for each round


def test_a_ladder_as_json(ringrift: Ringrift, faked: list[object]) -> None:
    run = ringrift("bench", "engine", "--discover", "--memory", 5, "--json", "-q")
    assert (run.code, run.err) == (0, "")
    told = json.loads(run.out)
    assert (told["kind"], told["network"], told["machine"]["cores"] > 0) == ("engine", None, True)
    [one] = told["devices"]
    assert one["limit_bytes"] == 5_000 * MB
    assert [rung["batch"] for rung in one["rungs"]] == [2048, 4096, 8192]
    assert [rung["skipped"] is None for rung in one["rungs"]] == [True, True, False]
    first = one["rungs"][0]
    assert first["decisions_per_s"] == pytest.approx(100 * 2048 / 2049)
    assert (first["memory_bytes"], first["spread"], len(first["rounds"])) == (2148 * MB, 0, 3)
    assert one["chosen"]["batch"] == 2048
    assert faked


def test_what_does_not_fit_is_told(ringrift: Ringrift, faked: list[object]) -> None:
    run = ringrift("bench", "engine", "--discover", "--memory", 3)
    assert run.code == 0
    assert "batch 4,096 would take about 4.2 GB of 3.0: skipped." in run.err
    assert "  would take about 4.2 GB of 3.0\n" in run.out
    run = ringrift("bench", "engine", "--discover", "--memory", 1)
    assert run.code == 1
    assert "No setting fits in 1.0 GB" in run.err
    assert faked


@pytest.mark.parametrize("name", ["ladder.png", "ladder.svg"])
def test_a_ladder_as_a_picture(
    ringrift: Ringrift, faked: list[object], tmp_path: Path, name: str
) -> None:
    line = ("bench", "train", *TINY, "--discover", "--plot", tmp_path / name)
    assert ringrift(*line).code == 0
    drawn = (tmp_path / name).read_bytes()
    assert drawn.startswith(b"\x89PNG" if name.endswith("png") else b"<?xml")
    assert faked


def test_of_training_threads_and_precision_are_saved(
    ringrift: Ringrift, faked: list[object]
) -> None:
    run = ringrift("bench", "train", *TINY, "--discover", "--rounds", 1)
    assert run.code == 0
    assert "Saved: 1 thread, float32 (the batch remains train.batch)" in run.out
    saved = find(DEVICE, TRAINING.key).entry
    assert saved is not None
    assert (saved.batch, saved.threads, saved.precision) == (256, 1, "float32")
    assert len(faked) == 4 + 2


# ---- one setting --------------------------------------------------------------------------------


def test_one_setting(
    ringrift: Ringrift, faked: list[tuple[BenchSubject, BenchSetting, MeasureTime]]
) -> None:
    run = ringrift("bench", "search", *TINY, "--batch", 9, "--seconds", 7, "--json")
    [one] = json.loads(run.out)["devices"]
    assert (one["batch"], one["simulations_per_s"], one["free_to_network"]) == (9, 900.0, 5.0)
    assert faked[0][1:] == (BenchSetting(9), MeasureTime(7.0, 3))
    run = ringrift("bench", "search", *TINY, "--batch", 9)
    assert "900.0  simulations/s" in run.out
    assert "4,500.0  simulations/s, with an evaluator that costs nothing" in run.out
    assert "5.0  times as many" in run.out


def test_by_itself_it_takes_what_a_profile_says(
    ringrift: Ringrift, faked: list[tuple[BenchSubject, BenchSetting, MeasureTime]]
) -> None:
    run = ringrift("bench", "train", *TINY, "-v")
    assert f"Threads and precision: no profile of {DEVICE}." in run.err
    save(DEVICE, TRAINING)
    assert ringrift("bench", "train", *TINY).code == 0
    save(DEVICE, entry(kind="search"))
    assert ringrift("bench", "search", *TINY).code == 0
    assert [setting for _, setting, _ in faked] == [
        BenchSetting(256), BenchSetting(256, 1, "bfloat16"), BenchSetting(24),
    ]  # fmt: skip


# ---- held to its word ---------------------------------------------------------------------------


def test_a_profile_that_holds(
    ringrift: Ringrift, faked: list[tuple[BenchSubject, BenchSetting, MeasureTime]]
) -> None:
    save(DEVICE, entry(throughput=980.0))
    run = ringrift("bench", "selfplay", *TINY, "--validate")
    assert run.code == 0
    assert run.out.startswith("selfplay on hex8 with 2 players, network tiny reaches 960 eval")
    assert faked[0][1:] == (BenchSetting(24), MeasureTime(2.0, 5))
    told = json.loads(ringrift("bench", "selfplay", *TINY, "--validate", "--json").out)
    assert told["holds"]
    assert told["devices"][0]["ratio"] == pytest.approx(960 / 980)
    run = ringrift("bench", "selfplay", *TINY, "--validate", "--tolerance", 0.01)
    assert run.code == 1


def test_a_profile_that_does_not_hold(ringrift: Ringrift, faked: list[object]) -> None:
    save(DEVICE, entry(throughput=9600.0))
    run = ringrift("bench", "selfplay", *TINY, "--validate")
    assert (run.code, run.out) == (1, "")
    sentence, hint = run.err.splitlines()
    assert "reaches 960 evaluations/s, 90% below the 9,600 of the profile" in sentence
    assert "ringrift bench selfplay --discover --board hex8 --players 2 --size tiny" in hint
    run = ringrift("bench", "selfplay", *TINY, "--validate", "--json", "-q")
    assert run.code == 1
    told = json.loads(run.out)
    assert (told["holds"], told["devices"][0]["holds"]) == (False, False)
    assert faked


def test_nothing_to_validate(ringrift: Ringrift, faked: list[object]) -> None:
    line = ("bench", "selfplay", *TINY, "--validate")
    run = ringrift(*line)
    assert run.code == 2
    assert f"No profile to validate: no profile of {DEVICE}." in run.err
    assert "ringrift bench selfplay --discover" in run.err
    save(DEVICE, entry(ringrift="0.0.9"))
    run = ringrift(*line)
    assert run.code == 2
    assert "was measured with ringrift 0.0.9" in run.err
    assert not faked


def test_a_damaged_profile_is_told_before_anything_is_measured(
    ringrift: Ringrift, faked: list[object]
) -> None:
    path = path_of(DEVICE)
    path.parent.mkdir()
    path.write_text("[]")
    for mode in ("--discover", "--validate"):
        run = ringrift("bench", "engine", mode)
        assert run.code == 1
        assert f"{path} is not a profile of format 1" in run.err
    assert not faked


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("search --discover --validate", "--discover and --validate: expected only one"),
        ("train --batch 8 --discover", "--batch and --discover: expected only one"),
        ("engine --memory 3", "--memory is for --discover"),
        ("search --plot x.png --batch 3", "--plot is for --discover"),
        ("engine --discover --plot x.pdf", "expected a name that ends in .png or .svg"),
        ("selfplay --tolerance 0.1", "--tolerance is for --validate"),
        ("selfplay --validate --tolerance 1", "expected a share below 1"),
        ("engine --discover --memory 0", "expected gigabytes above 0"),
        ("engine --all --discover", "--all is for the CPU only"),
        ("engine --rounds 3", "--rounds is for --batch, --discover and --validate"),
        ("search --batch 0", "'0' is not a whole number of 1 or more"),
        ("train --size giant --gpus none", "network.size is 'giant', expected one of tiny"),
        ("search --model missing.json --gpus none", "There is no file missing.json"),
    ],
)
def test_wrong_usage(ringrift: Ringrift, line: str, sentence: str) -> None:
    run = ringrift("bench", *line.split())
    assert (run.code, run.out) == (2, "")
    assert sentence in run.err.splitlines()[0]


@pytest.mark.parametrize("command", ["engine", "search", "selfplay", "train"])
def test_help_has_examples(ringrift: Ringrift, command: str) -> None:
    shown = ringrift("bench", command, "--help").out
    assert f"ringrift bench {command} " in shown
    assert "--discover" in shown
