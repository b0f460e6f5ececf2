"""What `ringrift cycle` would do next; nothing is written."""

from __future__ import annotations

import shutil
from typing import Any

from ringrift_cli.data import retention as cycle_data
from ringrift_cli.loop import journal as cycle_journal
from ringrift_cli.loop.cycle import GATE, PROMOTE, STEPS, Folders, surplus
from ringrift_cli.loop.journal import BEGUN, CYCLE
from ringrift_cli.loop.protocol import ACCEPTED, Steps
from ringrift_cli.settings import Config
from ringrift_cli.store.manifest import searched


def preview(config: Config, steps: Steps) -> dict[str, Any]:
    """The next cycle, or the one under way, JSON. The run need not be there yet."""
    folders = Folders(config.folder)
    journal = cycle_journal.read(folders.run)
    cycle = journal.current
    outcomes = {name: journal.outcome(cycle, name) for name in STEPS}
    done = [name for name in STEPS if outcomes[name] is not None]
    gate = outcomes[GATE]
    passed = gate is None or gate["verdict"] == ACCEPTED
    begun = journal.find(cycle, CYCLE, BEGUN)
    champion = steps.champion()
    model = champion.identity if champion else None
    if begun is not None:
        model = begun["plan"]["model"]["identity"]
    played = cycle_data.games_of(cycle_data.of_cycle(folders.data, cycle))
    window = steps.window(folders.data)
    there = next(p for p in (folders.run, *folders.run.absolute().parents) if p.exists())
    wanted = config.selfplay.games_per_cycle
    return {
        "cycle": cycle,
        "folder": str(folders.run),
        "done": done,
        "next": next(name for name in STEPS if name not in done and (passed or name != PROMOTE)),
        "model": model,
        "champion": champion.identity if champion else None,
        "games": wanted,
        "games_missing": max(wanted - played, 0),
        "shards": len(searched(folders.data)),
        "window": len(window),
        "surplus": len(surplus(config, steps, folders.data).names),
        "free_gb": round(shutil.disk_usage(there).free / cycle_data.GB, 3),
        "working": cycle_journal.at_work(folders.run),
        "settings": config.document(),
    }
