"""Who plays the games of tuning and matches: this machine, or workers (distributed.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from ringrift_cli.evaluate import match as matches
from ringrift_cli.evaluate.match import CONCURRENT, Match
from ringrift_cli.evaluate.results import PlayedGame
from ringrift_cli.evaluate.rounds import GameRound, never
from ringrift_cli.game.playout import BoolArray
from ringrift_cli.players.scoring import FloatArray


class GameRunner(Protocol):
    """Who wins these games of these candidates; the answer does not depend on who plays them."""

    def round(
        self,
        game_round: GameRound,
        candidates: FloatArray,
        should_stop: Callable[[], bool] = never,
    ) -> BoolArray:
        """As `GameRound.play`: which games each candidate, [K, features], won, [K, J, seats]."""

    def games(
        self,
        match: Match,
        tasks: Iterable[tuple[int, int]],
        *,
        concurrent: int = CONCURRENT,
        should_stop: Callable[[], bool] = never,
    ) -> Iterator[list[PlayedGame]]:
        """As `match.play`: games (block, rotation) of a match, in batches of finished ones."""


class LocalRunner:
    """`GameRunner` on this machine."""

    def round(
        self,
        game_round: GameRound,
        candidates: FloatArray,
        should_stop: Callable[[], bool] = never,
    ) -> BoolArray:
        """See `GameRunner`."""
        return game_round.play(candidates, should_stop)

    def games(
        self,
        match: Match,
        tasks: Iterable[tuple[int, int]],
        *,
        concurrent: int = CONCURRENT,
        should_stop: Callable[[], bool] = never,
    ) -> Iterator[list[PlayedGame]]:
        """See `GameRunner`."""
        return matches.play(match, tasks, concurrent=concurrent, should_stop=should_stop)


HERE: GameRunner = LocalRunner()
