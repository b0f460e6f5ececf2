"""The page of a run: what its files say, when they change."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

from ringrift_cli.loop import journal as cycle_journal
from ringrift_cli.web import watch
from ringrift_cli.web.watch import WatchedRun
from tests.conftest import Ringrift
from tests.loops import QuickSteps, run, settings


def test_a_page_follows_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "POLL_S", 0.02)
    config = settings(tmp_path)
    watched = WatchedRun(config)

    async def follow() -> None:
        pages = watched.changes()
        first = await anext(pages)
        assert first["name"] == "runs/hex8-2p"
        assert ":root" in first["style"]
        assert "No cycle has ended yet" in (await anext(pages))["head"]
        run(config, QuickSteps(config))
        page = await anext(pages)
        assert "cycle 1" in page["head"]
        assert "Verdicts and their reasons" in page["body"]
        run(config, QuickSteps(config))
        async for page in pages:
            if "body" in page:
                break
        assert "cycle 2" in page["head"]
        await pages.aclose()  # type: ignore[attr-defined]

    asyncio.run(follow())
    kinds = {file.path.suffix for file in watched.files()}
    assert ".sqlite" in kinds
    assert len(kinds) == 2
    for file in watched.files():
        number = file.numbers()[0]
        assert file.game(number).actions


def test_the_head_says_what_is_under_way_and_how_long(tmp_path: Path) -> None:
    config = settings(tmp_path)
    run(config, QuickSteps(config), 2)
    with cycle_journal.opened(config.folder) as journal:
        journal.add(3, "train", cycle_journal.BEGUN)
        head = WatchedRun(config)._head(journal)  # noqa: SLF001
    assert "cycle 3, train, for " in head
    assert "left" in head or "longer than before" in head


def test_a_damaged_journal_is_told_on_the_page(tmp_path: Path) -> None:
    config = settings(tmp_path)
    run(config, QuickSteps(config))
    path = config.folder / cycle_journal.JOURNAL
    path.write_text("nonsense\n" + path.read_text())

    async def read() -> dict[str, str]:
        pages = WatchedRun(config).changes()
        await anext(pages)
        return await anext(pages)

    assert 'class="alarm"' in asyncio.run(read())["head"]


def test_hosts_and_their_cost_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = settings(tmp_path)
    run(config, QuickSteps(config))
    monkeypatch.setattr(watch, "host_costs", lambda config: {"rented-1": (1.5, 20.25)})
    played = {
        "hosts": {"desk": {"games": 900, "here": False}, "local": {"games": 5, "here": True}},
        "absent": {"rented-1": "no route <"},
    }
    text = WatchedRun(config)._hosts({"selfplay": played})  # noqa: SLF001
    for part in ("desk", "900", "rented-1", "$1.50", "$20.25", "no route &lt;"):
        assert part in text
    assert "local" not in text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_server_and_its_streams(number: signal.Signals, tmp_path: Path) -> None:
    config = settings(tmp_path)
    run(config, QuickSteps(config))
    command = [sys.executable, "-m", "ringrift_cli", "web", str(config.folder), "--port", "0"]
    with subprocess.Popen(
        [*command, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        address = json.loads(server.stdout.readline())["address"]
        with urlopen(f"{address}runs/0/events", timeout=60) as stream:
            assert b"hex8-2p" in stream.readline()
            server.send_signal(number)
            assert server.wait(60) == 128 + number
        assert "Traceback" not in server.stderr.read()


def test_what_is_not_a_run_is_refused(ringrift: Ringrift, tmp_path: Path) -> None:
    done = ringrift("web", tmp_path, "--json")
    assert done.code == 2
    assert "is not a run" in json.loads(done.out)["error"]
    missing = ringrift("web", tmp_path / "x.rrg")
    assert (missing.code, "No such file" in missing.err) == (1, True)
    assert ringrift("web", "--allow-origin", "example.org").code == 2
    assert ringrift("web", "--host", "192.0.2.1", "--port", 1).code == 2
    assert ringrift("web", "--player", "nonsense").code == 2
