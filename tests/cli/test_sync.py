"""`ringrift sync` with real SSH servers: games and models go both ways and are proved."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ringrift_cli.data.shard import read_searched, write_searched
from ringrift_cli.game.version import rules_hash
from ringrift_cli.loop.journal import opened
from ringrift_cli.nn import checkpoint
from ringrift_cli.nn.registry import EVIDENCE_FORMAT, Registry
from ringrift_cli.store.manifest import MANIFEST, read_manifest
from tests.conftest import Ringrift, Run
from tests.fleet.servers import Farm, Server
from tests.nn.networks import network
from tests.searched import searched_games

pytestmark = pytest.mark.usefixtures("compiled_rules")

POOL = "hex8-2p"


class Ground:
    """A working folder with hosts.yaml, and two hosts."""

    def __init__(self, farm: Farm, ringrift: Ringrift) -> None:
        self.farm, self.ringrift = farm, ringrift
        self.one, self.two = farm.servers(2)
        farm.hosts_yaml([self.one, self.two], Path("hosts.yaml"))
        self.here = Path("runs") / POOL / "foreign"  # of games made for no run

    def sync(self, *args: object, code: int = 0) -> dict[str, Any]:
        run = self.run(*args, "--json", code=code)
        document = json.loads(run.out)
        assert isinstance(document, dict)
        return document

    def run(self, *args: object, code: int = 0) -> Run:
        run = self.ringrift("sync", *args)
        assert run.code == code, run
        return run

    def rows(self, *args: object, code: int = 0) -> dict[str, dict[str, Any]]:
        return {row["host"]: row for row in self.sync(*args, code=code)["hosts"]}


def play(server: Server, seed: int, games: int = 4, **more: str) -> Path:
    folder = server.work / "jobs" / f"play-{seed}" / "out"
    made = {"model": "0" * 16, "generation": 1, **more}
    return write_searched(folder, made, searched_games("hex8", 2, games, seed), "hex8", 2, False)


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ringrift: Ringrift) -> Iterator[Ground]:
    monkeypatch.chdir(tmp_path)
    for name in ("RINGRIFT_HOSTS", "RINGRIFT_MODELS", "RINGRIFT_FOLDER"):
        monkeypatch.delenv(name, raising=False)
    with Farm(tmp_path / "farm") as farm:
        farm.environment(monkeypatch)
        yield Ground(farm, ringrift)


def test_games_come_from_all_hosts_and_are_proved(ground: Ground) -> None:
    paths = [play(ground.one, 1), play(ground.one, 2), play(ground.two, 3)]
    planned = ground.rows("pull", "--dry-run")
    assert [planned[name]["missing"] for name in ("host-0", "host-1")] == [2, 1]
    assert not ground.here.exists()
    rows = ground.rows("pull")
    assert [rows[name]["shards"]["files"] for name in ("host-0", "host-1")] == [2, 1]
    entries = {entry.file: entry for entry in read_manifest(ground.here)}
    assert {*entries} == {path.name for path in paths}
    for path in paths:
        assert len(read_searched(ground.here / path.name).columns.winners) == 4
    assert entries[paths[2].name].received_from == "host-1"
    assert ground.sync("pull")["right"]
    text = ground.run("pull").out.splitlines()
    assert text[1].split() == ["host-0", "0", "of", "2", "-", "0", "B"]
    verified = ground.rows("verify")
    assert (verified["host-0"]["files"], verified["host-0"]["differences"]) == (2, [])
    status = ground.rows("status")
    assert (status["host-0"]["missing_here"], {*status["host-0"]["synced"]}) == (
        0,
        {"pull", "verify"},
    )
    assert " 20" in ground.run("status").out.splitlines()[1]


def test_games_that_were_not_made_for_the_run_here_are_kept_apart(ground: Ground) -> None:
    """What made them tells: the identity of the run and the player, not the number of a cycle."""
    run = Path("runs") / POOL
    with opened(run) as journal:
        plan = {"model": {"identity": "a" * 16}}
        journal.add(1, "cycle", "begun", run=journal.identity, plan=plan)
    own = play(ground.one, 1, run=journal.identity, model="a" * 16)
    others = [
        play(ground.one, 2, model="a" * 16),
        play(ground.one, 3, model="a" * 16, run="f" * 16),
        play(ground.one, 4, run=journal.identity),
    ]
    said = ground.run("pull", "host-0").out
    assert [entry.file for entry in read_manifest(run / "selfplay")] == [own.name]
    assert {e.file for e in read_manifest(run / "foreign")} == {path.name for path in others}
    told = f"12 games made for no run in {run}: kept apart in {run / 'foreign'}"
    assert f"host-0: {told}" in said
    assert ground.rows("verify", "host-0")["host-0"]["differences"] == []
    play(ground.two, 5)
    drained = ground.ringrift("fleet", "drain", "host-1", "--yes")
    assert drained.code == 0, drained
    assert f"host-1: 4 games made for no run in {run}" in drained.err


def test_one_dead_host_and_one_with_bad_games_leave_the_rest_alone(ground: Ground) -> None:
    bad, good = play(ground.one, 1), play(ground.one, 2)
    data = bytearray(bad.read_bytes())
    data[-40] ^= 1
    bad.write_bytes(data)
    ground.two.stop()
    rows = ground.rows("pull", code=1)
    assert "host-1" in rows["host-1"]["error"]
    assert rows["host-0"]["error"] is None
    assert rows["host-0"]["shards"]["files"] == 1
    (put_away,) = rows["host-0"]["shards"]["quarantined"]
    assert put_away["name"] == bad.name
    assert (Path("runs/fleet/quarantine/host-0") / bad.name).read_bytes() == bytes(data)
    assert [entry.file for entry in read_manifest(ground.here)] == [good.name]
    ground.two.start()
    assert ground.sync("pull")["right"]  # what is known to be bad is no news
    assert ground.rows("verify", "host-0")["host-0"]["differences"] == []
    assert f"in quarantine: {bad.name}: " in ground.run("status").out
    (ground.here / good.name).write_bytes(b"x")
    assert f"{good.name} is damaged here" in ground.run("verify", code=1).out


def test_games_that_another_host_has_played_already_are_put_away(ground: Ground) -> None:
    play(ground.one, 1, games=6)
    ground.run("pull")
    play(ground.two, 1, games=5)  # the same seed
    rows = ground.rows("pull", code=1)
    (bad,) = rows["host-1"]["shards"]["quarantined"]
    assert "repeats 5 of its 5 games" in bad["reason"]


def crowned(pool: str = POOL) -> str:
    """A champion of a registry, on evidence that says so."""
    registry = Registry(Path("models"))
    path = checkpoint.save(Path("made"), network("hex8", 2, len(registry.models(pool))), {})
    entry = registry.add(pool, path)
    champion = registry.champion(pool)
    names = ["random", "heuristic", *(["champion"] if champion else [])]
    evidence = {
        "format": EVIDENCE_FORMAT,
        "rules": rules_hash(),
        "pool": pool,
        "candidate": {"model": entry.identity},
        "champion": {"model": champion.identity} if champion else None,
        "checks": [
            {"name": name, "passed": True, "reason": "", "match": {"games": 10}} for name in names
        ],
        "verdict": "accepted",
        "stopped": False,
        "reasons": [],
    }
    registry.promote(pool, entry.identity, evidence)
    return entry.identity


def test_the_champion_goes_to_all_hosts_and_is_read_there(ground: Ground) -> None:
    first, second = crowned(), crowned()
    behind = ground.rows("push", "--dry-run")["host-0"]["models_behind"]
    assert len(behind) == 5
    rows = ground.rows("push")
    for server, row in zip((ground.one, ground.two), rows.values(), strict=True):
        there = Registry(server.work / "models")
        champion = there.champion(POOL)
        assert champion is not None
        assert champion.identity == second
        assert [entry.identity for entry in there.earlier(POOL)] == [first]
        assert {Path(path).name for path in row["confirmed"]} == {
            "champion.json",
            *(f"{name}.{kind}" for name in (first, second) for kind in ("json", "safetensors")),
        }
    assert [row["files"] for row in ground.rows("push", "--pool", POOL).values()] == [0, 0]
    assert "is not a pool" in ground.run("push", "--pool", "nope", code=2).err
    third = crowned()
    assert len(ground.rows("status")["host-0"]["models_behind"]) == 3
    assert "is not there" in ground.run("verify", code=1).out
    ground.run("push", "host-0")
    champion = Registry(ground.one.work / "models").champion(POOL)
    assert champion is not None
    assert champion.identity == third


def test_champions_that_a_host_has_of_its_own_are_not_overwritten(ground: Ground) -> None:
    crowned()
    theirs = ground.one.work / "models"
    ground.run("push", "host-0")
    document = json.loads((theirs / POOL / "champion.json").read_bytes())
    document["history"][0]["time"] = "2020-01-01T00:00:00+00:00"
    (theirs / POOL / "champion.json").write_text(json.dumps(document))
    rows = ground.rows("push", code=1)
    assert "different history" in rows["host-0"]["error"]
    assert "--replace" in rows["host-0"]["hint"]
    assert rows["host-1"]["error"] is None
    assert ground.sync("push", "--replace")["right"]


def test_checkpoints_come_into_the_registry_and_nobody_is_promoted(ground: Ground) -> None:
    made = checkpoint.save(
        ground.one.work / "jobs" / "t" / "out", network("hex8", 2, 5), {"pie_rule": False}
    )
    bad = checkpoint.save(ground.two.work / "models" / POOL, network("hex8", 2, 6), {})
    weights = bad.with_suffix(".safetensors")
    shutil.copy(made.with_suffix(".safetensors"), weights)
    rows = ground.rows("pull", "--kind", "checkpoints", code=1)
    assert rows["host-0"]["checkpoints"]["files"] == 1
    assert "does not match" in rows["host-1"]["checkpoints"]["quarantined"][0]["reason"]
    registry = Registry(Path("models"))
    assert [entry.identity for entry in registry.models(POOL)] == [made.stem]
    assert registry.champion(POOL) is None
    both = ground.sync("pull", "--kind", "all")
    assert both["right"]


def test_games_go_to_a_host_that_trains(ground: Ground) -> None:
    here = Path("runs") / POOL / "selfplay"
    write_searched(here, {}, searched_games("hex8", 2, 4, 1), "hex8", 2, False)
    rows = ground.rows("push", "host-1", "--kind", "shards")
    assert rows["host-1"]["files"] == 1
    assert read_manifest(ground.two.work / here) == read_manifest(here)


def test_wrong_usage_is_said_in_one_sentence(ground: Ground) -> None:
    for args, words in (
        (("pull", "nobody"), "has no host 'nobody'"),
        (("pull", "--kind", "x"), "not one of shards, checkpoints, all"),
        (("pull", "--limit", "0"), "MB/s above 0"),
        (("pull", "--streams", "99"), "from 1 to 16"),
        (("push",), "no champion"),
        (("push", "--kind", "shards"), "no games in"),
        ((), "Usage"),
    ):
        assert words in ground.run(*args, code=2).err
    Path("hosts.yaml").unlink()
    assert "fleet init" in ground.run("pull", code=2).err


def test_streams_and_a_limit_change_nothing_of_what_comes(ground: Ground) -> None:
    paths = [play(ground.one, seed) for seed in range(8)]
    document = ground.sync("pull", "host-0", "--streams", "3", "--limit", "5")
    assert document["hosts"][0]["shards"]["files"] == 8
    assert {path.name for path in paths} | {MANIFEST} == {
        path.name for path in ground.here.iterdir() if not path.name.startswith(".")
    }


def test_a_limit_holds_from_the_first_second_on(ground: Ground) -> None:
    big = ground.one.work / "models" / POOL / f"{'a' * 16}.safetensors"
    big.parent.mkdir(parents=True)
    big.write_bytes(bytes(6_000_000))
    big.with_suffix(".json").write_text("{}")
    document = ground.sync("pull", "host-0", "--kind", "checkpoints", "--limit", "2", "--dry-run")
    assert document["hosts"][0]["missing"] == 2
    start = time.monotonic()
    ground.sync("pull", "host-0", "--kind", "checkpoints", "--limit", "2", code=1)
    assert time.monotonic() - start > 2.8  # and then it is no checkpoint
