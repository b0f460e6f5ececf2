"""Model registry: checkpoints, champion and champion history of each pool, with evidence.

    models/hex8-2p/IDENTITY.safetensors   weights
                   IDENTITY.json          metadata (checkpoint.py)
                   champion.json          history of champions, oldest first

A pool is a board and a number of players, with or without the pie rule. `champion.json` is
append-only and replaced atomically under a lock, so readers always see a complete history. A
promotion requires evidence (evaluate/gate.py) that accepts this model in this pool against the
current champion, and files with matching hashes.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import re
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from ringrift_cli import settings as config
from ringrift_cli.errors import RecordError, RingriftError, RulesMismatch, UsageError
from ringrift_cli.game.version import rules_hash
from ringrift_cli.nn import checkpoint
from ringrift_cli.store.files import write_json, write_whole
from ringrift_cli.store.locks import locked

FORMAT = 1  # of champion.json
EVIDENCE_FORMAT = 1
POINTER = "champion.json"
SHIPPED = Path(__file__).parents[1] / "shipped"  # a folder for each pool with a model
MIN_PREFIX = 4
POOL = re.compile(r"([a-z]+[0-9]*)-([2-4])p(-pie)?")
IDENTITY = re.compile(r"[0-9a-f]{16}")
PROMOTION: Final = "promotion"
ROLLBACK: Final = "rollback"


def pool_name(board: str, players: int, pie_rule: bool = False) -> str:
    """Folder name of a pool: `hex8-2p`, `square8-2p-pie`."""
    return f"{board}-{players}p{'-pie' * pie_rule}"


def default_folder() -> Path:
    """Registry folder: RINGRIFT_MODELS, else run.models of ringrift.yaml, else ./models.

    `UsageError` if the environment or the ringrift.yaml of the working folder is invalid.
    """
    return Path(config.load(environment=os.environ).run.models)


@dataclass(frozen=True)
class Entry:
    """A checkpoint in the registry, or one given by its path."""

    pool: str
    identity: str
    path: Path  # of the JSON
    document: dict[str, Any]  # its content

    @property
    def weights(self) -> Path:
        return self.path.with_suffix(".safetensors")

    @property
    def about(self) -> dict[str, Any]:
        """Recorded origin: parents, data, steps, metrics."""
        about: dict[str, Any] = self.document["about"]
        return about


class Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A change of champion."""

    event: Literal["promotion", "rollback"]
    identity: str  # of the new champion
    parent: str | None  # the previous champion
    time: str
    evidence: dict[str, Any] | None = None  # of a promotion
    reason: str | None = None  # of a rollback

    def document(self) -> dict[str, Any]:
        """The event as JSON."""
        document: dict[str, Any] = msgspec.to_builtins(self)
        return document


