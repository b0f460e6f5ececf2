"""Zobrist hashing: one 64-bit number for everything that bears on what may be played and who wins.

Zobrist (1970) xors one random word per feature of a position. The words are not stored but made by
the finaliser of splitmix64 (Steele, Lea and Flood 2014) from the number of the feature, so no table
is needed for stacks without a maximum height. Positions that came about in different ways hash
alike: the turn number, the ply, the order in which rings were numbered and the turns on
which players lost their last ring (they only rank the losers) do not count.
"""

from __future__ import annotations

import numpy as np

from ringrift_cli.game import layout as L
from ringrift_cli.game import state as st
from ringrift_cli.game.jit import njit, pointer, rule
from ringrift_cli.game.topology import IntArray


@njit()
def mix(x: np.uint64) -> np.uint64:
    """The finaliser of splitmix64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@njit()
def feature(group: int, at: int, value: int) -> np.uint64:
    """The random word of "in `group`, number `at` has `value`"."""
    number = np.uint64(group << 48 | at << 24 | value & 0xFFFFFF)
    return mix((number + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15))


@rule()
def hash_row(T: IntArray, S: IntArray) -> np.uint64:
    """The hash of a row; see `zobrist`."""
    found = feature(0, T[L.T_CELLS], T[L.T_PLAYERS])
    for cell in range(T[L.T_CELLS]):
        word = st.cell_word(T, S, cell)
        if st.kind(word) == L.STACK:
            level, ring = st.height(word), st.top_ring(T, S, cell)
            while ring >= 0:
                found ^= feature(1, cell << 12 | level, st.ring_owner(T, ring))
                level -= 1
                ring = st.below(T, S, ring)
        elif word != 0:
            found ^= feature(2, cell, word)
    for at in range(L.HEADER):
        turn_of_swap = at == L.TURN and S[L.PIE] == L.PIE_ON and S[L.TURN] <= 2
        counts = L.HAND <= at < L.TERRITORY
        names = at == L.SEAT or at == L.PHASE or L.FOCUS <= at <= L.LAST_ACTOR
        if turn_of_swap or counts or names:
            found ^= feature(3, at, S[at])
    return found


@njit()
def zobrist(T: IntArray, S: IntArray) -> np.uint64:
    """The 64-bit hash of a game row."""
    return hash_row(pointer(T), pointer(S))
