"""Metrics of runs and hosts, and the dashboard that shows them."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from ringrift_cli.errors import RingriftError
from ringrift_cli.fleet import status
from ringrift_cli.fleet.hosts import Budget, Fleet, Host
from ringrift_cli.fleet.status import Seen
from ringrift_cli.observe.metrics import HostRow, RunsAndHosts, listen, registry_of, write_text
from ringrift_cli.settings import Config, commented
from tests.conftest import Ringrift
from tests.fleet.gpus import facts_of, gpu
from tests.loops import QuickSteps, run, settings

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
DASHBOARD = EXAMPLES / "grafana" / "ringrift.json"
PROMETHEUS = Path("/usr/bin/prometheus")
RUN = {"run": "runs/hex8-2p"}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A run with a champion and an alarm."""
    found = settings(tmp_path, alarm_rejections=1)
    run(found, QuickSteps(found, (True, False), (30.0,)), 2)
    (found.folder / "settings.yaml").write_text(commented(found))
    return found


def host_rows() -> Sequence[HostRow]:
    """A host with a GPU at work, and one that does not answer."""
    hosts = [Host(name=name, addresses=("127.0.0.1:22",), price=0.5) for name in ("desk", "gone")]
    working = gpu(0, use_percent=97, power_w=250)
    seen = [Seen(hosts[0], "127.0.0.1", 0.01, facts_of(gpus=[working])), Seen(hosts[1])]
    fleet = Fleet(tuple(hosts), budget=Budget())
    rows: Sequence[HostRow] = status.document(fleet, seen, {}, {}, time.time())["hosts"]
    return rows


def collector_of(config: Config, hosts: Callable[[], Sequence[HostRow]]) -> RunsAndHosts:
    found = RunsAndHosts(lambda: [config.folder], hosts)
    found.ask_hosts()
    return found


def expressions() -> Iterator[str]:
    """All queries of the dashboard, over all runs and hosts."""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel["targets"]:
            yield re.sub(r"\$(run|host)\b", ".*", target["expr"])


def test_runs_and_hosts(config: Config) -> None:
    collector = collector_of(config, host_rows)
    value = registry_of(collector).get_sample_value
    assert value("ringrift_champion_elo", RUN) == 30
    assert value("ringrift_champion_elo_low", RUN) == 0
    assert (value("ringrift_cycles", RUN), value("ringrift_games", RUN)) == (2, 16)
    assert (value("ringrift_positions", RUN) or 0) > 100
    assert value("ringrift_loss", {**RUN, "set": "validation", "part": "policy"}) == 1.5
    assert value("ringrift_alarm", {**RUN, "name": "rejections"}) == 1
    assert value("ringrift_run_working", RUN) == 0
    age = value("ringrift_data_age_seconds", RUN)
    assert age is not None
    assert 0 <= age < 3600
    desk = {"host": "desk", "gpu": "0"}
    assert value("ringrift_gpu_use_ratio", desk) == pytest.approx(0.97)
    assert value("ringrift_gpu_power_watts", desk) == 250
    assert [value("ringrift_host_up", {"host": name}) for name in ("desk", "gone")] == [1, 0]
    assert value("ringrift_host_jobs", {"host": "gone"}) is None
    run(config, QuickSteps(config, (False,)), 1)
    assert value("ringrift_cycles", RUN) == 3


def test_a_damaged_run_hides_no_other(config: Config, tmp_path: Path) -> None:
    broken = settings(tmp_path, "square8")
    broken.folder.mkdir()
    (broken.folder / "settings.yaml").write_text(commented(broken))
    (broken.folder / "journal.jsonl").write_text("nonsense\n")
    collector = RunsAndHosts(lambda: [broken.folder, config.folder])
    value = registry_of(collector).get_sample_value
    assert value("ringrift_run_readable", {"run": "runs/square8-2p"}) == 0
    assert value("ringrift_cycles", RUN) == 2


