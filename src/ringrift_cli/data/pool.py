"""Statistics of the games in a folder of shards: seats, ways of winning, lengths, recoveries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ringrift_cli.data.shard import read_entry
from ringrift_cli.data.shard_checks import RESIGNED, Columns, joined
from ringrift_cli.errors import RecordError
from ringrift_cli.game import layout as L
from ringrift_cli.game.notation import REASONS
from ringrift_cli.game.topology import tables
from ringrift_cli.stats.elo import wilson_interval
from ringrift_cli.store.manifest import searched

RESIGNATION = "resignation"
QUANTILES = (0.05, 0.5, 0.95)


@dataclass(frozen=True)
class PoolStatistics:
    """Counts over the games of a board, number of players and pie rule.

    `wins_by_seat` are those of the seats from 1, games with a swap counted by the seat at the end;
    `lengths` are decisions per game at `QUANTILES`. A recovery is a decision of rules section 6.
    """

    board: str
    players: int
    pie_rule: bool
    shards: int
    games: int
    decisions: int
    positions: int
    wins_by_seat: tuple[int, ...]
    reasons: dict[str, int]
    lengths: tuple[int, ...]
    recoveries: int
    games_with_recovery: int

    def share(self, won: int) -> tuple[float, float, float]:
        """A share of the games and its 95 % interval, as if games were independent."""
        return won / self.games, *wilson_interval(won, self.games)


def statistics(folder: Path) -> list[PoolStatistics]:
    """Statistics of the searched games of a folder, for each kind of game.

    Games of different boards, numbers of players or pie rule are never mixed; games that were
    searched again count once, where they were played. `RecordError` if the folder lists no searched
    games, or if a shard is damaged.
    """
    entries = [entry for entry in searched(folder) if entry.source is None]
    if not entries:
        raise RecordError(f"{folder} has no searched games.", hint="ringrift selfplay")
    kinds = sorted({(entry.board, entry.players, entry.pie_rule) for entry in entries})
    found = []
    for kind in kinds:
        chosen = [e for e in entries if (e.board, e.players, e.pie_rule) == kind]
        columns = joined([read_entry(folder, entry).columns for entry in chosen])
        found.append(_of(columns, *kind, len(chosen)))
    return found


def _of(c: Columns, board: str, players: int, pie_rule: bool, shards: int) -> PoolStatistics:
    T = tables(board, players)
    lengths = np.diff(c.game_offsets)
    recovery = (c.actions >= T[L.T_RECOVER]) & (c.actions < T[L.T_LINE_ALL])
    by_game = np.add.reduceat(recovery, c.game_offsets[:-1], dtype=np.int64)
    names = {RESIGNED: RESIGNATION, **dict(enumerate(REASONS))}
    reasons, counts = np.unique(c.reasons, return_counts=True)
    ways = sorted(zip(reasons.tolist(), counts.tolist(), strict=True), key=lambda way: -way[1])
    return PoolStatistics(
        board,
        players,
        pie_rule,
        shards,
        len(lengths),
        int(lengths.sum()),
        len(c.plies),
        tuple(np.bincount(c.winners, minlength=players).tolist()),
        {names[reason]: count for reason, count in ways},
        tuple(np.quantile(lengths, QUANTILES, method="nearest").tolist()),
        int(recovery.sum()),
        int(np.count_nonzero(by_game)),
    )
