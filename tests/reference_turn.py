"""The board and what the rules say about one position, written straight from rules.md.

Half of the test oracle of `tests.reference`: slow, plain, and sharing nothing with the engine that
it is compared with. A position is three dictionaries that never share a cell; players count from 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

Cell = tuple[int, int]
Step = tuple[int, int]
Line = tuple[Cell, ...]
Region = tuple[Cell, ...]

ORTHOGONAL: tuple[Step, ...] = ((1, 0), (0, 1), (-1, 0), (0, -1))
KING: tuple[Step, ...] = (*ORTHOGONAL, (1, 1), (1, -1), (-1, 1), (-1, -1))
HEX: tuple[Step, ...] = ((1, 0), (1, -1), (0, -1), (-1, 0), (-1, 1), (0, 1))
SQUARE_AXES: tuple[Step, ...] = ((1, 0), (0, 1), (1, 1), (1, -1))
HEX_AXES: tuple[Step, ...] = ((1, 0), (0, 1), (1, -1))

# name: (size or radius, is it hexagonal, rings per player, line length with 2 players, with 3 or 4)
BOARDS: dict[str, tuple[int, bool, int, int, int]] = {
    "square8": (8, False, 18, 4, 3),
    "square19": (19, False, 72, 4, 4),
    "hex8": (4, True, 18, 4, 3),
    "hexagonal": (12, True, 96, 4, 4),
}


def row_order(cell: Cell) -> tuple[int, int]:
    """Sort key: cells by rising y, then x."""
    return cell[1], cell[0]


class Board:
    """Cells, directions and sizes of one board for one number of players (§1)."""

    def __init__(self, name: str, players: int) -> None:
        size, is_hex, self.rings, length_2, length_more = BOARDS[name]
        self.name = name
        self.line_length = length_2 if players == 2 else length_more
        span = range(-size, size + 1) if is_hex else range(size)
        self.cells: list[Cell] = [
            (x, y) for y in span for x in span if not is_hex or abs(x + y) <= size
        ]
        self.inside: set[Cell] = set(self.cells)
        self.directions = HEX if is_hex else KING
        self.axes = HEX_AXES if is_hex else SQUARE_AXES
        self.adjacency = HEX if is_hex else ORTHOGONAL
        self.rays: dict[Cell, list[list[Cell]]] = {
            cell: [self.walk(cell, step) for step in self.directions] for cell in self.cells
        }

    def walk(self, start: Cell, step: Step) -> list[Cell]:
        """The cells met when stepping from `start` until the edge, without `start`."""
        met: list[Cell] = []
        x, y = start[0] + step[0], start[1] + step[1]
        while (x, y) in self.inside:
            met.append((x, y))
            x, y = x + step[0], y + step[1]
        return met

    def around(self, cell: Cell, steps: tuple[Step, ...]) -> list[Cell]:
        """The cells of the board one of `steps` away."""
        near = [(cell[0] + dx, cell[1] + dy) for dx, dy in steps]
        return [other for other in near if other in self.inside]


def cap_of(rings: list[int]) -> int:
    """Length of the run of rings at the top that share the top ring's colour (§2)."""
    cap = 1
    while cap < len(rings) and rings[-1 - cap] == rings[-1]:
        cap += 1
    return cap