def test_hosts_that_cannot_be_asked(config: Config) -> None:
    answers: list[Any] = [host_rows(), RingriftError("hosts.yaml is gone")]

    def ask() -> Sequence[HostRow]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        found: Sequence[HostRow] = answer
        return found

    collector = collector_of(config, ask)
    value = registry_of(collector).get_sample_value
    assert value("ringrift_hosts_failed") == 0
    collector.ask_hosts()
    assert (value("ringrift_hosts_failed"), value("ringrift_host_up", {"host": "desk"})) == (1, 1)


def test_the_dashboard_and_the_alerts_know_the_names(config: Config, tmp_path: Path) -> None:
    out = tmp_path / "ringrift.prom"
    assert write_text(collector_of(config, host_rows), out) > 40
    known = set(re.findall(r"^# TYPE (\w+)", out.read_text(), re.MULTILINE))
    groups = yaml.safe_load((EXAMPLES / "ringrift-alerts.yml").read_text())["groups"]
    asked = [*expressions(), *(rule["expr"] for group in groups for rule in group["rules"])]
    used = {name for text in asked for name in re.findall(r"ringrift_\w+", text)}
    assert len(used) > 20
    assert used <= known


def test_the_command_writes_a_file(
    ringrift: Ringrift, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # over its own file
        done = ringrift("metrics", "--textfile", "ringrift.prom", "--json")
        assert (done.code, json.loads(done.out)["file"]) == (0, "ringrift.prom")
    assert "ringrift_champion_elo{" in Path("ringrift.prom").read_text()
    assert ringrift("metrics").code == ringrift("metrics", "--serve", 70_000).code == 2
    assert ringrift("metrics", "--fleet", "--textfile", "other.prom").code == 2  # no hosts.yaml


@contextmanager
def served(collector: RunsAndHosts) -> Iterator[int]:
    """The port of a server."""
    server = listen(collector, "127.0.0.1", 0)
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def test_the_server(config: Config, ringrift: Ringrift) -> None:
    with served(collector_of(config, host_rows)) as port:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as page:
            assert b"ringrift_gpu_temperature_celsius{" in page.read()
        done = ringrift("metrics", config.folder, "--serve", port)
        assert (done.code, f"Cannot listen on 127.0.0.1:{port}" in done.err) == (1, True)


@pytest.mark.long
def test_prometheus_has_data_for_every_panel(config: Config, tmp_path: Path) -> None:
    """Debian's Prometheus, with the configuration of the examples."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        own = free.getsockname()[1]
    with served(collector_of(config, host_rows)) as port:
        text = (EXAMPLES / "prometheus.yml").read_text()
        assert "127.0.0.1:9105" in text
        text = text.replace("127.0.0.1:9105", f"127.0.0.1:{port}").replace("15s", "1s")
        (tmp_path / "prometheus.yml").write_text(text)
        alerts = (EXAMPLES / "ringrift-alerts.yml").read_text()
        (tmp_path / "ringrift-alerts.yml").write_text(alerts)
        command = [
            str(PROMETHEUS), "--config.file=prometheus.yml", "--storage.tsdb.path=data",
            f"--web.listen-address=127.0.0.1:{own}",
        ]  # fmt: skip
        with (tmp_path / "log").open("wb") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path)
        try:
            waiting, until = set(expressions()), time.monotonic() + 300
            while waiting and time.monotonic() < until and server.poll() is None:
                waiting = {text for text in waiting if not _result(own, text)}
                time.sleep(0.5)
            assert waiting == set(), (tmp_path / "log").read_text()[-3000:]
        finally:
            server.terminate()
            server.wait(60)


def _result(port: int, expression: str) -> list[Any]:
    """What a query finds; nothing while the server does not answer."""
    query = urllib.parse.urlencode({"query": expression})
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{port}/api/v1/query?{query}", timeout=30
        ) as page:
            found: list[Any] = json.load(page)["data"]["result"]
            return found
    except OSError:
        return []
