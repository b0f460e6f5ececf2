"""How a game ended (rules section 10, ranking)."""

from __future__ import annotations

from dataclasses import dataclass

from ringrift_cli.game import layout as L
from ringrift_cli.game.notation import REASONS
from ringrift_cli.game.topology import IntArray


@dataclass(frozen=True)
class Result:
    """Winner and ranks of a finished game. Seats count from 1; `ranks` is by seat."""

    winner: int
    reason: str
    ranks: tuple[int, ...]


def result_of(T: IntArray, S: IntArray) -> Result:
    """The result of a row whose game is over.

    Behind the winner: most territory, eliminated rings, markers on the board; then players who
    still had a ring before those who had none, and of these the later to lose the last one. Equals
    share a rank, and the next rank is that much lower.
    """
    winner = int(S[L.WINNER])
    keys = []
    for p in range(int(T[L.T_PLAYERS])):
        out = int(S[L.OUT + p])
        counts = (int(S[at + p]) for at in (L.TERRITORY, L.ELIMINATED, L.MARKERS))
        keys.append((p == winner, *counts, out == 0, out))
    ranks = tuple(1 + sum(other > key for other in keys) for key in keys)
    return Result(winner + 1, REASONS[S[L.REASON]], ranks)
