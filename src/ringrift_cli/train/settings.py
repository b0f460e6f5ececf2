"""What decides a training run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from ringrift_cli.data.window import WindowSetting
from ringrift_cli.errors import UsageError

OPTIMISERS = ("adamw", "sgd")
SCHEDULES = ("constant", "cosine")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")
CARRIED = ("optimiser", "weights")
# What may differ when a run goes on: it changes when something is written, or what is refused at
# the start, but no weight.
FREE = ("max_age", "max_generations_behind", "generation", "checkpoint_minutes", "device")

# What has no option of its own on the command line.
OTHERS = (
    *("batch", "learning_rate", "optimiser", "schedule", "warmup", "weight_decay", "clip"),
    *("average", "carried", "value_mix", "value_weight", "owner_weight", "eliminated_weight"),
    *("validation_share", "validation_positions", "validate_every", "patience", "keep"),
    "precision",
)


@dataclass(frozen=True)
class TrainSetting:
    """A training run; equal settings on equal shards give equal weights on one CPU thread."""

    board: str
    players: int
    pie_rule: bool = False
    size: str | None = None  # of a new network, small if not said; one that goes on has its own
    seed: int = 0
    # data
    window: int = 100_000  # positions that are all trained on; beyond, the window grows slower
    max_age: float | None = None  # hours since the newest shard
    max_generations_behind: int | None = None
    generation: int | None = None  # of the model that comes out
    validation_share: float = 0.05  # of the games, never trained on
    validation_positions: int = 2048  # at most, of a validation
    surprise_weight: float = 0.5  # 0: all positions alike; 1: by the surprise of their policy
    # amount
    steps: int | None = None  # instead of samples_per_position
    samples_per_position: float = 3.0  # how often a new position is seen on average
    batch: int = 256
    patience: int = 5  # validations without a better one before it stops; 0: never
    validate_every: int = 250  # steps
    # optimiser
    optimiser: str = "adamw"
    learning_rate: float = 0.002
    schedule: str = "constant"
    warmup: int = 50  # steps in which the rate of a fresh optimiser, or a cosine, rises
    weight_decay: float = 0.05
    clip: float = 1.0  # greatest norm of the gradient
    average: float = 0.995  # decay of the averaged weights in a step
    carried: str = "optimiser"  # from the run that this one follows; or "weights" alone
    # loss
    value_mix: float = 0.3  # weight of the search's value beside the winner
    value_weight: float = 1.0
    owner_weight: float = 0.15
    eliminated_weight: float = 0.1
    # where and how
    device: str = "auto"
    precision: str = "auto"
    checkpoint_minutes: float = 5.0  # between two states that a killed run goes on from
    keep: int = 3  # models of a run, and the best

    def __post_init__(self) -> None:
        for name, least in (
            *(("batch", 2), ("validate_every", 1), ("warmup", 0), ("patience", 0), ("keep", 1)),
            *(("validation_positions", 1), ("seed", 0), ("clip", 1e-9), ("learning_rate", 1e-9)),
            *(("value_weight", 0), ("owner_weight", 0), ("eliminated_weight", 0)),
            *(("weight_decay", 0), ("checkpoint_minutes", 0), ("samples_per_position", 1e-9)),
        ):
            self._within(name, least, math.inf)
        if self.steps is not None:
            self._within("steps", 1, math.inf)
        for name in ("surprise_weight", "value_mix"):
            self._within(name, 0, 1)
        for name in ("validation_share", "average"):
            self._within(name, 0, 0.9999)
        for name, choices in (
            ("optimiser", OPTIMISERS),
            ("schedule", SCHEDULES),
            ("precision", PRECISIONS),
            ("carried", CARRIED),
        ):
            if getattr(self, name) not in choices:
                raise UsageError(
                    f"{name.replace('_', ' ')} is {getattr(self, name)!r}, expected one of"
                    f" {', '.join(choices)}."
                )
        self.window_setting()

    def _within(self, name: str, least: float, most: float) -> None:
        value = getattr(self, name)
        if not least <= value <= most or value == math.inf:
            limit = f"{least:g} or more" if most == math.inf else f"from {least:g} to {most:g}"
            raise UsageError(f"{name.replace('_', ' ')} is {value:g}, expected {limit}.")

    def window_setting(self) -> WindowSetting:
        """The part that says which shards are trained on."""
        return WindowSetting(
            self.board,
            self.players,
            self.pie_rule,
            self.window,
            self.max_age,
            self.max_generations_behind,
            self.generation,
        )

    def changed(self, texts: Sequence[str]) -> TrainSetting:
        """The setting with some numbers of `OTHERS` changed, each as `batch=512`; `UsageError`."""
        new: dict[str, Any] = {}
        for text in texts:
            name, equals, value = text.partition("=")
            if not equals or name not in OTHERS:
                raise UsageError(
                    f"{text!r} is no number of a training run, expected NAME=VALUE with one of"
                    f" {', '.join(OTHERS)}."
                )
            kind = type(getattr(self, name))
            try:
                new[name] = kind(value)
            except ValueError as error:
                raise UsageError(
                    f"{name} is {value!r}, expected {'a whole' if kind is int else 'a'} number."
                ) from error
        return replace(self, **new)

    def document(self) -> dict[str, Any]:
        """All of it, as JSON."""
        return asdict(self)

    def check_same(self, before: dict[str, Any], folder: Path) -> None:
        """`UsageError` if a run begun with the document `before` cannot go on with this setting."""
        for field in fields(self):
            old, new = before.get(field.name), getattr(self, field.name)
            if field.name not in FREE and old != new:
                raise UsageError(
                    f"The run in {folder} was begun with {old!r} as"
                    f" {field.name.replace('_', ' ')}, not {new!r}.",
                    hint="the options it was begun with, or another --out",
                )
