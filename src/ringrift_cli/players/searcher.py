"""The searching player: PUCT with an evaluator, for so many simulations or seconds a decision."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from ringrift_cli.game import playout
from ringrift_cli.players.player import Choices, Decisions, identity_of
from ringrift_cli.search.puct import EXPLORATION, Evaluator, search

MOST_SIMULATIONS = 1_000_000  # for a search that only the clock ends


@dataclass(frozen=True)
class Effort:
    """How long to think: simulations, or seconds if they are above 0.

    Positions that are asked together are thought about together, for as long as one by one.
    """

    simulations: int
    seconds: float = 0.0


class SearchPlayer:
    """Answers with the most visited action. Where there is no choice it does not think."""

    def __init__(
        self,
        spec: str,
        evaluator: Evaluator,
        evaluator_identity: str,
        effort: Effort,
        exploration: float = EXPLORATION,
    ) -> None:
        self.spec = spec
        self._evaluator = evaluator
        self._effort = effort
        self._exploration = exploration
        self.identity = identity_of(
            {
                "kind": "puct",
                "evaluator": evaluator_identity,
                "simulations": effort.simulations,
                "seconds": effort.seconds,
                "exploration": exploration,
            }
        )

    def choose(self, asked: Decisions) -> Choices:
        actions, offsets = playout.list_all(asked.T, asked.rows)
        chosen = actions[offsets[:-1]]
        values = np.full((len(asked), asked.players), 1 / asked.players)
        choice = np.flatnonzero(np.diff(offsets) > 1)
        if len(choice):
            deadline = time.monotonic() + self._effort.seconds * len(choice)

            def should_stop() -> bool:
                late = self._effort.seconds > 0 and time.monotonic() >= deadline
                return late or asked.should_stop()

            found = search(
                asked.T,
                asked.rows[choice],
                self._evaluator,
                MOST_SIMULATIONS if self._effort.seconds > 0 else self._effort.simulations,
                exploration=self._exploration,
                should_stop=should_stop,
            )
            chosen[choice] = [f.actions[f.best()] for f in found]
            values[choice] = [f.root_values for f in found]
        return Choices(chosen, values)

    def close(self) -> None:
        pass
