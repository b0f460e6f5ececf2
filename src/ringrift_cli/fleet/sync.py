"""Bringing what hosts have made here: only what is missing, checked, and exactly once.

    there, listed, not here  ->  incoming/HOST/SHA256.part  ->  hashed again where it lies
      ->  checked by whoever knows games  ->  its folder, its manifest
      or  quarantine/HOST, and the host has a strike against it

A file counts when it is in its folder, under its hash, in the manifest. Whatever stops this, at
whatever point, the next pull goes on there and no file comes twice.
"""

from __future__ import annotations

import math
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from ringrift_cli.errors import BadOutput, OutputError, RecordError, RingriftError, RulesMismatch
from ringrift_cli.fleet import listing, synced
from ringrift_cli.fleet.attempts import Opener, ShouldStop, alone, carried_out, never
from ringrift_cli.fleet.client import Client
from ringrift_cli.fleet.destination import Destination
from ringrift_cli.fleet.health import Health, log_event
from ringrift_cli.fleet.listing import Line
from ringrift_cli.fleet.quarantine import Bad, kept_out, put_away
from ringrift_cli.fleet.transfer import (
    Held,
    Meter,
    Stopped,
    Waiting,
    fetch,
    move_in,
)
from ringrift_cli.store.files import sync_folder
from ringrift_cli.store.hashes import sha256_of_file
from ringrift_cli.store.manifest import ShardEntry, add_to_manifest

INCOMING = "incoming"
TRIES = 3  # of a file that does not come as it was
BATCH_FILES = 64  # entered in the manifest together, which is written whole each time
BATCH_S = 5.0
SPARE = 100_000_000  # bytes of the disk that stay free


@dataclass
class Pulled:
    """What a pull from one host came to."""

    host: str
    listed: int = 0  # files that the host has
    missing: int = 0  # of them, when it began
    files: int = 0  # that are here now and were not before
    bytes: int = 0  # of these
    games: int = 0  # of these
    unsent: int = 0  # that the host lists and could not send
    damaged: int = 0  # manifests and lines of them that the host itself cannot read
    quarantined: list[Bad] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    error: str | None = None
    hint: str | None = None
    stopped: bool = False
    seconds: float = 0.0

    @property
    def right(self) -> bool:
        """Whether nothing is amiss: all that the host lists is here."""
        if self.unsent or self.damaged:
            return False
        return self.error is None and not any(bad.kept_out for bad in self.quarantined)

    def document(self) -> dict[str, Any]:
        """For JSON."""
        plain = {key: getattr(self, key) for key in self.__dataclass_fields__}
        plain["quarantined"] = msgspec.to_builtins(self.quarantined)
        return {**plain, "seconds": round(self.seconds, 3)}


@dataclass(frozen=True)
class Plan:
    """What a host has and is not here."""

    listed: int
    listed_bytes: int
    lines: tuple[Line, ...]  # missing here
    kept_out: int  # of what it has, in quarantine
    wrong: tuple[listing.Wrong, ...]  # new ones
    notes: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """Of what is missing."""
        return sum(line.size for line in self.lines)


def plan(
    client: Client, state: Path, destination: Destination, roots: Sequence[str] = listing.ROOTS
) -> Plan:
    """Asks a host what it has and compares; nothing is changed. Errors as `listing.shards`."""
    found = listing.shards(client, destination.endings, roots)
    known, out = destination.known(), kept_out(state, client.host)
    missing = [line for name, line in found.lines.items() if name not in known]
    return Plan(
        len(found.lines),
        found.bytes,
        tuple(line for line in missing if line.sha256 not in out),
        sum(name in out for name in found.lines),
        tuple(wrong for wrong in found.wrong if wrong.key not in out),
        tuple(found.notes),
    )


