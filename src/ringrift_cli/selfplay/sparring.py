"""Sparring partner of self-play: another player, which plays one seat of some games.

Self-play alone leads to the positions that the network likes. A partner with another style shows it
those that it will meet elsewhere; the partner's decisions are not trained on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ringrift_cli.game import layout as L
from ringrift_cli.game import playout
from ringrift_cli.game.playout import LongArray, Seeds
from ringrift_cli.game.topology import IntArray, tables
from ringrift_cli.players.player import Decisions
from ringrift_cli.players.spec import make_player


class Sparring:
    """The partner of all games of an actor; `UsageError` for a spec that names no player."""

    def __init__(self, spec: str, board: str, players: int) -> None:
        self._board, self._players = board, players
        self._player = make_player(spec, board, players)
        self._T = tables(board, players)

    def follow(self, rows: IntArray, logs: Sequence[Sequence[int]]) -> None:
        """Carries out actions, a list for each row of [K, row size], in place."""
        for number in range(max(map(len, logs), default=0)):
            actions = [log[number] if number < len(log) else -1 for log in logs]
            playout.apply_all(self._T, rows, np.array(actions, np.int32))

    def answer(self, rows: IntArray, partners: LongArray, seeds: Seeds) -> list[list[int]]:
        """Plays in place until a seat other than the partner's has a choice, or the game is over.

        `rows` is [K, row size], `partners` the first seat of the partner in each, [K]: a swap
        exchanges seats. `seeds`, [K], are generators and advanced. Returns the actions.
        """
        logs: list[list[int]] = [[] for _ in rows]
        going = np.flatnonzero(rows[:, L.PHASE] != L.OVER)
        while len(going):
            actions, offsets = playout.list_all(self._T, rows[going])
            forced = np.diff(offsets) == 1
            chosen = actions[offsets[:-1]]
            swapped = rows[going, L.PIE] == L.PIE_SWAPPED
            seats = np.where(swapped, 1 - partners[going], partners[going])
            asked = ~forced & (rows[going, L.SEAT] == seats)
            going, chosen, asked = (part[forced | asked] for part in (going, chosen, asked))
            if asked.any():
                chosen[asked] = self._choose(rows, seeds, going[asked])
            after = rows[going]
            playout.apply_all(self._T, after, chosen)
            rows[going] = after
            for index, action in zip(going.tolist(), chosen.tolist(), strict=True):
                logs[index].append(action)
            going = going[after[:, L.PHASE] != L.OVER]
        return logs

    def _choose(self, rows: IntArray, seeds: Seeds, which: LongArray) -> IntArray:
        drawn = seeds[which]
        unknown = [None] * len(which)
        asked = Decisions(self._board, self._players, rows[which], drawn, unknown)
        chosen = self._player.choose(asked).actions
        seeds[which] = drawn
        return chosen
