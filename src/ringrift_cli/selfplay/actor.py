"""Self-play actor: many concurrent searched games that yield training positions.

Every decision with more than one legal action is searched. With playout-cap randomisation (Wu
2019, section 3.1) a share of the decisions gets a full search and becomes training positions; the
others get a fast search, so that more games finish in the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from ringrift_cli.selfplay.sparring import Sparring
from ringrift_cli.settings import SelfPlay

LEAST_TARGET = 1e-4  # smaller probabilities are left out of the target


@dataclass
class Counts:
    """Totals of an actor."""

    games: int = 0
    decisions: int = 0
    positions: int = 0  # with a policy target
    evaluations: int = 0
    resign_checked: int = 0  # control games in which a seat would have resigned
    resign_wrong: int = 0  # of these, games won by that seat


@dataclass(frozen=True)
class SearchTarget:
    """Search result of one position, as training uses it."""

    choices: IntArray  # [m] legal actions with a probability of at least `LEAST_TARGET`
    probabilities: FloatArray  # [m] sum 1
    surprise: float  # KL(probabilities || network prior), nats
    values: FloatArray  # [players] win probabilities by seat

    @classmethod
    def of(cls, found: SearchResult) -> SearchTarget:
        """The target that follows from a search."""
        kept = np.flatnonzero(found.policy >= LEAST_TARGET)
        target = found.policy[kept] / found.policy[kept].sum()
        priors = np.maximum(found.priors[kept], 1e-12)
        surprise = max(0.0, float((target * np.log(target / priors)).sum()))
        return cls(found.actions[kept], target, surprise, found.root_values)


@dataclass
class _Game:
    """A game in progress."""

    rng: np.random.Generator
    control: bool  # never resigned, to measure wrong resignations
    actions: list[int] = field(default_factory=list)
    plies: list[int] = field(default_factory=list)
    targets: list[SearchTarget] = field(default_factory=list)  # [plies]
    full: bool = False  # whether the current search is a full one
    low: list[int] = field(default_factory=list)  # [players] consecutive low values
    resigned: int | None = None  # seat that resigned, or would have
    partner: int | None = None  # seat of the sparring partner
    row: IntArray | None = None  # the position of a game with a partner


class Actor:
    """Plays concurrent games, one per tree of `forest`.

    `next_number` returns the number of the next game, or None if there are no more; the random
    numbers of a game depend on `seed` and its number only.
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
        self.made = 0  # decisions, also of games in progress
        self._forest = forest
        partner = Sparring(setting.partner, board, players) if setting.sparring_share else None
        self._sparring = partner
        self._games: list[_Game | None] = [None] * len(forest)
        for slot in range(len(forest)):
            self._start(slot)

    @property
    def playing(self) -> int:
        """Number of games in progress."""
        return sum(game is not None for game in self._games)

    def step(self) -> list[SearchedGame]:
        """Evaluates one batch and plays the decisions it completes; returns the finished games."""
        before = self._forest.evaluated
        slots = self._forest.step()
        self.counts.evaluations += self._forest.evaluated - before
        finished, staying = self._resign(slots)
        if len(staying):
            finished += self._play(staying)
        return finished

    def resume(self, slot: int, row: IntArray, seed: int) -> None:
        """Continues the game in a slot from a position with two or more legal actions.

        For benchmarks: the record lacks the moves before `row`. A sparring partner that would be to
        move leaves the game.
        """
        game = self._game(slot)
        if game.partner is not None:
            game.row = row.copy()
            if row[L.SEAT] == game.partner:
                game.partner, game.row = None, None
        self._forest.place(slot, row, seed)
        self._search(slot, game)

    # ---- games ----------------------------------------------------------------------------------

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
        if self._sparring is not None and rng.random() < setting.sparring_share:
            game.partner, game.row = int(rng.integers(self._players)), rows[0]
            self._spar([slot], [[]])
            if game.row[L.PHASE] == L.OVER:  # nobody else had a choice
                game.partner, game.row, game.actions = None, None, list(actions[0])
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
        """Ends the games whose movers resign; returns these games and the other slots.

        A decision at which the mover resigns is not recorded.
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
        """Plays the results of the finished searches; returns the games that ended."""
        finished = []
        logs = self._forest.play(slots, self._choose(slots))
        over = self._forest.heads[slots, L.PHASE] == L.OVER
        with_partner: list[tuple[int, list[int]]] = []
        for slot, log in zip(slots.tolist(), logs, strict=True):
            game = self._game(slot)
            game.actions += log
            self.made += len(log)
            if game.partner is not None:
                with_partner.append((slot, log))
        if with_partner:
            self._spar([slot for slot, _ in with_partner], [log for _, log in with_partner])
        for slot, ended in zip(slots.tolist(), over.tolist(), strict=True):
            game = self._game(slot)
            if ended or (game.row is not None and game.row[L.PHASE] == L.OVER):
                finished.append(self._finish(slot, game))
                self._start(slot)
            else:
                self._search(slot, game)
        return finished

    def _spar(self, slots: list[int], logs: list[list[int]]) -> None:
        """Lets the partner answer to the actions just played in games with one."""
        assert self._sparring is not None
        games = [self._game(slot) for slot in slots]
        rows = np.stack([game.row for game in games if game.row is not None])
        self._sparring.follow(rows, logs)
        partners = np.array([game.partner for game in games])
        seeds = np.array([game.rng.integers(1 << 63) for game in games], np.uint64)
        answers = self._sparring.answer(rows, partners, seeds)
        for slot, game, row, answer in zip(slots, games, rows, answers, strict=True):
            game.row = row
            game.actions += answer
            if answer and row[L.PHASE] != L.OVER:
                self._forest.place(slot, row, int(game.rng.integers(1 << 63)))

    def _choose(self, slots: LongArray) -> IntArray:
        """Action to play in each slot, [K]; records the decisions with a full search."""
        games = [self._game(slot) for slot in slots.tolist()]
        opening = [len(game.actions) < self._setting.opening_decisions for game in games]
        needed = np.array([game.full or early for game, early in zip(games, opening, strict=True)])
        actions = np.zeros(len(slots), np.int32)
        if not needed.all():
            actions[~needed] = self._forest.best(slots[~needed])
        if needed.any():
            results = self._forest.results(slots[needed])
            for k, found in zip(np.flatnonzero(needed).tolist(), results, strict=True):
                actions[k] = found.actions[
                    self._draw(games[k], found) if opening[k] else found.best
                ]
                if games[k].full:
                    games[k].plies.append(len(games[k].actions))
                    games[k].targets.append(SearchTarget.of(found))
        return actions

    def _draw(self, game: _Game, found: SearchResult) -> int:
        """Index of an action sampled in the opening."""
        weights = np.power(found.policy, 1 / self._setting.opening_temperature)
        return int(game.rng.choice(len(weights), p=weights / weights.sum()))

    def _gives_up(self, game: _Game, seat: int, chance: float) -> bool:
        """Whether the seat resigns; a control game records it and continues."""
        setting = self._setting
        if game.resigned is not None:
            return False
        game.low[seat] = game.low[seat] + 1 if chance < setting.resign_below else 0
        if game.low[seat] < setting.resign_decisions or not game.actions:
            return False  # a game has at least one decision
        game.resigned = seat
        return not game.control

    def _finish(self, slot: int, game: _Game, resigned: int | None = None) -> SearchedGame:
        counts = self.counts
        row = self._forest.heads[slot] if game.row is None else game.row
        winner, reason = int(row[L.WINNER]), int(row[L.REASON])
        if resigned is not None:
            winner, reason = 1 - resigned, RESIGNED
        elif game.resigned is not None:
            counts.resign_checked += 1
            counts.resign_wrong += winner == game.resigned
        counts.games += 1
        counts.decisions += len(game.actions)
        counts.positions += len(game.plies)
        return searched_game(
            np.array(game.actions, np.int32),
            np.array(game.plies, np.int32),
            game.targets,
            winner,
            reason,
            self._players,
        )


def searched_game(
    actions: IntArray,
    plies: IntArray,
    targets: Sequence[SearchTarget],
    winner: int,
    reason: int,
    players: int,
) -> SearchedGame:
    """A game, [n] actions, with the targets of its positions, [k] plies; for a shard."""
    sizes = [len(target.choices) for target in targets]
    values = np.array([target.values for target in targets], np.float32)
    return SearchedGame(
        actions,
        plies,
        np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)]),
        _joined([target.choices for target in targets], np.int32),
        _joined([target.probabilities for target in targets], np.float32),
        np.array([target.surprise for target in targets], np.float32),
        values.reshape(len(targets), players),
        winner,
        reason,
    )


def _joined(parts: list[np.ndarray], kind: type) -> np.ndarray:
    return np.concatenate(parts).astype(kind) if parts else np.empty(0, kind)
