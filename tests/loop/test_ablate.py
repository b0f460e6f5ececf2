"""`ringrift ablate`: arms, equal data, equal compute, and interruptions that change nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from ringrift_cli.errors import RecordError, RingriftError, UsageError
from ringrift_cli.loop import ablate
from ringrift_cli.loop.ablate import BASE, Ablation, ArmResult, arms
from ringrift_cli.loop.protocol import Meter, Played, SelfPlayWork, ShouldStop, Stopped
from ringrift_cli.settings import Config
from ringrift_cli.store.locks import locked
from ringrift_cli.store.manifest import read_manifest
from tests.conftest import Ringrift
from tests.loop_child import tiny
from tests.loops import Notes, QuickSteps, changed

pytestmark = pytest.mark.usefixtures("compiled_rules")

VARIED = ("train.owner_weight=1.0,0.15", "selfplay.sims=2,8")


def test_an_arm_for_every_other_value() -> None:
    found = arms(Config(), ("train.owner_weight=1,0.15,2", "selfplay.sims=16"))
    names = [BASE, "train.owner_weight=0.15", "train.owner_weight=2.0", "selfplay.sims=16"]
    assert [arm.name for arm in found] == names
    assert [arm.config.train.owner_weight for arm in found] == [1.0, 0.15, 2.0, 1.0]
    assert [arm.plays for arm in found] == [True, False, False, True]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("train.owner_weight", "expected SECTION.KEY=VALUE,VALUE"),
        ("train.owner_wait=1", "did you mean 'owner_weight'"),
        ("train.owner_weight=1,high", "train.owner_weight is 'high', expected a number"),
        ("gate.sims=32", "gate does not act on what one cycle learns"),
        ("selfplay.games_per_cycle=9", "selfplay.games_per_cycle does not act on what one cycle"),
        ("train.owner_weight=1.0", "nothing to compare"),
        ("selfplay.fast_sims=64", "expected at most selfplay.sims"),
    ],
)
def test_what_cannot_be_compared(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        arms(Config(), (text,))


class Playing(QuickSteps):
    """Real steps, but that self-play writes random games; an evaluation for each simulation."""

    def generate(self, work: SelfPlayWork, meter: Meter, should_stop: ShouldStop) -> Played:
        entries = read_manifest(work.folder)  # of an attempt that was stopped
        missing = work.games - sum(entry.games for entry in entries)
        more = replace(work, games=missing)
        played = super().generate(more, meter, should_stop)  # seeded by what is missing
        return replace(played, evaluations=played.games * self.config.selfplay.sims)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setattr(ablate, "RealSteps", Playing)
    return changed(tiny(tmp_path), "train", validation_share=0.2, batch=16, window=10_000)


def run(config: Config, out: Path, calls: int | None = None) -> list[ArmResult]:
    """Stopped after so many questions whether to stop, again and again, if `calls` are given."""
    while True:
        left = calls

        def should_stop() -> bool:
            nonlocal left
            left = None if left is None else left - 1
            return left is not None and left < 0

        try:
            ablation = Ablation(config, VARIED, out, seeds=1, elo=20)
            return ablation.run(Notes(), should_stop)
        except Stopped:
            calls = None if calls is None else 2 * calls


def test_equal_data_and_compute_and_interruptions_change_nothing(
    tmp_path: Path, config: Config
) -> None:
    whole = run(config, tmp_path / "whole")
    base, owner, sims = whole
    assert (base.setting, base.selfplay_games, base.seeds) == (BASE, 8, ())
    assert (owner.selfplay_games, owner.positions, owner.steps) == (8, base.positions, base.steps)
    assert (sims.selfplay_games, sims.steps) == (2, base.steps)  # 8 simulations instead of 2
    seed = tmp_path / "whole" / "seed-1"
    assert sum(entry.games for entry in read_manifest(seed / "selfplay.sims-8" / "selfplay")) == 2
    assert not (seed / "train.owner_weight-0.15" / "selfplay").exists()
    for row in (owner, sims):
        (found,) = row.seeds
        assert found.games == row.games == config.gate.max_games
        assert found.verdict == "undecided"
    broken = run(config, tmp_path / "broken", calls=2)
    for row, other in zip(broken, whole, strict=True):
        assert msgspec.structs.replace(row, train_seconds=other.train_seconds, seeds=()) == (
            msgspec.structs.replace(other, seeds=())
        )


def test_another_ablation_in_the_folder_is_refused(tmp_path: Path, config: Config) -> None:
    Ablation(config, VARIED, tmp_path / "out", seeds=1, elo=20)
    Ablation(config, VARIED[:1], tmp_path / "out", seeds=2, elo=20)  # other arms and seeds may join
    other = replace(config, train=replace(config.train, batch=8))
    with pytest.raises(UsageError, match="holds an ablation with other settings"):
        Ablation(other, VARIED, tmp_path / "out", seeds=1, elo=20)


def test_two_processes_do_not_work_on_one_ablation(tmp_path: Path, config: Config) -> None:
    ablation = Ablation(config, VARIED, tmp_path / "out", seeds=1, elo=20)
    with (
        locked(tmp_path / "out" / ablate.LOCK),
        pytest.raises(RingriftError, match="Another process works on"),
    ):
        ablation.run(Notes(), lambda: False)


def test_a_damaged_plan_is_told(tmp_path: Path, config: Config) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ablate.PLAN).write_text("{")
    with pytest.raises(RecordError, match="is damaged"):
        Ablation(config, VARIED, tmp_path / "out", seeds=1, elo=20)


def test_the_command_prints_a_row_for_each_arm(
    tmp_path: Path, ringrift: Ringrift, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    row = ArmResult("train.batch=64", 8, 100, 7, 1.5, 4, 0.75, 190.8, (-10.0, None), ())
    monkeypatch.setattr(Ablation, "run", lambda *_: [row, row])
    result = ringrift("ablate", "--vary", "train.batch=64", "--set", "selfplay.teacher=none")
    assert result.code == 0, result.err
    assert "+191 (-10 to +∞)" in result.out
    assert (tmp_path / "runs" / "ablate" / "hex8-2p" / "ablation.json").exists()
