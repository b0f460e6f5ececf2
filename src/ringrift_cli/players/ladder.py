"""The difficulty ladder: a player for each level, by board and number of players (ladder.yaml)."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

import yaml

from ringrift_cli.errors import UsageError

LEVELS = range(1, 11)


@cache
def _tables() -> dict[str, Any]:
    text = resources.files("ringrift_cli.players").joinpath("ladder.yaml").read_text()
    tables: dict[str, Any] = yaml.safe_load(text)
    return tables


def level_spec(level: int, board: str, players: int) -> str:
    """The player of a level, from 1; `UsageError` for a level there is not."""
    if level not in LEVELS:
        raise UsageError(f"There is no level {level}: levels go from 1 to {LEVELS[-1]}.")
    return str(_tables()[f"{board}-{players}p"][level])