def pull(
    host: str,
    opener: Opener,
    state: Path,
    destination: Destination,
    *,
    meter: Meter | None = None,
    streams: int = 1,
    should_stop: ShouldStop = never,
) -> Pulled:
    """Brings all that a host has and is not here; what it came to, whatever that is.

    A link that breaks is opened again, and the pull goes on where it was. A host that is set aside
    is not asked.
    """
    pulled, own = Pulled(host), Meter(whole=meter)

    def work(client: Client) -> None:
        _Pull(client, state, destination, own, pulled, should_stop).run(opener, streams)

    return carried_out(pulled, opener, state, work, lambda: own.done, should_stop)


def pull_over(
    client: Client,
    state: Path,
    destination: Destination,
    *,
    meter: Meter | None = None,
    should_stop: ShouldStop = never,
    entered: Callable[[list[ShardEntry]], None] = lambda entries: None,
    roots: Sequence[str] = listing.ROOTS,
) -> Pulled:
    """The same over a link that is open, once; errors of the link and of the host come through.

    `entered` is told the manifest entries of what has come as soon as it counts, also before an
    error. Only what lies below the `roots` is brought.
    """
    pulled, start = Pulled(client.host), time.monotonic()
    try:
        attempt = _Pull(client, state, destination, meter or Meter(), pulled, should_stop)
        attempt.entered, attempt.roots = entered, roots
        attempt.run(None, 1)
    except Stopped:
        pulled.stopped = True
    pulled.seconds = time.monotonic() - start
    return pulled


