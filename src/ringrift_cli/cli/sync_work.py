"""What the commands of `ringrift sync` share: hosts asked at once, progress, and what is here.

Whatever knows games or models is loaded when there is one to check: a sync that finds nothing to do
needs neither.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ringrift_cli.cli import sync_text
from ringrift_cli.cli.fleet_ground import WORK_DEADLINE, Ground, failed
from ringrift_cli.cli.output import Output, stop_requested, stopped
from ringrift_cli.errors import FleetError, UsageError
from ringrift_cli.store.manifest import MANIFEST

if TYPE_CHECKING:
    from ringrift_cli.data.intake import Arrivals
    from ringrift_cli.fleet.destination import Destination
    from ringrift_cli.fleet.hosts import Host
    from ringrift_cli.fleet.link import Link
    from ringrift_cli.fleet.push import Bundle
    from ringrift_cli.fleet.transfer import Meter

T = TypeVar("T")
ENDINGS = (".shard", ".rrg", ".games.jsonl")  # of files of games
TICK = 0.2  # seconds between two looks at how far it is
STEPS = 1000  # of the bar
LEAST_WINDOW = 1 << 20  # bytes


class Work:
    """One command: the hosts, what is here, how much has moved, and whether to stop."""

    def __init__(self, out: Output, base: Ground, limit: float | None) -> None:
        from ringrift_cli.fleet.transfer import Meter

        self.out, self.base = out, base
        self.runs, self.models = Path(base.config.run.folder), Path(base.config.run.models)
        self.meter: Meter = Meter(None if limit is None else 1e6 * limit)
        self.destination = self._destination()
        self.signal = 0
        self._ask: Callable[[], int] = lambda: 0
        self._adopting = threading.Lock()

    def chosen(self, names: list[str] | None) -> list[Host]:
        """The hosts that a command line names, or all; `UsageError` if there are none."""
        found = self.base.chosen(",".join(names) if names else None, None, not names)
        if not found:
            raise UsageError("hosts.yaml has no enabled hosts.", hint="ringrift fleet init")
        return found

    def open(self, host: Host) -> Link:
        """A link to a host."""
        from ringrift_cli.fleet.channel import WINDOW
        from ringrift_cli.fleet.ssh import open_link

        # what is under way cannot be held back: so there may not be more than a second of it
        window = WINDOW if self.meter.limit is None else int(max(self.meter.limit, LEAST_WINDOW))
        return open_link(
            host, self.base.state, deadline_s=WORK_DEADLINE, window=min(window, WINDOW)
        )

    def should_stop(self) -> bool:
        """Whether Ctrl-C or SIGTERM asked for it."""
        return self._ask() != 0

    def on_each(self, title: str, hosts: Sequence[Host], act: Callable[[Host], T]) -> list[T]:
        """What `act` says of each host, all at once."""
        start, shown = time.monotonic(), 0
        with (
            stop_requested() as ask,
            ThreadPoolExecutor(len(hosts), thread_name_prefix="host") as pool,
            self.out.progress(title, STEPS) as progress,
        ):
            self._ask = ask
            futures = [pool.submit(act, host) for host in hosts]
            waiting: set[Any] = set(futures)
            while waiting:
                _, waiting = wait(waiting, TICK)
                done, total = self.meter.done, self.meter.total
                reached = min(STEPS * done // total, STEPS) if total else 0
                note = sync_text.rate(done, total, time.monotonic() - start) if total else ""
                progress.advance(max(reached - shown, 0), note)
                shown = max(shown, reached)
            self.signal = ask()
            return [future.result() for future in futures]

    def finish(
        self, rows: Sequence[Mapping[str, Any]], text: str, *, dry_run: bool = False
    ) -> None:
        """Prints what came of it, and ends the command as that demands."""
        right = all(row["right"] for row in rows)
        document = {"hosts": list(rows), "right": right, "stopped": bool(self.signal)}
        self.out.result({**document, "dry_run": dry_run}, text)
        for hint in dict.fromkeys(row.get("hint") for row in rows):
            if hint:
                self.out.note(f"  try: {hint}")
        if self.signal:
            self.out.note("The same command goes on behind what has come.")
            raise stopped(self.signal)
        failed(not right)

    def check(self, rows: Sequence[Mapping[str, Any]], text: str) -> None:
        """`FleetError` with what there is to say if something is not as it should be."""
        if self.signal:
            raise stopped(self.signal)
        if not all(row["right"] for row in rows):
            hints = [row["hint"] for row in rows if row.get("hint")]
            said = " ".join(text.split())
            raise FleetError(f"{said}.", hint=hints[0] if hints else "ringrift sync status")

    # ---- games ----------------------------------------------------------------------------------

    def _destination(self) -> Destination:
        from ringrift_cli.fleet.destination import Destination

        return Destination(self._folders, self._place, self._checker(), ENDINGS)

    def _folders(self) -> list[Path]:
        return [path.parent for path in self.runs.glob(f"*/*/{MANIFEST}")]

    def _place(self, entry: Mapping[str, Any]) -> Path:
        from ringrift_cli.data.intake import place

        return place(self.runs, entry)

    def _checker(self) -> Callable[[Path, Mapping[str, Any], Path], None]:
        """The check of files of games, which is loaded when there is one to check."""
        lock = threading.Lock()
        made: list[Arrivals] = []

        def check(path: Path, entry: Mapping[str, Any], folder: Path) -> None:
            with lock:
                if not made:
                    self.out.compile_rules()
                    from ringrift_cli.data.intake import Arrivals

                    made.append(Arrivals())
            made[0].check(path, entry, folder)

        return check

    def games(self, pool: str | None) -> list[tuple[Path, str]]:
        """The folder of searched games of a pool here, and there."""
        name = pool or self.base.config.pool
        folder = self.runs / name / "selfplay"
        if not (folder / MANIFEST).exists():
            raise UsageError(f"There are no games in {folder}.", hint="--pool POOL")
        return [(folder, f"runs/{name}/selfplay")]

    # ---- models ---------------------------------------------------------------------------------

    def has_model(self, pool: str | None, identity: str) -> bool:
        """Whether a checkpoint is in the registry."""
        return any(self.models.glob(f"{pool or '*'}/{identity}.json"))

    def adopt(self, path: Path, pool: str | None) -> None:
        """Takes a checkpoint into the registry; `RecordError` if it is not right."""
        with self._adopting:
            self.out.compile_network()
            from ringrift_cli.data.intake import adopt
            from ringrift_cli.nn.registry import Registry

            adopt(Registry(self.models), path, pool)

    def bundles(self, pool: str | None, *, replace: bool = False) -> list[Bundle]:
        """The champions of a pool, or of all, with those before them."""
        from ringrift_cli.fleet.push import Bundle, Sent
        from ringrift_cli.nn.registry import POINTER, Registry

        def conflict(theirs: bytes, ours: bytes) -> str | None:
            from ringrift_cli.data import intake as arrivals

            return None if replace else arrivals.conflict(theirs, ours)

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
