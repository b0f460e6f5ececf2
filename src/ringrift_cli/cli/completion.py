"""Shell completion of players, models and settings. Nothing heavy is imported."""

from __future__ import annotations

from pathlib import Path

import typer

from ringrift_cli import settings
from ringrift_cli.errors import RingriftError
from ringrift_cli.settings import Run

PLAYERS = (
    "random",
    "heuristic",
    "heuristic:default",
    "heuristic:tuned",
    "mcts:sims=",
    "mcts:seconds=",
    "exec:",
)


def models(context: typer.Context) -> list[str]:
    """Names of the models of the pool that the command line has named so far."""
    try:
        given = settings.given(None)
    except RingriftError:
        given = {}

    def value(name: str, label: str, default: object) -> object:
        return context.params.get(name) or given.get(label, default)

    folder = Path(str(value("folder", "run.models", Run.models)))
    board = value("board", "run.board", Run.board)
    pool = f"{board}-{value('players', 'run.players', Run.players)}p"
    pool += "-pie" * bool(context.params.get("pie"))
    found = sorted(path.stem for path in (folder / pool).glob("*.json"))
    return ["champion", "previous", "shipped", *(name for name in found if name != "champion")]


def players(context: typer.Context) -> list[str]:
    """Player specs, with the models of the pool."""
    return list(dict.fromkeys([*PLAYERS, *(f"model:{name}" for name in models(context))]))


def setting_texts(incomplete: str) -> list[str]:
    """`SECTION.KEY=` of each setting, with the values where they can be listed."""
    label = incomplete.partition("=")[0]
    declared = settings.DECLARED.get(label)
    if "=" in incomplete and declared is not None:
        return [f"{label}={choice}" for choice in declared.choices]
    return [f"{name}=" for name in settings.DECLARED]
