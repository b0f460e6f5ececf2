"""Preview of the next steps of `ringrift cycle`; read-only."""

from __future__ import annotations

import shutil
from typing import Any

import msgspec

from ringrift_cli.data import retention as cycle_data
from ringrift_cli.loop import journal as cycle_journal
from ringrift_cli.loop.cycle import AHEAD, GATE, PROMOTE, STEPS, Folders, choose, surplus
from ringrift_cli.loop.journal import BEGUN, CYCLE
from ringrift_cli.loop.protocol import ACCEPTED, Steps
from ringrift_cli.settings import Config


class Preview(msgspec.Struct, frozen=True):
    """The next cycle, or the one in progress."""

    cycle: int
    folder: str
    done: list[str]  # steps
    next: str
    model: str | None  # player; None: a new network
    kind: str  # of the player: teacher, bootstrap, candidate or champion
    champion: str | None
    games: int  # per cycle
    games_missing: int
    shards: int
    window: int  # shards in the training window
    surplus: int  # shards to delete
    free_gb: float
    working: str | None  # process at work
    settings: dict[str, dict[str, Any]]


def preview(config: Config, steps: Steps) -> Preview:
    """The next steps of a run, which need not exist yet."""
    folders = Folders(config.folder)
    journal = cycle_journal.read(folders.run)
    cycle = journal.current
    outcomes = {name: journal.outcome(cycle, name) for name in STEPS}
    done = [name for name in STEPS if outcomes[name] is not None]
    gate = outcomes[GATE]
    passed = gate is None or gate["verdict"] == ACCEPTED
    champion = steps.champion()
    identity = champion.identity if champion else None
    begun = journal.find(cycle, CYCLE, BEGUN) or journal.find(cycle, CYCLE, AHEAD)
    if begun:
        player, kind = begun["plan"]["model"]["identity"], begun["plan"]["model"]["kind"]
    else:
        last = next(reversed(journal.finished), None)
        model, kind, _ = choose(config, steps, last, folders.run)
        player = model.identity if model else None
    own = cycle_data.of_run(folders.data, journal.origins)
    played = sum(entry.games for entry in own if entry.generation == cycle)
    disk = next(p for p in (folders.run, *folders.run.absolute().parents) if p.exists())
    games = config.selfplay.games_per_cycle
    return Preview(
        cycle=cycle,
        folder=str(folders.run),
        done=done,
        next=next(name for name in STEPS if name not in done and (passed or name != PROMOTE)),
        model=player,
        kind=kind,
        champion=identity,
        games=games,
        games_missing=max(games - played, 0),
        shards=len(own),
        window=len(steps.window(folders.data, {entry.sha256 for entry in own})),
        surplus=len(surplus(config, steps, folders.data, journal).names),
        free_gb=round(shutil.disk_usage(disk).free / cycle_data.GB, 3),
        working=cycle_journal.at_work(folders.run),
        settings=config.document(),
    )
