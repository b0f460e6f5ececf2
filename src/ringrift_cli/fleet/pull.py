"""Fetches shards and checkpoints from hosts: only missing ones, validated, exactly once.

    listed by the host, not here  ->  incoming/HOST/SHA256.part  ->  hashed on the local disk
      ->  validated  ->  its folder and manifest
      or  quarantine/HOST, and a strike against the host

A file counts once it is in its folder and manifest under its hash. The next pull resumes an
interrupted one, and no file is entered twice.
"""

from __future__ import annotations

import math
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ringrift_cli.errors import BadOutput, OutputError, RecordError, RingriftError, RulesMismatch
from ringrift_cli.fleet import listing, synced
from ringrift_cli.fleet.clean import tidy
from ringrift_cli.fleet.client import Client
from ringrift_cli.fleet.destination import Destination
from ringrift_cli.fleet.exchange import Exchange, Outcome, alone
from ringrift_cli.fleet.health import Health
from ringrift_cli.fleet.listing import ListedFile
from ringrift_cli.fleet.quarantine import Bad, kept_out, put_away
from ringrift_cli.fleet.state import log_event
from ringrift_cli.fleet.transfer import (
    ShouldStop,
    TransferMeter,
    TransferStopped,
    Waiting,
    Wanted,
    fetch,
    move_in,
    never,
)
from ringrift_cli.store.files import sync_folder
from ringrift_cli.store.hashes import sha256_of_file
from ringrift_cli.store.manifest import ShardEntry, add_to_manifest

INCOMING = "incoming"
MODELS = "models"  # within incoming/HOST
TRIES = 3  # attempts per file
BATCH_FILES = 64  # files per manifest update, which rewrites the manifest
BATCH_S = 5.0
SPARE = 100_000_000  # bytes of disk space to keep free
KINDS = ("safetensors", "json")  # files of a checkpoint; the JSON comes last

Have = Callable[[str | None, str], bool]  # pool, if known, and identity
Adopt = Callable[[Path, str | None], object]  # the JSON beside its weights; `RecordError` if bad


@dataclass
class Pulled(Outcome):
    """Result of a pull from one host."""

    listed: int = 0  # files on the host
    missing: int = 0  # of these, missing here at the start
    files: int = 0  # fetched
    bytes: int = 0  # fetched
    games: int = 0  # fetched
    folders: dict[str, int] = field(default_factory=dict)  # fetched games by local folder
    unsent: int = 0  # listed files that the host could not send
    damaged: int = 0  # damaged manifests and manifest lines on the host
    quarantined: list[Bad] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def right(self) -> bool:
        """Whether all listed files are here."""
        amiss = self.unsent or self.damaged or any(bad.kept_out for bad in self.quarantined)
        return self.error is None and not amiss


@dataclass(frozen=True)
class Missing:
    """Files of a host that are missing here."""

    listed: int
    listed_bytes: int
    lines: tuple[ListedFile, ...]
    kept_out: int  # listed files in quarantine
    wrong: tuple[listing.Wrong, ...]  # new invalid rows
    notes: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """Total size of the missing files."""
        return sum(line.size for line in self.lines)


def missing_shards(
    client: Client,
    state: Path,
    destination: Destination,
    roots: Sequence[str] = listing.ROOTS,
) -> Missing:
    """Compares the list of a host with the local shards; read-only. Errors as `listing.shards`."""
    found = listing.shards(client, destination.endings, roots)
    known, out = destination.known(), kept_out(state, client.host)
    missing = [line for name, line in found.lines.items() if name not in known]
    return Missing(
        len(found.lines),
        found.bytes,
        tuple(line for line in missing if line.sha256 not in out),
        sum(name in out for name in found.lines),
        tuple(wrong for wrong in found.wrong if wrong.key not in out),
        tuple(found.notes),
    )


