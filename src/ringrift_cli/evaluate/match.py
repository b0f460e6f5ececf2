"""Matches: many concurrent games between players, in blocks with every seating.

A block is one random legal opening, played with every seating: entrant i takes seat i in the first
game, and each further game moves all of them one seat on. Two players play two games per block, A
against B and B against A; four entrants play four. With fewer entrants than seats the last one
takes the remaining seats.

The games of a match are determined by its setting alone: game r of block b has its own opening and
its own random numbers, whatever is played at the same time and wherever it was interrupted.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ringrift_cli.errors import PlayerError, UsageError
from ringrift_cli.evaluate.results import PlayedGame, Pool, Results, match_id
from ringrift_cli.game import layout as L
from ringrift_cli.game import playout
from ringrift_cli.game.notation import REASONS
from ringrift_cli.game.position import Position
from ringrift_cli.game.topology import IntArray, board_named, tables
from ringrift_cli.game.version import rules_hash
from ringrift_cli.players.player import Decisions, Player
from ringrift_cli.players.team import Team
from ringrift_cli.selfplay.openings import play_openings

OPENING_SALT = 0x6F70656E696E67  # separates the random numbers of openings from those of play
CONCURRENT = 256


@dataclass(frozen=True)
class Match:
    """A match of two or more entrants in a pool; `UsageError` for an impossible one."""

    pool: Pool
    entrants: tuple[Player, ...]
    seed: int = 0
    opening_turns: int | None = None  # None: two for each player, or one under the pie rule
    specs: tuple[str, ...] = ()  # of the entrants as given, with the names of files

    def __post_init__(self) -> None:
        most = self.pool.players
        if not 2 <= len(self.entrants) <= most:
            raise UsageError(
                f"A game of {most} takes 2 to {most} different players, not {len(self.entrants)}."
                if most > 2
                else f"A game of 2 takes 2 players, not {len(self.entrants)}."
            )
        seen: dict[str, str] = {}
        for entrant in self.entrants:
            if entrant.identity in seen:
                program = isinstance(entrant, Team)
                raise UsageError(
                    f"{seen[entrant.identity]!r} and {entrant.spec!r} are one player: a match of"
                    " the two would measure nothing.",
                    hint='"exec:COMMAND;identity=NAME", if they are two' if program else None,
                )
            seen[entrant.identity] = entrant.spec

    @property
    def turns(self) -> int:
        """Random turns before the players take over."""
        if self.opening_turns is not None:
            return self.opening_turns
        return 1 if self.pool.pie_rule else 2 * self.pool.players

    @property
    def rotations(self) -> int:
        """Games per block."""
        return self.pool.players

    def seating(self, rotation: int) -> tuple[int, ...]:
        """Entrant of each seat, [players]."""
        n, last = self.pool.players, len(self.entrants) - 1
        return tuple(min((seat - rotation) % n, last) for seat in range(n))

    @property
    def title(self) -> str:
        """`heuristic against model:IDENTITY,sims=16`."""
        return " against ".join(self.names)

    @property
    def names(self) -> tuple[str, ...]:
        """Names for tables: specs, of programs the names that they report, if these differ."""
        names = tuple(one.name if isinstance(one, Team) else one.spec for one in self.entrants)
        unique = len({*names}) == len(names)
        return names if unique else tuple(one.spec for one in self.entrants)

    def setting(self) -> dict[str, Any]:
        """Everything that determines the games; the id of the match is its hash."""
        return {
            "board": self.pool.board,
            "players": self.pool.players,
            "pie_rule": self.pool.pie_rule,
            "rules": rules_hash(),
            "entrants": [entrant.identity for entrant in self.entrants],
            "seed": self.seed,
            "opening_turns": self.turns,
        }

    @property
    def key(self) -> str:
        """The id of the match in the results."""
        return match_id(self.setting())

    def enter(self, results: Results) -> str:
        """Enters the match in the results if it is new; its id."""
        specs = dict(zip((one.identity for one in self.entrants), self.names, strict=True))
        return results.begin(self.setting(), specs)

    def close(self) -> None:
        for entrant in self.entrants:
            entrant.close()


@dataclass
class _Table:
    """The games in progress."""

    rows: IntArray  # [C, row size]
    seeds: playout.Seeds  # [C]
    entrant: IntArray  # [C, players] who sits where
    task: list[tuple[int, int]] = field(default_factory=list)  # [C] block, rotation
    history: list[list[int]] = field(default_factory=list)  # [C] actions so far

    def keep(self, slots: list[int]) -> None:
        """Drops all other games."""
        self.rows, self.seeds = self.rows[slots], self.seeds[slots]
        self.entrant = self.entrant[slots]
        self.task = [self.task[i] for i in slots]
        self.history = [self.history[i] for i in slots]

    def add(self, other: _Table) -> None:
        self.rows = np.concatenate([self.rows, other.rows])
        self.seeds = np.concatenate([self.seeds, other.seeds])
        self.entrant = np.concatenate([self.entrant, other.entrant])
        self.task += other.task
        self.history += other.history


def play(
    match: Match,
    tasks: Iterable[tuple[int, int]],
    *,
    concurrent: int = CONCURRENT,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[list[PlayedGame]]:
    """Plays games (block, rotation) of a match; yields batches of finished ones.

    After `should_stop` no game is started or continued. `PlayerError` if a player fails: that game
    has no result, nor has any that was not yielded before.
    """
    waiting = iter(tasks)
    # a program plays few games at a time, so that these end and are recorded soon
    concurrent = min([concurrent, *(e.most for e in match.entrants if isinstance(e, Team))])
    table = _begin(match, _take(waiting, concurrent))
    while table.task and not should_stop():
        _decide(match, table, should_stop)
        if should_stop():  # a search may have been cut short: its decision must not count
            return
        over = np.flatnonzero(table.rows[:, L.PHASE] == L.OVER).tolist()
        if over:
            finished = [_finished(match, table, i) for i in over]
            left = sorted(set(range(len(table.task))) - set(over))
            table.keep(left)
            table.add(_begin(match, _take(waiting, concurrent - len(left))))
            yield finished


def replay(
    match: Match, tasks: list[tuple[int, int]], actions: Sequence[Sequence[int]]
) -> list[PlayedGame | None]:
    """The games (block, rotation) with these actions; None for one that is no complete game."""
    T = tables(match.pool.board, match.pool.players)
    table = _begin(match, tasks)
    found: list[PlayedGame | None] = [None] * len(tasks)
    for i, (task, begun) in enumerate(zip(tasks, table.history, strict=True)):
        if list(actions[i][: len(begun)]) != begun:
            continue
        row = [i]
        one = _Table(table.rows[row], table.seeds[row], table.entrant[row], [task], [begun])
        for action in actions[i][len(begun) :]:
            if one.rows[0, L.PHASE] == L.OVER or not 0 <= action < T[L.T_ACTIONS]:
                break
            chosen = np.array([action], np.int32)
            if playout.first_illegal(T, one.rows, chosen) >= 0:
                break
            _apply(T, one, chosen)
        else:
            if one.rows[0, L.PHASE] == L.OVER:
                found[i] = _finished(match, one, 0)
    return found


def _take(tasks: Iterator[tuple[int, int]], most: int) -> list[tuple[int, int]]:
    return list(itertools.islice(tasks, most))


def _begin(match: Match, tasks: list[tuple[int, int]]) -> _Table:
    """New games after their openings."""
    pool = match.pool
    blocks = sorted({block for block, _ in tasks})
    seeds = np.array(
        [playout.game_seeds(match.seed ^ OPENING_SALT, block, 1)[0] for block in blocks], np.uint64
    )
    starts, actions = play_openings(
        pool.board, pool.players, seeds, match.turns, pie_rule=pool.pie_rule
    )
    at = [blocks.index(block) for block, _ in tasks]
    games = [block * pool.players + rotation for block, rotation in tasks]
    own = np.array([playout.game_seeds(match.seed, game, 1)[0] for game in games], np.uint64)
    seatings = [match.seating(rotation) for _, rotation in tasks]
    entrant = np.array(seatings, np.int32).reshape(len(tasks), pool.players)
    return _Table(starts[at], own, entrant, list(tasks), [list(actions[i]) for i in at])


def _decide(match: Match, table: _Table, should_stop: Callable[[], bool]) -> None:
    """One decision in every game; each entrant gets all of its positions at once."""
    pool = match.pool
    T = tables(pool.board, pool.players)
    to_move = table.entrant[np.arange(len(table.rows)), table.rows[:, L.SEAT]]
    actions = np.full(len(table.rows), -1, np.int32)
    playing = [block * match.rotations + rotation for block, rotation in table.task]
    for index, entrant in enumerate(match.entrants):
        where = np.flatnonzero(to_move == index)
        if len(where) == 0:
            continue
        seeds = table.seeds[where]
        asked = Decisions(
            pool.board,
            pool.players,
            table.rows[where],
            seeds,
            [table.history[i] for i in where.tolist()],
            pool.pie_rule,
            should_stop,
            games=[playing[i] for i in where.tolist()],
            playing=playing,
        )
        actions[where] = entrant.choose(asked).actions
        table.seeds[where] = seeds
    bad = playout.first_illegal(T, table.rows, np.where(actions < 0, T[L.T_ACTIONS], actions))
    if bad >= 0:
        raise _illegal(match, table, bad, int(actions[bad]), int(to_move[bad]))
    _apply(T, table, actions)


def _apply(T: IntArray, table: _Table, actions: IntArray) -> None:
    """Legal actions, [C]; a swap exchanges the entrants of two seats."""
    swaps = actions == T[L.T_GLOBAL] + L.SWAP
    table.entrant[swaps] = table.entrant[swaps][:, ::-1]
    playout.apply_all(T, table.rows, actions)
    for history, action in zip(table.history, actions.tolist(), strict=True):
        history.append(action)


def _illegal(match: Match, table: _Table, i: int, action: int, entrant: int) -> PlayerError:
    pool, (block, rotation) = match.pool, table.task[i]
    position = Position(board_named(pool.board), pool.players, table.rows[i].copy())
    return PlayerError(
        f"Player {match.entrants[entrant].spec!r} chose action {action}, which is not legal in"
        f" {position} (block {block + 1}, game {rotation + 1}); the game is void."
    )


def _finished(match: Match, table: _Table, i: int) -> PlayedGame:
    block, rotation = table.task[i]
    winner = int(table.rows[i, L.WINNER])
    seats = table.entrant[i].tolist()
    return PlayedGame(
        block,
        rotation,
        tuple(match.entrants[e].identity for e in seats),
        winner,
        seats[winner],
        REASONS[table.rows[i, L.REASON]],
        tuple(table.history[i]),
    )
