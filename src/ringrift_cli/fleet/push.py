"""Bringing to hosts what they need: models with the pointer to the champion last, and games.

Nothing counts as brought before the host has hashed what it holds, and at the end it reads all of a
model once more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ringrift_cli.errors import BadOutput, FleetError, OutputError, RemoteError
from ringrift_cli.fleet import listing, messages, synced
from ringrift_cli.fleet.attempts import Opener, ShouldStop, carried_out, never
from ringrift_cli.fleet.client import Client
from ringrift_cli.fleet.health import log_event
from ringrift_cli.fleet.transfer import Meter, Stopped, put
from ringrift_cli.store.hashes import sha256_of_file
from ringrift_cli.store.manifest import ShardEntry, read_manifest

MODELS = "models"  # the folder there
MOST_POINTER = 16 << 20  # bytes
ENTER = 200  # entries of one request


@dataclass(frozen=True)
class Sent:
    """A file for a host."""

    source: Path
    path: str  # there, from its work folder


@dataclass(frozen=True)
class Bundle:
    """The models of a pool: all files first, then the pointer, if there is one.

    `conflict` says why a host's pointer may not give way to ours, both as bytes; None if it may.
    """

    files: tuple[Sent, ...]
    pointer: Sent | None
    conflict: Callable[[bytes, bytes], str | None] = lambda theirs, ours: None


@dataclass
class Pushed:
    """What a push to one host came to."""

    host: str
    files: int = 0  # that were not there
    bytes: int = 0  # that went over
    confirmed: dict[str, str] = field(default_factory=dict)  # SHA-256 that the host read, by path
    error: str | None = None
    hint: str | None = None
    stopped: bool = False
    seconds: float = 0.0

    @property
    def right(self) -> bool:
        """Whether nothing is amiss."""
        return self.error is None

    def document(self) -> dict[str, Any]:
        """For JSON."""
        plain = {key: getattr(self, key) for key in self.__dataclass_fields__}
        return {**plain, "seconds": round(self.seconds, 3)}


def push(
    host: str,
    opener: Opener,
    state: Path,
    *,
    bundles: Sequence[Bundle] = (),
    games: Sequence[tuple[Path, str]] = (),
    endings: tuple[str, ...] = (),
    meter: Meter | None = None,
    should_stop: ShouldStop = never,
) -> Pushed:
    """Brings models, and the games of some folders to folders there; what it came to.

    A link that breaks is opened again. A host that is set aside is not asked.
    """
    pushed, own = Pushed(host), Meter(whole=meter)

    def work(client: Client) -> None:
        for bundle in bundles:
            push_bundle(client, bundle, pushed, own, should_stop)
        for folder, there in games:
            push_games(client, folder, there, endings, pushed, own, should_stop)
        _note(state, pushed)

    return carried_out(pushed, opener, state, work, lambda: own.done, should_stop)


def _note(state: Path, pushed: Pushed) -> None:
    told = {"files": pushed.files, "bytes": pushed.bytes, "confirmed": pushed.confirmed}
    synced.note(state, pushed.host, "push", told)


def push_model(client: Client, state: Path, bundle: Bundle, meter: Meter | None = None) -> Pushed:
    """Brings the models of a pool over a link that is open; errors come through."""
    pushed, start = Pushed(client.host), time.monotonic()
    push_bundle(client, bundle, pushed, meter or Meter(), never)
    _note(state, pushed)
    if pushed.files:
        log_event(state, "pushed", client.host, f"{pushed.files} files of models")
    pushed.seconds = time.monotonic() - start
    return pushed


def push_bundle(
    client: Client, bundle: Bundle, pushed: Pushed, meter: Meter, should_stop: ShouldStop
) -> None:
    """The same, adding to what was pushed already."""
    there = {path: digest for path, _, digest in listing.files(client, MODELS, hashed=True)}
    ours = {sent: sha256_of_file(sent.source) for sent in bundle.files}
    missing = [sent for sent, digest in ours.items() if there.get(sent.path) != digest]
    meter.remain(sum(sent.source.stat().st_size for sent in missing))
    for sent in missing:
        if should_stop():
            raise Stopped
        _put(client, sent, ours[sent], pushed, meter)
    if bundle.pointer is not None:
        ours[bundle.pointer] = digest = sha256_of_file(bundle.pointer.source)
        if there.get(bundle.pointer.path) not in (None, digest):
            _check_pointer(client, bundle)
        if there.get(bundle.pointer.path) != digest:
            meter.remain(bundle.pointer.source.stat().st_size)
            _put(client, bundle.pointer, digest, pushed, meter)
    confirm(client, ours, pushed)


def _put(client: Client, sent: Sent, digest: str, pushed: Pushed, meter: Meter) -> None:
    pushed.bytes += put(client, sent.source, sent.path, digest, meter, replace=True)
    pushed.files += 1


def _check_pointer(client: Client, bundle: Bundle) -> None:
    """`FleetError` if the host's pointer tells of something that ours does not know."""
    assert bundle.pointer is not None
    theirs = b""
    for frame in client.stream(messages.Send(path=bundle.pointer.path)):
        theirs += frame if isinstance(frame, bytes) else b""
        if len(theirs) > MOST_POINTER:
            raise BadOutput(f"{client.host}: {bundle.pointer.path} is larger than can be.")
    why = bundle.conflict(theirs, bundle.pointer.source.read_bytes())
    if why is not None:
        raise FleetError(
            f"{client.host}: {why}", hint=f"ringrift sync push {client.host} --replace"
        )


def confirm(client: Client, ours: dict[Sent, str], pushed: Pushed) -> None:
    """Has the host read all files once more; `BadOutput` if one of them is not ours."""
    theirs = listing.hashes_there(client, [sent.path for sent in ours])
    for sent, digest in ours.items():
        if theirs[sent.path] != digest:
            raise BadOutput(
                f"{client.host}: {sent.path} hashes to {theirs[sent.path]} there, and to {digest}"
                f" here, although it was sent.",
                hint=f"look at the disk of {client.host}",
            )
        pushed.confirmed[sent.path] = digest


def push_games(
    client: Client,
    folder: Path,
    there: str,
    endings: tuple[str, ...],
    pushed: Pushed,
    meter: Meter,
    should_stop: ShouldStop,
) -> None:
    """Brings the games of a folder that the host's does not have, with their manifest entries.

    Also those that the host itself made: they are elsewhere there.
    """
    known = listing.shards(client, endings, [there]).lines
    missing = [
        entry
        for entry in read_manifest(folder)
        if entry.sha256 not in known and entry.file.endswith(endings)
    ]
    files = [(entry, folder / entry.file) for entry in missing]
    meter.remain(sum(path.stat().st_size for _, path in files if path.exists()))
    waiting: list[ShardEntry] = []
    for entry, path in files:
        if should_stop():
            raise Stopped
        digest = entry.sha256
        try:
            pushed.bytes += put(client, path, f"{there}/{path.name}", digest, meter)
        except RemoteError as error:
            if error.kind == "hash" and sha256_of_file(path) != digest:
                raise OutputError(
                    f"{path} is damaged: it does not hash to {digest}, as its manifest says.",
                    hint="ringrift sync verify",
                ) from error
            raise
        pushed.confirmed[f"{there}/{path.name}"] = digest
        waiting.append(entry)
        if len(waiting) >= ENTER or entry is missing[-1]:
            client.ask(messages.Enter(folder=there, entries=waiting))
            pushed.files += len(waiting)
            waiting = []
