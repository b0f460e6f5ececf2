"""The game as an environment of PettingZoo and Gymnasium (docs/envs.md); extra `env`.

Importing this registers the Gymnasium ids, as ringrift/hex8-2p-v0.
"""

from __future__ import annotations

import gymnasium

from ringrift_cli.game.topology import BOARDS

for _board in BOARDS:
    for _players in (2, 3, 4):
        gymnasium.register(
            f"ringrift/{_board}-{_players}p-v0",
            entry_point="ringrift_cli.envs.gym:RingRiftEnv",
            vector_entry_point="ringrift_cli.envs.gym:RingRiftVectorEnv",
            kwargs={"board": _board, "players": _players},
        )
