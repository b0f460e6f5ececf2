"""Self-play: games played, recorded in shards, and the shards entered in the folder's manifest.

A shard is a file of games named by the SHA-256 of its bytes; it never changes. A run is a sequence
of games that its setting and seed decide. Whatever stopped it, running it again, or for more games,
goes on behind the games that whole shards of the folder already hold.
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
from ringrift_cli.store.manifest import add_to_manifest, new_entry, read_manifest

POLICY = "random"
SHARD_GAMES = 4096
LOG = 512  # decisions played between two looks at the host
CHUNK_DECISIONS = 200_000  # about so many between two looks at the clock and for Ctrl-C


@dataclass(frozen=True)
class RandomSetting:
    """Random games: a sequence that the seed decides, and its length."""

    board: str
    players: int
    games: int
    seed: int
    pie_rule: bool = Run.pie_rule


@dataclass
class Summary:
    """What a run did: games and decisions played, the new shards, and the games it found there."""

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
    """How many games of the run, from its first on, whole shards of the folder hold."""
    spans: dict[int, int] = {}
    for entry in read_manifest(folder):
        first, path = entry.made.get("first"), folder / entry.file
        if type(first) is not int or entry.games <= spans.get(first, 0):
            continue
        ours = path.name.endswith(_ending(readable)) and path.is_file()
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
    """Plays the games of a run behind the first `known` and writes them in shards.

    `known` is what `recorded` answers, which is asked if it is not given.
    `advance` is told of games and decisions played. When `should_stop` says so, the shard in hand
    is written with the games it has, and the summary says `stopped`.
    """
    first = recorded(folder, setting, readable=readable) if known is None else known
    summary = Summary(min(first, setting.games), 0, 0, [], False)
    cells = int(tables(setting.board, setting.players)[L.T_CELLS])
    chunk = max(16, CHUNK_DECISIONS // cells)  # a game has about as many decisions as cells
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


def _ending(readable: bool) -> str:
    return ".games.jsonl" if readable else ".rrg"


def _entry(setting: RandomSetting, first: int) -> dict[str, Any]:
    """What the manifest says of a shard because of its setting."""
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
    path = folder / f"{digest[:16]}{_ending(readable)}"
    write_whole(path, data)
    decisions = sum(len(record.actions) for record in records)
    counts: dict[str, Any] = {"games": len(records), "decisions": decisions}
    entry = new_entry(sha256=digest, file=path.name, **counts, **_entry(setting, first))
    add_to_manifest(folder, entry)
    return path
