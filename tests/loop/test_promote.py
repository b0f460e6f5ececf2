"""The learning loop: whom it promotes, and how it goes on when evidence does not hold any more."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from ringrift_cli.errors import RecordError
from ringrift_cli.loop.protocol import GateResult, GateWork, Model, ShouldStop, Watch
from tests.loops import QuickSteps, run, settings, write_model

pytestmark = pytest.mark.usefixtures("compiled_rules")


class Killed(QuickSteps):
    """Is killed in a promotion, when it has happened or before."""

    happens = True

    def promote(self, model: Model, evidence: dict[str, Any]) -> None:
        if self.happens:
            super().promote(model, evidence)
        raise KeyboardInterrupt


class KilledBefore(Killed):
    happens = False


class Asked(QuickSteps):
    """Notes the seeds of its gates."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.seeds: list[int] = []

    def gate(self, work: GateWork, watch: Watch, should_stop: ShouldStop) -> GateResult:
        self.seeds.append(work.seed)
        return super().gate(work, watch, should_stop)


def test_evidence_that_was_changed_promotes_nobody(tmp_path: Path) -> None:
    config = settings(tmp_path)

    class Changing(QuickSteps):
        def champion(self) -> Model | None:
            for path in (self.config.folder / "gate").glob("*.json"):
                path.write_text(path.read_text() + " ")
            return super().champion()

    with pytest.raises(RecordError, match="is not the evidence that the gate of this") as error:
        run(config, Changing(config))
    assert error.value.hint is not None
    assert "or delete it" in error.value.hint
    (config.folder / "gate" / "cycle-00001.json").unlink()
    assert run(config, QuickSteps(config))[0]["promoted"]


def test_a_champion_is_not_judged_against_itself(tmp_path: Path) -> None:
    config = settings(tmp_path)
    QuickSteps(config).crown(write_model(config, tmp_path, 1))

    class Lazy(QuickSteps):
        def train(self, work: Any, *rest: Any) -> Any:
            trained = super().train(work, *rest)
            return type(trained)(work.parent, trained.summary)

    steps = Lazy(config)
    (record,) = run(config, steps)
    assert not any(call.startswith("gate") for call in steps.calls)
    gate = record["gate"]
    assert (gate["verdict"], gate["games"], gate["checks"]) == ("inconclusive", 0, [])
    assert "is champion already, though cycle 1 has not evaluated it" in gate["reasons"][0]
    assert (record["promoted"], record["rejections"]) == (False, 1)
    assert len(steps.champions) == 1
    assert run(config, QuickSteps(config))[0]["promoted"]  # it is not stuck there


def test_a_promotion_that_was_not_journalled_counts_once(tmp_path: Path) -> None:
    config = settings(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run(config, Killed(config))
    (config.folder / "gate" / "cycle-00001.json").unlink()  # the registry has a copy
    steps = QuickSteps(config)
    (record,) = run(config, steps)
    assert steps.calls == []
    assert record["promoted"]
    assert steps.champions == [record["champion"]]


def test_a_candidate_is_judged_again_against_another_champion(tmp_path: Path) -> None:
    config = settings(tmp_path)
    steps = QuickSteps(config)
    other = write_model(config, tmp_path, 1)
    with pytest.raises(KeyboardInterrupt):
        run(config, KilledBefore(config))
    steps.crown(other)
    (record,) = run(config, steps)
    assert steps.calls == [f"gate {other.identity}", "promote"]
    assert record["gate"]["against"] == other.identity
    assert steps.champions == [other.identity, record["train"]["identity"]]


@pytest.mark.parametrize("accepted", [True, False])
def test_a_candidate_that_was_rolled_back_needs_other_games(tmp_path: Path, accepted: bool) -> None:
    config = settings(tmp_path)
    (first,) = run(config, Asked(config))
    killed = Killed(config)
    with pytest.raises(KeyboardInterrupt):
        run(config, killed)
    candidate = killed.champions[-1]
    killed.registry.rollback(config.pool, "it loses to beginners")
    steps = Asked(config, (True, accepted))
    (record,) = run(config, steps)
    assert record["train"]["identity"] == candidate
    assert steps.calls == [f"gate {first['champion']}", *["promote"] * accepted]
    assert record["gate"]["promotions"] == 1
    assert (record["promoted"], record["rejections"]) == (accepted, int(not accepted))
    champion = steps.champion()
    assert champion is not None
    assert champion.identity == (candidate if accepted else first["champion"])
    assert run(config, QuickSteps(config))[0]["cycle"] == 3


def test_games_that_promoted_once_are_not_heard_again(tmp_path: Path) -> None:
    config = settings(tmp_path)
    run(config, QuickSteps(config))
    before, after = Asked(config), Asked(config)

    class AskedAndKilled(Asked, Killed):
        pass

    before = AskedAndKilled(config)
    with pytest.raises(KeyboardInterrupt):
        run(config, before)
    before.registry.rollback(config.pool, "a test")
    run(config, after)
    assert len({*before.seeds, *after.seeds}) == 2


def test_what_was_promoted_stays_so_in_its_record(tmp_path: Path) -> None:
    config = settings(tmp_path)
    run(config, QuickSteps(config))

    class KilledLater(QuickSteps):
        def window(self, data: Path, own: Collection[str]) -> set[str]:
            if self.calls[-1] == "promote":
                raise KeyboardInterrupt
            return super().window(data, own)

    killed = KilledLater(config)
    with pytest.raises(KeyboardInterrupt):
        run(config, killed)
    killed.registry.rollback(config.pool, "a test")
    steps = QuickSteps(config)
    (record,) = run(config, steps)
    assert steps.calls == []
    assert (record["promoted"], record["gate"]["verdict"]) == (True, "accepted")
    assert record["champion"] == record["train"]["identity"]


def test_lost_evidence_is_made_again(tmp_path: Path) -> None:
    config = settings(tmp_path)
    killed = KilledBefore(config)
    with pytest.raises(KeyboardInterrupt):
        run(config, killed)
    path = config.folder / "gate" / "cycle-00001.json"
    before = path.read_bytes()
    path.unlink()
    steps = QuickSteps(config)
    (record,) = run(config, steps)
    assert steps.calls == ["gate None", "promote"]
    assert record["promoted"]
    assert path.read_bytes() == before  # the games are those that were recorded


def test_lost_evidence_of_another_verdict_promotes_nobody(tmp_path: Path) -> None:
    config = settings(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run(config, KilledBefore(config))
    (config.folder / "gate" / "cycle-00001.json").unlink()
    steps = QuickSteps(config, (False,))
    (record,) = run(config, steps)
    assert steps.calls == ["gate None"]
    assert (record["promoted"], record["gate"]["verdict"]) == (False, "rejected")
    assert steps.champions == []
