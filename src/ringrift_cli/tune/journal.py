"""The files of a run, written so that kill -9 at any moment loses no more than a generation.

    settings.json   what decides the run; written first, never changed
    journal.jsonl   a line for each generation: every fitness the optimiser was told, and a hash of
                    the state it had then
    log.csv         the same for people and spreadsheets; made anew when a run goes on
    verdict.json    the final test, and whether the result was accepted
    profile.yaml    the accepted weights, unless they were to go elsewhere

The optimiser is a function of the settings and of what it is told, so settings and journal are its
full state: telling a new one the same again brings it back bit for bit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from ringrift_cli.errors import RecordError, RingriftError, UsageError
from ringrift_cli.store.files import append, write_json, write_whole
from ringrift_cli.store.journal import JournalFile
from ringrift_cli.store.locks import locked
from ringrift_cli.tune.panel import KINDS

SETTINGS, JOURNAL, LOG, VERDICT = "settings.json", "journal.jsonl", "log.csv", "verdict.json"
COLUMNS = (
    "generation",
    "games",  # of the whole run
    "best",  # share of the games won by the best candidate
    "mean",  # by all of them together
    "worst",
    "sigma",
    "effort",
    "noise",
    "again",  # candidates evaluated a second time
    *(f"against_{kind}" for kind in KINDS),
)


class Generation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A generation's line in the journal."""

    generation: int  # from 1
    fitness: list[float]  # [population] fair share less the share of the games won
    again: list[int]  # candidates evaluated a second time
    second: list[float]  # and their fitness then
    games: int
    seconds: float
    against: dict[str, float]  # share that the population won, by kind of opponent
    sigma: float  # of the optimiser, when it had been told
    effort: float
    noise: float
    digest: str

    @property
    def mean(self) -> float:
        """Fitness of the population."""
        return sum(self.fitness) / len(self.fitness)


@dataclass
class Journal:
    """The folder of a run that is being worked on; `opened` makes one."""

    folder: Path
    fair: float  # share of the games that equal players win
    entries: list[Generation] = field(default_factory=list)

    def add(self, entry: Generation) -> None:
        """Enters a generation; it is on the disk when this returns."""
        _file(self.folder).append(entry)
        self.entries.append(entry)
        append(self.folder / LOG, _csv_line(entry, self.games, self.fair))

    @property
    def games(self) -> int:
        return sum(entry.games for entry in self.entries)

    @property
    def seconds(self) -> float:
        return sum(entry.seconds for entry in self.entries)

    def write_verdict(self, verdict: dict[str, Any]) -> None:
        write_json(self.folder / VERDICT, verdict)

    def verdict(self) -> dict[str, Any] | None:
        """The last verdict, finished or not; None if there is none."""
        path = self.folder / VERDICT
        return _document(path) if path.exists() else None


@contextmanager
def opened(folder: Path, setting: dict[str, Any], *, resume: bool) -> Iterator[Journal]:
    """The journal of the run in a folder, begun if there is none; nobody else works on it then.

    `UsageError` for a run that is there without `resume`, or that was begun with another `setting`;
    `RecordError` for a damaged file. A line that was cut off while it was written is dropped: that
    generation is played again.
    """
    path = folder / SETTINGS
    known = sorted(name for name in (SETTINGS, JOURNAL, LOG, VERDICT) if (folder / name).exists())
    if known and not resume:
        raise UsageError(
            f"{folder} holds a run already ({', '.join(known)}).",
            hint="--resume to go on with it, or another --out",
        )

    def busy() -> RingriftError:
        return RingriftError(
            f"Another process works on {folder}.", hint="wait for it, or another --out"
        )

    with locked(folder / ".lock", busy=busy):
        if path.exists():
            _check_same(folder, _document(path), setting)
        elif set(known) & {JOURNAL, VERDICT}:
            raise RecordError(f"{folder} has a run but no {SETTINGS}.", hint="another --out")
        else:
            write_json(path, setting)
        journal = Journal(folder, 1 / setting["players"], _entries(folder))
        write_whole(folder / LOG, _csv(journal))
        yield journal


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path} is no JSON ({error}).") from error
    if not isinstance(document, dict):
        raise RecordError(f"{path} is no JSON object.")
    return document


def _check_same(folder: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    for name in [*now, *sorted(set(before) - set(now))]:
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        what = name.replace("_", " ")
        said = "other" if isinstance(old, dict) or isinstance(new, dict) else f"{old!r} as"
        rest = "" if isinstance(old, dict) or isinstance(new, dict) else f", not {new!r}"
        raise UsageError(
            f"The run in {folder} was begun with {said} {what}{rest}.",
            hint="the options it was begun with, or another --out",
        )


def _file(folder: Path) -> JournalFile[Generation]:
    return JournalFile(folder / JOURNAL, Generation)


def _entries(folder: Path) -> list[Generation]:
    """The generations of a run, in order; `RecordError` if one is missing or damaged."""
    entries = _file(folder).recover()
    for number, entry in enumerate(entries, 1):
        if entry.generation != number:
            raise RecordError(
                f"{folder / JOURNAL}, line {number} is generation {entry.generation}, expected"
                f" {number}."
            )
    return entries


def _csv(journal: Journal) -> bytes:
    lines, games = [(",".join(COLUMNS) + "\n").encode()], 0
    for entry in journal.entries:
        games += entry.games
        lines.append(_csv_line(entry, games, journal.fair))
    return b"".join(lines)


def _csv_line(entry: Generation, games: int, fair: float) -> bytes:
    values = [
        entry.generation,
        games,
        *(f"{fair - value:.4f}" for value in (min(entry.fitness), entry.mean, max(entry.fitness))),
        f"{entry.sigma:.6g}",
        f"{entry.effort:.4g}",
        f"{entry.noise:.4g}",
        len(entry.again),
        *(f"{entry.against[kind]:.4f}" if kind in entry.against else "" for kind in KINDS),
    ]
    return (",".join(map(str, values)) + "\n").encode()
