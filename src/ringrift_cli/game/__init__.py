"""The game: rules, positions, batches, records.

    from ringrift_cli.game import Position, PositionBatch, read_records, write_records

The names are loaded when they are first asked for: most modules here do without most others.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ringrift_cli.game.actions import Action, ActionSpace, action_space
    from ringrift_cli.game.batch import PositionBatch
    from ringrift_cli.game.position import Position
    from ringrift_cli.game.record import GameRecord, read_records, write_records
    from ringrift_cli.game.result import Result

_HOMES = {
    "Action": "actions",
    "ActionSpace": "actions",
    "action_space": "actions",
    "PositionBatch": "batch",
    "Position": "position",
    "GameRecord": "record",
    "read_records": "record",
    "write_records": "record",
    "Result": "result",
}

__all__ = [
    "Action",
    "ActionSpace",
    "GameRecord",
    "Position",
    "PositionBatch",
    "Result",
    "action_space",
    "read_records",
    "write_records",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"ringrift_cli.game.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'ringrift_cli.game' has no attribute {name!r}")
