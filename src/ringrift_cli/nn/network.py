"""The network: a residual trunk over the board, a policy for given actions, values by seat.

    planes ── conv 3x3 ─┬─ relu ── block ── block ── … ──┬── policy: 1x1 + pooled, then by action
    scalars ── linear ──┘          (every second one     ├── pooled + scalars ── 64 ─┬─ value
                                    pools globally)      │                           └─ eliminated
                                                         └── owner of each cell at the end

Residual networks of this kind with a policy by plane and cell are AlphaZero's (Silver et al. 2018,
doi 10.1126/science.aar6404); global pooling, the pooled bias of the policy and the auxiliary
targets are KataGo's (Wu 2019, arXiv:1902.10565). Blocks are post-activation (convolution, batch
norm, relu; He et al. 2015, arXiv:1512.03385), so that each batch norm folds into the convolution
before it (folded.py).

Cells outside a hexagonal board are masked to 0 after every layer, like padding.

An action is scored by its plane's weights on the features of two cells: its own and its
destination. So even a shallow network sees the landing of a long move. The five actions without a
cell use features of the whole board, stored as an extra cell after all others. All inputs and
outputs are relative to the mover (features.py).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ringrift_cli.errors import RecordError, UsageError
from ringrift_cli.game import layout as L
from ringrift_cli.game.playout import LongArray
from ringrift_cli.game.topology import Board, board_named, check_players, tables
from ringrift_cli.nn.features import global_count, plane_count, plane_scales

SIZES = {  # blocks, channels
    "tiny": (2, 24),
    "small": (4, 32),
    "medium": (6, 64),
    "large": (10, 128),
    "huge": (15, 192),
}
VALUE_HIDDEN = 64
MAX_POLICY_FEATURES = 64
LAST_LAYER_STD = 0.005  # of policy and value: a new network is nearly uniform


@dataclass(frozen=True)
class Architecture:
    """Parameters that determine the tensors of a network."""

    board: str
    players: int
    blocks: int
    channels: int
    policy: int  # policy features per cell
    hidden: int  # units of the value head

    def __post_init__(self) -> None:
        board_named(self.board)
        check_players(self.players)
        for name in ("blocks", "channels", "policy", "hidden"):
            if getattr(self, name) < 1:
                raise UsageError(f"A network needs 1 or more {name}, not {getattr(self, name)}.")

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON object; inverse of `from_json`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, document: object) -> Architecture:
        """Inverse of `to_json`; `RecordError` for a missing, unknown or invalid field."""
        types = {field.name: {"str": str, "int": int}[str(field.type)] for field in _FIELDS}
        if not isinstance(document, dict) or set(document) != set(types):
            raise RecordError(
                f"An architecture has the fields {', '.join(types)}; this is {document!r}."
            )
        for name, kind in types.items():
            if type(document[name]) is not kind:
                raise RecordError(
                    f"The {name} of an architecture is {kind.__name__}, not {document[name]!r}."
                )
        return cls(**document)


_FIELDS = dataclasses.fields(Architecture)


def architecture(size: str, board: str, players: int) -> Architecture:
    """The architecture of a named size; `UsageError` for an unknown size."""
    if size not in SIZES:
        raise UsageError(
            f"Unknown network size {size!r}: expected one of {', '.join(SIZES)}.",
            hint="small for a CPU, medium or large for a GPU",
        )
    blocks, channels = SIZES[size]
    policy = min(max(channels, 32), MAX_POLICY_FEATURES)
    return Architecture(board, players, blocks, channels, policy, VALUE_HIDDEN)


class Heads(NamedTuple):
    """Network outputs; seats are relative, the mover first."""

    logits: Tensor  # [M] of the given actions
    value: Tensor  # [N, players] logits of the winner
    owner: Tensor  # [N, W * W, players + 1] logits of the final owner of a cell; 0: none
    eliminated: Tensor  # [N, players] final share of all rings credited to each


@dataclass(frozen=True)
class ActionTables:
    """Plane, own cell and destination cell of each action.

    Cell indices are row * W + column; W * W is the extra global cell. Planes are those of the
    action space and one for each action without a cell.
    """

    plane: LongArray  # [T_ACTIONS]
    here: LongArray  # [T_ACTIONS]
    there: LongArray  # [T_ACTIONS]


def action_tables(board: Board) -> ActionTables:
    """The tables of a board. Without a destination on the board, `there` equals `here`."""
    T = tables(board.name, 2)
    cells, planes, width = int(T[L.T_CELLS]), int(T[L.T_PLANES]), board.width
    plane = np.concatenate([np.repeat(np.arange(planes), cells), planes + np.arange(L.GLOBALS)])
    column, row = T[L.T_COLUMN : L.T_COLUMN + cells], T[L.T_ROW : L.T_ROW + cells]
    here = np.full(len(plane), width * width)
    here[: planes * cells] = np.tile(row * width + column, planes)
    there = here.copy()
    kinds = (
        (L.T_MOVE, 1, board.max_distance, 1),
        (L.T_CAPTURE, 2, board.max_distance - 1, 1),
        (L.T_RECOVER, 1, 1, 3),
    )
    for slot, nearest, reach, options in kinds:
        at = int(T[slot])
        for _ in range(options):
            for dx, dy in board.directions:
                for distance in range(nearest, nearest + reach):
                    x, y = column + distance * dx, row + distance * dy
                    on = np.array([board.contains(*to) for to in zip(x, y, strict=True)])
                    there[at : at + cells][on] = (y * width + x)[on]
                    at += cells
    return ActionTables(plane, here, there)


def board_mask(board: Board) -> Tensor:
    """Mask of the cells of the board, [1, 1, W, W] float32."""
    mask = torch.zeros(1, 1, board.width, board.width)
    for column, row in board.cells:
        mask[0, 0, row, column] = 1
    return mask


class Block(nn.Module):
    """relu(x + conv(relu(conv(x)))), with an optional pooled bias on the inner activation."""

    def __init__(self, channels: int, pools: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.pooled = nn.Linear(2 * channels, channels) if pools else None
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor, mask: Tensor, cells: int) -> Tensor:
        """Maps [N, channels, W, W] to the same shape; `mask` is [1, 1, W, W]."""
        y = torch.relu(self.norm1(self.conv1(x))) * mask
        if self.pooled is not None:
            y = y + self.pooled(pool(y, cells))[:, :, None, None] * mask
        return torch.relu(x + self.norm2(self.conv2(y))) * mask


def pool(x: Tensor, cells: int) -> Tensor:
    """Mean and maximum over the board, [N, 2 * channels]; x >= 0, and 0 off the board."""
    return torch.cat([x.sum((2, 3)) / cells, x.amax((2, 3))], 1)


class Network(nn.Module):
    """The network of an architecture, randomly initialised."""

    here: Tensor  # [T_ACTIONS]
    there: Tensor  # [T_ACTIONS]
    plane: Tensor  # [T_ACTIONS]
    mask: Tensor  # [1, 1, W, W]
    scales: Tensor  # [1, C, 1, 1]

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = a = architecture
        board = board_named(a.board)
        self.cells = len(board.cells)
        scalars, pooled = global_count(a.players), 2 * a.channels
        planes = int(tables(a.board, a.players)[L.T_PLANES]) + L.GLOBALS
        self.stem = nn.Conv2d(plane_count(a.players), a.channels, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(a.channels)
        self.stem_scalars = nn.Linear(scalars, a.channels, bias=False)
        self.blocks = nn.ModuleList(Block(a.channels, i % 2 == 1) for i in range(a.blocks))
        self.policy_cell = nn.Conv2d(a.channels, a.policy, 1, bias=False)
        self.policy_pooled = nn.Linear(pooled, a.policy)
        self.policy_global = nn.Linear(pooled, a.policy)
        self.policy_here = nn.Parameter(torch.empty(planes, a.policy))
        self.policy_there = nn.Parameter(torch.empty(planes, a.policy))
        self.policy_bias = nn.Parameter(torch.empty(planes))
        self.value_hidden = nn.Linear(pooled + scalars, a.hidden)
        self.value = nn.Linear(a.hidden, a.players)
        self.eliminated = nn.Linear(a.hidden, a.players)
        self.owner = nn.Conv2d(a.channels, a.players + 1, 1)
        found = action_tables(board)
        for name in ("here", "there", "plane"):
            table = torch.from_numpy(getattr(found, name))
            self.register_buffer(name, table, persistent=False)
        self.register_buffer("mask", board_mask(board), persistent=False)
        scales = torch.from_numpy(plane_scales(a.players)).view(1, -1, 1, 1)
        self.register_buffer("scales", scales, persistent=False)
        self._reset()

    def _reset(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, Block):
                nn.init.zeros_(module.norm2.weight)  # a new block is the identity
        for last in (self.policy_here, self.policy_there, self.value.weight):
            nn.init.normal_(last, std=LAST_LAYER_STD)
        nn.init.zeros_(self.policy_bias)

    def residual_blocks(self) -> list[Block]:
        return [block for block in self.blocks if isinstance(block, Block)]

    def trunk(self, planes: Tensor, scalars: Tensor) -> Tensor:
        """Features of each cell, [N, channels, W, W], from planes, [N, W, W, C], and scalars."""
        x = planes.permute(0, 3, 1, 2).to(scalars.dtype) * self.scales
        x = self.stem_norm(self.stem(x)) + self.stem_scalars(scalars)[:, :, None, None]
        mask = self.mask.to(x.dtype)
        x = torch.relu(x) * mask
        for block in self.residual_blocks():
            x = block(x, mask, self.cells)
        return x

    def policy_features(self, x: Tensor, pooled: Tensor) -> Tensor:
        """Policy features, [N, W * W + 1, policy]: of the cells, and the extra global cell."""
        cells = self.policy_cell(x) + self.policy_pooled(pooled)[:, :, None, None]
        whole = self.policy_global(pooled)
        return torch.relu(torch.cat([cells.flatten(2).transpose(1, 2), whole[:, None]], 1))

    def value_features(self, pooled: Tensor, scalars: Tensor) -> Tensor:
        """Hidden layer of the value head, [N, hidden]."""
        return torch.relu(self.value_hidden(torch.cat([pooled.to(scalars.dtype), scalars], 1)))

    def forward(self, planes: Tensor, scalars: Tensor, position: Tensor, action: Tensor) -> Heads:
        """The heads for planes, [N, W, W, C], scalars, [N, K], and actions of these positions.

        `action`, [M] int64, belongs to row `position`, [M] int64, of the batch.
        """
        x = self.trunk(planes, scalars)
        pooled = pool(x, self.cells)
        features = self.policy_features(x, pooled)
        row = position * features.shape[1]
        features, plane = features.flatten(0, 1), self.plane[action]
        logits = (
            (features[row + self.here[action]] * self.policy_here[plane]).sum(1)
            + (features[row + self.there[action]] * self.policy_there[plane]).sum(1)
            + self.policy_bias[plane]
        )
        hidden = self.value_features(pooled, scalars)
        return Heads(
            logits.float(),
            self.value(hidden).float(),
            self.owner(x).flatten(2).transpose(1, 2).float(),
            self.eliminated(hidden).float(),
        )

    def dense(self, planes: Tensor, scalars: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of all actions, [N, T_ACTIONS], and value logits, [N, players].

        Equal to those of `forward`; logits of illegal actions are meaningless.
        """
        x = self.trunk(planes, scalars)
        pooled = pool(x, self.cells)
        features, count = self.policy_features(x, pooled), self.policy_bias.shape[0]
        named = (features @ self.policy_here.t() + self.policy_bias).flatten(1)
        led_to = (features @ self.policy_there.t()).flatten(1)
        logits = (
            named[:, self.here * count + self.plane] + led_to[:, self.there * count + self.plane]
        )
        return logits, self.value(self.value_features(pooled, scalars))
