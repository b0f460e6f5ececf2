"""`ringrift cycle`: what it says, how it ends, and that two of them do not meet."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ringrift_cli.cli.output import Output
from ringrift_cli.errors import UsageError
from ringrift_cli.loop import journal as cycle_journal
from ringrift_cli.loop import local as cycle_steps
from ringrift_cli.loop.journal import CYCLES, JOURNAL, opened
from ringrift_cli.loop.protocol import (
    Meter,
    Played,
    SelfPlayWork,
    ShouldStop,
    Trained,
    TrainWork,
)
from ringrift_cli.settings import Config, commented
from tests.children import child
from tests.conftest import Ringrift
from tests.loops import QuickSteps, settings

pytestmark = pytest.mark.usefixtures("compiled_rules")

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """The settings of a quick run, in the ringrift.yaml of the working folder."""
    monkeypatch.chdir(tmp_path)
    found = settings(tmp_path)
    Path("ringrift.yaml").write_text(commented(found))
    return found


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Gives the command quick steps."""

    def give(*args: Any) -> None:
        monkeypatch.setattr(cycle_steps, "RealSteps", lambda config: QuickSteps(config, *args))

    return give


def test_a_line_for_each_cycle(
    ringrift: Ringrift, config: Config, quick: Callable[..., None]
) -> None:
    quick((True, False), (55.0,))
    run = ringrift("cycle", "--cycles", 2, "-q")
    assert (run.code, run.err) == (0, "")
    first, second = run.out.splitlines()
    assert first.startswith("cycle 1; 8 games (7,200/h); loss policy 2.000 value 0.600; ")
    assert "; accepted after 8 games; fit Elo +55 (+25 to +85); champion " in first
    assert second.startswith("cycle 2; 8 games")
    assert "; rejected after 8 games, " in second  # and the checks that failed
    assert " % of 8 against the champion, Elo +55 (+25 to +85)" in second.replace("%", " %")
    records = [json.loads(line) for line in (config.folder / CYCLES).read_text().splitlines()]
    for line in (first, second):
        assert f"; champion {records[0]['champion']}; " in line


def test_one_document(ringrift: Ringrift, config: Config, quick: Callable[..., None]) -> None:
    quick()
    run = ringrift("cycle", "--cycles", 1, "--json", "-q")
    document = json.loads(run.out)
    (record,) = document.pop("cycles")
    assert document == {
        "pool": "hex8-2p",
        "folder": str(config.folder),
        "alarms": 0,
        "stopped": False,
    }
    assert json.loads((config.folder / CYCLES).read_text()) == record


def test_an_alarm_is_an_exit_code(
    ringrift: Ringrift, config: Config, quick: Callable[..., None]
) -> None:
    quick((False,))
    run = ringrift("cycle", "--cycles", 2, "--set", "cycle.alarm_rejections=2", "-q")
    assert run.code == 3
    assert run.err == (
        f"ringrift: hex8-2p in {config.folder}: 1 alarm in 2 cycles.\n"
        "ringrift: alarm in cycle 2: 2 candidates in a row were not accepted.\n"
        f"  try: cd {Path.cwd()} && ringrift status {config.folder}\n"
    )
    assert len(run.out.splitlines()) == 2
    # the alarm is of that cycle, and not of what comes next
    quick((True,))
    assert ringrift("cycle", "--cycles", 1, "-q").code == 0


