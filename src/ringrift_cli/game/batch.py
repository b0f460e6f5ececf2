"""Thousands of games at once, in the spirit of Gymnasium and pgx.

>>> import numpy as np
>>> from ringrift_cli.game.batch import PositionBatch
>>> batch = PositionBatch("hex8", players=2, size=512)
>>> rng = np.random.default_rng(0)
>>> while not batch.over.all():
...     batch.step(batch.sample(rng))
>>> bool((batch.rewards.sum(axis=1) == 0).all())
True
"""

from __future__ import annotations

import operator
from typing import SupportsIndex

import numpy as np
import numpy.typing as npt

from ringrift_cli.errors import IllegalMove, UsageError
from ringrift_cli.game import layout as L
from ringrift_cli.game import playout
from ringrift_cli.game.actions import ActionSpace, action_space
from ringrift_cli.game.playout import BoolArray, LongArray
from ringrift_cli.game.position import Position
from ringrift_cli.game.topology import IntArray, board_named, check_pie, check_players, tables

PASS = -1


class PositionBatch:
    """`size` games of one board and player count, advanced together on all cores.

    Seats count from 0 here, as array indices do. Games that are over stay as they are: `step` takes
    `PASS` for them, and `reset` starts them anew. `rows`, [N, row size], are the game rows
    (layout.py); the rules trust them, so a row written by hand can corrupt memory.
    """

    def __init__(self, board: str, players: int = 2, size: int = 1, *, pie_rule: bool = False):
        if size < 1:
            raise UsageError(f"A batch has at least one game, not {size}.")
        self._info = board_named(board)
        self._T = tables(self._info.name, check_players(players))
        self.pie_rule = check_pie(players, pie_rule)
        self.rows: IntArray = np.zeros((size, int(self._T[L.T_ROW_SIZE])), np.int32)
        self.reset()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: SupportsIndex) -> Position:
        """A copy of game i."""
        return Position(self._info, self.players, self.rows[operator.index(i)].copy())

    @property
    def players(self) -> int:
        return int(self._T[L.T_PLAYERS])

    @property
    def action_space(self) -> ActionSpace:
        return action_space(self._info.name)

    def reset(self, where: BoolArray | None = None) -> None:
        """Starts every game, or those where `where`, [N] bool, is true."""
        chosen = np.ones(len(self), np.bool_) if where is None else np.asarray(where, np.bool_)
        if chosen.shape != (len(self),):
            raise ValueError(f"where has shape {chosen.shape}, expected ({len(self)},)")
        playout.start_all(self._T, self.rows, chosen, self.pie_rule)

    @property
    def seats(self) -> IntArray:
        """Whose turn it is, [N]."""
        return self.rows[:, L.SEAT].copy()

    @property
    def over(self) -> BoolArray:
        """Which games are over, [N]."""
        over: BoolArray = self.rows[:, L.PHASE] == L.OVER
        return over

    @property
    def winners(self) -> IntArray:
        """Seat of the winner, [N]; -1 while the game goes on."""
        return self.rows[:, L.WINNER].copy()

    @property
    def rewards(self) -> npt.NDArray[np.float32]:
        """Outcome by seat, [N, players]: 1 for the winner, -1 / (players - 1) for the others.

        Zero while the game goes on.
        """
        rewards = np.full((len(self), self.players), -1 / (self.players - 1), np.float32)
        winners = self.rows[:, L.WINNER]
        rewards[winners < 0] = 0
        won = np.flatnonzero(winners >= 0)
        rewards[won, winners[won]] = 1
        return rewards

    def legal_actions(self) -> tuple[IntArray, LongArray]:
        """All legal actions and offsets, [M] and [N + 1].

        Game i may play `actions[offsets[i] : offsets[i + 1]]`, in no particular order.
        """
        return playout.list_all(self._T, self.rows)

    def legal_mask(self, out: BoolArray | None = None) -> BoolArray:
        """True for each legal action, [N, actions]; written to `out` if given.

        On the large boards this is over 100,000 bytes a game: `legal_actions` is the smaller form.
        """
        shape = (len(self), self.action_space.size)
        mask = np.empty(shape, np.bool_) if out is None else out
        if mask.shape != shape or mask.dtype != np.bool_:
            raise ValueError(f"out is {mask.dtype} {mask.shape}, expected bool {shape}")
        actions, offsets = self.legal_actions()
        mask[:] = False
        mask[np.repeat(np.arange(len(self)), np.diff(offsets)), actions] = True
        return mask

    def sample(self, rng: np.random.Generator) -> IntArray:
        """A uniformly random legal action for each game, [N]; `PASS` where it is over."""
        actions, offsets = self.legal_actions()
        counts = np.diff(offsets)
        chosen = offsets[:-1] + rng.integers(0, np.maximum(counts, 1))
        picked = np.full(len(self), PASS, np.int32)
        running = counts > 0
        picked[running] = actions[chosen[running]]
        return picked

    def step(self, actions: npt.ArrayLike, *, check: bool = True) -> None:
        """Plays one action in each game, [N]; `PASS` leaves a game alone.

        Raises `IllegalMove` naming the first game whose action is not legal, before any game has
        moved. `check=False` spares that, for actions known to be legal.
        """
        given = np.asarray(actions)
        chosen = np.ascontiguousarray(given, np.int32)
        if chosen.shape != (len(self),):
            raise ValueError(f"actions have shape {chosen.shape}, expected ({len(self)},)")
        if check:
            no_actions = np.flatnonzero((chosen != given) | (chosen < PASS)).tolist()
            found = [*no_actions[:1], playout.first_illegal(self._T, self.rows, chosen)]
            bad = min((i for i in found if i >= 0), default=-1)
            if bad >= 0:
                raise IllegalMove(f"Game {bad}: action {given[bad]} is not legal in {self[bad]}")
        playout.apply_all(self._T, self.rows, chosen)

    def play_out(self, seed: int) -> LongArray:
        """Plays all games to their end with random actions; returns their decisions, [N]."""
        lengths = np.zeros(len(self), np.int64)
        seeds = playout.game_seeds(seed, 0, len(self))
        playout.play_random(self._T, self.rows, seeds, np.empty((len(self), 0), np.int32), lengths)
        return lengths
