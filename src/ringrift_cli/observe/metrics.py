"""Metrics for Prometheus, read from the files of runs and from the status of hosts.

Values are those of the last reading, without state of their own: a restart loses nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ringrift_cli.errors import OutputError, RingriftError
from ringrift_cli.loop import journal as cycle_journal
from ringrift_cli.loop.cycle import Folders
from ringrift_cli.loop.status import RunState, run_state, settings_of
from ringrift_cli.settings import Config
from ringrift_cli.store.files import stamp, write_whole
from ringrift_cli.store.manifest import MANIFEST

if TYPE_CHECKING:
    from wsgiref.simple_server import WSGIServer

    from prometheus_client import CollectorRegistry
    from prometheus_client.core import GaugeMetricFamily

HOSTS_EVERY_S = 60.0  # between two questions to the hosts
MB, GB = 1 << 20, 1e9
GPU_VALUES = {  # name: field of a GPU, factor, sentence
    "use_ratio": ("use_percent", 0.01, "Share of time in which a kernel ran."),
    "memory_used_bytes": ("memory_used_mb", MB, "Used memory."),
    "memory_bytes": ("memory_total_mb", MB, "Memory."),
    "temperature_celsius": ("temperature_c", 1, "Temperature."),
    "power_watts": ("power_w", 1, "Power draw."),
}

HostRow = Mapping[str, Any]  # of the document of `ringrift fleet status`
Hosts = Callable[[], Sequence[HostRow]]


class Gauges:
    """Gauge families by name, each declared where its first value is set."""

    def __init__(self) -> None:
        self._found: dict[str, GaugeMetricFamily] = {}

    def set(self, name: str, about: str, value: float | None, /, **labels: str) -> None:
        """Adds a value; nothing for None, which is an unknown one."""
        from prometheus_client.core import GaugeMetricFamily

        if value is not None:
            family = self._found.setdefault(
                name, GaugeMetricFamily(f"ringrift_{name}", about, labels=list(labels))
            )
            family.add_metric(list(labels.values()), value)

    def __iter__(self) -> Iterator[GaugeMetricFamily]:
        return iter(self._found.values())


@dataclass(frozen=True)
class _Reading:
    """The state of a run, and when it was read."""

    stamps: tuple[tuple[int, int], ...]
    state: RunState
    time: float  # unix seconds


class RunsAndHosts:
    """The collector of a registry of prometheus_client; a run is read again when it has changed.

    `find` gives the run folders at every reading. `hosts` are asked in a thread.
    """

    def __init__(self, find: Callable[[], Sequence[Path]], hosts: Hosts | None = None) -> None:
        self._find, self._hosts = find, hosts
        self._known: dict[Path, _Reading] = {}
        self._rows: Sequence[HostRow] = []
        self._rows_error = 0
        self._lock = threading.Lock()

    def describe(self) -> list[Any]:
        """No metric is known before it is read."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The present values."""
        gauges = Gauges()
        with self._lock:
            for folder in self._find():
                config = settings_of(folder)
                if config is not None:
                    self._run(gauges, config)
            for row in self._rows:
                _host(gauges, row)
            if self._hosts is not None:
                about = "Whether the last question to the hosts failed."
                gauges.set("hosts_failed", about, self._rows_error)
        return iter(gauges)

    def ask_hosts(self) -> None:
        """Asks the hosts once; their values stay as they were if that fails."""
        if self._hosts is not None:
            try:
                self._rows, self._rows_error = self._hosts(), 0
            except RingriftError:
                self._rows_error = 1

    def _run(self, gauges: Gauges, config: Config) -> None:
        labels = {"run": config.folder.parent.name + "/" + config.pool}
        try:
            reading = self._read(config)
        except RingriftError:
            gauges.set("run_readable", "Whether the files of a run can be read.", 0, **labels)
            return
        gauges.set("run_readable", "Whether the files of a run can be read.", 1, **labels)
        _state(gauges, reading, labels)
        working = cycle_journal.at_work(config.folder) is not None
        gauges.set("run_working", "Whether a process works on a run.", working, **labels)

    def _read(self, config: Config) -> _Reading:
        folders = Folders(config.folder)
        paths = (folders.run / cycle_journal.JOURNAL, folders.data / MANIFEST)
        stamps = tuple(map(stamp, paths))
        known = self._known.get(folders.run)
        if known is None or known.stamps != stamps:
            known = _Reading(stamps, run_state(config), time.time())
            self._known[folders.run] = known
        return known


