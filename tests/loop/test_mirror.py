"""Runs in an object store, and workers that are reached through it only."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ringrift_cli.errors import RingriftError
from ringrift_cli.loop import cycle, mirror
from ringrift_cli.loop import on_store as stage
from ringrift_cli.loop.journal import opened as journal_of
from ringrift_cli.loop.mirror import Mirror, PlayerNow, mirroring, pull_tuning, push_tuning, workers
from ringrift_cli.loop.on_store import StoreSteps, StoreWorker, mirror_of
from ringrift_cli.loop.protocol import Played
from ringrift_cli.nn.registry import POINTER
from ringrift_cli.objects.store import opened
from ringrift_cli.settings import Config
from ringrift_cli.store.manifest import read_manifest
from ringrift_cli.tune.journal import WHOLE
from tests.conftest import Ringrift
from tests.loop_child import tiny
from tests.loops import QuickSteps, loop_of, run, settings, write_model


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"file://{tmp_path}/store"


def machine(folder: Path, url: str) -> tuple[Config, Mirror]:
    """The configuration and the mirror of another machine."""
    from ringrift_cli.cli.output import Output

    config = settings(folder)
    return config, mirror_of(url, config, Output(quiet=True))


@pytest.fixture
def here(tmp_path: Path, url: str) -> tuple[Config, Mirror]:
    """A run of two cycles with two champions."""
    config, found = machine(tmp_path / "here", url)
    run(config, QuickSteps(config), 2)
    return config, found


def test_all_of_a_run_arrives_once(here: tuple[Config, Mirror], tmp_path: Path, url: str) -> None:
    config, ours = here
    assert ours.push_all(config.folder) == 6 + 4 + 1
    assert ours.push_all(config.folder) == 0
    other, theirs = machine(tmp_path / "there", url)
    assert theirs.pull_champions() == 2
    pointers = [Path(one.run.models) / one.pool / POINTER for one in (config, other)]
    assert pointers[0].read_bytes() == pointers[1].read_bytes()
    assert theirs.pull_shards() == (6, [])
    assert (theirs.pull_shards(), theirs.pull_champions()) == ((0, []), 0)
    folder = other.folder / "foreign"  # it has no run of that identity
    hashes = [
        {one.sha256 for one in read_manifest(f)} for f in (config.folder / "selfplay", folder)
    ]
    assert hashes[0] == hashes[1]
    assert {one.received_from for one in read_manifest(folder)} == {mirror.STORE}
    assert not list(other.folder.glob(".*"))


def test_a_flipped_bit_is_refused_once(
    here: tuple[Config, Mirror], tmp_path: Path, url: str
) -> None:
    config, ours = here
    ours.push_all(config.folder)
    shard = min((tmp_path / "store" / config.pool / "shards").iterdir())
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    _, theirs = machine(tmp_path / "there", url)
    count, refused = theirs.pull_shards()
    assert (count, len(refused)) == (5, 1)
    assert "its SHA-256 here is" in refused[0]
    assert theirs.pull_shards() == (0, [])  # it is in quarantine
    weights = min((tmp_path / "store" / config.pool / "models").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    with pytest.raises(RingriftError):
        theirs.pull_champions()
    assert not (tmp_path / "there" / "models" / config.pool / POINTER).exists()


def test_an_entry_that_lies(here: tuple[Config, Mirror], tmp_path: Path, url: str) -> None:
    config, ours = here
    ours.push_all(config.folder)
    entries = sorted((tmp_path / "store" / config.pool / "entries").iterdir())
    entries[0].write_bytes(entries[1].read_bytes())  # about another shard
    entries[2].write_text("{")
    entries[3].write_bytes(entries[3].read_bytes().replace(b'"games":', b'"games":1'))
    _, theirs = machine(tmp_path / "there", url)
    count, refused = theirs.pull_shards()
    assert (count, len(refused)) == (3, 3)


def test_two_machines_with_other_champions(
    here: tuple[Config, Mirror], tmp_path: Path, url: str
) -> None:
    _, ours = here
    ours.push_champions()
    other, theirs = machine(tmp_path / "there", url)
    run(replace(other, run=replace(other.run, seed=5)), QuickSteps(other), 1)
    with pytest.raises(RingriftError, match="different history of champions"):
        theirs.push_champions()
    assert theirs.pull_champions() == 0


def test_a_tuning_run_goes_on_elsewhere(
    ringrift: Ringrift, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = ("cmaes", "--population", 6, "--games", 2, "--test-games", 20, "--store", url, "-q")
    ringrift(*line, "--generations", 1, "--out", "one/run")
    ringrift(*line, "--generations", 2, "--out", "two/run", "--resume")
    first, second = ((Path(name) / "run/journal.jsonl").read_bytes() for name in ("one", "two"))
    assert second.startswith(first)
    assert len(second.splitlines()) == 2
    assert pull_tuning(opened(url), Path("three/run"), WHOLE) >= 3
    assert Path("three/run/journal.jsonl").read_bytes() == second
    Path("one/run/journal.jsonl").write_bytes(first + b"another\n")
    with pytest.raises(RingriftError, match="continued on another machine"):
        push_tuning(opened(url), Path("one/run"), WHOLE)


def test_a_store_that_fails_stops_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    journal = tmp_path / "journal"
    journal.write_text("x")

    def fail() -> None:
        raise RingriftError("no route.")

    with mirroring(journal, fail, said.append):
        pass
    assert said == ["no route. The run continues; the store gets it later."]


def test_a_worker_plays_for_a_loop(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch, ringrift: Ringrift
) -> None:
    """The loop plays nothing itself: all games of its cycle come through the store."""
    from ringrift_cli.cli.output import Output

    monkeypatch.setattr(stage, "LOOK_S", 0.2)
    out, ended = Output(quiet=True), threading.Event()
    far = tiny(tmp_path / "far")
    worker = StoreWorker(far, mirror_of(url, far, out), tmp_path / "far/games", out.note)
    playing = threading.Thread(
        target=worker.run, args=(600.0, ("cpu",), lambda _: None, ended.is_set), daemon=True
    )
    config = tiny(tmp_path / "here")

    class Waiting(QuickSteps):
        """Plays nothing."""

        def generate(self, work, meter, should_stop):  # type: ignore[no-untyped-def]
            until = time.monotonic() + 200
            while not should_stop() and time.monotonic() < until:
                time.sleep(0.05)
            return Played(0, 0, 1.0, stopped=True)

    class Steps(StoreSteps, Waiting):
        """StoreSteps over steps that play nothing."""

        def __init__(self) -> None:
            Waiting.__init__(self, config)
            self._mirror, self._on_notice = mirror_of(url, config, out), out.note

    try:
        playing.start()
        with journal_of(config.folder) as journal:
            loop = loop_of(config, Steps(), journal)
            cycle.run(loop, 1)
        (record,) = journal.finished
    finally:
        ended.set()
        playing.join(120)
    assert record["selfplay"]["games"] >= config.selfplay.games_per_cycle
    origins = {one.received_from for one in read_manifest(config.folder / "selfplay")}
    assert origins == {mirror.STORE}
    (seen,) = workers(opened(url))
    assert (seen[1].host, seen[1].pool) == (worker.name, "hex8-2p")
    monkeypatch.chdir(tmp_path)
    Path("ringrift.yaml").write_text(f'run: {{store: "{url}"}}\n')
    assert worker.name in ringrift("fleet", "status").out  # without hosts.yaml
    Path("hosts.yaml").write_text("hosts:\n- {name: gone, addresses: [127.0.0.1:9]}\n")
    assert worker.name in ringrift("fleet", "status").out


def test_ten_thousand_shards(tmp_path: Path, url: str) -> None:
    """Nothing to do is known from one list of names."""
    config, ours = machine(tmp_path / "here", url)
    entries = tmp_path / "store" / config.pool / "entries"
    entries.mkdir(parents=True)
    names = [f"{number:064x}" for number in range(10_000)]
    for name in names:
        (entries / f"{name}.json").touch()
    config.folder.joinpath("selfplay").mkdir(parents=True)
    (config.folder / "selfplay" / ".manifest.jsonl.removed").write_text("\n".join(names))
    (config.folder / "selfplay" / "manifest.jsonl").touch()
    began = time.monotonic()
    assert ours.pull_shards() == (0, [])
    assert time.monotonic() - began < 60


def test_a_player_is_published_with_its_model(here: tuple[Config, Mirror], tmp_path: Path) -> None:
    config, ours = here
    model = write_model(config, tmp_path / "new", 7)
    assert ours.push_model(model.path) == 2
    player = PlayerNow("0" * 16, 3, model.identity, teacher=False)
    ours.publish(player)
    assert ours.player() == player


@pytest.mark.parametrize(
    ("words", "refused"),
    [
        ("selfplay --hours 1 --store {url}", "--store is for --follow"),
        ("selfplay --policy random --store {url}", "--store is for games of a model"),
        ("selfplay --follow --hours 1 --games 9 --store {url}", "--games follows from the loop"),
        ("sync pull --store {url} --limit 3", "--limit is for hosts, not for --store"),
        ("sync pull desk --store {url}", "HOSTS is for hosts, not for --store"),
        ("sync push --store {url} --kind all", "--kind is for hosts, not for --store"),
    ],
)
def test_what_has_no_effect_with_a_store_is_refused(
    ringrift: Ringrift, url: str, words: str, refused: str
) -> None:
    run = ringrift(*words.format(url=url).split())
    assert run.code == 2
    assert refused in run.err


def test_a_damaged_hosts_file_is_not_hidden_by_a_store(
    ringrift: Ringrift, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RINGRIFT_STORE", url)
    assert ringrift("fleet", "status").code == 0  # all workers are in the store
    Path("hosts.yaml").write_text("hosts: 3\n")
    run = ringrift("fleet", "status")
    assert run.code == 2
    assert "hosts.yaml" in run.err
