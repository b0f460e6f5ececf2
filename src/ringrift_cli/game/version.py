"""What a record was made under: the rules and the numbering of actions, each as a short hash.

The rules get a new version (`layout.RULES`, and its name here) whenever any position gets another
legal move, outcome or result; `tests/game/test_version.py` holds it to the games and counts that go
with it. Games of earlier versions are replayed under the rules that they were played by.

    1   a player may recover only if a marker can slide
    2   a player may recover whether or not a marker can slide (rules section 6)
"""

from __future__ import annotations

import hashlib
import json
from functools import cache

from ringrift_cli.game import layout as L
from ringrift_cli.game.topology import BOARDS, PLAYER_COUNTS, tables

RULES = {version: f"RR-CANON 1.0, ringrift {version}" for version in range(1, L.RULES + 1)}


def _short_hash(document: object) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:12]


@cache
def rules_hash(version: int = L.RULES) -> str:
    """12 hex digits of the rules: their name and the numbers of every board and player count."""
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
    """The version of the rules with this hash; None if this program does not know them."""
    return next((version for version in RULES if rules_hash(version) == digits), None)


@cache
def codec_hash() -> str:
    """12 hex digits of the numbering of actions on every board."""
    first = slice(L.T_PLACE, L.T_ACTIONS + 1)
    return _short_hash({name: tables(name, 2)[first].tolist() for name in BOARDS})
