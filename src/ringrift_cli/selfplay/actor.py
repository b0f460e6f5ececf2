"""Self-play with a search: many games side by side, and what each of them teaches.

Every decision with a choice is searched. With playout-cap randomisation (Wu 2019, section 3.1) a
share of them is searched in full: these become training positions. The others get few simulations,
so that more games end, and more winners are learnt from, in the same time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ringrift_cli.data.shard import SearchedGame
from ringrift_cli.data.shard_checks import RESIGNED
from ringrift_cli.game import layout as L
from ringrift_cli.game.playout import LongArray
from ringrift_cli.game.topology import IntArray
from ringrift_cli.search.forest import Searches
from ringrift_cli.search.gumbel import considered_actions
from ringrift_cli.search.results import SearchResult
from ringrift_cli.search.tree import FloatArray
from ringrift_cli.selfplay.openings import play_openings
from ringrift_cli.settings import SelfPlay

LEAST_TARGET = 1e-4  # a smaller probability is left out of the target


@dataclass
class Counts:
    """What an actor did so far."""

    games: int = 0
    decisions: int = 0
    positions: int = 0  # with a policy target
    evaluations: int = 0
    resign_checked: int = 0  # played-through games in which somebody would have resigned
    resign_wrong: int = 0  # of these, won by that seat


@dataclass
class _Game:
    """One game under way."""

    rng: np.random.Generator
    control: bool  # is played through whatever its values say
    actions: list[int] = field(default_factory=list)
    plies: list[int] = field(default_factory=list)
    choices: list[np.ndarray] = field(default_factory=list)
    targets: list[FloatArray] = field(default_factory=list)
    surprise: list[float] = field(default_factory=list)
    values: list[FloatArray] = field(default_factory=list)
    full: bool = False  # the search under way
    low: list[int] = field(default_factory=list)  # [players] hopeless decisions in a row
    resigned: int | None = None  # seat that gave up, or would have


class Actor:
    """Plays games of one board and number of players, as many at a time as `forest` has trees.

    `next_number` hands out the numbers of the games to play and None when there are no more; what
    is drawn in a game depends on `seed` and its number.
    """

    def __init__(
        self,
        board: str,
        players: int,
        setting: SelfPlay,
        forest: Searches,
        next_number: Callable[[], int | None],
        *,
        seed: int = 0,
        pie_rule: bool = False,
    ) -> None:
        self._board, self._players, self._pie_rule = board, players, pie_rule
        self._setting, self._seed, self._next_number = setting, seed, next_number
        self.counts = Counts()
        self._forest = forest
        self._games: list[_Game | None] = [None] * len(forest)
        for slot in range(len(forest)):
            self._start(slot)

    @property
    def playing(self) -> int:
        """How many games are under way."""
        return sum(game is not None for game in self._games)

    def step(self) -> list[SearchedGame]:
        """One evaluator batch, and the decisions it settles; the games that ended."""
        before = self._forest.evaluated
        slots = self._forest.step()
        self.counts.evaluations += self._forest.evaluated - before
        finished, staying = self._resign(slots)
        if len(staying):
            finished += self._play(staying)
        return finished

    def resume(self, slot: int, row: IntArray, seed: int) -> None:
        """Lets the game in a slot go on from a position with two legal actions or more.

        For measurements: its record lacks what led there.
        """
        self._forest.place(slot, row, seed)
        self._search(slot, self._game(slot))

    # ---- the course of a game --------------------------------------------------------------------

    def _start(self, slot: int) -> None:
        number = self._next_number()
        if number is None:
            self._games[slot] = None
            return
        rng = np.random.default_rng([self._seed, number])
        setting = self._setting
        game = _Game(rng, bool(rng.random() < setting.resign_control_share))
        game.low = [0] * self._players
        self._games[slot] = game
        turns = 0
        if rng.random() < setting.random_opening_share:
            turns = int(rng.integers(1, 2 * self._players + 1))
        seeds = rng.integers(0, 1 << 63, 2, dtype=np.uint64)
        rows, actions = play_openings(
            self._board, self._players, seeds[:1], turns, pie_rule=self._pie_rule
        )
        game.actions = list(actions[0])
        self._forest.place(slot, rows[0], int(seeds[1]))
        self._search(slot, game)

    def _search(self, slot: int, game: _Game) -> None:
        setting = self._setting
        game.full = bool(game.rng.random() < setting.full_share)
        if game.full:
            considered = considered_actions(setting.sims, setting.considered)
            self._forest.begin(slot, setting.sims, considered, noise=1.0)
        else:
            considered = considered_actions(setting.fast_sims, setting.fast_considered)
            self._forest.begin(slot, setting.fast_sims, considered)

    def _game(self, slot: int) -> _Game:
        game = self._games[slot]
        assert game is not None
        return game

    def _resign(self, slots: LongArray) -> tuple[list[SearchedGame], LongArray]:
        """Ends the games whose movers give up; these games, and the slots of the others.

        A decision in which the mover gives up is none of the game's.
        """
        setting = self._setting
        if setting.resign_below <= 0 or self._players > 2 or len(slots) == 0:
            return [], slots
        finished, staying = [], []
        values = self._forest.root_values(slots)
        for slot, chances in zip(slots.tolist(), values, strict=True):
            game, seat = self._game(slot), int(self._forest.heads[slot, L.SEAT])
            if self._gives_up(game, seat, float(chances[seat])):
                finished.append(self._finish(slot, game, resigned=seat))
                self._start(slot)
            else:
                staying.append(slot)
        return finished, np.array(staying, np.int64)

    def _play(self, slots: LongArray) -> list[SearchedGame]:
        """Plays what the searches of slots came to; the games that this ends."""
        finished = []
        logs = self._forest.play(slots, self._choose(slots))
        over = self._forest.heads[slots, L.PHASE] == L.OVER
        for slot, log, ended in zip(slots.tolist(), logs, over.tolist(), strict=True):
            game = self._game(slot)
            game.actions += log
            if ended:
                finished.append(self._finish(slot, game))
                self._start(slot)
            else:
                self._search(slot, game)
        return finished

    def _choose(self, slots: LongArray) -> IntArray:
        """What to play in each slot, [K]; decisions that were searched in full are noted."""
        games = [self._game(slot) for slot in slots.tolist()]
        opening = [len(game.actions) < self._setting.opening_decisions for game in games]
        asked = np.array([game.full or early for game, early in zip(games, opening, strict=True)])
        actions = np.zeros(len(slots), np.int32)
        if not asked.all():
            actions[~asked] = self._forest.best(slots[~asked])
        if asked.any():
            results = self._forest.results(slots[asked])
            for k, found in zip(np.flatnonzero(asked).tolist(), results, strict=True):
                actions[k] = found.actions[
                    self._draw(games[k], found) if opening[k] else found.best
                ]
                if games[k].full:
                    _record(games[k], found)
        return actions

    def _draw(self, game: _Game, found: SearchResult) -> int:
        """An action of an opening, by its index."""
        weights = np.power(found.policy, 1 / self._setting.opening_temperature)
        return int(game.rng.choice(len(weights), p=weights / weights.sum()))

    def _gives_up(self, game: _Game, seat: int, chance: float) -> bool:
        """Whether the seat resigns now; a control game notes it and goes on."""
        setting = self._setting
        if game.resigned is not None:
            return False
        game.low[seat] = game.low[seat] + 1 if chance < setting.resign_below else 0
        if game.low[seat] < setting.resign_decisions or not game.actions:
            return False  # a game has a decision at least
        game.resigned = seat
        return not game.control

    def _finish(self, slot: int, game: _Game, resigned: int | None = None) -> SearchedGame:
        row, counts = self._forest.heads[slot], self.counts
        winner, reason = int(row[L.WINNER]), int(row[L.REASON])
        if resigned is not None:
            winner, reason = 1 - resigned, RESIGNED
        elif game.resigned is not None:
            counts.resign_checked += 1
            counts.resign_wrong += winner == game.resigned
        counts.games += 1
        counts.decisions += len(game.actions)
        counts.positions += len(game.plies)
        sizes = [len(chosen) for chosen in game.choices]
        return SearchedGame(
            np.array(game.actions, np.int32),
            np.array(game.plies, np.int32),
            np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)]),
            _joined(game.choices, np.int32),
            _joined(game.targets, np.float32),
            np.array(game.surprise, np.float32),
            np.array(game.values, np.float32).reshape(len(game.values), self._players),
            winner,
            reason,
        )


def _joined(parts: list[np.ndarray], kind: type) -> np.ndarray:
    return np.concatenate(parts).astype(kind) if parts else np.empty(0, kind)


def _record(game: _Game, found: SearchResult) -> None:
    """Notes a decision that was searched in full as a training position."""
    kept = np.flatnonzero(found.policy >= LEAST_TARGET)
    target = found.policy[kept] / found.policy[kept].sum()
    priors = np.maximum(found.priors[kept], 1e-12)
    game.plies.append(len(game.actions))
    game.choices.append(found.actions[kept])
    game.targets.append(target)
    game.surprise.append(max(0.0, float((target * np.log(target / priors)).sum())))
    game.values.append(found.root_values)
