"""Parallel copies of a program as a player, which handles one position at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Protocol

import numpy as np

from ringrift_cli.errors import PlayerError
from ringrift_cli.game.playout import LongArray, available_threads
from ringrift_cli.players.player import Choices, Decisions, Player


class Member(Player, Protocol):
    """A player with a name for tables."""

    name: str


class Team:
    """A pool of players created by `make` on demand: at most `most`, by default one per core.

    A game stays with one member. With at most `most` games in progress a member has one game at a
    time, from its first decision to its end.
    """

    def __init__(self, make: Callable[[], Member], most: int | None = None) -> None:
        self._make = make
        self.most = most or available_threads()
        self._members = [make()]
        self._games: dict[int, int] = {}  # member of each game in progress
        self.spec, self.name = self._members[0].spec, self._members[0].name
        self.identity = self._members[0].identity

    def choose(self, asked: Decisions) -> Choices:
        """Splits the positions among the members; raises the first error when all are done."""
        parts = self._assign(asked)
        while len(self._members) < len(parts):
            self._members.append(self._make())
            if self._members[-1].identity != self.identity:
                raise PlayerError(
                    f"Player {self.spec!r} reports a different identity each time it is started."
                )
        with ThreadPoolExecutor(len(parts)) as threads:
            running = [
                (part, threads.submit(_ask, member, asked, part))
                for member, part in zip(self._members, parts, strict=False)
                if len(part)
            ]
        actions = np.zeros(len(asked), np.int32)
        values = np.zeros((len(asked), asked.players))
        with_values = True
        for part, answer in running:
            choices = answer.result()
            actions[part] = choices.actions
            if choices.values is None:
                with_values = False
            else:
                values[part] = choices.values
        return Choices(actions, values if with_values else None)

    def _assign(self, asked: Decisions) -> list[LongArray]:
        """The positions of each member, [members][n]."""
        if asked.games is None:
            wanted = max(1, min(len(asked), self.most))
            return [np.arange(first, len(asked), wanted) for first in range(wanted)]
        self._games = {id_: one for id_, one in self._games.items() if id_ in asked.playing}
        for game in asked.games:
            if game not in self._games:
                load = Counter(self._games.values())
                self._games[game] = min(range(self.most), key=lambda member: load[member])
        members = np.array([self._games[game] for game in asked.games])
        return [np.flatnonzero(members == member) for member in range(members.max() + 1)]

    def close(self) -> None:
        for member in self._members:
            member.close()


def _ask(member: Player, asked: Decisions, part: LongArray) -> Choices:
    seeds, at = asked.seeds[part], part.tolist()
    histories = [asked.histories[i] for i in at]
    games = None if asked.games is None else [asked.games[i] for i in at]
    answer = member.choose(
        replace(asked, rows=asked.rows[part], seeds=seeds, histories=histories, games=games)
    )
    asked.seeds[part] = seeds
    return answer
