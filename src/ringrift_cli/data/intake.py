"""Validation of game files and models received from other machines, before they are used.

A game file must have the format of its suffix, the current rules, contents that match its manifest
entry, games that replay and are new; a checkpoint must load. The transfer code is independent of
games and receives these checks as callbacks.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ringrift_cli.data.game_index import (
    GameIndex,
    Hashes,
    hashes_of,
    hashes_of_decisions,
    hashes_of_documents,
    readable_documents,
)
from ringrift_cli.data.shard import check_entry, read_searched
from ringrift_cli.errors import RecordError, RingriftError, RulesMismatch
from ringrift_cli.game.container import check_setting, located
from ringrift_cli.game.record import MAGIC, from_document, read_records
from ringrift_cli.game.version import check_current, rules_hash
from ringrift_cli.nn.registry import pool_name
from ringrift_cli.store.manifest import COMPACT, READABLE, SEARCHED, SUFFIXES, ShardEntry

if TYPE_CHECKING:
    from ringrift_cli.nn.registry import Entry, Registry

FOREIGN = "foreign"  # subfolder of a run folder, of searched games made for no run here
KIND = ("board", "players", "pie_rule")
MAX_CHOICES = 1_000_000  # checked for legality per shard: all choices of 1,000 hex8 games
SAMPLE = 64  # readable games replayed per file
REPEATED_SHARE = 0.02  # of a file's games may be duplicates
REPEATED_GAMES = 1


def place(runs: Path, entry: ShardEntry, is_own: Callable[[Path, ShardEntry], bool]) -> Path:
    """Folder below `runs` for the file of an entry; `RecordError` for an impossible pool.

    `is_own` tells whether searched games were made for the run in a folder: `selfplay` of that
    folder is the data of the run, and takes no others.
    """
    pool = (entry.board, entry.players, entry.pie_rule)
    with located("its manifest entry"):
        check_setting(*pool)
    run = runs / pool_name(*pool)
    if not entry.is_searched:
        return run / "random"
    return run / ("selfplay" if is_own(run, entry) else FOREIGN)


class Intake:
    """Validates received game files before they are moved to their folders; thread-safe."""

    def __init__(self) -> None:
        self._folders: dict[Path, GameIndex] = {}
        self._lock = threading.Lock()

    def check(self, path: Path, entry: ShardEntry, folder: Path) -> None:
        """Raises `RecordError` unless a file, already verified by hash, may enter a folder.

        The games of a valid file are indexed at once, so that a later file with the same games is
        rejected. `RulesMismatch` for games of other rules or another codec.
        """
        check_current(path.name, entry.rules, entry.codec, "ringrift fleet deploy")
        with self._lock:  # a check uses all cores
            hashes = _checked(path, entry)
            with self._folders.setdefault(folder, GameIndex(folder)) as known:
                if known.knows(entry.sha256):
                    return
                held, holder = known.holders(hashes)
                if held > max(REPEATED_GAMES, REPEATED_SHARE * len(hashes)):
                    where = f"which {folder / holder} holds" if holder else "each within itself"
                    raise RecordError(
                        f"{path.name} repeats {held} of its {len(hashes)} games, {where}: another"
                        " seed is needed where it was made."
                    )
                known.add(entry.sha256, path.name, hashes)


def _checked(path: Path, entry: ShardEntry) -> Hashes:
    """Hashes of the games of a file after validation against its name and entry."""
    if path.name.endswith(SEARCHED):
        shard = read_searched(path, entry.sha256, max_choices=MAX_CHOICES)
        check_entry(path.name, entry, shard.header.facts)
        c = shard.columns
        return hashes_of_decisions(shard.header, c.actions, c.game_offsets)
    if path.name.endswith(COMPACT):
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise RecordError(f"{path.name} is not a compact record of games.")
        records = read_records(path)
        first, decisions = records[0], sum(len(record.actions) for record in records)
        facts = {"rules": rules_hash(first.rules), "games": len(records), "decisions": decisions}
        kind = (first.board, first.players, first.pie_rule)
        check_entry(path.name, entry, facts | dict(zip(KIND, kind, strict=True)))
        return hashes_of(kind, (np.array(one.actions, "<i4").tobytes() for one in records))
    if path.name.endswith(READABLE):
        return _checked_readable(path, entry)
    raise RecordError(f"{path.name} is not a file of games: expected {', '.join(SUFFIXES)}.")


def _checked_readable(path: Path, entry: ShardEntry) -> Hashes:
    """`_checked` for readable games; replays an evenly spaced sample."""
    documents = readable_documents(path)
    if not documents:
        raise RecordError(f"{path.name} holds no games.")
    decisions = sum(len(document["moves"]) for document in documents)
    check_entry(path.name, entry, {"games": len(documents), "decisions": decisions})
    for number, document in enumerate(documents, 1):
        check_entry(path.name, entry, {key: document.get(key) for key in KIND})
        if document.get("rules") != entry.rules or "steps" in document:
            raise RulesMismatch(f"{path.name}, line {number} was made under other rules.")
    sample = np.linspace(0, len(documents) - 1, min(SAMPLE, len(documents))).astype(int)
    for at in sample.tolist():
        with located(f"{path.name}, line {at + 1}"):
            from_document(documents[at])
    return hashes_of_documents(documents)


def adopt(registry: Registry, path: Path, pool: str | None = None) -> Entry:
    """Adds a received checkpoint to the registry; it never becomes champion.

    Without `pool`, to that of its board, players and pie rule. `RecordError` unless it loads and
    matches its JSON.
    """
    from ringrift_cli.nn.checkpoint import read_about

    try:
        document = read_about(path)
        if pool is None:
            built = document["architecture"]
            pie_rule = bool(document["about"].get("pie_rule"))
            pool = pool_name(str(built.get("board")), int(built.get("players", 0)), pie_rule)
        return registry.add(pool, path)
    except (RecordError, ValueError, TypeError) as error:
        raise RecordError(f"{path.name} is not a checkpoint: {error}") from error
    except RingriftError as error:
        raise RecordError(f"{path.name} is not a checkpoint of {pool}: {error.message}") from error


def conflict(theirs: bytes, ours: bytes) -> str | None:
    """Reason why another machine's champion history may not be overwritten by ours, else None.

    It may be overwritten if it is a prefix of ours, or damaged.
    """
    try:
        history, own = (json.loads(data)["history"] for data in (theirs, ours))
        last = history[-1]
        named = f"{last['identity']}, since {last['time']}"
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return None
    if own[: len(history)] == history:
        return None
    return f"it has a different history of champions, the last is {named:.80}; nothing was changed."
