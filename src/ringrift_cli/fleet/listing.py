"""What hosts say they have, held to what can be true before anything is done with it.

A host is asked over a link that works, and may still answer anything: names that lead elsewhere,
entries without end, sizes that fill a disk. What is not right is named and goes no further.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ringrift_cli.errors import BadOutput, RecordError
from ringrift_cli.fleet.link import Link
from ringrift_cli.fleet.transfer import Wanted
from ringrift_cli.store.hashes import sha256
from ringrift_cli.store.manifest import ShardEntry

ROOTS = ("jobs", "runs")
MOST_FILES = 1_000_000  # of one host
MOST_WRONG = 50  # lines that may be wrong before nothing of a host is believed
MOST_PATH = 1000  # characters
MOST_SIZE = 1 << 36  # bytes of one file
MOST_ENTRY = 64 << 10  # bytes of JSON
MOST_MODEL = {"json": 16 << 20, "safetensors": 1 << 32}  # bytes: they are read into memory
AT_ONCE = 500  # entries asked for in one request
SHA256 = re.compile(r"[0-9a-f]{64}")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
MODEL = re.compile(r"models/([a-z]+[0-9]*-[2-4]p(?:-pie)?)/([0-9a-f]{16})\.(json|safetensors)")
TRAINED = re.compile(r"jobs/[A-Za-z0-9._-]+/out/(?:.+/)?([0-9a-f]{16})\.(json|safetensors)")


@dataclass(frozen=True)
class Line:
    """A file that a host's manifest lists."""

    folder: str  # there
    file: str
    size: int
    sha256: str

    @property
    def wanted(self) -> Wanted:
        return Wanted(f"{self.folder}/{self.file}", self.size, self.sha256)


@dataclass(frozen=True)
class Wrong:
    """Something that a host said and that cannot be."""

    key: str  # a hash of what it said
    name: str
    reason: str


@dataclass
class Listing:
    """The files of a host, each once however many folders list it."""

    lines: dict[str, Line] = field(default_factory=dict)  # by SHA-256
    wrong: list[Wrong] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what the host itself found damaged

    @property
    def bytes(self) -> int:
        return sum(line.size for line in self.lines.values())


def shards(link: Link, endings: tuple[str, ...], roots: Iterable[str] = ROOTS) -> Listing:
    """All files of games that a host lists; errors of the link come through.

    `BadOutput` if it lists more than can be, or too much that cannot be.
    """
    found = Listing()
    count = 0
    for frame in link.stream("shards", roots=list(roots)):
        if isinstance(frame, bytes):
            raise BadOutput(f"{link.host} sent bytes where its list of shards was due.")
        if "end" in frame:
            found.notes += _damaged(frame.get("damaged"))
            break
        folder, lines = frame.get("folder"), frame.get("shards")
        if not isinstance(lines, list):
            raise BadOutput(f"{link.host} sent a list of shards that is none: {lines!r:.60}.")
        count += len(lines)
        if count > MOST_FILES:
            raise BadOutput(f"{link.host} lists more than {MOST_FILES:,} shards.")
        for line in lines:
            one = _line(folder, tuple(roots), line, endings)
            if isinstance(one, Line):
                found.lines.setdefault(one.sha256, one)
            elif one is not None:
                _refuse(link, found, [folder, line], one)
    return found


def _refuse(link: Link, listing: Listing, said: object, reason: str) -> None:
    text = json.dumps(said)
    key = sha256(text.encode())
    listing.wrong.append(Wrong(key, f"line-{key[:16]}", f"listed as {text:.200}: {reason}"))
    if len(listing.wrong) > MOST_WRONG:
        raise BadOutput(
            f"{link.host} lists more than {MOST_WRONG} files that cannot be, as {text:.120}."
        )


def _is_path(path: str, roots: tuple[str, ...]) -> bool:
    """Whether it is one of the roots or a path below them, as we would write it."""
    if len(path) > MOST_PATH or not path.isprintable():
        return False
    below = path in roots or path.startswith(tuple(f"{root}/" for root in roots))
    return below and not any(part in ("", ".", "..") for part in path.split("/"))


def _line(
    folder: object, roots: tuple[str, ...], line: object, endings: tuple[str, ...]
) -> Line | str | None:
    """A line of a listing, or what is wrong with it; None for files of other kinds."""
    if not isinstance(folder, str) or not _is_path(folder, roots):
        return "it lies in no folder of games"
    if not isinstance(line, list) or len(line) != 3:
        return "it is no name, size and hash"
    file, size, digest = line
    if not isinstance(digest, str) or not SHA256.fullmatch(digest):
        return "its hash is no SHA-256"
    if type(size) is not int or not 0 < size <= MOST_SIZE:
        return f"its size is not from 1 to {MOST_SIZE} bytes"
    if not isinstance(file, str) or not NAME.fullmatch(file):
        return "its name is none that a shard can have"
    if not file.endswith(endings):
        return None
    if file not in [f"{digest[:16]}{ending}" for ending in endings]:
        return f"its name is not the first digits of its hash and one of {', '.join(endings)}"
    return Line(folder, file, size, digest)


def _damaged(told: object) -> list[str]:
    """What a host says of manifests that it cannot read."""
    if not isinstance(told, list):
        return []
    texts = []
    for one in told[:MOST_WRONG]:
        if isinstance(one, dict):
            where = f"{one.get('folder')!s:.120}, line {one.get('line')!s:.12}"
            texts.append(_plain(f"{where} of its manifest: {one.get('why')!s:.200}"))
    return texts


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


