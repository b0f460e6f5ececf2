"""Training and validation positions of a window, their sampling weights and game outcomes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ringrift_cli.data.shard import Shard
from ringrift_cli.data.shard_checks import RESIGNED, Columns, SmallFloats, joined
from ringrift_cli.data.window import held_out
from ringrift_cli.game import layout as L
from ringrift_cli.game.playout import BoolArray, LongArray
from ringrift_cli.game.topology import IntArray, tables

FloatArray = npt.NDArray[np.float64]
ByteArray = npt.NDArray[np.uint8]

MOST_SURPRISE = 5.0  # maximum surprise, in units of the mean of the game


@dataclass(frozen=True)
class TrainData:
    """G games with P positions; positions are indices into the columns."""

    board: str
    players: int
    pie_rule: bool
    columns: Columns
    game: LongArray  # [P] game of each position
    owners: ByteArray  # [G, cells] at the end: 0 none, 1 + seat, for any kind of piece
    eliminated: SmallFloats  # [G, players] share of all rings credited to each seat at the end
    swapped: BoolArray  # [G] whether the players swapped seats
    training: LongArray  # positions
    validation: LongArray  # positions of held-out games
    summed_weights: FloatArray  # [training] cumulative sampling weights

    @property
    def T(self) -> IntArray:
        """Tables of the board."""
        return tables(self.board, self.players)

    def draw(self, count: int, rng: np.random.Generator) -> LongArray:
        """Training positions sampled by weight, [count]."""
        at = rng.random(count) * self.summed_weights[-1]
        found = np.searchsorted(self.summed_weights, at, side="right")
        drawn: LongArray = self.training[np.minimum(found, len(self.training) - 1)]
        return drawn


def gather(shards: list[Shard], validation_share: float, surprise_weight: float) -> TrainData:
    """Data of shards of one board, number of players and pie rule.

    A training position has the sampling weight `1 - s + s * r`, with s the
    `surprise_weight` and r its surprise in units of the mean of its game, at most `MOST_SURPRISE`
    (policy-surprise weighting; KataGo, docs/KataGoMethods.md). r is 1 throughout a game without
    surprise.
    """
    header = shards[0].header
    board, players = header.board, header.players
    columns = joined([shard.columns for shard in shards])
    ends = np.concatenate([shard.ends for shard in shards])
    held = [held_out(shard.origin, shard.header.games, validation_share) for shard in shards]
    game = columns.game_of_position()
    never = np.concatenate(held)[game]
    training = np.flatnonzero(~never)
    surprise, games = columns.surprise[training].astype(np.float64), game[training]
    mean = np.bincount(games, surprise) / np.maximum(np.bincount(games), 1)
    ratio = np.ones(len(training))
    np.divide(surprise, mean[games], out=ratio, where=mean[games] > 0)
    weights = 1 + surprise_weight * (np.minimum(ratio, MOST_SURPRISE) - 1)
    T = tables(board, players)
    share = ends[:, L.ELIMINATED : L.ELIMINATED + players] / (players * int(T[L.T_RINGS]))
    return TrainData(
        board,
        players,
        header.pie_rule,
        columns,
        game,
        _owners(T, ends),
        share.astype(np.float32),
        ends[:, L.PIE] == L.PIE_SWAPPED,
        training,
        np.flatnonzero(never),
        np.cumsum(weights),
    )


def training_positions(shard: Shard, validation_share: float) -> int:
    """Number of training positions of a shard."""
    counts = np.diff(shard.columns.position_offsets)
    return int(counts[~held_out(shard.origin, shard.header.games, validation_share)].sum())


def _owners(T: IntArray, ends: IntArray) -> ByteArray:
    """Owner of the piece or territory on each cell, [games, cells]: 0 none, 1 + seat."""
    cells = slice(int(T[L.T_S_CELL]), int(T[L.T_S_CELL] + T[L.T_CELLS]))
    words = ends[:, cells]  # layout.py: the owner in bits 0 and 1, the kind in bits 2 and 3
    return np.where((words >> 2) & 3 == L.EMPTY, 0, 1 + (words & 3)).astype(np.uint8)


def finished(columns: Columns) -> BoolArray:
    """Games that ended by the rules, [games]; a resigned game has no final ownership."""
    known: BoolArray = columns.reasons != RESIGNED
    return known
