"""`ringrift bench engine`: figures that can be."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ringrift_cli import system
from tests.children import child
from tests.conftest import Ringrift
from tests.walks import CONFIGURATIONS

pytestmark = pytest.mark.usefixtures("compiled_rules")


def check_figures(speed: dict[str, Any]) -> None:
    """What holds on the slowest machine that is busy with something else."""
    for cores in ("one_core", "all_cores"):
        rates = speed[cores]
        assert 1_000 < rates["decisions_per_s"] < 1e9
        per_game = rates["decisions_per_s"] / rates["games_per_s"]
        assert per_game == pytest.approx(speed["decisions_per_game"])
    ratio = speed["all_cores"]["decisions_per_s"] / speed["one_core"]["decisions_per_s"]
    assert speed["ratio"] == pytest.approx(ratio)
    assert 0.2 < ratio < 2 * system.cores()
    assert 20 < speed["decisions_per_game"] < 3_000
    assert 1 < speed["batch_4096_megabytes"] < 500


def test_document(ringrift: Ringrift) -> None:
    run = ringrift("bench", "engine", "--seconds", 1, "--json")
    document = json.loads(run.out)
    assert (run.code, run.err) == (0, "")
    (speed,) = document["engine"]
    assert (speed["board"], speed["players"]) == ("hex8", 2)
    check_figures(speed)
    assert 60 < speed["decisions_per_game"] < 100
    machine = document["machine"]
    assert machine["cores"] == system.cores()
    assert machine["processor"]
    assert machine["python"].startswith("3.")


def test_table(ringrift: Ringrift) -> None:
    run = ringrift("bench", "engine", "--board", "square8", "--players", 3, "--seconds", 1)
    assert run.code == 0
    machine, head, row = run.out.splitlines()
    assert f"{system.cores()} core" in machine
    assert head.split()[:2] == ["board", "players"]
    board, players, decisions, *rest = row.split()
    assert (board, players) == ("square8", "3")
    assert int(decisions.replace(",", "")) > 1_000
    assert len(rest) == 6


@pytest.mark.long
def test_all_configurations(ringrift: Ringrift) -> None:
    run = ringrift("bench", "engine", "--all", "--seconds", 1, "--json")
    speeds = json.loads(run.out)["engine"]
    assert [(speed["board"], speed["players"]) for speed in speeds] == CONFIGURATIONS
    for speed in speeds:
        check_figures(speed)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("bench engine --seconds 0", "'0' is not a whole number of 1 or more"),
        ("bench engine --board hex9", "run.board is 'hex9', expected one of"),
        ("bench engin", "No such command 'engin'"),
    ],
)
def test_wrong_usage(ringrift: Ringrift, line: str, sentence: str) -> None:
    run = ringrift(*line.split())
    assert (run.code, run.out) == (2, "")
    assert sentence in run.err.splitlines()[0]


def test_the_speed_of_a_player(ringrift: Ringrift) -> None:
    run = ringrift("bench", "player", "heuristic", "--games", 8, "--seconds", 1, "--json")
    assert run.code == 0
    [speed] = json.loads(run.out)["players"]
    assert speed["player"] == "heuristic"
    assert 10 < speed["decisions_per_game"] < 200
    for cores in ("one_core", "all_cores"):
        per_game = speed["decisions_per_game"] * speed[cores]["ms_per_decision"] / 1000
        assert speed[cores]["games_per_s"] == pytest.approx(1 / per_game)
    table = ringrift("bench", "player", "random", "--games", 8, "--seconds", 1).out
    assert table.splitlines()[2].split()[:2] == ["hex8", "2"]


def test_a_terminated_measurement_ends_its_processes() -> None:
    command = [sys.executable, "-m", "ringrift_cli", "bench", "selfplay", "--size", "tiny"]
    with child(*command, "--batch", "4", "--seconds", "1", "--rounds", "500") as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        deadline = time.monotonic() + 120
        while len(children.read_text().split()) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=120)  # it ends when no process holds stderr
    assert err.splitlines()[-1:] == ["ringrift: Terminated."]
    assert "Traceback" not in err
    assert "leaked" not in err
    assert process.returncode == 128 + signal.SIGTERM