@dataclass
class Position:
    """What stands on the board, and who holds which rings (§2)."""

    board: Board
    players: int
    stacks: dict[Cell, list[int]] = field(default_factory=dict)  # rings, bottom to top
    markers: dict[Cell, int] = field(default_factory=dict)
    collapsed: dict[Cell, int] = field(default_factory=dict)
    hand: dict[int, int] = field(default_factory=dict)
    eliminated: dict[int, int] = field(default_factory=dict)

    # ---- counts (§2) ----

    def controlled(self, player: int) -> list[Cell]:
        """Cells of the stacks whose top ring is the player's."""
        return [cell for cell, rings in self.stacks.items() if rings[-1] == player]

    def holding(self, player: int) -> list[Cell]:
        """Cells of the stacks that contain a ring of the player."""
        return [cell for cell, rings in self.stacks.items() if player in rings]

    def burying(self, player: int) -> list[Cell]:
        """Cells of the stacks in which a ring of the player lies below the cap."""
        return [c for c, rings in self.stacks.items() if player in rings[: -cap_of(rings)]]

    def alive(self, player: int) -> bool:
        """Whether the player has a ring anywhere, in hand or on the board."""
        return self.hand[player] > 0 or bool(self.holding(player))

    def territory(self, player: int) -> int:
        return sum(owner == player for owner in self.collapsed.values())

    def marker_count(self, player: int) -> int:
        return sum(owner == player for owner in self.markers.values())

    # ---- changes ----

    def eliminate_ring(self, cell: Cell, index: int, player: int) -> None:
        """Take one ring out of a stack, credited to the player."""
        del self.stacks[cell][index]
        if not self.stacks[cell]:
            del self.stacks[cell]
        self.eliminated[player] += 1

    def eliminate_cap(self, cell: Cell, player: int) -> None:
        for _ in range(cap_of(self.stacks[cell])):
            self.eliminate_ring(cell, -1, player)

    def extract(self, cell: Cell, player: int) -> None:
        """Eliminate the player's bottommost ring of a stack (§6)."""
        self.eliminate_ring(cell, self.stacks[cell].index(player), player)

    def collapse(self, cell: Cell, player: int) -> None:
        self.markers.pop(cell, None)
        self.collapsed[cell] = player

    def travel(self, start: Cell, target: Cell | None, end: Cell, player: int) -> None:
        """Carry out a move, or one segment of a capture when it has a target (§5)."""
        rings = self.stacks.pop(start)
        self.markers[start] = player
        path = next(ray for ray in self.board.rays[start] if end in ray)
        for cell in path[: path.index(end)]:
            if self.markers.get(cell) == player:
                self.collapse(cell, player)
            elif cell in self.markers:
                self.markers[cell] = player
        if target is not None:
            rings.insert(0, self.stacks[target].pop())
            if not self.stacks[target]:
                del self.stacks[target]
        self.stacks[end] = rings
        if self.markers.pop(end, None) is not None:
            self.eliminate_ring(end, -1, player)

    # ---- moving and capturing (§5) ----

    def landings(self, start: Cell, height: int) -> Iterator[Cell]:
        """Where a stack of this height on `start` can move to."""
        for ray in self.board.rays[start]:
            for distance, cell in enumerate(ray, 1):
                if cell in self.stacks or cell in self.collapsed:
                    break
                if distance >= height:
                    yield cell

    def captures(self, start: Cell, height: int, cap: int) -> Iterator[tuple[Cell, Cell]]:
        """(target, landing) of every capture by such a stack on `start`."""
        for ray in self.board.rays[start]:
            target: Cell | None = None
            for distance, cell in enumerate(ray, 1):
                if cell in self.collapsed:
                    break
                if cell in self.stacks:
                    if target is not None or cap_of(self.stacks[cell]) > cap:
                        break
                    target = cell
                elif target is not None and distance >= height:
                    yield target, cell

    def captures_of(self, cell: Cell) -> list[tuple[Cell, Cell]]:
        """(target, landing) of every capture by the stack that stands there."""
        rings = self.stacks[cell]
        return list(self.captures(cell, len(rings), cap_of(rings)))

    def mobile(self, cell: Cell, rings: list[int]) -> bool:
        """Whether a stack of these rings, standing on the cell, could move or capture."""
        height, cap = len(rings), cap_of(rings)
        return any(True for _ in self.landings(cell, height)) or any(
            True for _ in self.captures(cell, height, cap)
        )

    # ---- placement (§4) and real actions (§10.5) ----

    def placements(self, player: int) -> Iterator[tuple[Cell, int]]:
        """(cell, number of rings) of every legal placement: no dead ones."""
        for cell in self.board.cells:
            if cell in self.markers or cell in self.collapsed:
                continue
            there = self.stacks.get(cell, [])
            most = min(1 if there else 3, self.hand[player])
            for count in range(1, most + 1):
                if self.mobile(cell, there + [player] * count):
                    yield cell, count

    def can_move(self, player: int) -> bool:
        return any(self.mobile(cell, self.stacks[cell]) for cell in self.controlled(player))

    def can_place(self, player: int) -> bool:
        return any(True for _ in self.placements(player))

    def real_action(self, player: int) -> bool:
        """A legal placement, move or capture."""
        return self.can_move(player) or self.can_place(player)

    # ---- lines (§7) ----

    def lines(self, player: int) -> list[Line]:
        """Every maximal run of the player's markers that is long enough."""
        found: list[Line] = []
        for step in self.board.axes:
            for cell, owner in self.markers.items():
                before = cell[0] - step[0], cell[1] - step[1]
                if owner != player or self.markers.get(before) == player:
                    continue
                run = [cell]
                for other in self.board.walk(cell, step):
                    if self.markers.get(other) != player:
                        break
                    run.append(other)
                if len(run) >= self.board.line_length:
                    found.append(tuple(run))
        return found

    # ---- recovery (§6) ----

    def may_recover(self, player: int) -> bool:
        """No stack, a marker, and a buried ring; whether a marker can slide does not matter."""
        has_marker = player in self.markers.values()
        return has_marker and not self.controlled(player) and bool(self.burying(player))

    def slides(self, player: int) -> list[tuple[Cell, Cell, str]]:
        """(from, to, kind) of every legal recovery slide; none if the player may not recover."""
        if not self.may_recover(player):
            return []
        found: list[tuple[Cell, Cell, str]] = []
        for start in [cell for cell, owner in self.markers.items() if owner == player]:
            for end in self.board.around(start, self.board.directions):
                if end in self.stacks:
                    found.append((start, end, "strike"))
                elif end not in self.markers and end not in self.collapsed:
                    found.append((start, end, self.slide_kind(start, end, player)))
        line_slides = [slide for slide in found if slide[2] == "line"]
        return line_slides or found

    def slide_kind(self, start: Cell, end: Cell, player: int) -> str:
        """`line` if the marker, slid to the empty cell, belongs to a line; else `fallback`."""
        del self.markers[start]
        self.markers[end] = player
        completes = any(end in line for line in self.lines(player))
        del self.markers[end]
        self.markers[start] = player
        return "line" if completes else "fallback"

    # ---- territory (§8) ----

    def components(self, border: int | None) -> Iterator[Region]:
        """Parts that collapsed cells and the markers of the border colour cut the board into."""
        left = {
            cell
            for cell in self.board.cells
            if cell not in self.collapsed and (border is None or self.markers.get(cell) != border)
        }
        while left:
            reached = [left.pop()]
            for cell in reached:  # grows while it is walked through
                for other in self.board.around(cell, self.board.adjacency):
                    if other in left:
                        left.remove(other)
                        reached.append(other)
            yield tuple(sorted(reached, key=row_order))

    def regions(self) -> set[Region]:
        """All disconnected regions."""
        owners = {ring for rings in self.stacks.values() for ring in rings}
        found: set[Region] = set()
        colours: list[int | None] = [None, *sorted(set(self.markers.values()))]
        for border in colours:
            for region in self.components(border):
                inside = {self.stacks[cell][-1] for cell in region if cell in self.stacks}
                if len(inside) < len(owners) and (border is not None or len(inside) == 1):
                    found.add(region)
        return found

    def takeable(self, player: int, recovered: bool) -> list[Region]:
        """The regions that the player may process in this turn."""
        paying = self.burying(player) if recovered else self.controlled(player)
        if not paying:
            return []
        return [r for r in self.regions() if any(cell not in r for cell in paying)]

    def border_of(self, region: Region) -> set[Cell]:
        """The markers that collapse with a region."""
        inside = set(region)
        border: set[Cell] = set()
        for cell in region:
            for other in self.board.around(cell, self.board.adjacency):
                if other in self.markers and other not in inside:
                    border.add(other)
        if self.board.name == "hexagonal":
            return border
        reached = list(border)
        for cell in reached:  # grows while it is walked through
            for other in self.board.around(cell, KING):
                if other in self.markers and other not in inside and other not in border:
                    border.add(other)
                    reached.append(other)
        return border

    def take_region(self, region: Region, player: int) -> None:
        """Collapse a region and its border, and eliminate its rings; the price comes after."""
        border = self.border_of(region)
        for cell in region:
            self.eliminated[player] += len(self.stacks.pop(cell, []))
        for cell in [*region, *border]:
            self.collapse(cell, player)
