"""What `ringrift bench` measures: a kind of work on a device, with a setting; and what it found."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from ringrift_cli.runtime.profiles import NO_NETWORK, Key, network_named

Rates = dict[str, float]  # a second, by what is counted
Round = Callable[[float], Rates]  # measures for so many seconds

FREE = "free_simulations"  # with a judge that costs nothing
COUNTED = {  # what the throughput of a kind counts
    "engine": "decisions",
    "search": "simulations",
    "selfplay": "evaluations",
    "train": "samples",
}


@dataclass(frozen=True)
class Subject:
    """Work to measure. Without a `model` the network, if there is one, is a new one of `size`."""

    kind: str  # runtime.profiles.Entry.kind
    board: str
    players: int
    device: str = "cpu"  # machine.py
    size: str = "small"
    model: str | None = None  # of the registry, or a file

    @property
    def counted(self) -> str:
        """What the throughput counts."""
        return COUNTED[self.kind]

    def key(self) -> Key:
        """Where a profile keeps it; `UsageError` if there is no such model."""
        return Key(self.kind, self.board, self.players, self._network())

    def _network(self) -> str:
        if self.kind == "engine":
            return NO_NETWORK
        if self.model is None:
            return self.size
        from ringrift_cli.nn.checkpoint import read_about
        from ringrift_cli.players.model import checkpoint_named

        path, _ = checkpoint_named(self.model, self.board, self.players)
        return network_named(read_about(path)["architecture"])


@dataclass(frozen=True)
class Setting:
    """How the work is done."""

    batch: int  # games at once (in each process of self-play), positions of a step
    threads: int | None = None  # of torch, in training; None: as many as it takes by itself
    precision: str | None = None  # of training

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s' * (self.threads != 1)}" if self.threads else ""
        parts = (f"batch {self.batch:,}", threads, self.precision)
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True)
class Measured:
    """What a setting came to, round after round."""

    setting: Setting
    rounds: tuple[Rates, ...]  # the first of each is the throughput
    memory: int  # bytes held at most, by all processes together
    before: int  # bytes of these that were held before anything grew with the batch

    def rate(self, name: str) -> float:
        """The median of a rate over the rounds."""
        return statistics.median(rates[name] for rates in self.rounds)

    @property
    def counting(self) -> list[float]:
        """What counts, round after round."""
        return [next(iter(rates.values())) for rates in self.rounds]

    @property
    def throughput(self) -> float:
        """The median of what counts."""
        return statistics.median(self.counting)

    @property
    def best(self) -> float:
        """What counts in the best round: other programs can only slow a round down."""
        return max(self.counting)

    @property
    def spread(self) -> float:
        """(Greatest - least) / median of the rounds."""
        return (self.best - min(self.counting)) / self.throughput

    def joined(self, other: Measured) -> Measured:
        """The rounds of both, of the same setting."""
        memory, before = max(self.memory, other.memory), min(self.before, other.before)
        return Measured(self.setting, self.rounds + other.rounds, memory, before)

    @property
    def ratio(self) -> float | None:
        """Of search: simulations of the trees alone to those with the network, median of rounds."""
        if FREE not in self.rounds[0]:
            return None
        return statistics.median(one[FREE] / one["simulations"] for one in self.rounds)

    def document(self) -> dict[str, Any]:
        """For JSON."""
        ratio = {} if self.ratio is None else {"free_to_network": self.ratio}
        return {
            **asdict(self.setting),
            **{f"{name}_per_s": self.rate(name) for name in self.rounds[0]},
            **ratio,
            "throughput": self.throughput,
            "best": self.best,
            "spread": self.spread,
            "memory_bytes": self.memory,
            "rounds": list(self.rounds),
        }