def test_what_would_be_done(ringrift: Ringrift, config: Config, quick: Callable[..., None]) -> None:
    quick()
    run = ringrift("cycle", "--dry-run", "-q")
    assert run.code == 0
    assert "next       selfplay" in run.out
    assert "0 of 8 games played, 8 to play by a new, untrained network" in run.out
    assert not config.folder.exists()
    assert not Path(config.run.models).exists()
    assert ringrift("cycle", "--cycles", 1, "-q").code == 0
    with opened(config.folder) as journal:
        journal.add(2, "cycle", "begun", plan={"model": {"identity": "0123", "kind": "candidate"}})
        journal.add(2, "selfplay", "done", outcome={}, seconds=1)
        run = ringrift("cycle", "--dry-run", "--json", "-q")
    document = json.loads(run.out)
    assert (document["cycle"], document["done"], document["next"]) == (2, ["selfplay"], "train")
    assert (document["model"], document["kind"]) == ("0123", "candidate")
    assert document["shards"] == 3
    assert document["working"].startswith(f"Process {os.getpid()} on ")
    assert document["settings"] == config.document()


@pytest.mark.parametrize(
    ("teacher", "accepted"),
    [("heuristic", ()), ("heuristic", (False,)), ("heuristic", (True,)), ("none", (False,))],
)
def test_the_preview_names_the_player_that_then_plays(
    ringrift: Ringrift,
    config: Config,
    quick: Callable[..., None],
    teacher: str,
    accepted: tuple[bool, ...],
) -> None:
    quick(accepted or (False,))
    asked = ("--set", f"selfplay.teacher={teacher}", "-q", "--json")
    for _ in accepted:
        assert ringrift("cycle", "--cycles", 1, *asked).code == 0
    seen = json.loads(ringrift("cycle", "--dry-run", *asked).out)
    run = json.loads(ringrift("cycle", "--cycles", 1, *asked).out)
    played = run["cycles"][0]["selfplay"]["model"]
    assert (seen["model"], seen["kind"]) == (played["identity"], played["kind"])


def test_the_time_is_up(ringrift: Ringrift, config: Config, quick: Callable[..., None]) -> None:
    quick((True,), (0.0,), 0.1)
    run = ringrift("cycle", "--hours", 0.0001, "--json")
    assert run.code == 0
    document = json.loads(run.out)
    assert document["stopped"]
    assert document["cycles"] == []
    assert "Stopped in cycle 1: the same command resumes there.\n" in run.err
    quick()
    assert ringrift("cycle", "--cycles", 1, "-q").code == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_in_order(
    ringrift: Ringrift,
    config: Config,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    code: int,
) -> None:
    class Signalled(QuickSteps):
        def generate(self, work: SelfPlayWork, meter: Meter, should_stop: ShouldStop) -> Played:
            os.kill(os.getpid(), number)
            return super().generate(work, meter, should_stop)

    monkeypatch.setattr(cycle_steps, "RealSteps", Signalled)
    run = ringrift("cycle")
    assert run.code == code
    assert run.out == ""
    assert "Stopped in cycle 1: the same command resumes there.\n" in run.err
    journal = cycle_journal.read(config.folder)
    assert [line["event"] for line in journal.lines] == ["begun", "begun", "played", "stopped"]
    monkeypatch.setattr(cycle_steps, "RealSteps", QuickSteps)
    run = ringrift("cycle", "--cycles", 1)
    assert run.code == 0
    assert "Cycle 1: going on with selfplay.\n" in run.err
    assert run.out.startswith("cycle 1; 8 games")


