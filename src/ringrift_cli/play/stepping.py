"""Stepping through a recorded or a played game: what the keys mean."""

from __future__ import annotations

LEAVE = ("q", "quit")


def next_ply(word: str, ply: int, last: int) -> int | None:
    """The decision to go to, from 0 to `last`, by what was typed at `ply`; None if it is no key."""
    if word in ("", "n"):
        return min(ply + 1, last)
    if word == "p":
        return max(ply - 1, 0)
    if word.isdecimal() and word.isascii():
        return min(int(word[:9]), last)
    return None