class _Pull:
    """One attempt to bring what a host has."""

    def __init__(
        self,
        client: Client,
        state: Path,
        destination: Destination,
        meter: Meter,
        pulled: Pulled,
        should_stop: ShouldStop,
    ) -> None:
        self.host, self.client, self.state, self.destination = (
            client.host,
            client,
            state,
            destination,
        )
        self.meter, self.pulled, self.should_stop = meter, pulled, should_stop
        self.folder = state / INCOMING / client.host
        self.entries: dict[str, tuple[Line, ShardEntry, Path]] = {}
        self.waiting = Waiting([])
        self.health = Health(state)
        self.entered: Callable[[list[ShardEntry]], None] = lambda entries: None
        self.roots: Sequence[str] = listing.ROOTS
        self._lock = threading.Lock()  # of what the streams share: all below
        self._batch: list[tuple[Path, Path, ShardEntry, int]] = []
        self._batch_since = 0.0
        self._tries: dict[str, int] = {}

    def run(self, opener: Opener | None, streams: int) -> None:
        """Until all is here, or an error ends it."""
        try:
            self._run(opener, streams)
        except BadOutput as error:
            if not self._set_aside():  # for this very reason, then
                self.health.bad_output(self.host, error.message)
            raise

    def _run(self, opener: Opener | None, streams: int) -> None:
        with alone(self.folder, self.host):
            found = plan(self.client, self.state, self.destination, self.roots)
            self.pulled.listed = found.listed
            self.pulled.missing = max(self.pulled.missing, len(found.lines))
            self.pulled.notes, self.pulled.unsent = list(found.notes), 0
            self.pulled.damaged = len(found.notes)
            self._note_wrong(found.wrong)
            self._ask_entries(found.lines)
            lines = [line for line, _, _ in self.entries.values()]
            self._take_up(lines)
            self.waiting = Waiting(line.wanted for line in lines)
            try:
                self._all_streams(opener, min(streams, len(lines)))
            finally:
                with self._lock:
                    self._flush()
            if self.should_stop():
                raise Stopped
            if self.roots == listing.ROOTS:  # all is here: the rest is of what is gone there
                for rest in self.folder.iterdir():
                    if rest.is_file() and not rest.name.startswith("."):
                        rest.unlink()
        if self.pulled.unsent == 0 and self.roots == listing.ROOTS:
            out = len(kept_out(self.state, self.host) & {*self.entries})
            confirmed = {"listed": found.listed, "here": found.listed - out}
            new = {"files": self.pulled.files, "bytes": self.pulled.bytes}
            synced.note(self.state, self.host, "pull", {**confirmed, **new})

    # ---- before ---------------------------------------------------------------------------------

    def _note_wrong(self, wrong: Iterable[listing.Wrong]) -> None:
        """Notes lines that cannot be; all of them are one strike."""
        last = None
        for last in wrong:
            bad = Bad(self.host, last.name, last.reason, last.key)
            self.pulled.quarantined.append(put_away(self.state, bad, None))
        if last is not None:
            self._strike(last.reason)

    def _ask_entries(self, lines: Iterable[Line]) -> None:
        """What the manifest of the host says of each file, and where that one belongs."""
        for line, entry in listing.entries(self.client, list(lines)):
            try:
                if isinstance(entry, str):
                    raise RecordError(entry)
                self.entries[line.sha256] = (line, entry, self.destination.place(entry))
            except RecordError as error:
                self._refuse(line, error.message, None, None)

    def _take_up(self, lines: list[Line]) -> None:
        """Goes on with what an earlier pull had checked and could not enter any more."""
        rest = 0
        for line in lines:
            whole, part = self.folder / line.file, line.wanted.part(self.folder)
            if whole.exists():
                whole.replace(part)
            have = part.stat().st_size if part.exists() else 0
            rest += max(line.size - have, 0)
        self.meter.remain(rest)
        free = shutil.disk_usage(self.folder).free
        if rest + SPARE > free:
            raise OutputError(
                f"{rest / 1e9:.2f} GB are to come from {self.host}, and {free / 1e9:.2f} GB are"
                f" free at {self.folder}; nothing was fetched.",
                hint="free some space, then the same command",
            )

    # ---- streams --------------------------------------------------------------------------------

    def _all_streams(self, opener: Opener | None, streams: int) -> None:
        """Fetches on this link, and on others beside it."""
        failed: list[RingriftError | Stopped] = []

        def beside() -> None:
            assert opener is not None
            try:
                with opener() as client:
                    self._stream(client)
            except (RingriftError, Stopped) as error:
                failed.append(error)

        others = [
            threading.Thread(target=beside, daemon=True, name=f"{self.host} {number}")
            for number in range(1, streams if opener is not None else 1)
        ]
        for thread in others:
            thread.start()
        try:
            self._stream(self.client)
        finally:
            for thread in others:
                thread.join()
        self._stream(self.client)  # what a stream that broke has left
        bad = [error for error in failed if isinstance(error, BadOutput)]
        if bad:
            raise bad[0]

    def _stream(self, client: Client) -> None:
        """Fetches and settles until nothing waits."""
        while len(self.waiting):
            doubtful = []
            for held in fetch(client, self.waiting, self.folder, self.meter, self.should_stop):
                found = self._settle(held)
                if found is not None:
                    doubtful.append((held, found))
            if self.should_stop():
                raise Stopped
            if doubtful:
                self._look_again(client, doubtful)

    def _settle(self, held: Held) -> str | None:
        """What becomes of a file that has come; the hash it has if that is not the claimed one."""
        line, entry, folder = self.entries[held.wanted.sha256]
        if held.wrong is not None:
            self._incomplete(line, held)
            return None
        found = sha256_of_file(held.part)
        if found != line.sha256:
            return found
        if self.destination.holds(line.sha256) or not self.destination.claim(line.sha256):
            held.part.unlink()  # another host had it too
            return None
        whole = held.part.replace(self.folder / line.file)
        try:
            self.destination.check(whole, entry, folder)
        except RecordError as error:
            self.destination.release(line.sha256)
            if isinstance(
                error, RulesMismatch
            ):  # an older ringrift there, and no fault of the host
                self.pulled.hint = error.hint
                self._put_away(line, error.message, found, whole, kept_out=True)
                log_event(self.state, "other rules", self.host, f"{line.file}: {error.message}")
            else:
                self._refuse(line, error.message, found, whole)
            return None
        with self._lock:
            self._batch.append((whole, folder, entry, line.size))
            if len(self._batch) == 1:
                self._batch_since = time.monotonic()
            if len(self._batch) >= BATCH_FILES or time.monotonic() - self._batch_since > BATCH_S:
                self._flush()
        return None

    def _flush(self) -> None:
        """Moves what is right to its folder and enters it; the caller holds the lock."""
        batch, self._batch = self._batch, []
        folders = {folder for _, folder, _, _ in batch}
        try:
            for folder in folders:
                own = [one for one in batch if one[1] == folder]
                entries = []
                for whole, _, entry, _ in own:
                    move_in(whole, folder / whole.name)
                    entries.append(entry.received_now(self.host))
                sync_folder(folder)
                add_to_manifest(folder, *entries)
                self.pulled.files += len(own)
                self.pulled.bytes += sum(size for _, _, _, size in own)
                self.pulled.games += sum(entry.games for entry in entries)
                self.entered(entries)
        except RingriftError:
            for _, _, entry, _ in batch:
                self.destination.release(entry.sha256)
            raise

    # ---- what is not right ----------------------------------------------------------------------

    def _incomplete(self, line: Line, held: Held) -> None:
        tries = self._tries[line.sha256] = self._tries.get(line.sha256, 0) + 1
        if held.again and tries < TRIES:
            log_event(self.state, "cut short", self.host, f"{line.file}: {held.wrong}")
            self.waiting.give_back([held.wanted])
        elif held.again:
            self._refuse(line, f"{held.wrong}, {tries} times", None, held.part)
        else:  # it was deleted there, or cannot be read
            self.pulled.unsent += 1
            self.pulled.notes.append(f"{line.file}: {held.wrong}")
            log_event(self.state, "not sent", self.host, f"{line.file}: {held.wrong}")

    def _look_again(self, client: Client, doubtful: list[tuple[Held, str]]) -> None:
        """Asks the host what it holds itself of files that came with another hash.

        If that is the claimed one, they changed on the way, and come once more.
        """
        theirs = listing.hashes_there(client, [held.wanted.path for held, _ in doubtful])
        for held, found in doubtful:
            line, _, _ = self.entries[held.wanted.sha256]
            tries = self._tries[line.sha256] = self._tries.get(line.sha256, 0) + 1
            if theirs[held.wanted.path] == line.sha256 and tries < TRIES:
                reason = f"changed on the way: it hashes to {found} here, to {line.sha256} there"
                self._put_away(line, reason, found, held.part, kept_out=False)
                log_event(self.state, "changed on the way", self.host, line.file)
                self.meter.expect(line.size)
                self.waiting.give_back([held.wanted])
            else:
                reason = f"it hashes to {found}, not to {line.sha256} as {self.host} says"
                self._refuse(line, reason, found, held.part)

    def _refuse(self, line: Line, reason: str, found: str | None, file: Path | None) -> None:
        """Keeps a file out for good, and counts it against the host."""
        self._put_away(line, reason, found, file, kept_out=True)
        self._strike(f"{line.file}: {reason}")

    def _put_away(
        self, line: Line, reason: str, found: str | None, file: Path | None, *, kept_out: bool
    ) -> None:
        path = line.wanted.path
        bad = Bad(self.host, line.file, reason, line.sha256, found, path, kept_out=kept_out)
        with self._lock:
            self.pulled.quarantined.append(put_away(self.state, bad, file))

    def _strike(self, reason: str) -> None:
        """One more time that the host's output was bad; `BadOutput` if it was once too often."""
        log_event(self.state, "bad output", self.host, reason)
        self.health.bad_output(self.host, reason)
        if self._set_aside():
            raise BadOutput(
                f"{self.host} is set aside: its output fails the checks again and again, the last"
                f" time {reason}.",
                hint=f"look at quarantine/{self.host} in {self.state}",
            )

    def _set_aside(self) -> bool:
        aside = self.health.set_aside(self.host)
        return aside is not None and aside[0] == math.inf
