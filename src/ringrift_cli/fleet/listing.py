"""Validation of file lists reported by hosts.

A reachable host may still send anything: paths outside its folders, endless lists, sizes that fill
the disk. Invalid rows are reported and not used.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ringrift_cli.errors import BadOutput, RecordError
from ringrift_cli.fleet import messages
from ringrift_cli.fleet.client import Client
from ringrift_cli.fleet.messages import EntryLine, FileRow, FileRows, ShardRow, ShardRows, ShardsEnd
from ringrift_cli.fleet.transfer import Wanted
from ringrift_cli.store.hashes import sha256
from ringrift_cli.store.manifest import ShardEntry
from ringrift_cli.text import printable

ROOTS = ("jobs", "runs")
MOST_FILES = 1_000_000  # per host
MOST_WRONG = 50  # invalid rows before the whole list is rejected
MOST_PATH = 1000  # characters
MOST_ENTRY = 64 << 10  # bytes of JSON
MOST_MODEL = {"json": 16 << 20, "safetensors": 1 << 32}  # bytes, since they are read into memory
AT_ONCE = 500  # entries per request
MODEL = re.compile(r"models/([a-z]+[0-9]*-[2-4]p(?:-pie)?)/([0-9a-f]{16})\.(json|safetensors)")
TRAINED = re.compile(r"jobs/[A-Za-z0-9._-]+/out/(?:.+/)?([0-9a-f]{16})\.(json|safetensors)")
_shard_row = msgspec.json.Decoder(ShardRow)
_file_row = msgspec.json.Decoder(FileRow)


@dataclass(frozen=True)
class ListedFile:
    """A file listed by a manifest of a host."""

    folder: str  # on the host
    file: str
    size: int
    sha256: str

    @property
    def wanted(self) -> Wanted:
        return Wanted(f"{self.folder}/{self.file}", self.size, self.sha256)


@dataclass(frozen=True)
class Wrong:
    """An invalid row of a host's list."""

    key: str  # hash of the row
    name: str
    reason: str


@dataclass
class Listing:
    """Files of a host; each once, even if several folders list it."""

    lines: dict[str, ListedFile] = field(default_factory=dict)  # by SHA-256
    wrong: list[Wrong] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # damaged manifests that the host reported

    @property
    def bytes(self) -> int:
        return sum(line.size for line in self.lines.values())


def shards(client: Client, endings: tuple[str, ...], roots: Iterable[str] = ROOTS) -> Listing:
    """All shards that a host lists; errors of the client are propagated.

    `BadOutput` for more than `MOST_FILES` rows or more than `MOST_WRONG` invalid ones.
    """
    found, below = Listing(), tuple(roots)
    count = 0
    for frame in client.stream(messages.Shards(roots=[*below])):
        if isinstance(frame, ShardsEnd):
            found.notes += [_note(one) for one in frame.damaged[:MOST_WRONG]]
            break
        if not isinstance(frame, ShardRows):
            raise BadOutput(f"{client.host} sent bytes where its list of shards was due.")
        count += len(frame.shards)
        if count > MOST_FILES:
            raise BadOutput(f"{client.host} lists more than {MOST_FILES:,} shards.")
        right = _is_path(frame.folder, below)
        for raw in frame.shards:
            try:
                row = _shard_row.decode(raw)
                why = _misnamed(row, endings) if right else "it lies in no folder of games"
            except (msgspec.MsgspecError, RecursionError) as error:
                row, why = None, str(error)
            if why is not None:
                _refuse(client, found, f"[{json.dumps(frame.folder)},{bytes(raw).decode()}]", why)
            elif row is not None and row.file.endswith(endings):  # other file types are ignored
                line = ListedFile(frame.folder, row.file, row.size, row.sha256)
                found.lines.setdefault(row.sha256, line)
    return found


def _misnamed(row: ShardRow, endings: tuple[str, ...]) -> str | None:
    if not row.file.endswith(endings) or row.file in [f"{row.sha256[:16]}{e}" for e in endings]:
        return None
    return f"its name is not the first digits of its hash and one of {', '.join(endings)}"


def _refuse(client: Client, listing: Listing, text: str, reason: str) -> None:
    key = sha256(text.encode())
    listing.wrong.append(Wrong(key, f"line-{key[:16]}", _plain(f"listed as {text:.200}: {reason}")))
    if len(listing.wrong) > MOST_WRONG:
        raise BadOutput(
            f"{client.host} lists more than {MOST_WRONG} files that cannot be, as"
            f" {_plain(text):.120}."
        )


def _is_path(path: str, roots: tuple[str, ...]) -> bool:
    """Whether a path is a root or a normalized path below one."""
    if len(path) > MOST_PATH or not path.isprintable():
        return False
    below = path in roots or path.startswith(tuple(f"{root}/" for root in roots))
    return below and not any(part in ("", ".", "..") for part in path.split("/"))


def _note(line: messages.DamagedLine) -> str:
    """Text for a manifest line that the host cannot read."""
    return _plain(f"{line.folder:.120}, line {line.line} of its manifest: {line.why:.200}")


