"""Training window: the newest shards of a folder, of a size that grows with the total.

The window is KataGo's (Wu 2019, arXiv:1902.10565, section 4): of N positions the newest

    c * (1 + beta * ((N / c) ** alpha - 1) / alpha),    alpha = 0.75, beta = 0.4

and all of them while N <= c.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ringrift_cli.data.shard import HINT, Shard, read_entry
from ringrift_cli.errors import RecordError, UsageError
from ringrift_cli.game.playout import BoolArray
from ringrift_cli.game.version import check_current
from ringrift_cli.settings import Run, Train
from ringrift_cli.store.manifest import MANIFEST, ShardEntry, searched

ALPHA, BETA = 0.75, 0.4


@dataclass(frozen=True)
class WindowSetting:
    """Selection of a window; shards of another board, player count or pie rule are ignored."""

    board: str
    players: int
    pie_rule: bool = Run.pie_rule
    least: int = Train.window  # c, positions
    max_age: float | None = None  # hours since the newest shard
    max_generations_behind: int | None = None  # of the newest shard, relative to `generation`
    generation: int | None = None  # of the model in training

    def __post_init__(self) -> None:
        if self.least < 1:
            raise UsageError(f"The window is {self.least} positions, expected 1 or more.")
        if self.max_age is not None and not self.max_age > 0:
            raise UsageError(f"max-age is {self.max_age}, expected hours above 0.")
        if self.max_generations_behind is not None:
            if self.max_generations_behind < 0:
                raise UsageError(
                    f"max-generations-behind is {self.max_generations_behind}, expected 0 or more."
                )
            if self.generation is None:
                raise UsageError(
                    "max-generations-behind requires the current generation.",
                    hint="--generation N",
                )

    @property
    def pool(self) -> str:
        """Board, players and pie rule, for messages."""
        pie = ", pie rule" if self.pie_rule else ""
        return f"{self.board}, {self.players} players{pie}"


@dataclass(frozen=True)
class Window:
    """The selected shards by their manifest entries, newest first."""

    folder: Path
    entries: tuple[ShardEntry, ...]
    total: int  # positions of this pool in the folder
    size: int  # target size, positions; whole shards exceed it

    @property
    def hashes(self) -> list[str]:
        return [entry.sha256 for entry in self.entries]

    @property
    def positions(self) -> int:
        return positions_of(self.entries)

    @property
    def games(self) -> int:
        return sum(entry.games for entry in self.entries)

    def document(self) -> dict[str, Any]:
        """Summary of the window, JSON."""
        times = [entry.time for entry in self.entries]
        return {
            "shards": len(self.entries),
            "games": self.games,
            "positions": self.positions,
            "size": self.size,
            "total_positions": self.total,
            "oldest": min(times).isoformat(),
            "newest": max(times).isoformat(),
        }

    def read(self) -> list[Shard]:
        """Reads the shards, newest first, and verifies hashes and manifest entries."""
        return [read_entry(self.folder, entry) for entry in self.entries]


def window_size(total: int, least: int, alpha: float = ALPHA, beta: float = BETA) -> int:
    """Window size for `total` positions (formula above)."""
    if total <= least:
        return total
    grown: float = least * (1 + beta * ((total / least) ** alpha - 1) / alpha)
    return round(grown)


def choose(
    folder: Path,
    setting: WindowSetting,
    *,
    hashes: Sequence[str] | None = None,
    among: Collection[str] | None = None,
    now: dt.datetime | None = None,
) -> Window:
    """Selects the window from the manifest of a folder.

    `hashes` selects exactly these shards, `among` excludes all others. `RecordError` for an empty
    window, unlisted shards, and data older, by time or generation, than the setting allows;
    `RulesMismatch` for a shard of this pool with other rules.
    """
    entries = _of_pool(folder, setting, among)
    total = positions_of(entries)
    if hashes is not None:
        known = {entry.sha256: entry for entry in entries}
        missing = [name for name in hashes if name not in known]
        if missing:
            raise RecordError(
                f"{folder / MANIFEST} does not list shard {missing[0]}"
                f" ({len(missing)} of {len(hashes)} are not there).",
                hint="copy the shards and their manifest lines there",
            )
        chosen = [known[name] for name in dict.fromkeys(hashes)]
        size = positions_of(chosen)
    else:
        size = window_size(total, setting.least)
        chosen = _newest(entries, size)
    if positions_of(chosen) == 0:
        wrong = "is a file, not a folder" if folder.is_file() else "does not exist"
        if folder.is_dir():
            wrong = f"holds no searched positions of {setting.pool}"
        raise RecordError(
            f"{folder} {wrong}: there is nothing to train on.",
            hint=f"ringrift selfplay --model MODEL --out {folder}, or another --data",
        )
    _refuse_stale(folder, chosen, setting, now or dt.datetime.now(dt.UTC))
    return Window(folder, tuple(chosen), total, size)


def positions_of(entries: Iterable[ShardEntry]) -> int:
    return sum(entry.positions for entry in entries)


def _of_pool(
    folder: Path, setting: WindowSetting, among: Collection[str] | None
) -> list[ShardEntry]:
    """The shards of the pool, newest first: by generation, then by time.

    Time alone would be unreliable, since the clocks of hosts differ. Of games that were searched
    again only the newest shard is left: no position is there twice.
    """
    pool = (setting.board, setting.players, setting.pie_rule)
    entries = [e for e in searched(folder) if (e.board, e.players, e.pie_rule) == pool]
    if among is not None:
        entries = [entry for entry in entries if entry.sha256 in among]
    for entry in entries:
        check_current(folder / entry.file, entry.rules, entry.codec, HINT)
    entries.sort(key=lambda e: (e.generation, e.known_since))
    newest = {entry.source or entry.sha256: entry for entry in entries}
    return [entry for entry in reversed(entries) if newest[entry.source or entry.sha256] is entry]


def _newest(entries: list[ShardEntry], size: int) -> list[ShardEntry]:
    """The first entries with at least `size` positions together, or all."""
    chosen, held = [], 0
    for entry in entries:
        if held >= size:
            break
        chosen.append(entry)
        held += entry.positions
    return chosen


def _refuse_stale(
    folder: Path, chosen: list[ShardEntry], setting: WindowSetting, now: dt.datetime
) -> None:
    """`RecordError` if the newest shard is too old."""
    newest = max(entry.known_since for entry in chosen)
    hours = (now - newest).total_seconds() / 3600
    if setting.max_age is not None and hours > setting.max_age:
        raise RecordError(
            f"The newest shard of {folder} is {hours:.1f} hours old, but max-age is"
            f" {setting.max_age:g}: its data are stale.",
            hint="check that self-play still delivers shards there",
        )
    if setting.max_generations_behind is None or setting.generation is None:
        return
    newest_generation = max(entry.generation for entry in chosen)
    if newest_generation < 0:
        raise RecordError(
            f"No shard of {folder} names its generation, so max-generations-behind cannot be"
            " checked."
        )
    behind = setting.generation - newest_generation
    if behind > setting.max_generations_behind:
        raise RecordError(
            f"The newest shard of {folder} was made by generation {newest_generation}, {behind}"
            f" behind generation {setting.generation}, but max-generations-behind is"
            f" {setting.max_generations_behind}: its data are stale.",
            hint="check that self-play has the new models",
        )


def held_out(sha256: str, games: int, share: float) -> BoolArray:
    """Mask of the validation games of a shard, [games]: about a `share` of them.

    It depends only on the shard's SHA-256 (that of the source, if it was reanalysed) and the game's
    number, so no window or restart ever trains on such a game, unless the share is reduced.
    """
    numbers = (hashlib.sha256(f"{sha256} {game}".encode()).digest()[:8] for game in range(games))
    drawn = [int.from_bytes(number, "big") < share * 2.0**64 for number in numbers]
    return np.array(drawn, np.bool_)
