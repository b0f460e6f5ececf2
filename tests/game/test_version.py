"""Rules and records belong together: whoever changes a rule must say so in `version.RULES`."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from ringrift_cli.game import version
from ringrift_cli.game.position import Position
from ringrift_cli.game.topology import IntArray
from tests.walks import CONFIGURATIONS, kinds

RULES_HASHES = {1: "07250b19ffb4", 2: "2e4f887ce48b"}
CODEC_HASH = "d0de30a39528"
# Digests of some games of each board and number of players: see `digest_of_games`
GAMES = {
    ("square8", 2): "7fc29a52a866ce08",
    ("square8", 3): "bdbf7c36799715bb",
    ("square8", 4): "156d43ac99595a01",
    ("square19", 2): "5d8c4778aebf0f58",
    ("square19", 3): "581ec971ce093cc1",
    ("square19", 4): "29181a7628c29b01",
    ("hex8", 2): "209d07343d12a69e",
    ("hex8", 3): "c934caf4c3096364",
    ("hex8", 4): "2853cf9b1c911140",
    ("hexagonal", 2): "15e839d830e6e4c3",
    ("hexagonal", 3): "922996d7661b2326",
    ("hexagonal", 4): "da5991a057219f93",
}
PLIES = 160  # of a game on a large board

RULES_CHANGED = """
The games of {board} with {players} players are no longer what they were.
If the rules changed: give them a new version in src/ringrift_cli/game/version.py, let the engine
replay the old ones, and put the new hashes and digests here. If they should not have, they did.
"""
CODEC_CHANGED = """
Actions are numbered in another way: compact records and networks made before are worthless.
If that is meant, put the new hash here.
"""


class Dice:
    """A generator that no release of another package can change (Lehmer's, of 1951)."""

    def __init__(self, seed: int) -> None:
        self.state = seed * 2 + 1

    def below(self, n: int) -> int:
        self.state = self.state * 48271 % 2147483647
        return self.state % n


def choose(position: Position, dice: Dice) -> int:
    """A kind of move, all alike, and then a move of that kind."""
    legal: IntArray = position.legal_actions()
    found = kinds(position.board_name, legal)
    present = np.unique(found)
    moves = legal[found == present[dice.below(len(present))]]
    return int(moves[dice.below(len(moves))])


def digest_of_games(board: str, players: int, rules: int) -> str:
    """Of every position, its legal actions, and the result of some games."""
    digest = hashlib.sha256()
    small = board.endswith("8")
    for seed in range(1, 13 if small else 2):
        dice = Dice(seed)
        pie = players == 2 and seed % 2 == 1
        position = Position.initial(board, players, pie_rule=pie, rules=rules)
        while not position.is_over and (small or position.ply < PLIES):
            digest.update(str(position).encode())
            digest.update(position.legal_actions().astype("<i4").tobytes())
            position = position.play(choose(position, dice))
        digest.update(f"{position} {position.result()}".encode())
    return digest.hexdigest()[:16]


@pytest.mark.parametrize("rules", RULES_HASHES)
@pytest.mark.parametrize(("board", "players"), CONFIGURATIONS)
def test_games_are_what_they_were_under_their_rules(board: str, players: int, rules: int) -> None:
    """The versions differ in positions so rare that none of these games has one."""
    message = RULES_CHANGED.format(board=board, players=players)
    assert digest_of_games(board, players, rules) == GAMES[board, players], message


def test_rules_are_named_by_their_hash() -> None:
    assert {v: version.rules_hash(v) for v in version.RULES} == RULES_HASHES
    assert version.rules_hash() == RULES_HASHES[2]
    assert [version.rules_version(digits) for digits in RULES_HASHES.values()] == [1, 2]
    assert version.rules_version("0" * 12) is None


def test_numbering_of_actions_is_named_by_its_hash() -> None:
    assert version.codec_hash() == CODEC_HASH, CODEC_CHANGED


def test_another_name_of_the_rules_is_another_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    before = version.rules_hash()
    monkeypatch.setattr(version, "RULES", {2: "other rules"})
    assert version.rules_hash.__wrapped__() != before
    assert len(before) == len(version.codec_hash()) == 12
