"""The keys that step through a game."""

from __future__ import annotations

import pytest

from ringrift_cli.play.screen import next_ply


@pytest.mark.parametrize(
    ("word", "ply", "there"),
    [
        ("", 3, 4),
        ("n", 3, 4),
        ("n", 9, 9),
        ("p", 3, 2),
        ("p", 0, 0),
        ("0", 3, 0),
        ("7", 3, 7),
        ("10", 3, 9),
        ("9" * 5000, 3, 9),
        ("-1", 3, None),
        ("²", 3, None),
        ("٣", 3, None),
        ("q", 3, None),
        ("next", 3, None),
    ],
)
def test_every_key_stays_in_the_game(word: str, ply: int, there: int | None) -> None:
    assert next_ply(word, ply, 9) == there
