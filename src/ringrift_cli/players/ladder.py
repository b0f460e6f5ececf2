"""Difficulty levels: a player spec by board, number of players and level (ladder.yaml)."""

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
    """Player spec of a level from 1; `UsageError` for an unknown level."""
    if level not in LEVELS:
        raise UsageError(f"There is no level {level}: levels go from 1 to {LEVELS[-1]}.")
    return str(_tables()[f"{board}-{players}p"][level])
