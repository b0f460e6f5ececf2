"""Synchronization of games and models with hosts.

Imports the code for games and models only when there is a file to check, so a sync without new
files is fast.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ringrift_cli.errors import FleetError, OutputError, RecordError, UsageError
from ringrift_cli.fleet import audit
from ringrift_cli.fleet.client import Client
from ringrift_cli.fleet.destination import Destination
from ringrift_cli.fleet.exchange import ATTEMPTS, Exchange, Outcome
from ringrift_cli.fleet.hosts import Host
from ringrift_cli.fleet.pull import Pulled, missing_models, missing_shards, pull, pull_models
from ringrift_cli.fleet.push import Bundle, Sent, push
from ringrift_cli.fleet.transfer import ShouldStop, TransferMeter, never
from ringrift_cli.fleet.transport import WINDOW
from ringrift_cli.loop.fleet_context import FleetContext
from ringrift_cli.loop.protocol import Watch
from ringrift_cli.settings import Config, commented
from ringrift_cli.store.files import stamp, write_whole
from ringrift_cli.store.hashes import sha256
from ringrift_cli.store.manifest import MANIFEST, SUFFIXES, ShardEntry
from ringrift_cli.text import counted, transfer_rate

if TYPE_CHECKING:
    from ringrift_cli.data.intake import Intake
    from ringrift_cli.data.retention import Origin

T = TypeVar("T")
Row = dict[str, Any]  # the outcome for one host, for --json
SETTINGS = "settings"  # folder of settings files
TICK = 0.2  # seconds between two updates of the progress
STEPS = 1000  # progress units
LEAST_WINDOW = 1 << 20  # bytes


class Reporter(Watch, Protocol):
    """Shows progress and notes, and compiles code for the checks."""

    def compile_rules(self) -> None:
        """Compiles the rules if needed."""

    def compile_network(self) -> None:
        """Compiles the code for networks if needed."""


@dataclass
class Planned(Outcome):
    """What a pull from one host would transfer."""

    listed: int = 0  # files on the host
    missing: int = 0  # of these, missing here
    bytes: int = 0  # of the missing files
    notes: list[str] = field(default_factory=list)


class SyncSession:
    """Transfers between this machine and hosts; `limit` is in MB/s over all hosts."""

    def __init__(
        self, context: FleetContext, reporter: Reporter, limit: float | None = None
    ) -> None:
        self.context, self._reporter = context, reporter
        self.runs, self.models = Path(context.config.run.folder), Path(context.config.run.models)
        self.meter = TransferMeter(None if limit is None else 1e6 * limit)
        self.destination = Destination(self._folders, self._place, self._checker(), SUFFIXES)
        self.should_stop: ShouldStop = never
        self._adopting, self._reading = threading.Lock(), threading.Lock()
        self._origins: dict[
            Path, tuple[tuple[int, int], Mapping[int, Origin]]
        ] = {}  # by run folder

    def note(self, text: str) -> None:
        """Shows a note."""
        self._reporter.note(text)

    def open(self, host: Host) -> Client:
        """Connects to a host."""
        # The rate limit cannot delay bytes in flight, so they are limited to one second.
        window = WINDOW if self.meter.limit is None else int(max(self.meter.limit, LEAST_WINDOW))
        return self.context.open(host, window=min(window, WINDOW))

    def on_each(self, title: str, hosts: Sequence[Host], act: Callable[[Host], T]) -> list[T]:
        """Runs `act` for all hosts in parallel with progress; returns the results."""
        start, shown = time.monotonic(), 0
        with (
            ThreadPoolExecutor(len(hosts), thread_name_prefix="host") as pool,
            self._reporter.progress(title, STEPS) as progress,
        ):
            futures = [pool.submit(act, host) for host in hosts]
            waiting: set[Any] = set(futures)
            while waiting:
                _, waiting = wait(waiting, TICK)
                done, total = self.meter.done, self.meter.total
                reached = min(STEPS * done // total, STEPS) if total else 0
                note = transfer_rate(done, total, time.monotonic() - start) if total else ""
                progress.advance(max(reached - shown, 0), note)
                shown = max(shown, reached)
            return [future.result() for future in futures]

    # ---- per host -------------------------------------------------------------------------------

    def exchange(self, host: Host, attempts: int = ATTEMPTS) -> Exchange:
        """An exchange with a host, counted by the session's meter."""
        return Exchange(
            host.name,
            lambda: self.open(host),
            self.context.state,
            TransferMeter(whole=self.meter),
            self.should_stop,
            attempts,
        )

    def plan(self, host: Host, kind: str) -> Row:
        """What a pull would transfer; `kind` is shards, checkpoints or all."""
        exchange, planned = self.exchange(host, 1), Planned(host.name)

        def work(client: Client) -> None:
            if kind != "checkpoints":
                found = missing_shards(client, exchange.state, self.destination)
                planned.listed, planned.bytes = found.listed, found.bytes
                planned.missing = len(found.lines)
                planned.notes = [*found.notes, *(wrong.reason for wrong in found.wrong)]
            if kind != "shards":
                models = missing_models(client, exchange.state, self.has_model)
                sizes = [one.size for model in models for one in model.files.values()]
                planned.missing += len(sizes)
                planned.listed += len(sizes)
                planned.bytes += sum(sizes)

        return exchange.carry_out(planned, work).document()

    def pull(self, host: Host, kind: str, streams: int = 1) -> Row:
        """Fetches files of a host that are missing here."""
        exchange = self.exchange(host)
        parts: dict[str, Pulled] = {}
        if kind != "checkpoints":
            parts["shards"] = pull(exchange, self.destination, streams=streams)
            parts["shards"].notes += self._foreign(parts["shards"])
        if kind != "shards" and all(part.error is None for part in parts.values()):
            parts["checkpoints"] = pull_models(exchange, self.has_model, self.adopt)
        failed = next((part for part in parts.values() if part.error is not None), None)
        return {
            "host": host.name,
            **{name: part.document() for name, part in parts.items()},
            "error": failed and failed.error,
            "hint": failed and failed.hint,
            "stopped": any(part.stopped for part in parts.values()),
            "right": all(part.right for part in parts.values()),
        }

    def _foreign(self, pulled: Pulled) -> list[str]:
        """Notes on the games that were made for no run of this machine."""
        from ringrift_cli.data.intake import FOREIGN

        return [
            f"{counted(games, 'game')} made for no run in {Path(folder).parent}: kept apart in"
            f" {folder}, which no cycle counts or trains on"
            for folder, games in pulled.folders.items()
            if Path(folder).name == FOREIGN
        ]

    def push(self, host: Host, bundles: Sequence[Bundle], games: Sequence[tuple[Path, str]]) -> Row:
        """Transfers models and folders of games to a host."""
        exchange = self.exchange(host)
        return push(exchange, bundles=bundles, games=games, endings=SUFFIXES).document()

    def here(self) -> audit.Here:
        """The local shards, for `verify`."""
        return audit.Here(self.destination)

    def verify(self, host: Host, here: audit.Here, bundles: Sequence[Bundle] = ()) -> Row:
        """Hashes and compares all files of both ends."""
        sent = [one for bundle in bundles for one in bundle.all_files]
        return audit.verify(self.exchange(host), self.destination, here, sent).document()

    def standing(self, host: Host, bundles: Sequence[Bundle]) -> Row:
        """Compares both ends by manifests and cached hashes."""
        sent = [one for bundle in bundles for one in bundle.all_files]
        return audit.standing(self.exchange(host, 1), self.destination, sent).document()

    def fetch_all(self, hosts: Sequence[Host]) -> dict[str, Any]:
        """Fetches all games and checkpoints of hosts and verifies them at both ends.

        `FleetError` if anything failed, was put in quarantine or differs.
        """
        rows = self.on_each("Pull", hosts, lambda host: self.pull(host, "all"))
        parts = [row[kind] for row in rows for kind in ("shards", "checkpoints") if kind in row]
        for row in rows:
            if row["error"]:
                raise FleetError(row["error"], hint=row["hint"])
        for part in parts:
            for bad in part["quarantined"]:
                raise FleetError(f"{part['host']}: {bad['name']} is in quarantine: {bad['reason']}")
            if part["unsent"] or part["damaged"]:
                raise FleetError(f"{part['host']}: {'; '.join(part['notes'])}")
        here = self.here()
        verified = self.on_each("Verify", hosts, lambda host: self.verify(host, here))
        for row in verified:
            if not row["right"]:
                why = row["error"] or "; ".join(row["differences"])
                raise FleetError(f"{row['host']}: {why}", hint="ringrift sync verify")
        return {
            "files": sum(part["files"] for part in parts),
            "bytes": sum(part["bytes"] for part in parts),
            "games": sum(part["games"] for part in parts),
            "verified_files": sum(row["files"] for row in verified),
            "notes": [note for part in parts for note in part["notes"]],
        }

    # ---- games ----------------------------------------------------------------------------------

    def _folders(self) -> list[Path]:
        return [path.parent for path in self.runs.glob(f"*/*/{MANIFEST}")]

    def _place(self, entry: ShardEntry) -> Path:
        from ringrift_cli.data.intake import place

        return place(self.runs, entry, self._is_own)

    def _is_own(self, run: Path, entry: ShardEntry) -> bool:
        """Whether a shard was made for the run in a folder, which may be in progress."""
        from ringrift_cli.data.retention import is_own
        from ringrift_cli.loop import journal

        with self._reading:
            now = stamp(run / journal.JOURNAL)
            if run not in self._origins or self._origins[run][0] != now:
                try:
                    self._origins[run] = (now, journal.read(run).origins)
                except RecordError as error:  # not a fault of the host
                    raise OutputError(error.message, error.hint) from error
            return is_own(entry, self._origins[run][1])

    def _checker(self) -> Callable[[Path, ShardEntry, Path], None]:
        """The check of game files, imported on first use."""
        lock = threading.Lock()
        made: list[Intake] = []

        def check(path: Path, entry: ShardEntry, folder: Path) -> None:
            with lock:
                if not made:
                    self._reporter.compile_rules()
                    from ringrift_cli.data.intake import Intake

                    made.append(Intake())
            made[0].check(path, entry, folder)

        return check

    def games(self, pool: str | None) -> list[tuple[Path, str]]:
        """Local and remote folder of the searched games of a pool."""
        name = pool or self.context.config.pool
        folder = self.runs / name / "selfplay"
        if not (folder / MANIFEST).exists():
            raise UsageError(f"There are no games in {folder}.", hint="--pool POOL")
        return [(folder, f"runs/{name}/selfplay")]

    # ---- settings -------------------------------------------------------------------------------

    def settings_file(self, config: Config) -> Sent:
        """A settings file for jobs, named by its hash here and on hosts."""
        text = commented(config).encode()
        name = f"{sha256(text)[:16]}.yaml"
        path = self.context.state / SETTINGS / name
        if not path.exists():
            write_whole(path, text)
        return Sent(path, f"{SETTINGS}/{name}")

    # ---- models ---------------------------------------------------------------------------------

    def has_model(self, pool: str | None, identity: str) -> bool:
        """Whether a checkpoint is in the registry."""
        return any(self.models.glob(f"{pool or '*'}/{identity}.json"))

    def adopt(self, path: Path, pool: str | None) -> None:
        """Adds a checkpoint to the registry; `RecordError` if it is invalid."""
        with self._adopting:
            self._reporter.compile_network()
            from ringrift_cli.data.intake import adopt
            from ringrift_cli.nn.registry import Registry

            adopt(Registry(self.models), path, pool)

    def bundles(self, pool: str | None, *, replace: bool = False) -> list[Bundle]:
        """The champions of a pool, or of all pools, with their predecessors."""
        from ringrift_cli.nn.registry import POINTER, Registry

        def conflict(theirs: bytes, ours: bytes) -> str | None:
            from ringrift_cli.data import intake

            return None if replace else intake.conflict(theirs, ours)

        registry, found = Registry(self.models), []
        for name in registry.pools() if pool is None else [pool]:
            champion = registry.champion(name)
            if champion is None:
                continue
            entries = [champion, *registry.earlier(name)]
            paths = [path for entry in entries for path in (entry.weights, entry.path)]
            files = tuple(Sent(path, f"models/{name}/{path.name}") for path in paths)
            pointer = Sent(self.models / name / POINTER, f"models/{name}/{POINTER}")
            found.append(Bundle(files, pointer, conflict))
        return found
