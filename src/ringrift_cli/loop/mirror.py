"""Runs in an object store: what each object is, and how it gets there and back.

    POOL/shards/SHA256.shard    games, created once
    POOL/entries/SHA256.json    manifest entry of a shard, created after it; no shared manifest
    POOL/models/FILE            checkpoints, created once, the JSON last
    POOL/champion.json          history of champions, replaced only by a longer one
    POOL/player.json            who plays for the learning loop now
    POOL/run/FILE               journal, settings and results of the learning loop
    cmaes/NAME/FILE             a tuning run; its journal is replaced only by a longer one
    workers/NAME.json           heartbeat of a worker

Runs are local; the store mirrors them. Whatever is read is hashed here and passes the intake.
"""

from __future__ import annotations

import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from ringrift_cli.data import intake
from ringrift_cli.errors import BadOutput, RecordError, RingriftError
from ringrift_cli.fleet import quarantine
from ringrift_cli.fleet.quarantine import Bad
from ringrift_cli.loop import journal as cycle_journal
from ringrift_cli.loop.sync_session import SyncSession
from ringrift_cli.nn.registry import POINTER, Registry
from ringrift_cli.objects.store import Listed, ObjectStore, replace
from ringrift_cli.store.files import stamp, write_whole
from ringrift_cli.store.hashes import sha256
from ringrift_cli.store.manifest import (
    SUFFIXES,
    ShardEntry,
    add_to_manifest,
    read_manifest,
)
from ringrift_cli.text import Unrepeated

STORE = "store"  # sender of what came from there, in manifests and quarantine
RUN_FILES = (cycle_journal.JOURNAL, cycle_journal.CYCLES, "settings.yaml", "results.sqlite")
EVERY_S = 10.0  # between two looks of a mirror
Stop = Callable[[], bool]


class PlayerNow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who plays for a run of the learning loop: a model of the store, or the teacher."""

    run: str
    cycle: int
    model: str
    teacher: bool


class WorkerState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Heartbeat of a worker."""

    host: str
    pool: str
    model: str
    games: int
    games_per_hour: float
    since: str
    problem: str | None = None


