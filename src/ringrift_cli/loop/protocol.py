"""What the learning loop asks of its steps, and what it is told by them.

The loop (cycle.py) knows the order, the journal and what must be checked. How games are played,
networks trained and candidates judged is behind `Steps`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

ShouldStop = Callable[[], bool]

ACCEPTED = "accepted"
CONFIRMED = "confirmed"  # of a machine that has the champion, by its own hash


class Meter(Protocol):
    """How far a step has come."""

    def advance(self, amount: int, note: str = "") -> None:
        """Adds `amount` of what the total counts; `note` says the rest."""


class Watch(Protocol):
    """Who is told while the loop runs."""

    def note(self, text: str) -> None:
        """Something worth knowing."""

    def progress(self, what: str, total: int) -> AbstractContextManager[Meter]:
        """Told of the progress of a step until it is closed."""


@dataclass(frozen=True)
class Model:
    """A checkpoint: its content hash, and where it lies."""

    identity: str
    path: Path


@dataclass(frozen=True)
class SelfPlayWork:
    """Games to play."""

    folder: Path  # of shards and manifest
    model: Model
    cycle: int  # goes into the manifest as made.generation
    games: int
    seed: int  # that no games of the folder were played with


@dataclass(frozen=True)
class Played:
    """What an attempt at self-play says of itself; the games are counted in the shards."""

    games: int
    evaluations: int | None  # None: not known, as of games that were played elsewhere
    seconds: float
    stopped: bool
    absent: dict[str, str] = field(default_factory=dict)  # machines that did nothing, and why
    resign_checked: int | None = None  # control games in which a side would have resigned
    resign_wrong: int | None = None  # of these, won by that side


@dataclass(frozen=True)
class TrainWork:
    """A network to train."""

    data: Path  # folder of shards and manifest
    out: Path  # of this cycle alone
    parent: Model
    previous: Path | None  # the `out` of the cycle before
    follows: bool  # whether the parent is what that one trained
    cycle: int
    seed: int


@dataclass(frozen=True)
class Trained:
    """What training came to."""

    model: Model
    summary: dict[str, Any]  # JSON: steps, samples, train_last, validation_last…


@dataclass(frozen=True)
class GateWork:
    """A candidate to judge."""

    candidate: Model
    champion: Model | None
    results: Path  # every game of every match
    seed: int  # of openings that no earlier candidate was judged on


@dataclass(frozen=True)
class Judged:
    """What the gate found, as evaluate/gate.py writes it."""

    verdict: str  # accepted, rejected or inconclusive
    evidence: dict[str, Any]  # JSON


class Stopped(Exception):
    """A step ended in order because it was asked to; what it made so far is kept."""


class Steps(Protocol):
    """The steps of the loop. One that is asked to stop does so within seconds, with `Stopped`."""

    def champion(self) -> Model | None:
        """The champion of the registry."""

    def bootstrap(self, folder: Path, seed: int) -> Model:
        """A new network that has learned nothing, the same for the same seed."""

    def teacher(self) -> Model | None:
        """Who plays until there is a champion; None if that is the new network itself.

        It is no network: its path names no file, and it cannot be trained.
        """

    def check(self, model: Model) -> None:
        """Loads a checkpoint strictly; `RingriftError` unless it is that model and whole."""

    def generate(self, work: SelfPlayWork, meter: Meter, should_stop: ShouldStop) -> Played:
        """Plays games and writes whole shards, entered in the manifest.

        Asked to stop, it writes the games that ended, and says so.
        """

    def train(self, work: TrainWork, watch: Watch, should_stop: ShouldStop) -> Trained:
        """Trains from the parent; goes on where an earlier attempt in `out` ended."""

    def window(self, data: Path) -> set[str]:
        """Hashes of the shards that training would look at now."""

    def gate(self, work: GateWork, watch: Watch, should_stop: ShouldStop) -> Judged:
        """Judges a candidate; goes on behind the games that are recorded."""

    def rating(self, results: Path, evidence: dict[str, Any]) -> dict[str, Any] | None:
        """Elo of the candidate of some evidence by one fit over all games of the results, JSON.

        `elo`, `low` and `high` are relative to `heuristic:default`, null where infinite; None if
        no game links it to that player.
        """

    def promote(self, model: Model, evidence: dict[str, Any]) -> None:
        """Makes the candidate champion on this evidence."""

    def bring(self) -> dict[str, str]:
        """Brings the champion to other machines, if some work on this run.

        Of each machine `CONFIRMED`, or why it has it not.
        """

    def promotions(self, model: Model) -> int:
        """How often a model became champion, whoever made it so and whether it still is."""

    def referred(self) -> set[str]:
        """Hashes of the shards that a checkpoint in the registry was trained on."""


def derived_seed(seed: int, *path: object) -> int:
    """A seed for one use, 48 bits: another path, other numbers."""
    text = "/".join(map(str, (seed, *path)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")