def missing_models(client: Client, state: Path, have: Have) -> list[listing.ListedModel]:
    """Checkpoints of a host that are neither here nor in quarantine."""
    out = kept_out(state, client.host)
    return [
        model
        for model in listing.models(client, trained=True)
        if not have(model.pool, model.identity)
        and not any(wanted.sha256 in out for wanted in model.files.values())
    ]


def pull(exchange: Exchange, destination: Destination, *, streams: int = 1) -> Pulled:
    """Fetches all missing shards of a host; reconnects after a lost connection.

    Once all are here, jobs that ended well some time ago are removed there (clean.py).
    """
    pulled = Pulled(exchange.host)

    def work(client: Client) -> None:
        _Shards(client, exchange, pulled, destination).run(streams)
        if pulled.right and not pulled.stopped:
            tidy(client, exchange.state)

    return exchange.carry_out(pulled, work)


def pull_over(
    client: Client,
    state: Path,
    destination: Destination,
    *,
    should_stop: ShouldStop = never,
    roots: Sequence[str] = listing.ROOTS,
) -> Pulled:
    """Like `pull`, once, with an open client and only below `roots`; errors are propagated."""
    pulled, start = Pulled(client.host), time.monotonic()
    exchange = Exchange(client.host, lambda: client, state, should_stop=should_stop)
    try:
        _Shards(client, exchange, pulled, destination, roots).run(1)
    except TransferStopped:
        pulled.stopped = True
    pulled.seconds = round(time.monotonic() - start, 3)
    return pulled


def pull_models(exchange: Exchange, have: Have, adopt: Adopt) -> Pulled:
    """Fetches all missing checkpoints of a host; reconnects after a lost connection."""
    pulled = Pulled(exchange.host)
    return exchange.carry_out(
        pulled, lambda client: _Models(client, exchange, pulled).run(have, adopt)
    )


# ---- verified files ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fetched:
    """A fetched file; `proved` if it has the reported hash.

    absent: the host cannot send it; cut: incomplete; changed: corrupted in transit, as the host's
    own hash shows; bad: the reported hash is wrong. After cut and changed it is fetched again.
    """

    wanted: Wanted
    file: Path
    verdict: Literal["proved", "absent", "cut", "changed", "bad"]
    reason: str = ""
    found: str | None = None  # actual hash


def fetch_proved(
    client: Client,
    waiting: Waiting,
    folder: Path,
    meter: TransferMeter,
    should_stop: ShouldStop,
    tries: dict[str, int],
) -> Iterator[Fetched]:
    """Fetches all waiting files into `folder`, with at most `TRIES` attempts each.

    `tries` counts attempts by hash and may be shared by streams. `TransferStopped` if asked to
    stop; other errors as `transfer.fetch`.
    """
    while len(waiting):
        doubtful = []
        for held in fetch(client, waiting, folder, meter, should_stop):
            wanted = held.wanted
            if held.wrong is not None and not held.again:
                yield Fetched(wanted, held.part, "absent", held.wrong)
            elif held.wrong is None and (found := sha256_of_file(held.part)) == wanted.sha256:
                yield Fetched(wanted, held.part, "proved", found=found)
            elif held.wrong is None:
                doubtful.append((wanted, held.part, found))
            elif _may_try(wanted, tries):
                yield Fetched(wanted, held.part, "cut", held.wrong)
                waiting.give_back([wanted])
            else:
                yield Fetched(wanted, held.part, "bad", f"{held.wrong}, {TRIES} times")
        if should_stop():
            raise TransferStopped
        theirs = listing.hashes_there(client, [wanted.path for wanted, _, _ in doubtful])
        for wanted, part, found in doubtful:
            if _may_try(wanted, tries) and theirs[wanted.path] == wanted.sha256:
                reason = f"changed on the way: {found} here, {wanted.sha256} there"
                yield Fetched(wanted, part, "changed", reason, found)
                part.unlink(missing_ok=True)
                meter.expect(wanted.size)
                waiting.give_back([wanted])
            else:
                reason = f"it hashes to {found}, not to {wanted.sha256} as {client.host} says"
                yield Fetched(wanted, part, "bad", reason, found)


