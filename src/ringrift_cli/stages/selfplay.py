"""Self-play: games played, recorded in shards, and the shards entered in the folder's manifest.

A shard is a file of games named by the SHA-256 of its bytes; it never changes. The same run writes
the same shards, so running it again adds nothing twice.
"""

from __future__ import annotations

import datetime as dt
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ringrift_cli.artifacts import add_to_manifest, sha256, write_whole
from ringrift_cli.errors import UsageError
from ringrift_cli.game import layout as L
from ringrift_cli.game import playout
from ringrift_cli.game.record import GameRecord, readable_lines, to_compact
from ringrift_cli.game.result import result_of
from ringrift_cli.game.topology import IntArray, tables
from ringrift_cli.game.version import codec_hash, rules_hash

SHARD_GAMES = 4096
LOG = 512  # decisions played between two looks at the host
CHUNK_DECISIONS = 200_000  # about so many between two looks at the clock and for Ctrl-C


@dataclass(frozen=True)
class Setting:
    """What is played."""

    board: str
    players: int
    games: int
    seed: int
    pie_rule: bool = False
    policy: str = "random"


@dataclass
class Summary:
    """What a run left: `shards` holds the paths, new ones or found there from before."""

    games: int
    decisions: int
    shards: list[Path]
    new_shards: int
    stopped: bool


def play_random(setting: Setting, first: int, count: int) -> list[GameRecord]:
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
            {"policy": setting.policy, "seed": setting.seed, "number": first + i},
        )
        for i in range(count)
    ]


def run(
    setting: Setting,
    folder: Path,
    *,
    readable: bool = False,
    advance: Callable[[int, int], None] = lambda games, decisions: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Summary:
    """Plays the games of a setting and writes their shards to a folder.

    `advance` is told of games and decisions played. When `should_stop` says so, the shard in hand
    is written with the games it has, and the summary says `stopped`.
    """
    if setting.policy != "random":
        raise UsageError(f"Unknown policy {setting.policy!r}: expected random.")
    summary = Summary(0, 0, [], 0, False)
    cells = int(tables(setting.board, setting.players)[L.T_CELLS])
    chunk = max(16, CHUNK_DECISIONS // cells)  # a game has about as many decisions as cells
    while summary.games < setting.games and not summary.stopped:
        first = summary.games
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
        path, new = write_shard(folder, setting, first, records, readable=readable)
        summary.shards.append(path)
        summary.new_shards += new
    summary.stopped = summary.stopped and summary.games < setting.games
    return summary


def write_shard(
    folder: Path, setting: Setting, first: int, records: list[GameRecord], *, readable: bool
) -> tuple[Path, bool]:
    """Writes a shard and its manifest entry; path, and whether it is new."""
    made: dict[str, Any] = {"policy": setting.policy, "seed": setting.seed, "first": first}
    data = readable_lines(records) if readable else to_compact(records, made)
    digest = sha256(data)
    path = folder / f"{digest[:16]}.{'games.jsonl' if readable else 'rrg'}"
    if not path.exists() or sha256(path.read_bytes()) != digest:
        write_whole(path, data)
    entry = {
        "sha256": digest,
        "file": path.name,
        "games": len(records),
        "decisions": sum(len(record.actions) for record in records),
        "board": setting.board,
        "players": setting.players,
        "pie_rule": setting.pie_rule,
        "rules": rules_hash(),
        "codec": codec_hash(),
        "made": made,
        "host": socket.gethostname(),
        "time": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    }
    return path, add_to_manifest(folder, entry)
