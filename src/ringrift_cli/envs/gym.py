"""The game for Gymnasium: a learner against players named by their specs (docs/envs.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from ringrift_cli.envs.views import RENDER_MODES, Observer, first
from ringrift_cli.errors import UsageError
from ringrift_cli.game.batch import PASS, PositionBatch
from ringrift_cli.game.playout import BoolArray, LongArray
from ringrift_cli.game.topology import IntArray
from ringrift_cli.players.player import Decisions, Player
from ringrift_cli.players.spec import make_player

Info: TypeAlias = dict[str, Any]
Mask: TypeAlias = npt.NDArray[np.int8]
Rewards: TypeAlias = npt.NDArray[np.float32]


class RingRiftVectorEnv(VectorEnv[Any, Any, Any]):
    """N games in which the learner has one seat each, or without opponents every one.

    A step plays an action in each game and the replies of the opponents; rewards are those of the
    learner's seat. The step after the end of a game ignores the action and starts the next game.
    `infos` have [N] `seat`, `winner` (a seat, or 0) and `illegal`, and with `masks` the
    `action_mask`, [N, actions]. Seats count from 1.
    """

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int = 1,
        board: str = "hex8",
        players: int = 2,
        *,
        opponents: str | Sequence[str] | None = "random",
        seat: int | None = None,
        pie_rule: bool = False,
        observation: str = "planes",
        masks: bool = True,
        render_mode: str | None = None,
    ) -> None:
        """`opponents`: a player spec, or one for each seat behind the learner's; `seat`: that of
        the learner, or None to draw it for each game; others as of `Observer`. `UsageError`.
        """
        self.num_envs, self.render_mode, self._masks = num_envs, render_mode, masks
        self._view = Observer(board, players, observation, render_mode)
        self.games = PositionBatch(board, players, num_envs, pie_rule=pie_rule)
        specs = [opponents] * (players - 1) if isinstance(opponents, str) else opponents
        self._board, self._specs, self._seat = board, tuple(specs or ()), seat
        if len(self._specs) not in (0, players - 1):
            raise UsageError(f"There are {len(self._specs)} opponents, expected {players - 1}.")
        if seat is not None and not (self._specs and 1 <= seat <= players):
            raise UsageError(f"seat is {seat}, expected 1 to {players}, with opponents.")
        self._players: dict[str, Player] = {}
        self._learners, self._seeds = np.zeros(num_envs, np.int32), np.zeros(num_envs, np.uint64)
        self.over = np.ones(num_envs, np.bool_)
        self.legal: tuple[IntArray, LongArray] = self.games.legal_actions()  # actions, offsets
        self.single_observation_space = self._view.space()
        self.single_action_space = Discrete(self._view.actions)
        single = self.single_observation_space, self.single_action_space
        self.observation_space, self.action_space = (batch_space(s, num_envs) for s in single)

    def __getstate__(self) -> Info:
        return self.__dict__ | {"_players": {}}  # they are made again from their specs

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Any, Info]:
        """Starts all games anew; `seed` decides seats, the moves of opponents, and `sample`."""
        super().reset(seed=seed)
        self._start(np.ones(self.num_envs, np.bool_))
        self.over = np.zeros(self.num_envs, np.bool_)
        return self._seen(self.over)

    def step(self, actions: npt.ArrayLike) -> tuple[Any, Rewards, BoolArray, BoolArray, Info]:
        chosen, new, (legal, offsets) = np.asarray(actions), self.over, self.legal
        if chosen.shape != new.shape:
            raise ValueError(f"actions have shape {chosen.shape}, expected {new.shape}")
        found = np.append(legal == np.repeat(chosen, np.diff(offsets)), False)
        illegal = ~(np.logical_or.reduceat(found, offsets[:-1]) | new)
        actors = self._seats()
        self.games.step(np.where(illegal | new, PASS, chosen), check=False)
        self._start(new)
        rewards = self.games.rewards[np.arange(self.num_envs), actors]
        rewards[illegal] = -1  # it ends the game
        self.over = self.games.over | illegal
        observations, infos = self._seen(illegal)
        return observations, rewards, self.over.copy(), np.zeros_like(new), infos

    def action_masks(self) -> Mask:
        """Masks of the legal actions, [N, actions]; action 0 where the game is over."""
        actions, offsets = self.legal
        mask = np.zeros((self.num_envs, self._view.actions), np.int8)
        mask[np.repeat(np.arange(self.num_envs), np.diff(offsets)), actions] = 1
        mask[self.games.over, 0] = 1
        return mask

    def sample(self) -> IntArray:
        """A random legal action for each game, [N]; any where the game is over."""
        actions, offsets = self.legal
        drawn = self.np_random.integers(offsets[:-1], np.maximum(offsets[1:], offsets[:-1] + 1))
        return actions[np.minimum(drawn, len(actions) - 1)]

    def render(self) -> Any:
        """The pictures of all games."""
        return tuple(self._view.render(self.games[i]) for i in range(self.num_envs))

    def close_extras(self, **_options: Any) -> None:
        for player in self._players.values():
            player.close()

    def _seats(self) -> IntArray:
        """The seats, from 0, for which the learner decides next, [N]."""
        return self._learners.copy() if self._specs else self.games.seats

    def _seen(self, illegal: BoolArray) -> tuple[Any, Info]:
        seats = self._seats()
        infos = {"seat": seats + 1, "winner": self.games.winners + 1, "illegal": illegal.copy()}
        infos |= {"action_mask": self.action_masks()} if self._masks else {}
        present = {f"_{name}": np.ones(self.num_envs, np.bool_) for name in infos}
        return self._view.observe(self.games.rows, seats), infos | present

    def _start(self, where: BoolArray) -> None:
        """Starts games where `where`, [N], is true; then the opponents play up to the learner."""
        self.games.reset(where)
        count, players = int(where.sum()), self.games.players
        drawn = self.np_random.integers(0, players, count, np.int32)
        self._learners[where] = drawn if self._seat is None else self._seat - 1
        self._seeds[where] = self.np_random.integers(0, 2**64, count, np.uint64)
        while self._specs:
            behind = np.where(self.games.over, 0, (self.games.seats - self._learners) % players)
            if not behind.any():
                break
            actions = np.full(self.num_envs, PASS, np.int32)
            for number, spec in enumerate(self._specs, 1):
                at = np.flatnonzero(behind == number)
                actions[at] = self._chosen(spec, at) if len(at) else PASS
            self.games.step(actions)
        self.legal = self.games.legal_actions()

    def _chosen(self, spec: str, at: LongArray) -> IntArray:
        players = self.games.players
        if spec not in self._players:
            self._players[spec] = make_player(spec, self._board, players)
        rows, seeds, unknown = self.games.rows[at], self._seeds[at], [None] * len(at)
        asked = Decisions(self._board, players, rows, seeds, unknown, self.games.pie_rule)
        actions = self._players[spec].choose(asked).actions
        self._seeds[at] = seeds
        return actions


class RingRiftEnv(gymnasium.Env[Any, Any]):
    """One such game, with the arguments after `num_envs`; at its end `info` has a `reason`."""

    metadata = {"render_modes": [*RENDER_MODES], "render_fps": 2}  # noqa: RUF012

    def __init__(self, *args: Any, **options: Any) -> None:
        self._envs = RingRiftVectorEnv(1, *args, **options)
        self.render_mode = self._envs.render_mode
        self.observation_space = self._envs.single_observation_space
        self.action_space = self._envs.single_action_space

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Any, Info]:
        super().reset(seed=seed)
        self._envs.np_random = self.np_random
        observations, infos = self._envs.reset()
        return first(observations), self._info(infos)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, Info]:
        if self._envs.over[0]:
            raise ResetNeeded("No game is running: call reset first.")
        observations, rewards, over, _, infos = self._envs.step([action])
        return first(observations), float(rewards[0]), bool(over[0]), False, self._info(infos)

    def _info(self, infos: Info) -> Info:
        result = self._envs.games[0].result()
        info = {name: infos[name][0].item() for name in ("seat", "winner", "illegal")}
        info |= {"reason": result.reason} if result else {}
        return info | ({"action_mask": infos["action_mask"][0]} if "action_mask" in infos else {})

    def action_masks(self) -> Mask:
        """The mask of the legal actions, [actions], as sb3-contrib asks for it."""
        mask: Mask = self._envs.action_masks()[0]
        return mask

    def render(self) -> Any:
        return self._envs.render()[0]

    def close(self) -> None:
        self._envs.close()
