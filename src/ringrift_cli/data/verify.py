"""Verifies game files: shards, records, conformance games, manifests, and folders of these."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import UNSET

from ringrift_cli.data.shard import MAGIC, read_searched
from ringrift_cli.errors import RecordError
from ringrift_cli.game import conformance_files
from ringrift_cli.game import layout as L
from ringrift_cli.game.conformance import Fault
from ringrift_cli.game.conformance_files import FileReport, Report
from ringrift_cli.game.record import FORMAT, GZIP_MAGIC
from ringrift_cli.store.hashes import sha256_of_file
from ringrift_cli.store.manifest import MANIFEST, SUFFIXES, read_manifest

Advance = Callable[[int, str], None]
UNCHECKED = {"quarantine", "incoming"}  # folders of files that failed a check, or are incomplete


class _LineKeys(msgspec.Struct):
    """Keys of a line by which games are recognised."""

    format: str | msgspec.UnsetType = UNSET
    steps: list[msgspec.Raw] | msgspec.UnsetType = UNSET


def game_files(paths: Sequence[Path]) -> list[Path]:
    """The files among `paths`, and the game files and manifests below the folders, sorted.

    Files in quarantine count only if named. `RecordError` for a folder without any.
    """
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        found = [
            one
            for one in sorted(path.rglob("[!.]*"))
            if not UNCHECKED & {*one.relative_to(path).parts} and _is_of_games(one)
        ]
        if not found:
            raise RecordError(
                f"{path} holds no game files: expected {', '.join(SUFFIXES)} or JSON lines."
            )
        files += found
    return list(dict.fromkeys(files))


def _is_of_games(path: Path) -> bool:
    """Whether a file of a folder is a manifest or holds games; `RecordError` if unreadable."""
    if not path.is_file():
        return False
    if path.name == MANIFEST or path.name.endswith(SUFFIXES):
        return True
    if not path.name.endswith((".jsonl", ".jsonl.gz")):
        return False
    try:
        with path.open("rb") as file:
            packed = file.read(2) == GZIP_MAGIC
        with gzip.open(path) if packed else path.open("rb") as file:
            kind = msgspec.json.decode(
                file.readline(conformance_files.LONGEST_LINE), type=_LineKeys
            )
    except (msgspec.DecodeError, EOFError, gzip.BadGzipFile, UnicodeDecodeError):
        return path.name.endswith(".gz")  # a damaged one is reported
    return kind.format == FORMAT or kind.steps is not UNSET


def verify(paths: Sequence[Path], *, jobs: int, advance: Advance) -> Report:
    """Checks files: every game is replayed, every file of a manifest hashed.

    `jobs` processes replay records and conformance games, all cores a shard. `advance` receives the
    number of bytes done since its last call, and the games done as text.
    """
    own = {path: check for path in paths if (check := _check_of(path)) is not None}
    others = [path for path in paths if path not in own]
    report = conformance_files.verify(others, jobs=jobs, advance=advance)
    reports = {file.path: file for file in report.files}
    games = report.games
    for path, check in own.items():
        reports[path] = check(path)
        games += reports[path].games
        advance(path.stat().st_size, f"{games} games")
    return Report([reports[path] for path in paths])


def _check_of(path: Path) -> Callable[[Path], FileReport] | None:
    """The check of a shard or manifest; None for other files."""
    if path.name == MANIFEST:
        return _check_manifest
    with path.open("rb") as file:
        found = file.read(len(MAGIC))
    return _check_shard if found.startswith(MAGIC.split(b" ", maxsplit=1)[0]) else None


def _check_shard(path: Path) -> FileReport:
    """Replays a shard and checks all its targets."""
    try:
        shard = read_searched(path)
    except RecordError as error:
        sentence = error.message.removeprefix(f"{path}: ").rstrip(".")
        return FileReport(path, faults=1, first=Fault("shard", sentence))
    header = shard.header
    earlier = header.games * (shard.rules != L.RULES)
    return FileReport(path, header.games, header.decisions, earlier)


def _check_manifest(path: Path) -> FileReport:
    """Checks that the files of a manifest are there, with the listed hashes."""
    faults = list(_manifest_faults(path))
    return FileReport(path, faults=len(faults), first=faults[0] if faults else None)


def _manifest_faults(path: Path) -> Iterator[Fault]:
    try:
        entries = read_manifest(path.parent)
    except RecordError as error:
        yield Fault("manifest", error.message.removeprefix(f"{path}, ").rstrip("."))
        return
    for entry in entries:
        file = path.parent / entry.file
        if not file.is_file():
            yield Fault("manifest", f"it lists {entry.file}, which is missing")
        elif sha256_of_file(file) != entry.sha256:
            yield Fault("manifest", f"it lists {entry.file} with another SHA-256 than the file has")
