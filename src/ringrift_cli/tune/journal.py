"""Files of a tuning run; kill -9 loses at most one generation.

    settings.json   parameters of the run; written first, never changed
    journal.jsonl   one line per generation: the fitness of every candidate, and a hash of the
                    optimiser's state
    log.csv         the same as a table; rewritten when a run is resumed
    verdict.json    the final test, and whether the result was accepted
    profile.yaml    the accepted weights, unless --write names another file

The optimiser is a function of the settings and of the fitness it is given, so settings and journal
are its full state: replaying them into a new one restores it bit for bit.
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
PROFILE, LOCK = "profile.yaml", ".lock"
WHOLE = (SETTINGS, JOURNAL, VERDICT, PROFILE)  # from which a run continues elsewhere
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
    """A line of the journal."""

    generation: int  # from 1
    fitness: list[float]  # [population] fair share less the share of the games won
    again: list[int]  # candidates evaluated a second time
    second: list[float]  # their second fitness
    games: int
    seconds: float
    against: dict[str, float]  # share won by the population, by kind of opponent
    sigma: float  # of the optimiser after the generation
    effort: float
    noise: float
    digest: str

    @property
    def mean(self) -> float:
        """Mean fitness of the population."""
        return sum(self.fitness) / len(self.fitness)

    def csv(self, games: int, fair: float) -> bytes:
        """Line of the log; `games` is the total of the run so far."""
        shares = (min(self.fitness), self.mean, max(self.fitness))
        values = [
            self.generation,
            games,
            *(f"{fair - value:.4f}" for value in shares),
            f"{self.sigma:.6g}",
            f"{self.effort:.4g}",
            f"{self.noise:.4g}",
            len(self.again),
            *(f"{self.against[kind]:.4f}" if kind in self.against else "" for kind in KINDS),
        ]
        return (",".join(map(str, values)) + "\n").encode()


@dataclass
class TuningJournal:
    """Journal of an open run; see `opened`."""

    folder: Path
    fair: float  # share won by equal players
    entries: list[Generation] = field(default_factory=list)

    @property
    def file(self) -> JournalFile[Generation]:
        return JournalFile(self.folder / JOURNAL, Generation, "another --out")

    def add(self, entry: Generation) -> None:
        """Appends a generation durably."""
        self.file.append(entry)
        self.entries.append(entry)
        append(self.folder / LOG, entry.csv(self.games, self.fair))

    @property
    def games(self) -> int:
        return sum(entry.games for entry in self.entries)

    @property
    def seconds(self) -> float:
        return sum(entry.seconds for entry in self.entries)

    def write_log(self) -> None:
        lines, games = [(",".join(COLUMNS) + "\n").encode()], 0
        for entry in self.entries:
            games += entry.games
            lines.append(entry.csv(games, self.fair))
        write_whole(self.folder / LOG, b"".join(lines))


@contextmanager
def opened(folder: Path, settings: dict[str, Any], *, resume: bool) -> Iterator[TuningJournal]:
    """Opens or creates the journal of the run in a folder, locked for this process.

    `UsageError` for an existing run without `resume`, or with other `settings`; `RecordError` for a
    damaged file. An incomplete last line is dropped, and its generation played again.
    """
    path = folder / SETTINGS
    known = sorted(name for name in (SETTINGS, JOURNAL, LOG, VERDICT) if (folder / name).exists())
    if known and not resume:
        raise UsageError(
            f"{folder} already holds a run ({', '.join(known)}).",
            hint="--resume to continue it, or another --out",
        )
    busy = RingriftError(
        f"Another process works on {folder}.", hint="wait for it, or another --out"
    )
    with locked(folder / LOCK, busy=lambda: busy):
        if path.exists():
            _check_same(folder, path, settings)
        elif set(known) & {JOURNAL, VERDICT}:
            raise RecordError(f"{folder} has a run but no {SETTINGS}.", hint="another --out")
        else:
            write_json(path, settings)
        journal = TuningJournal(folder, 1 / settings["players"])
        journal.entries = journal.file.recover()
        for number, entry in enumerate(journal.entries, 1):
            if entry.generation != number:
                raise RecordError(
                    f"{folder / JOURNAL}, line {number}: generation {entry.generation}, expected"
                    f" {number}.",
                    hint="another --out",
                )
        journal.write_log()
        yield journal


def _check_same(folder: Path, path: Path, settings: dict[str, Any]) -> None:
    """`UsageError` unless the run was started with the same settings."""
    try:
        before = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path} is not valid JSON ({error}).") from error
    if not isinstance(before, dict):
        raise RecordError(f"{path} is not a JSON object.")
    for name in [*settings, *sorted(set(before) - set(settings))]:
        old, new = before.get(name), settings.get(name)
        if old == new:
            continue
        change = f"{old!r} as {name}, not {new!r}"
        if isinstance(old, dict) or isinstance(new, dict):
            change = f"other {name}"
        raise UsageError(
            f"The run in {folder} was started with {change.replace('_', ' ')}.",
            hint="the options it was started with, or another --out",
        )
