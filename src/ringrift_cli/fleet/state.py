"""State of the fleet on this machine: one SQLite file, shared by processes and threads.

Each table holds JSON records of one type by key. Transactions are short and atomic.
`events.jsonl` beside it is a human-readable log.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from ringrift_cli.errors import OutputError, RecordError
from ringrift_cli.store.files import append
from ringrift_cli.store.locks import locked

FILE = "fleet.db"
EVENTS = "events.jsonl"
MAX_DETAIL = 2000  # characters of an event's detail
VERSION = 1
TABLES = ("health", "cost", "synced", "quarantine", "jobs", "ended", "drained")
# Files of format 1, imported when the database is created.
IMPORTED = {
    "health": "health.json",
    "cost": "ledger.json",
    "synced": "synced.json",
    "drained": "drained.json",
}
TIMEOUT_S = 60.0  # limit of waiting for other transactions

T = TypeVar("T")


@dataclass(frozen=True)
class StateTable(Generic[T]):
    """Table of records of type `kind` by key.

    `RecordError` if the database is damaged, `OutputError` if it cannot be written.
    """

    name: str
    kind: type[T]

    def read(self, state: Path) -> dict[str, T]:
        """All records; empty if there is no state yet."""
        if not state.exists():
            return {}
        with _connected(state) as database:
            return {key: self._decoded(state, key, value) for key, value in self._rows(database)}

    @contextmanager
    def changing(self, state: Path) -> Iterator[dict[str, T]]:
        """All records in one transaction; changes of the dict are stored at its end.

        An exception in the block rolls back.
        """
        with _connected(state) as database:
            database.execute("BEGIN IMMEDIATE")
            before = dict(self._rows(database))
            records = {key: self._decoded(state, key, value) for key, value in before.items()}
            yield records
            after = {key: msgspec.json.encode(value).decode() for key, value in records.items()}
            new = [(key, value) for key, value in after.items() if before.get(key) != value]
            database.executemany(f"INSERT OR REPLACE INTO {self.name} VALUES (?, ?)", new)
            gone = [(key,) for key in before.keys() - after.keys()]
            database.executemany(f"DELETE FROM {self.name} WHERE key = ?", gone)
            database.execute("COMMIT")

    def _rows(self, database: sqlite3.Connection) -> Iterator[tuple[str, str]]:
        return iter(database.execute(f"SELECT key, value FROM {self.name} ORDER BY key"))

    def _decoded(self, state: Path, key: str, value: str) -> T:
        try:
            return msgspec.json.decode(value, type=self.kind)
        except msgspec.MsgspecError as error:
            raise _damaged(state, f"{self.name} of {key!r}: {error}") from error


@contextmanager
def _connected(state: Path) -> Iterator[sqlite3.Connection]:
    """A connection for one transaction, rolled back unless committed."""
    try:
        state.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot write {state / FILE}: {error.strerror}.") from error
    try:
        path = state / FILE
        with closing(sqlite3.connect(path, TIMEOUT_S, isolation_level=None)) as database:
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                _create(state, database)
            elif version != VERSION:
                raise _damaged(state, f"its format is {version}, expected {VERSION}")
            yield database
    except sqlite3.OperationalError as error:
        raise OutputError(f"Cannot write {state / FILE}: {error}.", hint="df -h") from error
    except sqlite3.DatabaseError as error:
        raise _damaged(state, str(error)) from error


def _damaged(state: Path, why: str) -> RecordError:
    return RecordError(
        f"{state / FILE} cannot be read: {why}.",
        hint="restore it from a backup, or move it away to start without history",
    )


def _create(state: Path, database: sqlite3.Connection) -> None:
    """Creates the tables and imports the files of format 1."""
    with locked(state / f".{FILE}.lock"):
        if database.execute("PRAGMA user_version").fetchone()[0]:
            return  # created by another process
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("BEGIN IMMEDIATE")
        for name in TABLES:
            database.execute(f"CREATE TABLE {name} (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
        for table, key, value in _former(state):
            database.execute(f"INSERT INTO {table} VALUES (?, ?)", (key, json.dumps(value)))
        database.execute(f"PRAGMA user_version = {VERSION}")
        database.execute("COMMIT")


def _former(state: Path) -> Iterator[tuple[str, str, object]]:
    """Table, key and record from the files of format 1; its jobs are found on hosts."""
    for table, path in ((table, state / name) for table, name in IMPORTED.items()):
        if path.exists():
            try:
                yield from ((table, *row) for row in json.loads(path.read_bytes()).items())
            except (ValueError, AttributeError) as error:
                raise RecordError(f"{path} is damaged: {error}.", hint=f"rm {path}") from error
    for path in sorted(state.glob("quarantine/*/*.json")):
        with contextlib.suppress(ValueError):  # a quarantined file may be JSON too, or damaged
            document = json.loads(path.read_bytes())
            if isinstance(document, dict) and "claimed" in document:
                yield "quarantine", f"{path.parent.name}/{path.stem}", document


def log_event(state: Path, event: str, host: str | None = None, detail: str = "") -> None:
    """Appends a line to the event log; `OutputError` if it cannot be written."""
    time = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = {"time": time, "host": host, "event": event, "detail": detail[:MAX_DETAIL]}
    try:
        state.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot write {state / EVENTS}: {error.strerror}.") from error
    append(state / EVENTS, json.dumps(line).encode() + b"\n")
