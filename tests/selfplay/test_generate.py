"""Self-play in processes: what is counted, what is left when it stops, is killed or goes wrong."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ringrift_cli.data.shard import read_searched
from ringrift_cli.errors import RingriftError, UsageError
from ringrift_cli.game.playout import available_threads
from ringrift_cli.nn.checkpoint import load, save
from ringrift_cli.nn.evaluator import NetworkEvaluator
from ringrift_cli.nn.registry import Registry
from ringrift_cli.search.cuda.check import Arithmetic
from ringrift_cli.search.forest import Forest
from ringrift_cli.selfplay import forests
from ringrift_cli.selfplay import worker as generate_worker
from ringrift_cli.selfplay.actor import Counts
from ringrift_cli.selfplay.forests import on_cpu
from ringrift_cli.selfplay.generate import (
    Generated,
    _add,
    devices_named,
    generate,
    recorded,
)
from ringrift_cli.selfplay.worker import GenerateSetting
from ringrift_cli.settings import SelfPlay
from ringrift_cli.store.hashes import sha256
from ringrift_cli.store.manifest import read_manifest
from tests.nn.networks import network

QUICK = SelfPlay(
    sims=4,
    fast_sims=2,
    considered=2,
    fast_considered=2,
    sparring_share=0.0,
    concurrent=4,
    shard_games=5,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("models"), network("hex8", 2), {})


@pytest.fixture
def setting(model: Path) -> GenerateSetting:
    return GenerateSetting("hex8", 2, False, 0, model, model.stem, QUICK, devices=("cpu", "cpu"))


def games_in(folder: Path) -> int:
    """Games of the shards in a folder, all of which are whole and in the manifest."""
    entries = read_manifest(folder)
    assert {path.name for path in folder.glob("*.shard")} == {e.file for e in entries}
    total = 0
    for entry in entries:
        path = folder / entry.file
        assert sha256(path.read_bytes()) == entry.sha256
        total += len(read_searched(path).games)
    return total


def test_so_many_games_and_no_more(setting: GenerateSetting, tmp_path: Path) -> None:
    heard: list[Counts] = []
    done = generate(setting, tmp_path, games=13, advance=lambda more, _: heard.append(more))
    assert done.counts.games == 13 == games_in(tmp_path)
    assert sum(more.games for more in heard) == 13
    assert sum(more.evaluations for more in heard) == done.counts.evaluations > 13 * 60
    assert done.evaluating > 0
    assert not done.stopped
    made = read_manifest(tmp_path)[0].made
    assert made["model"] == setting.identity
    assert made["search"]["sims"] == 4


def test_the_same_command_goes_on(setting: GenerateSetting, tmp_path: Path) -> None:
    generate(setting, tmp_path, games=4)
    more = generate(setting, tmp_path, games=10)
    assert (more.known, more.counts.games) == (4, 6)
    assert games_in(tmp_path) == 10
    none = generate(setting, tmp_path, games=10)
    assert (none.known, none.counts.games, none.shards) == (10, 0, [])
    other = replace(setting, generation=1)
    assert recorded(tmp_path, other) == []
    played = {
        tuple(game.actions.tolist())
        for entry in read_manifest(tmp_path)
        for game in read_searched(tmp_path / entry.file).games
    }
    assert len(played) == 10  # what was played later is not what was played before


def test_a_stop_writes_what_is_over(setting: GenerateSetting, tmp_path: Path) -> None:
    seen = [0]

    def advance(more: Counts, _so_far: Generated) -> None:
        seen[0] += more.games

    start = time.monotonic()
    done = generate(
        setting, tmp_path, games=100_000, advance=advance, should_stop=lambda: seen[0] >= 3
    )
    assert done.stopped
    assert 3 <= done.counts.games == games_in(tmp_path)
    assert time.monotonic() - start < 60


def test_after_the_time_no_game_is_begun(setting: GenerateSetting, tmp_path: Path) -> None:
    done = generate(setting, tmp_path, seconds=0.1)
    assert not done.stopped
    assert done.counts.games == games_in(tmp_path) >= 4  # all that were under way


def test_a_model_that_is_not_there(setting: GenerateSetting, tmp_path: Path) -> None:
    with pytest.raises(RingriftError, match=r"missing\.json"):
        generate(replace(setting, model=tmp_path / "missing.json"), tmp_path, games=3)
    assert not list(tmp_path.glob("*.shard"))


def test_how_long_must_be_said(setting: GenerateSetting, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs a number of games or a time"):
        generate(setting, tmp_path)


RUN = """
import sys
from pathlib import Path
from ringrift_cli.settings import SelfPlay
from ringrift_cli.selfplay.generate import generate
from ringrift_cli.selfplay.forests import on_cpu
from ringrift_cli.selfplay.worker import GenerateSetting
if __name__ == "__main__":
    model, folder = Path(sys.argv[1]), Path(sys.argv[2])
    quick = SelfPlay(sims=4, fast_sims=2, considered=2, fast_considered=2, sparring_share=0.0,
                     concurrent=4, shard_games=5)
    setting = GenerateSetting("hex8", 2, False, 0, model, model.stem, quick,
                              devices=("cpu", "cpu"))
    generate(setting, folder, games=100_000)