def _plain(text: str) -> str:
    return printable(text, "?")


# ---- entries ------------------------------------------------------------------------------------


def entries(
    client: Client, lines: Collection[ListedFile]
) -> Iterator[tuple[ListedFile, ShardEntry | str]]:
    """The manifest entry of each line, or the reason why it is invalid."""
    by_folder: dict[str, list[ListedFile]] = {}
    for line in lines:
        by_folder.setdefault(line.folder, []).append(line)
    for folder, own in by_folder.items():
        for first in range(0, len(own), AT_ONCE):
            yield from _entries(client, folder, own[first : first + AT_ONCE])


def _entries(
    client: Client, folder: str, lines: list[ListedFile]
) -> Iterator[tuple[ListedFile, ShardEntry | str]]:
    missing = {line.sha256: line for line in lines}
    for frame in client.stream(messages.Entries(folder=folder, sha256s=[*missing])):
        if isinstance(frame, messages.Done):
            break
        if not isinstance(frame, EntryLine):
            raise BadOutput(f"{client.host} sent bytes where manifest entries were due.")
        entry = frame.entry
        line = missing.pop(str(entry.get("sha256")), None)
        if line is None:
            raise BadOutput(f"{client.host} sent an entry that nobody asked for: {entry!r:.120}.")
        yield line, _parsed(line, entry)
    for line in missing.values():
        yield line, "its manifest lists it, and has no entry for it"


def _parsed(line: ListedFile, document: dict[str, Any]) -> ShardEntry | str:
    """The manifest entry of a file, or the reason why the document is invalid."""
    try:
        if len(json.dumps(document)) > MOST_ENTRY:
            return f"its manifest entry is longer than {MOST_ENTRY} bytes"
        entry = ShardEntry.from_json(document)
    except RecursionError:
        return "its manifest entry is nested too deeply"
    except RecordError as error:
        return error.message
    if entry.file != line.file:
        return f"its manifest entry names the file {entry.file!r:.80}"
    return entry


# ---- models -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ListedModel:
    """A checkpoint of a host: its two files by extension."""

    identity: str
    pool: str | None  # None for one in a training run: its JSON names the pool
    files: dict[str, Wanted]  # "json", "safetensors"


def models(client: Client, *, trained: bool) -> list[ListedModel]:
    """The checkpoints of a host's registry; with `trained` also those in folders of its jobs.

    Incomplete ones are left out, since they may still be being written.
    """
    found: dict[tuple[str, str], ListedModel] = {}
    for path, size, digest in files(client, "models", hashed=True):
        if match := MODEL.fullmatch(path):
            _take(found, path.rpartition(".")[0], match[2], match[1], match[3], size, digest)
    if trained:
        there = [(path, size) for path, size, _ in files(client, "jobs", hashed=False)]
        names = [(path, size) for path, size in there if TRAINED.fullmatch(path)]
        hashes = hashes_there(client, [path for path, _ in names])
        for path, size in names:
            read = hashes.get(path)
            if (match := TRAINED.fullmatch(path)) and read is not None:
                _take(found, path.rpartition(".")[0], match[1], None, match[2], size, read)
    whole = [model for model in found.values() if len(model.files) == 2]
    return list({model.identity: model for model in reversed(whole)}.values())


def _take(
    found: dict[tuple[str, str], ListedModel],
    stem: str,
    identity: str,
    pool: str | None,
    kind: str,
    size: int,
    digest: str,
) -> None:
    if size > MOST_MODEL[kind]:
        return
    model = found.setdefault((stem, identity), ListedModel(identity, pool, {}))
    model.files[kind] = Wanted(f"{stem}.{kind}", size, digest)


def files(client: Client, root: str, *, hashed: bool) -> Iterator[tuple[str, int, str]]:
    """Path, size in bytes and SHA-256 ("" without `hashed`) of the files below a host's folder.

    Invalid rows are skipped, since other programs may use any file name.
    """
    count = 0
    for frame in client.stream(messages.Files(root=root, hash=hashed)):
        if isinstance(frame, messages.Done):
            return
        if not isinstance(frame, FileRows):
            raise BadOutput(f"{client.host} sent bytes where its list of files was due.")
        count += len(frame.files)
        if count > MOST_FILES:
            raise BadOutput(f"{client.host} lists more than {MOST_FILES:,} files.")
        for raw in frame.files:
            try:
                row = _file_row.decode(raw)
            except (msgspec.MsgspecError, RecursionError):
                continue
            if _is_path(row.path, (root,)) and (row.sha256 is not None or not hashed):
                yield row.path, row.size, row.sha256 or ""


def hashes_there(client: Client, paths: list[str]) -> dict[str, str | None]:
    """SHA-256 of files of a host, computed there now; None for a missing one."""
    found: dict[str, str | None] = {}
    for first in range(0, len(paths), AT_ONCE):
        some = paths[first : first + AT_ONCE]
        there = client.ask(messages.Hash(paths=some)).sha256
        found |= {path: there.get(path) for path in some}
    return found