def _may_try(wanted: Wanted, tries: dict[str, int]) -> bool:
    tries[wanted.sha256] = tries.get(wanted.sha256, 0) + 1
    return tries[wanted.sha256] < TRIES


def check_room(folder: Path, size: int, host: str) -> None:
    """`OutputError` unless the disk of a folder has room for `size` more bytes."""
    free = shutil.disk_usage(folder).free
    if size and size + SPARE > free:
        raise OutputError(
            f"{size / 1e9:.2f} GB are to come from {host}, and {free / 1e9:.2f} GB are free at"
            f" {folder}; nothing was fetched.",
            hint="free some space, then the same command",
        )


class _Attempt:
    """One attempt to fetch files of a host."""

    def __init__(self, client: Client, exchange: Exchange, pulled: Pulled) -> None:
        self.client, self.exchange, self.pulled = client, exchange, pulled
        self.host, self.state = exchange.host, exchange.state
        self.folder = exchange.state / INCOMING / exchange.host
        self.health = Health(exchange.state)
        self.waiting = Waiting([])
        self.lock = threading.Lock()  # guards state shared by streams
        self._tries: dict[str, int] = {}

    def fetched(self, client: Client, folder: Path) -> Iterator[Fetched]:
        """Yields the waiting files that were fetched and verified; records the others."""
        meter, should_stop = self.exchange.meter, self.exchange.should_stop
        for one in fetch_proved(client, self.waiting, folder, meter, should_stop, self._tries):
            name = Path(one.wanted.path).name
            if one.verdict == "proved":
                yield one
            elif one.verdict == "bad":
                self.refuse(one.wanted, one.reason, one.found, one.file)
            elif one.verdict == "changed":
                self.put_away(one.wanted, one.reason, one.found, one.file, kept_out=False)
                log_event(self.state, "changed on the way", self.host, name)
            elif one.verdict == "cut":
                log_event(self.state, "cut short", self.host, f"{name}: {one.reason}")
            else:  # deleted or unreadable on the host
                with self.lock:
                    self.pulled.unsent += 1
                    self.pulled.notes.append(f"{name}: {one.reason}")
                log_event(self.state, "not sent", self.host, f"{name}: {one.reason}")

    def refuse(self, wanted: Wanted, reason: str, found: str | None, file: Path | None) -> None:
        """Puts a file in quarantine and counts a strike against the host."""
        self.put_away(wanted, reason, found, file)
        self.strike(f"{Path(wanted.path).name}: {reason}")

    def put_away(
        self,
        wanted: Wanted,
        reason: str,
        found: str | None,
        file: Path | None,
        *,
        kept_out: bool = True,
    ) -> None:
        name = Path(wanted.path).name
        bad = Bad(self.host, name, reason, wanted.sha256, found, wanted.path, kept_out=kept_out)
        with self.lock:
            self.pulled.quarantined.append(put_away(self.state, bad, file))

    def strike(self, reason: str) -> None:
        """Counts a strike; `BadOutput` if the host is now set aside for strikes."""
        log_event(self.state, "bad output", self.host, reason)
        self.health.bad_output(self.host, reason)
        if self.is_set_aside():
            raise BadOutput(
                f"{self.host} is set aside: its output fails the checks again and again, the last"
                f" time {reason}.",
                hint=f"ringrift sync status {self.host}, and {self.state}/quarantine/{self.host}",
            )

    def is_set_aside(self) -> bool:
        aside = self.health.set_aside(self.host)
        return aside is not None and aside[0] == math.inf


# ---- shards --------------------------------------------------------------------------------------


