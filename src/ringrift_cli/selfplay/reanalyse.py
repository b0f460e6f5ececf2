"""Stored games searched again with another model: fresh policy and value targets for old moves.

Schrittwieser et al. 2021 (arXiv:2104.06294). Moves, results and searched positions stay as they
were; each position gets the search of the setting, as a full search of self-play. A source shard
becomes one shard, whose `made` has the hash of the source as `reanalysed`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ringrift_cli.data.shard import SearchedGame, read_searched
from ringrift_cli.errors import RecordError, UsageError
from ringrift_cli.game.replay import rows_at
from ringrift_cli.game.version import check_current
from ringrift_cli.search.forest import Searches
from ringrift_cli.search.gumbel import considered_actions
from ringrift_cli.selfplay.actor import Counts, SearchTarget, searched_game
from ringrift_cli.settings import SelfPlay
from ringrift_cli.store.manifest import MANIFEST, SEARCHED, searched


def shards_of(paths: Sequence[Path], board: str, players: int, pie_rule: bool) -> tuple[Path, ...]:
    """Shards of the pool to search again: files as given, folders by their manifests.

    Shards that were reanalysed are left out: their sources stand for them. `UsageError` for a file
    that is no shard, `RecordError` if nothing is left.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if not path.is_dir() and path.suffix != SEARCHED:
            raise UsageError(f"{path} is neither a shard, NAME{SEARCHED}, nor a folder of shards.")
        folder = path if path.is_dir() else path.parent
        for entry in searched(folder):
            wanted = path.is_dir() or entry.file == path.name
            pool = (entry.board, entry.players, entry.pie_rule)
            if wanted and pool == (board, players, pie_rule) and entry.source is None:
                check_current(folder / entry.file, entry.rules, entry.codec, "ringrift selfplay")
                found[folder / entry.file] = None
        if not path.is_dir() and path not in found:
            raise RecordError(
                f"{path} is not listed in {folder / MANIFEST} as games of {board} with {players}"
                f" players{', pie rule' if pie_rule else ''} that were not reanalysed."
            )
    if not found:
        raise RecordError(
            f"There are no searched games of {board} with {players} players in"
            f" {', '.join(map(str, paths))}.",
            hint="ringrift selfplay, without --reanalyse",
        )
    return tuple(found)


class Reanalysis:
    """The positions of one shard after another through the trees of `forest`.

    Their searches are seeded by `seed`, the shard and the position, and so do not depend on what
    is searched beside them.
    """

    def __init__(self, forest: Searches, setting: SelfPlay, seed: int) -> None:
        self._forest, self._setting, self._seed = forest, setting, seed
        self._considered = considered_actions(setting.sims, setting.considered)
        self.counts = Counts()
        self._free = deque(range(len(forest)))
        self._at: dict[int, int] = {}  # position by busy slot

    def begin(self, path: Path) -> None:
        """Starts a shard; its games are read and checked in full."""
        self._shard = shard = read_searched(path)
        c = shard.columns
        self._rows = rows_at(
            shard.T, c.actions, c.game_offsets[:-1], c.position_offsets, c.plies,
            pie_rule=shard.header.pie_rule,
        )  # fmt: skip
        self._targets: dict[int, SearchTarget] = {}  # by position
        self._next = 0

    @property
    def source(self) -> str:
        """Hash of the shard."""
        return self._shard.sha256

    @property
    def playing(self) -> int:
        """Number of positions of the shard without a new target."""
        return len(self._rows) - len(self._targets)

    def step(self) -> list[SearchedGame]:
        """Evaluates one batch; returns all games of the shard when their last search is done."""
        forest, setting = self._forest, self._setting
        while self._free and self._next < len(self._rows):
            slot, at = self._free.popleft(), self._next
            words = [self._seed, int(self._shard.sha256[:16], 16), at]
            seed = np.random.SeedSequence(words).generate_state(1, np.uint64)
            forest.place(slot, self._rows[at], int(seed[0]))
            forest.begin(slot, setting.sims, self._considered, noise=1.0)
            self._at[slot], self._next = at, at + 1
        before = forest.evaluated
        slots = forest.step()
        self.counts.evaluations += forest.evaluated - before
        if len(slots):
            for slot, found in zip(slots.tolist(), forest.results(slots), strict=True):
                self._targets[self._at.pop(slot)] = SearchTarget.of(found)
                self._free.append(slot)
            self.counts.positions += len(slots)
        return [] if self.playing else self._games()

    def _games(self) -> list[SearchedGame]:
        shard, offsets = self._shard, self._shard.columns.position_offsets.tolist()
        self.counts.games += shard.header.games
        self.counts.decisions += shard.header.decisions
        return [
            searched_game(
                game.actions,
                game.plies,
                [self._targets[at] for at in range(first, end)],
                game.winner,
                game.reason,
                shard.header.players,
            )
            for game, first, end in zip(shard.games, offsets, offsets[1:], strict=False)
        ]