"""


def children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in listed]


def wait_for_shard(folder: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 90
    while len(list(folder.glob("*.shard"))) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def running(model: Path, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    script = tmp_path / "run.py"
    script.write_text(RUN)
    command = [sys.executable, str(script), str(model), str(tmp_path / "games")]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_killed_it_leaves_whole_shards_and_nobody_behind(
    running: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    folder = tmp_path / "games"
    wait_for_shard(folder, running)
    workers = children(running.pid)
    assert len(workers) >= 2
    running.kill()
    running.wait()
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    listed = {entry.file for entry in read_manifest(folder)}
    for path in folder.glob("*.shard"):
        assert len(read_searched(path).games) >= 1
    assert len(listed) >= 1
    assert all((folder / name).is_file() for name in listed)


def workers(process: subprocess.Popen[bytes]) -> list[int]:
    return [
        pid
        for pid in children(process.pid)
        if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


def test_a_signal_to_workers_that_still_import_is_not_theirs(
    running: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    """Ctrl-C goes to all processes of a terminal: the one that waits decides."""
    deadline = time.monotonic() + 60
    while len(begun := workers(running)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    for pid in begun:
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGTERM)
    wait_for_shard(tmp_path / "games", running)
    assert workers(running) == begun


def test_a_worker_that_dies_is_an_error(running: subprocess.Popen[bytes], tmp_path: Path) -> None:
    wait_for_shard(tmp_path / "games", running)
    os.kill(workers(running)[0], signal.SIGKILL)
    assert running.wait(60) == 1
    assert running.stderr is not None
    assert b"of the self-play ended with exit code -9" in running.stderr.read()


def test_a_new_champion_plays_the_next_games(
    setting: GenerateSetting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = save(tmp_path / "new", network("hex8", 2, seed=5), {"generation": 8})
    following = replace(setting, follow=tmp_path / "models", devices=("cpu",), generation=7)
    monkeypatch.setattr(generate_worker, "REGISTRY_INTERVAL", 0.0)
    champion = Registry(tmp_path / "models").add("hex8-2p", newer)
    monkeypatch.setattr(Registry, "champion", lambda _self, _pool: champion)
    bench = _Bench(following, tmp_path / "games", iter(range(12)))
    line = generate_worker.WorkerThread(bench, 4)  # type: ignore[arg-type]
    line.run()
    assert len(line._actors) == 1  # noqa: SLF001 the trees of those before are gone
    made = [entry.made for entry in read_manifest(tmp_path / "games")]
    assert {(one["model"], one["generation"]) for one in made} == {
        (setting.identity, 7),
        (newer.stem, 8),
    }
    assert games_in(tmp_path / "games") == 12


def test_a_line_that_fails_fails_its_process(
    setting: GenerateSetting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the reason, and in whatever thread: its games would be missing."""

    def run(_line: generate_worker.WorkerThread) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise MemoryError

    monkeypatch.setattr(generate_worker.WorkerThread, "run", run)
    context = multiprocessing.get_context("spawn")
    tickets, limit = context.Value("q", 0), context.RawValue("q", 9)
    stop = generate_worker.Flag(context)
    _, outbox = context.Pipe(duplex=False)
    shared = generate_worker.WorkerSetup(tickets, limit, stop, outbox, os.getppid())
    worker = generate_worker.Worker(setting, tmp_path, "a GPU", 1, shared)
    with pytest.raises(MemoryError):
        worker.run()
    assert stop.is_set()


class _Bench:
    """A worker without a process."""

    device = "cpu"

    def __init__(self, setting: GenerateSetting, folder: Path, tickets: Iterator[int]) -> None:
        self.setting, self.folder, self.seed, self._tickets = setting, folder, 1, tickets

    def must_stop(self) -> bool:
        return False

    def orphaned(self) -> bool:
        return False

    def next_number(self) -> int | None:
        return next(self._tickets, None)

    def report(self, report: object) -> None:
        pass

    def evaluator(self, path: Path) -> object:
        return NetworkEvaluator(load(path, "hex8", 2).network)


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    cores = ("cpu",) * available_threads()
    assert devices_named("none") == cores
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert devices_named("all") == cores
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices_named("all") == ("cuda:0", "cuda:1")
    assert devices_named("1") == ("cuda:1",)
    with pytest.raises(UsageError, match="no GPU 2; torch sees 2"):
        devices_named("0,2")
    with pytest.raises(UsageError, match="expected all, none or numbers"):
        devices_named("first")
    with pytest.raises(UsageError, match="twice"):
        devices_named("1,1")


def test_a_line_with_too_little_memory_plays_fewer_games_and_tells(
    setting: GenerateSetting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def grown(
        board: str, players: int, play: SelfPlay, _network: object, games: int, _device: str
    ) -> Forest:
        if games > 2:
            raise torch.OutOfMemoryError
        forest = on_cpu(board, players, play, Arithmetic(players), games)
        forest.waited = 0.0  # type: ignore[attr-defined]
        return forest

    monkeypatch.setattr(forests, "on_gpu", grown)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    reports: list[generate_worker.WorkerReport] = []
    bench = _Bench(setting, tmp_path / "games", iter(range(6)))
    bench.device = "cuda:0"
    monkeypatch.setattr(bench, "report", reports.append)
    generate_worker.WorkerThread(bench, 8).run()  # type: ignore[arg-type]
    assert games_in(tmp_path / "games") == 6
    summary = Generated()
    for one in reports:
        _add(summary, one)
    assert [note.split(":")[1] for note in summary.notes] == [
        "0 is out of memory with 8 games at once in a line",
        "0 is out of memory with 4 games at once in a line",
    ]
    assert summary.document()["notes"] == summary.notes
