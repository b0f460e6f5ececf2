"""What a player is: something that is shown positions and names an action for each.

A player is made for one board and number of players (spec.py). It is shown many games at once, so
that whoever profits from a batch gets one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ringrift_cli.game.playout import Seeds
from ringrift_cli.game.topology import IntArray, tables
from ringrift_cli.search.forest import Evaluator


@dataclass(frozen=True)
class Decisions:
    """Positions of one board and number of players, in each of which the player is to decide."""

    board: str
    players: int
    rows: IntArray  # [N, row size] game rows; not to be changed
    seeds: Seeds  # [N] a generator for each game, which steps on (playout.draw)
    # [N] the actions of each game from its start; None where that is not known
    histories: Sequence[Sequence[int] | None]
    pie_rule: bool = False
    should_stop: Callable[[], bool] = field(default=lambda: False)  # answer with what you have

    @property
    def T(self) -> IntArray:
        return tables(self.board, self.players)

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Choices:
    """What a player decides."""

    actions: IntArray  # [N]
    # [N, players] each seat's chance to win, as the player sees it; None if it has no opinion
    values: npt.NDArray[np.float64] | None = None


class Player(Protocol):
    """`spec` is what the user called it, `identity` a hash of all that decides how it plays."""

    spec: str
    identity: str

    def choose(self, asked: Decisions) -> Choices:
        """One legal action for each position; `PlayerError` if it cannot."""

    def close(self) -> None:
        """Lets go of processes and memory; the player is not asked again."""


class KnownEvaluator(Evaluator, Protocol):
    """An evaluator with a hash of all that decides how it evaluates."""

    @property
    def identity(self) -> str: ...


def identity_of(document: dict[str, Any]) -> str:
    """Content hash of what decides how a player plays, 16 hexadecimal digits."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
