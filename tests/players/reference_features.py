"""The features of the heuristic, counted by plain Python from the cells of a position.

Shares no code with features.py: what is looked at there by row words is walked through here.
"""

from __future__ import annotations

from collections.abc import Iterable

from ringrift_cli.game import layout as L
from ringrift_cli.game.position import Position
from ringrift_cli.game.topology import BOARDS
from tests.plain import cap_of, neighbours


class Reference:
    """A position, cell by cell."""

    def __init__(self, position: Position) -> None:
        self.position = position
        self.board = BOARDS[position.board_name]
        self.players = position.players
        self.row = position.row
        text = position.text.cells
        self.stack = {i: c[1:] for i, c in enumerate(text) if c.startswith("s")}
        self.marker = {i: int(c[1]) - 1 for i, c in enumerate(text) if c.startswith("m")}
        self.collapsed = {i: int(c[1]) - 1 for i, c in enumerate(text) if c.startswith("c")}
        self.cells = range(len(text))

    def owner(self, cell: int) -> int:
        return int(self.stack[cell][-1]) - 1

    def stacks(self, p: int) -> list[int]:
        return [cell for cell in self.stack if self.owner(cell) == p]

    def ray(self, cell: int, direction: tuple[int, int]) -> list[int]:
        column, row = self.board.cells[cell]
        found: list[int] = []
        while True:
            column, row = column + direction[0], row + direction[1]
            if (column, row) not in self.board.index:
                return found
            found.append(self.board.index[column, row])

    def sight(self, ray: list[int]) -> tuple[list[int], int | None]:
        """The free cells of a ray, and the obstacle behind them."""
        for k, cell in enumerate(ray):
            if cell in self.stack or cell in self.collapsed:
                return ray[:k], cell
        return ray, None

    def landings(self, cell: int, direction: tuple[int, int]) -> tuple[int, int | None, int]:
        """Landings of moves, the stack in sight if the cap suffices, and landings behind it."""
        height, cap = len(self.stack[cell]), cap_of(self.stack[cell])
        ray = self.ray(cell, direction)
        free, obstacle = self.sight(ray)
        moves = max(0, len(free) + 1 - height)
        if obstacle is None or obstacle in self.collapsed or cap_of(self.stack[obstacle]) > cap:
            return moves, None, 0
        behind, _ = self.sight(ray[len(free) + 1 :])
        distances = [len(free) + 2 + k for k in range(len(behind))]
        return moves, obstacle, sum(d >= height for d in distances)

    def seen(self, p: int) -> set[int]:
        rays = (self.ray(cell, d) for cell in self.stacks(p) for d in self.board.directions)
        return {cell for ray in rays for cell in self.sight(ray)[0]}

    def parts(self, open_cells: Iterable[int]) -> list[set[int]]:
        near, left = neighbours(self.board), set(open_cells)
        found: list[set[int]] = []
        while left:
            part: set[int] = set()
            waiting = [left.pop()]
            while waiting:
                cell = waiting.pop()
                part.add(cell)
                fresh = left & set(near[cell])
                left -= fresh
                waiting += fresh
            found.append(part)
        return found

    def open_under(self, p: int | None) -> set[int]:
        walls = set(self.collapsed) | {c for c, q in self.marker.items() if q == p}
        return set(self.cells) - walls

    def is_passage(self, cell: int, open_cells: set[int]) -> bool:
        """Whether the open cells among those around `cell` fall apart without it."""
        near = neighbours(self.board)
        column, row = self.board.cells[cell]
        around = set()
        for dx in (-1, 0, 1):
            for dy in (-1, 0, 1):
                if self.board.hexagonal and dx == dy:
                    continue
                other = self.board.index.get((column + dx, row + dy))
                if (dx or dy) and other in open_cells:
                    around.add(other)
        touching = [part & set(near[cell]) for part in self.parts(around)]
        return sum(bool(part) for part in touching) > 1

    def controllers(self, part: set[int]) -> set[int]:
        return {self.owner(cell) for cell in part & set(self.stack)}

    def ring_owners(self) -> int:
        return len(set("".join(self.stack.values())))

    # ---- the features ---------------------------------------------------------------------------

    def count(self, p: int) -> dict[str, int]:
        """All features of a seat, from 0."""
        found = self.held(p) | self.travel(p) | self.lines(p) | self.cut_off(p) | self.prospects(p)
        turn = self.row[L.SEAT] == p
        found["tempo"] = int(turn)
        found["debt"] = int(turn and self.row[L.PENDING] != L.NOTHING)
        for name in ("captures", "threatened", "gaps", "closing", "closable", "caught", "regions"):
            found[f"next_{name}"] = found[name] if turn else 0
        return found

    def held(self, p: int) -> dict[str, int]:
        own = [self.stack[cell] for cell in self.stacks(p)]
        caps = [cap_of(stack) for stack in own]
        everywhere = sum(stack.count(str(p + 1)) for stack in self.stack.values())
        return {
            "stacks": len(own),
            "height": sum(map(len, own)),
            "caps": sum(caps),
            "thin": sum(len(s) > 1 and c == 1 for s, c in zip(own, caps, strict=True)),
            "buried": everywhere - sum(caps),
            "hand": self.position.hands[p],
            "eliminated": self.position.eliminated[p],
            "territory": self.position.territory[p],
            "markers": self.position.markers[p],
        }

    def mobile(self, p: int) -> list[int]:
        def can_go(cell: int) -> bool:
            found = (self.landings(cell, d) for d in self.board.directions)
            return any(moves or landings for moves, _, landings in found)

        return [cell for cell in self.stacks(p) if can_go(cell)]

    def travel(self, p: int) -> dict[str, int]:
        directions = self.board.directions
        found = [(c, self.landings(c, d)) for c in self.stacks(p) for d in directions]
        others = [(t, n) for _, (_, t, n) in found if t is not None and self.owner(t) != p]
        threatened = set()
        for q in range(self.players):
            for cell in self.stacks(q):
                for d in directions:
                    _, target, landings = self.landings(cell, d)
                    if target is not None and landings and q != self.owner(target) == p:
                        threatened.add(target)
        seen = self.seen(p)
        foreign: set[int] = set().union(*(self.seen(q) for q in range(self.players) if q != p))
        own = {c for c, q in self.marker.items() if q == p}
        return {
            "centre": sum(min(len(self.ray(c, d)) for d in directions) for c in self.stacks(p)),
            "moves": sum(moves for _, (moves, _, _) in found),
            "blocked": len(self.stacks(p)) - len(self.mobile(p)),
            "captures": sum(n > 0 for _, n in others),
            "overtakes": sum(n == 0 for _, n in others),
            "threatened": len(threatened),
            "reach": len(seen),
            "harvest": len(own & seen),
            "exposed": len(own & foreign),
        }

    def lines(self, p: int) -> dict[str, int]:
        own = {c for c, q in self.marker.items() if q == p}
        length = self.board.line_length(self.players)
        pairs = triples = gaps = 0
        for cell in self.cells:
            for axis in self.board.axes:
                run = [cell, *self.ray(cell, axis)]
                pairs += len(run) > 1 and set(run[:2]) <= own
                triples += len(run) > 2 and set(run[:3]) <= own
                window = run[:length]
                lacking = [c for c in window if c not in own]
                if len(window) == length and len(lacking) == 1:
                    gaps += lacking[0] not in self.collapsed
        near = neighbours(self.board)
        most = 6 if self.board.hexagonal else 4
        walled = [c for c in own if len(near[c]) < most or set(near[c]) & set(self.collapsed)]
        return {"pairs": pairs, "triples": triples, "gaps": gaps, "anchored": len(walled)}

    def cut_off(self, p: int) -> dict[str, int]:
        found = dict.fromkeys(("closing", "closable", "enclosed", "caught", "endangered"), 0)
        for q in range(self.players):
            self.close_passages(p, q, found)
        found["regions"] = sum(len(r) for r in self.regions() if set(self.stacks(p)) - r)
        return found

    def close_passages(self, p: int, q: int, found: dict[str, int]) -> None:
        """Adds to the features of `p` what follows from closing the border of `q`."""
        if self.position.markers[q] < 2:
            return
        open_cells = self.open_under(q)
        gaps = {cell for cell in open_cells if self.is_passage(cell, open_cells)}
        if not gaps and len(self.parts(open_cells)) <= 1:
            return
        near = neighbours(self.board)
        for part in self.parts(open_cells - gaps):
            if p != q and 2 * len(part) < len(open_cells):
                found["endangered"] += len(part & set(self.stacks(p)))
            if p != q:
                continue
            doors = {gap for gap in gaps if part & set(near[gap])}
            inside, rest = self.controllers(part), set(self.stack) - part
            own = set(self.stacks(p))
            if len(inside) < self.ring_owners() and own - part:
                found["enclosed"] += len(part)
                found["caught"] += len(part & set(self.stack) - own)
                if len(doors) == 1:
                    found["closable"] = max(found["closable"], len(part))
            outside = self.controllers(rest)
            if len(doors) == 1 and len(outside) < self.ring_owners() and own & part:
                found["closable"] = max(found["closable"], len(open_cells) - len(part))
        if p == q:
            found["closing"] = len(gaps)

    def regions(self) -> list[set[int]]:
        """Disconnected regions of every border; one that two borders cut off counts for both."""
        found = []
        for q in (None, *range(self.players)):
            if q is not None and self.position.markers[q] == 0:
                continue
            for part in self.parts(self.open_under(q)):
                inside = len(self.controllers(part))
                if inside < self.ring_owners() and (q is not None or inside == 1):
                    found.append(part)
        return found

    def prospects(self, p: int) -> dict[str, int]:
        def squared(part: int, whole: int) -> int:
            return (part * 1000 // whole) ** 2 // 1000

        def shares(q: int) -> tuple[int, int]:
            rings = self.board.elimination_threshold(self.players)
            cells = self.board.territory_threshold(self.players)
            won, held = self.position.eliminated[q], self.position.territory[q]
            return squared(won, rings), squared(held, cells)

        def active(q: int) -> bool:
            return self.position.hands[q] > 0 or bool(self.mobile(q))

        others = [q for q in range(self.players) if q != p]
        rings = sum(stack.count(str(p + 1)) for stack in self.stack.values())
        streak = 333 * int(self.row[L.STREAK]) if self.row[L.HOLDER] == p else 0
        idle = 1000 * sum(not active(q) for q in others) // len(others)
        stranded = not active(p) and not self.stacks(p) and rings > 0
        return {
            "near_elimination": shares(p)[0],
            "near_territory": shares(p)[1],
            "leader": max(max(shares(q)) for q in others),
            "last_standing": idle + streak if active(p) else 0,
            "forced": int(not active(p) and bool(self.stacks(p))),
            "stranded": int(stranded),
            "recovery": min(3, self.position.markers[p], rings) if stranded else 0,
        }