def _state(gauges: Gauges, reading: _Reading, labels: dict[str, str]) -> None:
    """The metrics of a run."""
    state = reading.state
    gauges.set("cycles", "Finished cycles.", state.cycles, **labels)
    gauges.set("games", "Games of self-play in the shards of the run.", state.data.games, **labels)
    gauges.set("positions", "Positions in these shards.", state.data.positions, **labels)
    if state.data.newest_hours is not None:
        age = 3600 * state.data.newest_hours + time.time() - reading.time
        gauges.set("data_age_seconds", "Age of the newest shard.", age, **labels)
    gauges.set("rejections", "Consecutive candidates not accepted.", state.rejections, **labels)
    gauges.set("disk_free_bytes", "Free disk space.", GB * state.free_gb, **labels)
    champion = state.champion
    if champion is not None:
        about = "The champion; the value is 1."
        gauges.set("champion_info", about, 1, **labels, identity=champion.identity)
        points = [point for point in state.elo if point.identity == champion.identity]
        for point in points[-1:]:
            for bound in ("elo", "low", "high"):
                name = "champion_elo" if bound == "elo" else f"champion_elo_{bound}"
                about = "Elo of the champion over heuristic:default; low to high: 95 %."
                gauges.set(name, about, getattr(point, bound), **labels)
    for row in state.recent[-1:]:
        about = "Games per hour of the last cycle."
        gauges.set("games_per_hour", about, row.games_per_hour, **labels)
        about = "Evaluations per second of the last cycle."
        gauges.set("evaluations_per_second", about, row.evaluations_per_second, **labels)
    if state.last is not None:
        _record(gauges, state.last, labels)


def _record(gauges: Gauges, record: Mapping[str, Any], labels: dict[str, str]) -> None:
    """The metrics of a run's last cycle."""
    for kind, key in (("training", "train_last"), ("validation", "validation_last")):
        for part, value in (record["train"][key] or {}).items():
            about = "Losses and accuracies of the last training run."
            gauges.set("loss", about, value, **labels, set=kind, part=part)
    for step, seconds in record["seconds"].items():
        about = "Time of each step of the last cycle."
        gauges.set("step_seconds", about, seconds, **labels, step=step)
    about = "Alarms of the last cycle; the value is 1."
    gauges.set("alarms", "Number of alarms of the last cycle.", len(record["alarms"]), **labels)
    for name in {alarm["name"] for alarm in record["alarms"]}:
        gauges.set("alarm", about, 1, **labels, name=name)


def _host(gauges: Gauges, row: HostRow) -> None:
    """The metrics of a host."""
    host = {"host": row["name"]}
    gauges.set("host_up", "Whether a host answered.", row["reached"], **host)
    gauges.set("host_trouble", "Problems of a host.", len(row["trouble"]), **host)
    gauges.set("host_jobs", "Active jobs.", len(row["jobs"]) if row["reached"] else None, **host)
    gauges.set("host_games", "Games of all jobs.", row["games"], **host)
    gauges.set("host_games_per_hour", "Speed of the active jobs.", row["games_per_hour"], **host)
    gauges.set("host_disk_free_bytes", "Free disk space.", row["disk_free"], **host)
    gauges.set("host_price_dollars_per_hour", "Price.", row["price"], **host)
    gauges.set("host_cost_dollars", "Cost to date.", row["spent"], **host)
    for gpu in row["gpus"] or ():
        labels = {**host, "gpu": str(gpu["index"])}
        for name, (key, factor, about) in GPU_VALUES.items():
            value = gpu.get(key)
            scaled = None if value is None else factor * value
            gauges.set(f"gpu_{name}", about, scaled, **labels)


# ---- output -------------------------------------------------------------------------------------


def registry_of(collector: RunsAndHosts) -> CollectorRegistry:
    """A registry with this collector only."""
    from prometheus_client import CollectorRegistry

    registry = CollectorRegistry()
    registry.register(collector)
    return registry


def write_text(collector: RunsAndHosts, path: Path) -> int:
    """Writes a file for the textfile collector of node_exporter; returns the number of values."""
    from prometheus_client import generate_latest

    collector.ask_hosts()
    data = generate_latest(registry_of(collector))
    write_whole(path, data)
    return sum(not line.startswith(b"#") for line in data.splitlines())


def listen(collector: RunsAndHosts, address: str, port: int) -> WSGIServer:
    """A server of /metrics in a thread; `shutdown` ends it. `OutputError` if it cannot listen."""
    from prometheus_client import start_http_server

    try:
        server, _ = start_http_server(port, address, registry_of(collector))
    except OSError as error:
        raise OutputError(
            f"Cannot listen on {address}:{port}: {error.strerror}.", hint="another port"
        ) from error
    return server