class History(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of `champion.json`."""

    format: int
    pool: str
    champion: str
    since: str
    history: list[Event]  # oldest first


def shipped_pools() -> list[str]:
    """Pools with a model that is part of this package."""
    return sorted(folder.name for folder in SHIPPED.iterdir())


def shipped(pool: str) -> Path:
    """The model of a pool that is part of this package; `UsageError` if there is none."""
    found = sorted((SHIPPED / pool).glob("*.json"))
    if not found:
        raise UsageError(
            f"ringrift ships no model of {pool}, but of {', '.join(shipped_pools())}.",
            hint="ringrift cycle trains one",
        )
    return found[0]


class Registry:
    """The models in a folder. Pool names are those of `pool_name`; `UsageError` for others."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    # ---- reading --------------------------------------------------------------------------------

    def pools(self) -> list[str]:
        """Pools with a folder."""
        found = self.folder.iterdir() if self.folder.is_dir() else []
        return sorted(path.name for path in found if path.is_dir() and POOL.fullmatch(path.name))

    def models(self, pool: str) -> list[Entry]:
        """All checkpoints of a pool, oldest first; `RecordError` names a damaged one."""
        folder = self._folder(pool)
        paths = [p for p in folder.glob("*.json") if IDENTITY.fullmatch(p.stem)]
        found = [self._entry(pool, path) for path in paths]
        return sorted(found, key=lambda entry: (entry.document["time"], entry.identity))

    def history(self, pool: str) -> list[Event]:
        """All changes of champion, oldest first; `RecordError` if the file is damaged."""
        path = self._folder(pool) / POINTER
        if not path.exists():
            return []
        try:
            found = msgspec.json.decode(path.read_bytes(), type=History)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise RecordError(
                f"{path} is not a history of champions: {error}.",
                hint="restore it from a backup",
            ) from error
        if found.format != FORMAT:
            raise RulesMismatch(f"{path} has format {found.format}; this program writes {FORMAT}.")
        events = found.history
        if found.pool != pool or not events or found.champion != events[-1].identity:
            raise RecordError(
                f"{path} contradicts itself, or belongs to another pool.",
                hint="restore it from a backup",
            )
        return events

    def champion(self, pool: str) -> Entry | None:
        """The champion, or None; `RecordError` if its files are missing."""
        line = _line(self.history(pool))
        return self._known(pool, line[-1]) if line else None

    def evidence(self, pool: str) -> dict[str, Any] | None:
        """Evidence of the current champion's promotion; None without a champion."""
        events = self.history(pool)
        if not events:
            return None
        own = [e for e in events if e.event == PROMOTION and e.identity == events[-1].identity]
        return own[-1].evidence

    def earlier(self, pool: str) -> list[Entry]:
        """Previous champions that were not rolled back, latest first."""
        line = _line(self.history(pool))
        return [self._known(pool, identity) for identity in reversed(line[:-1])]

    def find(self, pool: str, name: str) -> Entry:
        """Looks up a model by name.

        `name` is `champion`, `previous` (the result of a `rollback`), `shipped` (part of this
        package), an identity or a prefix of four digits or more, or the path of any checkpoint.
        `UsageError` unless exactly one model matches.
        """
        if "/" in name or name.endswith((".json", ".safetensors")):
            return self._entry(pool, Path(name).expanduser().with_suffix(".json"))
        if name == "shipped":
            return self._entry(pool, shipped(pool))
        line = _line(self.history(pool))
        if name in ("champion", "previous"):
            back = 1 if name == "champion" else 2
            if len(line) < back:
                raise UsageError(
                    f"{pool} has no {name}{'' if back == 1 else ' champion'} in {self.folder}.",
                    hint=self.way_to_champion(pool)
                    + (", or model:shipped" if pool in shipped_pools() else ""),
                )
            return self._known(pool, line[-back])
        known = {p.stem for p in self._folder(pool).glob("*.json") if IDENTITY.fullmatch(p.stem)}
        matching = sorted(identity for identity in known if identity.startswith(name))
        if len(name) >= MIN_PREFIX and len(matching) == 1:
            return self._known(pool, matching[0])
        why = (
            "expected champion, previous, shipped, the path of a checkpoint (NAME.json), or"
            f" {MIN_PREFIX} digits of an identity"
        )
        if matching:
            why += f"; it fits {', '.join(matching)}"
        raise UsageError(
            f"{name!r} names no single model of {pool} in {self.folder}: {why}.",
            hint="ringrift models list",
        )

    def way_to_champion(self, pool: str) -> str:
        """Command that leads to a champion, or to another one."""
        board, players = _parts(pool)
        candidates = [entry for entry in self.models(pool) if entry.about.get("steps")]
        if candidates and not self.history(pool):
            command = f"ringrift models promote {candidates[-1].identity} --board {board}"
            return f"{command} --players {players}{' --pie' * pool.endswith('-pie')}"
        pie = " --set run.pie_rule=true" * pool.endswith("-pie")
        return f"ringrift cycle --board {board} --players {players}{pie}"

    # ---- writing --------------------------------------------------------------------------------

    def add(self, pool: str, path: Path) -> Entry:
        """Copies a checkpoint into a pool and verifies the copy.

        An existing undamaged copy is kept. Errors as `checkpoint.load` if the checkpoint is damaged
        or of another board. An interrupted copy is invisible, since the JSON is written last.
        """
        entry = self._entry(pool, path.with_suffix(".json"))
        self._check(entry)
        folder = self._folder(pool)
        folder.mkdir(parents=True, exist_ok=True)
        copy = Entry(pool, entry.identity, folder / f"{entry.identity}.json", entry.document)
        with self._locked(pool):
            known = self._whole(copy)
            if known is not None:
                return known
            write_whole(copy.weights, entry.weights.read_bytes())
            write_whole(copy.path, entry.path.read_bytes())
            self._check(copy)
        return copy

    def remove(self, pool: str, identity: str) -> int:
        """Deletes a model; returns the freed bytes.

        `UsageError` for the champion and for possible targets of rollbacks. Its evidence stays in
        the history.
        """
        entry = self._known(pool, identity)
        with self._locked(pool):
            self.check_removable(pool, identity)
            files = [path for path in (entry.path, entry.weights) if path.exists()]
            size = sum(path.stat().st_size for path in files)
            for path in files:  # the JSON first: without it the checkpoint does not exist
                path.unlink()
        return size

    def check_removable(self, pool: str, identity: str) -> None:
        """`UsageError` for a model that `remove` would not delete."""
        line = _line(self.history(pool))
        if identity in line:
            what = "is the champion" if identity == line[-1] else "is an earlier champion"
            raise UsageError(
                f"{identity} {what} of {pool}, expected a model that no rollback can bring back:"
                " nothing was removed.",
                hint="ringrift models list",
            )

    def promote(self, pool: str, identity: str, evidence: dict[str, Any]) -> Entry:
        """Makes a model the champion of its pool.

        `RingriftError` if the evidence does not accept this model against the current champion
        under these rules, or if the checkpoint is missing or damaged. No change if the model is
        already champion by the same games.
        """
        evidence = json.loads(json.dumps(evidence))  # normalise for comparison with stored evidence
        check_evidence(evidence, pool, identity)
        entry = self._known(pool, identity)
        self._check(entry)
        beaten = None if evidence["champion"] is None else evidence["champion"]["model"]
        with self._locked(pool):
            self._known(pool, identity)  # it may have been removed meanwhile
            events = self.history(pool)
            present = events[-1].identity if events else None
            games = _games_of(evidence)
            if any(e.identity == identity and _games_of(e.evidence) == games for e in events):
                if present == identity:
                    return entry
                raise RingriftError(
                    f"{identity} was champion of {pool} on these games before, and is no more: it"
                    " needs new evidence.",
                    hint=f"ringrift models promote {identity} --seed ANOTHER",
                )
            if present == identity:
                raise RingriftError(f"{identity} is already the champion of {pool}.")
            if present != beaten:
                raise RingriftError(
                    f"{identity} was tested against {beaten or 'no champion'}, but the champion of"
                    f" {pool} is {present or 'nobody'}: nobody was promoted.",
                    hint=f"ringrift models promote {identity}",
                )
            event = Event(PROMOTION, identity, present, _now(), evidence)
            self._write(pool, [*events, event])
        return entry

    def rollback(self, pool: str, reason: str) -> Entry:
        """Makes the previous champion champion again, and records the reason.

        `UsageError` without a reason or without a previous champion, `RecordError` if its files are
        damaged.
        """
        if not reason.strip():
            raise UsageError("A rollback needs a reason.", hint='--reason "lost to a beginner"')
        self.find(pool, "previous")
        with self._locked(pool):
            events = self.history(pool)
            line = _line(events)
            entry = self.find(pool, "previous")
            self._check(entry)
            event = Event(ROLLBACK, entry.identity, line[-1], _now(), reason=reason)
            self._write(pool, [*events, event])
        return entry

    # ---- internals ------------------------------------------------------------------------------

    def _folder(self, pool: str) -> Path:
        _parts(pool)
        return self.folder / pool

    def _entry(self, pool: str, path: Path) -> Entry:
        """A checkpoint by its JSON; the weights are not read."""
        document = checkpoint.read_about(path)
        return Entry(pool, document["identity"], path, document)

    def _known(self, pool: str, identity: str) -> Entry:
        path = self._folder(pool) / f"{identity}.json"
        if not path.exists():
            raise RecordError(
                f"Model {identity} of {pool} is not in {self.folder}: there is no {path}.",
                hint="bring the file back",
            )
        entry = self._entry(pool, path)
        if entry.identity != identity:
            raise RecordError(f"{path} is about another model, {entry.identity}.")
        return entry

    def _whole(self, entry: Entry) -> Entry | None:
        """The copy in the registry; None if it is missing or damaged."""
        try:
            known = self._entry(entry.pool, entry.path)
            self._check(known)
        except RingriftError:
            return None
        return known if known.identity == entry.identity else None

    def _check(self, entry: Entry) -> None:
        """Loads the checkpoint strictly, and checks identity, board, players and pie rule."""
        board, players = _parts(entry.pool)
        found = checkpoint.load(entry.path, board, players)
        if found.identity != entry.identity:
            raise RecordError(
                f"{entry.path} holds {found.identity}, and says that it is {entry.identity}."
            )
        pie = entry.about.get("pie_rule")  # of its training games, if recorded
        if pie is not None and pie != entry.pool.endswith("-pie"):
            raise UsageError(
                f"{entry.path} was trained {'with' if pie else 'without'} the pie rule; it is no"
                f" model of {entry.pool}."
            )

    def _write(self, pool: str, events: list[Event]) -> None:
        last = events[-1]
        history = History(FORMAT, pool, last.identity, last.time, events)
        write_json(self._folder(pool) / POINTER, msgspec.to_builtins(history))

    def _locked(self, pool: str) -> AbstractContextManager[object]:
        """Locks a pool for changes."""
        return locked(self._folder(pool) / ".lock")


def check_evidence(evidence: dict[str, Any], pool: str, identity: str) -> None:
    """`RingriftError` unless the evidence accepts this model in this pool under these rules.

    The verdict must be `accepted`, and every check must have passed with at least one game.
    """
    try:
        format_, rules, verdict = evidence["format"], evidence["rules"], evidence["verdict"]
        named, model = evidence["pool"], evidence["candidate"]["model"]
        champion = None if evidence["champion"] is None else evidence["champion"]["model"]
        checks = [(c["name"], c["passed"], c["match"]["games"]) for c in evidence["checks"]]
        stopped, reasons = evidence["stopped"], " ".join(evidence["reasons"])
    except (KeyError, TypeError) as error:
        raise RingriftError(
            f"There is no evidence for {identity}: a document of the gate is needed, and this one"
            f" lacks {error}.",
            hint=f"ringrift models promote {identity}",
        ) from error
    needed = {"random", "heuristic"} | ({"champion"} if champion is not None else set())
    wrong = None
    if format_ != EVIDENCE_FORMAT or rules != rules_hash():
        wrong = f"was made in format {format_!r} under rules {rules!r}, not these"
    elif named != pool or model != identity:
        wrong = f"is about {model} in {named}"
    elif verdict != "accepted" or stopped:
        wrong = f"says {verdict}: {reasons}"
    elif any(not passed for _, passed, _ in checks):
        wrong = "has a check that failed"
    elif any(not isinstance(games, int) or games < 1 for *_, games in checks):
        wrong = "has a match without games"
    elif missing := needed - {name for name, *_ in checks}:
        wrong = f"has no match of: {', '.join(sorted(missing))}"
    if wrong is not None:
        raise RingriftError(
            f"The evidence for {identity} in {pool} {wrong}; it was not promoted.",
            hint=f"ringrift models promote {identity}",
        )


def _games_of(evidence: dict[str, Any] | None) -> dict[str, Any] | None:
    """The games of an evidence document, without its time and the paths of models."""
    if evidence is None:
        return None
    checks = []
    for check in evidence["checks"]:
        match = {key: value for key, value in check["match"].items() if key != "players"}
        checks.append([check["name"], match])
    return {"checks": checks, "setting": evidence.get("setting")}


def _line(events: list[Event]) -> list[str]:
    """The champions that were not rolled back, oldest first, the current one last."""
    line: list[str] = []
    for event in events:
        if event.event == PROMOTION:
            line.append(event.identity)
        else:
            line.pop()
    return line


def _parts(pool: str) -> tuple[str, int]:
    """Board and players of a pool; `UsageError` for an invalid name."""
    match = POOL.fullmatch(pool)
    if match is None:
        raise UsageError(f"{pool!r} is not a pool of models.", hint="hex8-2p, or square8-2p-pie")
    return match[1], int(match[2])


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
