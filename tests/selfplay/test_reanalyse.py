"""Stored games searched again: moves stay, targets are those of the new search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ringrift_cli.data.game_index import hashes_of_entry
from ringrift_cli.data.intake import Intake
from ringrift_cli.data.pool import statistics
from ringrift_cli.data.shard import Shard, read_entry
from ringrift_cli.data.window import WindowSetting, choose
from ringrift_cli.errors import RecordError, RingriftError, UsageError
from ringrift_cli.game.replay import rows_at
from ringrift_cli.game.topology import tables
from ringrift_cli.nn.checkpoint import save
from ringrift_cli.nn.evaluator import NetworkEvaluator
from ringrift_cli.search.forest import Forest
from ringrift_cli.selfplay.generate import generate
from ringrift_cli.selfplay.reanalyse import shards_of
from ringrift_cli.selfplay.worker import GenerateSetting
from ringrift_cli.settings import SelfPlay
from ringrift_cli.store.manifest import ShardEntry, read_manifest
from ringrift_cli.train.dataset import TrainData, gather
from tests.nn.networks import network

PLAY = SelfPlay(
    sims=4,
    fast_sims=2,
    considered=2,
    fast_considered=2,
    sparring_share=0.0,
    concurrent=4,
    shard_games=3,
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    return save(folder, network("hex8", 2), {}), save(folder, network("hex8", 2, seed=9), {})


def setting_of(model: Path, generation: int, play: SelfPlay = PLAY) -> GenerateSetting:
    return GenerateSetting("hex8", 2, False, 0, model, model.stem, play, generation)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory, models: tuple[Path, Path]) -> Path:
    """A folder with 6 games in 2 shards of the first model."""
    folder = tmp_path_factory.mktemp("played")
    generate(setting_of(models[0], 1), folder, games=6)
    return folder


def again(played: Path, model: Path, generation: int = 2) -> GenerateSetting:
    return replace(
        setting_of(model, generation, replace(PLAY, sims=8, considered=4)),
        sources=shards_of([played], "hex8", 2, False),
    )


def by_source(folder: Path) -> dict[str, tuple[ShardEntry, Shard]]:
    entries = [entry for entry in read_manifest(folder) if entry.source]
    return {str(entry.source): (entry, read_entry(folder, entry)) for entry in entries}


def test_moves_stay_and_the_new_model_gives_the_targets(
    played: Path, models: tuple[Path, Path], tmp_path: Path
) -> None:
    done = generate(again(played, models[1]), tmp_path)
    found, sources = by_source(tmp_path), read_manifest(played)
    assert set(found) == {entry.sha256 for entry in sources}
    assert done.counts.games == 6
    assert done.counts.positions == sum(entry.positions for entry in sources) > 10
    changed = 0
    for entry in sources:
        old, (listed, new) = read_entry(played, entry).columns, found[entry.sha256]
        for name in ("actions", "plies", "winners", "reasons", "game_offsets", "position_offsets"):
            assert np.array_equal(getattr(old, name), getattr(new.columns, name)), name
        assert (listed.generation, listed.made["model"]) == (2, models[1].stem)
        changed += int(np.abs(old.values - new.columns.values).sum() > 1e-3)
    assert changed == len(sources)


def test_a_target_is_the_result_of_a_search_of_that_position(
    played: Path, models: tuple[Path, Path], tmp_path: Path
) -> None:
    setting = again(played, models[1])
    generate(replace(setting, devices=("cpu", "cpu")), tmp_path)
    source, (_, shard) = next(iter(by_source(tmp_path).items()))
    c, T = shard.columns, tables("hex8", 2)
    rows = rows_at(T, c.actions, c.game_offsets[:-1], c.position_offsets, c.plies, pie_rule=False)
    evaluator = NetworkEvaluator(network("hex8", 2, seed=9))
    forest = Forest(
        T, 1, evaluator,
        exploration=PLAY.exploration, value_scale=PLAY.value_scale, considered=4,
    )  # fmt: skip
    for at in (0, len(rows) - 1):
        words = [0, int(source[:16], 16), at]
        seed = np.random.SeedSequence(words).generate_state(1, np.uint64)
        forest.place(0, rows[at], int(seed[0]))
        forest.begin(0, 8, 4, noise=1.0)
        while not len(forest.step()):
            pass
        (result,) = forest.results(np.array([0]))
        chosen = slice(c.choice_offsets[at], c.choice_offsets[at + 1])
        policy = dict(zip(result.actions.tolist(), result.policy.tolist(), strict=True))
        wanted = [policy[action] for action in c.choices[chosen].tolist()]
        assert c.targets[chosen] == pytest.approx(wanted, abs=0.02)  # the network in int8
        assert c.values[at] == pytest.approx(result.root_values, abs=0.02)


def test_a_shard_without_searched_positions_keeps_its_games(
    models: tuple[Path, Path], tmp_path: Path
) -> None:
    played, folder = tmp_path / "played", tmp_path / "again"
    rarely = replace(PLAY, full_share=1e-6, shard_games=1)
    generate(setting_of(models[0], 1, rarely), played, games=2)
    assert [(e.games, e.positions) for e in read_manifest(played)] == [(1, 0)] * 2
    done = generate(again(played, models[1]), folder)
    assert (done.counts.games, done.counts.positions) == (2, 0)
    assert set(by_source(folder)) == {entry.sha256 for entry in read_manifest(played)}


def test_an_interrupted_run_goes_on_with_the_missing_shards(
    played: Path, models: tuple[Path, Path], tmp_path: Path
) -> None:
    setting = again(played, models[1])
    first = generate(replace(setting, sources=setting.sources[:1]), tmp_path)
    assert (first.counts.games, len(first.shards)) == (3, 1)
    rest = generate(setting, tmp_path)
    assert (rest.known, rest.counts.games, len(rest.shards)) == (3, 3, 1)
    assert generate(setting, tmp_path).shards == []
    whole = tmp_path / "whole"
    generate(setting, whole)
    assert {e.sha256 for e in read_manifest(whole)} == {e.sha256 for e in read_manifest(tmp_path)}
    stopped = generate(setting, tmp_path / "none", should_stop=lambda: True)
    assert stopped.stopped
    assert read_manifest(tmp_path / "none") == []


def test_no_position_is_trained_on_twice_or_leaves_the_validation_games(
    played: Path, models: tuple[Path, Path], tmp_path: Path
) -> None:
    for path in played.glob("*.shard"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "manifest.jsonl").write_bytes((played / "manifest.jsonl").read_bytes())
    pool = WindowSetting("hex8", 2)
    before = choose(tmp_path, pool)
    for generation in (2, 3):
        generate(again(played, models[1], generation), tmp_path)
    window = choose(tmp_path, pool)
    assert {entry.generation for entry in window.entries} == {3}
    assert window.positions == before.positions
    old, new = (gather(one.read(), 0.5, 0.0) for one in (before, window))
    held = [validation_games(data) for data in (old, new)]
    assert held[0] == held[1] != set()
    (of_pool,) = statistics(tmp_path)
    assert of_pool.games == 6
    assert shards_of([tmp_path], "hex8", 2, False) == tuple(
        tmp_path / entry.file for entry in read_manifest(played)
    )


def validation_games(data: TrainData) -> set[bytes]:
    offsets = data.columns.game_offsets
    games = set(data.game[data.validation].tolist())
    return {data.columns.actions[offsets[game] : offsets[game + 1]].tobytes() for game in games}


def test_a_reanalysed_shard_is_no_repetition_of_its_source(
    played: Path, models: tuple[Path, Path], tmp_path: Path
) -> None:
    made = tmp_path / "made"
    generate(again(played, models[1]), made)
    intake, folder = Intake(), tmp_path / "data"
    for entry in read_manifest(played):
        intake.check(played / entry.file, entry, folder)
    found = by_source(made)
    for entry, _ in found.values():
        intake.check(made / entry.file, entry, folder)
    entry, _ = next(iter(found.values()))
    source = next(one for one in read_manifest(played) if one.sha256 == entry.source)
    assert not set(hashes_of_entry(made, entry)) & set(hashes_of_entry(played, source))
    twice = tmp_path / "twice"
    generate(replace(again(played, models[1]), seed=1), twice)
    other = by_source(twice)[str(entry.source)][0]
    with pytest.raises(RecordError, match="repeats 3 of its 3 games"):
        intake.check(twice / other.file, other, folder)


@pytest.mark.parametrize(
    ("paths", "error", "says"),
    [
        (lambda folder: [folder / "x.json"], UsageError, "neither a shard"),
        (lambda folder: [folder / f"{'0' * 16}.shard"], RecordError, "not listed"),
        (lambda folder: [folder / "empty"], RecordError, "no searched games of hex8"),
    ],
)
def test_what_cannot_be_searched_again(
    played: Path,
    paths: Callable[[Path], list[Path]],
    error: type[RingriftError],
    says: str,
) -> None:
    (played / "empty").mkdir(exist_ok=True)
    with pytest.raises(error, match=says):
        shards_of(paths(played), "hex8", 2, False)
