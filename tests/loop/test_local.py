"""The real steps of the loop, tiny: that they fit each other, and that no setting is ignored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ringrift_cli.data.shard import read_searched
from ringrift_cli.errors import RecordError, UsageError
from ringrift_cli.loop import cycle
from ringrift_cli.loop.journal import Journal, opened
from ringrift_cli.loop.local import RealSteps
from ringrift_cli.loop.protocol import Model, Trained, TrainWork
from ringrift_cli.nn import checkpoint
from ringrift_cli.nn.registry import Registry
from ringrift_cli.players.spec import teacher
from ringrift_cli.settings import Config, Run
from ringrift_cli.store.manifest import read_manifest, remove_from_manifest
from tests.loop_child import Generous, tiny
from tests.loops import Notes, changed, settings, write_model
from tests.walks import CONFIGURATIONS

pytestmark = pytest.mark.usefixtures("compiled_rules")


def one_cycle(config: Config, steps: RealSteps, journal: Journal) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    cycle.run(cycle.Loop(config, steps, journal, Notes()), 1, records.append)
    return records


def test_paths_that_no_player_can_name_are_refused_before_any_game(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a,b").mkdir()
    monkeypatch.chdir(tmp_path / "a,b")
    with pytest.raises(UsageError, match="holds ',' or '='"):
        RealSteps(Config(Run(gpus="none")))


def test_training_refuses_data_of_generations_too_far_behind(tmp_path: Path) -> None:
    """Self-play that was done, and whose shards are gone when training looks for them."""
    config = changed(tiny(tmp_path), "train", max_generations_behind=0)

    class Losing(Generous):
        def train(self, work: TrainWork, *rest: Any) -> Trained:
            entries = read_manifest(work.data)
            own = [e.sha256 for e in entries if e.made["generation"] == work.cycle]
            remove_from_manifest(work.data, own)
            return super().train(work, *rest)

    with opened(config.folder) as journal:
        (first,) = one_cycle(config, Generous(config), journal)
        with pytest.raises(RecordError) as error:
            one_cycle(config, Losing(config), journal)
        assert journal.outcome(2, "selfplay") is not None
        assert journal.outcome(2, "train") is None
    assert error.value.message == (
        f"The newest shard of {config.folder / 'selfplay'} was made by generation 1, 1 behind"
        " generation 2, but max-generations-behind is 0: its data are stale."
    )
    assert error.value.hint == "check that self-play has the new models"
    champion = RealSteps(config).champion()
    assert champion is not None
    assert champion.identity == first["champion"]


def test_a_new_network_takes_the_weights_of_a_model_of_another_pool(tmp_path: Path) -> None:
    """The model plays in place of the teacher, and training begins with it."""
    first = settings(tmp_path / "first")
    model = write_model(first, tmp_path, 1)
    config = changed(tiny(tmp_path, "square8", 3, "heuristic"), "network", init=str(model.path))
    steps = Generous(config)
    with opened(config.folder) as journal:
        (record,) = one_cycle(config, steps, journal)
    played, trained = record["selfplay"]["model"], record["train"]
    assert played["kind"] == "bootstrap"
    assert played["identity"] == trained["parent"]
    initial = checkpoint.load(config.folder / "train" / "bootstrap" / f"{trained['parent']}.json")
    assert initial.about["parents"] == [model.identity]
    assert (initial.network.architecture.board, initial.network.architecture.players) == (
        "square8",
        3,
    )


def test_a_bootstrap_follows_from_the_seed(tmp_path: Path) -> None:
    steps = RealSteps(settings(tmp_path))
    one, same, other = (steps.bootstrap(tmp_path, seed) for seed in (1, 1, 2))
    assert one == same
    assert one.identity != other.identity
    steps.check(one)
    with pytest.raises(RecordError, match=f"holds {one.identity}, not {other.identity}"):
        steps.check(Model(other.identity, one.path))


def test_nothing_is_needed_where_nothing_is(tmp_path: Path) -> None:
    steps = RealSteps(settings(tmp_path))
    assert steps.window(tmp_path / "none", ()) == steps.referred() == set()
    assert steps.champion() is None


def test_cycles_of_the_real_thing(tmp_path: Path) -> None:
    config = tiny(tmp_path)
    steps = Generous(config)
    records: list[dict[str, Any]] = []
    with opened(config.folder) as journal:
        loop = cycle.Loop(config, steps, journal, Notes())
        cycle.run(loop, 2, records.append)
    for record in records:
        played, trained = record["selfplay"], record["train"]
        assert played["games"] >= 8
        assert played["evaluations"] > played["decisions"]
        assert played["games_per_hour"] > 0
        assert trained["train_last"]["policy"] > 0
        assert trained["window"]["shards"] > 0
        assert record["champion"] == trained["identity"]
        assert record["gate"]["games"] > 0
    first, second = records
    for record in records:
        for name in record["selfplay"]["shards"]:
            path = config.folder / "selfplay" / f"{name[:16]}.shard"
            if path.exists():  # the limit of this run is a few shards
                made = read_searched(path, name).header.made
                assert made["model"] == record["selfplay"]["model"]["identity"]
                assert made["generation"] == record["cycle"]
    assert second["train"]["total_steps"] == first["train"]["steps"] + second["train"]["steps"]
    assert second["gate"]["against"] == first["champion"]
    champion = steps.champion()
    assert champion is not None
    about = checkpoint.read_about(champion.path)["about"]
    assert about["generation"] == 2
    assert set(about["data"]) <= steps.referred()
    evidence = json.loads((config.folder / second["gate"]["evidence"]).read_text())
    assert evidence["champion"]["model"] == first["champion"]


def test_a_teacher_plays_until_there_is_a_champion(tmp_path: Path) -> None:
    config = tiny(tmp_path, teacher="heuristic")
    steps = Generous(config)
    records: list[dict[str, Any]] = []
    with opened(config.folder) as journal:
        cycle.run(cycle.Loop(config, steps, journal, Notes()), 2, records.append)
    first, second = records
    assert first["selfplay"]["model"]["kind"] == "teacher"
    assert first["selfplay"]["model"]["identity"] == teacher("tuned", "hex8", 2).identity
    parent = Path(config.folder / "train" / "bootstrap" / f"{first['train']['parent']}.json")
    assert parent.is_file()  # what is trained is a network, and a new one
    assert second["selfplay"]["model"]["kind"] == "champion"
    assert second["selfplay"]["model"]["identity"] == first["champion"]


def test_a_cycle_keeps_its_teacher(tmp_path: Path) -> None:
    config = changed(settings(tmp_path), "selfplay", teacher="heuristic")
    model = RealSteps(config).teacher()
    assert model is not None
    RealSteps(config).check(model)
    with pytest.raises(RecordError, match="was begun with the games of teacher"):
        RealSteps(settings(tmp_path)).check(model)


def test_a_model_that_says_nothing_of_its_data_needs_none(tmp_path: Path) -> None:
    config = settings(tmp_path)
    steps = RealSteps(config)
    model = write_model(config, tmp_path, 1)
    about = json.loads(model.path.read_text())
    del about["about"]["data"]
    model.path.write_text(json.dumps(about))
    Registry(Path(config.run.models)).add(config.pool, model.path)
    assert steps.referred() == set()


def test_a_champion_of_another_board_plays_nowhere(tmp_path: Path) -> None:
    config = settings(tmp_path)
    model = write_model(settings(tmp_path, board="square8"), tmp_path, 1)
    with pytest.raises(Exception, match="square8"):
        RealSteps(config).check(model)


@pytest.mark.long
@pytest.mark.parametrize("teacher", ["none", "heuristic"])
@pytest.mark.parametrize(("board", "players"), CONFIGURATIONS)
def test_every_board_and_number_of_players_is_learned(
    board: str, players: int, teacher: str, tmp_path: Path
) -> None:
    config = tiny(tmp_path, board, players, teacher)
    records: list[dict[str, Any]] = []
    with opened(config.folder) as journal:
        cycle.run(cycle.Loop(config, Generous(config), journal, Notes()), 2, records.append)
    for record in records:
        assert record["selfplay"]["games"] == 8
        assert sum(record["selfplay"]["wins"]) == 8
        assert record["train"]["steps"] > 0
        assert record["gate"]["games"] > 0
        assert record["champion"] == record["train"]["identity"]
    assert records[1]["selfplay"]["model"]["identity"] == records[0]["champion"]
