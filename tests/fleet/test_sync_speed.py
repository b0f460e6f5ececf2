"""How fast a sync is, over real SSH: what the figures of docs/performance.md are made with."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ringrift_cli.data.game_index import GameIndex
from ringrift_cli.fleet.destination import Destination
from ringrift_cli.fleet.pull import pull_over
from ringrift_cli.fleet.ssh import open_link
from ringrift_cli.fleet.transfer import TransferMeter, put
from ringrift_cli.store.manifest import MANIFEST, ShardEntry, add_to_manifest
from tests.fleet.goods import destination, entry_of, offer
from tests.fleet.network import LOOPBACK
from tests.fleet.servers import Farm, Server

pytestmark = pytest.mark.long

SHARDS = 10_000
BIG = 400 << 20  # bytes
ROUNDS = 10  # at most: other work on the machine hides what it can do


def ringrift(*args: str) -> tuple[dict[str, Any], float]:
    """What a command line prints, and the seconds it takes from its start to its end."""
    start = time.monotonic()
    command = [sys.executable, "-m", "ringrift_cli", *args, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert isinstance(document, dict)
    return document, time.monotonic() - start


def test_with_ten_thousand_shards_on_both_sides_nothing_to_do_is_found_in_5_s(
    farm: Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = farm.server()
    rng = np.random.default_rng(0)
    folders = [server.work / "jobs" / f"job-{number:02}" / "out" for number in range(10)]
    for folder in folders:
        offer(folder, [rng.bytes(200) for _ in range(SHARDS // 10)])
    here = tmp_path / "runs" / "hex8-2p" / "selfplay"
    here.mkdir(parents=True)
    for folder in folders:
        with (here / MANIFEST).open("ab") as manifest:
            manifest.write((folder / MANIFEST).read_bytes())
        for path in folder.glob("*.shard"):
            shutil.copy(path, here)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RINGRIFT_HOSTS", str(farm.hosts_yaml([server])))
    monkeypatch.delenv("RINGRIFT_FOLDER", raising=False)
    ringrift("sync", "status")  # the agent is there now
    seconds = []
    for _ in range(3):
        document, spent = ringrift("sync", "pull")
        (row,) = document["hosts"]
        assert (row["shards"]["listed"], row["shards"]["missing"]) == (SHARDS, 0)
        seconds.append(spent)
    sys.stderr.write(f"empty pull of {SHARDS} shards: {', '.join(f'{s:.2f}' for s in seconds)} s\n")
    assert max(seconds) < 5


def scp(farm: Farm, server: Server, source: str, target: str) -> float:
    """Seconds of the user's own scp."""
    start = time.monotonic()
    options = f"-o UserKnownHostsFile={farm.known_hosts} -o IdentitiesOnly=yes -i {farm.key}"
    command = ["scp", "-q", "-F", "none", *options.split(), "-P", str(server.port), source, target]
    subprocess.run(command, check=True)
    return time.monotonic() - start


def test_large_files_move_at_four_fifths_of_the_speed_of_scp(farm: Farm, tmp_path: Path) -> None:
    server = farm.server()
    host = farm.host(server)
    data = np.random.default_rng(0).bytes(BIG)
    (entry,) = offer(server.work / "runs" / "x", [data])
    there = server.work / "runs" / "x" / entry["file"]
    best: dict[str, float] = {}

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        spent = time.monotonic() - start
        best[name] = min(best.get(name, spent), spent)

    with open_link(host, None, deadline_s=10) as client:
        for number in range(ROUNDS):
            copy, runs = tmp_path / "copy", tmp_path / f"runs-{number}"
            up, to = f"runs/up-{number}", f"{LOOPBACK}:{server.home}/up"
            with timed("scp down"):
                scp(farm, server, f"{LOOPBACK}:{there}", str(copy))
            with timed("pull"):
                pull_over(client, runs / "fleet", plain(runs))
            with timed("scp up"):
                scp(farm, server, str(copy), to)
            with timed("push"):
                put(client, copy, up, entry["sha256"], TransferMeter())
            (held,) = runs.rglob("*.shard")
            assert held.stat().st_size == (server.work / up).stat().st_size == BIG
            for path in (copy, held, server.work / up):
                path.unlink()
            shares = best["scp down"] / best["pull"], best["scp up"] / best["push"]
            if number >= 2 and min(shares) > 0.8:
                break
    speeds = ", ".join(f"{name} {BIG / 1e6 / spent:.0f} MB/s" for name, spent in best.items())
    sys.stderr.write(f"{speeds}; best of {number + 1}\n")
    assert min(shares) > 0.8


def plain(runs: Path) -> Destination:
    """A destination whose check is a hash alone, which the pull makes itself."""
    found = destination(runs)
    found.check = lambda path, entry, folder: None
    return found


def test_an_index_of_a_million_games_is_opened_and_asked_in_seconds(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    games = rng.integers(0, 1 << 63, (SHARDS // 2, 256)).astype(np.uint64)
    entries = [ShardEntry.from_json(entry_of(b"%d" % n)) for n in range(len(games))]
    with GameIndex(tmp_path) as index:
        for entry, hashes in zip(entries, games, strict=True):
            index.add(entry.sha256, entry.file, hashes)
    add_to_manifest(tmp_path, *entries)
    start = time.monotonic()
    with GameIndex(tmp_path) as index:
        assert index.holders(games[77]) == (256, entries[77].file)
    opened = time.monotonic() - start
    start = time.monotonic()
    with GameIndex(tmp_path) as index:
        for number in range(200):
            fresh = rng.integers(0, 1 << 63, 256).astype(np.uint64)
            assert index.holders(fresh) == (0, None)
            index.add(f"{number:064x}", f"{number}.shard", fresh)
    asked = time.monotonic() - start
    sys.stderr.write(f"opened in {opened:.2f} s, 200 files entered in {asked:.2f} s\n")
    assert opened < 2
    assert asked < 4
