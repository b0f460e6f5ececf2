"""The action space: every decision of a board has one number, and every number one meaning.

An action is a plane times a cell, `plane * cells + cell`, so that a policy head is a convolution;
five decisions without a cell follow at the end. D directions, A axes (topology.py), M the longest
distance. docs/actions.md draws each plane.

    planes        kind           the cell            the plane
    3             place          where               1, 2 or 3 rings
    D * M         move           from                direction, distance 1 .. M
    D * (M - 1)   capture        from                direction, distance of the landing 2 .. M
    3 * D         recover        from                line, fallback, strike; direction
    A             line_all       first of the line   axis
    A             line_part      first of L cells    axis
    1             eliminate      which stack
    1             extract        which stack
    5             region         lowest of it        border: none, markers of seat 1 .. 4
    1             forced         which stack
    -             skip_placement, skip_capture, skip_recovery, skip_territory, swap

A capture and a further capture of a chain share their numbers: both are the same segment.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from ringrift_cli.game import layout as L
from ringrift_cli.game.notation import GLOBAL_NAMES, SLIDES
from ringrift_cli.game.topology import board_named, tables

KINDS = (
    ("place", L.T_PLACE),
    ("move", L.T_MOVE),
    ("capture", L.T_CAPTURE),
    ("recover", L.T_RECOVER),
    ("line_all", L.T_LINE_ALL),
    ("line_part", L.T_LINE_PART),
    ("eliminate", L.T_ELIMINATE),
    ("extract", L.T_EXTRACT),
    ("region", L.T_REGION),
    ("forced", L.T_FORCED),
)


@dataclass(frozen=True)
class Action:
    """What an action number means.

    `cell` is None for a skip or swap. `rings`, `direction`, `distance`, `slide`, `axis` and
    `border` (0 for none, else a seat) are None where the kind has none.
    """

    kind: str
    cell: int | None = None
    rings: int | None = None
    direction: int | None = None
    distance: int | None = None
    slide: str | None = None
    axis: int | None = None
    border: int | None = None


@dataclass(frozen=True)
class ActionSpace:
    """The numbering of one board; it is the same for every number of players."""

    board: str

    @property
    def size(self) -> int:
        """How many actions there are."""
        return int(tables(self.board, 2)[L.T_ACTIONS])

    @property
    def planes(self) -> int:
        """Planes of the actions with a cell."""
        return int(tables(self.board, 2)[L.T_PLANES])

    @property
    def cells(self) -> int:
        return len(board_named(self.board).cells)

    def first(self, kind: str) -> int:
        """The first action of a kind of `KINDS`."""
        return int(tables(self.board, 2)[dict(KINDS)[kind]])

    def decode(self, action: int) -> Action:
        """The meaning of an action; `IndexError` for a number outside the space."""
        if not 0 <= action < self.size:
            raise IndexError(f"action {action} is not in 0 .. {self.size - 1}")
        return _decode(self, action)

    def encode(self, meaning: Action) -> int:
        """The number of a meaning, the inverse of `decode`; `ValueError` if it has none."""
        try:
            if meaning.cell is None:
                action = self.planes * self.cells + GLOBAL_NAMES.index(meaning.kind)
            else:
                plane = self._plane(meaning)
                action = self.first(meaning.kind) + plane * self.cells + meaning.cell
            if self.decode(action) == meaning:
                return action
        except (KeyError, IndexError, ValueError):
            pass
        raise ValueError(f"no action of {self.board} is {meaning}")

    def _plane(self, meaning: Action) -> int:
        board = board_named(self.board)
        if meaning.rings is not None:
            return meaning.rings - 1
        if meaning.direction is not None and meaning.distance is not None:
            shortest = 1 if meaning.kind == "move" else 2
            reach = board.max_distance - shortest + 1
            return meaning.direction * reach + meaning.distance - shortest
        if meaning.direction is not None and meaning.slide is not None:
            return SLIDES.index(meaning.slide) * 2 * len(board.axes) + meaning.direction
        return meaning.axis or meaning.border or 0


@cache
def action_space(board: str) -> ActionSpace:
    """The action space of a board; `UsageError` for an unknown one."""
    return ActionSpace(board_named(board).name)


def _decode(space: ActionSpace, action: int) -> Action:
    plane, cell = divmod(action, space.cells)
    if plane >= space.planes:
        return Action(GLOBAL_NAMES[action - space.planes * space.cells])
    board = board_named(space.board)
    kind = next(name for name, _ in reversed(KINDS) if action >= space.first(name))
    plane -= space.first(kind) // space.cells
    if kind == "place":
        return Action(kind, cell, rings=plane + 1)
    if kind in ("move", "capture"):
        shortest = 1 if kind == "move" else 2
        direction, steps = divmod(plane, board.max_distance - shortest + 1)
        return Action(kind, cell, direction=direction, distance=steps + shortest)
    if kind == "recover":
        slide, direction = divmod(plane, 2 * len(board.axes))
        return Action(kind, cell, direction=direction, slide=SLIDES[slide])
    if kind in ("line_all", "line_part"):
        return Action(kind, cell, axis=plane)
    if kind == "region":
        return Action(kind, cell, border=plane)
    return Action(kind, cell)
