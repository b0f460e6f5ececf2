"""The game for PettingZoo: every seat is an agent, which acts when it is to move (docs/envs.md)."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo import AECEnv
from pettingzoo.utils import wrappers

from ringrift_cli.envs.views import RENDER_MODES, Observer, first
from ringrift_cli.game.position import Position


def env(**options: Any) -> AECEnv:
    """The environment for learners, with the options of `raw_env`.

    An illegal action ends the game with -1 for its agent and 0 for the others.
    """
    strict = wrappers.TerminateIllegalWrapper(raw_env(**options), illegal_reward=-1)
    return wrappers.OrderEnforcingWrapper(wrappers.AssertOutOfBoundsWrapper(strict))


class raw_env(AECEnv):  # type: ignore[misc]  # PettingZoo ships no types
    """The environment without wrappers: an illegal action raises `IllegalMove`.

    At the end the winner's reward is 1, that of others -1 / (players - 1), and `infos` have
    `winner` (an agent), `reason` and the agent's `rank`.
    """

    metadata = {"name": "ringrift_v0", "render_modes": [*RENDER_MODES], "render_fps": 2}  # noqa: RUF012

    def __init__(
        self,
        board: str = "hex8",
        players: int = 2,
        *,
        pie_rule: bool = False,
        observation: str = "planes",
        render_mode: str | None = None,
    ) -> None:
        """`observation` and `render_mode` as in views.py; `UsageError` for other values."""
        super().__init__()
        self.render_mode = render_mode
        self._view = Observer(board, players, observation, render_mode)
        self._start = self.position = Position.initial(board, players, pie_rule=pie_rule)
        self.possible_agents = [f"player_{seat}" for seat in range(1, players + 1)]
        self.action_spaces, self.observation_spaces = {}, {}
        for agent in self.possible_agents:
            mask = spaces.Box(0, 1, (self._view.actions,), np.int8)
            both = {"observation": self._view.space(), "action_mask": mask}
            self.action_spaces[agent] = spaces.Discrete(self._view.actions)
            self.observation_spaces[agent] = spaces.Dict(both)

    def action_space(self, agent: str) -> spaces.Discrete:
        return self.action_spaces[agent]

    def observation_space(self, agent: str) -> spaces.Dict:
        return self.observation_spaces[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Starts a game. There is no chance in it: `seed` decides nothing."""
        self.position = self._start
        self.agents = self.possible_agents[:]
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = self.rewards.copy()
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = self.terminations.copy()
        self.infos: dict[str, dict[str, Any]] = {agent: {} for agent in self.agents}
        self.agent_selection = self.possible_agents[self.position.seat - 1]

    def observe(self, agent: str) -> dict[str, Any]:
        """What an agent sees; its mask is empty while another one is to move."""
        seat = self.possible_agents.index(agent)
        mask = self.position.legal_mask() & (self.position.seat == seat + 1)
        seen = first(self._view.observe(self.position.row[None], seat))
        return {"observation": seen, "action_mask": mask.astype(np.int8)}

    def step(self, action: int | None) -> None:
        """Plays the action of the agent to move; None after the end of the game."""
        if self.terminations[self.agent_selection]:
            self._was_dead_step(action)
            return
        self._cumulative_rewards[self.agent_selection] = 0.0
        self._clear_rewards()
        self.position = self.position.play(action)  # type: ignore[arg-type]  # None is an error
        self.agent_selection = self.possible_agents[self.position.seat - 1]
        result = self.position.result()
        if result is not None:
            winner = self.possible_agents[result.winner - 1]
            for agent, rank in zip(self.possible_agents, result.ranks, strict=True):
                self.rewards[agent] = 1.0 if agent == winner else -1 / (len(self.agents) - 1)
                self.terminations[agent] = True
                self.infos[agent] = {"winner": winner, "reason": result.reason, "rank": rank}
        self._accumulate_rewards()
        self._deads_step_first()

    def render(self) -> Any:
        return self._view.render(self.position)
