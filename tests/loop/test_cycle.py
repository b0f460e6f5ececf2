"""The learning loop: the order of its steps, what it checks, and going on after a stop."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ringrift_cli.data import retention as cycle_data
from ringrift_cli.data.shard import read_searched
from ringrift_cli.errors import OutputError, RecordError
from ringrift_cli.evaluate.evaluate import ANCHOR, new_match, play_match
from ringrift_cli.evaluate.results import Pool, Results
from ringrift_cli.game.version import rules_hash
from ringrift_cli.loop import cycle
from ringrift_cli.loop.cycle import RESULTS, Loop, model_of
from ringrift_cli.loop.journal import CYCLES, JOURNAL, Journal, opened, read
from ringrift_cli.loop.local import RealSteps
from ringrift_cli.loop.protocol import Model, Played, SelfPlayWork, Stopped
from ringrift_cli.loop.status import run_state
from ringrift_cli.settings import Config
from ringrift_cli.store.manifest import ShardEntry, add_to_manifest, read_manifest
from tests.fleet.goods import entry_of
from tests.loops import Notes, QuickSteps, changed, loop_of, run, settings, write_model

pytestmark = pytest.mark.usefixtures("compiled_rules")


def data_of(config: Config) -> Path:
    return config.folder / "selfplay"


# ---- a cycle ------------------------------------------------------------------------------------


def test_a_first_cycle(tmp_path: Path) -> None:
    config = settings(tmp_path)
    steps = QuickSteps(config)
    (record,) = run(config, steps)
    bootstrap = record["selfplay"]["model"]
    assert steps.calls == [
        "bootstrap",
        "selfplay 8",
        f"train {bootstrap['identity']}",
        "gate None",
        "promote",
    ]
    assert bootstrap["kind"] == "bootstrap"
    assert (record["cycle"], record["pool"], record["rules"]) == (1, "hex8-2p", rules_hash())
    played = record["selfplay"]
    assert (played["games"], played["evaluations"]) == (8, 800)
    assert (played["games_per_hour"], played["evaluations_per_second"]) == (7200, 200)
    assert played["shards"] == [entry.sha256 for entry in read_manifest(data_of(config))]
    assert sum(played["reasons"].values()) == sum(played["wins"]) == 8
    assert played["duplicates"] == 0
    shards = [read_searched(data_of(config) / f"{name[:16]}.shard") for name in played["shards"]]
    lengths = [len(game.actions) for shard in shards for game in shard.games]
    assert played["decisions"] == sum(lengths)
    assert played["length"]["mean"] == pytest.approx(sum(lengths) / 8, abs=0.01)
    assert played["length"]["most"] == max(lengths)
    assert played["positions"] == sum(len(g.plies) for shard in shards for g in shard.games)
    assert record["promoted"]
    champion = steps.champion()
    assert champion is not None
    assert champion.identity == record["train"]["identity"] == record["champion"]
    assert record["train"]["parent"] == bootstrap["identity"]
    assert 0 <= record["train"]["data_hours"] < 1
    assert (record["rejections"], record["alarms"]) == (0, [])
    evidence = json.loads((config.folder / record["gate"]["evidence"]).read_text())
    assert evidence["candidate"] == {"model": champion.identity}
    assert set(record["seconds"]) == set(cycle.STEPS)
    assert record["settings"] == config.document()
    lines = (config.folder / CYCLES).read_text().splitlines()
    assert [json.loads(line) for line in lines] == [record]


def test_the_champion_plays_and_openings_are_fresh(tmp_path: Path) -> None:
    config = settings(tmp_path)
    records = run(config, QuickSteps(config), 3)
    for before, after in pairwise(records):
        assert after["selfplay"]["model"] == {
            "identity": before["champion"],
            "path": str(tmp_path / "models" / "hex8-2p" / f"{before['champion']}.json"),
            "kind": "champion",
        }
        assert after["train"]["parent"] == after["gate"]["against"] == before["champion"]
    shards = [name for record in records for name in record["selfplay"]["shards"]]
    assert len(set(shards)) == len(shards)
    with Results(config.folder / "results.sqlite") as results:
        assert results.pools() == [(Pool("hex8", 2), 24)]
        assert len(results.rated_games(Pool("hex8", 2))) == 24


def test_the_newest_candidate_plays_whoever_is_champion(tmp_path: Path) -> None:
    """The strict test names champions; it does not hold back self-play."""
    config = settings(tmp_path)
    records = run(config, QuickSteps(config, (True, False, False, True)), 5)
    trained = [record["train"]["identity"] for record in records]
    players = [record["selfplay"]["model"] for record in records[1:]]
    assert [model["identity"] for model in players] == trained[:-1]
    kinds = ["champion", "candidate", "candidate", "champion"]
    assert [model["kind"] for model in players] == kinds
    assert [record["train"]["parent"] for record in records[1:]] == trained[:-1]
    assert [record["champion"] for record in records] == [*[trained[0]] * 3, *trained[3:]]
    assert [record["rejections"] for record in records] == [0, 1, 2, 0, 0]


def test_a_clearly_weaker_candidate_does_not_play(tmp_path: Path) -> None:
    """It is trained on for a while; after `max_weaker` in a row from the champion again."""
    config = settings(tmp_path, max_weaker=2)
    elo = (0.0, -51.0, -51.0, -51.0, -49.0, 0.0)  # plus or minus 30
    records = run(config, QuickSteps(config, (True, False), elo), 6)
    trained = [record["train"]["identity"] for record in records]
    assert [record["weaker"] for record in records] == [0, 1, 2, 3, 0, 0]
    assert [record["gate"]["weaker"] for record in records[1:5]] == [True, True, True, False]
    players = [record["selfplay"]["model"]["identity"] for record in records[1:]]
    assert players == [*[trained[0]] * 4, trained[4]]
    parents = [record["train"]["parent"] for record in records[1:]]
    assert parents == [trained[0], trained[1], trained[0], trained[3], trained[4]]


def test_a_champion_of_somebody_elses_choice_plays(tmp_path: Path) -> None:
    config = settings(tmp_path)
    steps = QuickSteps(config, (True, False))
    run(config, steps, 2)
    other = write_model(config, tmp_path, 7)
    steps.crown(other)
    (record,) = run(config, steps)
    assert record["selfplay"]["model"]["identity"] == other.identity
    assert record["train"]["parent"] == other.identity


def test_without_a_champion_the_newest_candidate_plays(tmp_path: Path) -> None:
    config = settings(tmp_path, max_weaker=1)
    records = run(config, QuickSteps(config, (False,)), 4)
    trained = [record["train"]["identity"] for record in records]
    parents = [record["train"]["parent"] for record in records]
    assert parents[1:] == trained[:-1]
    players = [record["selfplay"]["model"] for record in records]
    assert [model["kind"] for model in players] == ["bootstrap", *["candidate"] * 3]
    assert [model["identity"] for model in players] == parents


def test_every_candidate_has_a_rating(tmp_path: Path) -> None:
    """Of one fit over all games of the gate, anchored at the default heuristic."""

    class Rated(QuickSteps):
        rating = RealSteps.rating

    config = settings(tmp_path)
    pool, path = Pool("hex8", 2), config.folder / RESULTS
    (first,) = run(config, Rated(config))
    assert first["gate"]["rating"] is None  # nobody has played the anchor
    with Results(path) as results:
        play_match(new_match(pool, ("heuristic:beginner,width=0", ANCHOR)), results, 8)
    (second,) = run(config, Rated(config))
    rating = second["gate"]["rating"]
    assert rating["games"] == 24
    assert {rating["low"], rating["high"]} != {None}
    shown = run_state(config).elo
    assert [one.cycle for one in shown] == [1, 2]
    assert {one.games for one in shown} == {24}


# ---- what is checked ----------------------------------------------------------------------------


def test_a_step_that_did_nothing_is_not_done(tmp_path: Path) -> None:
    for lost, said in (
        (
            "selfplay",
            r"Self-play ended 3 times, but the manifest of .* has 0 of 8 games of cycle 1",
        ),
        ("train", r"safetensors"),
        ("promote", r"was promoted, but the registry's champion is nobody"),
    ):
        config = settings(tmp_path / lost)
        steps = QuickSteps(config, lost=lost)
        with pytest.raises(RecordError, match=said):
            run(config, steps)
        with opened(config.folder) as journal:
            assert journal.outcome(1, lost) is None
            assert journal.finished == []
        steps.lost = ""
        (record,) = run(config, steps)
        assert record["promoted"]
        assert record["selfplay"]["games"] == 8


def test_a_shard_that_is_not_what_the_manifest_says(tmp_path: Path) -> None:
    config = settings(tmp_path)

    class Damaging(QuickSteps):
        def generate(self, work: SelfPlayWork, *rest: Any) -> Played:
            played = super().generate(work, *rest)
            path = next(work.folder.glob("*.shard"))
            path.write_bytes(path.read_bytes()[:-1])
            return played

    with pytest.raises(RecordError, match="its SHA-256 hash is"):
        run(config, Damaging(config))


def plan_of(config: Config, cycle: int) -> tuple[str | None, Model]:
    """The run identity and the player of a cycle."""
    journal = read(config.folder)
    begun = journal.find(cycle, "cycle", "begun")
    assert begun is not None
    return begun.get("run"), model_of(begun["plan"]["model"], config.folder)


def begin(config: Config, steps: QuickSteps) -> None:
    """Begins a cycle, and none of its steps."""
    with opened(config.folder) as journal, pytest.raises(Stopped):
        loop_of(config, steps, journal, lambda: True).run_cycle()


def lay(config: Config, run: str | None, model: Model, cycle: int, games: int = 4) -> set[str]:
    """Games of some origin in the data folder of a run; the hashes of their shards."""
    before = {entry.sha256 for entry in read_manifest(data_of(config))}
    work = SelfPlayWork(data_of(config), model, cycle, games, 10**6 * cycle + len(before), run)
    QuickSteps(config).generate(work, Notes(), lambda: False)
    return {entry.sha256 for entry in read_manifest(data_of(config))} - before


@pytest.mark.parametrize("at", [1, 2])
def test_only_games_made_for_this_run_and_cycle_by_its_player_count(
    tmp_path: Path, at: int
) -> None:
    """Whatever else lies in its folder is not counted, not trained on, not deleted, and told."""
    config = settings(tmp_path, max_data_gb=1e-9)
    with opened(config.folder):
        pass
    foreign = lay(config, None, write_model(config, tmp_path / "a", 1), at)  # before the run
    steps = QuickSteps(config, (True, False))
    run(config, steps, at - 1)
    begin(config, steps)
    own, player = plan_of(config, at)
    other = write_model(config, tmp_path / "b", 2)
    for name, model, number in (
        (None, player, at),  # ringrift selfplay --generation
        ("f" * 16, player, at),  # a run that began with the same network
        ("f" * 16, other, at),
        (own, other, at),
        (own, player, at + 1),
    ):
        foreign |= lay(config, name, model, number)
    early = lay(config, own, player, at, 2)
    watch = Notes()
    with opened(config.folder) as journal:
        record = Loop(config, steps, journal, watch).run_cycle()
    shards = set(record["selfplay"]["shards"])
    assert record["selfplay"]["games"] == 8
    assert shards > early
    assert not shards & foreign
    about = json.loads(Path(record["train"]["path"]).read_text())["about"]
    assert not set(about["data"]) & foreign
    assert foreign <= {entry.sha256 for entry in read_manifest(data_of(config))}
    assert f"24 games in {data_of(config)} are not of this run" in " ".join(watch.said)
    assert run_state(config).data.other_games == 24


def test_a_cycle_that_counted_games_of_others_plays_its_own(tmp_path: Path) -> None:
    config = settings(tmp_path)
    steps = QuickSteps(config)
    begin(config, steps)
    foreign = lay(config, "f" * 16, plan_of(config, 1)[1], 1, 8)
    with opened(config.folder) as journal:
        journal.add(1, "selfplay", "begun")
        journal.add(1, "selfplay", "done", seconds=1.0, outcome={"shards": [*foreign]})
    (record,) = run(config, steps)
    assert record["selfplay"]["games"] == 8
    assert not foreign & set(record["selfplay"]["shards"])


def test_runs_begun_alike_at_once_are_two(tmp_path: Path) -> None:
    """Two machines, the same settings, the same second: as two crontabs do it."""
    identities = set()
    for folder in (tmp_path / "a", tmp_path / "b"):
        config = settings(folder)
        begin(config, QuickSteps(config))
        journal = read(config.folder)
        identities |= {journal.identity, plan_of(config, 1)[0]}
        assert journal.identity == read(config.folder).identity
    assert len(identities) == 2


def test_a_run_from_before_runs_had_identities_goes_on(tmp_path: Path) -> None:
    """Its games are told by number and player; those of the next cycle by its identity too."""
    config = settings(tmp_path)
    steps = QuickSteps(config)
    begin(config, steps)
    path = config.folder / JOURNAL
    (line,) = map(json.loads, path.read_text().splitlines())
    del line["run"]
    path.write_text(json.dumps(line) + "\n")
    _, player = plan_of(config, 1)
    early, foreign = lay(config, None, player, 1), lay(config, "f" * 16, player, 1)
    first, second = run(config, steps, 2)
    assert set(first["selfplay"]["shards"]) > early
    assert not set(first["selfplay"]["shards"]) & foreign
    assert plan_of(config, 2)[0] == read(config.folder).identity
    assert set(second["selfplay"]["shards"]) & early == set()
    assert second["selfplay"]["games"] == 8


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"games": None}, r"\$.games"),
        ({"positions": "7"}, r"\$.positions"),
        ({"time": "yesterday"}, r"\$.time"),
        ({"time": "2026-01-01T00:00:00"}, r"\$.time"),
        ({"file": "../other.shard"}, r"\$.file"),
        ({"file": None}, r"\$.file"),
        ({"note": 1}, "unknown field `note`"),
        (None, "is listed twice"),
    ],
)
def test_an_edited_manifest_is_refused(
    tmp_path: Path, change: dict[str, Any] | None, said: str
) -> None:
    config = settings(tmp_path)
    steps = QuickSteps(config)
    run(config, steps)
    entries = [entry.to_json() for entry in read_manifest(data_of(config))]
    entries = [*entries, entries[0]] if change is None else [entries[0] | change, *entries[1:]]
    text = "".join(json.dumps(entry) + "\n" for entry in entries)
    (data_of(config) / "manifest.jsonl").write_text(text)
    with pytest.raises(RecordError, match=rf"manifest\.jsonl, line .*{said}"):
        run(config, steps)


def test_what_is_no_shard_is_left_alone(tmp_path: Path) -> None:
    config = settings(tmp_path, max_data_gb=1e-9)
    steps = QuickSteps(config, (True, False))
    record = data_of(config) / "games.jsonl.gz"
    data_of(config).mkdir(parents=True)
    record.write_bytes(b"games")
    entry = entry_of(b"games", file=record.name)
    add_to_manifest(data_of(config), ShardEntry.from_json(entry))
    last = run(config, steps, 4)[-1]
    assert last["selfplay"]["games"] == 8
    assert last["collected"]["shards"] > 0
    assert record.read_bytes() == b"games"


def test_a_run_may_be_moved(tmp_path: Path) -> None:
    config = settings(tmp_path / "here")
    run(config, QuickSteps(config, (True, False)), 2)
    with opened(config.folder) as journal:  # the next cycle is planned, and its models are named
        loop = loop_of(config, QuickSteps(config), journal)
        journal.add(3, "cycle", "begun", plan=cycle.make_plan(loop))
    (tmp_path / "here" / "runs").rename(tmp_path / "there")
    moved = changed(config, "run", folder=str(tmp_path / "there"))
    (record,) = run(moved, QuickSteps(moved))
    assert (record["cycle"], record["promoted"]) == (3, True)


def test_models_may_lie_elsewhere_in_the_next_cycle(tmp_path: Path) -> None:
    config = settings(tmp_path)
    (first,) = run(config, QuickSteps(config))
    (tmp_path / "models").rename(tmp_path / "kept")
    moved = changed(config, "run", models=str(tmp_path / "kept"))
    (second,) = run(moved, QuickSteps(moved))
    assert second["selfplay"]["model"]["identity"] == second["gate"]["against"] == first["champion"]


def test_collecting_begins_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = settings(tmp_path)
    run(config, QuickSteps(config, (True, False)), 4)
    small = changed(config, "cycle", max_data_gb=1e-9)

    def full(folder: Path, least_gb: float, step: str) -> None:
        if any(line["step"] == "gate" for line in journal.lines if line["cycle"] == 5):
            raise OutputError(f"{step} was not started")

    monkeypatch.setattr(cycle_data, "check_space", full)
    records: list[dict[str, Any]] = []
    with opened(small.folder) as journal:
        loop = loop_of(small, QuickSteps(small, (False,)), journal)
        with pytest.raises(OutputError, match="selfplay was not started"):
            cycle.run(loop, 2, records.append)
    assert records[0]["collected"]["shards"] > 0


def test_no_step_begins_on_a_full_disk(tmp_path: Path) -> None:
    config = changed(settings(tmp_path), "cycle", min_free_gb=1e9)
    steps = QuickSteps(config)
    with pytest.raises(OutputError, match=r"GB are free .* selfplay was not started") as error:
        run(config, steps)
    assert error.value.exit_code == 1
    assert steps.calls == []
    assert run(settings(tmp_path), steps)[0]["promoted"]


# ---- stopping and going on ----------------------------------------------------------------------


@pytest.mark.parametrize("looks", range(12))
def test_whatever_a_stop_left_is_gone_on_with(tmp_path: Path, looks: int) -> None:
    config = settings(tmp_path)
    steps = QuickSteps(config)
    left = looks

    def should_stop() -> bool:
        nonlocal left
        left -= 1
        return left < 0

    records: list[dict[str, Any]] = []
    try:
        with opened(config.folder) as journal:
            cycle.run(loop_of(config, steps, journal, should_stop), 1, records.append)
    except Stopped:
        records += run(config, steps)
    (record,) = records
    assert record["selfplay"]["games"] == 8
    assert sum(entry.games for entry in read_manifest(data_of(config))) == 8
    assert sum(call.startswith("gate") for call in steps.calls) == 1
    assert steps.calls.count("promote") == 1
    assert steps.champions == [record["champion"]]


# ---- what may go --------------------------------------------------------------------------------


def test_old_shards_nobody_needs_are_deleted(tmp_path: Path) -> None:
    config = settings(tmp_path)
    steps = QuickSteps(config, (True, False))
    first, *_, last = run(config, steps, 4)
    assert last["collected"]["shards"] == 0
    size = sum(path.stat().st_size for path in data_of(config).glob("*.shard"))
    assert last["collected"]["left"] == size
    small = changed(config, "cycle", max_data_gb=1e-9)
    (record,) = run(small, steps)
    entries = read_manifest(data_of(config))
    names = {entry.sha256 for entry in entries}
    needed = steps.referred() | steps.window(data_of(config), {entry.sha256 for entry in entries})
    assert set(first["selfplay"]["shards"]) & needed
    assert names >= needed
    assert {path.name for path in data_of(config).glob("*.shard")} == {e.file for e in entries}
    assert record["collected"]["shards"] == 15 - len(names) > 0
    left = sum(path.stat().st_size for path in data_of(config).glob("*.shard"))
    assert record["collected"]["left"] == left


def test_a_deletion_that_was_cut_short_is_ended(tmp_path: Path) -> None:
    config = settings(tmp_path)
    steps = QuickSteps(config, (True, False))
    run(config, steps, 4)
    small = changed(config, "cycle", max_data_gb=1e-9)
    delete = cycle_data.delete

    def dying(data: Path, names: list[str], files: list[str]) -> None:
        delete(data, names, [])
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cycle_data, "delete", dying)
        with pytest.raises(KeyboardInterrupt):
            run(small, steps)
    files = {entry.file for entry in read_manifest(data_of(config))}
    assert files < {path.name for path in data_of(config).glob("*.shard")}
    (record,) = run(small, steps)
    left = {path.name for path in data_of(config).glob("*.shard")}
    assert left == {entry.file for entry in read_manifest(data_of(config))} <= files
    assert record["collected"]["shards"] == 15 - len(left)
    assert record["collected"]["bytes"] > 0


def test_a_journal_alone_tells_the_record(tmp_path: Path) -> None:
    config = settings(tmp_path)
    (record,) = run(config, QuickSteps(config))
    with opened(config.folder) as journal:
        assert isinstance(journal, Journal)
        assert journal.finished == [record]
        assert journal.seconds(1, "train") == record["seconds"]["train"]
