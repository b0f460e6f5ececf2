"""Search player: a fixed number of simulations or seconds per decision."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass

import numpy as np

from ringrift_cli.game import playout
from ringrift_cli.game.playout import LongArray
from ringrift_cli.players.player import Choices, Decisions, KnownEvaluator, identity_of
from ringrift_cli.search.forest import (
    EXPLORATION,
    VALUE_SCALE,
    VERSION,
    search,
)
from ringrift_cli.search.results import SearchResult

MAX_SIMULATIONS = 1_000_000
MAX_MEMORY = 2e9  # bytes of trees at once; further games are searched afterwards
NODES_BY_CLOCK = 2000  # assumed nodes of a tree with a time limit


@dataclass(frozen=True)
class Effort:
    """Search budget, simulations or, if above 0, seconds, and search parameters.

    A batch of positions is searched together, for the sum of the times.
    """

    simulations: int
    seconds: float = 0.0
    considered: int = 0  # actions in sequential halving at the root; 0: PUCT
    exploration: float = EXPLORATION
    value_scale: float = VALUE_SCALE


class SearchPlayer:
    """Plays the best action of a search; forced moves are evaluated, not searched."""

    def __init__(self, spec: str, evaluator: KnownEvaluator, effort: Effort) -> None:
        self.spec = spec
        self._evaluator = evaluator
        self._effort = effort
        self._warm = False
        document = {"kind": "search", "version": VERSION, "evaluator": evaluator.identity}
        self.identity = identity_of({**document, **asdict(effort)})

    def choose(self, asked: Decisions) -> Choices:
        actions, offsets = playout.list_all(asked.T, asked.rows)
        chosen = actions[offsets[:-1]]
        values = np.empty((len(asked), asked.players))
        forced = np.flatnonzero(np.diff(offsets) == 1)
        if len(forced):
            only, ends = chosen[forced], np.arange(len(forced) + 1)
            values[forced] = self._evaluator.evaluate(asked.rows[forced], only, ends)[1]
        choice = np.flatnonzero(np.diff(offsets) > 1)
        size = self._batch_size(asked, len(actions) / max(1, len(asked)))
        for first in range(0, len(choice), size):
            part = choice[first : first + size]
            found = self._search(asked, part)
            chosen[part] = [f.actions[f.best] for f in found]
            values[part] = [f.root_values for f in found]
        return Choices(chosen, values)

    def _batch_size(self, asked: Decisions, legal: float) -> int:
        """Number of trees that fit into MAX_MEMORY; `legal` is the mean number of actions."""
        edge = 16 + 4 * asked.players  # bytes (tree.py)
        nodes = min(self._effort.simulations or NODES_BY_CLOCK, MAX_SIMULATIONS)
        return max(1, int(MAX_MEMORY / (2 * nodes * legal * edge)))  # arrays double as they grow

    def _search(self, asked: Decisions, part: LongArray) -> list[SearchResult]:
        seconds = self._effort.seconds
        if seconds > 0 and not self._warm:  # load the compiled functions before the clock starts
            search(asked.T, asked.rows[part[:1]], self._evaluator, 2)
            self._warm = True
        deadline = time.monotonic() + seconds * len(part)

        def should_stop() -> bool:
            return (seconds > 0 and time.monotonic() >= deadline) or asked.should_stop()

        return search(
            asked.T,
            asked.rows[part],
            self._evaluator,
            MAX_SIMULATIONS if seconds > 0 else self._effort.simulations,
            considered=self._effort.considered,
            exploration=self._effort.exploration,
            value_scale=self._effort.value_scale,
            should_stop=should_stop,
        )

    def close(self) -> None:
        pass
