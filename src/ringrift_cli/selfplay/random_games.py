"""Random self-play: games written to shards, and shards listed in the folder's manifest.

A shard is an immutable file of games named by its SHA-256. The games of a run are determined by its
setting and seed. Running it again, or for more games, continues after the games in complete shards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ringrift_cli.game import layout as L
from ringrift_cli.game import playout
from ringrift_cli.game.record import GameRecord, readable_lines, to_compact
from ringrift_cli.game.result import result_of
from ringrift_cli.game.topology import IntArray, tables
from ringrift_cli.game.version import codec_hash, rules_hash
from ringrift_cli.settings import Run
from ringrift_cli.store.files import write_whole
from ringrift_cli.store.hashes import sha256, sha256_of_file
from ringrift_cli.store.manifest import COMPACT, READABLE, add_to_manifest, new_entry, read_manifest

POLICY = "random"
SHARD_GAMES = 4096
LOG = 512  # decisions per call of the compiled playout
CHUNK_DECISIONS = 200_000  # approximate decisions between checks for a stop request


@dataclass(frozen=True)
class RandomSetting:
    """A sequence of random games determined by the seed, and its length."""

    board: str
    players: int
    games: int
    seed: int
    pie_rule: bool = Run.pie_rule


@dataclass
class Summary:
    """Result of a run: games and decisions played, new shards, and games recorded before."""

    known: int
    games: int
    decisions: int
    shards: list[Path]
    stopped: bool


def play_random(setting: RandomSetting, first: int, count: int) -> list[GameRecord]:
    """Games `first` to `first + count - 1` of a run, uniformly random, on all cores."""
    T = tables(setting.board, setting.players)
    rows = np.zeros((count, int(T[L.T_ROW_SIZE])), np.int32)
    playout.start_all(T, rows, np.ones(count, np.bool_), setting.pie_rule)
    seeds = playout.game_seeds(setting.seed, first, count)
    logs: list[list[IntArray]] = [[] for _ in range(count)]
    while not (rows[:, L.PHASE] == L.OVER).all():
        actions = np.zeros((count, LOG), np.int32)
        lengths = np.zeros(count, np.int64)
        playout.play_random(T, rows, seeds, actions, lengths)
        for i, length in enumerate(lengths.tolist()):
            logs[i].append(actions[i, :length])
    return [
        GameRecord(
            setting.board,
            setting.players,
            setting.pie_rule,
            tuple(np.concatenate(logs[i]).tolist()),
            result_of(T, rows[i]),
            {"policy": POLICY, "seed": setting.seed, "number": first + i},
        )
        for i in range(count)
    ]


def recorded(folder: Path, setting: RandomSetting, *, readable: bool) -> int:
    """Number of consecutive games of the run, from the first, in complete shards of the folder."""
    spans: dict[int, int] = {}
    for entry in read_manifest(folder):
        first, path = entry.made.get("first"), folder / entry.file
        if type(first) is not int or entry.games <= spans.get(first, 0):
            continue
        ours = path.name.endswith(READABLE if readable else COMPACT) and path.is_file()
        ours = ours and _entry(setting, first).items() <= entry.to_json().items()
        if ours and sha256_of_file(path) == entry.sha256:
            spans[first] = entry.games
    known = 0
    for first, games in sorted(spans.items()):
        if first <= known:
            known = max(known, first + games)
    return known


def run(
    setting: RandomSetting,
    folder: Path,
    *,
    known: int | None = None,
    readable: bool = False,
    advance: Callable[[int, int], None] = lambda games, decisions: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Summary:
    """Plays the games of a run after the first `known` and writes them to shards.

    `known` defaults to the result of `recorded`. `advance` receives the numbers of games and
    decisions played. If `should_stop` returns true, the current shard is written as it is and the
    summary is `stopped`.
    """
    first = recorded(folder, setting, readable=readable) if known is None else known
    summary = Summary(min(first, setting.games), 0, 0, [], False)
    cells = int(tables(setting.board, setting.players)[L.T_CELLS])
    chunk = max(16, CHUNK_DECISIONS // cells)  # a game has about one decision per cell
    while first < setting.games and not summary.stopped:
        target = min(SHARD_GAMES, setting.games - first)
        records: list[GameRecord] = []
        while len(records) < target and not summary.stopped:
            more = play_random(setting, first + len(records), min(chunk, target - len(records)))
            records += more
            decisions = sum(len(record.actions) for record in more)
            summary.decisions += decisions
            advance(len(more), decisions)
            summary.stopped = should_stop()
        summary.games += len(records)
        summary.shards.append(write_shard(folder, setting, first, records, readable=readable))
        first += len(records)
    summary.stopped = summary.stopped and first < setting.games
    return summary


def _entry(setting: RandomSetting, first: int) -> dict[str, Any]:
    """Fields of a manifest entry that follow from the setting."""
    return {
        "board": setting.board,
        "players": setting.players,
        "pie_rule": setting.pie_rule,
        "rules": rules_hash(),
        "codec": codec_hash(),
        "made": {"policy": POLICY, "seed": setting.seed, "first": first},
    }


def write_shard(
    folder: Path, setting: RandomSetting, first: int, records: list[GameRecord], *, readable: bool
) -> Path:
    """Writes a shard and its manifest entry; its path."""
    data = readable_lines(records) if readable else to_compact(records)
    digest = sha256(data)
    path = folder / f"{digest[:16]}{READABLE if readable else COMPACT}"
    write_whole(path, data)
    decisions = sum(len(record.actions) for record in records)
    counts: dict[str, Any] = {"games": len(records), "decisions": decisions}
    entry = new_entry(sha256=digest, file=path.name, **counts, **_entry(setting, first))
    add_to_manifest(folder, entry)
    return path