class _Shards(_Attempt):
    def __init__(
        self,
        client: Client,
        exchange: Exchange,
        pulled: Pulled,
        destination: Destination,
        roots: Sequence[str] = listing.ROOTS,
    ) -> None:
        super().__init__(client, exchange, pulled)
        self.destination, self.roots = destination, roots
        self.entries: dict[str, tuple[ListedFile, ShardEntry, Path]] = {}
        self._batch: list[tuple[Path, Path, ShardEntry, int]] = []
        self._batch_since = 0.0

    def run(self, streams: int) -> None:
        """Fetches all missing shards."""
        try:
            with alone(self.folder, self.host):
                self._run(streams)
        except BadOutput as error:
            if not self.is_set_aside():  # otherwise this error has been counted already
                self.health.bad_output(self.host, error.message)
            raise

    def _run(self, streams: int) -> None:
        found = missing_shards(self.client, self.state, self.destination, self.roots)
        pulled = self.pulled
        pulled.listed, pulled.missing = found.listed, max(pulled.missing, len(found.lines))
        pulled.notes, pulled.damaged, pulled.unsent = list(found.notes), len(found.notes), 0
        for wrong in found.wrong:
            bad = Bad(self.host, wrong.name, wrong.reason, wrong.key)
            pulled.quarantined.append(put_away(self.state, bad, None))
        if found.wrong:  # together they count as one strike
            self.strike(found.wrong[-1].reason)
        self._ask_entries(found.lines)
        lines = [line for line, _, _ in self.entries.values()]
        self._take_up(lines)
        self.waiting = Waiting(line.wanted for line in lines)
        try:
            self._all_streams(min(streams, len(lines)))
        finally:
            with self.lock:
                self._flush()
        if self.exchange.should_stop():
            raise TransferStopped
        if self.roots != listing.ROOTS:
            return
        for rest in self.folder.iterdir():  # leftovers of files that the host no longer has
            if rest.is_file() and not rest.name.startswith("."):
                rest.unlink()
        if pulled.unsent == 0:
            out = len(kept_out(self.state, self.host) & {*self.entries})
            confirmed = {"listed": found.listed, "here": found.listed - out}
            new = {"files": pulled.files, "bytes": pulled.bytes}
            synced.note(self.state, self.host, "pull", {**confirmed, **new})

    def _ask_entries(self, lines: Iterable[ListedFile]) -> None:
        """Requests the manifest entries and determines the local folder of each file."""
        for line, entry in listing.entries(self.client, list(lines)):
            try:
                if isinstance(entry, str):
                    raise RecordError(entry)
                self.entries[line.sha256] = (line, entry, self.destination.place(entry))
            except RecordError as error:
                self.refuse(line.wanted, error.message, None, None)

    def _take_up(self, lines: list[ListedFile]) -> None:
        """Resumes files that an earlier pull fetched but did not enter; checks the disk space."""
        rest = 0
        for line in lines:
            whole, part = self.folder / line.file, line.wanted.part(self.folder)
            if whole.exists():
                whole.replace(part)
            rest += max(line.size - (part.stat().st_size if part.exists() else 0), 0)
        self.exchange.meter.remain(rest)
        check_room(self.folder, rest, self.host)

    def _all_streams(self, streams: int) -> None:
        """Fetches with this client and `streams` - 1 further connections."""
        failed: list[RingriftError | TransferStopped] = []

        def beside() -> None:
            try:
                with self.exchange.opener() as client:
                    self._stream(client)
            except (RingriftError, TransferStopped) as error:
                failed.append(error)

        others = [
            threading.Thread(target=beside, daemon=True, name=f"{self.host} {number}")
            for number in range(1, streams)
        ]
        for thread in others:
            thread.start()
        try:
            self._stream(self.client)
        finally:
            for thread in others:
                thread.join()
        self._stream(self.client)  # files left over by a failed stream
        for error in failed:
            if isinstance(error, BadOutput):
                raise error

    def _stream(self, client: Client) -> None:
        for one in self.fetched(client, self.folder):
            self._accept(one, *self.entries[one.wanted.sha256])

    def _accept(self, one: Fetched, line: ListedFile, entry: ShardEntry, folder: Path) -> None:
        """Validates a file and adds it to the batch."""
        if self.destination.holds(line.sha256) or not self.destination.claim(line.sha256):
            one.file.unlink()  # another host has sent it
            return
        whole = one.file.replace(self.folder / line.file)
        try:
            self.destination.check(whole, entry, folder)
        except RulesMismatch as error:  # made by another version of ringrift: no strike
            self.destination.release(line.sha256)
            self.pulled.hint = error.hint
            self.put_away(line.wanted, error.message, one.found, whole)
            log_event(self.state, "other rules", self.host, f"{line.file}: {error.message}")
            return
        except RecordError as error:
            self.destination.release(line.sha256)
            self.refuse(line.wanted, error.message, one.found, whole)
            return
        with self.lock:
            self._batch.append((whole, folder, entry, line.size))
            if len(self._batch) == 1:
                self._batch_since = time.monotonic()
            if len(self._batch) >= BATCH_FILES or time.monotonic() - self._batch_since > BATCH_S:
                self._flush()

    def _flush(self) -> None:
        """Moves the batch to its folders and manifests; the caller holds the lock."""
        batch, self._batch = self._batch, []
        try:
            for folder in {folder for _, folder, _, _ in batch}:
                own = [one for one in batch if one[1] == folder]
                entries = [entry.received_now(self.host) for _, _, entry, _ in own]
                for whole, _, _, _ in own:
                    move_in(whole, folder / whole.name)
                sync_folder(folder)
                add_to_manifest(folder, *entries)
                self.pulled.files += len(own)
                self.pulled.bytes += sum(size for _, _, _, size in own)
                games = sum(entry.games for entry in entries)
                self.pulled.games += games
                self.pulled.folders[str(folder)] = self.pulled.folders.get(str(folder), 0) + games
        except RingriftError:
            for _, _, entry, _ in batch:
                self.destination.release(entry.sha256)
            raise