def test_a_second_process_exits_at_once(
    ringrift: Ringrift, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compiles(*_: object) -> None:
        raise AssertionError("compiled before the lock was looked at")

    for what in ("compile_rules", "compile_network", "compile_players"):
        monkeypatch.setattr(Output, what, compiles)
    with opened(config.folder) as journal:
        before = (config.folder / JOURNAL).exists()
        start = time.monotonic()
        run = ringrift("cycle", "-q")
        assert time.monotonic() - start < 5
        assert (run.code, run.out) == (1, "")
        assert run.err.startswith(f"ringrift: Process {os.getpid()} on ")
        assert ", since 20" in run.err
        assert f" works on {config.folder}; nothing was done.\n" in run.err
        assert journal.lines == []
        assert (config.folder / JOURNAL).exists() is before


def test_the_run_is_locked_while_functions_are_compiled(
    ringrift: Ringrift, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second process during the first compilation exits; a signal then ends the first."""
    found: list[str | None] = []

    def interrupted(_out: Output) -> None:
        found.append(cycle_journal.at_work(config.folder))
        raise KeyboardInterrupt

    monkeypatch.setattr(Output, "compile_network", interrupted)
    assert ringrift("cycle", "--dry-run").code == 130
    assert not config.folder.exists()
    assert ringrift("cycle").code == 130
    assert found[0] is None
    assert found[1] is not None
    assert cycle_journal.at_work(config.folder) is None
    assert cycle_journal.read(config.folder).lines == []


def test_two_crons(config: Config) -> None:
    """Two commands begun at once: one works, the other says so and ends."""
    command = (sys.executable, "-m", "tests.loop_child", "quick", config.run.folder, 1)
    with child(*command, cwd=ROOT) as one, child(*command, cwd=ROOT) as other:
        processes = (one, other)
        said = [process.communicate(timeout=120)[1] for process in processes]
    assert sorted(process.returncode for process in processes) == [0, 1], said
    loser = next(i for i, process in enumerate(processes) if process.returncode)
    assert f"Process {processes[1 - loser].pid} on " in said[loser]


def test_a_failed_step(ringrift: Ringrift, config: Config, quick: Callable[..., None]) -> None:
    quick((True,), (0.0,), 0.0, "selfplay")
    run = ringrift("cycle", "--json", "-q")
    assert run.code == 1
    assert "has 0 of 8 games of cycle 1" in json.loads(run.out)["error"]
    assert "has 0 of 8 games of cycle 1" in run.err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--cycles", 0], "'0' is not a whole number of 1 or more."),
        (["--hours", "x"], "'x' is not a number above 0."),
        (["--hours", "inf"], "'inf' is not a number above 0."),
        (
            ["--board", "hex9"],
            "run.board is 'hex9', expected one of square8, square19, hex8, hexagonal.",
        ),
        (["--config", "none.yaml"], "Cannot read none.yaml: No such file or directory."),
        (["--set", "gate.elo1=-1"], "gate.elo1 is -1, expected more than gate.elo0, 0."),
    ],
)
def test_wrong_usage(ringrift: Ringrift, config: Config, args: list[object], said: str) -> None:
    run = ringrift("cycle", *args, "-q")
    assert (run.code, run.out) == (2, "")
    assert said in run.err
    assert not config.folder.exists()


def test_training_that_could_not_begin_holds_nobody_to_its_settings(
    ringrift: Ringrift, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing(QuickSteps):
        def train(self, work: TrainWork, *rest: Any) -> Trained:
            raise UsageError("A network that goes on keeps its size.")

    monkeypatch.setattr(cycle_steps, "RealSteps", Refusing)
    large = ("cycle", "--cycles", 1, "-q", "--set", "network.size=large")
    assert ringrift(*large).code == 2
    monkeypatch.setattr(cycle_steps, "RealSteps", QuickSteps)
    run = ringrift("cycle", "--cycles", 1, "-q")
    assert run.code == 0, run.err


def test_training_goes_on_with_its_settings(
    ringrift: Ringrift, config: Config, quick: Callable[..., None]
) -> None:
    quick((True,), (0.0,), 0.0, "train")
    assert ringrift("cycle", "-q").code == 1
    quick()
    run = ringrift("cycle", "--cycles", 1, "--set", "train.batch=128", "-q")
    assert run.code == 2
    assert run.err == (
        f"ringrift: hex8-2p in {config.folder}: cycle 1 failed.\n"
        "ringrift: Training of cycle 1 was begun with train.batch 256, not 128.\n"
        "  try: --set train.batch=256 until it is done\n"
    )
    assert ringrift("cycle", "--cycles", 1, "--set", "selfplay.sims=33", "-q").code == 0
