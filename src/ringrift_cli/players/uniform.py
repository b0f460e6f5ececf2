"""The random player: every legal action with the same probability."""

from __future__ import annotations

import numpy as np

from ringrift_cli.game import playout
from ringrift_cli.players.player import Choices, Decisions, identity_of


class RandomPlayer:
    """Plays uniformly random legal actions."""

    def __init__(self) -> None:
        self.spec = "random"
        self.identity = identity_of({"kind": "random", "version": 1})

    def choose(self, asked: Decisions) -> Choices:
        rows = asked.rows.copy()
        log, lengths = np.zeros((len(rows), 1), np.int32), np.zeros(len(rows), np.int64)
        playout.play_random(asked.T, rows, asked.seeds, log, lengths)
        return Choices(log[:, 0])

    def close(self) -> None:
        pass
