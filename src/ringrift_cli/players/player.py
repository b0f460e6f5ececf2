"""The `Player` interface: chooses an action for each of a batch of positions.

A player is created for one board and number of players (spec.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ringrift_cli.game.playout import Seeds
from ringrift_cli.game.topology import IntArray, tables
from ringrift_cli.search.forest import Evaluator


@dataclass(frozen=True)
class Decisions:
    """A batch of positions of one board and number of players, in which to choose actions."""

    board: str
    players: int
    rows: IntArray  # [N, row size] game rows; read-only
    seeds: Seeds  # [N] random generator of each game, advanced by use (playout.draw)
    # [N] actions of each game from its start; None if unknown
    histories: Sequence[Sequence[int] | None]
    pie_rule: bool = False
    should_stop: Callable[[], bool] = field(default=lambda: False)  # ends a search early
    games: Sequence[int] | None = None  # [N] ids of the games; None if unknown
    playing: Collection[int] = ()  # ids of all games in progress, if `games` are known

    @property
    def T(self) -> IntArray:
        return tables(self.board, self.players)

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Choices:
    """Actions chosen by a player."""

    actions: IntArray  # [N]
    # [N, players] estimated win probabilities by seat; None if not available
    values: npt.NDArray[np.float64] | None = None


class Player(Protocol):
    """`spec` is its name, `identity` a hash of everything that determines its play."""

    spec: str
    identity: str

    def choose(self, asked: Decisions) -> Choices:
        """Chooses a legal action for each position; `PlayerError` on failure."""

    def close(self) -> None:
        """Releases processes and memory; the player is not used afterwards."""


class KnownEvaluator(Evaluator, Protocol):
    """An evaluator with a hash of everything that determines its results."""

    @property
    def identity(self) -> str: ...


def identity_of(document: dict[str, Any]) -> str:
    """Content hash of the description of a player, 16 hexadecimal digits."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
