"""Interface between the learning loop and its steps.

The loop (cycle.py) owns the order, the journal and the verification. `Steps` hides how games are
played, networks trained and candidates evaluated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

ShouldStop = Callable[[], bool]

ACCEPTED = "accepted"
CONFIRMED = "confirmed"  # a machine has the champion, verified by its own hash


class Meter(Protocol):
    """Progress of a step."""

    def advance(self, amount: int, note: str = "") -> None:
        """Adds `amount` to the progress; `note` is shown beside it."""


class Watch(Protocol):
    """Receiver of notes and progress."""

    def note(self, text: str) -> None:
        """Shows a message."""

    def progress(self, what: str, total: int) -> AbstractContextManager[Meter]:
        """A progress meter, shown until it is closed."""


class Unseen:
    """A `Meter` that shows nothing."""

    def advance(self, amount: int, note: str = "") -> None:
        """See `Meter`."""


@dataclass(frozen=True)
class Model:
    """A checkpoint: content hash and path."""

    identity: str
    path: Path


@dataclass(frozen=True)
class SelfPlayWork:
    """Games to play."""

    folder: Path  # of shards and manifest
    model: Model
    cycle: int  # made.generation in the manifest
    games: int
    seed: int  # not used for other games of the folder
    run: str | None = None  # made.run: identity of the run that counts them
    beside_training: bool = False  # a machine that trains does not play


@dataclass(frozen=True)
class Played:
    """Report of an attempt at self-play; the loop counts games by the shards."""

    games: int
    evaluations: int | None  # None: not reported by hosts
    seconds: float
    stopped: bool
    absent: dict[str, str] = field(default_factory=dict)  # reason by machine without games
    resign_checked: int | None = None  # control games in which a side would have resigned
    resign_wrong: int | None = None  # of these, won by that side


@dataclass(frozen=True)
class TrainWork:
    """A network to train."""

    data: Path  # folder of shards and manifest
    own: Collection[str]  # hashes of the shards of this run
    out: Path  # folder of this cycle
    parent: Model
    previous: Path | None  # `out` of the previous cycle
    follows: bool  # whether the parent was trained in the previous cycle
    cycle: int
    seed: int


@dataclass(frozen=True)
class Trained:
    """Result of training."""

    model: Model
    summary: dict[str, Any]  # JSON: steps, samples, train_last, validation_last…


@dataclass(frozen=True)
class GateWork:
    """A candidate to evaluate."""

    candidate: Model
    champion: Model | None
    results: Path  # database of all gate games
    seed: int  # of openings that were not used for earlier candidates


@dataclass(frozen=True)
class GateResult:
    """Verdict and evidence of evaluate/gate.py."""

    verdict: str  # accepted, rejected or inconclusive
    evidence: dict[str, Any]  # JSON


class Stopped(Exception):
    """A step was asked to stop; its output so far is kept."""


class Steps(Protocol):
    """Steps of the loop; when asked to stop they raise `Stopped` within seconds."""

    elsewhere: bool  # whether self-play runs on other machines

    def champion(self) -> Model | None:
        """The champion of the registry."""

    def bootstrap(self, folder: Path, seed: int) -> Model:
        """A new random network, reproducible by its seed."""

    def teacher(self) -> Model | None:
        """The player before the first champion; None: the new network itself.

        A teacher is not a network: its path is no file and it cannot be trained.
        """

    def check(self, model: Model) -> None:
        """Loads a checkpoint strictly; `RingriftError` unless intact and of that identity."""

    def generate(self, work: SelfPlayWork, meter: Meter, should_stop: ShouldStop) -> Played:
        """Plays games and writes complete shards with manifest entries.

        When asked to stop it writes the finished games and sets `stopped`.
        """

    def train(self, work: TrainWork, watch: Watch, should_stop: ShouldStop) -> Trained:
        """Trains from the parent; resumes an earlier attempt in `out`."""

    def window(self, data: Path, own: Collection[str]) -> set[str]:
        """Hashes of the shards in the current training window, chosen among `own`."""

    def gate(self, work: GateWork, watch: Watch, should_stop: ShouldStop) -> GateResult:
        """Evaluates a candidate; resumes after the recorded games."""

    def rating(self, results: Path, evidence: dict[str, Any]) -> dict[str, Any] | None:
        """Elo of the candidate by one fit over all recorded games, as JSON.

        `elo`, `low` and `high` are relative to `heuristic:default`, null if infinite; None if no
        chain of games links the candidate to that player.
        """

    def promote(self, model: Model, evidence: dict[str, Any]) -> None:
        """Makes the candidate champion on this evidence."""

    def bring(self) -> dict[str, str]:
        """Sends the champion to other machines of the run; `CONFIRMED` or an error by machine."""

    def promotions(self, model: Model) -> int:
        """Number of promotions of a model, including manual and rolled back ones."""

    def referred(self) -> set[str]:
        """Hashes of all shards that checkpoints in the registry were trained on."""


def derived_seed(seed: int, *path: object) -> int:
    """A 48-bit seed derived from a seed and a path."""
    text = "/".join(map(str, (seed, *path)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")
