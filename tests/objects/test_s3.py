"""The object store over a real HTTP server of S3 (moto), which is killed in between."""

from __future__ import annotations

import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringrift_cli.cli.output import Output
from ringrift_cli.errors import OutputError
from ringrift_cli.loop.on_store import mirror_of
from ringrift_cli.objects import store
from ringrift_cli.objects.store import opened
from ringrift_cli.store.manifest import read_manifest
from tests.fleet.servers import free_port
from tests.loops import QuickSteps, run, settings
from tests.objects.test_store import two_writers

pytestmark = pytest.mark.long
MOTO = Path(__file__).parents[2] / ".venv-moto" / "bin" / "moto_server"  # by the Makefile
URL = "s3://ringrift/some/path"


class S3Server:
    """A moto server on a port that stays the same over restarts; what it held is lost then."""

    def __init__(self) -> None:
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [str(MOTO), "-H", "127.0.0.1", "-p", str(self.port)]
        out = subprocess.DEVNULL
        self.process = subprocess.Popen(command, stdout=out, stderr=out)
        until = time.monotonic() + 300
        while True:
            try:
                request = urllib.request.Request(f"{self.address}/ringrift", method="PUT")
                urllib.request.urlopen(request, timeout=30).close()
                return
            except OSError:
                assert time.monotonic() < until
                time.sleep(0.2)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(60)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    found = S3Server()
    monkeypatch.setenv("AWS_ENDPOINT", found.address)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setattr(store, "RETRY", {"max_retries": 1})
    try:
        found.start()
        yield found
    finally:
        found.kill()


def test_the_operations(server: S3Server) -> None:
    objects = opened(URL)
    assert [objects.create("a/one", data) for data in (b"1", b"2")] == [True, False]
    first = objects.get("a/one")
    assert first is not None
    assert first.data == b"1"
    assert [objects.swap("a/one", data, first.version) for data in (b"2", b"3")] == [True, False]
    assert [(one.name, one.size) for one in objects.list("a/")] == [("a/one", 1)]
    assert objects.get("b") is None


def test_two_writers_of_one_champion(server: S3Server) -> None:
    two_writers(lambda: opened(URL), each=10)


def test_a_server_killed_in_mid_transfer(server: S3Server, tmp_path: Path) -> None:
    """What failed is told; the same call completes it, and all arrives elsewhere."""
    config = settings(tmp_path / "here")
    run(config, QuickSteps(config), 3)
    ours = mirror_of(URL, config, Output(quiet=True))
    folder = config.folder / "selfplay"
    sent = [0]

    def kill_soon() -> bool:
        sent[0] += 1
        if sent[0] == 4:
            threading.Thread(target=server.kill, daemon=True).start()
            time.sleep(1)
        return False

    with pytest.raises(OutputError, match="s3://ringrift"):
        ours.push_shards(folder, kill_soon)
    server.start()
    assert ours.push_all(config.folder) > 9
    assert ours.push_all(config.folder) == 0
    other = settings(tmp_path / "there")
    theirs = mirror_of(URL, other, Output(quiet=True))
    assert theirs.pull_shards() == (9, [])
    assert theirs.pull_champions() == 3
    known = {one.sha256 for one in read_manifest(folder)}
    assert {one.sha256 for one in read_manifest(other.folder / "foreign")} == known


def test_ten_thousand_shards(server: S3Server, tmp_path: Path) -> None:
    """Names of all are known within ten lists of a thousand."""
    config = settings(tmp_path)
    objects = opened(URL)
    names = [f"{number:064x}" for number in range(10_000)]

    def fill(part: list[str]) -> None:
        for name in part:
            objects.create(f"{config.pool}/entries/{name}.json", b"{}")

    threads = [threading.Thread(target=fill, args=(names[n::8],)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    folder = config.folder / "selfplay"
    folder.mkdir(parents=True)
    (folder / "manifest.jsonl").touch()
    (folder / ".manifest.jsonl.removed").write_text("\n".join(names))
    mirror = mirror_of(URL, config, Output(quiet=True))
    began = time.monotonic()
    assert mirror.pull_shards() == (0, [])
    assert time.monotonic() - began < 60