class Mirror:
    """The objects of one pool; `session` places and checks what arrives."""

    def __init__(self, objects: ObjectStore, session: SyncSession, pool: str) -> None:
        self.objects, self.pool = objects, pool
        self._session, self._state = session, session.context.state
        self._registry = Registry(session.models)

    # ---- shards ---------------------------------------------------------------------------------

    def push_shards(self, folder: Path, should_stop: Stop = lambda: False) -> int:
        """Sends the shards of a folder that the store lacks; returns their number."""
        entries = [entry for entry in read_manifest(folder) if entry.is_searched]
        known = self._known() if entries else set()
        count = 0
        for entry in entries:
            if should_stop():
                break
            if entry.sha256 not in known:
                data = (folder / entry.file).read_bytes()
                if sha256(data) != entry.sha256:
                    raise RecordError(f"{folder / entry.file} differs from its manifest entry.")
                self.objects.create(self._shard(entry), data)
                about = msgspec.json.encode(entry)
                count += self.objects.create(f"{self.pool}/entries/{entry.sha256}.json", about)
        return count

    def pull_shards(self, should_stop: Stop = lambda: False) -> tuple[int, list[str]]:
        """Fetches and checks new shards; returns their number, and what was refused and why."""
        found = self._known() - self._session.destination.known()
        found -= quarantine.kept_out(self._state, STORE)
        count, refused = 0, []
        for name in sorted(found):
            if should_stop():
                break
            path = self._session.runs / self.pool / f".{name}.part"
            try:
                self._receive(name, path)
                count += 1
            except (RecordError, BadOutput) as error:
                refused.append(f"{name[:16]}: {error.message}")
                bad = Bad(STORE, f"{name}.shard", error.message, name, path=self.pool)
                quarantine.put_away(self._state, bad, path)
            finally:
                path.unlink(missing_ok=True)
        return count, refused

    def _receive(self, name: str, path: Path) -> None:
        """Fetches one shard and enters it; `RecordError` if a check fails."""
        about = self._read(f"{self.pool}/entries/{name}.json")
        try:
            entry = msgspec.json.decode(about, type=ShardEntry)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RecordError(f"its manifest entry is not valid: {error}.") from error
        if entry.sha256 != name or not entry.file.endswith(SUFFIXES):
            raise RecordError(f"its entry is about {entry.file}, {entry.sha256[:16]}.")
        data = self._read(self._shard(entry))
        write_whole(path, data)
        if sha256(data) != name:
            raise RecordError(f"its SHA-256 here is {sha256(data)[:16]}, not {name[:16]}.")
        folder = self._session.destination.place(entry)
        if folder.parent.name != self.pool:
            raise RecordError(f"it is of {folder.parent.name}, not of {self.pool}.")
        final = path.with_name(entry.file)  # the check compares it with the hash
        path.rename(final)
        try:
            self._session.destination.check(final, entry, folder)
            folder.mkdir(exist_ok=True)
            final.rename(folder / final.name)
        except RingriftError:
            final.rename(path)  # for quarantine
            raise
        add_to_manifest(folder, entry.received_now(STORE))

    def _known(self) -> set[str]:
        """SHA-256 of the shards of the store."""
        listed = self.objects.list(f"{self.pool}/entries/")
        return {Path(one.name).stem for one in listed}

    def _shard(self, entry: ShardEntry) -> str:
        return f"{self.pool}/shards/{entry.sha256}.{entry.file.partition('.')[2]}"

    def _read(self, name: str) -> bytes:
        found = self.objects.get(name)
        if found is None:
            raise RecordError(f"there is no {name}.")
        return found.data

    # ---- models ---------------------------------------------------------------------------------

    def push_model(self, path: Path) -> int:
        """Sends a checkpoint by either of its files; returns the number of new objects."""
        files = (path.with_suffix(".safetensors"), path.with_suffix(".json"))
        names = [f"{self.pool}/models/{file.name}" for file in files]
        known = {one.name for one in self.objects.list(f"{self.pool}/models/")}
        missing = [pair for pair in zip(names, files, strict=True) if pair[0] not in known]
        return sum(self.objects.create(name, file.read_bytes()) for name, file in missing)

    def push_champions(self) -> int:
        """Sends the champion and its predecessors, then their history, unless the store's is newer.

        `RingriftError` if another machine has made other champions.
        """
        champion = self._registry.champion(self.pool)
        if champion is None:
            return 0
        earlier = self._registry.earlier(self.pool)
        count = sum(self.push_model(entry.path) for entry in (champion, *earlier))
        name, ours = f"{self.pool}/{POINTER}", self._pointer().read_bytes()
        known = self.objects.get(name)
        if known is None or intake.conflict(known.data, ours) is None:
            if known is None or known.data != ours:
                version = None if known is None else known.version
                count += self.objects.swap(name, ours, version)
        elif intake.conflict(ours, known.data) is not None:
            raise RingriftError(
                f"The champion of {self.pool} in the store: {intake.conflict(known.data, ours)}",
                hint="another run.store, or another pool",
            )
        return count

    def pull_champions(self) -> int:
        """Takes over a longer history of champions, with its models; returns the new models."""
        found = self.objects.get(f"{self.pool}/{POINTER}")
        pointer = self._pointer()
        ours = pointer.read_bytes() if pointer.exists() else b"{}"
        if found is None or found.data == ours or intake.conflict(ours, found.data) is not None:
            return 0
        with tempfile.TemporaryDirectory() as name:
            other = Registry(Path(name))
            write_whole(Path(name) / self.pool / POINTER, found.data)
            events = other.history(self.pool)
        count = sum(self.fetch_model(one) for one in dict.fromkeys(e.identity for e in events))
        write_whole(pointer, found.data)
        return count

    def fetch_model(self, identity: str) -> int:
        """Adds a checkpoint of the store to the registry, where it loads; 0 if it is there."""
        if (self._pointer().parent / f"{identity}.json").exists():
            return 0
        with tempfile.TemporaryDirectory() as folder:
            for suffix in (".safetensors", ".json"):
                data = self._read(f"{self.pool}/models/{identity}{suffix}")
                (Path(folder) / f"{identity}{suffix}").write_bytes(data)
            entry = intake.adopt(self._registry, Path(folder) / f"{identity}.json", self.pool)
        if entry.identity != identity:
            raise RecordError(f"The store holds {entry.identity} as {identity}.")
        return 1

    def _pointer(self) -> Path:
        return self._registry.folder / self.pool / POINTER

    # ---- the loop and its workers ---------------------------------------------------------------

    def push_run(self, folder: Path) -> None:
        """Sends the journal, settings and results of a run of the learning loop."""
        for name in RUN_FILES:
            if (folder / name).exists():
                replace(self.objects, f"{self.pool}/run/{name}", _content(folder / name))

    def push_all(self, run: Path) -> int:
        """Sends what the store lacks of a run of the loop; returns the new shards and models."""
        shards = self.push_shards(run / "selfplay")
        self.push_run(run)
        return shards + self.push_champions()

    def publish(self, player: PlayerNow) -> None:
        """Names the player to the workers."""
        replace(self.objects, f"{self.pool}/player.json", msgspec.json.encode(player))

    def player(self) -> PlayerNow | None:
        """Who plays; `RecordError` for a damaged object."""
        found = self.objects.get(f"{self.pool}/player.json")
        try:
            return None if found is None else msgspec.json.decode(found.data, type=PlayerNow)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RecordError(f"{self.pool}/player.json in the store: {error}.") from error

    def beat(self, name: str, state: WorkerState) -> None:
        """Writes the heartbeat of a worker."""
        replace(self.objects, f"workers/{name}.json", msgspec.json.encode(state))