# ---- checkpoints ---------------------------------------------------------------------------------


class _Models(_Attempt):
    """Fetches checkpoints as opaque files; `adopt` validates them."""

    def run(self, have: Have, adopt: Adopt) -> None:
        folder = self.folder / MODELS
        with alone(self.folder, self.host):
            folder.mkdir(exist_ok=True)
            models = missing_models(self.client, self.state, have)
            files = {one.path: model for model in models for one in model.files.values()}
            self.pulled.listed += len(models)
            self.pulled.missing = max(self.pulled.missing, len(models))
            wanted = [model.files[kind] for model in models for kind in KINDS]
            self.exchange.meter.remain(sum(one.size for one in wanted))
            self.waiting = Waiting(wanted)
            arrived: dict[str, list[str]] = {}
            for one in self.fetched(self.client, folder):
                model = files[one.wanted.path]
                one.file.replace(folder / Path(one.wanted.path).name)
                arrived.setdefault(model.identity, []).append(one.wanted.path)
                if len(arrived[model.identity]) == len(KINDS):
                    self._adopt(model, folder, adopt)
            for rest in folder.iterdir():
                rest.unlink()
        new = {"models": self.pulled.files, "bytes": self.pulled.bytes}
        synced.note(self.state, self.host, "pull", new)

    def _adopt(self, model: listing.ListedModel, folder: Path, adopt: Adopt) -> None:
        paths = {kind: folder / Path(model.files[kind].path).name for kind in KINDS}
        try:
            adopt(paths["json"], model.pool)
        except RecordError as error:  # the two files of a checkpoint count as one strike
            for kind, path in paths.items():
                wanted = model.files[kind]
                self.put_away(wanted, error.message, wanted.sha256, path)
            self.strike(f"{model.files['json'].path}: {error.message}")
            return
        for path in paths.values():
            path.unlink()
        self.pulled.files += 1
        self.pulled.bytes += sum(wanted.size for wanted in model.files.values())
