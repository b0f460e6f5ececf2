"""Games of tuning and matches on real hosts, two of which are killed: the results are the same."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from ringrift_cli.players.model import checkpoint_named
from ringrift_cli.players.profiles import Profile, profile_named, write_profile
from tests.conftest import Ringrift, Run
from tests.fleet.campaigning import really_plays
from tests.fleet.servers import Farm, Server
from tests.fleet.stations import Station, install

pytestmark = [pytest.mark.usefixtures("compiled_rules"), pytest.mark.long]

PATIENCE = 300.0  # seconds
TUNE = ("cmaes", "--board", "hex8", "--population", 8, "--games", 24, "--generations", 2)
SMALL = (*TUNE, "--test-games", 60, "--seed", 3, "--sigma", 0.4)
MATRIX = ("--generations", 2, "--population", 6, "--games", 8, "--test-games", 20, "--seed", 3)


def plays(server: Server) -> bool:
    """Whether a worker process was started through a server."""
    marker = b"HOME=" + bytes(server.home)
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (
                b"ringrift_cli.evaluate.worker" in (process / "cmdline").read_bytes()
                and marker in (process / "environ").read_bytes()
            ):
                return True
    return False


@pytest.fixture
def servers(farm: Farm, here: Station) -> list[Server]:
    made = farm.servers(3)
    for server in made:
        install(server)
        really_plays(server)
    here.know(*made, deadline=30)
    return made


def eventually(there: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not there():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


@contextlib.contextmanager
def killed(servers: Sequence[Server]) -> Iterator[None]:
    """Kills each machine with all its processes once it plays."""
    over = threading.Event()

    def act(server: Server) -> None:
        eventually(lambda: over.is_set() or plays(server))
        server.end()

    threads = [threading.Thread(target=act, args=(server,)) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def ended(here: Station, *line: object) -> Run:
    """A command in a process of its own, which may take long."""
    process = here.start(*line)
    try:
        out, err = process.communicate(timeout=2 * PATIENCE)
    finally:
        process.kill()
    return Run(process.returncode, out, err)


def journal(folder: Path) -> list[dict[str, object]]:
    """The lines of a journal without the time that generations took."""
    lines = (folder / "journal.jsonl").read_text().splitlines()
    return [{**json.loads(line), "seconds": 0} for line in lines]


def test_a_tuning_run_is_the_same_when_two_of_three_hosts_are_killed(
    ringrift: Ringrift, servers: list[Server]
) -> None:
    local = ringrift(*SMALL, "--out", "here")
    with killed(servers[:2]):
        run = ringrift(*SMALL, "--out", "there", "--fleet")
    assert run.code == local.code, run.err
    assert journal(Path("there")) == journal(Path("here"))
    names = ("settings.json", "verdict.json")
    for name in names:
        assert (Path("there") / name).read_bytes() == (Path("here") / name).read_bytes()
    assert "3 hosts" in run.err


def test_a_match_is_the_same_when_two_of_three_hosts_are_killed(
    ringrift: Ringrift, servers: list[Server]
) -> None:
    weights = profile_named("default", "hex8", 2).weights
    write_profile(Path("mine.yaml"), Profile("mine", "hex8", 2, dict.fromkeys(weights, 1.0)))
    model, _ = checkpoint_named("shipped", "hex8", 2)
    sides = f"model:{model},sims=2", "mcts:sims=8,profile=mine.yaml"  # files that hosts lack
    line = ("eval", "match", *sides, "--games", 40, "--json")
    local = ringrift(*line, "--results", "here.sqlite")
    with killed(servers[:2]):
        run = ringrift(*line, "--results", "there.sqlite", "--fleet")
    assert run.code == 0, run.err
    assert json.loads(run.out) == json.loads(local.out)
    assert "gets no more work" not in run.err


def test_a_matrix_goes_on_after_its_coordinator_was_killed_twice(
    here: Station, servers: list[Server]
) -> None:
    line = ("matrix", "cmaes", "--configs", "hex8-2p,square8-2p", *MATRIX)
    straight = ended(here, *line, "--out", "straight")
    assert straight.code == 0, straight.err
    broken = (*line, "--out", "broken", "--fleet")
    with killed(servers[:1]):
        for name in ("hex8-2p", "square8-2p"):
            process = here.start(*broken, start_new_session=True)
            try:
                eventually((here.folder / "broken" / name / "journal.jsonl").exists)
            finally:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate(timeout=60)
        run = ended(here, *broken)
    assert run.code == 0, run.err
    for name in ("hex8-2p", "square8-2p"):
        assert journal(Path("broken", name)) == journal(Path("straight", name))
    again = ended(here, *broken, "--json")
    states = [one["state"] for one in json.loads(again.out)["configurations"]]
    assert all(state in ("tested", "accepted") for state in states)


def test_a_matrix_projects_the_costs_of_hosts_and_stops_at_its_budget(
    here: Station, servers: list[Server]
) -> None:
    here.know(*({**server.entry(), "price": 1000.0} for server in servers), deadline=30)
    line = ("matrix", "cmaes", "--configs", "hex8-2p", "--fleet", "--budget", 0.01)
    projected = json.loads(ended(here, *line, "--dry-run", "--json").out)
    assert projected["dollars_per_hour"] == 3000.0
    assert projected["dollars"] == pytest.approx(
        3000 * projected["core_hours"]["hex8-2p"] / projected["cores"], rel=0.1
    )
    run = ended(here, *line)
    assert run.code == 1
    assert "and the budget is $0.01" in run.err
    assert not Path("runs/cmaes/hex8-2p/verdict.json").exists()