def workers(objects: ObjectStore) -> list[tuple[Listed, WorkerState]]:
    """Heartbeats of all workers, by name; damaged ones are left out."""
    found = []
    for one in sorted(objects.list("workers/")):
        state = objects.get(one.name)
        try:
            if state is not None:
                found.append((one, msgspec.json.decode(state.data, type=WorkerState)))
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    return found


def _content(path: Path) -> bytes:
    """The bytes of a file; of a database those of a consistent copy."""
    if path.suffix != ".sqlite":
        return path.read_bytes()
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return connection.serialize()


# ---- tuning runs --------------------------------------------------------------------------------


def push_tuning(objects: ObjectStore, folder: Path, names: Sequence[str]) -> None:
    """Sends the files of a tuning run; `RingriftError` if another machine has continued it."""
    for name in names:
        path, there = folder / name, f"cmaes/{folder.name}/{name}"
        if not path.exists():
            continue
        ours, known = path.read_bytes(), objects.get(there)
        if known is not None and known.data == ours:
            continue
        if name.endswith(".jsonl") and known is not None and not ours.startswith(known.data):
            raise RingriftError(
                f"{there} in the store was continued on another machine.",
                hint=f"ringrift cmaes --resume --out ANOTHER/{folder.name}",
            )
        if not objects.swap(there, ours, None if known is None else known.version):
            raise RingriftError(f"{there} was changed by another machine meanwhile.")


def pull_tuning(objects: ObjectStore, folder: Path, names: Sequence[str]) -> int:
    """Fetches a tuning run into a folder without one; returns the number of files.

    The journal proves itself when it is replayed.
    """
    if any((folder / name).exists() for name in names):
        return 0
    found = {name: objects.get(f"cmaes/{folder.name}/{name}") for name in names}
    whole = {name: one.data for name, one in found.items() if one is not None}
    for name, data in whole.items():
        write_whole(folder / name, data)
    return len(whole)


# ---- beside a run -------------------------------------------------------------------------------


@contextmanager
def mirroring(
    journal: Path, act: Callable[[], object], on_notice: Callable[[str], None]
) -> Iterator[None]:
    """Calls `act` in a thread whenever a journal has grown, and once more at the end of the block.

    A failure is reported once; the next call tries again.
    """
    ended, done, report = threading.Event(), (0, 0), Unrepeated(on_notice)

    def attempt() -> None:
        nonlocal done
        current = stamp(journal)
        if current == done:
            return
        try:
            act()
            done = current
            report.clear()
        except (RingriftError, OSError) as error:
            text = error.message if isinstance(error, RingriftError) else str(error)
            report(f"{text} The run continues; the store gets it later.")

    def work() -> None:
        while not ended.wait(EVERY_S):
            attempt()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        attempt()
