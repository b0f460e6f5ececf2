"""What an environment shows of a game: observations and pictures."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from ringrift_cli.errors import UsageError
from ringrift_cli.game import layout as L
from ringrift_cli.game.position import Position
from ringrift_cli.game.topology import IntArray, board_named, check_players, tables
from ringrift_cli.nn.features import encode_all, global_count, plane_scales

FORMS = ("planes", "encoder", "rows")
RENDER_MODES = ("ansi", "rgb_array", "svg")
HIGHEST = 255  # of any plane or scalar


class Observer:
    """Observations of a board and number of players, in a form of docs/envs.md, and pictures.

    planes     [W, W, C + K] float32: the planes of nn/features.py, scaled, and each scalar as a
               constant plane
    encoder    `planes`, [W, W, C] uint8, and `scalars`, [K] float32, of nn/features.py
    rows       [row size] int32: the game rows (game/layout.py)
    """

    def __init__(self, board: str, players: int, form: str, mode: str | None = None) -> None:
        """`mode`: one of `RENDER_MODES`. `UsageError` if an argument has no such value."""
        self._T = tables(board_named(board).name, check_players(players))
        self._form, self._mode, self._scales = form, mode, plane_scales(players)
        self.actions = int(self._T[L.T_ACTIONS])
        if form not in FORMS:
            raise UsageError(f"Unknown observation {form!r}: expected one of {', '.join(FORMS)}.")
        if mode not in (None, *RENDER_MODES):
            raise UsageError(f"Unknown render mode {mode!r}: expected {', '.join(RENDER_MODES)}.")

    def space(self) -> spaces.Space[Any]:
        """A new observation space."""
        width, scalars = int(self._T[L.T_ROWS]), global_count(int(self._T[L.T_PLAYERS]))
        planes = len(self._scales)
        if self._form == "planes":
            return spaces.Box(0, HIGHEST, (width, width, planes + scalars), np.float32)
        if self._form == "rows":
            return spaces.Box(-(2**31), 2**31 - 1, (int(self._T[L.T_ROW_SIZE]),), np.int32)
        board = spaces.Box(0, HIGHEST, (width, width, planes), np.uint8)
        rest = spaces.Box(0, HIGHEST, (scalars,), np.float32)
        return spaces.Dict({"planes": board, "scalars": rest})

    def observe(self, rows: IntArray, seats: npt.ArrayLike) -> Any:
        """Observations of game rows, [N, row size], each by a seat from 0, [N]; first axis N."""
        rows = rows.copy()
        if self._form == "rows":
            return rows
        rows[:, L.SEAT] = seats
        planes, scalars = encode_all(self._T, rows)
        if self._form == "encoder":
            return {"planes": planes, "scalars": scalars}
        shape = (*planes.shape[:3], scalars.shape[1])
        constant = np.broadcast_to(scalars[:, None, None], shape)
        return np.concatenate([planes * self._scales, constant], axis=3)

    def render(self, position: Position) -> Any:
        """The board as text, RGB array [height, width, 3] uint8 or SVG; None without a mode."""
        if self._mode == "rgb_array":
            from PIL import Image

            with Image.open(io.BytesIO(position.board.png())) as image:
                return np.array(image.convert("RGB"))
        if self._mode == "svg":
            return position.board.svg()
        return position.board.text() if self._mode == "ansi" else None


def first(seen: Any) -> Any:
    """The first observation of a batch."""
    return {name: part[0] for name, part in seen.items()} if isinstance(seen, dict) else seen[0]
