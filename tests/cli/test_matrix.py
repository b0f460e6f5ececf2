"""`ringrift matrix cmaes`: what is left, what is projected, and where it stops."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ringrift_cli.cli import matrix as command
from ringrift_cli.settings import Tune
from ringrift_cli.tune import matrix as tune_matrix
from ringrift_cli.tune.matrix import Configuration, configurations, games_left
from tests.conftest import Ringrift

pytestmark = pytest.mark.usefixtures("compiled_rules")

SMALL = ("--generations", 1, "--population", 6, "--games", 2, "--test-games", 8)


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """The runs that the command would start; each leaves what a real one leaves."""
    started: list[tuple[str, list[str]]] = []
    monkeypatch.chdir(tmp_path)

    def run(one: Configuration, line: list[str], _why: object) -> None:
        started.append((one.name, line))
        folder = Path(one.folder)
        folder.mkdir(parents=True, exist_ok=True)
        if one.name != "hex8-3p":  # that one fails
            (folder / "verdict.json").write_text(json.dumps(VERDICT))

    monkeypatch.setattr(command, "_run", run)
    return started


VERDICT = {
    "generations": 1,
    "training_games": 16,
    "retest_games": 8,
    "entrants": {"mean": 0.5},
    "chosen": "mean",
    "weights": {},
    "against": "default",
    "elo0": 0.0,
    "elo1": 20.0,
    "counts": [1, 2, 1],
    "finished": True,
    "decision": "H0",
}


def test_each_configuration_is_run_once(
    ringrift: Ringrift, runs: list[tuple[str, list[str]]]
) -> None:
    line = ("matrix", "cmaes", "--configs", "hex8-2p,square8-2p", *SMALL, "--json")
    run = ringrift(*line)
    assert run.code == 0, run.err
    assert [name for name, _ in runs] == ["hex8-2p", "square8-2p"]
    assert {"--population", "6", "--generations", "1"} <= {*runs[0][1]}
    assert [one["state"] for one in json.loads(run.out)["configurations"]] == ["tested"] * 2
    assert ringrift(*line).code == 0
    assert len(runs) == 2  # nothing is left
    assert ringrift("matrix", "cmaes", "--configs", "hex8-2p", "--generations", 2).code == 1
    assert len(runs) == 3  # it was tested after one generation only


def test_a_failed_run_is_named_and_tried_again(
    ringrift: Ringrift, runs: list[tuple[str, list[str]]]
) -> None:
    for count in (2, 3):
        run = ringrift("matrix", "cmaes", "--configs", "hex8-3p,hex8-2p", *SMALL)
        assert run.code == 1
        assert "Failed: hex8-3p" in run.err
        assert len(runs) == count


def test_limits_stop_it(ringrift: Ringrift, runs: list[tuple[str, list[str]]]) -> None:
    run = ringrift("matrix", "cmaes", "--configs", "hex8-2p", "--hours", 1e-12, *SMALL)
    assert (run.code, runs) == (1, [])
    assert "hours are over" in run.err
    for wrong in (("--configs", "hex9-2p"), ("--budget", 5)):
        assert ringrift("matrix", "cmaes", *wrong).code == 2


def test_a_dry_run_projects_and_does_nothing(
    ringrift: Ringrift, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune_matrix, "MEASURED_S", 0.01)
    out = tmp_path / "runs"
    line = ("matrix", "cmaes", "--configs", "hex8-2p", "--out", out, "--dry-run", "--json")
    found = json.loads(ringrift(*line).out)
    assert found["games_left"] == {"hex8-2p": 80 * Tune.population * Tune.games}
    assert found["core_hours"]["hex8-2p"] > 0
    assert not out.exists()


def test_what_is_left_follows_from_the_journal(tmp_path: Path) -> None:
    (new,) = configurations(["hex8-2p"], tmp_path, 10)
    assert (new.state, new.generations) == ("new", 0)
    begun = Configuration("hex8-2p", "hex8", 2, "", 4, 400, "begun")
    tune = Tune(population=6, games=10)
    assert games_left(new, 10, tune) == 600
    assert games_left(begun, 10, tune) == 600  # 100 games a generation so far
    assert len(configurations([], tmp_path, 10)) == 12
