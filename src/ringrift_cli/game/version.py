"""Versions of the rules and of the numbering of actions, each identified by a short hash.

The version of the rules (`layout.RULES`, and `CHANGES` here) increases whenever the legal moves,
outcome or result of any position change; tests/game/test_version.py pins the games of each version.
Games of earlier versions are replayed under their own rules.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache

from ringrift_cli.errors import RulesMismatch
from ringrift_cli.game import layout as L
from ringrift_cli.game.topology import BOARDS, PLAYER_COUNTS, tables

CHANGES = {  # by the version that introduced it
    2: "a player may recover whether or not a marker can slide (rules section 6)",
}
RULES = {version: f"RR-CANON 1.0, ringrift {version}" for version in range(1, L.RULES + 1)}


def _short_hash(document: object) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:12]


@cache
def rules_hash(version: int = L.RULES) -> str:
    """12 hex digits of the rules, from their name and the numbers of every board."""
    numbers = {
        f"{name}-{players}": [
            board.cells,
            board.directions,
            board.rings,
            board.line_length(players),
            board.border_grows,
            board.elimination_threshold(players),
            board.territory_threshold(players),
        ]
        for name, board in BOARDS.items()
        for players in PLAYER_COUNTS
    }
    return _short_hash([RULES[version], numbers])


def rules_version(digits: object) -> int | None:
    """The version of the rules with a hash; None if it is unknown."""
    return next((version for version in RULES if rules_hash(version) == digits), None)


def earlier_rules(version: int) -> str | None:
    """A sentence on games of an earlier version of the rules; None for the current one."""
    if version == L.RULES:
        return None
    changes = "; ".join(CHANGES[later] for later in range(version + 1, L.RULES + 1))
    return f"Played under version {version} of the rules. Since then, {changes}."


@cache
def codec_hash() -> str:
    """12 hex digits of the numbering of actions on every board."""
    first = slice(L.T_PLACE, L.T_ACTIONS + 1)
    return _short_hash({name: tables(name, 2)[first].tolist() for name in BOARDS})


def check_current(place: object, rules: str, codec: str, hint: str) -> None:
    """`RulesMismatch` unless both hashes, of the games at a place, are the current ones."""
    for name, found, own in (("rules", rules, rules_hash()), ("codec", codec, codec_hash())):
        if found != own:
            version = rules_version(found)
            known = "" if version is None else f" (version {version})"
            raise RulesMismatch(
                f"{place} was made under the {name} {found!r:.40}{known}, but these are {own!r}.",
                hint,
            )
