"""Verifies games: shards, records, results files, saved games, manifests, and folders of these."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ringrift_cli.data.shard import read_searched
from ringrift_cli.errors import RecordError, RingriftError
from ringrift_cli.evaluate.results import Results
from ringrift_cli.game import conformance_files
from ringrift_cli.game import layout as L
from ringrift_cli.game.conformance import Fault
from ringrift_cli.game.conformance_files import FileReport, Report
from ringrift_cli.play.session import read_game
from ringrift_cli.review.sources import FileKind, kind_of
from ringrift_cli.store.hashes import sha256_of_file
from ringrift_cli.store.manifest import SUFFIXES, ShardEntry, read_manifest

Advance = Callable[[int, str], None]
UNCHECKED = {"quarantine", "incoming"}  # folders of files that failed a check, or are incomplete
EXPECTED = f"{', '.join(SUFFIXES)}, JSON lines, results files, saved games, or folders of these"


def game_files(paths: Sequence[Path]) -> tuple[dict[Path, FileKind], list[Path]]:
    """The game files and manifests among `paths` and, sorted, below the folders; and the others.

    The others are files of something else, and folders without any game. Files in quarantine count
    only if named. `RecordError` for a path that is missing, or neither file nor folder, and if
    there is no game file at all.
    """
    files: dict[Path, FileKind] = {}
    others: list[Path] = []
    for path in paths:
        if not path.is_dir():
            conformance_files.total_size([path])
        below = sorted(path.rglob("[!.]*")) if path.is_dir() else ()
        candidates = [one for one in below if _is_candidate(one, path)] if below else [path]
        kinds = {one: kind for one in candidates if one.is_file() and (kind := kind_of(one))}
        files |= kinds
        others += [] if kinds else [path]
    if not files:
        named = ", ".join(map(str, others[:3])) + ", …" * (len(others) > 3)
        raise RecordError(f"{named}: no games to verify. Expected {EXPECTED}.")
    return files, others


def _is_candidate(path: Path, folder: Path) -> bool:
    """Whether a path below a folder is a file to look into; journals may be empty."""
    if UNCHECKED & {*path.relative_to(folder).parts} or not path.is_file():
        return False
    return path.stat().st_size > 0 or path.name.endswith(SUFFIXES)


def verify(files: dict[Path, FileKind], *, jobs: int, advance: Advance) -> Report:
    """Checks files by their kind: every game is replayed, every file of a manifest hashed.

    `jobs` processes replay records and conformance games, all cores a shard. `advance` receives the
    number of bytes done since its last call, and the games done as text.
    """
    records = [path for path, kind in files.items() if kind not in CHECKS]
    report = conformance_files.verify(records, jobs=jobs, advance=advance)
    reports = {file.path: file for file in report.files}
    games = report.games
    for path, kind in files.items():
        if kind in CHECKS:
            reports[path] = CHECKS[kind](path)
            games += reports[path].games
            advance(path.stat().st_size, f"{games} games")
    return Report([reports[path] for path in files])


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
    try:
        entries = read_manifest(path.parent)
    except RecordError as error:
        sentence = error.message.removeprefix(f"{path}, ").rstrip(".")
        return FileReport(path, faults=1, first=Fault("manifest", sentence))
    faults = list(_manifest_faults(path.parent, entries))
    hashes = len(entries) - len(faults)
    return FileReport(path, hashes=hashes, faults=len(faults), first=faults[0] if faults else None)


def _manifest_faults(folder: Path, entries: Sequence[ShardEntry]) -> Iterator[Fault]:
    for entry in entries:
        file = folder / entry.file
        if not file.is_file():
            yield Fault("manifest", f"it lists {entry.file}, which is missing")
        elif sha256_of_file(file) != entry.sha256:
            yield Fault("manifest", f"it lists {entry.file} with another SHA-256 than the file has")


def _check_results(path: Path) -> FileReport:
    """Replays the games of a results file."""
    report = FileReport(path)
    try:
        with Results(path, read_only=True) as results:
            for number in results.numbers():
                try:
                    record = results.record(number)
                except (RingriftError, zlib.error) as error:
                    report.faults += 1
                    if report.first is None:
                        sentence = str(error).removeprefix(f"{path}: ").rstrip(".")
                        report.first, report.first_line = Fault("results", sentence), number
                else:
                    report.games += 1
                    report.steps += len(record.actions) if record else 0
                    report.earlier += record is not None and record.rules != L.RULES
    except RecordError as error:
        return FileReport(path, faults=1, first=Fault("results", error.message.rstrip(".")))
    return report


def _check_saved(path: Path) -> FileReport:
    """Replays a saved game."""
    try:
        game = read_game(path)
    except RingriftError as error:
        sentence = error.message.removeprefix(f"{path}: ").removeprefix(f"{path} is ")
        return FileReport(path, faults=1, first=Fault("saved", sentence.rstrip(".")))
    return FileReport(path, games=1, steps=len(game.actions))


CHECKS: dict[str, Callable[[Path], FileReport]] = {
    "shard": _check_shard,
    "manifest": _check_manifest,
    "results": _check_results,
    "saved game": _check_saved,
}
