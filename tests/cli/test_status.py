"""`ringrift status`: what it says of runs that are not there, under way, and done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ringrift_cli.loop import cycle
from ringrift_cli.loop.cycle import RESULTS
from ringrift_cli.loop.journal import JOURNAL, opened
from ringrift_cli.settings import Config, commented
from tests.conftest import Ringrift
from tests.loops import QuickSteps, loop_of, settings, write_model

pytestmark = pytest.mark.usefixtures("compiled_rules")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.chdir(tmp_path)
    found = settings(tmp_path, alarm_rejections=1)
    Path("ringrift.yaml").write_text(commented(found))
    return found


def test_nothing_is_there(ringrift: Ringrift, config: Config) -> None:
    run = ringrift("status")
    assert (run.code, run.err) == (0, "")
    assert "0 cycles in " in run.out
    assert "champion  none yet" in run.out
    assert "nothing under way; no process at work" in run.out
    assert not config.folder.exists()
    document = json.loads(ringrift("status", "--json").out)
    assert (document["champion"], document["last"], document["cycles"]) == (None, None, 0)
    assert document["data"] == {
        "shards": 0,
        "games": 0,
        "positions": 0,
        "newest_hours": None,
        "other_games": 0,
    }


def test_a_run(ringrift: Ringrift, config: Config) -> None:
    steps = QuickSteps(config, (True, True, False), (-20.0, 30.0))
    with opened(config.folder) as journal:
        cycle.run(loop_of(config, steps, journal), 3)
        journal.add(4, "cycle", "begun", plan={"model": {"identity": "0123"}})
        journal.add(4, "selfplay", "begun")
        run = ringrift("status")
    assert run.code == 0
    champion = steps.champions[-1]
    for said in (
        "hex8-2p",
        "3 cycles in ",
        "cycle 4, selfplay: begun 20",
        "Process ",
        f"{champion}, since 20",
        "Elo +30 (+0 to +60) in its match with the heuristic",
        "▁█",
        "9 shards, 24 games, ",
        "24 games recorded; 1 rejection in a row",
        " GB free, ",
        "alarm",
        "1 candidate in a row was not accepted.",
        "rejected",
    ):
        assert said in run.out, said
    assert "\x1b" not in run.out
    document = json.loads(ringrift("status", "--json").out)
    assert document["champion"]["identity"] == champion
    assert document["champion"]["heuristic"]["elo"] == 30
    assert [elo["elo"] for elo in document["elo"]] == [-20, 30, 30]
    assert [row["verdict"] for row in document["recent"]] == ["accepted", "accepted", "rejected"]
    assert document["last"] == journal.finished[-1]
    assert document["under_way"]["step"] == "selfplay"
    assert document["working"] is None
    assert document["gate_games"] == 24
    assert (document["rejections"], len(document["alarms"])) == (1, 1)


def test_it_writes_to_no_file(ringrift: Ringrift, config: Config) -> None:
    config.folder.mkdir(parents=True)
    results = config.folder / RESULTS
    assert json.loads(ringrift("status", "--json").out)["gate_games"] == 0
    assert not results.exists()
    results.touch()
    assert json.loads(ringrift("status", "--json").out)["gate_games"] == 0
    assert results.read_bytes() == b""


def test_a_rollback_is_told(ringrift: Ringrift, config: Config) -> None:
    steps = QuickSteps(config)
    with opened(config.folder) as journal:
        cycle.run(loop_of(config, steps, journal), 2)
    steps.registry.rollback("hex8-2p", "it lost to a beginner")
    run = ringrift("status")
    assert f"{steps.champions[0]}, since 20" in run.out
    assert " by rollback" in run.out


def test_a_champion_promoted_by_hand_is_told(ringrift: Ringrift, config: Config) -> None:
    steps = QuickSteps(config)
    with opened(config.folder) as journal:
        cycle.run(loop_of(config, steps, journal), 1)
    other = write_model(config, Path("elsewhere"), 1)
    steps.crown(other)
    assert f"{other.identity}, since 20" in (out := ringrift("status").out)
    assert "Elo +1 (+0 to +2) in its match with the heuristic" in out
    champion = json.loads(ringrift("status", "--json").out)["champion"]
    assert (champion["identity"], champion["cycle"]) == (other.identity, None)
    assert champion["heuristic"]["elo_95"] == [0, 2]


@pytest.mark.parametrize("width", [44, 60, 80, 300])
def test_a_narrow_terminal_cuts_no_number_off(
    ringrift: Ringrift, config: Config, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    with opened(config.folder) as journal:
        cycle.run(loop_of(config, QuickSteps(config, (True, False)), journal), 2)
    monkeypatch.setenv("COLUMNS", str(width))
    facts, _, table = ringrift("status").out.partition("\n\n")
    assert str(config.folder) in facts
    lines = table.splitlines()
    assert max(map(len, lines)) <= width
    head = lines[0]
    assert "verdict" in head
    assert ("evals/s" in head) is (width >= 80)


def test_another_pool(ringrift: Ringrift, config: Config) -> None:
    document = json.loads(ringrift("status", "--board", "square8", "--players", 4, "--json").out)
    assert document["pool"] == "square8-4p"


def test_a_damaged_journal(ringrift: Ringrift, config: Config) -> None:
    config.folder.mkdir(parents=True)
    (config.folder / JOURNAL).write_text("nonsense\n")
    run = ringrift("status")
    assert (run.code, run.out) == (1, "")
    assert "journal.jsonl, line 1" in run.err


def test_a_run_folder_remembers_its_settings(
    ringrift: Ringrift, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(config.folder) as journal:
        cycle.run(loop_of(config, QuickSteps(config), journal), 1)
    monkeypatch.chdir(tmp_path / "models")  # without a ringrift.yaml
    monkeypatch.setenv("RINGRIFT_BOARD", "square8")
    for command in ("status", "report"):
        assert ringrift(command, config.folder).code == 0
    found = json.loads(ringrift("status", config.folder, "--json").out)
    assert (found["pool"], found["cycles"]) == (config.pool, 1)
    assert found["champion"] is not None  # of the registry of the run
    flagged = ringrift("status", config.folder, "--set", f"run.models={tmp_path}/none", "--json")
    assert json.loads(flagged.out)["champion"] is None
    assert ringrift("status", config.folder, "--players", 3).code == 2
    run = ringrift("report", tmp_path)
    assert (run.code, run.out) == (2, "")
    assert "is not a run: it has no settings.yaml." in run.err
