"""Parallel copies of a player that handles one position at a time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from ringrift_cli.errors import PlayerError
from ringrift_cli.game.playout import LongArray, available_threads
from ringrift_cli.players.player import Choices, Decisions, Player


class Team:
    """A pool of players created by `make`, at most one per core, on demand."""

    def __init__(self, make: Callable[[], Player], most: int | None = None) -> None:
        self._make = make
        self._most = most or available_threads()
        self._members = [make()]
        self.spec = self._members[0].spec
        self.identity = self._members[0].identity

    def choose(self, asked: Decisions) -> Choices:
        """Splits the positions among the members; raises the first error when all are done."""
        wanted = max(1, min(len(asked), self._most))
        while len(self._members) < wanted:
            self._members.append(self._make())
            if self._members[-1].identity != self.identity:
                raise PlayerError(
                    f"Player {self.spec!r} reports a different identity each time it is started."
                )
        parts = [np.arange(first, len(asked), wanted) for first in range(wanted)]
        with ThreadPoolExecutor(wanted) as threads:
            running = [
                threads.submit(_ask, member, asked, part)
                for member, part in zip(self._members, parts, strict=False)
            ]
        actions = np.zeros(len(asked), np.int32)
        values = np.zeros((len(asked), asked.players))
        with_values = True
        for part, answer in zip(parts, running, strict=True):
            choices = answer.result()
            actions[part] = choices.actions
            if choices.values is None:
                with_values = False
            else:
                values[part] = choices.values
        return Choices(actions, values if with_values else None)

    def close(self) -> None:
        for member in self._members:
            member.close()


def _ask(member: Player, asked: Decisions, part: LongArray) -> Choices:
    seeds = asked.seeds[part]
    histories = [asked.histories[i] for i in part.tolist()]
    answer = member.choose(replace(asked, rows=asked.rows[part], seeds=seeds, histories=histories))
    asked.seeds[part] = seeds
    return answer
