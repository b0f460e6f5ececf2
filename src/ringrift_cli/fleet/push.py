"""Sends models and games to hosts; the champion pointer goes after the model files.

A file counts as sent once the host has hashed it; at the end the host hashes all model files again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ringrift_cli.errors import BadOutput, FleetError, OutputError, RemoteError
from ringrift_cli.fleet import listing, messages, synced
from ringrift_cli.fleet.client import Client
from ringrift_cli.fleet.exchange import Exchange, Outcome
from ringrift_cli.fleet.transfer import TransferStopped, put, read_file
from ringrift_cli.store.hashes import sha256_of_file
from ringrift_cli.store.manifest import ShardEntry, read_manifest

MODELS = "models"  # remote folder
MAX_POINTER = 16 << 20  # bytes
ENTER = 200  # entries per request


@dataclass(frozen=True)
class Sent:
    """A file to send."""

    source: Path
    path: str  # relative to the work folder of the host


@dataclass(frozen=True)
class Bundle:
    """The models of a pool: all files, then the optional champion pointer.

    `conflict` takes the host's and our pointer as bytes; returns why ours may not replace it, or
    None.
    """

    files: tuple[Sent, ...]
    pointer: Sent | None
    conflict: Callable[[bytes, bytes], str | None] = lambda theirs, ours: None

    @property
    def all_files(self) -> list[Sent]:
        """All files in sending order."""
        return [*self.files, *([self.pointer] if self.pointer is not None else [])]


@dataclass
class Pushed(Outcome):
    """Result of a push to one host."""

    files: int = 0  # new on the host
    bytes: int = 0  # transferred
    confirmed: dict[str, str] = field(default_factory=dict)  # SHA-256 computed by the host, by path


def push(
    exchange: Exchange,
    *,
    bundles: Sequence[Bundle] = (),
    games: Sequence[tuple[Path, str]] = (),
    endings: tuple[str, ...] = (),
) -> Pushed:
    """Sends models, and games as pairs of local and remote folder."""
    pushed = Pushed(exchange.host)

    def work(client: Client) -> None:
        for bundle in bundles:
            push_bundle(client, exchange, bundle, pushed)
        for folder, there in games:
            push_games(client, exchange, folder, there, endings, pushed)
        sent = {"files": pushed.files, "bytes": pushed.bytes, "confirmed": pushed.confirmed}
        synced.note(exchange.state, exchange.host, "push", sent)

    return exchange.carry_out(pushed, work)


def push_bundle(client: Client, exchange: Exchange, bundle: Bundle, pushed: Pushed) -> None:
    """Sends the models of a pool with an open client and adds to `pushed`.

    The host hashes all of them at the end; `BadOutput` if one differs. Client errors are
    propagated.
    """
    there = {path: digest for path, _, digest in listing.files(client, MODELS, hashed=True)}
    ours = {sent: sha256_of_file(sent.source) for sent in bundle.all_files}
    missing = [sent for sent, digest in ours.items() if there.get(sent.path) != digest]
    exchange.meter.remain(sum(sent.source.stat().st_size for sent in missing))
    for sent in missing:
        if exchange.should_stop():
            raise TransferStopped
        if sent == bundle.pointer and sent.path in there:
            _check_pointer(client, bundle, sent)
        pushed.bytes += put(
            client, sent.source, sent.path, ours[sent], exchange.meter, replace=True
        )
        pushed.files += 1
    theirs = listing.hashes_there(client, [sent.path for sent in ours])
    for sent, digest in ours.items():
        if theirs[sent.path] != digest:
            raise BadOutput(
                f"{client.host}: {sent.path} hashes to {theirs[sent.path]} there, and to {digest}"
                " here, although it was sent.",
                hint=f"look at the disk of {client.host}",
            )
        pushed.confirmed[sent.path] = digest


def _check_pointer(client: Client, bundle: Bundle, pointer: Sent) -> None:
    """`FleetError` if `conflict` forbids to replace the host's pointer."""
    theirs = read_file(client, pointer.path, MAX_POINTER)
    why = bundle.conflict(theirs, pointer.source.read_bytes())
    if why is not None:
        raise FleetError(
            f"{client.host}: {why}", hint=f"ringrift sync push {client.host} --replace"
        )


def push_games(
    client: Client,
    exchange: Exchange,
    folder: Path,
    there: str,
    endings: tuple[str, ...],
    pushed: Pushed,
) -> None:
    """Sends the games that the host's folder lacks, with their manifest entries.

    Includes games that this host made, since it keeps those in other folders.
    """
    known = listing.shards(client, endings, [there]).lines
    missing = [
        entry
        for entry in read_manifest(folder)
        if entry.sha256 not in known and entry.file.endswith(endings)
    ]
    files = [(entry, folder / entry.file) for entry in missing]
    exchange.meter.remain(sum(path.stat().st_size for _, path in files if path.exists()))
    waiting: list[ShardEntry] = []
    for entry, path in files:
        if exchange.should_stop():
            raise TransferStopped
        digest = entry.sha256
        try:
            pushed.bytes += put(client, path, f"{there}/{path.name}", digest, exchange.meter)
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