# ---- entries ------------------------------------------------------------------------------------


def entries(link: Link, lines: Collection[Line]) -> Iterator[tuple[Line, ShardEntry | str]]:
    """The manifest entry of each line, or what is wrong with it."""
    by_folder: dict[str, list[Line]] = {}
    for line in lines:
        by_folder.setdefault(line.folder, []).append(line)
    for folder, own in by_folder.items():
        for first in range(0, len(own), AT_ONCE):
            yield from _entries(link, folder, own[first : first + AT_ONCE])


def _entries(link: Link, folder: str, lines: list[Line]) -> Iterator[tuple[Line, ShardEntry | str]]:
    missing = {line.sha256: line for line in lines}
    for frame in link.stream("lines", folder=folder, sha256s=list(missing)):
        if isinstance(frame, bytes):
            raise BadOutput(f"{link.host} sent bytes where manifest entries were due.")
        entry = frame.get("entry")
        if "end" in frame:
            break
        name = entry.get("sha256") if isinstance(entry, dict) else None
        line = missing.pop(name, None) if isinstance(name, str) else None
        if line is None or not isinstance(entry, dict):
            raise BadOutput(f"{link.host} sent an entry that nobody asked for: {frame!r:.120}.")
        yield line, _parsed(line, entry)
    for line in missing.values():
        yield line, "its manifest lists it, and has no entry for it"


def _parsed(line: Line, document: dict[str, Any]) -> ShardEntry | str:
    """The manifest entry of a file, or why the document is none."""
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
class Model:
    """A checkpoint of a host: both of its files, by ending."""

    identity: str
    pool: str | None  # None for one that was just trained: its JSON says it
    files: dict[str, Wanted]  # "json", "safetensors"


def models(link: Link, *, trained: bool) -> list[Model]:
    """The checkpoints of a host's registry, and with `trained` also those that its jobs made.

    Half ones are left out: they may be in the making.
    """
    found: dict[tuple[str, str], Model] = {}
    for path, size, digest in files(link, "models", hashed=True):
        if match := MODEL.fullmatch(path):
            _take(found, path.rpartition(".")[0], match[2], match[1], match[3], size, digest)
    if trained:
        there = [(path, size) for path, size, _ in files(link, "jobs", hashed=False)]
        names = [(path, size) for path, size in there if TRAINED.fullmatch(path)]
        hashes = hashes_there(link, [path for path, _ in names])
        for path, size in names:
            read = hashes.get(path)
            if (match := TRAINED.fullmatch(path)) and read is not None:
                _take(found, path.rpartition(".")[0], match[1], None, match[2], size, read)
    whole = [model for model in found.values() if len(model.files) == 2]
    return list({model.identity: model for model in reversed(whole)}.values())


def _take(
    found: dict[tuple[str, str], Model],
    stem: str,
    identity: str,
    pool: str | None,
    kind: str,
    size: int,
    digest: str,
) -> None:
    if size > MOST_MODEL[kind]:
        return
    model = found.setdefault((stem, identity), Model(identity, pool, {}))
    model.files[kind] = Wanted(f"{stem}.{kind}", size, digest)


def files(link: Link, root: str, *, hashed: bool) -> Iterator[tuple[str, int, str]]:
    """Path, size and hash (empty without `hashed`) of the files below a folder of a host."""
    count = 0
    for frame in link.stream("files", root=root, hash=hashed):
        if isinstance(frame, bytes):
            raise BadOutput(f"{link.host} sent bytes where its list of files was due.")
        if "end" in frame:
            return
        listed = frame.get("files")
        if not isinstance(listed, list):
            raise BadOutput(f"{link.host} sent a list of files that is none: {listed!r:.60}.")
        count += len(listed)
        if count > MOST_FILES:
            raise BadOutput(f"{link.host} lists more than {MOST_FILES:,} files.")
        for one in listed:
            if isinstance(one, list) and len(one) == 3 and _is_file(root, *one, hashed=hashed):
                yield one[0], one[1], one[2] or ""


def _is_file(root: str, path: object, size: object, digest: object, *, hashed: bool) -> bool:
    """Whether it is a row of a list of files; whoever works there may use any other name."""
    if not isinstance(path, str) or not _is_path(path, (root,)):
        return False
    right = isinstance(digest, str) and bool(SHA256.fullmatch(digest))
    return type(size) is int and 0 <= size <= MOST_SIZE and (right or not hashed)


def hashes_there(link: Link, paths: list[str]) -> dict[str, str | None]:
    """What files of a host hash to, read there now; None for one that is not there."""
    found: dict[str, str | None] = {}
    for first in range(0, len(paths), AT_ONCE):
        some = paths[first : first + AT_ONCE]
        reply = link.ask("hash", paths=some).get("sha256")
        if not isinstance(reply, dict):
            raise BadOutput(f"{link.host} sent no hashes: {reply!r:.80}.")
        for path in some:
            digest = reply.get(path)
            if digest is not None and not (isinstance(digest, str) and SHA256.fullmatch(digest)):
                raise BadOutput(f"{link.host} says that {path} hashes to {digest!r:.80}.")
            found[path] = digest
    return found
